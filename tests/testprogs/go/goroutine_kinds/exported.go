// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package main

import "C"

//export goCallback
func goCallback(n C.int) C.int { return n + C.int(receiveInCallback()) }

//go:noinline
func receiveInCallback() int { return <-never }

// On a thread that C started.
//
//export goFromThread
func goFromThread(n C.int) { selectOfTwo() }
