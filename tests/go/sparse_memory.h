// SPDX-License-Identifier: Apache-2.0
//
// Memory that a test writes to: what was not written cannot be read, unless it is on the same page.
#pragma once

#include <string.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "userspace/process/memory.h"

namespace stallscope {

class SparseMemory : public Memory {
 public:
  template <typename T>
  void Put(uint64_t address, T value) {
    Write(address, &value, sizeof(value));
  }
  void Write(uint64_t address, const void* bytes, size_t size) {
    for (size_t i = 0; i < size; ++i) {
      std::string& page = pages_[(address + i) >> 12];
      page.resize(4096, '\0');
      page[(address + i) & 4095] = static_cast<const char*>(bytes)[i];
    }
  }

  bool Read(uint64_t address, void* out, size_t size) const override {
    ++reads;
    bytes_read += size;
    if (before_read) before_read(address);
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

  // Called with the address that is about to be read: the program runs on meanwhile.
  std::function<void(uint64_t address)> before_read;
  mutable uint64_t reads = 0, bytes_read = 0;

 private:
  std::map<uint64_t, std::string> pages_;
};

}  // namespace stallscope
