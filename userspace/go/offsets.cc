// SPDX-License-Identifier: Apache-2.0
#include "userspace/go/offsets.h"

#include <absl/status/status.h>
#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "symbolizer/go_image.h"

namespace stallscope {
namespace {

struct Field {
  uint16_t GoOffsets::*member;
  std::string_view structure, path;
  bool optional;
};

constexpr Field kFields[] = {
#define STALLSCOPE_GO_FIELD(member, structure, path) {&GoOffsets::member, structure, path, false},
#define STALLSCOPE_GO_OPTIONAL(member, structure, path) {&GoOffsets::member, structure, path, true},
#include "userspace/go/offsets_fields.inc"
#undef STALLSCOPE_GO_FIELD
#undef STALLSCOPE_GO_OPTIONAL
};
static_assert(sizeof(GoOffsets) == std::size(kFields) * sizeof(uint16_t),
              "offsets_fields.inc lists every field of GoOffsets");

struct Row {
  int minor;  // go1.MINOR
  GoOffsets offsets;
};
constexpr Row kTable[] = {
#include "userspace/go/offsets_table.inc"
};

}  // namespace

const GoOffsets* KnownGoOffsets(int minor) {
  for (const Row& row : kTable) {
    if (row.minor == minor) return &row.offsets;
  }
  return nullptr;
}

std::string UnknownGoVersion(std::string_view version) {
  const auto minor = symbolizer::GoMinorVersion(version);
  if (!minor) return fmt::format("the Go version '{}' is not understood", version);
  if (*minor > std::end(kTable)[-1].minor)
    return fmt::format("{} is newer than this build knows", version);
  return fmt::format("the layout of {} is not in this build's table", version);
}

bool GoOffsets::AgreesWith(const GoOffsets& other) const {
  return std::all_of(std::begin(kFields), std::end(kFields), [&](const Field& field) {
    const uint16_t ours = this->*field.member, theirs = other.*field.member;
    return ours == theirs || ours == kNoField || theirs == kNoField;
  });
}

std::vector<std::string_view> GoOffsetStructures() {
  std::vector<std::string_view> names;
  for (const Field& field : kFields) {
    if (std::find(names.begin(), names.end(), field.structure) == names.end())
      names.push_back(field.structure);
  }
  return names;
}

absl::StatusOr<GoOffsets> GoOffsetsFrom(
    const absl::flat_hash_map<std::string, symbolizer::StructLayout>& structures) {
  GoOffsets offsets;
  for (const Field& field : kFields) {
    const auto structure = structures.find(std::string(field.structure));
    if (structure == structures.end() && field.optional) {
      offsets.*field.member = GoOffsets::kNoField;
      continue;
    }
    if (structure == structures.end())
      return absl::NotFoundError(fmt::format("no {}", field.structure));
    const symbolizer::StructLayout& layout = structure->second;
    const auto member = layout.members.find(std::string(field.path));
    uint64_t value = GoOffsets::kNoField;
    if (field.path.empty()) {
      value = layout.size;
    } else if (member != layout.members.end()) {
      value = member->second;
    } else if (!field.optional) {
      return absl::NotFoundError(fmt::format("no {}.{}", field.structure, field.path));
    }
    const bool within = field.path.empty() || member == layout.members.end() || value < layout.size;
    if (value > GoOffsets::kNoField || !within)
      return absl::NotFoundError(
          fmt::format("{}.{} at {} makes no sense", field.structure, field.path, value));
    offsets.*field.member = static_cast<uint16_t>(value);
  }
  return offsets;
}

}  // namespace stallscope
