// SPDX-License-Identifier: Apache-2.0
//
// The variables of a live Go runtime: where its list of all goroutines and its scheduler's state
// lie. Found by symbols and by the code that works on them; believed when two ways agree and the
// memory there is as it must be.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "userspace/go/code.h"
#include "userspace/go/offsets.h"
#include "userspace/process/memory.h"

namespace stallscope {

// What is known before: code facts (addresses in the process) of functions by name, empty where the
// program has no such function, and symbols, 0 where it has none.
struct GoRuntimeCode {
  CodeFacts allgadd;        // appends to allgs, sets allgptr and allglen
  CodeFacts for_each_g;     // forEachGRace, which reads allglen and allgptr
  CodeFacts new_goroutine;  // newproc1, which calls allgadd and adds to sched.goidgen
  CodeFacts schedinit;      // which sets sched.maxmcount
  CodeFacts wait_reason;    // waitReason.String
  CodeFacts casgstatus, gopark, mcall;
};
struct GoRuntimeSymbols {
  uint64_t allgs = 0, allgptr = 0, allglen = 0, sched = 0;
};

// Whether `size` bytes at an address of the process are variables of this runtime's module.
using IsVariable = std::function<bool(uint64_t address, uint64_t size)>;

// The addresses of the variables that hold the list of all goroutines.
struct GoroutineListVariables {
  uint64_t allglen = 0, allgptr = 0;
};
// Unimplemented: not found, or two ways contradict each other. FailedPrecondition: the list is
// there and empty: the runtime has not started (or never will: a copy that another one replaces).
absl::StatusOr<GoroutineListVariables> FindGoroutineList(const GoRuntimeCode& code,
                                                         const GoRuntimeSymbols& symbols,
                                                         const Memory& memory,
                                                         const IsVariable& is_variable);

// runtime.sched; 0: not found, or two ways contradict each other.
uint64_t FindSched(const GoRuntimeCode& code, const GoRuntimeSymbols& symbols,
                   const GoOffsets& offsets, const IsVariable& is_variable);

// The runtime's words for the reasons of waits, by number. Unimplemented: not found, or not words.
absl::StatusOr<std::vector<std::string>> ReadWaitReasons(const GoRuntimeCode& code,
                                                         const Memory& memory,
                                                         const IsVariable& is_variable);

}  // namespace stallscope
