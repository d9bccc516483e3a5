// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "bpf/wire.h"

namespace stallscope {

// Whom a probe is about.
struct TargetOptions {
  target_mode mode = TARGET_ONE;
  std::vector<uint32_t> tgids;  // the initial pid namespace's numbers; not used by TARGET_ALL
  uint32_t own_tgid = 0;        // the recorder's own number, which TARGET_ALL leaves out
};

}  // namespace stallscope
