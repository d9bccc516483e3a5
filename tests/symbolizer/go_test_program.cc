// SPDX-License-Identifier: Apache-2.0
#include "tests/symbolizer/go_test_program.h"

#include <algorithm>
#include <map>

#include "symbolizer/go_table.h"

namespace stallscope::symbolizer {
namespace {

class Writer {
 public:
  template <typename T>
  Writer& Put(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));
    return *this;
  }
  Writer& U8(uint8_t v) { return Put(v); }
  Writer& U16(uint16_t v) { return Put(v); }
  Writer& U32(uint32_t v) { return Put(v); }
  Writer& U64(uint64_t v) { return Put(v); }
  Writer& Text(const std::string& text) { return bytes_ += text, *this; }
  Writer& Varint(uint32_t v) {
    for (; v >= 0x80; v >>= 7) U8(static_cast<uint8_t>(v | 0x80));
    return U8(static_cast<uint8_t>(v));
  }
  Writer& Align(size_t to) {
    while (bytes_.size() % to != 0) U8(0);
    return *this;
  }
  size_t size() const { return bytes_.size(); }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

// Strings one after the other, each once.
class Strings {
 public:
  uint32_t Offset(const std::string& text) {
    const auto [at, added] = offsets_.emplace(text, writer_.size());
    if (added) writer_.Text(text).U8(0);
    return static_cast<uint32_t>(at->second);
  }
  const std::string& bytes() const { return writer_.bytes(); }

 private:
  Writer writer_;
  std::map<std::string, size_t> offsets_;
};

// Offset of a new table of these steps; 0 for none.
uint32_t PutPcValues(const std::vector<PcStep>& steps, Writer& tables) {
  if (steps.empty()) return 0;
  const auto offset = static_cast<uint32_t>(tables.size());
  int32_t value = -1;
  uint32_t pc = 0;
  for (const PcStep& step : steps) {
    const int32_t delta = step.value - value;
    tables.Varint(static_cast<uint32_t>(delta) << 1 ^ static_cast<uint32_t>(delta >> 31));
    tables.Varint(step.end_pc - pc);
    value = step.value;
    pc = step.end_pc;
  }
  tables.U8(0);
  return offset;
}

void PutInlinedCall(const TestInlinedCall& call, bool old_layout, Strings& names, Writer& trees) {
  if (old_layout) {
    trees.U16(0xffff).U8(call.id).U8(0).U32(0).U32(0);
    trees.U32(names.Offset(call.name)).U32(call.parent_pc);
  } else {
    trees.U8(call.id).U8(0).U16(0);
    trees.U32(names.Offset(call.name)).U32(call.parent_pc).U32(1);
  }
}

struct Tables {
  std::string header_and_all;
  std::string trees;
  uint64_t names_offset = 0, functions_offset = 0;
};

Tables BuildTables(const std::vector<TestFunction>& functions, bool old_layout,
                   uint64_t text_start) {
  Strings names, files;
  Writer units, pc_values, functab, records, trees;
  names.Offset("first.name");  // so that offset 0 is nobody's
  pc_values.U8(0);
  const size_t functab_size = functions.size() * 8 + 4;
  uint32_t entry = 0;
  for (size_t i = 0; i < functions.size(); ++i) {
    const TestFunction& function = functions[i];
    const auto tree = static_cast<uint32_t>(trees.size());
    for (const TestInlinedCall& call : function.inlined) {
      PutInlinedCall(call, old_layout, names, trees);
    }
    units.U32(files.Offset(function.file));  // each function is a compilation unit of one file
    records.Align(4);
    functab.U32(entry).U32(static_cast<uint32_t>((functab_size + 3) / 4 * 4 + records.size()));
    records.U32(entry).U32(names.Offset(function.name)).U32(0).U32(0);
    records.U32(PutPcValues(function.sp, pc_values));
    records.U32(PutPcValues({{function.size, 0}}, pc_values));
    records.U32(PutPcValues(function.line, pc_values));
    records.U32(3).U32(static_cast<uint32_t>(i));
    if (!old_layout) records.U32(1);
    records.U8(function.id).U8(function.flags).U8(0).U8(4);
    records.U32(0).U32(0).U32(PutPcValues(function.inline_index, pc_values));
    records.U32(~0u).U32(~0u).U32(~0u).U32(function.inlined.empty() ? ~0u : tree);
    entry += function.size;
  }
  functab.U32(entry).Align(4);

  const uint64_t names_at = GoTable::kHeaderSize, units_at = names_at + names.bytes().size();
  const uint64_t files_at = units_at + units.size(), values_at = files_at + files.bytes().size();
  const uint64_t functions_at = (values_at + pc_values.size() + 7) / 8 * 8;
  Writer table;
  table.U32(old_layout ? GoTable::kMagic118 : GoTable::kMagic120).U16(0).U8(1).U8(8);
  table.U64(functions.size()).U64(functions.size()).U64(text_start);
  table.U64(names_at).U64(units_at).U64(files_at).U64(values_at).U64(functions_at);
  table.Text(names.bytes()).Text(units.bytes()).Text(files.bytes()).Text(pc_values.bytes());
  table.Align(8).Text(functab.bytes()).Text(records.bytes());
  return {table.bytes(), trees.bytes(), names_at, functions_at};
}

uint64_t GofuncWord(int minor) { return minor <= 19 ? 304 / 8 : minor <= 26 ? 320 / 8 : 344 / 8; }

}  // namespace

ElfView TestProgram::View() const {
  ElfView view;
  view.bytes = bytes;
  view.segments.push_back({kCode, 0, code_size, false, true});
  view.segments.push_back({kData, 0, bytes.size(), true, false});
  view.relative_relocations = relocations;
  if (sections) {
    view.sections.push_back({".go.buildinfo", kData + 64, 64, 64});
    view.sections.push_back(
        {".gopclntab", kData + table_offset, table_offset, bytes.size() - table_offset});
  }
  return view;
}

TestProgram BuildTestProgram(const std::vector<TestFunction>& functions,
                             const TestProgramOptions& options) {
  constexpr uint64_t kModuleWords = 74;
  const bool old_layout = options.minor <= 19;
  const bool text_in_header = options.minor <= 25;
  TestProgram program;
  program.sections = options.sections;
  for (const TestFunction& function : functions) program.code_size += function.size;

  const Tables tables =
      BuildTables(functions, old_layout, text_in_header && !options.pie ? program.kCode : 0);
  Writer out;
  out.Align(8).Text(std::string(64, '\x90'));  // so that the file starts with no table
  std::string version =
      options.version.empty() ? "go1." + std::to_string(options.minor) + ".1" : options.version;
  if (version == "none") {
    out.Text(std::string(64, '\0'));
  } else {
    out.Text(std::string("\xff Go buildinf:\x08\x02", 16)).U64(0).U64(0);
    out.U8(static_cast<uint8_t>(version.size())).Text(version).Align(64);
  }
  const uint64_t trees_offset = out.size();
  out.Text(tables.trees).Align(64);
  program.module_offset = out.size();
  program.table_offset = program.module_offset + kModuleWords * 8;

  std::vector<uint64_t> words(kModuleWords, 0);
  std::vector<size_t> pointers;
  const auto point = [&](size_t word, uint64_t offset) {
    words[word] = program.kData + offset;
    pointers.push_back(word);
  };
  if (options.module_data) {
    point(0, program.table_offset);
    point(1, program.table_offset + tables.names_offset);
    point(13, program.table_offset + tables.functions_offset);
    point(16, program.table_offset + tables.functions_offset);
    words[17] = words[18] = functions.size() + 1;
    point(22, 0);
    words[22] = program.kCode;
    point(GofuncWord(options.minor), trees_offset);
  }
  for (size_t word = 0; word < words.size(); ++word) {
    const bool pointer = std::find(pointers.begin(), pointers.end(), word) != pointers.end();
    if (options.pie && pointer) {
      program.relocations.push_back(
          {program.kData + program.module_offset + word * 8, words[word]});
    }
    out.U64(options.pie && pointer ? 0 : words[word]);
  }
  if (options.pie && text_in_header) {
    program.relocations.push_back(
        {program.kData + program.table_offset + kGoTextStartOffset, program.kCode});
  }
  program.bytes = out.Text(tables.header_and_all).bytes();
  return program;
}

std::vector<TestFunction> SampleFunctions(int minor) {
  const uint8_t wrapper = minor <= 21 ? 21 : minor <= 24 ? 22 : 23;
  const auto wraps = [&](TestFunction function) {
    function.id = wrapper;
    function.file = "<autogenerated>";
    return function;
  };
  TestFunction run{
      "main.run", 100, {{10, 7}, {20, 31}, {30, 21}, {100, 9}}, {{4, 0}, {96, 56}, {100, 0}}};
  run.inline_index = {{10, -1}, {20, 1}, {30, 0}, {100, -1}};
  run.inlined = {{"main.outer", 5}, {"main.inner", 25}};
  TestFunction method = wraps({"main.(*T).Do", 64, {{16, 1}, {48, 40}, {64, 1}}});
  method.inline_index = {{16, -1}, {48, 0}, {64, -1}};
  method.inlined = {{"main.T.Do", 10}};
  TestFunction generic{minor >= 21 ? "main.Map[go.shape.int]" : "main.Map[...]", 64, {{64, 50}}};
  TestFunction mcall{"runtime.mcall", 64, {{64, 400}}, {{64, 8}}};
  mcall.flags = GoFunctionRecord::kAssembly | GoFunctionRecord::kWritesSp;
  mcall.id = 3;
  return {run,
          method,
          wraps({"main.(*T).Other", 64, {{64, 1}}}),
          wraps({"type:.eq.main.T", 64, {{64, 1}}}),
          generic,
          mcall,
          {"cmpbody", 32}};
}

}  // namespace stallscope::symbolizer
