// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <errno.h>
#include <string.h>

#include <algorithm>
#include <functional>
#include <map>
#include <span>
#include <string>

#include "userspace/process/memory.h"

namespace stallscope {

// Sparse memory that a test writes to; reads can be watched, and can change it as another thread
// would.
class FakeMemory : public Memory {
 public:
  void Write(uint64_t address, const void* bytes, size_t size) {
    for (size_t i = 0; i < size; ++i) {
      std::string& page = pages_[(address + i) >> 12];
      page.resize(4096, '\0');
      page[(address + i) & 4095] = static_cast<const char*>(bytes)[i];
    }
  }
  template <typename T>
  void Put(uint64_t address, T value) {
    Write(address, &value, sizeof(value));
  }

  bool Read(uint64_t address, void* out, size_t size) const override {
    ++reads;
    bytes_read += size;
    if (before_read) before_read(address);
    return Copy(address, out, size);
  }

  RangesRead ReadRanges(std::span<const MemoryRange> ranges) const override {
    ++calls;
    if (gone) return {0, ESRCH};
    RangesRead read;
    for (const MemoryRange& range : ranges) {
      bytes_read += range.size;
      if (!Copy(range.address, range.out, range.size)) {
        read.error = EFAULT;
        return read;
      }
      ++read.whole;
      if (after_read) after_read(range);
    }
    return read;
  }

  std::function<void(uint64_t address)> before_read;      // of Read
  std::function<void(const MemoryRange&)> after_read;     // of ReadRanges
  bool gone = false;                                      // to ReadRanges
  mutable uint64_t reads = 0, calls = 0, bytes_read = 0;  // of Read, of ReadRanges, of both

 private:
  bool Copy(uint64_t address, void* out, size_t size) const {
    char* to = static_cast<char*>(out);
    while (size > 0) {
      const auto page = pages_.find(address >> 12);
      if (page == pages_.end()) return false;
      const size_t bytes = std::min<size_t>(size, 4096 - (address & 4095));
      memcpy(to, page->second.data() + (address & 4095), bytes);
      to += bytes;
      address += bytes;
      size -= bytes;
    }
    return true;
  }

  std::map<uint64_t, std::string> pages_;
};

}  // namespace stallscope
