// SPDX-License-Identifier: Apache-2.0
#include "userspace/go/creators.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <string>

#include "symbolizer/go_table.h"
#include "tests/go/fake_memory.h"
#include "tests/symbolizer/go_test_program.h"

namespace stallscope {
namespace {

constexpr uint64_t kBias = 0x5500'0000'0000;
constexpr uint32_t kSize = 128u << 10;  // of a function; twice of what is read of one

// `start` has the go statement, `call` calls start, `far` calls call, `other` calls neither.
enum Function { kGopark, kStart, kCall, kFar, kOther, kMany, kMain, kFunctions };
const char* const kNames[] = {"runtime.gopark", "main.start", "main.call", "main.far",
                              "main.other",     "main.many",  "main.main"};

uint64_t At(Function function, uint64_t offset = 0) {
  return kBias + symbolizer::TestProgram::kCode + uint64_t{function} * kSize + offset;
}

// Of the go statement.
const uint64_t kCreatedAt = At(kStart, 100);

class CreatorsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::vector<symbolizer::TestFunction> functions;
    for (const char* name : kNames) functions.push_back({name, kSize, {{kSize, 1}}, {{kSize, 16}}});
    program_ = symbolizer::BuildTestProgram(functions, {.minor = 26});
    auto tables = symbolizer::GoBinary::Find(program_.View());
    ASSERT_TRUE(tables.ok());
    tables_ = std::move(*tables);
    runtime_.tables = tables_.get();
    runtime_.load_bias = kBias;
    const std::string nops(kSize, '\x90');
    for (int i = 0; i < kFunctions; ++i)
      memory_.Write(At(static_cast<Function>(i)), nops.data(), nops.size());
    creators_.emplace(&memory_, runtime_);
  }

  // A call instruction, five bytes, at this offset of `from`.
  void PutCall(Function from, uint64_t offset, uint64_t to) {
    const uint64_t at = At(from, offset);
    memory_.Put(at, '\xe8');
    memory_.Put(at + 1, static_cast<int32_t>(to - (at + 5)));
  }

  // A creator that was parked by the innermost of these return addresses, in main in the end.
  std::optional<uint32_t> Ask(const std::vector<uint64_t>& returns,
                              StackEnd end = StackEnd::kComplete) {
    GoStack stack;
    stack.end = end;
    stack.addresses.push_back({At(kGopark, 30), true});
    for (const uint64_t address : returns) stack.addresses.push_back({address, true});
    stack.addresses.push_back({At(kMain, 30), true});
    return creators_->StandsAt(next_++, stack, kCreatedAt);
  }

  symbolizer::TestProgram program_;
  std::unique_ptr<symbolizer::GoBinary> tables_;
  GoRuntime runtime_;
  FakeMemory memory_;
  std::optional<CreatorStacks> creators_;
  GoStackIndex next_ = 0;
};

TEST_F(CreatorsTest, InTheFunctionWithTheStatement) {
  EXPECT_EQ(Ask({At(kOther, 40), At(kStart, 140)}), 3u) << "behind the statement";
  EXPECT_EQ(Ask({At(kStart, 140)}), 2u);
  EXPECT_EQ(Ask({At(kStart, 90)}), std::nullopt) << "before it: for another turn";
  EXPECT_EQ(Ask({At(kStart, 140), At(kOther, 40), At(kStart, 150)}), std::nullopt) << "which?";
  EXPECT_EQ(Ask({At(kStart, 140)}, StackEnd::kFull), std::nullopt) << "there may be more";
}

TEST_F(CreatorsTest, InOneThatCalledIt) {
  PutCall(kCall, 200, At(kStart));
  PutCall(kCall, 300, At(kStart));
  EXPECT_EQ(Ask({At(kCall, 240)}), 1u);
  EXPECT_EQ(Ask({At(kCall, 205)}), std::nullopt) << "waits for that very call";
  EXPECT_EQ(Ask({At(kCall, 190)}), std::nullopt) << "has not called it yet";
  EXPECT_EQ(Ask({At(kOther, 240)}), std::nullopt) << "calls nobody";
  EXPECT_EQ(Ask({At(kCall, 240), At(kCall, 250)}), std::nullopt) << "which?";
}

TEST_F(CreatorsTest, ThroughOneMore) {
  PutCall(kCall, 200, At(kStart));
  PutCall(kFar, 20, At(kOther));
  PutCall(kFar, 400, At(kCall));
  EXPECT_EQ(Ask({At(kFar, 500)}), 1u);
  EXPECT_EQ(Ask({At(kFar, 390)}), std::nullopt);
  EXPECT_EQ(Ask({At(kFar, 500), At(kCall, 300)}), std::nullopt) << "which?";
  PutCall(kOther, 20, At(kFar));
  creators_.emplace(&memory_, runtime_);
  EXPECT_EQ(Ask({At(kOther, 500)}), std::nullopt) << "not through two";
}

TEST_F(CreatorsTest, WhatIsNotReadCannotBeTold) {
  PutCall(kCall, 200, At(kStart));
  EXPECT_EQ(Ask({At(kCall, 240)}), 1u);
  EXPECT_EQ(Ask({At(kCall, kMostCode - 1)}), 1u);
  EXPECT_EQ(Ask({At(kOther, kMostCode + 500), At(kCall, 240)}), std::nullopt)
      << "the other one may have called it, too, in the part of it that is not read";
  PutCall(kFar, 20, At(kMany));
  EXPECT_EQ(Ask({At(kFar, 240), At(kCall, 240)}), std::nullopt) << "and so may what it has called";
}

// As many calls of as many functions as there can be, on stacks as deep as there can be.
TEST_F(CreatorsTest, CodeThatIsMadeToTakeLong) {
  for (uint64_t at = 0; at + 5 < kMostCode; at += 5) {
    PutCall(kMany, at, At(kOther, at % 2 * at));
    PutCall(kOther, at, At(kMany, at % 2 * at));
  }
  const auto began = std::chrono::steady_clock::now();
  for (uint64_t i = 0; i < 2000; ++i) {
    std::vector<uint64_t> returns;
    for (uint64_t frame = 0; frame < 512; ++frame)
      returns.push_back(At(frame % 2 ? kMany : kOther, (i * 512 + frame) % kSize));
    EXPECT_EQ(Ask(returns), std::nullopt);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(60));
}

}  // namespace
}  // namespace stallscope
