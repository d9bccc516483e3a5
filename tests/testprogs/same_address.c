// SPDX-License-Identifier: Apache-2.0
//
// A system call at one address in two programs, in a frame of another size in each: what tells the
// caller in one of them is wrong in the other. usage: same_address_X SECONDS
//
// Built twice without PIE, with the section .fixed at a fixed address: narrow (-DFRAME=24
// -DUNUSED_SLOT=8) and wide (-DFRAME=104 -DUNUSED_SLOT=24). Where the return address would lie if
// the frame were the other program's, there is one into decoy_caller, which never runs.
#include <stdio.h>
#include <stdlib.h>

#include "inline_syscall.h"

#define JOIN_TEXT(a) #a
#define TEXT(a) JOIN_TEXT(a)

void true_caller(const struct timespec* length);

__asm__(
    ".pushsection .fixed, \"ax\", @progbits\n"
    ".type fixed_wait, @function\n"
    "fixed_wait:\n"
    "  .cfi_startproc\n"
    "  sub $" TEXT(FRAME) ", %rsp\n"
    "  .cfi_adjust_cfa_offset " TEXT(FRAME) "\n"
    "  mov %rdx, " TEXT(UNUSED_SLOT) "(%rsp)\n"
    "  mov $35, %eax\n"  // nanosleep
    "  xor %esi, %esi\n"
    "  syscall\n"
    "  add $" TEXT(FRAME) ", %rsp\n"
    "  .cfi_adjust_cfa_offset -" TEXT(FRAME) "\n"
    "  ret\n"
    "  .cfi_endproc\n"
    ".size fixed_wait, . - fixed_wait\n"
    ".popsection\n"

    ".pushsection .text\n"
    ".type decoy_caller, @function\n"
    "decoy_caller:\n"
    "  .cfi_startproc\n"
    "  call decoy_caller\n"
    "decoy_return:\n"
    "  ret\n"
    "  .cfi_endproc\n"
    ".size decoy_caller, . - decoy_caller\n"

    ".globl true_caller\n"
    ".type true_caller, @function\n"
    "true_caller:\n"
    "  .cfi_startproc\n"
    "  push %rbp\n"
    "  .cfi_def_cfa_offset 16\n"
    "  .cfi_offset %rbp, -16\n"
    "  mov %rsp, %rbp\n"
    "  .cfi_def_cfa_register %rbp\n"
    "  lea decoy_return(%rip), %rdx\n"
    "  .rept 20\n"
    "  push %rdx\n"
    "  .endr\n"
    "  call fixed_wait\n"
    "  leave\n"
    "  .cfi_def_cfa %rsp, 8\n"
    "  ret\n"
    "  .cfi_endproc\n"
    ".size true_caller, . - true_caller\n"
    ".popsection\n");

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const struct timespec length = {0, 2000000};
  puts("ready");
  fflush(stdout);
  const uint64_t end_ns = clock_ns(CLOCK_MONOTONIC) + (uint64_t)(atof(argv[1]) * 1e9);
  while (clock_ns(CLOCK_MONOTONIC) < end_ns) true_caller(&length);
  return 0;
}
