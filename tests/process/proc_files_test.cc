// SPDX-License-Identifier: Apache-2.0
#include "userspace/process/proc_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace stallscope {
namespace {

using testing::IsEmpty;
using testing::UnorderedElementsAre;

TEST(ParseMaps, ReadsEveryField) {
  const auto lines = ParseMaps(
      "55d0c0000000-55d0c0021000 r-xp 00002000 08:01 1234                       /usr/bin/a b\n"
      "7ffd00000000-7ffd00001000 r-xp 00000000 00:00 0                          [vdso]\n"
      "7f0000000000-7f0000001000 rwxp 00000000 00:00 0 \n");
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0].start, 0x55d0c0000000u);
  EXPECT_EQ(lines[0].end, 0x55d0c0021000u);
  EXPECT_EQ(lines[0].file_offset, 0x2000u);
  EXPECT_EQ(lines[0].device, makedev(8, 1));
  EXPECT_EQ(lines[0].inode, 1234u);
  EXPECT_EQ(lines[0].path, "/usr/bin/a b");
  EXPECT_TRUE(lines[0].executable);
  EXPECT_FALSE(lines[0].writable);
  EXPECT_FALSE(lines[0].deleted);
  EXPECT_EQ(lines[1].path, "[vdso]");
  EXPECT_EQ(lines[2].path, "");
  EXPECT_TRUE(lines[2].writable);
}

TEST(ParseMaps, TellsDeletedFiles) {
  const auto lines = ParseMaps("1000-2000 r-xp 00000000 08:01 9 /tmp/app (deleted)\n");
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].path, "/tmp/app");
  EXPECT_TRUE(lines[0].deleted);
}

TEST(ParseMaps, LeavesOutWhatDoesNotParse) {
  EXPECT_TRUE(ParseMaps("").empty());
  EXPECT_TRUE(ParseMaps("garbage\n\n1000-\n1000-2000 r\n").empty());
  EXPECT_TRUE(ParseMaps("2000-1000 r-xp 00000000 08:01 9 /x\n").empty()) << "an empty range";
  EXPECT_TRUE(ParseMaps("10000000000000000-2 r-xp 0 08:01 9 /x\n").empty()) << "more than 64 bits";
}

TEST(StatusField, FindsWholeNames) {
  constexpr std::string_view kStatus = "Name:\tetcd\nNSpid:\t4242\t7\nTgid:\t4242\n";
  EXPECT_EQ(StatusField(kStatus, "Tgid"), "4242");
  EXPECT_EQ(StatusField(kStatus, "NSpid"), "4242\t7");
  EXPECT_FALSE(StatusField(kStatus, "Pid").has_value());
  EXPECT_FALSE(StatusField("", "Tgid").has_value());
}

class FakeProc : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/stallscope-proc-XXXXXX";
    root_ = mkdtemp(pattern);
    std::filesystem::create_directories(root_ + "/7");
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  void Write(const std::string& name, const std::string& text) {
    std::ofstream(root_ + "/7/" + name) << text;
  }
  std::string root_;
};

TEST_F(FakeProc, StatFieldsStandAfterAnyComm) {
  Write("stat",
        "7 (a) b (c) S 1 7 7 0 -1 4194560 0 0 0 0 1 2 0 0 20 0 1 0 98765 4096 10 "
        "18446744073709551615 4198400 4201237 140725315420384 0 0\n");
  const auto stat = ReadProcessStat(root_ + "/7");
  ASSERT_TRUE(stat.ok()) << stat.status();
  EXPECT_EQ(stat->start_ticks, 98765u);
  EXPECT_EQ(stat->memory.start_code, 4198400u);
  EXPECT_EQ(stat->memory.end_code, 4201237u);
  EXPECT_EQ(stat->memory.start_stack, 140725315420384u);
  for (const char* malformed : {"", "7 (a) S 1 7\n", "7 (a S 1 7\n"}) {
    Write("stat", malformed);
    EXPECT_FALSE(ReadProcessStat(root_ + "/7").ok()) << malformed;
  }
}

TEST_F(FakeProc, TgidOfAThread) {
  Write("status", "Name:\tx\nTgid:\t5\nPid:\t7\n");
  ASSERT_TRUE(ReadTgid(root_, 7).ok());
  EXPECT_EQ(*ReadTgid(root_, 7), 5u);
  EXPECT_EQ(ReadTgid(root_, 8).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(FakeProc, ThreadsAreTheNumbersAmongItsTasks) {
  EXPECT_THAT(ThreadIds(root_ + "/7"), IsEmpty());
  for (const char* name : {"7", "12", "8x", "x"})
    std::filesystem::create_directories(root_ + "/7/task/" + name);
  EXPECT_THAT(ThreadIds(root_ + "/7"), UnorderedElementsAre(7, 12));
  EXPECT_EQ(ThreadIds(root_ + "/7", 1).size(), 1u);
}

TEST_F(FakeProc, TaskStateStandsAfterAnyComm) {
  EXPECT_EQ(TaskState(root_ + "/7"), 0);
  Write("stat", "7 (a) Z (b) S 1 7 7\n");
  EXPECT_EQ(TaskState(root_ + "/7"), 'S');
  Write("stat", "7 (a) ");
  EXPECT_EQ(TaskState(root_ + "/7"), 0);
}

TEST_F(FakeProc, StandsStillWhereNoThreadCanRun) {
  const auto thread = [this](const std::string& tid, char state) {
    std::filesystem::create_directories(root_ + "/7/task/" + tid);
    Write("task/" + tid + "/stat", tid + " (a) b) " + state + " 1 7 7\n");
  };
  EXPECT_FALSE(StandsStill(root_ + "/7", root_)) << "it cannot be read";
  thread("7", 'T');
  thread("8", 'S');
  EXPECT_FALSE(StandsStill(root_ + "/7", root_)) << "one thread can run";
  thread("8", 'T');
  EXPECT_EQ(StandsStill(root_ + "/7", root_), "is stopped: nothing in it runs until kill -CONT 7");
  thread("7", 'Z');
  EXPECT_TRUE(StandsStill(root_ + "/7", root_)) << "its first thread has ended";
  thread("8", 't');
  Write("status", "Name:\ta\nTracerPid:\t99\n");
  EXPECT_EQ(StandsStill(root_ + "/7", root_),
            "is held by a debugger (pid 99): nothing in it runs until that lets it go on");
  thread("8", 'Z');
  EXPECT_FALSE(StandsStill(root_ + "/7", root_)) << "it has ended";
}

TEST_F(FakeProc, StandsStillInAFrozenCgroup) {
  std::filesystem::create_directories(root_ + "/7/task/7");
  Write("task/7/stat", "7 (a) S 1 7 7\n");
  Write("cgroup", "6:freezer:/jobs\n5:cpu:/other\n0::/pod/x\n");
  EXPECT_FALSE(StandsStill(root_ + "/7", root_));
  const auto group = [this](const std::string& path, const std::string& file,
                            const std::string& text) {
    std::filesystem::create_directories(root_ + path);
    std::ofstream(root_ + path + "/" + file) << text;
  };
  group("/pod/x", "cgroup.events", "populated 1\nfrozen 0\n");
  group("/freezer/jobs", "freezer.state", "THAWED\n");
  EXPECT_FALSE(StandsStill(root_ + "/7", root_));
  group("/pod/x", "cgroup.events", "populated 1\nfrozen 1\n");
  EXPECT_EQ(StandsStill(root_ + "/7", root_),
            "is frozen (cgroup /pod/x): nothing in it runs until that is thawed");
  group("/pod/x", "cgroup.events", "populated 1\nfrozen 0\n");
  group("/unified/pod/x", "cgroup.events", "populated 1\nfrozen 1\n");
  EXPECT_TRUE(StandsStill(root_ + "/7", root_)) << "a hybrid machine";
  group("/unified/pod/x", "cgroup.events", "populated 1\n");
  group("/freezer/jobs", "freezer.state", "FROZEN\n");
  EXPECT_EQ(StandsStill(root_ + "/7", root_),
            "is frozen (cgroup /jobs): nothing in it runs until that is thawed");
}

TEST_F(FakeProc, CommHasNoControlBytes) {
  Write("comm", "a\x1b[31mb\n");
  EXPECT_EQ(ReadComm(root_ + "/7"), "a?[31mb");
  EXPECT_EQ(ReadComm(root_ + "/8"), "?");
}

}  // namespace
}  // namespace stallscope
