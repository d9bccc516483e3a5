// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "bpf/wire.h"
#include "userspace/cli/targets.h"
#include "userspace/collect/pid_namespace.h"

namespace stallscope {

// The targets in the kernel programs' words.
struct KernelTargets {
  target_mode mode = TARGET_SET;
  std::vector<uint32_t> tgids;  // the initial pid namespace's numbers
  uint32_t own_tgid = 0;        // ours
  std::string wanted_comm;      // --comm: processes that take this name later are targets too
};

// Reads our pid namespace into `pids`. `children`: whether processes that they start are targets
// too. Fails with a TargetError or a MachineError.
absl::StatusOr<KernelTargets> FindKernelTargets(const TargetSelector& selector,
                                                const Targets& targets, bool children,
                                                PidNamespace* pids);

// Fills in the fields of a probe's options that say who is recorded.
template <typename ProbeOptions>
void AimAt(const KernelTargets& targets, ProbeOptions* options) {
  options->mode = targets.mode;
  options->tgids = targets.tgids;
  options->own_tgid = targets.own_tgid;
}

}  // namespace stallscope
