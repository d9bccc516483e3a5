// SPDX-License-Identifier: Apache-2.0
#include "symbolizer/file_bytes.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "symbolizer/mapping_guard.h"

namespace stallscope::symbolizer {
namespace {

constexpr uint64_t kLargestFile = uint64_t{16} << 30;

absl::Status ErrnoStatus(int error, const std::string& path) {
  return absl::ErrnoToStatus(error, fmt::format("{}", path));
}

// Opens the name only (O_PATH): nothing behind it is touched, whatever it is.
int OpenPathOnly(const std::string& root, const std::string& path) {
  if (root.empty()) return open(path.c_str(), O_PATH | O_CLOEXEC);
  const int root_fd = open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (root_fd < 0) return -1;
  struct open_how how = {};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  long fd;
  do {  // EAGAIN: a rename raced with the walk and the kernel could not tell whether we stayed
        // inside
    fd = syscall(SYS_openat2, root_fd, path.c_str(), &how, sizeof(how));
  } while (fd < 0 && errno == EINTR);
  // Before 5.6 there is no openat2, and no way to follow links safely: then the file is not looked
  // at.
  const int error = errno;
  close(root_fd);
  errno = error;
  return static_cast<int>(fd);
}

}  // namespace

absl::StatusOr<RegularFile> RegularFile::Open(const std::string& root, const std::string& path) {
  const int path_fd = OpenPathOnly(root, path);
  if (path_fd < 0) return ErrnoStatus(errno, path);
  struct stat status;
  if (fstat(path_fd, &status) != 0 || !S_ISREG(status.st_mode)) {
    close(path_fd);
    return absl::FailedPreconditionError(fmt::format("{}: not a regular file", path));
  }
  const int fd =
      open(fmt::format("/proc/self/fd/{}", path_fd).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  const int error = errno;
  close(path_fd);
  if (fd < 0) return ErrnoStatus(error, path);
  return RegularFile(fd, status);
}

RegularFile::RegularFile(RegularFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), status_(other.status_) {}

RegularFile& RegularFile::operator=(RegularFile&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(status_, other.status_);
  return *this;
}

RegularFile::~RegularFile() {
  if (fd_ >= 0) close(fd_);
}

absl::StatusOr<FileBytes> FileBytes::Map(const RegularFile& file) {
  const uint64_t size = static_cast<uint64_t>(file.status().st_size);
  if (size > kLargestFile) return absl::ResourceExhaustedError("the file is larger than 16 GiB");
  FileBytes bytes;
  if (size == 0) return bytes;
  void* mapping =
      mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, file.fd(), 0);
  if (mapping == MAP_FAILED) return absl::ErrnoToStatus(errno, "mmap");
  bytes.mapping_ = static_cast<char*>(mapping);
  bytes.mapping_size_ = size;
  GuardMapping(mapping, size);
  return bytes;
}

FileBytes FileBytes::Own(std::string bytes) {
  FileBytes result;
  result.owned_ = std::move(bytes);
  // A short string lives inside the object and would move with it.
  result.owned_.reserve(64);
  return result;
}

FileBytes::FileBytes(FileBytes&& other) noexcept
    : owned_(std::move(other.owned_)),
      mapping_(std::exchange(other.mapping_, nullptr)),
      mapping_size_(std::exchange(other.mapping_size_, 0)) {}

FileBytes::~FileBytes() {
  if (mapping_ == nullptr) return;
  UnguardMapping(mapping_);
  munmap(mapping_, mapping_size_);
}

std::string_view FileBytes::view() const {
  return mapping_ != nullptr ? std::string_view(mapping_, mapping_size_) : std::string_view(owned_);
}

}  // namespace stallscope::symbolizer
