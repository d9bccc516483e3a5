// SPDX-License-Identifier: Apache-2.0
//
// Where Go's tables lie in an ELF file: build information, pclntab, and the module data that ties
// them together. Found by section name where there are sections, else by what the bytes look like,
// and then believed only when two of them agree.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "symbolizer/go_binary.h"
#include "symbolizer/go_table.h"

namespace stallscope::symbolizer {

// One entry of an inline tree.
struct GoInlinedCall {
  uint8_t id = 0;     // funcID of the inlined function
  uint32_t name = 0;  // in the table's names
  uint32_t parent_pc =
      0;  // an instruction of the caller's, where the call stood; from the function's entry
};

// The inline trees of all functions (go:func.*), as far as they lie in the file.
class GoInlineTrees {
 public:
  GoInlineTrees() = default;
  // `entry_size`: 20 bytes (Go 1.18, 1.19) or 16 (later).
  GoInlineTrees(std::string_view bytes, uint32_t entry_size)
      : bytes_(bytes), entry_size_(entry_size) {}
  bool empty() const { return bytes_.empty(); }
  std::optional<GoInlinedCall> Call(uint32_t tree, uint32_t index) const;

 private:
  std::string_view bytes_;
  uint32_t entry_size_ = 16;
};

struct GoImage {
  std::string version;  // "go1.26.8", "" when unknown
  GoTable table;
  uint64_t text = 0;           // the address that the table's code offsets count from
  GoInlineTrees inline_trees;  // empty when not found: names without inlined frames
  uint8_t wrapper_id = 0;      // funcID of compiler-made wrappers; 0 when none was seen
};

// nullopt: not a Go program. Unimplemented: a Go program whose tables are too old, missing or not
// understood. What it gives points into `elf.bytes`.
absl::StatusOr<std::optional<GoImage>> FindGoImage(const ElfView& elf);

// The minor number of a Go version: 26 of "go1.26.8", "devel go1.26-a1b2c3"; nullopt of anything
// else.
std::optional<int> GoMinorVersion(std::string_view version);

}  // namespace stallscope::symbolizer
