// SPDX-License-Identifier: Apache-2.0
#include "userspace/profile/stack_order.h"

#include <algorithm>
#include <cstddef>

namespace stallscope {
namespace {

struct Entry {
  uint64_t key = 0;  // of the frame at the depth that is being sorted by
  const std::vector<uint32_t>* frames = nullptr;
  uint32_t number = 0;
};

// Entries whose stacks are the same above `depth`.
struct Group {
  size_t begin = 0;
  size_t end = 0;
  size_t depth = 0;
};

// A stack that ends here comes before those that go on.
uint64_t KeyAt(const std::vector<uint32_t>& frames, size_t depth) {
  return depth < frames.size() ? uint64_t{frames[depth]} + 1 : 0;
}

bool LessFrom(const Entry& a, const Entry& b, size_t depth) {
  const auto from = [depth](const Entry& entry) {
    return entry.frames->begin() + std::min(depth, entry.frames->size());
  };
  return std::lexicographical_compare(from(a), a.frames->end(), from(b), b.frames->end());
}

// Sorts by the frame at the group's depth; the groups that are equal in it are left to do.
void SortLevel(const Group& group, std::vector<Entry>& entries, std::vector<Group>& to_do) {
  const auto begin = entries.begin() + static_cast<std::ptrdiff_t>(group.begin);
  const auto end = entries.begin() + static_cast<std::ptrdiff_t>(group.end);
  constexpr size_t kSmall = 8;
  if (group.end - group.begin <= kSmall) {
    std::sort(begin, end,
              [&](const Entry& a, const Entry& b) { return LessFrom(a, b, group.depth); });
    return;
  }
  for (auto it = begin; it != end; ++it) it->key = KeyAt(*it->frames, group.depth);
  std::sort(begin, end, [](const Entry& a, const Entry& b) { return a.key < b.key; });
  size_t first = group.begin;
  for (size_t i = group.begin + 1; i <= group.end; ++i) {
    if (i < group.end && entries[i].key == entries[first].key) continue;
    if (i - first > 1 && entries[first].key != 0) to_do.push_back({first, i, group.depth + 1});
    first = i;
  }
}

}  // namespace

std::vector<uint32_t> RankStacks(const std::deque<std::vector<uint32_t>>& stacks) {
  std::vector<Entry> entries(stacks.size());
  for (size_t i = 0; i < stacks.size(); ++i) {
    entries[i].frames = &stacks[i];
    entries[i].number = static_cast<uint32_t>(i);
  }
  std::vector<Group> to_do = {{0, entries.size(), 0}};
  while (!to_do.empty()) {
    const Group group = to_do.back();
    to_do.pop_back();
    SortLevel(group, entries, to_do);
  }
  std::vector<uint32_t> ranks(stacks.size());
  for (uint32_t i = 0; i < entries.size(); ++i) ranks[entries[i].number] = i;
  return ranks;
}

}  // namespace stallscope
