// SPDX-License-Identifier: Apache-2.0
//
// A Profile is finished: names, reasons, columns. Formats read it and nothing else.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "userspace/profile/recording.h"

namespace stallscope {

enum class ProfileFrameKind : uint8_t { kNative, kGo, kRuntime, kKernel, kMarker };

// A frame as it is shown. Equal frames are stored once, in Profile::frames.
struct ProfileFrame {
  std::string name;  // not yet escaped for any format: may hold any bytes. Markers come with their brackets.
  std::string file;  // empty when unknown
  uint32_t line = 0;
  ProfileFrameKind kind = ProfileFrameKind::kNative;
  bool inlined = false;
  bool guessed = false;
  bool unnamed = false;  // the name is "[module+0xoffset]" or "[unknown]"
  auto operator<=>(const ProfileFrame&) const = default;
};

struct ProfileSample {
  std::string comm;              // first frame of a folded line
  std::vector<uint32_t> frames;  // indices into Profile::frames, root first; user frames, then kernel frames
  std::string reason;            // without brackets: "futex", "IO wait"
  std::map<std::string, std::string> labels;  // "pid", "tid", "thread"
  std::vector<std::optional<int64_t>> values;  // parallel to the columns
};

struct EventProfile {
  std::string name;
  std::vector<Column> columns;
  std::vector<ProfileSample> samples;  // sorted by (comm, frame names, reason, labels): two conversions are the same bytes
  std::string mechanism;
};

// Time that was measured but is not shown, and why: "idle by design", "--max".
struct Hidden {
  std::string event;
  std::string why;
  uint64_t count = 0;
  uint64_t time_ns = 0;
};

struct Profile {
  std::string tool_version;
  std::string target;
  int64_t start_unix_ns = 0;
  uint64_t duration_ns = 0;
  bool reason_root = false;  // --reason-root: formats put the reason after comm instead of at the leaf
  std::vector<ProfileFrame> frames;
  std::vector<EventProfile> events;
  std::vector<Loss> losses;
  std::vector<Hidden> hidden;
  std::vector<ProcessTotals> totals;
  std::vector<std::string> notes;
  Cost cost;
};

}  // namespace stallscope
