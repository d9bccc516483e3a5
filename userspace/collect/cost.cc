// SPDX-License-Identifier: Apache-2.0
#include "userspace/collect/cost.h"

#include <bpf/bpf.h>
#include <fmt/format.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <string>

#include "userspace/process/proc_files.h"

namespace stallscope {
namespace {

constexpr uint64_t kOneTickIn = 20;

uint64_t MapBytes(int fd) {
  const auto info = ReadProcFile(fmt::format("/proc/self/fdinfo/{}", fd));
  if (!info.ok()) return 0;
  const auto bytes = StatusField(*info, "memlock");
  return bytes ? strtoull(bytes->c_str(), nullptr, 10) : 0;
}

}  // namespace

CostMeter::~CostMeter() {
  if (stats_fd_ >= 0) close(stats_fd_);
}

void CostMeter::Switch(bool on, uint64_t mono_ns) {
  if (on && stats_fd_ < 0 && !refused_) {
    stats_fd_ = bpf_enable_stats(BPF_STATS_RUN_TIME);
    refused_ = stats_fd_ < 0;
    switched_on_ns_ = mono_ns;
  } else if (!on && stats_fd_ >= 0) {
    close(stats_fd_);
    stats_fd_ = -1;
    measured_ns_ += mono_ns - switched_on_ns_;
  }
}

void CostMeter::Tick(uint64_t mono_ns) { Switch(ticks_++ % kOneTickIn == 0, mono_ns); }

Cost CostMeter::Measure(uint64_t mono_ns, uint64_t duration_ns, const std::vector<int>& map_fds,
                        uint64_t ring_bytes) {
  Switch(false, mono_ns);
  Cost cost;
  uint64_t run_ns = 0, runs = 0;
  for (int fd : program_fds_) {
    bpf_prog_info info = {};
    uint32_t size = sizeof(info);
    if (bpf_obj_get_info_by_fd(fd, &info, &size)) continue;
    run_ns += info.run_time_ns;
    runs += info.run_cnt;
  }
  if (measured_ns_ > 0 && runs > 0) {
    const double scale = static_cast<double>(duration_ns) / measured_ns_;
    cost.kernel_ns = static_cast<uint64_t>(run_ns * scale);
    cost.kernel_runs = static_cast<uint64_t>(runs * scale);
  }
  cost.map_bytes = ring_bytes;
  for (int fd : map_fds) cost.map_bytes += MapBytes(fd);
  rusage usage;
  if (getrusage(RUSAGE_SELF, &usage) == 0) {
    cost.own_cpu_ns = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000ull +
                      (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000ull;
    cost.rss_bytes = usage.ru_maxrss * 1024ull;
  }
  return cost;
}

}  // namespace stallscope
