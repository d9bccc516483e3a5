// SPDX-License-Identifier: Apache-2.0

// Many has as many goroutines as it is told, parked on stacks of ten shapes and depths. It takes commands, a line each, and
// answers each with "done" when it is so:
//
//	grow N        has N such goroutines
//	churn N       from now on, that many more are born and end each 10 ms; 0: none
//	dump FILE     writes the all-goroutine profile (debug=2)
//	counts FILE   writes the profile that counts equal stacks (debug=1)
//	work MS       switches between two goroutines and starts others for so long; answers "done OPERATIONS CPU_NS" of
//	              its threads' CPU
//	profile HZ    from now on, reads its own runtime.GoroutineProfile so often; 0: never
//	exit          exits without a word
//
// Prints "ready" first; ends with stdin.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

var (
	never   = make(chan int)
	other   = make(chan int)
	started sync.WaitGroup
	churn   int64

	profiles    int64
	isProfiling bool
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

//go:noinline
func receive() { <-never }

//go:noinline
func choose() {
	select {
	case <-never:
	case <-other:
	}
}

//go:noinline
func sleep() { time.Sleep(1000 * time.Hour) }

//go:noinline
func forever() { select {} }

//go:noinline
func lock() {
	var mutex sync.Mutex
	mutex.Lock()
	mutex.Lock()
}

//go:noinline
func descend(depth int, bottom func()) int {
	if depth == 0 {
		bottom()
		return 0
	}
	return descend(depth-1, bottom) + 1
}

var bottoms = []func(){receive, choose, sleep, forever, lock}

//go:noinline
func shallow(bottom func()) { started.Done(); bottom() }

//go:noinline
func deep(bottom func()) { started.Done(); descend(12, bottom) }

func grow(from, to int) {
	started.Add(to - from)
	for i := from; i < to; i++ {
		bottom := bottoms[i%len(bottoms)]
		if i/len(bottoms)%2 == 0 {
			go shallow(bottom)
		} else {
			go deep(bottom)
		}
	}
	started.Wait()
	time.Sleep(200 * time.Millisecond)
}

//go:noinline
func shortLife(length time.Duration) { time.Sleep(length) }

func comeAndGo() {
	for {
		for i := int64(0); i < atomic.LoadInt64(&churn); i++ {
			go shortLife(time.Duration(1+i%10) * time.Millisecond)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func ownCPU() int64 {
	var usage syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return usage.Utime.Nano() + usage.Stime.Nano()
}

func work(length time.Duration) (operations int, cpu int64) {
	there, back := make(chan int), make(chan int)
	go func() {
		for n := range there {
			back <- n
		}
	}()
	before, began := ownCPU(), time.Now()
	for ; time.Since(began) < length; operations++ {
		for i := 0; i < 16; i++ {
			there <- i
			<-back
		}
		go func(n int) { back <- n }(operations)
		<-back
	}
	close(there)
	return operations, ownCPU() - before
}

// Profiles of itself, as an in-process profiler takes them.
func profileOwn() {
	var records []runtime.StackRecord
	for {
		rate := atomic.LoadInt64(&profiles)
		if rate == 0 {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		n, ok := runtime.GoroutineProfile(records)
		if !ok {
			records = make([]runtime.StackRecord, n+n/8)
			continue
		}
		time.Sleep(time.Second / time.Duration(rate))
	}
}

func write(path string, level int) {
	file, err := os.Create(path)
	must(err)
	must(pprof.Lookup("goroutine").WriteTo(file, level))
	must(file.Close())
}

func main() {
	fmt.Println("ready")
	have, churning := 0, false
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		more := ""
		words := strings.Fields(lines.Text())
		switch words[0] {
		case "grow":
			n, err := strconv.Atoi(words[1])
			must(err)
			grow(have, n)
			have = n
		case "churn":
			n, err := strconv.ParseInt(words[1], 10, 64)
			must(err)
			atomic.StoreInt64(&churn, n)
			if !churning {
				go comeAndGo()
				churning = true
			}
		case "dump":
			write(words[1], 2)
		case "counts":
			write(words[1], 1)
		case "work":
			ms, err := strconv.Atoi(words[1])
			must(err)
			operations, cpu := work(time.Duration(ms) * time.Millisecond)
			more = fmt.Sprintf(" %d %d", operations, cpu)
		case "profile":
			rate, err := strconv.ParseInt(words[1], 10, 64)
			must(err)
			atomic.StoreInt64(&profiles, rate)
			if !isProfiling {
				go profileOwn()
				isProfiling = true
			}
		case "exit":
			os.Exit(0)
		}
		fmt.Println("done" + more)
	}
}
