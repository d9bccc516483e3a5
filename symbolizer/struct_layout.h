// SPDX-License-Identifier: Apache-2.0
//
// Where the members of structures lie, as debug information says.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

struct Dwarf;  // libdw's

namespace stallscope::symbolizer {

struct StructLayout {
  uint64_t size = 0;  // bytes
  // Bytes from the start, by member; those of a structure inside it by "member.member".
  absl::flat_hash_map<std::string, uint64_t> members;
};

// The structures of these names, wherever in the DWARF they stand on the outermost level; those
// that are not there are left out. NotFound: none is there; ResourceExhausted: not found within
// some seconds.
absl::StatusOr<absl::flat_hash_map<std::string, StructLayout>> ReadStructLayouts(
    Dwarf* dwarf, const std::vector<std::string_view>& names);

}  // namespace stallscope::symbolizer
