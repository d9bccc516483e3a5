// SPDX-License-Identifier: Apache-2.0
#include "userspace/go/self_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/go/fake_memory.h"

namespace stallscope {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kAllglen = 0x600000, kAllgptr = 0x600008, kArray = 0xc000000000;
constexpr uint64_t kGs = 0xc100000000, kStacks = 0xc200000000, kStackSize = 8192;
constexpr uint64_t kFunction = 0x401000;

std::optional<uint64_t> Entry(uint64_t address) {
  if (address < kFunction || address >= kFunction + 64) return std::nullopt;
  return kFunction;
}

// A process with waiting goroutines of Go 1.26.
struct Process {
  explicit Process(uint64_t count) {
    runtime.version = "go1.26.8";
    runtime.minor = 26;
    runtime.offsets = *KnownGoOffsets(26);
    runtime.allglen = kAllglen;
    runtime.allgptr = kAllgptr;
    runtime.wait_reasons = {"", "sleep", "select"};
    memory.Put<uint64_t>(kAllglen, count);
    memory.Put<uint64_t>(kAllgptr, kArray);
    for (uint64_t i = 0; i < count; ++i) {
      memory.Put<uint64_t>(kArray + 8 * i, G(i));
      Set(i, kGoWaiting);
    }
  }
  static uint64_t G(uint64_t i) { return kGs + 512 * i; }
  void Set(uint64_t i, uint32_t status) {
    const GoOffsets& at = runtime.offsets;
    const uint64_t g = G(i), lo = kStacks + kStackSize * i, hi = lo + kStackSize;
    memory.Put<uint32_t>(g + at.g_atomicstatus, status);
    memory.Put<uint64_t>(g + at.g_goid, i + 1);
    memory.Put<uint64_t>(g + at.g_stack_lo, lo);
    memory.Put<uint64_t>(g + at.g_stack_hi, hi);
    memory.Put<uint64_t>(g + at.g_sched_sp, hi - 256);
    memory.Put<uint64_t>(g + at.g_syscallsp, status == kGoSyscall ? hi - 128 : 0);
    memory.Put<uint64_t>(g + at.g_startpc, kFunction);
    memory.Put<uint8_t>(g + at.g_waitreason, 1);
    memory.Put<uint64_t>(g + 448, 0);
  }
  template <typename T>
  void Put(uint64_t i, uint16_t offset, T value) {
    memory.Put<T>(G(i) + offset, value);
  }
  absl::Status Check() const { return CheckGoroutines(runtime, memory, Entry); }
  std::string Refusal() const {
    const absl::Status status = Check();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
    return std::string(status.message());
  }

  FakeMemory memory;
  GoRuntime runtime;
};

TEST(CheckGoroutines, ASoundList) {
  Process process(100);
  EXPECT_TRUE(process.Check().ok()) << process.Check();
  process.Set(3, kGoRunning);
  process.Set(4, kGoSyscall);
  process.Set(5, kGoWaiting | kGoScanBit);
  process.Set(6, kGoPreempted);
  process.Set(7, kGoLeaked);
  process.Set(8, kGoRunnable);
  process.Set(9, kGoCopyStack);
  EXPECT_TRUE(process.Check().ok()) << process.Check();
}

TEST(CheckGoroutines, DeadOnesAreNotLookedAt) {
  Process process(100);
  for (uint64_t i = 10; i < 90; ++i) {
    process.Set(i, i % 2 == 0 ? kGoDead : kGoDeadExtra);
    process.Put<uint64_t>(i, process.runtime.offsets.g_goid, 0);
    process.Put<uint64_t>(i, process.runtime.offsets.g_stack_hi, 0);
  }
  EXPECT_TRUE(process.Check().ok()) << process.Check();
}

TEST(CheckGoroutines, OnlyDeadOnesSayNothing) {
  Process process(3);
  for (uint64_t i = 0; i < 3; ++i) process.Set(i, kGoDead);
  EXPECT_EQ(process.Check().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Process(0).Check().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(CheckGoroutines, StatesThatDoNotExist) {
  Process process(8);
  process.Put<uint32_t>(2, process.runtime.offsets.g_atomicstatus, 5);
  EXPECT_THAT(process.Refusal(), HasSubstr("a goroutine's state expected, found 5"));
  Process older(8);
  older.runtime.minor = 25;
  older.Set(1, kGoLeaked);
  EXPECT_THAT(older.Refusal(), HasSubstr("found 10"));
}

TEST(CheckGoroutines, StackPointersOutsideTheStack) {
  Process process(8);
  process.Put<uint64_t>(2, process.runtime.offsets.g_sched_sp, 0x1234);
  EXPECT_THAT(process.Refusal(), HasSubstr("found 0x1234"));
  process.Set(2, kGoRunning);
  process.Put<uint64_t>(2, process.runtime.offsets.g_sched_sp, 0x1234);
  EXPECT_TRUE(process.Check().ok()) << "nothing is saved while it runs";
  process.Put<uint64_t>(2, process.runtime.offsets.g_stack_lo, ~uint64_t{0});
  EXPECT_THAT(process.Refusal(), HasSubstr("a stack expected"));
}

TEST(CheckGoroutines, NumbersTwice) {
  Process process(100);
  process.Put<uint64_t>(2, process.runtime.offsets.g_goid, 50);
  EXPECT_THAT(process.Refusal(), HasSubstr("each number once expected, 50"));
}

TEST(CheckGoroutines, FirstFunctionsThatAreNone) {
  Process process(8);
  process.Put<uint64_t>(2, process.runtime.offsets.g_startpc, kFunction + 4);
  EXPECT_THAT(process.Refusal(), HasSubstr("the entry of a function expected"));
  process.Put<uint64_t>(2, process.runtime.offsets.g_startpc, 0x7f0000000000);
  EXPECT_TRUE(process.Check().ok()) << "of a plugin";
}

TEST(CheckGoroutines, ReasonsThatDoNotExist) {
  Process process(8);
  process.Put<uint8_t>(2, process.runtime.offsets.g_waitreason, 3);
  EXPECT_THAT(process.Refusal(), HasSubstr("a wait reason below 3 expected, found 3"));
}

TEST(CheckGoroutines, ASingleStrangeOneAmongManyIsTolerated) {
  Process process(100);
  process.Put<uint64_t>(2, process.runtime.offsets.g_sched_sp, 0x1234);
  EXPECT_TRUE(process.Check().ok()) << process.Check();
  for (uint64_t i = 0; i < 5; ++i)
    process.Put<uint64_t>(10 + i, process.runtime.offsets.g_sched_sp, 0x1234);
  EXPECT_THAT(process.Refusal(), HasSubstr("6 of 100 goroutines are like that"));
}

TEST(CheckGoroutines, WhatChangesMeanwhileIsLookedAtAgain) {
  Process process(8);
  const GoOffsets& at = process.runtime.offsets;
  for (uint64_t i = 0; i < 8; ++i) process.Put<uint64_t>(i, at.g_sched_sp, 0x1234);
  int looks = 0;
  process.memory.before_read = [&](uint64_t address) {
    if (address < kGs || address >= kGs + 8 * 512 || ++looks % 2 != 0) return;
    process.Set((address - kGs) / 512, kGoWaiting);
  };
  EXPECT_TRUE(process.Check().ok()) << process.Check();
}

TEST(CheckGoroutines, CyclicLists) {
  Process process(100);
  for (uint64_t i = 0; i < 100; ++i)
    process.memory.Put<uint64_t>(kArray + 8 * i, Process::G(i % 10));
  EXPECT_THAT(process.Refusal(), HasSubstr("is in the list twice"));
}

TEST(CheckGoroutines, AbsurdLengths) {
  Process process(100);
  process.memory.Put<uint64_t>(kAllglen, ~uint64_t{0});
  EXPECT_THAT(process.Refusal(), HasSubstr("allglen is 18446744073709551615"));
  process.memory.Put<uint64_t>(kAllglen, 1u << 25);
  EXPECT_THAT(process.Refusal(), HasSubstr("cannot be read"));
  EXPECT_LT(process.memory.bytes_read, 1u << 20);
}

TEST(CheckGoroutines, PointersToNowhere) {
  for (const uint64_t pointer : {uint64_t{0}, uint64_t{0x1000}, ~uint64_t{0}, kGs + 1}) {
    Process process(100);
    process.memory.Put<uint64_t>(kArray + 8 * 7, pointer);
    EXPECT_THAT(process.Refusal(), HasSubstr("cannot be read")) << pointer;
  }
}

TEST(CheckGoroutines, LooksAtSomeOfManyOnly) {
  Process process(20000);
  EXPECT_TRUE(process.Check().ok()) << process.Check();
  EXPECT_LT(process.memory.reads, 3000u);
}

TEST(CheckGoroutines, MemoryFullOfNoise) {
  Process process(64);
  uint64_t state = 88172645463325252;
  for (uint64_t at = 0; at < 64 * 512; at += 8) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    process.memory.Put<uint64_t>(kGs + at, state);
  }
  EXPECT_EQ(process.Check().code(), absl::StatusCode::kUnimplemented);
}

TEST(CheckGoroutines, StructuresThatAreTooLarge) {
  Process process(8);
  process.runtime.offsets.g_size = 60000;
  EXPECT_THAT(process.Refusal(), HasSubstr("found 60000"));
}

GoRuntimeCode CodeOf(const GoOffsets& offsets) {
  GoRuntimeCode code;
  code.casgstatus.compare_exchanges = {offsets.g_atomicstatus};
  code.gopark.stores_of_cl = {offsets.g_waitreason};
  code.mcall.stores_by_g = {offsets.g_sched_sp, offsets.g_sched_pc, offsets.g_sched_bp};
  code.mcall.loads_by_g = {offsets.g_m};
  return code;
}

TEST(CheckOffsets, EachVersionByItsOwnCodeOnly) {
  for (const int minor : {19, 21, 22, 23, 24, 25, 26, 27}) {
    const GoOffsets& offsets = *KnownGoOffsets(minor);
    EXPECT_TRUE(CheckOffsets(offsets, CodeOf(offsets)).ok()) << minor;
  }
  const absl::Status status = CheckOffsets(*KnownGoOffsets(23), CodeOf(*KnownGoOffsets(22)));
  EXPECT_EQ(
      std::string(status.message()),
      "the self-check failed: g.atomicstatus at 152 expected, runtime.casgstatus works on 144");
}

TEST(CheckOffsets, EachPartCounts) {
  const GoOffsets& offsets = *KnownGoOffsets(26);
  GoRuntimeCode code = CodeOf(offsets);
  code.casgstatus = {};
  EXPECT_THAT(std::string(CheckOffsets(offsets, code).message()),
              HasSubstr("works on nothing of the kind"));
  code = CodeOf(offsets);
  code.gopark.stores_of_cl = {offsets.g_waitreason, 200};
  EXPECT_FALSE(CheckOffsets(offsets, code).ok());
  code = CodeOf(offsets);
  code.mcall.stores_by_g.pop_back();
  EXPECT_FALSE(CheckOffsets(offsets, code).ok());
  code = CodeOf(offsets);
  code.mcall.loads_by_g = {8};
  EXPECT_FALSE(CheckOffsets(offsets, code).ok());
}

}  // namespace
}  // namespace stallscope
