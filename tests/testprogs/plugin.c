// SPDX-License-Identifier: Apache-2.0
//
// A library that plugin_host loads and unloads. Built several times with names of the same length,
// so that each lands where the one before it was.
#include "inline_syscall.h"

NOINLINE void PLUGIN_NAP(long ns) {
  const struct timespec length = {0, ns};
  inline_syscall(SYS_nanosleep, (long)&length, 0, 0, 0);
}
