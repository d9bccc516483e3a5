// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/targets.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cli/scratch_directory.h"
#include "userspace/cli/words.h"

namespace stallscope {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class TargetsTest : public testing::Test {
 protected:
  void SetUp() override {
    dir_.Link("proc/self/ns/pid", "pid:[4026531836]");
    AddTask(42, 42, "etcd");
    AddTask(43, 42, "etcd-worker");
    AddTask(50, 50, "nginx");
    AddTask(51, 51, "nginx");
  }

  void AddTask(uint32_t id, uint32_t tgid, const std::string& comm) {
    dir_.Put(fmt::format("proc/{}/status", id),
             fmt::format("Name:\t{}\nTgid:\t{}\nPid:\t{}\n", comm, tgid, id));
    dir_.Put(fmt::format("proc/{}/comm", id), comm + "\n");
  }

  absl::StatusOr<Targets> Pids(std::vector<uint32_t> pids) {
    TargetSelector selector{.kind = TargetSelector::Kind::kPids, .pids = std::move(pids)};
    return ResolveTargets(selector, 1, paths_);
  }
  absl::StatusOr<Targets> Comm(const std::string& comm, uint32_t own_pid = 1) {
    TargetSelector selector{.kind = TargetSelector::Kind::kComm, .comm = comm};
    return ResolveTargets(selector, own_pid, paths_);
  }
  absl::StatusOr<Targets> Cgroup(const std::string& path) {
    TargetSelector selector{.kind = TargetSelector::Kind::kCgroup, .cgroup = path};
    return ResolveTargets(selector, 1, paths_);
  }

  ScratchDirectory dir_;
  TargetPaths paths_{dir_ / "proc", dir_ / "cgroup"};
};

TEST_F(TargetsTest, AProcess) {
  const auto targets = Pids({42});
  ASSERT_TRUE(targets.ok()) << targets.status();
  EXPECT_THAT(targets->processes, ElementsAre(Target{42, "etcd"}));
  EXPECT_THAT(targets->notes, IsEmpty());
  EXPECT_EQ(targets->description, "-p 42 (etcd)");
}

TEST_F(TargetsTest, SaysOfAStoppedProcessThatItIs) {
  dir_.Put("proc/42/task/42/stat", "42 (etcd) S 1\n");
  EXPECT_EQ(StandsStillNote({42, "etcd"}, paths_), "");
  dir_.Put("proc/42/task/42/stat", "42 (etcd) T 1\n");
  EXPECT_EQ(StandsStillNote({42, "etcd"}, paths_),
            "42 (etcd) is stopped: nothing in it runs until kill -CONT 42");
  EXPECT_EQ(StandsStillNote({99, "gone"}, paths_), "");
}

TEST_F(TargetsTest, AThreadGivesItsProcessOnce) {
  const auto targets = Pids({43, 42});
  ASSERT_TRUE(targets.ok());
  EXPECT_THAT(targets->processes, ElementsAre(Target{42, "etcd"}));
  EXPECT_THAT(targets->notes, ElementsAre("43 is a thread of 42 (etcd): profiling the process"));
}

TEST_F(TargetsTest, NoProcess) {
  const auto targets = Pids({42, 4242});
  EXPECT_EQ(ExitCodeOf(targets.status()), kExitTarget);
  EXPECT_EQ(targets.status().message(), "no process 4242\nfind it: pgrep -a NAME");
}

TEST_F(TargetsTest, OutOfSightInAPidNamespace) {
  std::filesystem::remove(dir_ / "proc/self/ns/pid");
  dir_.Link("proc/self/ns/pid", "pid:[4026532999]");
  const auto targets = Pids({4242});
  EXPECT_EQ(ExitCodeOf(targets.status()), kExitTarget);
  const std::string message(targets.status().message());
  EXPECT_THAT(message, HasSubstr("pid 4242 is not visible from here (own pid namespace)\n"));
  EXPECT_THAT(message, HasSubstr("hostPID: true"));
  EXPECT_THAT(message, HasSubstr("--pid host"));
  EXPECT_TRUE(Pids({42}).ok());
}

TEST_F(TargetsTest, ByName) {
  const auto targets = Comm("nginx");
  ASSERT_TRUE(targets.ok());
  EXPECT_THAT(targets->processes, ElementsAre(Target{50, "nginx"}, Target{51, "nginx"}));
  EXPECT_EQ(targets->description, "--comm nginx (2 processes)");
  EXPECT_THAT(Comm("nginx", 50)->processes, ElementsAre(Target{51, "nginx"}));
  const auto none = Comm("ngnix");
  EXPECT_EQ(ExitCodeOf(none.status()), kExitTarget);
  EXPECT_THAT(std::string(none.status().message()),
              HasSubstr("no process is named 'ngnix': did you mean 'nginx'"));
}

TEST_F(TargetsTest, ByCgroupOfVersion2) {
  dir_.Put("cgroup/cgroup.procs", "");
  dir_.Put("cgroup/a.slice/cgroup.procs", "42\n0\n");
  dir_.Put("cgroup/a.slice/b.service/cgroup.procs", "50\n42\n99\n");
  for (const std::string path : {"/a.slice", "a.slice", "a.slice/"}) {
    const auto targets = Cgroup(path);
    ASSERT_TRUE(targets.ok()) << targets.status();
    EXPECT_THAT(targets->processes, ElementsAre(Target{42, "etcd"}, Target{50, "nginx"}));
  }
  EXPECT_THAT(Cgroup(dir_ / "cgroup/a.slice/b.service")->processes, testing::SizeIs(2));
}

TEST_F(TargetsTest, ByCgroupOfAHybrid) {
  dir_.Put("cgroup/unified/a/cgroup.procs", "");
  dir_.Put("cgroup/cpu/a/cgroup.procs", "51\n");
  const auto targets = Cgroup("/a");
  ASSERT_TRUE(targets.ok()) << targets.status();
  EXPECT_THAT(targets->processes, ElementsAre(Target{51, "nginx"}));
}

TEST_F(TargetsTest, CgroupsThatDoNotFit) {
  dir_.Put("cgroup/empty/cgroup.procs", "");
  dir_.Put("cgroup/ended/cgroup.procs", "99\n");
  EXPECT_THAT(std::string(Cgroup("/nope").status().message()), HasSubstr("no cgroup /nope"));
  EXPECT_THAT(std::string(Cgroup("/empty").status().message()),
              HasSubstr("has no process that is visible"));
  for (const char* path : {"/nope", "/empty", "/ended"})
    EXPECT_EQ(ExitCodeOf(Cgroup(path).status()), kExitTarget) << path;
}

TEST_F(TargetsTest, ALinkInsideACgroupIsNotFollowed) {
  dir_.Put("cgroup/a/cgroup.procs", "42\n");
  dir_.Link("cgroup/a/loop", dir_ / "cgroup/a");
  EXPECT_THAT(Cgroup("/a")->processes, ElementsAre(Target{42, "etcd"}));
}

}  // namespace
}  // namespace stallscope
