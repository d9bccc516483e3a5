// SPDX-License-Identifier: Apache-2.0
#include "userspace/process/memory.h"

#include <errno.h>
#include <limits.h>
#include <sys/uio.h>

#include <algorithm>

namespace stallscope {

Memory::RangesRead Memory::ReadRanges(std::span<const MemoryRange> ranges) const {
  RangesRead read;
  for (const MemoryRange& range : ranges) {
    if (!Read(range.address, range.out, range.size)) {
      read.error = EFAULT;
      return read;
    }
    ++read.whole;
  }
  return read;
}

bool ProcessMemory::Read(uint64_t address, void* out, size_t size) const {
  iovec local = {out, size};
  iovec remote = {reinterpret_cast<void*>(address), size};
  return process_vm_readv(static_cast<pid_t>(pid_), &local, 1, &remote, 1, 0) ==
         static_cast<ssize_t>(size);
}

Memory::RangesRead ProcessMemory::ReadRanges(std::span<const MemoryRange> ranges) const {
  RangesRead read;
  iovec local[IOV_MAX], remote[IOV_MAX];
  while (read.whole < ranges.size()) {
    const size_t count = std::min<size_t>(ranges.size() - read.whole, IOV_MAX);
    size_t wanted = 0;
    for (size_t i = 0; i < count; ++i) {
      const MemoryRange& range = ranges[read.whole + i];
      local[i] = {range.out, range.size};
      remote[i] = {reinterpret_cast<void*>(range.address), range.size};
      wanted += range.size;
    }
    const ssize_t got = process_vm_readv(static_cast<pid_t>(pid_), local, count, remote, count, 0);
    if (got == static_cast<ssize_t>(wanted)) {
      read.whole += count;
      continue;
    }
    read.error = got < 0 ? errno : EFAULT;
    for (size_t left = got < 0 ? 0 : static_cast<size_t>(got); left >= ranges[read.whole].size;
         ++read.whole) {
      left -= ranges[read.whole].size;
    }
    return read;
  }
  return read;
}

}  // namespace stallscope
