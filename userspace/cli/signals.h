// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace stallscope {

// SIGINT, SIGTERM and SIGHUP as something to read: the first ends what runs, the second abandons
// it. They stay blocked for the process.
class Signals {
 public:
  Signals();
  ~Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  // Readable when one has come.
  int fd() const { return fd_; }
  // Signals so far.
  int Count();

 private:
  int fd_ = -1;
  int count_ = 0;
};

}  // namespace stallscope
