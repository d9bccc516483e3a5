// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "userspace/cli/options.h"
#include "userspace/profile/recording.h"

namespace stallscope {

// `stallscope convert`. Returns the exit code.
int RunConvert(const ConvertOptions& options);

struct ResymbolizeReport {
  size_t files_matched = 0;             // opened here, with the build id of the capture
  size_t addresses = 0;                 // that have new names
  std::vector<std::string> mismatches;  // "/usr/bin/x: another build id", one a file
};

// Looks the addresses of the stacks up again in the files of this machine: in those at the
// mappings' paths, below `root` ("" is ours), whose build id is that of the capture. Names that no
// such file gives stay as they are.
ResymbolizeReport Resymbolize(Recording& recording, const std::string& root);

}  // namespace stallscope
