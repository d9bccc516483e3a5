// SPDX-License-Identifier: Apache-2.0

package main

import (
	"runtime"
	"sort"
	"sync"
)

// Stacks of every shape that an unwinder and a line table must follow.
func shapes() []func(int) {
	return []func(int){
		func(int) { go throughInlinedFunctions() },
		func(int) { go throughGenerics() },
		func(int) { go throughInterface(waiter(value{1})) },
		func(int) { go throughInterface(waiter(&pointer{value{2}})) },
		func(int) { go (&pointer{}).wait(3) },
		func(int) { method := (&pointer{}).wait; go method(4) },
		func(i int) { go recurse(i % 60) },
		func(int) { go recurse(500) },
		func(i int) { go growing(i % 12) },
		func(i int) { go manyArguments(1, 2, 3, "four", 5.5, []int{6}, map[int]int{7: 7}, i, 9, 10, 11, 12) },
		func(int) { go inDeferred() },
		func(int) { go whilePanicking() },
		func(int) { go afterNilPointer(nil) },
		func(i int) { go afterIndex(make([]int, 3), 3+i) },
		func(i int) { go afterDivision(i, 0) },
		func(int) { go whileLeaving() },
		func(int) { go inComparison() },
		func(int) { creator() },
		func(int) {
			// A root frame on the go statement's own line would be taken for the compiler's wrapper (goroutines.py).
			go func() {
				go nestedCreator()
				<-never
			}()
		},
		func(i int) {
			func() {
				func() {
					go func() {
						closed(i)()
					}()
				}()
			}()
		},
		func(int) { go inMapOfFunctions() },
	}
}

func inlinedLeaf(c chan int) int   { return <-c }
func inlinedMiddle(c chan int) int { return inlinedLeaf(c) + 1 }
func inlinedOuter(c chan int) int {
	value := inlinedMiddle(c)
	return value + 2
}

//go:noinline
func throughInlinedFunctions() {
	runtime.KeepAlive(inlinedOuter(never) +
		1)
}

type queue[T any] struct{ c chan T }

//go:noinline
func (q *queue[T]) take() (value T) { return <-q.c }

func takeInlined[T any](q *queue[T]) T { return q.take() }

//go:noinline
func firstOf[T, U any](q *queue[T], convert func(T) U) U { return convert(takeInlined(q)) }

//go:noinline
func throughGenerics() {
	type pair struct{ a, b string }
	runtime.KeepAlive(firstOf(&queue[pair]{make(chan pair)}, func(p pair) int { return len(p.a) }))
}

type waiter interface{ wait(n int) int }
type value struct{ n int }
type pointer struct{ value }

// A method of a value: calls through an interface pass a wrapper that Go does not print.
//
//go:noinline
func (v value) wait(n int) int { return <-never + v.n + n }

//go:noinline
func throughInterface(w waiter) { runtime.KeepAlive(w.wait(1)) }

//go:noinline
func recurse(depth int) int {
	if depth == 0 {
		return <-never
	}
	return recurse(depth-1) + depth
}

// Frames of some KiB: the stack is moved while it grows.
//
//go:noinline
func growing(depth int) int {
	var room [3000]byte
	room[depth] = byte(depth)
	if depth == 0 {
		return <-never
	}
	return growing(depth-1) + int(room[depth])
}

//go:noinline
func manyArguments(a, b, c int, d string, e float64, f []int, g map[int]int, h, i, j, k, l int) {
	runtime.KeepAlive([]interface{}{a, b, c, d, e, f, g, h, i, j, k, l, <-never})
}

//go:noinline
func inDeferred() {
	defer func() { <-never }()
	runtime.Gosched()
}

//go:noinline
func whilePanicking() {
	defer func() { <-never }()
	panic("on purpose")
}

//go:noinline
func afterNilPointer(p *value) {
	defer func() { <-never }()
	runtime.KeepAlive(p.n)
}

//go:noinline
func afterIndex(list []int, at int) {
	defer func() { <-never }()
	runtime.KeepAlive(list[at])
}

//go:noinline
func afterDivision(a, b int) {
	defer func() { <-never }()
	runtime.KeepAlive(a / b)
}

//go:noinline
func whileLeaving() {
	defer func() { <-never }()
	runtime.Goexit()
}

//go:noinline
func inComparison() {
	sort.Slice([]int{2, 1, 3}, func(i, j int) bool { return <-never == 0 })
}

// The go statement is in a function that is inlined into this one.
//
//go:noinline
func creator() { inlinedCreator() }

func inlinedCreator() { go createdInlined() }

//go:noinline
func createdInlined() { <-never }

//go:noinline
func nestedCreator() {
	var once sync.Once
	once.Do(func() { go createdNested() })
	<-never
}

//go:noinline
func createdNested() { <-never }

//go:noinline
func closed(i int) func() {
	return func() { runtime.KeepAlive(<-never + i) }
}

//go:noinline
func inMapOfFunctions() {
	for _, function := range map[string]func(){"only": func() { <-never }} {
		function()
	}
}
