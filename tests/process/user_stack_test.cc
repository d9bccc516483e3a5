// SPDX-License-Identifier: Apache-2.0
//
// The walk from outside, and the judging of walked stacks, on the test's own memory: functions of
// known callers stop at a known place and have themselves unwound.
#include "userspace/process/user_stack.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>

namespace stallscope {
namespace {

class UserStack : public testing::Test {
 protected:
  void SetUp() override {
    auto space = LiveSpace::Open(getpid(), &modules_);
    ASSERT_TRUE(space.ok()) << space.status();
    space_ = *std::move(space);
  }
  std::vector<std::string> Names(const Stack& stack) {
    std::vector<std::string> names;
    for (const Segment& segment : stack.segments) {
      if (segment.kind == SegmentKind::kMarker) names.push_back("[" + segment.marker + "]");
      for (const StackAddress& address : segment.addresses) {
        auto frames = space_->Lookup(address.value, address.is_return);
        names.push_back(frames.empty() ? "?" : frames.back().function);
      }
    }
    return names;
  }
  symbolizer::ModuleCache modules_;
  std::unique_ptr<LiveSpace> space_;
};

struct Seen {
  Registers registers;
  Stack stack;
};

// Takes the registers as they are here and unwinds, before anything on the stack changes.
extern "C" __attribute__((noinline)) void user_stack_test_stop(LiveSpace* space, Seen* seen) {
  uint64_t ip, sp, bp;
  asm volatile("lea 0f(%%rip), %0\n0: mov %%rsp, %1\n mov %%rbp, %2"
               : "=r"(ip), "=r"(sp), "=r"(bp));
  seen->registers = {ip, sp, bp, 0};
  seen->stack = UnwindFromOutside(seen->registers, nullptr, *space, 3);
  asm volatile("" ::: "memory");
}

extern "C" __attribute__((noinline)) void user_stack_test_inner(LiveSpace* space, Seen* seen) {
  user_stack_test_stop(space, seen);
  asm volatile("" ::: "memory");
}

extern "C" __attribute__((noinline)) void user_stack_test_outer(LiveSpace* space, Seen* seen) {
  user_stack_test_inner(space, seen);
  asm volatile("" ::: "memory");
}

TEST_F(UserStack, UnwindsKnownCallers) {
  Seen seen;
  user_stack_test_outer(space_.get(), &seen);
  const auto names = Names(seen.stack);
  ASSERT_GE(names.size(), 4u);
  EXPECT_EQ(names[0], "user_stack_test_stop");
  EXPECT_EQ(names[1], "user_stack_test_inner");
  EXPECT_EQ(names[2], "user_stack_test_outer");
  EXPECT_NE(names[3].find("UnwindsKnownCallers"), std::string::npos) << names[3];
  for (const Segment& segment : seen.stack.segments) EXPECT_EQ(segment.space, 3u);
}

TEST_F(UserStack, NothingWalkedIsNoStack) {
  const Stack stack = JudgeUserStack(WalkedStack(), *space_, 0);
  EXPECT_TRUE(stack.segments.empty());
  EXPECT_EQ(stack.end, StackEnd::kNone);
}

TEST_F(UserStack, AnAddressThatNoCallLeadsToEndsTheStack) {
  Seen seen;
  user_stack_test_outer(space_.get(), &seen);
  std::vector<uint64_t> chain;
  for (const Segment& segment : seen.stack.segments) {
    for (const StackAddress& address : segment.addresses) chain.push_back(address.value);
  }
  ASSERT_GE(chain.size(), 4u);
  WalkedStack walked;
  walked.addresses = {chain[0], chain[1], chain[2] + 1,
                      chain[3]};  // the third is inside an instruction
  walked.goroutine_at = walked.addresses.size();
  const Stack stack = JudgeUserStack(walked, *space_, 0);
  EXPECT_EQ(stack.end, StackEnd::kNotACall);
  ASSERT_EQ(stack.segments.size(), 1u);
  EXPECT_EQ(stack.segments[0].addresses.size(), 2u);
}

TEST_F(UserStack, AWordOnTheStackIsNoCallerOfAFunctionWithAFrame) {
  Seen seen;
  user_stack_test_outer(space_.get(), &seen);
  std::vector<uint64_t> chain;
  for (const Segment& segment : seen.stack.segments) {
    for (const StackAddress& address : segment.addresses) chain.push_back(address.value);
  }
  WalkedStack walked;
  // A stale return address at the stack pointer: it follows a call, but the leaf keeps a frame
  // pointer.
  walked.addresses = {chain[0], chain[3], chain[1], chain[2]};
  walked.leaf_word = true;
  walked.goroutine_at = walked.addresses.size();
  const Stack stack = JudgeUserStack(walked, *space_, 0);
  ASSERT_EQ(stack.segments.size(), 1u);
  const auto& kept = stack.segments[0].addresses;
  ASSERT_EQ(kept.size(), 3u);
  EXPECT_EQ(kept[1].value, chain[1]);
  EXPECT_FALSE(kept[1].guessed);
}

// getppid() in libc is a system call without a frame: right after the instruction the word at the
// stack pointer is the caller.
TEST_F(UserStack, AFramelessLeafTakesItsWordOrSaysThatTheCallerIsUnknown) {
  const auto* code = reinterpret_cast<const uint8_t*>(&getppid);
  size_t at = 0;
  while (at < 64 && !(code[at] == 0x0f && code[at + 1] == 0x05)) ++at;
  if (at == 64) GTEST_SKIP() << "getppid is not a plain system call here";
  Seen seen;
  user_stack_test_outer(space_.get(), &seen);
  uint64_t caller = 0;
  for (const Segment& segment : seen.stack.segments) {
    if (segment.addresses.size() > 1) caller = segment.addresses[1].value;
  }
  ASSERT_NE(caller, 0u);
  const uint64_t leaf = reinterpret_cast<uint64_t>(code) + at + 2;
  WalkedStack walked;
  walked.addresses = {leaf, caller};
  walked.goroutine_at = 2;
  walked.leaf_word = true;
  EXPECT_EQ(Names(JudgeUserStack(walked, *space_, 0)).at(1), "user_stack_test_inner");
  walked.leaf_word = false;
  const Stack unknown = JudgeUserStack(walked, *space_, 0);
  EXPECT_EQ(Names(unknown).at(1), "[caller unknown]");
  EXPECT_TRUE(unknown.segments.back().addresses.front().guessed);
}

TEST_F(UserStack, StepsAreCallersOnlyWhenTheyAreThisProcesssOwn) {
  const auto* code = reinterpret_cast<const uint8_t*>(&getppid);
  size_t at = 0;
  while (at < 64 && !(code[at] == 0x0f && code[at + 1] == 0x05)) ++at;
  if (at == 64) GTEST_SKIP() << "getppid is not a plain system call here";
  Seen seen;
  user_stack_test_outer(space_.get(), &seen);
  const uint64_t caller = seen.stack.segments.back().addresses.at(1).value;
  WalkedStack walked;
  walked.addresses = {reinterpret_cast<uint64_t>(code) + at + 2, caller};
  walked.goroutine_at = 2;
  walked.steps = 1;
  const auto step = FrameStepAt(walked.addresses[0], /*is_return=*/false, *space_);
  ASSERT_TRUE(step.has_value());
  EXPECT_EQ(step->return_address, 0);
  EXPECT_EQ(step->saved_bp, FRAME_BP_KEPT);
  walked.steps_check = frame_step_check(0, *step);
  const Stack stack = JudgeUserStack(walked, *space_, 0);
  EXPECT_EQ(Names(stack).at(1), "user_stack_test_inner");
  EXPECT_FALSE(stack.segments.back().addresses.back().guessed);
  walked.steps_check = frame_step_check(0, {16, FRAME_BP_KEPT});  // another process's library
  EXPECT_EQ(Names(JudgeUserStack(walked, *space_, 0)).at(1), "[caller unknown]");
  walked.steps_check = frame_step_check(0, *step);
  walked.addresses[1] = caller + 1;  // not behind a call
  EXPECT_EQ(Names(JudgeUserStack(walked, *space_, 0)).at(1), "[caller unknown]");
}

TEST_F(UserStack, FollowsCallOnlyAfterCalls) {
  Seen seen;
  user_stack_test_outer(space_.get(), &seen);
  EXPECT_FALSE(space_->FollowsCall(reinterpret_cast<uint64_t>(&user_stack_test_stop)));
  EXPECT_FALSE(space_->FollowsCall(0));
  EXPECT_FALSE(space_->FollowsCall(reinterpret_cast<uint64_t>(&seen)))
      << "the stack is not executable";
}

}  // namespace
}  // namespace stallscope
