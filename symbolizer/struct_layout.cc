// SPDX-License-Identifier: Apache-2.0
#include "symbolizer/struct_layout.h"

#include <absl/container/flat_hash_set.h>
#include <absl/status/status.h>
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <fmt/format.h>

#include <chrono>
#include <optional>

namespace stallscope::symbolizer {
namespace {

using Layouts = absl::flat_hash_map<std::string, StructLayout>;

constexpr int kDeepestNesting = 3;
constexpr int kDeepestTypedef = 8;
constexpr size_t kMostMembers = 4096;
constexpr auto kLongest = std::chrono::seconds(3);

std::string_view NameOf(Dwarf_Die* die) {
  const char* name = dwarf_diename(die);
  return name != nullptr ? name : std::string_view();
}

std::optional<uint64_t> OffsetOf(Dwarf_Die* member) {
  Dwarf_Attribute attribute;
  Dwarf_Word value = 0;
  if (dwarf_attr(member, DW_AT_data_member_location, &attribute) == nullptr ||
      dwarf_formudata(&attribute, &value) != 0)
    return std::nullopt;
  return value;
}

// The structure that a member's type is, behind its other names.
bool StructureOf(Dwarf_Die* member, Dwarf_Die* structure) {
  Dwarf_Die at = *member;
  for (int i = 0; i < kDeepestTypedef; ++i) {
    Dwarf_Attribute attribute;
    if (dwarf_attr(&at, DW_AT_type, &attribute) == nullptr ||
        dwarf_formref_die(&attribute, structure) == nullptr)
      return false;
    if (dwarf_tag(structure) == DW_TAG_structure_type) return true;
    if (dwarf_tag(structure) != DW_TAG_typedef) return false;
    at = *structure;
  }
  return false;
}

void AddMembers(Dwarf_Die* structure, const std::string& prefix, uint64_t base, int depth,
                StructLayout* layout) {
  Dwarf_Die member;
  if (dwarf_child(structure, &member) != 0) return;
  do {
    if (layout->members.size() >= kMostMembers) return;
    const std::string_view name = NameOf(&member);
    const auto offset = OffsetOf(&member);
    if (dwarf_tag(&member) != DW_TAG_member || name.empty() || !offset) continue;
    std::string path = fmt::format("{}{}", prefix, name);
    Dwarf_Die inner;
    if (depth < kDeepestNesting && StructureOf(&member, &inner))
      AddMembers(&inner, path + ".", base + *offset, depth + 1, layout);
    layout->members.emplace(std::move(path), base + *offset);
  } while (dwarf_siblingof(&member, &member) == 0);
}

// Looks through the outermost level of one unit. False: out of time.
bool ReadUnit(Dwarf_Die* unit, const absl::flat_hash_set<std::string>& wanted,
              std::chrono::steady_clock::time_point deadline, Layouts* found) {
  Dwarf_Die die;
  if (dwarf_child(unit, &die) != 0) return true;
  uint32_t count = 0;
  do {
    if (++count % 4096 == 0 && std::chrono::steady_clock::now() > deadline) return false;
    if (dwarf_tag(&die) != DW_TAG_structure_type) continue;
    const std::string_view name = NameOf(&die);
    const std::string key(name);
    const int size = dwarf_bytesize(&die);
    if (size <= 0 || !wanted.contains(key) || found->contains(key)) continue;
    StructLayout layout;
    layout.size = static_cast<uint64_t>(size);
    AddMembers(&die, "", 0, 0, &layout);
    found->emplace(key, std::move(layout));
    if (found->size() == wanted.size()) return true;
  } while (dwarf_siblingof(&die, &die) == 0);
  return true;
}

}  // namespace

absl::StatusOr<Layouts> ReadStructLayouts(Dwarf* dwarf,
                                          const std::vector<std::string_view>& names) {
  const absl::flat_hash_set<std::string> wanted(names.begin(), names.end());
  const auto deadline = std::chrono::steady_clock::now() + kLongest;
  Layouts found;
  Dwarf_CU* unit = nullptr;
  Dwarf_Die unit_die;
  uint8_t kind = 0;
  while (found.size() < wanted.size() &&
         dwarf_get_units(dwarf, unit, &unit, nullptr, &kind, &unit_die, nullptr) == 0) {
    if (std::chrono::steady_clock::now() > deadline ||
        (kind == DW_UT_compile && !ReadUnit(&unit_die, wanted, deadline, &found)))
      return absl::ResourceExhaustedError("the debug information takes too long to read");
  }
  if (found.empty()) return absl::NotFoundError("none of them in the debug information");
  return found;
}

}  // namespace stallscope::symbolizer
