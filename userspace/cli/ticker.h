// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace stallscope {

// The beat of a loop that drains: ten times a second.
inline constexpr uint64_t kTickNs = 100'000'000;
// --cgroup: new members are looked for once a second.
inline constexpr uint64_t kTicksARescan = 10;

// A tick to wait for.
class Ticker {
 public:
  explicit Ticker(uint64_t period_ns);
  ~Ticker();
  Ticker(const Ticker&) = delete;
  Ticker& operator=(const Ticker&) = delete;

  struct Woken {
    bool tick = false, end = false;
  };
  // Returns at the next tick, or before it when there is something to read in `signal_fd` or
  // `end_fd` (none when negative), or at `deadline_ns` (0: none).
  Woken Wait(int signal_fd, int end_fd, uint64_t deadline_ns) const;

 private:
  int fd_;
};

}  // namespace stallscope
