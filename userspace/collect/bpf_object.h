// SPDX-License-Identifier: Apache-2.0
//
// What every collector does with the maps and programs that it has loaded.
#pragma once

#include <absl/status/status.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cstdint>
#include <initializer_list>
#include <utility>
#include <vector>

namespace stallscope {

// The first `count` values of a per-CPU array, each summed over all CPUs.
std::vector<uint64_t> SumOverCpus(int map, uint32_t count);

// Calls visit(key, value) for each entry of a hash map. What others put in or take out meanwhile
// may be left out or come twice; `visit` must not take out its own.
template <typename Key, typename Value, typename Visit>
void ForEach(int map, const Visit& visit) {
  Key key, next;
  for (bool first = true; bpf_map_get_next_key(map, first ? nullptr : &key, &next) == 0;
       first = false) {
    Value value;
    if (bpf_map_lookup_elem(map, &next, &value) == 0) visit(next, value);
    key = next;
  }
}

template <typename Key, typename Value>
std::vector<std::pair<Key, Value>> Entries(int map) {
  std::vector<std::pair<Key, Value>> entries;
  ForEach<Key, Value>(
      map, [&](const Key& key, const Value& value) { entries.emplace_back(key, value); });
  return entries;
}

// Attaches each program and puts its link where it belongs; fails with the first that cannot be.
absl::Status AttachAll(std::initializer_list<std::pair<const bpf_program*, bpf_link**>> programs);

// Of those that are loaded.
std::vector<int> FdsOf(std::initializer_list<const bpf_program*> programs);
// Of all maps of an object but `other`, which is another object's.
std::vector<int> MapFdsOf(const bpf_object* object, const bpf_map* other = nullptr);

// How often the kernel passed over a program because it was running on that CPU already.
uint64_t MissedRuns(const std::vector<int>& program_fds);

// For the hashes of stacks.
uint64_t HashSeed();

}  // namespace stallscope
