// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/outputs.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "tests/cli/scratch_directory.h"
#include "userspace/cli/words.h"

namespace stallscope {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

TEST(Outputs, NamesOfFiles) {
  EXPECT_EQ(PathOfEvent("d.x/x.folded", "offcpu"), "d.x/x.offcpu.folded");
  EXPECT_EQ(PathOfEvent("x", "offcpu"), "x.offcpu");
  EXPECT_EQ(PathOfEvent("d.x/x.y.pb.gz", "offcpu"), "d.x/x.y.offcpu.pb.gz");
  EXPECT_EQ(PathOfEvent("x.gz", "offcpu"), "x.gz.offcpu");
  EXPECT_EQ(PathOfEvent("-", "offcpu"), "-");
  EXPECT_EQ(FormatOfPath("a.b/c"), std::nullopt);
  EXPECT_EQ(FormatOfPath("a.b/c.json"), Format::kJson);
  EXPECT_EQ(FormatOfPath("folded"), std::nullopt);
  EXPECT_EQ(FormatOfPath("a.b/c.pb.gz"), Format::kPprof);
  EXPECT_EQ(FormatOfPath("a.pb.gz/c"), std::nullopt);
  EXPECT_EQ(FormatOfPath("a.gz"), std::nullopt);
  EXPECT_EQ(FormatOfPath("a.pprof"), std::nullopt);
  EXPECT_EQ(FormatNamed("pprof"), Format::kPprof);
  EXPECT_EQ(FormatNamed("pb.gz"), std::nullopt);
}

TEST(Outputs, SeveralEventsSplitFilesOfOneEvent) {
  const std::vector<Output> wanted = {{"x.folded", Format::kFolded, ""},
                                      {"x.html", Format::kHtml, ""},
                                      {"x.pb.gz", Format::kPprof, ""}};
  EXPECT_THAT(PlanOutputs(wanted, {"offcpu"}),
              ElementsAre(Output{"x.folded", Format::kFolded, "offcpu"},
                          Output{"x.html", Format::kHtml, ""},
                          Output{"x.pb.gz", Format::kPprof, "offcpu"}));
  EXPECT_THAT(PlanOutputs(wanted, {"offcpu", "tcp"}),
              ElementsAre(Output{"x.offcpu.folded", Format::kFolded, "offcpu"},
                          Output{"x.tcp.folded", Format::kFolded, "tcp"},
                          Output{"x.html", Format::kHtml, ""},
                          Output{"x.offcpu.pb.gz", Format::kPprof, "offcpu"},
                          Output{"x.tcp.pb.gz", Format::kPprof, "tcp"}));
}

// Two of them, one after the other, would be read as one message with the names of both mixed up.
TEST(Outputs, StdoutTakesOnePprofFile) {
  const std::vector<Output> wanted = {{"-", Format::kPprof, ""}};
  EXPECT_TRUE(CheckStdout(PlanOutputs(wanted, {"offcpu"})).ok());
  const absl::Status status = CheckStdout(PlanOutputs(wanted, {"offcpu", "tcp"}));
  EXPECT_EQ(ExitCodeOf(status), kExitUsage);
  EXPECT_THAT(std::string(status.message()), HasSubstr("there are 2: offcpu, tcp\n"));
  EXPECT_TRUE(CheckStdout(PlanOutputs({{"-", Format::kFolded, ""}}, {"offcpu", "tcp"})).ok());
  EXPECT_TRUE(CheckStdout(PlanOutputs({{"x", Format::kPprof, ""}}, {"offcpu", "tcp"})).ok());
}

TEST(Outputs, DefaultNames) {
  const int64_t time = 1795252500'000'000'000;
  EXPECT_THAT(
      DefaultOutputs("etcd", 4242, time, std::nullopt),
      ElementsAre(Output{"stallscope-etcd-4242-20261121T091500Z.html", Format::kHtml, ""},
                  Output{"stallscope-etcd-4242-20261121T091500Z.folded", Format::kFolded, ""}));
  EXPECT_EQ(DefaultOutputs("../a b;\n", std::nullopt, time, Format::kRaw)[0].path,
            "stallscope-_._a_b__-20261121T091500Z.raw");
  EXPECT_EQ(DefaultOutputs("etcd", 7, time, Format::kPprof)[0].path,
            "stallscope-etcd-7-20261121T091500Z.pb.gz");
}

TEST(Outputs, WritesWholeAndReplaces) {
  ScratchDirectory dir;
  ASSERT_TRUE(WriteWhole(dir / "x", "one").ok());
  ASSERT_TRUE(WriteWhole(dir / "x", "two").ok());
  EXPECT_EQ(dir.Get("x"), "two");
  EXPECT_THAT(dir.Entries(), ElementsAre("x"));
}

bool IsLink(const std::string& path) {
  struct stat info;
  return lstat(path.c_str(), &info) == 0 && S_ISLNK(info.st_mode);
}

mode_t ModeOf(const std::string& path) {
  struct stat info = {};
  EXPECT_EQ(stat(path.c_str(), &info), 0) << path;
  return info.st_mode & 07777;
}

TEST(Outputs, WritesThroughALink) {
  ScratchDirectory dir;
  dir.Put("elsewhere/target", "old");
  dir.Link("second", "elsewhere/target");
  dir.Link("first", dir / "second");
  EXPECT_TRUE(CheckWritable(Output{dir / "first", Format::kFolded, ""}).ok());
  ASSERT_TRUE(WriteWhole(dir / "first", "new").ok());
  EXPECT_EQ(dir.Get("elsewhere/target"), "new");
  EXPECT_TRUE(IsLink(dir / "first") && IsLink(dir / "second"));
  EXPECT_FALSE(IsLink(dir / "elsewhere/target"));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir / "elsewhere"), {}), 1);
}

// The target's directory takes the temporary file: a reader sees the old file or the new one.
TEST(Outputs, ALinkIsWrittenAtomically) {
  ScratchDirectory dir;
  dir.Put("target", "old");
  dir.Link("x", "target");
  std::ifstream reader(dir / "x");
  ASSERT_TRUE(WriteWhole(dir / "x", "new").ok());
  std::string seen;
  reader >> seen;
  EXPECT_EQ(seen, "old");
}

TEST(Outputs, ReplacesALinkToNothing) {
  ScratchDirectory dir;
  dir.Link("x", dir / "nothing");
  ASSERT_TRUE(WriteWhole(dir / "x", "new").ok());
  EXPECT_EQ(dir.Get("x"), "new");
  EXPECT_THAT(dir.Entries(), ElementsAre("x"));
  dir.Link("loop", "loop");
  ASSERT_TRUE(WriteWhole(dir / "loop", "new").ok());
  EXPECT_EQ(dir.Get("loop"), "new");
}

// Somebody else's link in a directory like /tmp must not lead root to a file of root's.
TEST(Outputs, ReplacesALinkThatIsNotSafe) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  ScratchDirectory dir;
  dir.Put("precious", "kept");
  dir.Put("shared/own", "");
  ASSERT_EQ(chmod((dir / "shared").c_str(), 01777), 0);
  dir.Link("shared/x", dir / "precious");
  ASSERT_EQ(lchown((dir / "shared/x").c_str(), 65534, 65534), 0);
  ASSERT_TRUE(WriteWhole(dir / "shared/x", "new").ok());
  EXPECT_EQ(dir.Get("precious"), "kept");
  EXPECT_EQ(dir.Get("shared/x"), "new");
  EXPECT_FALSE(IsLink(dir / "shared/x"));
  // Nor on the way.
  dir.Link("shared/y", dir / "precious");
  ASSERT_EQ(lchown((dir / "shared/y").c_str(), 65534, 65534), 0);
  dir.Link("own", dir / "shared/y");
  ASSERT_TRUE(WriteWhole(dir / "own", "new").ok());
  EXPECT_EQ(dir.Get("precious"), "kept");
  // One of our own is.
  dir.Link("shared/z", dir / "precious");
  ASSERT_TRUE(WriteWhole(dir / "shared/z", "written").ok());
  EXPECT_EQ(dir.Get("precious"), "written");
}

TEST(Outputs, KeepsTheModeOfTheOldFile) {
  ScratchDirectory dir;
  const mode_t umask_before = umask(022);
  for (const mode_t mode : {0600, 0644, 0664, 0666, 0444, 0755}) {
    dir.Put("x", "old");
    ASSERT_EQ(chmod((dir / "x").c_str(), mode), 0);
    ASSERT_TRUE(WriteWhole(dir / "x", "new").ok());
    EXPECT_EQ(ModeOf(dir / "x"), mode);
    EXPECT_EQ(dir.Get("x"), "new");
  }
  // No program becomes one that runs as us.
  ASSERT_EQ(chmod((dir / "x").c_str(), 06755), 0);
  ASSERT_TRUE(WriteWhole(dir / "x", "new").ok());
  EXPECT_EQ(ModeOf(dir / "x"), 0755u);
  ASSERT_TRUE(WriteWhole(dir / "fresh", "new").ok());
  EXPECT_EQ(ModeOf(dir / "fresh"), 0644u);
  umask(umask_before);
}

// `sudo stallscope` over a file of mode 0600 leaves it readable to its owner.
TEST(Outputs, KeepsTheOwnerExceptInSharedDirectories) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  ScratchDirectory dir;
  for (const bool shared : {false, true}) {
    ASSERT_EQ(chmod(dir.path().c_str(), shared ? 01777 : 0755), 0);
    dir.Put("x", "old");
    ASSERT_EQ(chown((dir / "x").c_str(), 65534, 65534), 0);
    ASSERT_EQ(chmod((dir / "x").c_str(), 0666), 0);
    ASSERT_TRUE(WriteWhole(dir / "x", "new").ok());
    struct stat info;
    ASSERT_EQ(stat((dir / "x").c_str(), &info), 0);
    EXPECT_EQ(info.st_uid, shared ? 0u : 65534u);
    EXPECT_EQ((info.st_mode & S_IWOTH) != 0, !shared);
    ASSERT_EQ(unlink((dir / "x").c_str()), 0);
  }
}

TEST(Outputs, WritesIntoAFifo) {
  ScratchDirectory dir;
  ASSERT_EQ(mkfifo((dir / "fifo").c_str(), 0600), 0);
  EXPECT_TRUE(CheckWritable(Output{dir / "fifo", Format::kFolded, ""}).ok());
  std::string got;
  std::thread reader([&] { got = dir.Get("fifo"); });
  EXPECT_TRUE(WriteWhole(dir / "fifo", "through").ok());
  reader.join();
  EXPECT_EQ(got, "through");
  struct stat info;
  ASSERT_EQ(stat((dir / "fifo").c_str(), &info), 0);
  EXPECT_TRUE(S_ISFIFO(info.st_mode));
}

TEST(Outputs, CheckLeavesNothingBehind) {
  ScratchDirectory dir;
  EXPECT_TRUE(CheckWritable(Output{dir / "x.html", Format::kHtml, ""}).ok());
  EXPECT_THAT(dir.Entries(), IsEmpty());
}

TEST(Outputs, CheckSaysThePathAndTheErrno) {
  ScratchDirectory dir;
  dir.Put("file", "");
  const auto message = [](const std::string& path) {
    const absl::Status status = CheckWritable({Output{path, Format::kHtml, ""}});
    EXPECT_EQ(ExitCodeOf(status), kExitFailed) << path;
    return std::string(status.message());
  };
  EXPECT_THAT(message(dir / "no/x.html"),
              StartsWith(dir / "no/x.html: No such file or directory\n"));
  EXPECT_THAT(message(dir / "file/x.html"), StartsWith(dir / "file/x.html: Not a directory\n"));
  EXPECT_THAT(message(dir.path()), StartsWith(dir.path() + ": Is a directory\n"));
  EXPECT_THAT(message("/proc/self/x.html"), StartsWith("/proc/self/x.html: "));
  EXPECT_THAT(message(dir / std::string(300, 'x')), HasSubstr("File name too long"));
}

Recording SmallRecording() {
  Recording recording;
  recording.events.push_back({"offcpu", {{"time", "ns"}}, {}, "test"});
  return recording;
}

Profile SmallProfile() {
  Profile profile;
  profile.frames = {{.name = "main"}};
  EventProfile event{"offcpu", {{"time", "ns"}}, {}, "test"};
  event.samples.push_back(
      {.comm = "app", .frames = {0}, .reason = "futex", .labels = {}, .values = {2'000'000}});
  profile.events.push_back(event);
  return profile;
}

TEST(Outputs, RendersByFormat) {
  ScratchDirectory dir;
  const std::vector<Output> outputs = {{dir / "x.folded", Format::kFolded, "offcpu"},
                                       {dir / "x.json", Format::kJson, ""},
                                       {dir / "x.html", Format::kHtml, ""},
                                       {dir / "x.pb.gz", Format::kPprof, "offcpu"},
                                       {dir / "x.raw", Format::kRaw, ""}};
  const WriteReport report =
      WriteOutputs(SmallRecording(), SmallProfile(), ProfileOptions(), outputs, {});
  EXPECT_TRUE(report.status.ok()) << report.status;
  EXPECT_EQ(report.paths.size(), 5u);
  EXPECT_EQ(dir.Get("x.folded"), "app;main;[futex] 2000\n");
  EXPECT_EQ(dir.Get("x.json").front(), '{');
  EXPECT_THAT(dir.Get("x.html"), HasSubstr("<html"));
  EXPECT_THAT(dir.Get("x.pb.gz"), StartsWith("\x1f\x8b"));
  EXPECT_FALSE(dir.Get("x.raw").empty());
  EXPECT_FALSE(Render(SmallRecording(), SmallProfile(), {"x", Format::kFolded, "tcp"}).ok());
}

TEST(Outputs, AFailureAtTheEndIsRescued) {
  ScratchDirectory dir;
  ScratchDirectory shelter;
  // The first shelter takes nothing either.
  const WriteReport report = WriteOutputs(SmallRecording(), SmallProfile(), ProfileOptions(),
                                          {{dir / "gone/x.folded", Format::kFolded, "offcpu"}},
                                          {dir / "gone", shelter.path()});
  EXPECT_EQ(ExitCodeOf(report.status), kExitFailed);
  ASSERT_EQ(report.paths.size(), 1u);
  EXPECT_THAT(std::string(report.status.message()),
              StartsWith(dir / "gone/x.folded: No such file or directory\nthe result is in " +
                         report.paths[0]));
  ASSERT_THAT(shelter.Entries(), testing::SizeIs(1));
  EXPECT_EQ(shelter.Get(shelter.Entries()[0]), "app;main;[futex] 2000\n");
}

TEST(Outputs, ARescuedFileKeepsItsEnding) {
  ScratchDirectory dir;
  ScratchDirectory shelter;
  WriteOutputs(SmallRecording(), SmallProfile(), ProfileOptions(),
               {{dir / "gone/a.b.pb.gz", Format::kPprof, "offcpu"}}, {shelter.path()});
  ASSERT_THAT(shelter.Entries(), testing::SizeIs(1));
  EXPECT_THAT(shelter.Entries()[0], StartsWith("a.b-"));
  EXPECT_EQ(FormatOfPath(shelter.Entries()[0]), Format::kPprof);
}

TEST(Outputs, WithoutShelterTheLossIsSaid) {
  ScratchDirectory dir;
  const WriteReport report = WriteOutputs(SmallRecording(), SmallProfile(), ProfileOptions(),
                                          {{dir / "gone/x.folded", Format::kFolded, "offcpu"}}, {});
  EXPECT_THAT(std::string(report.status.message()), HasSubstr("the result is lost"));
  EXPECT_THAT(report.paths, IsEmpty());
}

TEST(Outputs, AFullDeviceIsAFailure) {
  if (access("/dev/full", W_OK) != 0) GTEST_SKIP() << "no /dev/full";
  const absl::Status status = WriteWhole("/dev/full", "x");
  EXPECT_THAT(std::string(status.message()), StartsWith("/dev/full: No space left on device"));
}

// A file system of a few pages: what was there before stays, and no temporary file does.
TEST(Outputs, AFullDiskKeepsTheOldFile) {
  ScratchDirectory dir;
  if (mount("none", dir.path().c_str(), "tmpfs", 0, "size=64k") != 0)
    GTEST_SKIP() << "cannot mount: " << strerror(errno);
  dir.Put("x", "old");
  const absl::Status status = WriteWhole(dir / "x", std::string(1u << 20, 'x'));
  EXPECT_THAT(std::string(status.message()), StartsWith(dir / "x" + ": No space left on device"));
  EXPECT_EQ(dir.Get("x"), "old");
  EXPECT_THAT(dir.Entries(), ElementsAre("x"));

  ASSERT_EQ(mount("none", dir.path().c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr), 0);
  EXPECT_THAT(std::string(CheckWritable(Output{dir / "y", Format::kRaw, ""}).message()),
              StartsWith(dir / "y" + ": Read-only file system"));
  umount(dir.path().c_str());
}

}  // namespace
}  // namespace stallscope
