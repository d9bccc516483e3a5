// SPDX-License-Identifier: Apache-2.0
//
// Symbols that come as text: /proc/kallsyms and /tmp/perf-PID.map.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "symbolizer/frame.h"

namespace stallscope::symbolizer {

// Kernel and module text symbols. A name reaches to the next symbol, at most 64 KiB; module
// functions keep their " [module]" out of the name.
class KernelSymbols {
 public:
  // `text` is the content of /proc/kallsyms.
  static KernelSymbols Parse(std::string_view text);
  bool hidden() const;  // every address reads zero (kptr_restrict, or no CAP_SYSLOG)
  std::optional<Frame> Lookup(uint64_t address) const;
  // Lowest address of the named symbol.
  std::optional<uint64_t> AddressOf(std::string_view name) const;

 private:
  struct Symbol {
    uint64_t address;
    uint32_t name_offset, name_size;
  };
  std::vector<Symbol> symbols_;
  std::string names_;
  bool hidden_ = false;
};

// Names that a JIT wrote down: lines of `start size name`, hexadecimal.
class PerfMap {
 public:
  static PerfMap Parse(std::string_view text);
  std::optional<Frame> Lookup(uint64_t address) const;

 private:
  struct Symbol {
    uint64_t start, size;
    std::string name;
  };
  std::vector<Symbol> symbols_;
};

}  // namespace stallscope::symbolizer
