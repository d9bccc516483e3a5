// SPDX-License-Identifier: Apache-2.0
#include "userspace/profile/stack_order.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

namespace stallscope {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

using Stacks = std::deque<std::vector<uint32_t>>;

TEST(RankStacks, ASmallOne) {
  EXPECT_THAT(RankStacks({}), IsEmpty());
  EXPECT_THAT(RankStacks({{2}, {}, {1, 5}, {1}, {1, 4, 9}}), ElementsAre(4, 0, 3, 1, 2));
}

// Few frames and many lengths: long common roots, and stacks that are the root of others.
TEST(RankStacks, IsTheLexicographicOrder) {
  std::mt19937 random(7);
  std::set<std::vector<uint32_t>> distinct;
  while (distinct.size() < 5000) {
    std::vector<uint32_t> stack(random() % 40, 3);
    for (uint32_t& frame : stack) {
      if (random() % 8 == 0) frame = random() % 4 == 0 ? UINT32_MAX : random() % 3;
    }
    distinct.insert(stack);
  }
  std::vector<std::vector<uint32_t>> sorted(distinct.begin(), distinct.end());
  std::vector<uint32_t> expected(sorted.size());
  for (uint32_t i = 0; i < expected.size(); ++i) expected[i] = i;
  std::shuffle(expected.begin(), expected.end(), random);
  Stacks shuffled;
  for (uint32_t rank : expected) shuffled.push_back(sorted[rank]);
  EXPECT_EQ(RankStacks(shuffled), expected);
}

TEST(RankStacks, DeepStacksThatDifferAtTheirLeaves) {
  Stacks stacks;
  for (uint32_t i = 0; i < 50; ++i) {
    stacks.emplace_back(20'000, 1).push_back(99 - i);
  }
  const std::vector<uint32_t> ranks = RankStacks(stacks);
  EXPECT_EQ(ranks.front(), 49u);
  EXPECT_EQ(ranks.back(), 0u);
}

}  // namespace
}  // namespace stallscope
