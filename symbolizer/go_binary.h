// SPDX-License-Identifier: Apache-2.0
//
// The tables that a Go linker leaves in every binary, stripped or not: build information and
// pclntab (function names, files, lines, inlining, stack depths). Formats of Go 1.18 to 1.27.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "symbolizer/frame.h"

namespace stallscope::symbolizer {

// One loadable segment of the file, as the program headers give it.
struct LoadSegment {
  uint64_t address = 0;      // p_vaddr
  uint64_t file_offset = 0;  // p_offset
  uint64_t file_size = 0;    // p_filesz
  bool writable = false;
  bool executable = false;
};

// The bytes of an ELF file and what its headers say, enough to find Go's tables with or without a
// section table.
struct ElfView {
  std::string_view bytes;  // the whole file
  std::vector<LoadSegment> segments;
  struct Section {
    std::string name;
    uint64_t address = 0, file_offset = 0, size = 0;
  };
  std::vector<Section> sections;  // empty when the section table is gone
  // {address, value} of R_X86_64_RELATIVE (and RELR) relocations, sorted by address; empty for
  // fixed binaries.
  std::vector<std::pair<uint64_t, uint64_t>> relative_relocations;
};

struct GoFunction {
  uint64_t entry = 0;  // ELF address
  uint64_t end = 0;
  std::string name;
  bool wrapper = false;    // compiler-made; Go's own traces elide it
  bool top_frame = false;  // the outermost of its stack: goexit, mstart, rt0_go
  bool writes_sp = false;  // changes stacks: the stack depth is unknown in parts of it (mcall,
                           // systemstack, gogo)
};

class GoBinary {
 public:
  // nullptr without an error: not a Go binary. Unimplemented: a Go binary older than 1.18 (or not
  // understood). The tables are used in place: `elf.bytes` must outlive the GoBinary; the rest of
  // `elf` need not.
  static absl::StatusOr<std::unique_ptr<GoBinary>> Find(const ElfView& elf);

  const std::string& version() const;  // "go1.26.8"; "" when the build information is missing

  // Frames at an ELF address, innermost (inlined) first, wrapper frames elided as Go's own traces
  // do: those around an inlined frame here, those that are innermost by the caller, who knows what
  // they called (Frame::wrapper). For a return address pass address - 1 (that is what the runtime
  // does). Empty: no Go function is there.
  std::vector<Frame> Lookup(uint64_t address) const;
  // The function whose code is there, without inlining: the cheap question, when only the name is
  // wanted.
  std::optional<GoFunction> FunctionAt(uint64_t address) const;
  std::optional<GoFunction> FunctionNamed(
      std::string_view name) const;  // as printed; first by address
  // All functions of these names, in one pass and by address: assembly can give one name two
  // bodies. None of them may be generic.
  std::vector<GoFunction> FunctionsNamed(const std::vector<std::string_view>& names) const;

  // Bytes between the stack pointer at `address` and the slot of the return address (pcsp table).
  // nullopt where the table says nothing, and in functions that change stacks.
  std::optional<int64_t> StackDepth(uint64_t address) const;

  uint64_t function_count() const;
  ~GoBinary();

 private:
  struct Impl;
  explicit GoBinary(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Whether Go's own traces show a frame marked Frame::wrapper. `callee`: the frame that it called,
// nullptr for none.
bool GoShowsWrapper(const Frame* callee);

}  // namespace stallscope::symbolizer
