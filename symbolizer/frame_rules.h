// SPDX-License-Identifier: Apache-2.0
//
// .eh_frame as FrameRules. Works without a section table (PT_GNU_EH_FRAME leads to the tables).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "symbolizer/eh_frame.h"
#include "symbolizer/elf_file.h"
#include "symbolizer/module.h"

namespace stallscope::symbolizer {

class FrameRules {
 public:
  // `file` must outlive this. Reads nothing yet.
  explicit FrameRules(const ElfFile& file) : file_(file) {}

  // The rule at ELF address `address`, found in the entry that covers `lookup_address` (address - 1
  // for a return address: a call may be the last instruction of its function). nullopt: no entry
  // covers it, or what it says cannot be put as a FrameRule.
  std::optional<FrameRule> At(uint64_t address, bool is_return);

  // Where the function around ELF address `address` starts, or that part of it.
  std::optional<uint64_t> FunctionStart(uint64_t address);

  uint64_t heap_bytes() const { return tables_ == nullptr ? 0 : tables_->heap_bytes(); }

 private:
  const EhFrame* tables();

  const ElfFile& file_;
  bool loaded_ = false;
  std::unique_ptr<EhFrame> tables_;
};

}  // namespace stallscope::symbolizer
