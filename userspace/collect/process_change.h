// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace stallscope {

// What happened to a process under observation.
struct ProcessChange {
  enum Kind { kExec, kExit, kFork } kind = kExec;
  uint32_t tgid = 0;          // in our own pid namespace
  std::string before, after;  // kExec: comm
  uint64_t mono_ns = 0;
};

}  // namespace stallscope
