// SPDX-License-Identifier: Apache-2.0
//
// The memory of a live process, read without stopping it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace stallscope {

class Memory {
 public:
  virtual ~Memory() = default;
  // Reads exactly `size` bytes; false when any of them cannot be read.
  virtual bool Read(uint64_t address, void* out, size_t size) const = 0;

  template <typename T>
  std::optional<T> ReadValue(uint64_t address) const {
    T value;
    if (!Read(address, &value, sizeof(value))) return std::nullopt;
    return value;
  }
};

// process_vm_readv(2): needs the rights of ptrace, but sends no signal and stops nothing.
class ProcessMemory : public Memory {
 public:
  explicit ProcessMemory(uint32_t pid) : pid_(pid) {}
  bool Read(uint64_t address, void* out, size_t size) const override;

 private:
  uint32_t pid_;
};

}  // namespace stallscope
