// SPDX-License-Identifier: Apache-2.0
//
// .raw capture files: a Recording as bytes. Versioned, checksummed block by block, and readable up to a cut: a file
// that was truncated or damaged gives what stands before the damage and says so.
#pragma once

#include <string>
#include <string_view>

#include <absl/status/statusor.h>

#include "userspace/profile/recording.h"

namespace stallscope {

std::string WriteCapture(const Recording& recording);

struct ReadCaptureResult {
  Recording recording;
  std::string damage;  // empty when the file was whole; else one line: what was cut, where
};

// Fails with InvalidArgument when the bytes are not a capture at all, or of a newer version.
absl::StatusOr<ReadCaptureResult> ReadCapture(std::string_view bytes);

}  // namespace stallscope
