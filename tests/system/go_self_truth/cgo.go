// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package main

// extern void callBack(int);
import "C"

//export calledFromC
func calledFromC(n C.int) { inlineOuter(int(n)) }

func inCgo() { C.callBack(1) }
