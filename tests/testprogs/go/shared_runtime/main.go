// SPDX-License-Identifier: Apache-2.0

// Shared_runtime is a C library (-buildmode=c-shared) with a Go runtime of its own. shared_start(N) starts N goroutines
// that wait, in functions of this library alone.
package main

import "C"

import (
	"sync"
	"time"
)

var never = make(chan int)

//go:noinline
func waitInLibrary(started *sync.WaitGroup) {
	started.Done()
	<-never
}

//export shared_start
func shared_start(n C.int) C.int {
	var started sync.WaitGroup
	for i := 0; i < int(n); i++ {
		started.Add(1)
		go waitInLibrary(&started)
	}
	started.Wait()
	time.Sleep(100 * time.Millisecond)
	return n
}

func main() {}
