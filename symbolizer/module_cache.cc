// SPDX-License-Identifier: Apache-2.0
#include "symbolizer/module_cache.h"

#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "symbolizer/file_bytes.h"

namespace stallscope::symbolizer {
namespace {

constexpr uint64_t kBytesOfAFailure = 256;

}  // namespace

ModuleCache::ModuleCache(uint64_t limit_bytes) : limit_bytes_(limit_bytes) {}

absl::StatusOr<std::shared_ptr<const Module>> ModuleCache::Get(const ModuleSource& source) {
  absl::StatusOr<RegularFile> file = RegularFile::Open("", source.path);
  if (!file.ok())
    return file.status();  // there is no identity to remember it by, and to ask again costs a call
  const struct stat& status = file->status();
  const Key key = {status.st_dev, status.st_ino, static_cast<uint64_t>(status.st_size),
                   int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec};
  auto found = modules_.find(key);
  if (found == modules_.end()) {
    found = modules_.emplace(key, Entry{Module::FromFile(*file, source), 0}).first;
  }
  found->second.last_used = ++clock_;
  absl::StatusOr<std::shared_ptr<const Module>> module = found->second.module;
  ForgetOldest();
  return module;
}

uint64_t ModuleCache::memory_bytes() const {
  uint64_t bytes = 0;
  for (const auto& [key, entry] : modules_)
    bytes += entry.module.ok() ? (*entry.module)->memory_bytes() : kBytesOfAFailure;
  return bytes;
}

// Modules grow with use, so their sizes are asked for each time. The one just used stays.
void ModuleCache::ForgetOldest() {
  while (modules_.size() > 1 && memory_bytes() > limit_bytes_) {
    auto oldest = modules_.begin();
    for (auto it = modules_.begin(); it != modules_.end(); ++it) {
      if (it->second.last_used < oldest->second.last_used) oldest = it;
    }
    modules_.erase(oldest);
  }
}

}  // namespace stallscope::symbolizer
