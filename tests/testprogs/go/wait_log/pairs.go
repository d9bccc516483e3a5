// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math/rand"
	"net"
	"sync"
	"time"
)

// A pair is a goroutine that waits and one that ends its waits. The second prepares what the first will wait for, sleeps
// the wait's length from the moment it begins, and ends it.
type pair struct {
	prepared, begun, passed chan struct{}

	mutex   sync.Mutex
	rwmutex sync.RWMutex
	group   sync.WaitGroup
	cond    *sync.Cond
	flag    bool
	channel chan int
	other   chan int
	near    net.Conn
	far     net.Conn
}

// A kind says how one wait goes; finish runs in the goroutine that waited, uncounted.
type kind struct {
	name                       string
	prepare, wait, end, finish func(*pair)
}

func nothing(*pair) {}

func kinds() []kind {
	return []kind{
		{"main.waitForMutex", func(p *pair) { p.mutex.Lock() }, waitForMutex,
			func(p *pair) { p.mutex.Unlock() }, func(p *pair) { p.mutex.Unlock() }},
		{"main.waitToRead", func(p *pair) { p.rwmutex.Lock() }, waitToRead,
			func(p *pair) { p.rwmutex.Unlock() }, func(p *pair) { p.rwmutex.RUnlock() }},
		{"main.waitToWrite", func(p *pair) { p.rwmutex.RLock() }, waitToWrite,
			func(p *pair) { p.rwmutex.RUnlock() }, func(p *pair) { p.rwmutex.Unlock() }},
		{"main.waitToReceive", nothing, waitToReceive, func(p *pair) { p.channel <- 1 }, nothing},
		{"main.waitToSend", nothing, waitToSend, func(p *pair) { <-p.channel }, nothing},
		{"main.waitInSelect", nothing, waitInSelect, func(p *pair) { p.other <- 1 }, nothing},
		{"main.waitForData", nothing, waitForData, func(p *pair) { p.far.Write([]byte{1}) }, nothing},
		{"main.waitForGroup", func(p *pair) { p.group.Add(1) }, waitForGroup, func(p *pair) { p.group.Done() }, nothing},
		{"main.waitForCondition", func(p *pair) { p.flag = false }, waitForCondition, func(p *pair) {
			p.cond.L.Lock()
			p.flag = true
			p.cond.Signal()
			p.cond.L.Unlock()
		}, nothing},
	}
}

//go:noinline
func waitForMutex(p *pair) { p.mutex.Lock() }

//go:noinline
func waitToRead(p *pair) { p.rwmutex.RLock() }

//go:noinline
func waitToWrite(p *pair) { p.rwmutex.Lock() }

//go:noinline
func waitToReceive(p *pair) { <-p.channel }

//go:noinline
func waitToSend(p *pair) { p.channel <- 1 }

//go:noinline
func waitInSelect(p *pair) {
	select {
	case <-p.channel:
	case <-p.other:
	}
}

//go:noinline
func waitForData(p *pair) {
	var one [1]byte
	p.near.Read(one[:])
}

//go:noinline
func waitForGroup(p *pair) { p.group.Wait() }

//go:noinline
func waitForCondition(p *pair) {
	p.cond.L.Lock()
	for !p.flag {
		p.cond.Wait()
	}
	p.cond.L.Unlock()
}

//go:noinline
func waitAsleep(length time.Duration) { time.Sleep(length) }

// The waits between those that count, which are logged as well.

//go:noinline
func restAsleep(length time.Duration) { time.Sleep(length) }

//go:noinline
func restUntilPrepared(p *pair) { <-p.prepared }

//go:noinline
func driveUntilBegun(p *pair) { <-p.begun }

//go:noinline
func driveAsleep(length time.Duration) { time.Sleep(length) }

//go:noinline
func driveUntilPassed(p *pair) { <-p.passed }

func newPair() *pair {
	p := &pair{prepared: make(chan struct{}, 1), begun: make(chan struct{}, 1), passed: make(chan struct{}, 1),
		cond: sync.NewCond(&sync.Mutex{}), channel: make(chan int), other: make(chan int)}
	return p
}

func (p *pair) connect() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	defer listener.Close()
	p.near, err = net.Dial("tcp", listener.Addr().String())
	must(err)
	p.far, err = listener.Accept()
	must(err)
}

// Lengths are uniform between a tenth of the mean and nearly twice as much.
type lengths struct {
	random *rand.Rand
	mean   time.Duration
}

func (l lengths) next() time.Duration {
	return time.Duration((0.1 + 1.8*l.random.Float64()) * float64(l.mean))
}

func startAll(pairs int, seeds *rand.Rand, wait, rest time.Duration) {
	draw := func(mean time.Duration) lengths { return lengths{rand.New(rand.NewSource(seeds.Int63())), mean} }
	for _, k := range kinds() {
		for i := 0; i < pairs; i++ {
			p := newPair()
			if k.name == "main.waitForData" {
				p.connect()
			}
			go runWaiter(k, p, draw(rest))
			go runDriver(k, p, draw(wait))
		}
	}
	for i := 0; i < pairs; i++ {
		go runSleeper(draw(wait), draw(rest))
	}
}

func runWaiter(k kind, p *pair, rests lengths) {
	waits, asleep, idle := newTrack(k.name), newTrack("main.restAsleep"), newTrack("main.restUntilPrepared")
	for {
		asleep.begin()
		restAsleep(rests.next())
		asleep.end()
		idle.begin()
		restUntilPrepared(p)
		idle.end()
		p.begun <- struct{}{}
		waits.begin()
		k.wait(p)
		waits.end()
		k.finish(p)
		p.passed <- struct{}{}
	}
}

func runDriver(k kind, p *pair, waits lengths) {
	begun, asleep, passed := newTrack("main.driveUntilBegun"), newTrack("main.driveAsleep"), newTrack("main.driveUntilPassed")
	for {
		k.prepare(p)
		p.prepared <- struct{}{}
		begun.begin()
		driveUntilBegun(p)
		begun.end()
		asleep.begin()
		driveAsleep(waits.next())
		asleep.end()
		k.end(p)
		passed.begin()
		driveUntilPassed(p)
		passed.end()
	}
}

func runSleeper(waits, rests lengths) {
	asleep, between := newTrack("main.waitAsleep"), newTrack("main.restAsleep")
	for {
		asleep.begin()
		waitAsleep(waits.next())
		asleep.end()
		between.begin()
		restAsleep(rests.next())
		between.end()
	}
}
