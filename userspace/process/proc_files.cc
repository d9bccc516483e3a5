// SPDX-License-Identifier: Apache-2.0
#include "userspace/process/proc_files.h"

#include <absl/status/status.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <memory>

namespace stallscope {
namespace {

template <typename T>
bool TakeNumber(std::string_view* text, int base, T* out) {
  auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), *out, base);
  if (error != std::errc()) return false;
  text->remove_prefix(end - text->data());
  return true;
}

bool TakeChar(std::string_view* text, char c) {
  if (text->empty() || text->front() != c) return false;
  text->remove_prefix(1);
  return true;
}

std::optional<MapsLine> ParseMapsLine(std::string_view text) {
  MapsLine line;
  uint64_t major = 0, minor = 0;
  if (!TakeNumber(&text, 16, &line.start) || !TakeChar(&text, '-') ||
      !TakeNumber(&text, 16, &line.end) || !TakeChar(&text, ' ') || text.size() < 5) {
    return std::nullopt;
  }
  line.readable = text[0] == 'r';
  line.writable = text[1] == 'w';
  line.executable = text[2] == 'x';
  text.remove_prefix(4);
  if (!TakeChar(&text, ' ') || !TakeNumber(&text, 16, &line.file_offset) || !TakeChar(&text, ' ') ||
      !TakeNumber(&text, 16, &major) || !TakeChar(&text, ':') || !TakeNumber(&text, 16, &minor) ||
      !TakeChar(&text, ' ') || !TakeNumber(&text, 10, &line.inode) || line.end <= line.start) {
    return std::nullopt;
  }
  line.device = makedev(major, minor);
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  constexpr std::string_view kDeleted = " (deleted)";
  if (text.size() > kDeleted.size() && text.substr(text.size() - kDeleted.size()) == kDeleted) {
    line.deleted = true;
    text.remove_suffix(kDeleted.size());
  }
  line.path = std::string(text);
  return line;
}

// The state that all threads of a process have in common, those that have ended aside: 'T' where
// each is stopped, 't' where a tracer holds some of them and the others are stopped. 0: neither.
char CommonStopState(const std::string& proc_dir) {
  char common = 0;
  for (const uint32_t tid : ThreadIds(proc_dir)) {
    const char state = TaskState(fmt::format("{}/task/{}", proc_dir, tid));
    if (state == 'T' || state == 't') {
      common = std::max(common, state);
    } else if (state != 0 && state != 'Z' && state != 'X') {
      return 0;
    }
  }
  return common;
}

// The process's cgroup of the hierarchy that a line of /proc/PID/cgroup is of.
struct CgroupLine {
  std::string_view controllers, path;  // no controllers: version 2
};

std::optional<CgroupLine> ParseCgroupLine(std::string_view line) {
  const size_t first = line.find(':');
  const size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
  if (second == std::string_view::npos) return std::nullopt;
  return CgroupLine{line.substr(first + 1, second - first - 1), line.substr(second + 1)};
}

bool FileHasLine(const std::string& path, std::string_view wanted) {
  const auto text = ReadProcFile(path, 4096);
  if (!text.ok()) return false;
  return ("\n" + *text + "\n").find(fmt::format("\n{}\n", wanted)) != std::string::npos;
}

// The frozen cgroup that a process is in; empty when it is in none.
std::string FrozenCgroup(const std::string& proc_dir, const std::string& root) {
  const auto text = ReadProcFile(proc_dir + "/cgroup", 1 << 16);
  if (!text.ok()) return "";
  std::string_view rest = *text;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    const auto line = ParseCgroupLine(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (!line) continue;
    std::string path(line->path);
    if (line->controllers.empty() &&
        (FileHasLine(root + path + "/cgroup.events", "frozen 1") ||
         FileHasLine(root + "/unified" + path + "/cgroup.events", "frozen 1"))) {
      return path;
    }
    if (line->controllers == "freezer" &&
        FileHasLine(root + "/freezer" + path + "/freezer.state", "FROZEN")) {
      return path;
    }
  }
  return "";
}

std::string WithoutControlBytes(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return text;
}

}  // namespace

std::optional<std::string> StandsStill(const std::string& proc_dir,
                                       const std::string& cgroup_root) {
  if (const char state = CommonStopState(proc_dir); state == 'T') {
    return fmt::format("is stopped: nothing in it runs until kill -CONT {}",
                       proc_dir.substr(proc_dir.rfind('/') + 1));
  } else if (state == 't') {
    const auto status = ReadProcFile(proc_dir + "/status", 1 << 16);
    const std::string tracer = status.ok() ? StatusField(*status, "TracerPid").value_or("0") : "0";
    return fmt::format("is held by a debugger{}: nothing in it runs until that lets it go on",
                       tracer == "0" ? "" : fmt::format(" (pid {})", tracer));
  }
  const std::string frozen = FrozenCgroup(proc_dir, cgroup_root);
  if (frozen.empty()) return std::nullopt;
  return fmt::format("is frozen (cgroup {}): nothing in it runs until that is thawed",
                     WithoutControlBytes(frozen));
}

std::vector<MapsLine> ParseMaps(std::string_view text) {
  std::vector<MapsLine> lines;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    if (auto line = ParseMapsLine(text.substr(0, end))) lines.push_back(*std::move(line));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return lines;
}

absl::StatusOr<std::string> ReadProcFile(const std::string& path, size_t limit) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (fd < 0) return absl::ErrnoToStatus(errno, fmt::format("cannot read {}", path));
  std::string text;
  char buffer[65536];
  while (text.size() < limit) {
    const ssize_t n = read(fd, buffer, sizeof(buffer));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int error = errno;
      close(fd);
      return absl::ErrnoToStatus(error, fmt::format("cannot read {}", path));
    }
    if (n == 0) break;
    text.append(buffer, n);
  }
  close(fd);
  return text;
}

std::optional<std::string> StatusField(std::string_view status, std::string_view name) {
  while (!status.empty()) {
    const size_t end = status.find('\n');
    std::string_view line = status.substr(0, end);
    if (line.size() > name.size() && line.substr(0, name.size()) == name &&
        line[name.size()] == ':') {
      line.remove_prefix(name.size() + 1);
      while (!line.empty() && (line.front() == '\t' || line.front() == ' ')) line.remove_prefix(1);
      return std::string(line);
    }
    if (end == std::string_view::npos) break;
    status.remove_prefix(end + 1);
  }
  return std::nullopt;
}

std::string ReadComm(const std::string& proc_dir) {
  auto text = ReadProcFile(proc_dir + "/comm");
  if (!text.ok()) return "?";
  if (!text->empty() && text->back() == '\n') text->pop_back();
  return WithoutControlBytes(*std::move(text));
}

absl::StatusOr<uint32_t> ReadTgid(const std::string& proc_root, uint32_t id) {
  auto status = ReadProcFile(fmt::format("{}/{}/status", proc_root, id));
  if (!status.ok()) return absl::NotFoundError(fmt::format("no process {}", id));
  const auto field = StatusField(*status, "Tgid");
  uint32_t tgid = 0;
  std::string_view digits = field ? std::string_view(*field) : std::string_view();
  if (!TakeNumber(&digits, 10, &tgid)) return absl::NotFoundError(fmt::format("no process {}", id));
  return tgid;
}

std::vector<uint32_t> ThreadIds(const std::string& proc_dir, size_t most) {
  std::vector<uint32_t> ids;
  const std::unique_ptr<DIR, int (*)(DIR*)> tasks(opendir((proc_dir + "/task").c_str()), closedir);
  while (const dirent* entry = tasks && ids.size() < most ? readdir(tasks.get()) : nullptr) {
    std::string_view name = entry->d_name;
    uint32_t tid = 0;
    if (TakeNumber(&name, 10, &tid) && name.empty()) ids.push_back(tid);
  }
  return ids;
}

char TaskState(const std::string& task_dir) {
  const auto stat = ReadProcFile(task_dir + "/stat", 4096);
  if (!stat.ok()) return 0;
  // comm may hold anything.
  const size_t after_comm = stat->rfind(") ");
  return after_comm == std::string::npos || after_comm + 2 >= stat->size()
             ? 0
             : (*stat)[after_comm + 2];
}

bool HasEnded(const std::string& proc_dir) {
  const auto status = ReadProcFile(proc_dir + "/status", 1 << 16);
  if (!status.ok()) return false;
  const std::string state = StatusField(*status, "State").value_or("");
  const bool gone = state.starts_with('Z') || state.starts_with('X');
  return gone && StatusField(*status, "Threads").value_or("") == "1";
}

absl::StatusOr<ProcessStat> ReadProcessStat(const std::string& proc_dir) {
  auto stat = ReadProcFile(proc_dir + "/stat");
  if (!stat.ok()) return stat.status();
  const auto malformed = absl::DataLossError(fmt::format("{}/stat does not parse", proc_dir));
  // comm, the second field, may hold anything; the rest begins after its last parenthesis, with
  // field 3.
  const size_t after_comm = stat->rfind(')');
  if (after_comm == std::string::npos) return malformed;
  std::string_view rest = std::string_view(*stat).substr(after_comm + 1);
  ProcessStat read;
  for (int field = 3; field <= 28; ++field) {
    if (!TakeChar(&rest, ' ')) return malformed;
    uint64_t* wanted = field == 22   ? &read.start_ticks
                       : field == 26 ? &read.memory.start_code
                       : field == 27 ? &read.memory.end_code
                       : field == 28 ? &read.memory.start_stack
                                     : nullptr;
    if (wanted && !TakeNumber(&rest, 10, wanted)) return malformed;
    rest.remove_prefix(std::min(rest.find(' '), rest.size()));
  }
  return read;
}

}  // namespace stallscope
