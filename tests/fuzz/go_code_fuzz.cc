// SPDX-License-Identifier: Apache-2.0
//
// Code of a target's: whatever its bytes, reading it ends, and what is said of it lies within it.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "userspace/go/code.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace stallscope;
  const std::string_view code(reinterpret_cast<const char*>(data), size);
  const CodeFacts facts = ReadCode(code, 0x400000);
  if (facts.static_addresses.size() > size || facts.byte_limits.size() > 257) __builtin_trap();
  CodeFacts twice = facts;
  twice.Add(facts);
  if (twice.static_addresses != facts.static_addresses) __builtin_trap();
  const auto site = CheapProbeSite(code, size > 0 ? data[0] % 10 : 0);
  if (site && site->offset >= size) __builtin_trap();
  return 0;
}
