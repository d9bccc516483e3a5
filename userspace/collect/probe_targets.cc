// SPDX-License-Identifier: Apache-2.0
#include "userspace/collect/probe_targets.h"

#include <bpf/bpf.h>
#include <errno.h>

#include "userspace/collect/status.h"

namespace stallscope {
namespace {

// As the walker takes it; `enabled` says whether there is one.
go_layout RawGoLayout(const std::optional<GoLayout>& layout) {
  go_layout raw = {};
  if (!layout) return raw;
  raw.enabled = 1;
  raw.g_tls = layout->g_tls;
  raw.g_m = layout->g_m;
  raw.g_sched_sp = layout->g_sched_sp;
  raw.g_sched_bp = layout->g_sched_bp;
  raw.m_gsignal = layout->m_gsignal;
  raw.m_curg = layout->m_curg;
  raw.switch_start = layout->switch_start;
  raw.switch_end = layout->switch_end;
  return raw;
}

// Into memory that the walker reads at the same time: it sees the old one, none, or the new one.
void PutGoLayout(const go_layout& layout, go_layout* shared) {
  shared->enabled = 0;
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  go_layout disabled = layout;
  disabled.enabled = 0;
  *shared = disabled;
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  shared->enabled = layout.enabled;
}

}  // namespace

absl::Status ProbeTargets::AddAll(const TargetOptions& options) {
  if (options.mode != TARGET_SET) return absl::OkStatus();
  for (const uint32_t tgid : options.tgids) {
    if (auto status = Add(tgid); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status ProbeTargets::Add(uint32_t tgid) {
  const uint8_t one = 1;
  if (bpf_map_update_elem(targets_, &tgid, &one, BPF_ANY))
    return BpfError(errno, "too many target processes");
  return absl::OkStatus();
}

void ProbeTargets::Remove(uint32_t tgid) {
  bpf_map_delete_elem(targets_, &tgid);
  bpf_map_delete_elem(go_layouts_, &tgid);
}

void ProbeTargets::SetGoLayout(uint32_t tgid, const std::optional<GoLayout>& layout) {
  const go_layout value = RawGoLayout(layout);
  if (mode_ == TARGET_ONE) {
    PutGoLayout(value, one_go_);
  } else if (layout) {
    bpf_map_update_elem(go_layouts_, &tgid, &value, BPF_ANY);
  } else {
    bpf_map_delete_elem(go_layouts_, &tgid);
  }
}

void ProbeTargets::SetFrameStep(uint64_t address, const frame_step& step) {
  if (bpf_map_update_elem(frame_steps_, &address, &step, BPF_ANY) == 0) *frame_steps_used_ = 1;
}

}  // namespace stallscope
