// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <string>
#include <variant>
#include <vector>

#include "userspace/cli/convert.h"
#include "userspace/cli/diff.h"
#include "userspace/cli/doctor.h"
#include "userspace/cli/dump.h"
#include "userspace/cli/list.h"
#include "userspace/cli/net.h"
#include "userspace/cli/options.h"
#include "userspace/cli/record.h"
#include "userspace/cli/top.h"
#include "userspace/cli/version.h"
#include "userspace/cli/words.h"
#include "userspace/collect/requirements.h"

namespace stallscope {
namespace {

// One overload a command; each returns the exit code.
struct Run {
  int operator()(const RecordOptions& options) const { return RunRecord(options); }
  int operator()(const ConvertOptions& options) const { return RunConvert(options); }
  int operator()(const TopOptions& options) const { return RunTop(options); }
  int operator()(const NetOptions& options) const { return RunNet(options); }
  int operator()(const DumpOptions& options) const { return RunDump(options); }
  int operator()(const DiffOptions& options) const { return RunDiff(options); }
  int operator()(const DoctorOptions& options) const { return RunDoctor(options); }
  int operator()(const ListOptions& options) const { return RunList(options); }
  int operator()(const VersionRequest&) const {
    PrintLine(stdout, fmt::format("stallscope {}, libbpf {}", ToolVersion(), LibbpfVersion()));
    return kExitDone;
  }
  int operator()(const HelpRequest& help) const {
    fputs(help.text.c_str(), stdout);
    return kExitDone;
  }
};

// A closed fd 0, 1 or 2 would be the number of the next file that we open, and text for the user
// would go there. /dev/null, opened the wrong way round, keeps its use an error, and
// close-on-exec keeps it closed for a command that we start.
void OccupyStandardFds() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
    // The lowest free number, which is `fd`.
    const int mode = fd == STDIN_FILENO ? O_WRONLY : O_RDONLY;
    if (open("/dev/null", mode | O_CLOEXEC) < 0) return;  // no /dev: as it was
  }
}

// The exit code once stdout is flushed. What did not arrive there is said, and is no success; a
// code that says more than that stays.
int FlushStdout(int code) {
  const bool failed_before = ferror(stdout) != 0;
  errno = 0;
  if (fflush(stdout) == 0 && !failed_before) return code;
  const int failed = ReportError(RunError(
      fmt::format("cannot write to stdout{}{}", errno ? ": " : "", errno ? strerror(errno) : ""),
      "what was printed there is not whole"));
  return code == kExitDone ? failed : code;
}

}  // namespace
}  // namespace stallscope

int main(int argc, char** argv) {
  stallscope::OccupyStandardFds();
  const auto command =
      stallscope::ParseCommandLine(std::vector<std::string>(argv + 1, argv + argc));
  if (!command.ok()) return stallscope::ReportError(command.status());
  return stallscope::FlushStdout(std::visit(stallscope::Run{}, *command));
}
