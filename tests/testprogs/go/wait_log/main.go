// SPDX-License-Identifier: Apache-2.0

// Wait_log waits, and logs each of its waits: the clock around the operation, from before it to after, so from park to run
// again. Of each kind of wait there are many goroutines that wait independently of each other; every wait of theirs and of
// the goroutines that end the waits is logged under the name of the function that waits.
//
//	wait_log PAIRS SEED WAIT_MS REST_MS     so many goroutines of each kind, and the mean lengths
//
// Prints "ready" once all wait. Then it takes commands, a line each, and answers each with a line of JSON:
//
//	totals FROM TO     {"main.waitForMutex": [ns, waits], ...}: the waits' time between two points of the clock (ns since
//	                   1970); of waits that reach out of the window, open ones included, the part inside
//	forget             drops what was logged so far: []
//	sample SECONDS HZ  {"main.waitForMutex": ns, ...} as estimated from goroutine profiles, and the window: "from", "to"
//
// It ends with stdin.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

var origin = time.Now()

// Clock is ns since the program began; it never jumps.
func clock() int64 { return int64(time.Since(origin)) }

// A track is what one goroutine logs of one kind. Only its goroutine writes to it; the lock is free but while totals are
// made.
type track struct {
	sync.Mutex
	kind   string
	began  int64 // of the open wait, 0 for none
	closed []span
}

type span struct{ from, to int64 }

var (
	tracksLock sync.Mutex
	tracks     []*track
)

func newTrack(kind string) *track {
	t := &track{kind: kind, closed: make([]span, 0, 512)}
	tracksLock.Lock()
	tracks = append(tracks, t)
	tracksLock.Unlock()
	return t
}

func (t *track) begin() {
	t.Lock()
	t.began = clock()
	t.Unlock()
}

func (t *track) end() {
	now := clock()
	t.Lock()
	t.closed = append(t.closed, span{t.began, now})
	t.began = 0
	t.Unlock()
}

func (t *track) forget() {
	t.Lock()
	t.closed = t.closed[:0]
	t.Unlock()
}

// Inside adds up the part of the waits within [from, to].
func (t *track) inside(from, to int64) (ns, count int64) {
	t.Lock()
	defer t.Unlock()
	add := func(s span) {
		if s.from < from {
			s.from = from
		}
		if s.to > to {
			s.to = to
		}
		if s.to > s.from {
			ns += s.to - s.from
			count++
		}
	}
	for _, s := range t.closed {
		add(s)
	}
	if t.began != 0 {
		now := clock()
		add(span{t.began, now})
	}
	return ns, count
}

func totals(from, to int64) map[string][2]int64 {
	sums := map[string][2]int64{}
	tracksLock.Lock()
	defer tracksLock.Unlock()
	for _, t := range tracks {
		ns, count := t.inside(from, to)
		sum := sums[t.kind]
		sums[t.kind] = [2]int64{sum[0] + ns, sum[1] + count}
	}
	return sums
}

func main() {
	var numbers [4]int
	for i := range numbers {
		number, err := strconv.Atoi(os.Args[i+1])
		must(err)
		numbers[i] = number
	}
	wait := time.Duration(numbers[2]) * time.Millisecond
	rest := time.Duration(numbers[3]) * time.Millisecond
	startAll(numbers[0], rand.New(rand.NewSource(int64(numbers[1]))), wait, rest)
	time.Sleep(4 * (wait + rest)) // they have fallen out of step by then
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		text, err := json.Marshal(answer(strings.Fields(lines.Text())))
		must(err)
		fmt.Println(string(text))
	}
}

func answer(words []string) interface{} {
	number := func(i int) int64 {
		n, err := strconv.ParseInt(words[i], 10, 64)
		must(err)
		return n
	}
	switch words[0] {
	case "totals":
		return totals(number(1)-origin.UnixNano(), number(2)-origin.UnixNano())
	case "forget":
		tracksLock.Lock()
		defer tracksLock.Unlock()
		for _, t := range tracks {
			t.forget()
		}
		return []int{}
	case "sample":
		return sample(time.Duration(number(1))*time.Second, float64(number(2)))
	}
	return "unknown command"
}

// Sample estimates the same times from inside: goroutine profiles at jittered moments, each goroutine counted for the
// function that waits on its stack.
func sample(length time.Duration, hertz float64) map[string]int64 {
	counts := map[string]int64{}
	records := make([]runtime.StackRecord, 0)
	names := map[[32]uintptr]string{}
	from, ticks := time.Now(), int64(0)
	period := float64(time.Second) / hertz
	for tick := 0; ; tick++ {
		at := from.Add(time.Duration((float64(tick) + rand.Float64()) * period))
		if at.Sub(from) > length {
			break
		}
		time.Sleep(time.Until(at))
		n, ok := runtime.GoroutineProfile(records[:cap(records)])
		for !ok {
			records = make([]runtime.StackRecord, 0, n+n/4)
			n, ok = runtime.GoroutineProfile(records[:cap(records)])
		}
		ticks++
		for _, record := range records[:n] {
			name, known := names[record.Stack0]
			if !known {
				name = waitingFunction(record.Stack())
				names[record.Stack0] = name
			}
			counts[name]++
		}
	}
	to := time.Now()
	for name, count := range counts {
		counts[name] = int64(float64(count) / float64(ticks) * float64(to.Sub(from)))
	}
	delete(counts, "")
	counts["from"], counts["to"] = from.UnixNano(), to.UnixNano()
	return counts
}

func waitingFunction(stack []uintptr) string {
	for frames := runtime.CallersFrames(stack); ; {
		frame, more := frames.Next()
		if strings.HasPrefix(frame.Function, "main.wait") || strings.HasPrefix(frame.Function, "main.rest") ||
			strings.HasPrefix(frame.Function, "main.drive") {
			return frame.Function
		}
		if !more {
			return ""
		}
	}
}
