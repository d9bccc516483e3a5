// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/targets.h"

#include <dirent.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <optional>

#include "userspace/cli/words.h"
#include "userspace/collect/requirements.h"
#include "userspace/process/proc_files.h"

namespace stallscope {
namespace {

// No tree of cgroups is near these; they bound what a hostile one costs.
constexpr int kDeepestCgroup = 64;
constexpr size_t kMostCgroups = 100'000;

std::optional<uint32_t> NumberIn(std::string_view text) {
  uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// Names of the entries, "." and ".." left out; nothing when the directory cannot be read.
std::vector<std::string> EntriesOf(const std::string& directory) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(opendir(directory.c_str()), closedir);
  if (!dir) return names;
  while (const dirent* entry = readdir(dir.get())) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool IsDirectory(const std::string& path) {
  struct stat info;
  return lstat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

// Exit codes and words for a process that is not there: in a pid namespace of our own it may only
// be out of sight.
absl::Status NoProcess(uint32_t id, const TargetPaths& paths) {
  char link[64] = {};
  const std::string path = paths.proc + "/self/ns/pid";
  const bool known = readlink(path.c_str(), link, sizeof(link) - 1) > 0;
  if (known && std::string_view(link) != "pid:[4026531836]") {
    return TargetError(fmt::format("pid {} is not visible from here (own pid namespace)", id),
                       "share the host's: hostPID: true in the pod, or docker run --pid host");
  }
  return TargetError(fmt::format("no process {}", id), "find it: pgrep -a NAME");
}

// comm of a task, "" when it is gone.
std::string CommOf(const TargetPaths& paths, uint32_t pid) {
  auto text = ReadProcFile(fmt::format("{}/{}/comm", paths.proc, pid), 256);
  if (!text.ok()) return "";
  return text->substr(0, text->find('\n'));
}

std::vector<uint32_t> AllPids(const TargetPaths& paths) {
  std::vector<uint32_t> pids;
  for (const std::string& name : EntriesOf(paths.proc)) {
    if (const auto pid = NumberIn(name)) pids.push_back(*pid);
  }
  return pids;
}

absl::StatusOr<std::vector<uint32_t>> PidsNamed(const std::string& wanted, uint32_t own_pid,
                                                const TargetPaths& paths) {
  std::vector<uint32_t> pids;
  std::vector<std::string> names;
  for (const uint32_t pid : AllPids(paths)) {
    if (pid == own_pid) continue;
    const std::string comm = CommOf(paths, pid);
    if (comm == wanted) pids.push_back(pid);
    if (!comm.empty() && std::find(names.begin(), names.end(), comm) == names.end())
      names.push_back(comm);
  }
  if (!pids.empty()) return pids;
  std::stable_sort(names.begin(), names.end(), [&](const std::string& a, const std::string& b) {
    return EditDistance(wanted, a) < EditDistance(wanted, b);
  });
  names.resize(std::min<size_t>(names.size(), 3));
  for (std::string& name : names) name = fmt::format("'{}'", Printable(name));
  return TargetError(
      fmt::format("no process is named '{}'{}", Printable(wanted),
                  names.empty() ? "" : fmt::format(": did you mean {}?", Joined(names, ", "))),
      fmt::format("find it: pgrep -a {}", ShellQuoted(Printable(wanted))));
}

// The process of a thread that a cgroup lists; 0 when it is gone.
uint32_t ProcessOf(uint32_t tid, const TargetPaths& paths) {
  const auto tgid = ReadTgid(paths.proc, tid);
  return tgid.ok() ? *tgid : 0;
}

// Adds the processes of this cgroup alone. False: not a cgroup.
bool AddProcesses(const std::string& directory, const TargetPaths& paths,
                  std::vector<uint32_t>& pids) {
  auto text = ReadProcFile(directory + "/cgroup.procs");
  bool threads = false;
  if (!text.ok()) {
    if (access((directory + "/cgroup.procs").c_str(), F_OK) != 0) return false;
    // A threaded cgroup of v2 names its threads only.
    text = ReadProcFile(directory + "/cgroup.threads");
    threads = true;
  }
  if (!text.ok()) return true;
  std::string_view rest = *text;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    // 0 is a process out of our sight.
    if (auto id = NumberIn(rest.substr(0, end)); id && *id != 0) {
      pids.push_back(threads ? ProcessOf(*id, paths) : *id);
    }
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return true;
}

bool AddTree(const std::string& directory, const TargetPaths& paths, int depth, size_t& visited,
             std::vector<uint32_t>& pids) {
  if (depth > kDeepestCgroup || ++visited > kMostCgroups || !AddProcesses(directory, paths, pids))
    return false;
  for (const std::string& name : EntriesOf(directory)) {
    const std::string below = directory + "/" + name;
    if (IsDirectory(below)) AddTree(below, paths, depth + 1, visited, pids);
  }
  return true;
}

// Where the path may lie: as given, or below the root of v2, of the v2 half of a hybrid, or of a v1
// controller.
std::vector<std::string> PlacesOf(const std::string& path, const TargetPaths& paths) {
  std::vector<std::string> places;
  if (path.front() == '/') places.push_back(path);
  const std::string below = path.front() == '/' ? path : "/" + path;
  places.push_back(paths.cgroup + below);
  places.push_back(paths.cgroup + "/unified" + below);
  for (const std::string& controller : EntriesOf(paths.cgroup)) {
    if (controller != "unified" && IsDirectory(paths.cgroup + "/" + controller)) {
      places.push_back(paths.cgroup + "/" + controller + below);
    }
  }
  return places;
}

absl::StatusOr<std::vector<uint32_t>> PidsOfCgroup(std::string path, uint32_t own_pid,
                                                   const TargetPaths& paths) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  bool found = false;
  std::vector<uint32_t> pids;
  for (const std::string& place : PlacesOf(path, paths)) {
    size_t visited = 0;
    if (!AddTree(place, paths, 0, visited, pids)) continue;
    found = true;
    // On a hybrid machine one controller may hold the processes and another be empty.
    if (!pids.empty()) break;
  }
  pids.erase(std::remove_if(pids.begin(), pids.end(),
                            [&](uint32_t pid) { return pid == 0 || pid == own_pid; }),
             pids.end());
  const std::string shown = Printable(path);
  if (!found) {
    return TargetError(fmt::format("no cgroup {} (looked below {})", shown, paths.cgroup),
                       "that of a process: cat /proc/PID/cgroup");
  }
  if (pids.empty()) {
    return TargetError(fmt::format("cgroup {} has no process that is visible from here", shown),
                       "look at: systemd-cgls");
  }
  return pids;
}

std::string Named(const Target& target) { return fmt::format("{} ({})", target.pid, target.comm); }

std::string Described(const TargetSelector& selector, const std::vector<Target>& processes) {
  const std::string count =
      fmt::format("{} process{}", processes.size(), processes.size() == 1 ? "" : "es");
  switch (selector.kind) {
    case TargetSelector::Kind::kPids: {
      constexpr size_t kShown = 5;
      std::vector<std::string> names;
      for (size_t i = 0; i < std::min(processes.size(), kShown); ++i)
        names.push_back(Named(processes[i]));
      if (processes.size() > kShown)
        names.push_back(fmt::format("and {} more", processes.size() - kShown));
      return "-p " + Joined(names, ", ");
    }
    case TargetSelector::Kind::kComm:
      return fmt::format("--comm {} ({})", Printable(selector.comm), count);
    case TargetSelector::Kind::kCgroup:
      return fmt::format("--cgroup {} ({})", Printable(selector.cgroup), count);
    case TargetSelector::Kind::kAll:
      return "-a";
    case TargetSelector::Kind::kCommand:
      return "-- " + Printable(Joined(selector.command, " "));
  }
  return "";
}

}  // namespace

absl::StatusOr<Target> ResolvePid(uint32_t id, const TargetPaths& paths,
                                  std::vector<std::string>& notes) {
  const auto tgid = ReadTgid(paths.proc, id);
  if (!tgid.ok()) return NoProcess(id, paths);
  const std::string directory = fmt::format("{}/{}", paths.proc, *tgid);
  Target target{*tgid, ReadComm(directory)};
  if (HasEnded(directory)) {
    return TargetError(
        fmt::format("no process {}: {} has ended, and waits for its parent", id, Named(target)),
        "find one that runs: pgrep -a NAME");
  }
  if (*tgid != id) {
    notes.push_back(fmt::format("{} is a thread of {}: profiling the process", id, Named(target)));
  }
  return target;
}

std::string StandsStillNote(const Target& target, const TargetPaths& paths) {
  const auto why = StandsStill(fmt::format("{}/{}", paths.proc, target.pid), paths.cgroup);
  return why ? fmt::format("{} {}", Named(target), *why) : "";
}

absl::StatusOr<Targets> ResolveTargets(const TargetSelector& selector, uint32_t own_pid,
                                       const TargetPaths& paths) {
  Targets targets;
  absl::StatusOr<std::vector<uint32_t>> pids = selector.pids;
  if (selector.kind == TargetSelector::Kind::kComm) pids = PidsNamed(selector.comm, own_pid, paths);
  if (selector.kind == TargetSelector::Kind::kCgroup)
    pids = PidsOfCgroup(selector.cgroup, own_pid, paths);
  if (!pids.ok()) return pids.status();

  for (const uint32_t pid : *pids) {
    auto target = ResolvePid(pid, paths, targets.notes);
    // Of many, one that ended since it was listed is none; one that the user named is missed.
    if (!target.ok() && selector.kind == TargetSelector::Kind::kPids) return target.status();
    if (target.ok()) targets.processes.push_back(*std::move(target));
  }
  const auto by_pid = [](const Target& a, const Target& b) { return a.pid < b.pid; };
  std::sort(targets.processes.begin(), targets.processes.end(), by_pid);
  targets.processes.erase(std::unique(targets.processes.begin(), targets.processes.end()),
                          targets.processes.end());
  if (targets.processes.empty() && (selector.kind == TargetSelector::Kind::kComm ||
                                    selector.kind == TargetSelector::Kind::kCgroup)) {
    return TargetError("every process that fits has ended", "start the recording again");
  }
  targets.description = Described(selector, targets.processes);
  return targets;
}

}  // namespace stallscope
