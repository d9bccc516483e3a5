// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace stallscope {

// Where a Go process keeps the goroutine of a thread; what walking from a system stack to it needs.
// Bytes.
struct GoLayout {
  int32_t g_tls = 0;                          // of g from the thread pointer (fsbase)
  uint16_t g_m = 0;                           // g.m
  uint16_t g_sched_sp = 0;                    // g.sched.sp; g.sched.pc follows it
  uint16_t g_sched_bp = 0;                    // g.sched.bp
  uint16_t m_gsignal = 0;                     // m.gsignal
  uint16_t m_curg = 0;                        // m.curg
  uint64_t switch_start = 0, switch_end = 0;  // runtime.systemstack_switch in the process
};

}  // namespace stallscope
