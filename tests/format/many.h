// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace stallscope {

// Stacks of the tests of size: under a sanitizer the full number takes minutes.
#if defined(__SANITIZE_ADDRESS__)
inline constexpr size_t kManyStacks = 5'000;
#else
inline constexpr size_t kManyStacks = 100'000;
#endif

}  // namespace stallscope
