// SPDX-License-Identifier: Apache-2.0

// Gohang has one goroutine that hangs under a known chain of calls, in syscall.Read or (built with cgo) in a C call, and
// never comes back. Prints "ready"; ends with stdin.
package main

import (
	"bufio"
	"fmt"
	"os"
	"syscall"
	"time"
)

//go:noinline
func hangInner(fd int) { hang(fd) }

//go:noinline
func hangMiddle(fd int) { hangInner(fd) }

//go:noinline
func hangOuter(fd int) { hangMiddle(fd) }

func main() {
	var fds [2]int
	if err := syscall.Pipe(fds[:]); err != nil {
		panic(err)
	}
	go hangOuter(fds[0])
	time.Sleep(200 * time.Millisecond)
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
	}
}
