// SPDX-License-Identifier: Apache-2.0

// Goroutine_kinds parks goroutines in every kind of wait, on stacks of many shapes, and says what Go itself says of
// them.
//
//	goroutine_kinds COPIES     that many goroutines of each kind
//
// Prints "ready" once every goroutine stands still. Then it takes commands, a line each, and answers each with a line:
//
//	dump FILE     the all-goroutine profile (debug=2)
//	counts FILE   the profile that counts equal stacks (debug=1)
//	facts         what it knows of its own goroutines: {"labels": {id: {key: value}}, "peers": {id: [local, remote]}}
//	finalize      lets the finalizer goroutine run a function that blocks
//
// It ends with stdin. With GOTRACEBACK=system in its environment SIGQUIT makes it print all goroutines, the runtime's own and
// the runtime's frames included.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Facts are what a goroutine says of itself before it parks.
type facts struct {
	sync.Mutex
	Labels map[int]map[string]string `json:"labels"`
	Peers  map[int][2]string         `json:"peers"`
}

var known = facts{Labels: map[int]map[string]string{}, Peers: map[int][2]string{}}

func ownID() int {
	var text [64]byte
	words := bytes.Fields(text[:runtime.Stack(text[:], false)])
	id, err := strconv.Atoi(string(words[1]))
	if err != nil {
		panic(err)
	}
	return id
}

func (f *facts) labelled(key, value string, more map[string]string) {
	all := map[string]string{key: value}
	for k, v := range more {
		all[k] = v
	}
	f.Lock()
	f.Labels[ownID()] = all
	f.Unlock()
}

func (f *facts) connected(local, remote string) {
	f.Lock()
	f.Peers[ownID()] = [2]string{local, remote}
	f.Unlock()
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// Waits until the process has used no CPU for some tenths of a second: every goroutine is parked then.
func settle() {
	used := func() int64 {
		var usage syscall.Rusage
		must(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
		return usage.Utime.Nano() + usage.Stime.Nano()
	}
	for quiet, before := 0, used(); quiet < 3; {
		time.Sleep(100 * time.Millisecond)
		now := used()
		if now-before < int64(3*time.Millisecond) {
			quiet++
		} else {
			quiet = 0
		}
		before = now
	}
}

func write(path string, level int) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := pprof.Lookup("goroutine").WriteTo(file, level); err != nil {
		return err
	}
	return file.Close()
}

func main() {
	copies, err := strconv.Atoi(os.Args[1])
	must(err)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	go waitForSignal(signals)
	for _, kind := range kinds() {
		for i := 0; i < copies; i++ {
			kind(i)
		}
	}
	runtime.GC() // its workers are started by the first
	runtime.GC()
	settle()
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		answer(lines.Text())
	}
}

func answer(line string) {
	command, argument, _ := strings.Cut(line, " ")
	switch command {
	case "dump":
		must(write(argument, 2))
		fmt.Println("done")
	case "counts":
		must(write(argument, 1))
		fmt.Println("done")
	case "facts":
		known.Lock()
		text, err := json.Marshal(&known)
		known.Unlock()
		must(err)
		fmt.Println(string(text))
	case "finalize":
		blockTheFinalizer()
		settle()
		fmt.Println("done")
	default:
		fmt.Println("unknown command")
	}
}

//go:noinline
func waitForSignal(signals chan os.Signal) { <-signals }

//go:noinline
func blockTheFinalizer() {
	object := new([64]byte)
	runtime.SetFinalizer(object, func(*[64]byte) { select {} })
	object = nil
	for i := 0; i < 3; i++ {
		runtime.GC()
		time.Sleep(50 * time.Millisecond)
	}
}

//go:noinline
func labelledWait(i int) {
	value := fmt.Sprintf("worker %d; \"quoted\" \u00e4", i)
	labels := pprof.Labels("task", value, "shard", strconv.Itoa(i%3))
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), labels))
	known.labelled("task", value, map[string]string{"shard": strconv.Itoa(i % 3)})
	go labelledChild(value, i)
	<-never
}

// Goroutines inherit their creator's labels.
//
//go:noinline
func labelledChild(value string, i int) {
	known.labelled("task", value, map[string]string{"shard": strconv.Itoa(i % 3)})
	<-never
}

//go:noinline
func labelledByDo(i int) {
	pprof.Do(context.Background(), pprof.Labels("request", strconv.Itoa(i)), func(context.Context) {
		known.labelled("request", strconv.Itoa(i), nil)
		<-never
	})
}
