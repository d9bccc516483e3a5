// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/ticker.h"

#include <poll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "userspace/process/clock.h"

namespace stallscope {

Ticker::Ticker(uint64_t period_ns)
    : fd_(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)) {
  itimerspec spec = {};
  spec.it_interval.tv_nsec = spec.it_value.tv_nsec = static_cast<long>(period_ns);
  timerfd_settime(fd_, 0, &spec, nullptr);
}

Ticker::~Ticker() {
  if (fd_ >= 0) close(fd_);
}

Ticker::Woken Ticker::Wait(int signal_fd, int end_fd, uint64_t deadline_ns) const {
  const uint64_t now = ClockNs(CLOCK_MONOTONIC);
  if (deadline_ns && now >= deadline_ns) return {};
  const uint64_t left = deadline_ns - now;
  const timespec timeout = {static_cast<time_t>(left / 1'000'000'000),
                            static_cast<long>(left % 1'000'000'000)};
  pollfd fds[3] = {{fd_, POLLIN, 0}, {signal_fd, POLLIN, 0}, {end_fd, POLLIN, 0}};
  ppoll(fds, 3, deadline_ns ? &timeout : nullptr, nullptr);
  uint64_t ticks;
  const bool tick = read(fd_, &ticks, sizeof(ticks)) == sizeof(ticks);
  return {tick, fds[2].revents != 0};
}

}  // namespace stallscope
