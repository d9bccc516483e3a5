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
#include "userspace/process/go_layout.h"
#include "userspace/process/live_space.h"

namespace stallscope {

// Bytes from the start of the runtime's structures (amd64). kNoField: this version has no such
// field.
struct GoOffsets {
  static constexpr uint16_t kNoField = 0xffff;
  uint16_t g_size = 0;
  uint16_t g_stack_lo = 0, g_stack_hi = 0, g_m = 0;
  uint16_t g_sched_sp = 0, g_sched_pc = 0, g_sched_bp = 0;
  uint16_t g_syscallsp = 0, g_syscallpc = 0;
  uint16_t g_atomicstatus = 0, g_goid = 0, g_waitsince = 0, g_waitreason = 0, g_tracking_seq = 0;
  uint16_t g_lockedm = 0, g_parent_goid = 0, g_gopc = 0, g_startpc = 0, g_waiting = 0, g_labels = 0;
  uint16_t m_gsignal = 0, m_curg = 0, m_procid = 0;
  uint16_t sudog_c = 0;
  uint16_t hchan_qcount = 0, hchan_dataqsiz = 0, hchan_closed = 0;
  uint16_t sched_time_to_run = 0, sched_mutex_wait = 0, sched_stw_gc = 0, sched_stw_other = 0;
};

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

struct GoRuntime {
  std::string version;  // "go1.26.8"
  int minor = 0;        // 26
  GoOffsets offsets;
  std::string offsets_from;                      // "the table for go1.26", "the program's DWARF"
  uint64_t load_bias = 0;                        // added to the ELF addresses of `tables`
  const symbolizer::GoBinary* tables = nullptr;  // owned by the LiveSpace
  // Addresses in the process. The runtime's own lock-free order: first the length, then the array.
  uint64_t allglen = 0;                   // of a uintptr
  uint64_t allgptr = 0;                   // of a **g
  uint64_t sched = 0;                     // runtime.sched; 0: not found
  std::vector<std::string> wait_reasons;  // by number
  bool labels_are_slice = false;          // g.labels: 1.24 on a list of pairs, before a map
};

// The runtimes of a process, the executable's first. Each is believed only after its self-check:
// code of the runtime names the offsets that the table gives, and what allgs lists looks like
// goroutines. NotFound: not a Go program. Unimplemented, FailedPrecondition: a Go program whose
// version or layout is not known; the message says which and why.
absl::StatusOr<std::vector<GoRuntime>> FindGoRuntimes(const LiveSpace& space);

}  // namespace stallscope
