// SPDX-License-Identifier: Apache-2.0
//
// Go's values as they lie in memory. All from the target, and so not to be believed unchecked.
#pragma once

#include <cstdint>

namespace stallscope {

struct GoString {
  uint64_t data = 0, size = 0;
};

struct GoSlice {
  uint64_t data = 0, length = 0, capacity = 0;
};

}  // namespace stallscope
