// SPDX-License-Identifier: Apache-2.0

// A Go program that tells what Go itself calls the places in it. It prints
//
//	base ADDRESS                         where its first byte is mapped
//	pc ADDRESS                           one place of its code, chosen at random, and below it
//	 FUNCTION FILE:LINE                  the innermost frame that runtime.CallersFrames gives there
//	stack ADDRESS ADDRESS...             what runtime.Callers gave, and below it
//	 FUNCTION FILE:LINE                  each frame that runtime.CallersFrames gives
//
// Stacks are taken where the standard library calls back: under sorting, printing, templates, reflection, panics.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"reflect"
	"regexp"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"text/template"
)

var (
	output = bufio.NewWriter(os.Stdout)
	noting sync.Mutex // goroutines note their stacks too
)

func printFrame(frame runtime.Frame) {
	fmt.Fprintf(output, " %s %s:%d\n", frame.Function, frame.File, frame.Line)
}

// noteStack prints the stack of its caller. Every place that calls it is a place whose names are checked.
func noteStack() {
	pcs := make([]uintptr, 200)
	pcs = pcs[:runtime.Callers(0, pcs)]
	noting.Lock()
	defer noting.Unlock()
	fmt.Fprint(output, "stack")
	for _, pc := range pcs {
		fmt.Fprintf(output, " %x", pc)
	}
	fmt.Fprintln(output)
	frames := runtime.CallersFrames(pcs)
	for {
		frame, more := frames.Next()
		printFrame(frame)
		if !more {
			break
		}
	}
}

func noteRandomPlaces(start, end uintptr, count int) {
	random := rand.New(rand.NewSource(1))
	for i := 0; i < count; i++ {
		pc := start + uintptr(random.Int63n(int64(end-start)))
		// CallersFrames takes return addresses: the place before it is looked up. At a function's entry and behind the
		// last function it does not go back, so the byte before these cannot be asked for.
		next := runtime.FuncForPC(pc + 1)
		if (next == nil) != (runtime.FuncForPC(pc) == nil) || next != nil && next.Entry() == pc+1 {
			continue
		}
		frame, _ := runtime.CallersFrames([]uintptr{pc + 1}).Next()
		// The runtime takes name number 0 for no name, though the linker gives it to the first function.
		if frame.Function == "" && frame.Entry != 0 {
			continue
		}
		fmt.Fprintf(output, "pc %x\n", pc)
		if frame.Function != "" {
			printFrame(frame)
		}
	}
}

// mappings gives where this program's file is mapped, and its code.
func mappings() (base, codeStart, codeEnd uintptr) {
	self, _ := os.Readlink("/proc/self/exe")
	text, _ := os.ReadFile("/proc/self/maps")
	for _, line := range strings.Split(string(text), "\n") {
		fields := strings.Fields(line)
		if len(fields) < 6 || fields[5] != self {
			continue
		}
		bounds := strings.Split(fields[0], "-")
		start, _ := strconv.ParseUint(bounds[0], 16, 64)
		end, _ := strconv.ParseUint(bounds[1], 16, 64)
		if base == 0 {
			base = uintptr(start)
		}
		if strings.Contains(fields[1], "x") {
			codeStart, codeEnd = uintptr(start), uintptr(end)
		}
	}
	return
}

type shape interface{ area() int }
type square struct{ side int }
type tile struct{ square } // (*tile).area and tile.area are wrappers

func (s square) area() int { noteStack(); return s.side * s.side }

type speaker struct{ words string }

func (s speaker) String() string               { noteStack(); return s.words }
func (s speaker) MarshalJSON() ([]byte, error) { noteStack(); return []byte(`"x"`), nil }

type pair[A, B any] struct {
	a A
	b B
}

func (p pair[A, B]) visit(f func(A, B)) { f(p.a, p.b) }

func apply[T any](values []T, f func(T)) {
	for _, v := range values {
		f(v)
	}
}

// Three calls deep, all inlined into the caller.
func inlineOuter(n int) int  { return inlineMiddle(n+1) + 1 }
func inlineMiddle(n int) int { return inlineInner(n+1) + 1 }
func inlineInner(n int) int {
	noteStack()
	return n
}

//go:noinline
func recursive(n int) {
	if n == 0 {
		noteStack()
		return
	}
	recursive(n - 1)
}

func inClosures() {
	outer := func(n int) {
		func() {
			noteStack()
			defer func() { noteStack() }()
			inlineOuter(n)
		}()
	}
	outer(1)
	note := noteStack
	note()
	method := tile{square{3}}.area
	method()
	var s shape = &tile{square{2}}
	s.area()
	s = tile{square{2}}
	s.area()
	shape.area(s)
}

func inGenerics() {
	apply([]int{1}, func(int) { noteStack() })
	apply([]string{"a"}, func(string) { noteStack() })
	pair[int, *square]{1, &square{2}}.visit(func(int, *square) { noteStack() })
	pair[map[string]int, []shape]{}.visit(func(map[string]int, []shape) { inlineOuter(1) })
}

func inPanics() {
	defer func() { recover(); noteStack() }()
	defer noteStack()
	var none *tile
	var s shape = none
	s.area() // the wrapper itself panics
}

func inLibrary() {
	sort.Slice([]int{2, 1}, func(i, j int) bool { noteStack(); return i < j })
	sort.Sort(sort.Reverse(noted{2, 1}))
	strings.Map(func(r rune) rune { noteStack(); return r }, "a")
	strings.FieldsFunc("a", func(rune) bool { inlineOuter(1); return false })
	regexp.MustCompile("b+").ReplaceAllStringFunc("abbc", func(s string) string { noteStack(); return s })
	_ = fmt.Sprint(speaker{"x"}, &speaker{"y"})
	_ = fmt.Sprintf("%v", []fmt.Stringer{speaker{"z"}})
	json.Marshal(map[string]interface{}{"k": []interface{}{speaker{"j"}}})
	template.Must(template.New("t").Parse("{{range .}}{{.}}{{end}}")).Execute(&bytes.Buffer{}, []speaker{{"t"}})
	reflect.ValueOf(func(int) { noteStack() }).Call([]reflect.Value{reflect.ValueOf(1)})
	reflect.ValueOf(tile{square{4}}).MethodByName("String")
	made := reflect.MakeFunc(reflect.TypeOf(func() {}), func([]reflect.Value) []reflect.Value { noteStack(); return nil })
	made.Interface().(func())()
	new(sync.Once).Do(noteStack)
	bufio.NewScanner(strings.NewReader("a")).Scan()
}

type noted []int

func (n noted) Len() int           { return len(n) }
func (n noted) Less(i, j int) bool { noteStack(); return n[i] < n[j] }
func (n noted) Swap(i, j int)      { n[i], n[j] = n[j], n[i] }

func inGoroutines() {
	var done sync.WaitGroup
	done.Add(3)
	go func() { defer done.Done(); noteStack() }()
	done.Add(-1)
	go func(t tile) { defer done.Done(); t.area() }(tile{})
	done.Wait()
	finished := make(chan bool)
	go noteThen(finished, 1)
	<-finished
}

func noteThen(finished chan bool, n int) { inlineOuter(n); finished <- true }

func main() {
	defer output.Flush()
	base, start, end := mappings()
	fmt.Fprintf(output, "base %x\n", base)
	inClosures()
	inGenerics()
	inPanics()
	inLibrary()
	inGoroutines()
	inCgo()
	recursive(5)
	noteRandomPlaces(start, end, 20000)
}
