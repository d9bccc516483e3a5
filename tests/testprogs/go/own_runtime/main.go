// SPDX-License-Identifier: Apache-2.0

// own_runtime: a known set of goroutines that wait, each in another way. Prints one line of JSON: where its runtime's
// own variables lie, and after a line on standard input what runtime.Stack says of all goroutines.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"
	"unsafe"
)

//go:linkname allglen runtime.allglen
var allglen uintptr

//go:linkname allgptr runtime.allgptr
var allgptr unsafe.Pointer

type addresses struct {
	Allglen, Allgptr uintptr
}

var (
	never  = make(chan int) // nobody sends
	full   = make(chan int) // nobody receives
	mutex  sync.Mutex
	group  sync.WaitGroup
	rwlock sync.RWMutex
)

func waitInSelect() {
	select {
	case <-never:
	case <-time.After(time.Hour):
	}
}

func startWaiters(each int) {
	mutex.Lock()
	rwlock.Lock()
	group.Add(1)
	ways := []func(){
		func() { <-never },
		func() { full <- 1 },
		waitInSelect,
		func() { time.Sleep(time.Hour) },
		mutex.Lock,
		group.Wait,
		rwlock.RLock,
		func() { select {} },
		func() { var none chan int; <-none },
		blockInC,
	}
	for i := 0; i < each; i++ {
		for _, way := range ways {
			go way()
		}
	}
}

func dump() string {
	for size := 1 << 20; ; size *= 2 {
		text := make([]byte, size)
		if n := runtime.Stack(text, true); n < size {
			return string(text[:n])
		}
	}
}

func main() {
	startWaiters(7)
	for i := 0; i < 50; i++ { // ended ones stay in the runtime's list
		done := make(chan bool)
		go func() { done <- true }()
		<-done
	}
	time.Sleep(200 * time.Millisecond)
	out := json.NewEncoder(os.Stdout)
	out.Encode(addresses{uintptr(unsafe.Pointer(&allglen)), uintptr(unsafe.Pointer(&allgptr))})
	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
		out.Encode(dump())
	}
	fmt.Fprintln(os.Stderr, "end")
}
