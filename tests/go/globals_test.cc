// SPDX-License-Identifier: Apache-2.0
#include "userspace/go/globals.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/go/fake_memory.h"

namespace stallscope {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint64_t kData = 0x600000, kDataSize = 0x10000;
constexpr uint64_t kAllgs = kData + 0x100, kAllgptr = kData + 0x200, kAllglen = kData + 0x300;
constexpr uint64_t kLock = kData + 0x400, kFlag = kData + 0x408;
constexpr uint64_t kSched = kData + 0x1000, kReasons = kData + 0x2000;
constexpr uint64_t kArray = 0xc000100000;
constexpr uint64_t kText = 0x500000;

bool IsData(uint64_t address, uint64_t size) {
  return address >= kData && address + size <= kData + kDataSize;
}

// A runtime with `count` goroutines, its code and what it works on.
struct Runtime {
  explicit Runtime(uint64_t count) {
    code.allgadd.static_addresses = {kText,    kAllgs,   kAllgs + 8, kAllgs + 16,
                                     kAllgptr, kAllglen, kLock,      kFlag};
    code.for_each_g.static_addresses = {kAllgptr, kAllglen};
    code.schedinit.stored_constants = {{kFlag, 1}, {kSched + 56, 10000}};
    code.new_goroutine.atomic_adds = {kSched, kLock};
    offsets.sched_goidgen = 0;
    offsets.sched_maxmcount = 56;
    SetCount(count);
    memory.Put<uint64_t>(kFlag, 1);
  }
  void SetCount(uint64_t count) {
    memory.Put<uint64_t>(kAllgs, count > 0 ? kArray : 0);
    memory.Put<uint64_t>(kAllgs + 8, count);
    memory.Put<uint64_t>(kAllgs + 16, count * 2);
    memory.Put<uint64_t>(kAllgptr, count > 0 ? kArray : 0);
    memory.Put<uint64_t>(kAllglen, count);
  }
  absl::StatusOr<GoroutineListVariables> Find() const {
    return FindGoroutineList(code, symbols, memory, IsData);
  }

  FakeMemory memory;
  GoRuntimeCode code;
  GoRuntimeSymbols symbols;
  GoOffsets offsets;
};

std::string Refusal(const absl::StatusOr<GoroutineListVariables>& list) {
  EXPECT_FALSE(list.ok());
  return std::string(list.status().message());
}

TEST(FindGoroutineList, ByCode) {
  const auto list = Runtime(81).Find();
  ASSERT_TRUE(list.ok()) << list.status();
  EXPECT_EQ(list->allglen, kAllglen);
  EXPECT_EQ(list->allgptr, kAllgptr);
}

TEST(FindGoroutineList, BySymbolsThatTheCodeConfirms) {
  Runtime runtime(81);
  runtime.symbols = {kAllgs, kAllgptr, kAllglen, kSched};
  EXPECT_TRUE(runtime.Find().ok());
  runtime.symbols.allglen = kLock + 8;
  EXPECT_THAT(Refusal(runtime.Find()), HasSubstr("not what the runtime's code works on"));
  runtime.symbols = {kLock, kAllgptr, kAllglen, kSched};
  EXPECT_THAT(Refusal(runtime.Find()), HasSubstr("is not what allglen"));
}

TEST(FindGoroutineList, BeforeTheStart) {
  Runtime runtime(0);
  EXPECT_EQ(runtime.Find().status().code(), absl::StatusCode::kFailedPrecondition);
  runtime.symbols = {kAllgs, kAllgptr, kAllglen, kSched};
  EXPECT_EQ(runtime.Find().status().code(), absl::StatusCode::kFailedPrecondition);
  runtime.code.allgadd.static_addresses = {kText};
  EXPECT_EQ(runtime.Find().status().code(), absl::StatusCode::kFailedPrecondition) << "a plugin";
}

TEST(FindGoroutineList, WhatOnlyOneOfTheTwoFunctionsWorksOnIsNotBelieved) {
  Runtime runtime(81);
  runtime.code.for_each_g.static_addresses = {kAllgptr};
  EXPECT_THAT(Refusal(runtime.Find()), HasSubstr("work on 1 variables together"));
  runtime.code.for_each_g.static_addresses = {kLock, kFlag};
  EXPECT_THAT(Refusal(runtime.Find()), HasSubstr("no list that looks like runtime.allgs"));
}

TEST(FindGoroutineList, AllgaddInsideItsCaller) {
  Runtime runtime(81);
  runtime.code.new_goroutine.static_addresses = runtime.code.allgadd.static_addresses;
  runtime.code.allgadd = {};
  EXPECT_TRUE(runtime.Find().ok()) << runtime.Find().status();
  runtime.code.new_goroutine = {};
  EXPECT_THAT(Refusal(runtime.Find()), HasSubstr("no function runtime.allgadd"));
}

TEST(FindGoroutineList, TwoListsAreNone) {
  Runtime runtime(81);
  runtime.code.for_each_g.static_addresses.push_back(kLock);
  runtime.memory.Put<uint64_t>(kLock, 81);  // a word that equals the length by chance
  EXPECT_THAT(Refusal(runtime.Find()), HasSubstr("2 lists look like"));
}

TEST(FindGoroutineList, OutsideTheModulesVariablesNothingIsBelieved) {
  Runtime runtime(81);
  const auto nothing = [](uint64_t, uint64_t) { return false; };
  EXPECT_FALSE(FindGoroutineList(runtime.code, {}, runtime.memory, nothing).ok());
}

TEST(FindGoroutineList, NoMemoryNoList) {
  Runtime runtime(81);
  const FakeMemory empty;
  EXPECT_FALSE(FindGoroutineList(runtime.code, {}, empty, IsData).ok());
  runtime.symbols = {kAllgs, kAllgptr, kAllglen, kSched};
  EXPECT_FALSE(FindGoroutineList(runtime.code, runtime.symbols, empty, IsData).ok());
}

TEST(FindGoroutineList, WhileGoroutinesStart) {
  Runtime runtime(81);
  uint64_t count = 81;
  // One more comes between the first reads.
  runtime.memory.before_read = [&](uint64_t address) {
    if (address == kAllglen && count < 90) runtime.SetCount(++count);
  };
  EXPECT_TRUE(runtime.Find().ok());
}

TEST(FindSched, TwoWaysAgree) {
  Runtime runtime(1);
  EXPECT_EQ(FindSched(runtime.code, {}, runtime.offsets, IsData), kSched);
  runtime.symbols.sched = kSched;
  EXPECT_EQ(FindSched(runtime.code, runtime.symbols, runtime.offsets, IsData), kSched);
}

TEST(FindSched, OneWayAloneIsNotEnough) {
  Runtime runtime(1);
  runtime.symbols.sched = kSched + 8;
  EXPECT_EQ(FindSched(runtime.code, runtime.symbols, runtime.offsets, IsData), 0u);
  runtime.code.schedinit.stored_constants.clear();
  EXPECT_EQ(FindSched(runtime.code, {}, runtime.offsets, IsData), 0u);
}

struct Reasons : Runtime {
  explicit Reasons(const std::vector<std::string>& words) : Runtime(1) {
    code.wait_reason.byte_limits = {static_cast<uint32_t>(words.size())};
    code.wait_reason.static_addresses = {kText, kReasons};
    uint64_t at = kText;
    for (size_t i = 0; i < words.size(); ++i) {
      memory.Put<uint64_t>(kReasons + 16 * i, at);
      memory.Put<uint64_t>(kReasons + 16 * i + 8, words[i].size());
      memory.Write(at, words[i].data(), words[i].size());
      at += words[i].size();
    }
  }
  absl::StatusOr<std::vector<std::string>> Read() const {
    return ReadWaitReasons(code, memory, IsData);
  }
};

TEST(ReadWaitReasons, AsTheProgramHasThem) {
  const auto reasons = Reasons({"", "IO wait", "sleep"}).Read();
  ASSERT_TRUE(reasons.ok()) << reasons.status();
  EXPECT_THAT(*reasons, ElementsAre("", "IO wait", "sleep"));
}

TEST(ReadWaitReasons, WhatIsNoTextIsRefused) {
  EXPECT_FALSE(Reasons({"", "IO\nwait"}).Read().ok());
  EXPECT_FALSE(Reasons({"", std::string(65, 'x')}).Read().ok());
  Reasons absurd({"", "sleep"});
  absurd.memory.Put<uint64_t>(kReasons + 16 + 8, uint64_t{1} << 62);
  EXPECT_FALSE(absurd.Read().ok());
  Reasons nowhere({"", "sleep"});
  nowhere.memory.Put<uint64_t>(kReasons + 16, 0x77770000);
  EXPECT_FALSE(nowhere.Read().ok());
}

TEST(ReadWaitReasons, CodeThatSaysNothingOrTwoThings) {
  Reasons none({"", "sleep"});
  none.code.wait_reason = {};
  EXPECT_FALSE(none.Read().ok());
  Reasons two({"", "sleep"});
  two.code.wait_reason.static_addresses.push_back(kReasons + 0x100);
  EXPECT_FALSE(two.Read().ok());
}

}  // namespace
}  // namespace stallscope
