// SPDX-License-Identifier: Apache-2.0
//
// .raw capture files: a Recording as bytes; docs/capture.md has the format. Versioned, checksummed
// block by block, and readable up to a cut: a file that was truncated or damaged gives what stands
// before the damage and says so.
#pragma once

#include <absl/status/statusor.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "userspace/profile/recording.h"

namespace stallscope {

// Equal recordings give equal bytes (of one version of zlib).
std::string WriteCapture(const Recording& recording);

struct ReadCaptureResult {
  Recording recording;
  std::string damage;         // empty when the file was whole; else one line: what was cut, where
  bool nothing_read = false;  // the damage left none of its samples, as far as is known
};

// What a capture may take in memory once it is read; a file that wants more is read up to there.
inline constexpr size_t kCaptureMemoryLimit = size_t{1} << 30;

// Fails with InvalidArgument when the bytes are not a capture at all, or of a newer version.
absl::StatusOr<ReadCaptureResult> ReadCapture(std::string_view bytes,
                                              size_t memory_limit = kCaptureMemoryLimit);

}  // namespace stallscope
