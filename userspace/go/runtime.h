// SPDX-License-Identifier: Apache-2.0
//
// A Go runtime inside a live process: where it keeps its goroutines, and how they lie there. A
// process may hold several: a c-shared library has one of its own.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "symbolizer/go_binary.h"
#include "symbolizer/module.h"
#include "userspace/go/offsets.h"
#include "userspace/process/go_layout.h"
#include "userspace/process/live_space.h"

namespace stallscope {

// Values of g.atomicstatus, without the scan bit.
enum GoStatus : uint32_t {
  kGoIdle = 0,
  kGoRunnable = 1,
  kGoRunning = 2,
  kGoSyscall = 3,
  kGoWaiting = 4,
  kGoDead = 6,
  kGoCopyStack = 8,
  kGoPreempted = 9,
  kGoLeaked = 10,     // 1.26
  kGoDeadExtra = 11,  // 1.26: the spare goroutines of cgo
  kGoScanBit = 0x1000,
};

// Where every change of a goroutine's state comes by, but for those that the runtime makes in
// place: in runtime.casgstatus(gp, old, new), with the three in rax, ebx and ecx.
struct GoTransitionSite {
  uint64_t address = 0;            // in the process; 0: not found
  uint64_t file_offset = 0;        // in the file that the runtime is in
  uint32_t offset = 0;             // from the function's entry
  bool emulated = false;           // the kernel need not step through the instruction: cheap
  bool after_stack_check = false;  // as ProbeSite has it
};

struct GoRuntime {
  std::string path;     // of the executable or library that it is in
  std::string version;  // "go1.26.8"
  int minor = 0;        // 26
  GoOffsets offsets;
  std::string offsets_from;                      // "the table for go1.26", "the program's DWARF"
  uint64_t load_bias = 0;                        // added to the ELF addresses of `tables`
  const symbolizer::GoBinary* tables = nullptr;  // owned by the LiveSpace
  // Addresses in the process. The runtime's own lock-free order: first the length, then the array.
  uint64_t allglen = 0;  // of a uintptr
  uint64_t allgptr = 0;  // of a **g
  uint64_t sched = 0;    // runtime.sched; 0: not found
  GoTransitionSite transitions;
  std::vector<std::string> wait_reasons;  // by number
  bool labels_are_slice = false;          // g.labels: 1.24 on a list of pairs, before a map
};

// A Go module of a process that is not believed, and why.
struct RefusedGoModule {
  std::string path;
  absl::Status why;
};

// The runtimes of a process, the executable's first. Each is believed only after its self-check:
// code of the runtime names the offsets that the table gives, and what its list of goroutines holds
// looks like goroutines. NotFound: not a Go program. Else no runtime was believed: Unimplemented (a
// version or layout that is not known), FailedPrecondition (the runtime has not started yet),
// PermissionDenied (its memory cannot be read), Unavailable (it has ended); the message says what
// was expected and found. Those that were not believed beside others, plugins among them, are in
// `refused`.
absl::StatusOr<std::vector<GoRuntime>> FindGoRuntimes(
    const LiveSpace& space, std::vector<RefusedGoModule>* refused = nullptr);

// For one module; `offsets` in place of those that its version says, for tests.
absl::StatusOr<GoRuntime> FindGoRuntime(const LiveSpace::GoModule& module, const Memory& memory,
                                        const GoOffsets* offsets = nullptr);

// From the debug information of a module, whatever its version. NotFound: it has none, or it lacks
// something.
absl::StatusOr<GoOffsets> GoOffsetsFromDwarf(const symbolizer::Module& module);

}  // namespace stallscope
