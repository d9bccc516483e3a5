// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <absl/status/statusor.h>

#include <string>

#include "userspace/profile/recording.h"

namespace stallscope {

// The capture at `path` ("-" is stdin). What is damaged is read up to there, with a warning on
// stderr; a file that is no capture, or of which nothing is left, is an error of two lines (exit
// 1).
absl::StatusOr<Recording> ReadCaptureFile(const std::string& path);

}  // namespace stallscope
