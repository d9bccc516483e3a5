// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package main

// #include <unistd.h>
import "C"

// One call into C; then it waits as the others do.
func blockInC() {
	C.getpid()
	<-never
}
