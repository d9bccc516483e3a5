// SPDX-License-Identifier: Apache-2.0
#include <execinfo.h>
#include <gtest/gtest.h>
#include <ucontext.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <vector>

#include "symbolizer/go_rules.h"
#include "symbolizer/module.h"
#include "tests/symbolizer/self_image.h"

// Functions whose unwind tables we choose.
asm(R"(
  .text
  .globl rules_plain, rules_framed, rules_realigned, rules_outermost, rules_strange
  .type rules_plain, @function
rules_plain:
  .cfi_startproc
  nop
  push %rbx
  .cfi_adjust_cfa_offset 8
  nop
  pop %rbx
  .cfi_adjust_cfa_offset -8
  ret
  .cfi_endproc
  .size rules_plain, . - rules_plain
  .type rules_framed, @function
rules_framed:
  .cfi_startproc
  push %rbp
  .cfi_def_cfa_offset 16
  .cfi_offset %rbp, -16
  mov %rsp, %rbp
  .cfi_def_cfa_register %rbp
  nop
  ret
  .cfi_endproc
  .size rules_framed, . - rules_framed
  .type rules_realigned, @function
rules_realigned:
  .cfi_startproc
  nop
  .cfi_escape 0x0f, 3, 0x76, 0x78, 6       # CFA: *(rbp - 8)
  .cfi_escape 0x10, 6, 2, 0x76, 0          # rbp saved at rbp + 0
  nop
  ret
  .cfi_endproc
  .size rules_realigned, . - rules_realigned
  .type rules_outermost, @function
rules_outermost:
  .cfi_startproc
  .cfi_undefined %rip
  nop
  hlt
  .cfi_endproc
  .size rules_outermost, . - rules_outermost
  .type rules_strange, @function
rules_strange:
  .cfi_startproc
  .cfi_def_cfa %rax, 8                     # no register that a FrameRule knows
  nop
  .cfi_endproc
  .size rules_strange, . - rules_strange
)");
extern "C" const char rules_plain[], rules_framed[], rules_realigned[], rules_outermost[],
    rules_strange[];

namespace stallscope::symbolizer {
namespace {

std::shared_ptr<const Module> ModuleAt(const std::string& path) {
  static std::map<std::string, std::shared_ptr<const Module>>* modules =
      new std::map<std::string, std::shared_ptr<const Module>>;
  auto& module = (*modules)[path];
  if (module == nullptr) module = Module::Open({path, path, ""}).value_or(nullptr);
  return module;
}

std::optional<FrameRule> RuleAt(const char* address, bool is_return = false) {
  const Place place = PlaceOf(reinterpret_cast<uintptr_t>(address));
  return ModuleAt(place.path)->RuleAt(place.file_offset, is_return);
}

FrameRule Rule(FrameRule::Register reg, int64_t offset,
               std::optional<int64_t> rbp_offset = std::nullopt) {
  FrameRule rule;
  rule.cfa_register = reg;
  rule.cfa_offset = offset;
  rule.rbp_offset = rbp_offset;
  return rule;
}

TEST(FrameRules, FollowTheTablesRows) {
  EXPECT_EQ(RuleAt(rules_plain), Rule(FrameRule::kRsp, 8));
  EXPECT_EQ(RuleAt(rules_plain + 2), Rule(FrameRule::kRsp, 16));
  EXPECT_EQ(RuleAt(rules_plain + 4), Rule(FrameRule::kRsp, 8));
  EXPECT_EQ(RuleAt(rules_framed), Rule(FrameRule::kRsp, 8));
  EXPECT_EQ(RuleAt(rules_framed + 1), Rule(FrameRule::kRsp, 16, -16));
  EXPECT_EQ(RuleAt(rules_framed + 4), Rule(FrameRule::kRbp, 16, -16));
}

TEST(FrameRules, AReturnAddressBelongsToTheCallBeforeIt) {
  EXPECT_EQ(RuleAt(rules_framed, true), Rule(FrameRule::kRsp, 8));  // the end of rules_plain
  EXPECT_EQ(RuleAt(rules_framed + 1, true),
            Rule(FrameRule::kRsp, 8));  // the row that held during the push
}

TEST(FrameRules, RealignedStacks) {
  FrameRule rule = Rule(FrameRule::kRbp, -8, 0);
  rule.cfa_deref = true;
  rule.rbp_saved_at_rbp = true;
  EXPECT_EQ(RuleAt(rules_realigned + 1), rule);
}

TEST(FrameRules, AnUndefinedReturnAddressIsTheOutermostFrame) {
  ASSERT_TRUE(RuleAt(rules_outermost).has_value());
  EXPECT_TRUE(RuleAt(rules_outermost)->outermost);
  EXPECT_FALSE(RuleAt(rules_plain)->outermost);
}

TEST(FrameRules, WhatCannotBeSaidIsRefused) { EXPECT_EQ(RuleAt(rules_strange), std::nullopt); }

// Lazy stubs push their number before the jump, which the table tells by the low bits of rip.
TEST(FrameRules, PltStubs) {
  const auto module =
      Module::Open({"tests/fuzz/corpus/elf_module_fuzz/c_nosections", "", "/nonexistent"});
  ASSERT_TRUE(module.ok());
  for (uint64_t offset = 0; offset < 4096; offset += 16) {
    const std::vector<Frame> frames = (*module)->Lookup(offset, false);
    if (frames.empty() || frames[0].function != "puts@plt") continue;
    EXPECT_EQ((*module)->RuleAt(offset, false), Rule(FrameRule::kRsp, 8));
    EXPECT_EQ((*module)->RuleAt(offset + 11, false), Rule(FrameRule::kRsp, 16));
    return;
  }
  FAIL() << "no stub found";
}

// The whole way: a real stack of this process, through qsort of libc, walked by rules alone,
// against backtrace().
struct Walk {
  std::vector<uintptr_t> ours, reference;
};

__attribute__((noinline)) void WalkFromHere(Walk* walk) {
  void* frames[128];
  const int count = backtrace(frames, 128);
  // Our own frame comes before our caller's, and so does a sanitizer's, which intercepts the call.
  int i = 0;
  while (i < count && frames[i] != __builtin_return_address(0)) ++i;
  for (; i < count; ++i) walk->reference.push_back(reinterpret_cast<uintptr_t>(frames[i]));
  ucontext_t context;
  getcontext(&context);
  uintptr_t rip = context.uc_mcontext.gregs[REG_RIP], rsp = context.uc_mcontext.gregs[REG_RSP],
            rbp = context.uc_mcontext.gregs[REG_RBP];
  for (bool is_return = true; walk->ours.size() < 128; is_return = true) {
    const Place place = PlaceOf(rip);
    const auto module = ModuleAt(place.path);
    if (module == nullptr) return;
    const std::optional<FrameRule> rule = module->RuleAt(place.file_offset, is_return);
    if (!rule || rule->outermost) return;
    uintptr_t cfa = (rule->cfa_register == FrameRule::kRsp ? rsp : rbp) + rule->cfa_offset;
    if (rule->cfa_deref) std::memcpy(&cfa, reinterpret_cast<void*>(cfa), 8);
    if (rule->rbp_offset) {
      const uintptr_t base = rule->rbp_saved_at_rbp ? rbp : cfa;
      std::memcpy(&rbp, reinterpret_cast<void*>(base + *rule->rbp_offset), 8);
    }
    std::memcpy(&rip, reinterpret_cast<void*>(cfa - 8), 8);
    rsp = cfa;
    walk->ours.push_back(rip);
  }
}

Walk* walk_in_progress = nullptr;

int CompareAndWalk(const void* a, const void* b) {
  if (walk_in_progress->ours.empty()) WalkFromHere(walk_in_progress);
  return *static_cast<const int*>(a) - *static_cast<const int*>(b);
}

TEST(FrameRules, WalkARealStackAsTheCompilersOwnUnwinderDoes) {
  Walk walk;
  walk_in_progress = &walk;
  int numbers[] = {3, 1, 2};
  qsort(numbers, 3, sizeof(int), CompareAndWalk);
  ASSERT_GT(walk.reference.size(), 5u);
  EXPECT_EQ(walk.ours, walk.reference);
}

TEST(GoRules, SeesWhetherAFunctionKeepsItsCallersRbp) {
  using std::string_view_literals::operator""sv;
  EXPECT_TRUE(GoFunctionSavesRbp("\x49\x3b\x66\x10\x76\x30\x55\x48\x89\xe5\x48\x83\xec\x10"sv));
  EXPECT_TRUE(GoFunctionSavesRbp("\x48\x83\xec\x18\x48\x89\x6c\x24\x10\x48\x8d\x6c\x24\x10"sv));
  EXPECT_TRUE(GoFunctionSavesRbp(
      "\x48\x81\xec\x98\x00\x00\x00\x48\x89\xac\x24\x90\x00\x00\x00\x48\x8d\xac\x24\x90\x00\x00\x00"sv));
  EXPECT_FALSE(GoFunctionSavesRbp("\x48\x83\xec\x18\x48\x89\x44\x24\x10"sv));
  EXPECT_FALSE(GoFunctionSavesRbp(""sv));
}

}  // namespace
}  // namespace stallscope::symbolizer
