// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/doctor.h"

#include <absl/status/status.h>
#include <fmt/format.h>
#include <stdio.h>

#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "symbolizer/file_bytes.h"
#include "symbolizer/go_binary.h"
#include "symbolizer/module_cache.h"
#include "userspace/cli/report.h"
#include "userspace/cli/targets.h"
#include "userspace/cli/version.h"
#include "userspace/cli/words.h"
#include "userspace/collect/requirements.h"
#include "userspace/go/runtime.h"
#include "userspace/process/live_space.h"
#include "userspace/process/proc_files.h"

namespace stallscope {
namespace {

Requirement Ok(std::string name, std::string found) {
  return {std::move(name), RequirementState::kOk, std::move(found), "", ""};
}

Requirement ProgramKind(const LiveSpace& space) {
  if (space.is_x86_64()) return Ok("program", fmt::format("{}, 64-bit x86", space.exe()));
  return {"program", RequirementState::kDegraded,
          fmt::format("{}: not a 64-bit x86 program", space.exe()),
          "its waits are counted, its user stacks are not walked", "none yet"};
}

Requirement GoTables(const LiveSpace& space, std::string& version) {
  uint64_t load_bias = 0;
  if (const symbolizer::GoBinary* go = space.go(&load_bias)) {
    version = go->version();
    return Ok("Go", version.empty() ? "Go, of a version that it does not say" : version);
  }
  const std::string problem = space.go_problem();
  if (problem.empty()) return Ok("Go", "not a Go program");
  return {"Go", RequirementState::kDegraded, problem, "Go functions may have no names",
          "build it with Go 1.18 or newer"};
}

// Nothing for what is not a Go program.
std::optional<Requirement> GoroutinesOf(const LiveSpace& space) {
  const auto runtimes = FindGoRuntimes(space);
  if (absl::IsNotFound(runtimes.status())) return std::nullopt;
  if (runtimes.ok()) {
    const GoRuntime& first = runtimes->front();
    return Ok("goroutines",
              fmt::format("can be read: {} by {}", first.version, first.offsets_from));
  }
  return Requirement{"goroutines", RequirementState::kDegraded,
                     std::string(runtimes.status().message()), "its goroutines cannot be read",
                     absl::IsPermissionDenied(runtimes.status())
                         ? "run as root, or add CAP_SYS_PTRACE"
                         : "its threads can be recorded: -e offcpu"};
}

Requirement FramePointers(bool is_go) {
  if (is_go) return Ok("frame pointers", "Go keeps them");
  return Ok("frame pointers",
            "not known before a recording, which says so when user stacks are short");
}

// Each mapped executable file once: through map_files, which reaches deleted ones too, else through
// the process's root.
Requirement Files(const std::string& proc_dir, const std::vector<MapsLine>& maps) {
  constexpr size_t kMostFiles = 10'000;
  std::set<std::pair<uint64_t, uint64_t>> seen;
  size_t unreadable = 0;
  std::string example;
  for (const MapsLine& line : maps) {
    if (!line.executable || line.inode == 0 || seen.size() > kMostFiles) continue;
    if (!seen.emplace(line.device, line.inode).second) continue;
    const std::string link = fmt::format("{}/map_files/{:x}-{:x}", proc_dir, line.start, line.end);
    if (symbolizer::RegularFile::Open("", link).ok()) continue;
    if (!line.deleted && symbolizer::RegularFile::Open(proc_dir + "/root", line.path).ok())
      continue;
    ++unreadable;
    example = line.path + (line.deleted ? " (deleted)" : "");
  }
  if (unreadable == 0) return Ok("files", fmt::format("{} mapped, all readable", seen.size()));
  return {"files", RequirementState::kDegraded,
          fmt::format("{} of {} cannot be read, such as {}", unreadable, seen.size(), example),
          "their functions have no names",
          "run as root, or add CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH and CAP_CHECKPOINT_RESTORE"};
}

ProcessReport LookAt(const Target& target) {
  ProcessReport report{.pid = target.pid, .comm = target.comm};
  const std::string proc_dir = fmt::format("/proc/{}", target.pid);
  const auto maps = ReadProcFile(proc_dir + "/maps");
  if (!maps.ok()) {
    report.requirements.push_back(
        {"memory map", RequirementState::kDegraded, std::string(maps.status().message()),
         "user stacks have no names", "run as root, or add CAP_SYS_PTRACE"});
    return report;
  }
  if (maps->empty()) {
    report.requirements.push_back(Ok("program", "a kernel thread: kernel stacks only"));
    return report;
  }
  report.requirements.push_back(Ok("memory map", proc_dir + "/maps"));
  symbolizer::ModuleCache modules;
  const auto space = LiveSpace::Open(target.pid, &modules);
  if (!space.ok()) {
    report.requirements.push_back({"program", RequirementState::kDegraded,
                                   std::string(space.status().message()),
                                   "user stacks have no names", "is it still running?"});
    return report;
  }
  report.exe = (*space)->exe();
  report.requirements.push_back(ProgramKind(**space));
  report.requirements.push_back(GoTables(**space, report.go_version));
  if (auto goroutines = GoroutinesOf(**space))
    report.requirements.push_back(*std::move(goroutines));
  uint64_t load_bias = 0;
  report.requirements.push_back(FramePointers((*space)->go(&load_bias) != nullptr));
  report.requirements.push_back(Files(proc_dir, ParseMaps(*maps)));
  return report;
}

}  // namespace

int RunDoctor(const DoctorOptions& options) {
  const MachineFacts machine = ReadMachineFacts();
  DoctorReport report{.version = ToolVersion(),
                      .libbpf = LibbpfVersion(),
                      .kernel = machine.kernel_release,
                      .requirements = CheckRequirements(machine, ProbeBpf())};
  if (options.pid) {
    std::vector<std::string> notes;
    const auto target = ResolvePid(*options.pid, TargetPaths{}, notes);
    if (!target.ok()) return ReportError(target.status());
    for (const std::string& note : notes) PrintLine(stderr, note);
    report.process = LookAt(*target);
  }
  fputs((options.json ? DoctorJson(report) : DoctorText(report)).c_str(), stdout);
  return CanRecord(report) ? kExitDone : kExitMachine;
}

}  // namespace stallscope
