// SPDX-License-Identifier: Apache-2.0
#include "symbolizer/go_rules.h"

#include <algorithm>
#include <array>

namespace stallscope::symbolizer {
namespace {

using std::string_view_literals::operator""sv;

constexpr std::string_view kPushRbp = "\x55\x48\x89\xe5"sv;       // push %rbp; mov %rsp,%rbp
constexpr std::string_view kStoreRbpByte = "\x48\x89\x6c\x24"sv;  // mov %rbp,disp8(%rsp)
constexpr std::string_view kStoreRbpWord = "\x48\x89\xac\x24"sv;  // mov %rbp,disp32(%rsp)
constexpr std::string_view kPointRbpByte = "\x48\x8d\x6c\x24"sv;  // lea disp8(%rsp),%rbp
constexpr std::string_view kPointRbpWord = "\x48\x8d\xac\x24"sv;  // lea disp32(%rsp),%rbp

// The stack check and a frame's making take less than this.
constexpr uint64_t kLongestPrologue = 64;

// Functions that Go's own unwinder stops at.
bool IsOutermost(std::string_view name) {
  constexpr std::array kNames = {"runtime.goexit"sv, "runtime.mstart"sv,   "runtime.rt0_go"sv,
                                 "runtime.mcall"sv,  "_rt0_amd64_linux"sv, "_rt0_amd64"sv};
  constexpr std::string_view kAbi = ".abi0";
  if (name.size() > kAbi.size() && name.substr(name.size() - kAbi.size()) == kAbi)
    name.remove_suffix(kAbi.size());
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

}  // namespace

bool GoFunctionSavesRbp(std::string_view code) {
  code = code.substr(0, kLongestPrologue);
  if (code.find(kPushRbp) != std::string_view::npos) return true;
  const size_t byte_form = code.find(kStoreRbpByte);
  if (byte_form != std::string_view::npos && code.substr(byte_form + 5).starts_with(kPointRbpByte))
    return true;
  const size_t word_form = code.find(kStoreRbpWord);
  return word_form != std::string_view::npos && code.size() > word_form + 8 &&
         code.substr(word_form + 8).starts_with(kPointRbpWord);
}

std::optional<FrameRule> GoRuleAt(const GoBinary& go, const ElfFile& file, uint64_t address,
                                  bool is_return) {
  const uint64_t lookup_address = is_return ? address - 1 : address;
  const std::optional<GoFunction> function = go.FunctionAt(lookup_address);
  if (!function) return std::nullopt;
  FrameRule rule;
  if (IsOutermost(function->name)) {
    rule.outermost = true;
    return rule;
  }
  const std::optional<int64_t> depth = go.StackDepth(lookup_address);
  if (!depth || *depth < 0) return std::nullopt;
  rule.cfa_offset = *depth + 8;
  if (*depth == 0) return rule;
  const uint64_t size = function->end > function->entry ? function->end - function->entry : 0;
  if (!GoFunctionSavesRbp(file.BytesAt(function->entry, std::min(size, kLongestPrologue))))
    return rule;
  // Before Go 1.21 one instruction lies between making the frame and storing rbp in it.
  const std::string_view here = is_return ? std::string_view() : file.BytesAt(address, 4);
  const bool not_yet_stored = here == kStoreRbpByte || here == kStoreRbpWord;
  if (!not_yet_stored) rule.rbp_offset = -16;
  return rule;
}

}  // namespace stallscope::symbolizer
