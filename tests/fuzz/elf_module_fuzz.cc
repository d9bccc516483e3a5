// SPDX-License-Identifier: Apache-2.0
//
// An ELF file of a target's: whatever its bytes, questions about places in it end soon and within
// bounded memory.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "symbolizer/demangle.h"
#include "symbolizer/elf_file.h"
#include "symbolizer/file_bytes.h"
#include "symbolizer/module.h"

namespace stallscope::symbolizer {
namespace {

// Places worth asking about: the start, middle and last byte of each segment and of the first
// sections.
std::vector<uint64_t> Places(const ElfFile& file) {
  std::vector<uint64_t> places = {0, 1, file.bytes().size() / 2, file.bytes().size()};
  const auto add = [&places](uint64_t offset, uint64_t size) {
    for (const uint64_t within : {uint64_t{0}, uint64_t{1}, size / 3, size / 2, size - 1, size}) {
      places.push_back(offset + within);
    }
  };
  for (const ElfSegment& segment : file.segments()) {
    if (places.size() < 60) add(segment.file_offset, segment.file_size);
  }
  for (const ElfSection& section : file.sections()) {
    if (places.size() < 200 && (section.flags & 4) != 0) add(section.file_offset, section.size);
  }
  return places;
}

}  // namespace
}  // namespace stallscope::symbolizer

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace stallscope::symbolizer;
  if (size > (1u << 20)) return 0;
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  Demangle(std::string_view(bytes).substr(0, 4096));
  const auto file = ElfFile::Parse(FileBytes::Own(bytes));
  const auto module = Module::FromBytes(bytes, {"", "fuzz", ""});
  if (file.ok() != module.ok()) __builtin_trap();
  if (!module.ok()) return 0;
  for (const uint64_t place : Places(**file)) {
    for (const bool is_return : {false, true}) {
      (*module)->Lookup(place, is_return);
      (*module)->RuleAt(place, is_return);
    }
    (*module)->FollowsCall(place);
  }
  return 0;
}
