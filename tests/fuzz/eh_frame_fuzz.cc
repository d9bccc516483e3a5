// SPDX-License-Identifier: Apache-2.0
//
// Unwind tables of a target's: whatever their bytes, a lookup ends soon and within bounded memory.
// The input is .eh_frame_hdr (its first 64 bytes) and .eh_frame of a file whose headers are sound.
#include <cstddef>
#include <cstdint>
#include <string>

#include "symbolizer/elf_file.h"
#include "symbolizer/file_bytes.h"
#include "symbolizer/frame_rules.h"
#include "tests/symbolizer/eh_frame_image.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace stallscope::symbolizer;
  if (size > (1u << 18)) return 0;
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  const std::string header = bytes.substr(0, kHeaderSize);
  const auto file = ElfFile::Parse(FileBytes::Own(
      ElfWithTables(header, bytes.size() > kHeaderSize ? bytes.substr(kHeaderSize) : "")));
  if (!file.ok()) __builtin_trap();
  FrameRules rules(**file);
  for (uint64_t address = kCode - 8; address < kCode + kCodeSize + 8; address += 7) {
    for (const bool is_return : {false, true}) {
      const auto rule = rules.At(address, is_return);
      if (rule && rule->rbp_saved_at_rbp && !rule->rbp_offset) __builtin_trap();
    }
  }
  if (rules.heap_bytes() > 16 * size + 4096) __builtin_trap();
  return 0;
}
