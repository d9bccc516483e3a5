// SPDX-License-Identifier: Apache-2.0
//
// FrameRules by libdw: what ours are compared with. For files that we trust only: libdw allocates
// whatever a register's number asks for.
#pragma once

#include <elfutils/libdw.h>

#include <cstdint>
#include <optional>

#include "symbolizer/module.h"

namespace stallscope::symbolizer {

class LibdwRules {
 public:
  // `elf` must outlive this.
  explicit LibdwRules(Elf* elf);
  ~LibdwRules();
  LibdwRules(const LibdwRules&) = delete;
  LibdwRules& operator=(const LibdwRules&) = delete;

  bool ok() const { return eh_frame_ != nullptr; }
  // As FrameRules::At.
  std::optional<FrameRule> At(uint64_t address, bool is_return) const;
  // Where the row that holds at `address` ends; nullopt: no entry covers the address.
  std::optional<uint64_t> EndOfRow(uint64_t address) const;

 private:
  Dwarf_CFI* eh_frame_;
};

}  // namespace stallscope::symbolizer
