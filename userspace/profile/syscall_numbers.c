// SPDX-License-Identifier: Apache-2.0
// Preprocessed only: its macros are the system calls of this machine.
#include <sys/syscall.h>
