// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/child.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "userspace/cli/words.h"

namespace stallscope {
namespace {

[[noreturn]] void RunChild(const std::vector<std::string>& command, int go_fd, int error_fd) {
  char byte;
  ssize_t n;
  do {
    n = read(go_fd, &byte, 1);
  } while (n < 0 && errno == EINTR);
  if (n != 1) _exit(127);  // the recorder gave up
  // The recorder has blocked these for itself.
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGPIPE, SIG_DFL);
  std::vector<char*> words;
  for (const std::string& word : command) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  execvp(words[0], words.data());
  const int error = errno;
  if (write(error_fd, &error, sizeof(error)) < 0) _exit(126);
  _exit(127);
}

}  // namespace

std::string ExecutableOf(const std::string& word) {
  if (word.find('/') != std::string::npos) return word;
  const char* given = getenv("PATH");
  const std::string path = given ? given : "/bin:/usr/bin";
  for (size_t start = 0; start <= path.size() && !word.empty();) {
    const size_t end = std::min(path.find(':', start), path.size());
    const std::string directory = path.substr(start, end - start);
    std::string file = (directory.empty() ? "." : directory) + "/" + word;
    struct stat info;
    if (stat(file.c_str(), &info) == 0 && S_ISREG(info.st_mode) && access(file.c_str(), X_OK) == 0)
      return file;
    start = end + 1;
  }
  return "";
}

absl::StatusOr<std::unique_ptr<Child>> Child::Prepare(const std::vector<std::string>& command) {
  int go[2], error[2];
  if (pipe2(go, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "cannot make a pipe");
  if (pipe2(error, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "cannot make a pipe");
  auto child = std::make_unique<Child>();
  child->pid_ = fork();
  if (child->pid_ < 0) return absl::ErrnoToStatus(errno, "cannot fork");
  if (child->pid_ == 0) {
    close(go[1]);
    close(error[0]);
    RunChild(command, go[0], error[1]);
  }
  close(go[0]);
  close(error[1]);
  // Linux 5.3; close-on-exec by itself.
  child->end_fd_ = static_cast<int>(syscall(SYS_pidfd_open, child->pid_, 0));
  child->go_fd_ = go[1];
  child->error_fd_ = error[0];
  return child;
}

Child::~Child() {
  if (end_fd_ >= 0) close(end_fd_);
  if (go_fd_ >= 0) close(go_fd_);
  if (error_fd_ >= 0) close(error_fd_);
}

absl::Status Child::Release() {
  const char byte = 1;
  if (write(go_fd_, &byte, 1) != 1)
    return absl::ErrnoToStatus(errno, "the command's process is gone");
  close(go_fd_);
  go_fd_ = -1;
  int error = 0;
  ssize_t n;
  do {
    n = read(error_fd_, &error, sizeof(error));
  } while (n < 0 && errno == EINTR);
  if (n == sizeof(error)) return absl::ErrnoToStatus(error, "cannot run the command");
  return absl::OkStatus();
}

std::optional<int> Child::ExitCode() {
  if (exit_code_) return exit_code_;
  int status = 0;
  if (waitpid(pid_, &status, WNOHANG) != pid_) return std::nullopt;
  exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return exit_code_;
}

}  // namespace stallscope
