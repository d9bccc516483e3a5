// SPDX-License-Identifier: Apache-2.0
//
// Writes the tables of a made-up Go program as Go's linker would, in the layout of any version
// from 1.18 to 1.27.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "symbolizer/go_binary.h"

namespace stallscope::symbolizer {

// A value that holds up to (not including) a place in a function.
struct PcStep {
  uint32_t end_pc;
  int32_t value;
};

struct TestInlinedCall {
  std::string name;
  uint32_t parent_pc = 0;
  uint8_t id = 0;
};

struct TestFunction {
  std::string name;
  uint32_t size = 64;
  std::vector<PcStep> line;
  std::vector<PcStep> sp;
  std::vector<PcStep> inline_index;
  std::vector<TestInlinedCall> inlined;
  uint8_t id = 0;
  uint8_t flags = 0;
  std::string file = "/src/main.go";
};

struct TestProgramOptions {
  int minor = 19;        // decides the layout
  std::string version;   // "go1.<minor>.1" when empty, none when "none"
  bool sections = true;  // has a section table
  bool pie = false;      // pointers only as relocations
  bool module_data = true;
};

// The finished program: code at kCode, everything else in one data segment at kData.
struct TestProgram {
  static constexpr uint64_t kCode = 0x401000, kData = 0x600000;

  std::string bytes;
  uint64_t code_size = 0;
  uint64_t table_offset = 0, module_offset = 0;  // in bytes
  std::vector<std::pair<uint64_t, uint64_t>> relocations;
  bool sections = true;

  ElfView View() const;
};

TestProgram BuildTestProgram(const std::vector<TestFunction>& functions,
                             const TestProgramOptions& options = {});

// Five functions: main.run with two calls inlined one into the other, a wrapper with its method
// inlined, a plain wrapper, a generic function, and runtime.mcall, which changes stacks.
std::vector<TestFunction> SampleFunctions(int minor);

}  // namespace stallscope::symbolizer
