// SPDX-License-Identifier: Apache-2.0
#include "userspace/go/syscall_threads.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/go/fake_memory.h"

namespace stallscope {
namespace {

using testing::IsEmpty;
using testing::Pair;
using testing::UnorderedElementsAre;

class SyscallThreads : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/stallscope-threads-XXXXXX";
    root_ = mkdtemp(pattern);
    offsets_.g_m = 48;
    offsets_.m_curg = 184;
    offsets_.m_procid = 64;
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void Thread(const std::string& tid, const std::string& state, const std::string& numbers,
              int voluntary, int forced) {
    std::filesystem::create_directories(root_ + "/task/" + tid);
    std::ofstream(root_ + "/task/" + tid + "/status")
        << "Name:\tserver\nState:\t" << state << "\nTgid:\t100\nPid:\t" << tid << "\nNSpid:\t"
        << numbers << "\nvoluntary_ctxt_switches:\t" << voluntary
        << "\nnonvoluntary_ctxt_switches:\t" << forced << "\n";
  }
  // A g on an m that carries `carried` on thread `procid`.
  Goroutine InSystemCall(uint64_t g, uint64_t m, uint64_t carried, uint64_t procid) {
    memory_.Put(g + 48, m);
    memory_.Put(m + 184, carried);
    memory_.Put(m + 64, procid);
    Goroutine goroutine;
    goroutine.g = g;
    goroutine.status = kGoSyscall;
    return goroutine;
  }

  std::string root_;
  GoOffsets offsets_;
  FakeMemory memory_;
};

TEST_F(SyscallThreads, AreThoseThatSleepByTheNumbersOfTheirOwnNamespace) {
  Thread("100", "S (sleeping)", "100\t7", 40, 2);
  Thread("101", "D (disk sleep)", "101\t8", 5, 0);
  Thread("102", "R (running)", "102\t9", 5, 0);
  Thread("103", "Z (zombie)", "103\t10", 5, 0);
  Thread("104", "S (sleeping)", "104", 6, 1);
  std::filesystem::create_directories(root_ + "/task/105");  // gone
  EXPECT_THAT(SleepingThreads(root_), UnorderedElementsAre(Pair(7, SleepingThread{100, 42}),
                                                           Pair(8, SleepingThread{101, 5}),
                                                           Pair(104, SleepingThread{104, 7})));
  EXPECT_THAT(SleepingThreads(root_ + "/nowhere"), IsEmpty());
}

TEST_F(SyscallThreads, CarryTheGoroutineThatIsAsked) {
  const absl::flat_hash_map<uint64_t, SleepingThread> threads = {{7, {100, 42}}};
  Goroutine waiting = InSystemCall(0x9000, 0x19000, 0x9000, 7);
  waiting.status = kGoWaiting;
  const std::vector<Goroutine> goroutines = {
      InSystemCall(0x1000, 0x11000, 0x1000, 7),
      InSystemCall(0x2000, 0x12000, 0x1000, 7),  // its m has taken another one
      InSystemCall(0x3000, 0x13000, 0x3000, 8),  // its thread does not sleep
      InSystemCall(0x4000, 0, 0x4000, 7),        // it has none
      waiting};
  EXPECT_THAT(SleepersInSystemCalls(goroutines, offsets_, memory_, threads),
              UnorderedElementsAre(Pair(0x1000, SleepingThread{100, 42})));
  memory_.gone = true;
  EXPECT_THAT(SleepersInSystemCalls(goroutines, offsets_, memory_, threads), IsEmpty());
}

TEST_F(SyscallThreads, ThatWereSwitchedAreNotTheSame) {
  EXPECT_NE((SleepingThread{100, 42}), (SleepingThread{100, 43}));
  EXPECT_NE((SleepingThread{100, 42}), (SleepingThread{101, 42}));
}

}  // namespace
}  // namespace stallscope
