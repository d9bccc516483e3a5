// SPDX-License-Identifier: Apache-2.0
#include "userspace/process/memory.h"

#include <sys/uio.h>

namespace stallscope {

bool ProcessMemory::Read(uint64_t address, void* out, size_t size) const {
  iovec local = {out, size};
  iovec remote = {reinterpret_cast<void*>(address), size};
  return process_vm_readv(static_cast<pid_t>(pid_), &local, 1, &remote, 1, 0) ==
         static_cast<ssize_t>(size);
}

}  // namespace stallscope
