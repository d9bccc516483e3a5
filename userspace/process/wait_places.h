// SPDX-License-Identifier: Apache-2.0
//
// Where the threads of native programs wait most: in the system calls of the C library.
#pragma once

#include <cstdint>
#include <vector>

#include "userspace/process/live_space.h"

namespace stallscope {

struct WaitPlace {
  uint64_t address = 0;
  bool is_return = false;  // false: right after a system call instruction
};

// The places right after the system call instructions of the C library and the dynamic loader, and
// the places that the functions around them are called from inside the same file, two calls out.
// Some may be no instruction at all: code is searched for byte patterns, not disassembled.
std::vector<WaitPlace> CLibraryWaitPlaces(const LiveSpace& space);

}  // namespace stallscope
