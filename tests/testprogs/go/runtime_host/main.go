// SPDX-License-Identifier: Apache-2.0

//go:build cgo

// Runtime_host is a Go program that loads a C library which was written in Go: two Go runtimes in one process.
//
//	runtime_host LIBRARY N      N goroutines of its own wait, and N of the library's
//
// Prints "ready" once they wait; ends with stdin.
package main

/*
#cgo LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdlib.h>

static int start_library(const char* path, int n) {
  void* library = dlopen(path, RTLD_NOW);
  int (*start)(int) = library ? (int (*)(int))dlsym(library, "shared_start") : 0;
  return start ? start(n) : -1;
}
*/
import "C"

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"time"
)

var never = make(chan int)

//go:noinline
func waitInProgram() { <-never }

func main() {
	n, err := strconv.Atoi(os.Args[2])
	if err != nil {
		panic(err)
	}
	for i := 0; i < n; i++ {
		go waitInProgram()
	}
	if C.start_library(C.CString(os.Args[1]), C.int(n)) != C.int(n) {
		panic("the library does not start")
	}
	time.Sleep(100 * time.Millisecond)
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
	}
}
