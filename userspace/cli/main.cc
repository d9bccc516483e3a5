// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <stdio.h>

#include <string>
#include <variant>
#include <vector>

#include "userspace/cli/convert.h"
#include "userspace/cli/doctor.h"
#include "userspace/cli/list.h"
#include "userspace/cli/options.h"
#include "userspace/cli/version.h"
#include "userspace/cli/words.h"
#include "userspace/collect/requirements.h"
#ifdef STALLSCOPE_RECORD
#include "userspace/cli/record.h"
#endif

namespace stallscope {
namespace {

// One overload a command; each returns the exit code.
struct Run {
#ifdef STALLSCOPE_RECORD
  int operator()(const RecordOptions& options) const { return RunRecord(options); }
#else
  int operator()(const RecordOptions&) const {
    return ReportError(
        RunError("this build has no record", "build it with userspace/cli/record.cc"));
  }
#endif
  int operator()(const ConvertOptions& options) const { return RunConvert(options); }
  int operator()(const DoctorOptions& options) const { return RunDoctor(options); }
  int operator()(const ListOptions& options) const { return RunList(options); }
  int operator()(const VersionRequest&) const {
    fmt::print("stallscope {}, libbpf {}\n", ToolVersion(), LibbpfVersion());
    return kExitDone;
  }
  int operator()(const HelpRequest& help) const {
    fmt::print("{}", help.text);
    return kExitDone;
  }
};

}  // namespace
}  // namespace stallscope

int main(int argc, char** argv) {
  const auto command =
      stallscope::ParseCommandLine(std::vector<std::string>(argv + 1, argv + argc));
  if (!command.ok()) return stallscope::ReportError(command.status());
  return std::visit(stallscope::Run{}, *command);
}
