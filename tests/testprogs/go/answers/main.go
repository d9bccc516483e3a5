// SPDX-License-Identifier: Apache-2.0

// Answers computes, under much switching, what can be checked: requests over channels and sockets, sums under locks, deep
// recursions on stacks that grow and are copied, panics that are caught, garbage that is collected meanwhile. A wrong
// answer is counted; so is each right one.
//
//	answers WORKERS PAUSE_US     each worker rests so long after each answer
//
// Prints "ready"; then for each line on stdin one of JSON: {"right": n, "wrong": n}. Ends with stdin.
package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

var (
	right, wrong int64
	garbage      atomic.Value
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

type request struct {
	n     uint64
	reply chan uint64
}

func triangle(n uint64) uint64 { return n * (n + 1) / 2 }

//go:noinline
func sumByRecursion(n uint64) uint64 {
	var room [200]byte
	room[n%200] = byte(n)
	if n == 0 {
		return 0
	}
	return sumByRecursion(n-1) + n + uint64(room[n%200]) - n%256
}

func serveChannel(requests chan request) {
	for r := range requests {
		r.reply <- triangle(r.n)
	}
}

func serveSocket(connection net.Conn) {
	var number [8]byte
	for {
		if _, err := connection.Read(number[:]); err != nil {
			return
		}
		binary.LittleEndian.PutUint64(number[:], triangle(binary.LittleEndian.Uint64(number[:])))
		if _, err := connection.Write(number[:]); err != nil {
			return
		}
	}
}

func dial() net.Conn {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	defer listener.Close()
	client, err := net.Dial("tcp", listener.Addr().String())
	must(err)
	server, err := listener.Accept()
	must(err)
	go serveSocket(server)
	return client
}

func overSocket(connection net.Conn, n uint64) uint64 {
	var number [8]byte
	binary.LittleEndian.PutUint64(number[:], n)
	_, err := connection.Write(number[:])
	must(err)
	_, err = connection.Read(number[:])
	must(err)
	return binary.LittleEndian.Uint64(number[:])
}

func byPanic(n uint64) (sum uint64) {
	defer func() { sum = triangle(recover().(uint64)) }()
	panic(n)
}

func byGoroutines(n uint64) uint64 {
	var group sync.WaitGroup
	var mutex sync.Mutex
	sum := uint64(0)
	for part := uint64(0); part < 4; part++ {
		group.Add(1)
		go func(part uint64) {
			defer group.Done()
			for i := part; i <= n; i += 4 {
				if i%64 == 0 {
					runtime.Gosched()
				}
				mutex.Lock()
				sum += i
				mutex.Unlock()
			}
		}(part)
	}
	group.Wait()
	return sum
}

func work(number int, requests chan request, pause time.Duration) {
	connection, reply := dial(), make(chan uint64)
	for n := uint64(number); ; n = (n*7 + 13) % 500 {
		var sum uint64
		switch n % 5 {
		case 0:
			requests <- request{n, reply}
			sum = <-reply
		case 1:
			sum = overSocket(connection, n)
		case 2:
			sum = byPanic(n)
		case 3:
			sum = byGoroutines(n)
		case 4:
			sum = sumByRecursion(n)
		}
		if sum == triangle(n) {
			atomic.AddInt64(&right, 1)
		} else {
			atomic.AddInt64(&wrong, 1)
		}
		if pause > 0 {
			time.Sleep(pause)
		}
	}
}

func makeGarbage() {
	for {
		garbage.Store(make([]byte, 1<<20))
		time.Sleep(3 * time.Millisecond)
	}
}

func main() {
	workers, err := strconv.Atoi(os.Args[1])
	must(err)
	pause, err := strconv.Atoi(os.Args[2])
	must(err)
	requests := make(chan request)
	go serveChannel(requests)
	for number := 0; number < workers; number++ {
		go work(number, requests, time.Duration(pause)*time.Microsecond)
	}
	go makeGarbage()
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		fmt.Printf("{\"right\": %d, \"wrong\": %d}\n", atomic.LoadInt64(&right), atomic.LoadInt64(&wrong))
	}
}
