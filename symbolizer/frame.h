// SPDX-License-Identifier: Apache-2.0
//
// What a lookup answers: source-level frames.
#pragma once

#include <cstdint>
#include <string>

namespace stallscope::symbolizer {

enum class FrameKind : uint8_t {
  kNative = 0,   // C, C++, Rust, or any other ELF code
  kGo = 1,       // Go code of the program, its libraries and the standard library
  kRuntime = 2,  // Go's package runtime and runtime/internal, internal/runtime
  kKernel = 3,
};

// One source-level frame. An address inside inlined code has several; they are listed innermost
// first.
struct Frame {
  std::string
      function;  // as the language prints it: "main.(*T).f", "std::map<int, int>::find(int const&)"
  std::string file;   // empty when unknown
  uint32_t line = 0;  // 0 when unknown
  FrameKind kind = FrameKind::kNative;
  bool inlined = false;  // inlined into the frame after it
  // A compiler-made Go wrapper that is the innermost frame at its address. Go's own traces leave it
  // out unless what it called is a panic function: that depends on the frame before it in the
  // stack. See GoShowsWrapper().
  bool wrapper = false;
  bool operator==(const Frame&) const = default;
};

}  // namespace stallscope::symbolizer
