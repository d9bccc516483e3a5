// SPDX-License-Identifier: Apache-2.0
//
// A capture file of any bytes, all the way to a profile. What was read is written again and must
// read as the same.
#include <zlib.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "userspace/format/format.h"
#include "userspace/profile/capture.h"
#include "userspace/profile/capture_format.h"
#include "userspace/profile/make_profile.h"
#include "userspace/profile/summarize.h"

namespace {

void PutFixed32(std::string& out, uint32_t value) {
  for (int shift = 0; shift < 32; shift += 8) out.push_back(static_cast<char>(value >> shift));
}

uint32_t Crc(const std::string& bytes) {
  return crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size());
}

// No mutation gets past a checksum, so an input that is not a capture is taken for the payloads of
// one: (type, length in two bytes, payload)*, which get their headers here.
std::string MakeCapture(std::string_view input) {
  std::string file(stallscope::kCaptureMagic);
  PutFixed32(file, stallscope::kCaptureVersion);
  PutFixed32(file, input.size());
  PutFixed32(file, 0);
  PutFixed32(file, Crc(file));
  while (input.size() >= 3) {
    const uint32_t type = static_cast<uint8_t>(input[0]);
    const size_t length = static_cast<uint8_t>(input[1]) | static_cast<uint8_t>(input[2]) << 8;
    const std::string_view raw = input.substr(3, length);
    input.remove_prefix(3 + raw.size());
    uLongf stored_length = compressBound(raw.size());
    std::string stored(stored_length, '\0');
    compress2(reinterpret_cast<Bytef*>(stored.data()), &stored_length,
              reinterpret_cast<const Bytef*>(raw.data()), raw.size(), Z_NO_COMPRESSION);
    stored.resize(stored_length);
    std::string header;
    PutFixed32(header, type);
    PutFixed32(header, stored.size());
    PutFixed32(header, raw.size());
    PutFixed32(header, Crc(header + stored));
    file += header + stored;
  }
  return file;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace stallscope;
  constexpr size_t kMemoryLimit = 64 << 20;
  std::string bytes(reinterpret_cast<const char*>(data), size);
  if (bytes.rfind(kCaptureMagic, 0) != 0) bytes = MakeCapture(bytes);
  const absl::StatusOr<ReadCaptureResult> read = ReadCapture(bytes, kMemoryLimit);
  if (!read.ok()) return 0;
  ProfileOptions options;
  options.idle = size % 2;
  options.kernel_only = size % 8 == 1;
  options.exclude = {"x"};
  const absl::StatusOr<Profile> profile = MakeProfile(read->recording, options);
  if (!profile.ok()) std::abort();
  FormatSummary(*profile, {});
  options.by_address = true;
  const absl::StatusOr<Profile> by_address = MakeProfile(read->recording, options);
  if (!by_address.ok()) std::abort();
  for (const EventProfile& event : by_address->events) Pprof(*by_address, event);
  const absl::StatusOr<ReadCaptureResult> again = ReadCapture(WriteCapture(read->recording));
  if (!again.ok() || !again->damage.empty()) std::abort();
  if (!(again->recording == read->recording)) std::abort();
  return 0;
}
