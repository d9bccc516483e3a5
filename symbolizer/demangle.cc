// SPDX-License-Identifier: Apache-2.0
#include "symbolizer/demangle.h"

#include <libiberty/demangle.h>

#include <csetjmp>
#include <cstddef>

namespace stallscope::symbolizer {
namespace {

constexpr size_t kLongestInput = 4096;
constexpr size_t kLongestOutput = 16384;
constexpr size_t kLongestOrdinaryInput = 1024;  // the library's own limit, unless told

// A few hundred bytes can encode a name of gigabytes. The library's callback cannot refuse, so it
// leaves by longjmp: the library allocates nothing on the heap in this mode, and only C frames are
// jumped over.
struct Output {
  char text[kLongestOutput];
  size_t size = 0;
  jmp_buf too_long;
};

void Append(const char* text, size_t size, void* opaque) {
  Output* output = static_cast<Output*>(opaque);
  if (size > kLongestOutput - output->size) longjmp(output->too_long, 1);
  __builtin_memcpy(output->text + output->size, text, size);
  output->size += size;
}

bool IsRustV0(std::string_view name) { return name.substr(0, 2) == "_R"; }

bool IsItanium(std::string_view name) {
  return name.substr(0, 2) == "_Z" || name.substr(0, 3) == "__Z";
}

bool Run(const char* name, size_t size, Output* output) {
  if (setjmp(output->too_long) != 0) return false;
  output->size = 0;
  const int verbose_off = DMGL_PARAMS | DMGL_ANSI;
  // Legacy Rust is shaped like C++ and ends in a hash that only it has, so it is tried first.
  if (rust_demangle_callback(name, verbose_off, Append, output) != 0 && output->size > 0)
    return true;
  output->size = 0;
  if (name[0] != '_' || name[1] != 'Z') return false;
  const int options = verbose_off | (size > kLongestOrdinaryInput ? DMGL_NO_RECURSE_LIMIT : 0);
  return cplus_demangle_v3_callback(name, options, Append, output) != 0 && output->size > 0;
}

}  // namespace

std::string Demangle(std::string_view name) {
  if ((!IsRustV0(name) && !IsItanium(name)) || name.size() > kLongestInput)
    return std::string(name);
  std::string terminated(name);
  Output output;
  if (!Run(terminated.c_str(), terminated.size(), &output)) return terminated;
  return std::string(output.text, output.size);
}

}  // namespace stallscope::symbolizer
