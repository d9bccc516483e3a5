// SPDX-License-Identifier: Apache-2.0
//
// The command of `record -- CMD ARGS...`: a child that waits before its exec until it is being
// recorded.
#pragma once

#include <absl/status/statusor.h>
#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace stallscope {

// The file that the first word of a command names, as execvp(3) finds it; empty where it finds
// none.
std::string ExecutableOf(const std::string& word);

class Child {
 public:
  // Forks; the child waits. Its signals are as a shell would give them.
  static absl::StatusOr<std::unique_ptr<Child>> Prepare(const std::vector<std::string>& command);
  // A child that was never released ends without having run its command.
  ~Child();

  pid_t pid() const { return pid_; }
  // Readable from the child's end on; -1 on a kernel that has no such thing.
  int end_fd() const { return end_fd_; }
  // Lets the child exec. Fails with the errno's words when the command cannot be run.
  absl::Status Release();
  // The exit code as a shell gives it (128 + signal); nullopt while the command runs.
  std::optional<int> ExitCode();

 private:
  pid_t pid_ = -1;
  int end_fd_ = -1;    // a pidfd
  int go_fd_ = -1;     // written: exec
  int error_fd_ = -1;  // the errno of a failed exec; closed by a successful one
  std::optional<int> exit_code_;
};

}  // namespace stallscope
