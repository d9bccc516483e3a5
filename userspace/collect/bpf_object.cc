// SPDX-License-Identifier: Apache-2.0
#include "userspace/collect/bpf_object.h"

#include <errno.h>
#include <fmt/format.h>
#include <sys/random.h>
#include <unistd.h>

#include "userspace/collect/status.h"

namespace stallscope {

std::vector<uint64_t> SumOverCpus(int map, uint32_t count) {
  std::vector<uint64_t> sums(count);
  const int cpus = libbpf_num_possible_cpus();
  if (cpus <= 0) return sums;
  std::vector<uint64_t> values(cpus);
  for (uint32_t i = 0; i < count; ++i) {
    if (bpf_map_lookup_elem(map, &i, values.data())) continue;
    for (const uint64_t value : values) sums[i] += value;
  }
  return sums;
}

absl::Status AttachAll(std::initializer_list<std::pair<const bpf_program*, bpf_link**>> programs) {
  for (const auto& [program, slot] : programs) {
    *slot = bpf_program__attach(program);
    if (!*slot) return BpfError(errno, fmt::format("cannot attach {}", bpf_program__name(program)));
  }
  return absl::OkStatus();
}

std::vector<int> FdsOf(std::initializer_list<const bpf_program*> programs) {
  std::vector<int> fds;
  for (const bpf_program* program : programs) {
    if (bpf_program__fd(program) >= 0) fds.push_back(bpf_program__fd(program));
  }
  return fds;
}

std::vector<int> MapFdsOf(const bpf_object* object, const bpf_map* other) {
  std::vector<int> fds;
  const bpf_map* map;
  bpf_object__for_each_map(map, object) {
    if (map != other && bpf_map__fd(map) >= 0) fds.push_back(bpf_map__fd(map));
  }
  return fds;
}

uint64_t MissedRuns(const std::vector<int>& program_fds) {
  uint64_t missed = 0;
  for (const int fd : program_fds) {
    bpf_prog_info info = {};
    uint32_t length = sizeof(info);
    if (bpf_obj_get_info_by_fd(fd, &info, &length) == 0) missed += info.recursion_misses;
  }
  return missed;
}

uint64_t HashSeed() {
  uint64_t seed = 0;
  if (getrandom(&seed, sizeof(seed), 0) < 0) seed = getpid();
  return seed;
}

}  // namespace stallscope
