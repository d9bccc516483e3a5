// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package main

/*
#include <unistd.h>

__attribute__((noinline)) int hang_inner_in_c(int fd) {
  char byte;
  int got = (int)read(fd, &byte, 1);
  __asm__ volatile("" ::: "memory");
  return got;
}

__attribute__((noinline)) int hang_outer_in_c(int fd) {
  int got = hang_inner_in_c(fd);
  __asm__ volatile("" ::: "memory");
  return got + 1;
}
*/
import "C"

//go:noinline
func hang(fd int) { C.hang_outer_in_c(C.int(fd)) }
