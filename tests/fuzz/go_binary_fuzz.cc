// SPDX-License-Identifier: Apache-2.0
//
// Go's tables from bytes of no good will: finding them, and every question about places in and
// around them.
//
// The input, in order: flags (1 byte: 1 has sections, 2 has relocations), where the table's and the
// module data's sections lie (2 bytes each), then, with relocations, their number (1 byte) and
// pairs of offsets (2 + 2 bytes); the rest is the file, loaded as one data segment.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "symbolizer/byte_cursor.h"
#include "symbolizer/go_binary.h"

using stallscope::symbolizer::ByteCursor;
using stallscope::symbolizer::ElfView;
using stallscope::symbolizer::GoBinary;

namespace {

constexpr uint64_t kCode = 0x401000, kData = 0x600000;

ElfView ViewOf(ByteCursor& input) {
  ElfView view;
  const uint8_t flags = input.U8();
  const uint64_t table = input.U16(), module = input.U16();
  if ((flags & 2) != 0) {
    for (int left = input.U8(); left > 0; --left) {
      const uint64_t address = kData + input.U16();
      view.relative_relocations.push_back({address, kData + input.U16()});
    }
    std::sort(view.relative_relocations.begin(), view.relative_relocations.end());
  }
  view.bytes = input.Bytes(input.remaining());
  view.segments.push_back({kCode, 0, 0x1000, false, true});
  view.segments.push_back({kData, 0, view.bytes.size(), true, false});
  if ((flags & 1) != 0) {
    view.sections.push_back({".go.buildinfo", kData + 64, 64, 64});
    view.sections.push_back({".gopclntab", kData + table, table, view.bytes.size()});
    view.sections.push_back({".go.module", kData + module, module, 1024});
  }
  return view;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 65536) return 0;
  ByteCursor input(std::string_view(reinterpret_cast<const char*>(data), size));
  const ElfView view = ViewOf(input);
  const auto go = GoBinary::Find(view);
  if (!go.ok() || *go == nullptr) return 0;
  for (uint64_t address = kCode - 8; address < kCode + 0x1010; address += 11) {
    const auto frames = (*go)->Lookup(address);
    const auto function = (*go)->FunctionAt(address);
    // Outside the code nothing has a name, and where there are frames there is a function.
    if (!frames.empty() && (address < kCode || address >= kCode + 0x1000 || !function)) abort();
    (*go)->StackDepth(address);
  }
  (*go)->FunctionNamed("main.main");
  (*go)->version();
  return 0;
}
