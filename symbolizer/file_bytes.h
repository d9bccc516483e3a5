// SPDX-License-Identifier: Apache-2.0
//
// The bytes of a file that a target may own: opened without side effects, never outside a given
// root, and mapped.
#pragma once

#include <absl/status/statusor.h>
#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace stallscope::symbolizer {

// An open regular file. Nothing else is ever opened: a FIFO would hang us and a device would act.
class RegularFile {
 public:
  // `root` "" means our own root and links are followed as usual. Otherwise `path` is resolved as
  // if `root` were "/": neither links nor ".." leave it.
  static absl::StatusOr<RegularFile> Open(const std::string& root, const std::string& path);

  RegularFile(RegularFile&& other) noexcept;
  RegularFile& operator=(RegularFile&& other) noexcept;
  ~RegularFile();

  int fd() const { return fd_; }
  const struct stat& status() const { return status_; }

 private:
  RegularFile(int fd, const struct stat& status) : fd_(fd), status_(status) {}
  int fd_ = -1;
  struct stat status_ = {};
};

// Bytes that do not move: a private mapping of a file, or a string that is owned. The mapping is
// writable, since libelf notes in the section headers what it has decompressed; the file never
// changes. A file that shrinks under the mapping reads as zeros from there on (see
// mapping_guard.h), so damage is all that its owner can do to us.
class FileBytes {
 public:
  static absl::StatusOr<FileBytes> Map(const RegularFile& file);
  static FileBytes Own(std::string bytes);

  FileBytes(FileBytes&& other) noexcept;
  FileBytes& operator=(FileBytes&& other) = delete;
  ~FileBytes();

  std::string_view view() const;
  uint64_t heap_bytes() const { return owned_.capacity(); }

 private:
  FileBytes() = default;
  std::string owned_;
  char* mapping_ = nullptr;
  size_t mapping_size_ = 0;
};

}  // namespace stallscope::symbolizer
