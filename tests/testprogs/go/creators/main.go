// SPDX-License-Identifier: Apache-2.0

// Creators has goroutines whose creators still stand where they started them, and others whose creators do not. Prints
// "ready"; at the word "go" on stdin one of the creators starts another. Ends with stdin.
package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

var never = make(chan int)
var again = make(chan int)

//go:noinline
func park() { <-never }

// ---- creators that stand where they were ----

//go:noinline
func childOfStanding() { park() }

//go:noinline
func standing() {
	go childOfStanding()
	park()
}

//go:noinline
func childOfDeep() { park() }

// The function with the go statement has returned, and the one that called it waits.
//
//go:noinline
func startForDeep() { go childOfDeep() }

//go:noinline
func deep() {
	startForDeep()
	park()
}

//go:noinline
func childOfDeeper() { park() }

//go:noinline
func startForDeeper() { go childOfDeeper() }

//go:noinline
func callStartForDeeper() { startForDeeper() }

//go:noinline
func deeper() {
	callStartForDeeper()
	park()
}

// A client that waits for a connection, which another goroutine dials.
//
//go:noinline
func fetch(address string) {
	request, err := http.NewRequestWithContext(context.Background(), "GET", "http://"+address+"/", nil)
	must(err)
	http.DefaultClient.Do(request)
}

// ---- creators that do not ----

//go:noinline
func childOfEnded() { park() }

//go:noinline
func ended() { go childOfEnded() }

//go:noinline
func childOfMoved() { park() }

//go:noinline
func startForMoved() { go childOfMoved() }

//go:noinline
func one() { startForMoved() }

//go:noinline
func two() { one() }

//go:noinline
func moved() {
	two()
	park()
}

//go:noinline
func childOfPointer() { park() }

//go:noinline
func startForPointer() { go childOfPointer() }

var pointer = startForPointer

//go:noinline
func throughPointer() {
	pointer()
	park()
}

//go:noinline
func childOfEarly() { park() }

// Waits for its next turn, before its go statement.
//
//go:noinline
func early(turns chan int) {
	for {
		<-turns
		go childOfEarly()
	}
}

//go:noinline
func firstChild() { park() }

//go:noinline
func laterChild() { park() }

//go:noinline
func start(child int) {
	if child == 0 {
		go firstChild()
		return
	}
	go laterChild()
	<-never
}

// Starts one, goes elsewhere, and starts another one later: then it is back in the same function.
//
//go:noinline
func wanderer() {
	wander(func() { start(0) })
	wander(func() { <-again })
	wander(func() { start(1) })
}

//go:noinline
func wander(call func()) { call() }

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// A listener that takes no more connections: the next one hangs.
func fullListener() string {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	must(err)
	must(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	must(syscall.Listen(fd, 0))
	name, err := syscall.Getsockname(fd)
	must(err)
	address := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	for i := 0; i < 4; i++ {
		net.DialTimeout("tcp", address, 200*time.Millisecond)
	}
	return address
}

func main() {
	address := fullListener()
	go standing()
	go deep()
	go deeper()
	go fetch(address)
	go ended()
	go moved()
	go throughPointer()
	turns := make(chan int, 1)
	turns <- 1
	go early(turns)
	go wanderer()
	time.Sleep(500 * time.Millisecond)
	fmt.Println("ready")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		close(again)
	}
}
