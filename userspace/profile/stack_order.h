// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

namespace stallscope {

// For each of `stacks`, which differ: how many of them come before it in lexicographic order.
// Stacks share long roots: each level of them is looked at about once, instead of once a
// comparison.
std::vector<uint32_t> RankStacks(const std::deque<std::vector<uint32_t>>& stacks);

}  // namespace stallscope
