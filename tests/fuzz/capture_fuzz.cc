// SPDX-License-Identifier: Apache-2.0
//
// A capture file of any bytes, all the way to a profile. What was read is written again and must
// read as the same.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "userspace/profile/capture.h"
#include "userspace/profile/make_profile.h"
#include "userspace/profile/summarize.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace stallscope;
  constexpr size_t kMemoryLimit = 64 << 20;
  const absl::StatusOr<ReadCaptureResult> read =
      ReadCapture(std::string_view(reinterpret_cast<const char*>(data), size), kMemoryLimit);
  if (!read.ok()) return 0;
  ProfileOptions options;
  options.idle = size % 2;
  options.kernel_only = size % 8 == 1;
  options.exclude = {"x"};
  const absl::StatusOr<Profile> profile = MakeProfile(read->recording, options);
  if (!profile.ok()) std::abort();
  FormatSummary(*profile, {});
  const absl::StatusOr<ReadCaptureResult> again = ReadCapture(WriteCapture(read->recording));
  if (!again.ok() || !again->damage.empty()) std::abort();
  if (!(again->recording == read->recording)) std::abort();
  return 0;
}
