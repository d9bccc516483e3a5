// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package main

/*
#include <pthread.h>
#include <unistd.h>

extern int goCallback(int);
extern void goFromThread(int);

static int c_read(int fd) { char byte; return (int)read(fd, &byte, 1); }
static int c_call_back(int n) { return goCallback(n) + 1; }
static void* c_thread(void* argument) { goFromThread(7); return argument; }
static int c_start_thread(void) {
  pthread_t thread;
  return pthread_create(&thread, 0, c_thread, 0);
}
*/
import "C"

import (
	"runtime"
	"syscall"
)

func kindsOfC() []func(int) {
	return []func(int){
		func(int) { go blockInC() },
		func(int) { go callBackFromC() },
		func(int) { C.c_start_thread() },
	}
}

//go:noinline
func blockInC() {
	var fds [2]int
	must(syscall.Pipe(fds[:]))
	runtime.KeepAlive(C.c_read(C.int(fds[0])))
}

//go:noinline
func callBackFromC() { runtime.KeepAlive(C.c_call_back(3)) }
