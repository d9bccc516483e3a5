// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math/rand"
	"net"
	"runtime"
	"sync"
	"time"
)

const things = 16 // of each kind, for each pair to change between

// A pair of goroutines that do the same in the same order, and wait for each other in it.
type pair struct {
	channels [things]chan int
	mutexes  [things]sync.Mutex
	ends     [2][things]net.Conn
	seed     int64
}

// Calls `wait` below as many calls of itself as `number` says, and one.
//
//go:noinline
func down(number int, wait func(int), of int) {
	if number > 0 {
		down(number-1, wait, of)
		runtime.KeepAlive(of)
		return
	}
	wait(of)
}

func (p *pair) run(side int) {
	random := rand.New(rand.NewSource(p.seed))
	var buffer [1]byte
	mine := p.ends[side]
	send := func(i int) { p.channels[i] <- i }
	receive := func(i int) { <-p.channels[i] }
	read := func(i int) { mine[i].Read(buffer[:]) }
	for {
		i := random.Intn(things)
		if side == 0 {
			down(i, send, i)
		} else {
			down(i, receive, i)
		}
		i = random.Intn(things)
		if side == 0 {
			down(i, receive, i)
		} else {
			down(i, send, i)
		}
		// One writes and the other reads, then the other way round.
		for turn := 0; turn < 2; turn++ {
			i = random.Intn(things)
			if side == turn {
				mine[i].Write(buffer[:])
			} else {
				down(i, read, i)
			}
		}
	}
}

// Holds each for as long as it takes others to queue up for it.
func (p *pair) contend(seed int64) {
	random := rand.New(rand.NewSource(seed))
	lock := func(i int) { p.mutexes[i].Lock() }
	for {
		i := random.Intn(things / 4)
		down(i, lock, i)
		for until := time.Now().Add(20 * time.Microsecond); time.Now().Before(until); {
			runtime.Gosched()
		}
		p.mutexes[i].Unlock()
		// Not always so long in one queue that waits are handed over.
		if random.Intn(64) == 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

// Makes new connections all the time: descriptors, and what the runtime has for them, are used again at once.
func redial(seed int64, addresses []string) {
	random := rand.New(rand.NewSource(seed))
	var buffer [1]byte
	for {
		i := random.Intn(len(addresses))
		connection, err := net.Dial("tcp", addresses[i])
		if err != nil { // the ports are used up for a while
			time.Sleep(10 * time.Millisecond)
			continue
		}
		if tcp, ok := connection.(*net.TCPConn); ok {
			tcp.SetLinger(0) // leaves no connection behind that waits for its end
		}
		down(i, func(int) { connection.Read(buffer[:]) }, i)
		connection.Close()
	}
}

// Answers each connection after a moment.
func answer(listener net.Listener) {
	for {
		connection, err := listener.Accept()
		must(err)
		go func() {
			time.Sleep(time.Duration(rand.Intn(3000)) * time.Microsecond)
			connection.Write([]byte{1})
			connection.Read(make([]byte, 1))
			connection.Close()
		}()
	}
}

func moving(pairs int) interface{} {
	depth := map[string]int{}
	for n := 0; n < pairs; n++ {
		p := &pair{seed: int64(n)}
		keep(p)
		for i := range p.channels {
			p.channels[i] = make(chan int)
			depth[fmt.Sprintf("%p", p.channels[i])] = i
			depth[fmt.Sprintf("%p", &p.mutexes[i])] = i
			// Two connections to different ports may come from one.
			for known := true; known; {
				p.ends[0][i], p.ends[1][i] = connect("tcp", "127.0.0.1:0")
				_, to := depth[p.ends[0][i].RemoteAddr().String()]
				_, from := depth[p.ends[1][i].RemoteAddr().String()]
				known = to || from
			}
			for side := range p.ends {
				depth[p.ends[side][i].RemoteAddr().String()] = i
			}
		}
		go p.run(0)
		go p.run(1)
		for i := 0; i < 3; i++ {
			go p.contend(int64(1000*n + i))
		}
	}
	var addresses []string
	for i := 0; i < things; i++ {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		must(err)
		depth[listener.Addr().String()] = i
		addresses = append(addresses, listener.Addr().String())
		go answer(listener)
	}
	for i := 0; i < pairs; i++ {
		go redial(int64(i), addresses)
	}
	return depth
}
