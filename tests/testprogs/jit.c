// SPDX-License-Identifier: Apache-2.0
//
// Naps in code that it made itself, and names it as a JIT does, in /tmp/perf-PID.map. usage: jit
// SECONDS
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "inline_syscall.h"

NOINLINE static void call_made_code(void (*nap)(const struct timespec*)) {
  const struct timespec length = {0, 10000000};
  nap(&length);
}

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  // push %rbp; mov %rsp,%rbp; mov $35 (nanosleep),%eax; xor %esi,%esi; syscall; pop %rbp; ret
  static const unsigned char kCode[] = {0x55, 0x48, 0x89, 0xe5, 0xb8, 0x23, 0x00, 0x00,
                                        0x00, 0x31, 0xf6, 0x0f, 0x05, 0x5d, 0xc3};
  void* code =
      mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (code == MAP_FAILED) return 1;
  memcpy(code, kCode, sizeof(kCode));
  char path[64];
  snprintf(path, sizeof(path), "/tmp/perf-%d.map", getpid());
  FILE* map = fopen(path, "w");
  if (!map) return 1;
  fprintf(map, "%lx %zx made;up\nnot a line\n", (unsigned long)code, sizeof(kCode));
  fclose(map);
  puts("ready");
  fflush(stdout);
  const uint64_t end_ns = clock_ns(CLOCK_MONOTONIC) + (uint64_t)(atof(argv[1]) * 1e9);
  while (clock_ns(CLOCK_MONOTONIC) < end_ns) call_made_code((void (*)(const struct timespec*))code);
  return 0;
}
