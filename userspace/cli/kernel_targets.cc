// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/kernel_targets.h"

#include <fmt/format.h>
#include <unistd.h>

#include "userspace/cli/words.h"
#include "userspace/collect/requirements.h"

namespace stallscope {

absl::StatusOr<KernelTargets> FindKernelTargets(const TargetSelector& selector,
                                                const Targets& targets, bool children,
                                                PidNamespace* pids) {
  auto own = PidNamespace::Own();
  if (!own.ok()) return ExplainLoadFailure(own.status());
  *pids = *std::move(own);
  KernelTargets found;
  for (const Target& target : targets.processes) {
    const auto tgid = pids->ToKernel(target.pid);
    if (!tgid) {
      return TargetError(fmt::format("no process {}", target.pid),
                         "it ended just now; find it: pgrep -a NAME");
    }
    found.tgids.push_back(*tgid);
  }
  found.own_tgid = pids->ToKernel(getpid()).value_or(0);
  using Kind = TargetSelector::Kind;
  if (selector.kind == Kind::kComm) found.wanted_comm = selector.comm;
  const bool growing = children || selector.kind == Kind::kComm || selector.kind == Kind::kCgroup;
  if (selector.kind == Kind::kAll) {
    found.mode = TARGET_ALL;
  } else if (found.tgids.size() == 1 && !growing) {
    found.mode = TARGET_ONE;
  }
  return found;
}

}  // namespace stallscope
