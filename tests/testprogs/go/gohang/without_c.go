// SPDX-License-Identifier: Apache-2.0

//go:build !cgo

package main

import "syscall"

//go:noinline
func hang(fd int) {
	var b [1]byte
	syscall.Read(fd, b[:])
}
