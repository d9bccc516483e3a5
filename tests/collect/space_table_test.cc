// SPDX-License-Identifier: Apache-2.0
#include "userspace/collect/space_table.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "userspace/process/proc_files.h"

namespace stallscope {
namespace {

// The process that is read is this one; which execs it had is what the kernel's events would say.
class SpaceTableTest : public testing::Test {
 protected:
  void SetUp() override {
    auto own = PidNamespace::Own();
    if (!own.ok()) GTEST_SKIP() << own.status();
    pids_ = *std::move(own);
    const auto stat = ReadProcessStat("/proc/self");
    ASSERT_TRUE(stat.ok()) << stat.status();
    tgid_ = pids_.ToKernel(getpid()).value_or(0);
    start_boot_ns_ = stat->start_ticks * (1'000'000'000 / sysconf(_SC_CLK_TCK));
    memory_ = {stat->memory.start_code, stat->memory.end_code, stat->memory.start_stack};
  }
  space_key Key(uint32_t exec_id) const {
    space_key key = {};
    key.tgid = tgid_;
    key.exec_id = exec_id;
    key.start_boot_ns = start_boot_ns_;
    return key;
  }
  bool Readable(SpaceIndex index) const { return spaces_.at(index).live != nullptr; }

  PidNamespace pids_;
  uint32_t tgid_ = 0;
  uint64_t start_boot_ns_ = 0;
  memory_mark memory_ = {}, other_ = {0x400000, 0x401000, 0x7fff00000000};
  symbolizer::ModuleCache modules_;
  SpaceTable spaces_{&pids_, &modules_};
};

TEST_F(SpaceTableTest, AnExecIsReadFromTheMemoryThatItsEventNames) {
  EXPECT_TRUE(Readable(spaces_.Exec(Key(1), "now", memory_, /*stale=*/false)));
}

TEST_F(SpaceTableTest, AnExecIsNotReadFromTheMemoryOfTheNext) {
  const SpaceIndex before = spaces_.Exec(Key(1), "before", other_, /*stale=*/false);
  EXPECT_FALSE(Readable(before));
  EXPECT_EQ(spaces_.at(before).comm, "before");
  EXPECT_TRUE(Readable(spaces_.Exec(Key(2), "now", memory_, /*stale=*/false)));
  EXPECT_FALSE(Readable(before));
}

TEST_F(SpaceTableTest, WhatWasReadInsideAnExecIsForgottenWithItsEvent) {
  const SpaceIndex before = spaces_.Find(Key(1));
  ASSERT_TRUE(Readable(before)) << "nothing says yet that it is another program";
  const SpaceIndex now = spaces_.Exec(Key(2), "now", memory_, /*stale=*/false);
  EXPECT_FALSE(Readable(before));
  EXPECT_TRUE(Readable(now));
}

TEST_F(SpaceTableTest, WhatWasReadAheadInsideAnExecIsForgottenWithItsEvent) {
  ASSERT_TRUE(spaces_.ReadAhead(tgid_));
  const SpaceIndex now = spaces_.Exec(Key(2), "now", memory_, /*stale=*/false);
  EXPECT_FALSE(Readable(spaces_.Find(Key(1))));
  EXPECT_TRUE(Readable(now));
}

TEST_F(SpaceTableTest, AProgramThatWasReadInTimeIsKept) {
  const SpaceIndex before = spaces_.Find(Key(1));
  const SpaceIndex now = spaces_.Exec(Key(2), "now", other_, /*stale=*/false);
  EXPECT_TRUE(Readable(before));
  EXPECT_FALSE(Readable(now));
}

}  // namespace
}  // namespace stallscope
