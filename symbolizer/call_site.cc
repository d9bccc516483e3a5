// SPDX-License-Identifier: Apache-2.0
#include "symbolizer/call_site.h"

#include <cstddef>
#include <cstdint>

namespace stallscope::symbolizer {
namespace {

// Bytes of the instruction FF /2 (or FF /3, the far call) whose operand starts with `modrm` and
// `sib`.
size_t IndirectCallSize(uint8_t modrm, uint8_t sib) {
  const uint8_t mod = modrm >> 6, operation = modrm >> 3 & 7, rm = modrm & 7;
  if (operation != 2 && operation != 3) return 0;
  if (mod == 3) return operation == 2 ? 2 : 0;
  const size_t sib_size = rm == 4 ? 1 : 0;
  const bool disp32_without_base = mod == 0 && (rm == 5 || (rm == 4 && (sib & 7) == 5));
  const size_t displacement = mod == 1 ? 1 : mod == 2 || disp32_without_base ? 4 : 0;
  return 2 + sib_size + displacement;
}

}  // namespace

// Prefixes (REX, segment, notrack, bnd) stand before the opcode, so the opcode's distance from the
// end says enough.
bool EndsWithCall(std::string_view before) {
  const size_t size = before.size();
  const auto byte = [&](size_t from_end) { return static_cast<uint8_t>(before[size - from_end]); };
  if (size >= 5 && byte(5) == 0xe8) return true;
  for (size_t length = 2; length <= 7 && length <= size; ++length) {
    if (byte(length) != 0xff) continue;
    const uint8_t sib = length >= 3 ? byte(length - 2) : 0;
    if (IndirectCallSize(byte(length - 1), sib) == length) return true;
  }
  return false;
}

}  // namespace stallscope::symbolizer
