// SPDX-License-Identifier: Apache-2.0
//
// Source lines and inlined frames of native code, from DWARF through libdw. One unit is read when
// an address in it is first asked for.
#pragma once

#include <elfutils/libdw.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "symbolizer/elf_file.h"
#include "symbolizer/frame.h"
#include "symbolizer/struct_layout.h"

namespace stallscope::symbolizer {

class NativeLines {
 public:
  // `file` holds the DWARF and must outlive this. Its supplementary file (dwz) is looked for in
  // `debug_root`; libdw is never let to open a file by a path that the DWARF names.
  NativeLines(const ElfFile& file, std::string debug_root);
  ~NativeLines();

  // Frames at an ELF address, innermost first; function may be empty where only the line is known.
  // Empty: not covered. All lookups together spend at most two seconds on reading units; after that
  // only units read before answer.
  std::vector<Frame> Lookup(uint64_t address);

  // Structures of these names, as far as they are there. NotFound: no DWARF, or none of them.
  absl::StatusOr<absl::flat_hash_map<std::string, StructLayout>> StructLayouts(
      const std::vector<std::string_view>& names);

  uint64_t heap_bytes() const { return heap_bytes_ + libdw_bytes_; }

 private:
  struct Range {
    uint64_t low, high;
    Dwarf_Off die;
  };
  struct Unit {
    Dwarf_Off die = 0;
    bool functions_loaded = false;
    bool lines_counted = false;
    bool lines_allowed = false;
    std::vector<Range> functions;  // sorted by low
  };
  struct UnitRange {
    uint64_t low, high;
    uint32_t unit;
  };

  bool Load();
  bool OpenDwarf();
  bool OpenSupplement();
  bool Check(const ElfFile& file);
  void Close();
  void IndexUnits();
  void AddRanges(Dwarf_Die* die, std::vector<Range>* ranges);
  Unit* UnitAt(uint64_t address);
  void LoadFunctions(Unit* unit);
  void AddFunctions(Dwarf_Die* parent, int depth, std::vector<Range>* functions);
  bool LinesAreAffordable(Unit* unit, Dwarf_Die* unit_die);
  std::vector<Dwarf_Die> InlineChain(const Unit& unit, uint64_t address);
  bool OutOfTime() const { return spent_ > std::chrono::seconds(2); }

  const ElfFile& file_;
  const std::string debug_root_;
  bool checked_ = false;
  bool refused_ = false;
  bool indexed_ = false;
  std::unique_ptr<ElfFile> supplement_;
  Dwarf* dwarf_ = nullptr;
  Dwarf* supplement_dwarf_ = nullptr;
  std::vector<Unit> units_;
  std::vector<UnitRange> unit_ranges_;  // sorted by low
  uint64_t heap_bytes_ = 0;
  uint64_t libdw_bytes_ = 0;  // estimate of what libdw keeps for the units read
  uint64_t dies_left_ = 0;
  std::chrono::steady_clock::duration spent_{};
};

}  // namespace stallscope::symbolizer
