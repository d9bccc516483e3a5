// SPDX-License-Identifier: Apache-2.0
#include "userspace/collect/pid_namespace.h"

#include <errno.h>
#include <sys/stat.h>

#include <memory>

#include "bpf/wire.h"
#include "sched.skel.h"
#include "userspace/collect/iterator.h"
#include "userspace/collect/status.h"

namespace stallscope {
namespace {

absl::StatusOr<std::vector<pid_record>> ReadTasks(uint32_t inum) {
  std::unique_ptr<sched_bpf, void (*)(sched_bpf*)> s(sched_bpf__open(), sched_bpf__destroy);
  if (!s) return BpfError(errno, "cannot open the pid translation");
  bpf_program* program;
  bpf_object__for_each_program(program, s->obj) {
    bpf_program__set_autoload(program, program == s->progs.translate_pids);
  }
  for (bpf_map* map : {s->maps.stacks, s->maps.samples_0, s->maps.samples_1})
    bpf_map__set_max_entries(map, 1);
  s->rodata->pid_namespace_inum = inum;
  if (const int error = sched_bpf__load(s.get()))
    return BpfError(error, "cannot load the pid translation");
  return ReadIterator<pid_record>(s->progs.translate_pids);
}

}  // namespace

absl::StatusOr<PidNamespace> PidNamespace::Own() {
  PidNamespace result;
  struct stat ns;
  if (stat("/proc/self/ns/pid", &ns) != 0)
    return absl::ErrnoToStatus(errno, "cannot stat /proc/self/ns/pid");
  result.inum_ = ns.st_ino;
  result.initial_ = ns.st_ino == kInitialPidNamespace;
  if (auto status = result.Refresh(); !status.ok()) return status;
  return result;
}

absl::Status PidNamespace::Refresh() {
  if (initial_) return absl::OkStatus();
  auto tasks = ReadTasks(inum_);
  if (!tasks.ok()) return tasks.status();
  for (const pid_record& task : *tasks) {
    to_kernel_[task.ns_tid] = task.tid;
    from_kernel_[task.tid] = task.ns_tid;
  }
  return absl::OkStatus();
}

std::optional<uint32_t> PidNamespace::ToKernel(uint32_t own_id) const {
  if (initial_) return own_id;
  const auto it = to_kernel_.find(own_id);
  return it == to_kernel_.end() ? std::nullopt : std::optional<uint32_t>(it->second);
}

std::optional<uint32_t> PidNamespace::FromKernel(uint32_t kernel_id) const {
  if (initial_) return kernel_id;
  const auto it = from_kernel_.find(kernel_id);
  return it == from_kernel_.end() ? std::nullopt : std::optional<uint32_t>(it->second);
}

}  // namespace stallscope
