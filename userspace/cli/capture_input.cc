// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/capture_input.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <string_view>
#include <utility>
#include <vector>

#include "userspace/cli/words.h"
#include "userspace/profile/capture.h"

namespace stallscope {
namespace {

constexpr size_t kLargestCapture = size_t{4} << 30;

absl::Status InputError(const std::string& path, std::string_view why) {
  return RunError(fmt::format("{}: {}", Printable(path), why),
                  "a capture is what stallscope record -o FILE.raw writes");
}

absl::StatusOr<std::string> ReadInput(const std::string& path) {
  const int fd =
      path == "-" ? dup(STDIN_FILENO) : open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY);
  if (fd < 0) return InputError(path, strerror(errno));
  std::string bytes;
  std::vector<char> buffer(1u << 20);
  ssize_t n = 0;
  while ((n = read(fd, buffer.data(), buffer.size())) > 0 || (n < 0 && errno == EINTR)) {
    if (n > 0) bytes.append(buffer.data(), n);
    if (bytes.size() > kLargestCapture) break;
  }
  const int error = n < 0 ? errno : 0;
  close(fd);
  if (error) return InputError(path, strerror(error));
  if (bytes.size() > kLargestCapture) return InputError(path, "larger than 4 GiB");
  return bytes;
}

}  // namespace

absl::StatusOr<Recording> ReadCaptureFile(const std::string& path) {
  auto bytes = ReadInput(path);
  if (!bytes.ok()) return bytes.status();
  auto capture = ReadCapture(*bytes);
  if (!capture.ok()) return InputError(path, std::string(capture.status().message()));
  if (capture->nothing_read) {
    return RunError(fmt::format("{}: {}", Printable(path), capture->damage),
                    "nothing of it can be used; copy the whole file again, or record again");
  }
  if (!capture->damage.empty()) {
    PrintLine(stderr, fmt::format("WARNING {}: {}; going on with what stands before that",
                                  Printable(path), capture->damage));
  }
  return std::move(capture->recording);
}

}  // namespace stallscope
