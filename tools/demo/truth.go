// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// truth is the program's own log of what it waited for, by site. A snapshot counts waits that are still going on with
// the time they have lasted so far, so the difference of two snapshots is the time waited between them.
type truth struct {
	mu    sync.Mutex
	sites map[string]*site
}

type site struct {
	done      int64 // waits that ended
	waitedNs  int64 // by those
	open      int64 // waits going on
	openSince int64 // sum of their starts
}

// snapshot is one line of the log; times are ns, mono_ns is CLOCK_MONOTONIC.
type snapshot struct {
	MonoNs int64                   `json:"mono_ns"`
	Sites  map[string]siteSnapshot `json:"sites"`
}

type siteSnapshot struct {
	Done     int64 `json:"done"`
	Open     int64 `json:"open"`
	WaitedNs int64 `json:"waited_ns"`
}

func newTruth() *truth { return &truth{sites: map[string]*site{}} }

// wait runs f and books its time to the site of that name.
func (t *truth) wait(name string, f func()) {
	start := t.begin(name)
	f()
	t.end(name, start)
}

func (t *truth) begin(name string) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.sites[name]
	if s == nil {
		s = &site{}
		t.sites[name] = s
	}
	now := monotonicNs()
	s.open++
	s.openSince += now
	return now
}

func (t *truth) end(name string, start int64) {
	now := monotonicNs()
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.sites[name]
	s.open--
	s.openSince -= start
	s.done++
	s.waitedNs += now - start
}

func (t *truth) snapshot() snapshot {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := monotonicNs()
	result := snapshot{MonoNs: now, Sites: map[string]siteSnapshot{}}
	for name, s := range t.sites {
		result.Sites[name] = siteSnapshot{s.done, s.open, s.waitedNs + s.open*now - s.openSince}
	}
	return result
}

// keepLog appends a snapshot to file every interval, and a last one when stop is closed.
func (t *truth) keepLog(file *os.File, interval time.Duration, stop <-chan struct{}) {
	encoder := json.NewEncoder(file)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for running := true; running; {
		select {
		case <-ticker.C:
		case <-stop:
			running = false
		}
		if err := encoder.Encode(t.snapshot()); err != nil {
			return
		}
	}
	file.Close()
}

// monotonicNs reads the clock that a recorder reads too; Go's own monotonic reading has another origin.
func monotonicNs() int64 {
	const clockMonotonic = 1
	var ts syscall.Timespec
	syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockMonotonic, uintptr(unsafe.Pointer(&ts)), 0)
	return ts.Nano()
}
