// SPDX-License-Identifier: Apache-2.0
#include "symbolizer/call_site.h"

#include <gtest/gtest.h>

#include <string>

namespace stallscope::symbolizer {
namespace {

// Every shape of call, assembled by the assembler itself, with the label after it.
asm(R"(
  .text
  .macro one_call text:vararg
    .balign 16, 0x90
    \text
    .byte 0xcc
  .endm
  # With the prefix of MPX, which newer assemblers know no more.
  .macro bnd_call
    .byte 0xf2
    call call_shapes
  .endm
  .balign 16, 0x90
call_shapes:
  one_call call call_shapes
  one_call call *%rax
  one_call call *%r11
  one_call call *(%rax)
  one_call call *(%r12)
  one_call call *(%rsp)
  one_call call *8(%rbp)
  one_call call *8(%r13)
  one_call call *8(%rsp)
  one_call call *0x1000(%rax)
  one_call call *0x1000(%r12)
  one_call call *0x1000(%rsp,%rbx,8)
  one_call call *(%rax,%rbx,8)
  one_call call *8(%rax,%r9,4)
  one_call call *call_shapes(%rip)
  one_call call *0x1000
  one_call call *0x1000(,%rax,8)
  one_call call *%gs:0x10
  one_call call *%fs:(%rax)
  one_call notrack call *%rax
  one_call bnd_call
  one_call notrack call *8(%r10)
call_shapes_end:
)");
extern "C" const char call_shapes[] asm("call_shapes"), call_shapes_end[] asm("call_shapes_end");

TEST(CallSite, EveryShapeIsAccepted) {
  const std::string code(call_shapes, call_shapes_end);
  int shapes = 0;
  for (size_t at = 0; at < code.size(); at += 16) {
    const size_t end = code.find_last_of('\xcc', std::min(at + 15, code.size() - 1));
    ASSERT_TRUE(end != std::string::npos && end > at);
    EXPECT_TRUE(EndsWithCall(std::string_view(code).substr(0, end))) << "shape " << shapes;
    ++shapes;
  }
  EXPECT_EQ(shapes, 22);
}

TEST(CallSite, OtherInstructionsAreNot) {
  using std::string_view_literals::operator""sv;
  for (const std::string_view code :
       {""sv, "\xe8"sv, "\x90\x90\x90\x90\x90\x90\x90\x90"sv, "\xe9\x00\x00\x00\x00"sv,
        "\xff\xe0"sv, "\xff\x25\x00\x00\x00\x00"sv, "\x0f\x05"sv, "\xff\x74\x24\x08"sv}) {
    EXPECT_FALSE(EndsWithCall(code));
  }
}

}  // namespace
}  // namespace stallscope::symbolizer
