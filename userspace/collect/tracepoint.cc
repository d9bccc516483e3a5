// SPDX-License-Identifier: Apache-2.0
#include "userspace/collect/tracepoint.h"

#include <absl/status/status.h>
#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/perf_event.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <charconv>
#include <string>

#include "userspace/collect/status.h"

namespace stallscope {
namespace {

bool IsTracefs(int fd) {
  struct statfs fs;
  return fstatfs(fd, &fs) == 0 && fs.f_type == TRACEFS_MAGIC;
}

// A mount that hangs nowhere: it goes away with its descriptor.
int MountDetached() {
  const int context = static_cast<int>(syscall(SYS_fsopen, "tracefs", FSOPEN_CLOEXEC));
  if (context < 0) return -1;
  int mounted = -1;
  if (syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) == 0)
    mounted = static_cast<int>(syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, 0));
  const int error = errno;
  close(context);
  errno = error;
  return mounted;
}

}  // namespace

absl::StatusOr<int> OpenTracefs() {
  for (const char* path : {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"}) {
    const int fd = open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    if (IsTracefs(fd)) return fd;
    close(fd);
  }
  const int fd = MountDetached();
  if (fd < 0) return absl::UnavailableError(fmt::format("no tracefs ({})", strerror(errno)));
  return fd;
}

absl::StatusOr<int> OpenTracepoint(int tracefs, std::string_view name) {
  const std::string path = fmt::format("events/{}/id", name);
  const int file = openat(tracefs, path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return absl::UnavailableError(fmt::format("no tracepoint {}", name));
  char text[32];
  const ssize_t length = read(file, text, sizeof(text));
  close(file);
  uint64_t id = 0;
  if (length <= 0 || std::from_chars(text, text + length, id).ec != std::errc())
    return absl::UnavailableError(fmt::format("no tracepoint {}", name));
  perf_event_attr attr = {};
  attr.type = PERF_TYPE_TRACEPOINT;
  attr.size = sizeof(attr);
  attr.config = id;
  // With a BPF program on it, it fires on every CPU whatever the one it is opened for.
  const int fd =
      static_cast<int>(syscall(SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC));
  if (fd < 0) return BpfError(errno, fmt::format("cannot open the tracepoint {}", name));
  return fd;
}

}  // namespace stallscope
