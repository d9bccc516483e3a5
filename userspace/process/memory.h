// SPDX-License-Identifier: Apache-2.0
//
// The memory of a live process, read without stopping it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace stallscope {

// One piece of a vectored read.
struct MemoryRange {
  uint64_t address = 0;
  void* out = nullptr;
  size_t size = 0;
};

class Memory {
 public:
  virtual ~Memory() = default;
  // Reads exactly `size` bytes; false when any of them cannot be read.
  virtual bool Read(uint64_t address, void* out, size_t size) const = 0;

  struct RangesRead {
    size_t whole = 0;  // ranges from the first on that were read whole
    int error = 0;     // why the one after them was not: EFAULT: not readable; ESRCH: the process
                       // is gone; EPERM: no right to read it. 0: all were read.
  };
  // Reads the ranges one after the other, in this order, with as few system calls as can be; stops
  // at the first that cannot be read whole.
  virtual RangesRead ReadRanges(std::span<const MemoryRange> ranges) const;

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
  RangesRead ReadRanges(std::span<const MemoryRange> ranges) const override;

 private:
  uint32_t pid_;
};

}  // namespace stallscope
