// SPDX-License-Identifier: Apache-2.0

// Gotruth blocks goroutines in system calls (and, with cgo, in C) on stacks of many shapes, and writes what Go itself
// says about those stacks: the all-goroutine dump, taken while they are blocked, and for RawSyscall, which no dump can
// see, runtime.CallersFrames taken on the same source line.
//
//	gotruth during FILE   waits for a line, then blocks, dumps and releases: every stop happens under the recorder
//	gotruth before FILE   blocks and dumps first, then waits for a line: every thread is blocked before the recorder comes
//
// Prints "ready" when it waits for the line, then "done", and ends with stdin.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// A gate is a pipe on which one goroutine blocks until it is opened.
type gate struct{ r, w int }

func newGate() gate {
	var fds [2]int
	if err := syscall.Pipe(fds[:]); err != nil {
		panic(err)
	}
	return gate{fds[0], fds[1]}
}

func (g gate) open() { syscall.Write(g.w, []byte("x")) }

var finished sync.WaitGroup

// ---- one shape a site; each ends in block ----

//go:noinline
func block(fd int) uintptr {
	var b [1]byte
	n, _, _ := syscall.Syscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), 1)
	return n
}

//go:noinline
func sitePlain(fd int) {
	defer finished.Done()
	block(fd)
}

func inlinedOnce(fd int) uintptr  { return block(fd) + 1 }
func inlinedTwice(fd int) uintptr { return inlinedOnce(fd) + 2 }

func inlinedSyscall(fd int) uintptr {
	var b [1]byte
	n, _, _ := syscall.Syscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), 1)
	return n
}

//go:noinline
func siteInlined(fd int) {
	defer finished.Done()
	inlinedTwice(fd)
}

//go:noinline
func siteInlinedSyscall(fd int) {
	defer finished.Done()
	inlinedSyscall(fd)
}

//go:noinline
func siteClosure(fd int) {
	defer finished.Done()
	inner := func(extra int) uintptr {
		return func() uintptr { return block(fd) + uintptr(extra) }()
	}
	callIt(inner)
}

//go:noinline
func callIt(f func(int) uintptr) uintptr { return f(1) + 1 }

type point struct{ fd int }

//go:noinline
func (p *point) sitePointerMethod() {
	defer finished.Done()
	block(p.fd)
}

//go:noinline
func (p point) siteValueMethod() {
	defer finished.Done()
	block(p.fd)
}

type blocker interface{ siteValueMethod() }

type embedding struct {
	pad int
	*point
}

// The call goes through a wrapper that the compiler makes and that Go's traces do not show.
//
//go:noinline
func siteWrapper(b blocker) { b.siteValueMethod() }

type pair[K comparable, V any] struct {
	key   K
	value V
}

//go:noinline
func siteGeneric[T any](fd int, value T) T {
	defer finished.Done()
	block(fd)
	return value
}

//go:noinline
func (p *pair[K, V]) siteGenericMethod(fd int) K {
	defer finished.Done()
	block(fd)
	return p.key
}

//go:noinline
func siteDeep(fd, depth int) uintptr {
	if depth == 0 {
		defer finished.Done()
		return block(fd)
	}
	return siteDeep(fd, depth-1) + 1
}

//go:noinline
func siteDeferred(fd int) {
	defer finished.Done()
	defer func() {
		block(fd)
	}()
}

//go:noinline
func sitePanicking(fd int) {
	defer finished.Done()
	defer func() {
		recover()
		block(fd)
	}()
	panic("on purpose")
}

//go:noinline
func siteManyArguments(fd int, a, b, c, d, e, f, g, h, i, j, k string) string {
	defer finished.Done()
	var room [4096]byte
	room[fd] = a[0]
	block(fd)
	return b + c + d + e + f + g + h + i + j + k + string(room[fd:fd+1])
}

//go:noinline
func siteLibraryRead(fd int) {
	defer finished.Done()
	var b [1]byte
	syscall.Read(fd, b[:])
}

//go:noinline
func siteSyscall6(fd int) {
	defer finished.Done()
	var b [1]byte
	vector := syscall.Iovec{Base: &b[0], Len: 1}
	minusOne := ^uintptr(0)
	syscall.Syscall6(syscall.SYS_PREADV+32, uintptr(fd), uintptr(unsafe.Pointer(&vector)), 1, minusOne, minusOne, 0) // preadv2
}

// The WaitGroup counts are made by the sites themselves, but for those that return values.
func start(run func(fd int)) gate {
	g := newGate()
	finished.Add(1)
	run(g.r)
	return g
}

func startAll() []gate {
	gates := []gate{
		start(func(fd int) { go sitePlain(fd) }),
		start(func(fd int) { go siteInlined(fd) }),
		start(func(fd int) { go siteInlinedSyscall(fd) }),
		start(func(fd int) { go siteClosure(fd) }),
		start(func(fd int) { go (&point{fd}).sitePointerMethod() }),
		start(func(fd int) { go point{fd}.siteValueMethod() }),
		start(func(fd int) { go siteWrapper(&embedding{1, &point{fd}}) }),
		start(func(fd int) { f := (&point{fd}).sitePointerMethod; go callBound(f) }),
		start(func(fd int) { go siteGeneric(fd, 7) }),
		start(func(fd int) { go siteGeneric(fd, struct{ a, b string }{"x", "y"}) }),
		start(func(fd int) { go (&pair[string, []int]{"k", nil}).siteGenericMethod(fd) }),
		start(func(fd int) { go siteDeep(fd, 60) }),
		start(func(fd int) { go siteDeferred(fd) }),
		start(func(fd int) { go sitePanicking(fd) }),
		start(func(fd int) { go siteManyArguments(fd, "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k") }),
		start(func(fd int) { go siteLibraryRead(fd) }),
		start(func(fd int) { go siteSyscall6(fd) }),
		start(func(fd int) {
			go func() {
				defer finished.Done()
				siteLiteral(fd)
			}()
		}),
	}
	return append(gates, startC()...)
}

//go:noinline
func callBound(f func()) { f() }

//go:noinline
func siteLiteral(fd int) uintptr { return block(fd) }

// ---- RawSyscall ----

type frame struct {
	Func string `json:"func"`
	File string `json:"file"`
	Line int    `json:"line"`
}

var rawStacks = map[string][]frame{}
var rawMutex sync.Mutex

// Notes the stack of its caller, root first, under the name of a site.
//
//go:noinline
func note(site string) uintptr {
	pcs := make([]uintptr, 128)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	var stack []frame
	for {
		f, more := frames.Next()
		if f.Function != "" {
			stack = append([]frame{{f.Function, f.File, f.Line}}, stack...)
		}
		if !more {
			break
		}
	}
	rawMutex.Lock()
	rawStacks[site] = stack
	rawMutex.Unlock()
	return 0
}

func first(a, _ uintptr, _ syscall.Errno) uintptr { return a }

//go:noinline
func sum(a, b uintptr) uintptr { return a + b }

//go:noinline
func siteRaw(fd int, p *byte) uintptr {
	return sum(note("main.siteRaw"), first(syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(p)), 1)))
}

func rawInlined(fd int, p *byte) uintptr {
	return sum(note("main.siteRawInlined"), first(syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(p)), 1)))
}

//go:noinline
func siteRawInlined(fd int, p *byte) uintptr { return rawInlined(fd, p) + 1 }

//go:noinline
func siteRawDeep(fd int, p *byte, depth int) uintptr {
	if depth == 0 {
		return sum(note("main.siteRawDeep"), first(syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(p)), 1)))
	}
	return siteRawDeep(fd, p, depth-1) + 1
}

//go:noinline
func (p *point) siteRawClosure(b *byte) uintptr {
	f := func() uintptr {
		return sum(note("main.(*point).siteRawClosure"), first(syscall.RawSyscall(syscall.SYS_READ, uintptr(p.fd), uintptr(unsafe.Pointer(b)), 1)))
	}
	return callPlain(f)
}

//go:noinline
func callPlain(f func() uintptr) uintptr { return f() + 1 }

//go:noinline
func siteRawGeneric[T any](fd int, p *byte, value T) (uintptr, T) {
	return sum(note("main.siteRawGeneric"), first(syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(p)), 1))), value
}

// A thread in RawSyscall keeps its processor: nothing that stops the world may happen until the gates are open.
func startRaw() []gate {
	var gates []gate
	for _, run := range []func(fd int, p *byte){
		func(fd int, p *byte) { siteRaw(fd, p) },
		func(fd int, p *byte) { siteRawInlined(fd, p) },
		func(fd int, p *byte) { siteRawDeep(fd, p, 60) },
		func(fd int, p *byte) { (&point{fd}).siteRawClosure(p) },
		func(fd int, p *byte) { siteRawGeneric(fd, p, pair[string, int]{"k", 1}) },
	} {
		g := newGate()
		gates = append(gates, g)
		finished.Add(1)
		go func(run func(int, *byte)) {
			defer finished.Done()
			run(g.r, new(byte))
		}(run)
	}
	return gates
}

// ---- the course of events ----

func dump() string {
	buffer := make([]byte, 1<<20)
	return string(buffer[:runtime.Stack(buffer, true)])
}

func openAll(gates []gate) {
	for _, g := range gates {
		g.open()
	}
}

func waitForLine(lines *bufio.Scanner) {
	fmt.Println("ready")
	if !lines.Scan() {
		os.Exit(1)
	}
}

const settle = 500 * time.Millisecond

func main() {
	if len(os.Args) != 3 {
		os.Exit(2)
	}
	debug.SetGCPercent(-1)
	runtime.GOMAXPROCS(16)
	lines := bufio.NewScanner(os.Stdin)
	during := os.Args[1] == "during"
	if during {
		waitForLine(lines)
	}
	gates := startAll()
	time.Sleep(settle)
	text := dump()
	raw := startRaw()
	time.Sleep(settle)
	if !during {
		waitForLine(lines)
	}
	openAll(raw)
	openAll(gates)
	finished.Wait()
	out, _ := json.Marshal(map[string]any{"dump": text, "raw": rawStacks, "version": runtime.Version()})
	if err := os.WriteFile(os.Args[2], out, 0o644); err != nil {
		panic(err)
	}
	fmt.Println("done")
	for lines.Scan() {
	}
}
