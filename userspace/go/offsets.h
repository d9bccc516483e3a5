// SPDX-License-Identifier: Apache-2.0
//
// How the structures of Go's runtime lie in memory (amd64), by Go version.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "symbolizer/struct_layout.h"

namespace stallscope {

// Bytes from the start of the runtime's structures. kNoField: this version has no such field. The
// names are those of the runtime, "runtime.g" being `g`; offsets_fields.inc has them in full.
struct GoOffsets {
  static constexpr uint16_t kNoField = 0xffff;
  uint16_t g_size = 0;
  uint16_t g_stack_lo = 0, g_stack_hi = 0, g_m = 0;
  uint16_t g_sched_sp = 0, g_sched_pc = 0, g_sched_bp = 0;
  uint16_t g_syscallsp = 0, g_syscallpc = 0, g_syscallbp = 0;
  uint16_t g_atomicstatus = 0, g_goid = 0, g_waitsince = 0, g_waitreason = 0, g_tracking_seq = 0;
  uint16_t g_lockedm = 0, g_parent_goid = 0, g_gopc = 0, g_startpc = 0, g_waiting = 0, g_labels = 0;
  uint16_t m_gsignal = 0, m_curg = 0, m_procid = 0;
  uint16_t sudog_g = 0, sudog_elem = 0, sudog_elem_vu = 0, sudog_is_select = 0;
  uint16_t sudog_c = 0, sudog_c_vu = 0;
  uint16_t hchan_qcount = 0, hchan_dataqsiz = 0, hchan_closed = 0;
  uint16_t poll_desc_fd = 0, poll_desc_rg = 0, poll_desc_wg = 0, poll_desc_self = 0;
  uint16_t poll_fd_sysfd = 0, poll_fd_pd = 0;
  uint16_t net_fd_pfd = 0, net_fd_family = 0, net_fd_sotype = 0, net_fd_laddr = 0, net_fd_raddr = 0;
  uint16_t sched_goidgen = 0, sched_maxmcount = 0;
  uint16_t sched_time_to_run = 0, sched_mutex_wait = 0, sched_stw_gc = 0, sched_stw_other = 0;
  uint16_t sched_stw_stopping_gc = 0, sched_stw_stopping_other = 0;
  bool operator==(const GoOffsets&) const = default;
  // No field that both have differs. A program's debug information lacks the structures of packages
  // that it does not use.
  bool AgreesWith(const GoOffsets& other) const;
};

// From the table that tools/gooffsets made; nullptr for a version that is not in it.
const GoOffsets* KnownGoOffsets(int minor);

// What a version outside the table is to be called: "go1.29 is newer than this build knows".
std::string UnknownGoVersion(std::string_view version);

// The structures that hold the fields.
std::vector<std::string_view> GoOffsetStructures();
// From debug information. NotFound: it lacks a structure or a field that every version has; the
// message names it.
absl::StatusOr<GoOffsets> GoOffsetsFrom(
    const absl::flat_hash_map<std::string, symbolizer::StructLayout>& structures);

}  // namespace stallscope
