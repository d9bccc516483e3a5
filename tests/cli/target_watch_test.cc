// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/target_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace stallscope {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr uint64_t kSecond = 1'000'000'000;

ProcessChange Exec(uint32_t pid, std::string after) {
  ProcessChange change;
  change.kind = ProcessChange::kExec;
  change.tgid = pid;
  change.before = "sh";
  change.after = std::move(after);
  change.mono_ns = 12 * kSecond;
  return change;
}

ProcessChange Exit(uint32_t pid) {
  ProcessChange change;
  change.kind = ProcessChange::kExit;
  change.tgid = pid;
  change.mono_ns = 13 * kSecond;
  return change;
}

TargetSelector Pids() {
  TargetSelector selector;
  selector.kind = TargetSelector::Kind::kPids;
  return selector;
}

// Processes that run: ourselves, and who started us.
Targets Two() {
  Targets targets;
  targets.processes = {{static_cast<uint32_t>(getpid()), "us"},
                       {static_cast<uint32_t>(getppid()), "parent"}};
  return targets;
}

TEST(TargetWatchTest, ExecIsToldOnceForSeveralCollectors) {
  const TargetSelector selector = Pids();
  const Targets targets = Two();
  const uint32_t pid = targets.processes[0].pid;
  Console console(true, false);
  TargetWatch watch(selector, &console);
  watch.Begin(targets);
  watch.SetStart(10 * kSecond);
  watch.Follow(Exec(pid, "app"), 2);
  watch.Follow(Exec(pid, "app"), 2);
  EXPECT_THAT(console.notes(),
              ElementsAre(testing::EndsWith("became another program (sh -> app) after 2 s")));
  // One collector tells each exec once: this is another one, of the same name.
  watch.Follow(Exec(pid, "app"), 1);
  EXPECT_EQ(console.notes().size(), 2U);
  watch.Follow(Exec(1 << 30, "stranger"), 1);
  EXPECT_EQ(console.notes().size(), 2U);
}

TEST(TargetWatchTest, OverWhenAllHaveEnded) {
  const TargetSelector selector = Pids();
  const Targets targets = Two();
  Console console(true, false);
  TargetWatch watch(selector, &console);
  watch.Begin(targets);
  watch.SetStart(10 * kSecond);
  watch.Follow(Exit(targets.processes[0].pid), 1);
  EXPECT_FALSE(watch.over());
  watch.Follow(Exit(targets.processes[0].pid), 1);  // of another collector
  EXPECT_FALSE(watch.over());
  watch.Follow(Exit(targets.processes[1].pid), 1);
  EXPECT_TRUE(watch.over());
  EXPECT_EQ(console.notes().size(), 2U);
}

TEST(TargetWatchTest, ACommandBeginsWithItsExec) {
  TargetSelector selector;
  selector.kind = TargetSelector::Kind::kCommand;
  const Targets targets = Two();
  const uint32_t pid = targets.processes[0].pid;
  Console console(true, false);
  TargetWatch watch(selector, &console);
  watch.BeginCommand(pid);
  watch.Begin(targets);
  watch.Follow(Exec(pid, "command"), 2);
  watch.Follow(Exec(pid, "command"), 2);
  EXPECT_THAT(console.notes(), IsEmpty());
  watch.Follow(Exec(pid, "next"), 2);
  EXPECT_EQ(console.notes().size(), 1U);
}

TEST(TargetWatchTest, ACgroupThatEmptiesIsNotOver) {
  TargetSelector selector;
  selector.kind = TargetSelector::Kind::kCgroup;
  selector.cgroup = "/there/is/none";
  const Targets targets = Two();
  Console console(true, false);
  TargetWatch watch(selector, &console);
  watch.Begin(targets);
  for (const Target& target : targets.processes) watch.Follow(Exit(target.pid), 1);
  EXPECT_FALSE(watch.over());
  EXPECT_THAT(watch.FindNewMembers(), IsEmpty());
}

}  // namespace
}  // namespace stallscope
