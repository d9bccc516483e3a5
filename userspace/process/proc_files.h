// SPDX-License-Identifier: Apache-2.0
//
// What /proc says about a process, as values. Every reader takes the directory of the process
// ("/proc/4242"), so that a test hands it a directory of its own.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace stallscope {

// One line of /proc/PID/maps.
struct MapsLine {
  uint64_t start = 0, end = 0, file_offset = 0;
  bool readable = false, writable = false, executable = false;
  uint64_t device = 0, inode = 0;
  std::string path;      // as written, without the " (deleted)"; empty for anonymous memory
  bool deleted = false;  // the kernel says that the file is gone from its directory
};

// Lines that do not parse are left out.
std::vector<MapsLine> ParseMaps(std::string_view text);

// Reads a whole file of /proc, at most `limit` bytes. Fails with the errno's words and the path.
absl::StatusOr<std::string> ReadProcFile(const std::string& path, size_t limit = 64u << 20);

// Field of /proc/PID/status ("Tgid", "Name", "NSpid"), without the tab after the colon.
std::optional<std::string> StatusField(std::string_view status, std::string_view name);

// comm of the process, control bytes replaced.
std::string ReadComm(const std::string& proc_dir);

// Tgid of /proc/ID/status: differs from ID when ID is a thread. NotFound when there is no such
// task.
absl::StatusOr<uint32_t> ReadTgid(const std::string& proc_root, uint32_t id);

// The threads of a process, as they are listed: at most `most`. Empty when they cannot be.
std::vector<uint32_t> ThreadIds(const std::string& proc_dir, size_t most = SIZE_MAX);

// 'R', 'S', 'T'... of /proc/PID/task/TID/stat; 0 when it cannot be read.
char TaskState(const std::string& task_dir);

// True for a process of which nothing runs any more: a zombie. Not one whose first thread alone has
// ended. False when it cannot be read.
bool HasEnded(const std::string& proc_dir);

// Why no thread of a process can run, as the rest of a sentence about it ("is stopped ..."), with
// what lets it go on. nullopt: one can, or it cannot be told.
std::optional<std::string> StandsStill(const std::string& proc_dir,
                                       const std::string& cgroup_root = "/sys/fs/cgroup");

// What tells the memory of one program from that of the next in the same process. 0 or 1 for who
// may not read that memory.
struct MemoryMark {
  uint64_t start_code = 0, end_code = 0, start_stack = 0;
  bool operator==(const MemoryMark&) const = default;
};

// From /proc/PID/stat.
struct ProcessStat {
  uint64_t start_ticks = 0;  // clock ticks since boot, which tells two lives of a pid apart
  MemoryMark memory;
};
absl::StatusOr<ProcessStat> ReadProcessStat(const std::string& proc_dir);

}  // namespace stallscope
