// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package main

/*
#include <unistd.h>

static __attribute__((noinline)) int c_inner(int fd) {
  char byte;
  int got = (int)read(fd, &byte, 1);
  __asm__ volatile("" ::: "memory");
  return got;
}

static __attribute__((noinline)) int c_outer(int fd) {
  int got = c_inner(fd);
  __asm__ volatile("" ::: "memory");
  return got + 1;
}

static int c_block(int fd) { return c_outer(fd); }
*/
import "C"

//go:noinline
func siteC(fd int) {
	defer finished.Done()
	C.c_block(C.int(fd))
}

func throughInlined(fd int) int { return int(C.c_block(C.int(fd))) + 1 }

//go:noinline
func siteCInlined(fd int) {
	defer finished.Done()
	throughInlined(fd)
}

//go:noinline
func siteCClosure(fd int) {
	defer finished.Done()
	callIt(func(extra int) uintptr { return uintptr(int(C.c_block(C.int(fd))) + extra) })
}

func startC() []gate {
	return []gate{
		start(func(fd int) { go siteC(fd) }),
		start(func(fd int) { go siteCInlined(fd) }),
		start(func(fd int) { go siteCClosure(fd) }),
	}
}
