// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/signals.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace stallscope {

Signals::Signals() {
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGINT);
  sigaddset(&mask, SIGTERM);
  // A connection that drops must not lose the recording; under nohup it must not end it either.
  struct sigaction hangup = {};
  sigaction(SIGHUP, nullptr, &hangup);
  if (hangup.sa_handler != SIG_IGN) sigaddset(&mask, SIGHUP);
  sigprocmask(SIG_BLOCK, &mask, nullptr);
  fd_ = signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC);
  signal(SIGPIPE, SIG_IGN);
}

Signals::~Signals() {
  if (fd_ >= 0) close(fd_);
}

int Signals::Count() {
  signalfd_siginfo info;
  while (read(fd_, &info, sizeof(info)) == sizeof(info)) ++count_;
  return count_;
}

}  // namespace stallscope
