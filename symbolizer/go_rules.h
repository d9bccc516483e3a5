// SPDX-License-Identifier: Apache-2.0
//
// FrameRules for Go code, which has no .eh_frame: pclntab's stack depths, and the function's first
// bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "symbolizer/elf_file.h"
#include "symbolizer/go_binary.h"
#include "symbolizer/module.h"

namespace stallscope::symbolizer {

// nullopt: `address` is not in Go code, or its depth is not known.
std::optional<FrameRule> GoRuleAt(const GoBinary& go, const ElfFile& file, uint64_t address,
                                  bool is_return);

// True when a Go function whose code starts with `code` keeps its caller's rbp right below its
// return address: "push %rbp; mov %rsp,%rbp" (Go 1.21 and later) or "mov %rbp,n(%rsp); lea
// n(%rsp),%rbp" (before).
bool GoFunctionSavesRbp(std::string_view code);

}  // namespace stallscope::symbolizer
