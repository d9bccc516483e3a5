// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/dump_threads.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "userspace/cli/words.h"
#include "userspace/collect/offcpu.h"
#include "userspace/collect/requirements.h"
#include "userspace/process/clock.h"
#include "userspace/process/proc_files.h"
#include "userspace/profile/make_profile.h"

namespace stallscope {
namespace {

// A recording that ends as soon as it has begun: what is blocked at its end is blocked now.
absl::StatusOr<Recording> RecordAMoment(uint32_t pid) {
  auto pids = PidNamespace::Own();
  if (!pids.ok()) return ExplainLoadFailure(pids.status());
  const auto tgid = pids->ToKernel(pid);
  if (!tgid) return TargetError(fmt::format("no process {}", pid), "find it: pgrep -a NAME");
  OffCpuOptions options;
  options.ledger.mode = TARGET_ONE;
  options.ledger.tgids = {*tgid};
  options.ledger.own_tgid = pids->ToKernel(getpid()).value_or(0);
  options.hung_at_end = true;
  symbolizer::ModuleCache modules;
  auto offcpu = OffCpu::Start(options, &*pids, &modules);
  if (!offcpu.ok()) return ExplainLoadFailure(offcpu.status());
  if (auto changes = (*offcpu)->Stop(); !changes.ok()) return changes.status();
  Recording recording;
  if (auto status = (*offcpu)->Fill(&recording, nullptr); !status.ok()) return status;
  return recording;
}

}  // namespace

absl::StatusOr<Dump> DumpThreads(const Target& target) {
  const auto taken_unix_ns = static_cast<int64_t>(ClockNs(CLOCK_REALTIME));
  const std::vector<uint32_t> threads = ThreadIds(fmt::format("/proc/{}", target.pid));
  std::set<uint32_t> left(threads.begin(), threads.end());
  auto recording = RecordAMoment(target.pid);
  if (!recording.ok()) return recording.status();
  ProfileOptions view;
  view.idle = true;
  const auto profile = MakeProfile(*recording, view);
  if (!profile.ok()) return profile.status();
  Dump dump;
  dump.taken_unix_ns = taken_unix_ns;
  dump.took_ns = recording->duration_ns;
  std::map<std::vector<uint32_t>, uint32_t> known;
  const auto stack_of = [&](const std::vector<uint32_t>& frames) {
    const auto [it, added] = known.try_emplace(frames, dump.stacks.size());
    if (added) {
      auto& named = dump.stacks.emplace_back();
      for (const uint32_t frame : frames) named.push_back(profile->frames[frame]);
    }
    return it->second;
  };
  for (const ProfileHungThread& thread : profile->hung) {
    DumpEntry& entry = dump.entries.emplace_back();
    entry.id = thread.tid;
    entry.name = thread.name;
    entry.state = "blocked";
    entry.reason = thread.reason;
    if (thread.frames.empty()) {
      entry.no_stack = "it could not be read";
    } else {
      entry.stack = stack_of(thread.frames);
    }
    left.erase(thread.tid);
  }
  // Of the others the ledger says that they had a CPU, or were ready for one. A thread that has
  // ended since is none.
  for (const uint32_t tid : left) {
    const std::string directory = fmt::format("/proc/{}/task/{}", target.pid, tid);
    if (const char state = TaskState(directory); state == 0 || state == 'Z') continue;
    DumpEntry& entry = dump.entries.emplace_back();
    entry.id = tid;
    entry.name = ReadComm(directory);
    entry.state = "running";
    entry.no_stack = "it runs, or is ready to";
  }
  std::sort(dump.entries.begin(), dump.entries.end(),
            [](const DumpEntry& a, const DumpEntry& b) { return a.id < b.id; });
  return dump;
}

}  // namespace stallscope
