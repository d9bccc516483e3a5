// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/convert.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <link.h>
#include <sys/syscall.h>

#include <algorithm>
#include <filesystem>

#include "symbolizer/module.h"
#include "tests/cli/scratch_directory.h"
#include "userspace/profile/capture.h"

// A function of this program, to be found again by its name.
extern "C" __attribute__((noinline, used)) int convert_test_landmark(int n) { return n + 1; }

namespace stallscope {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr uint64_t kMapped = 0x10000000;

class ConvertTest : public testing::Test {
 protected:
  void SetUp() override {
    program_ = std::filesystem::read_symlink("/proc/self/exe");
    auto module = symbolizer::Module::Open({program_, program_, ""});
    ASSERT_TRUE(module.ok()) << module.status();
    build_id_ = (*module)->build_id();
    if (build_id_.empty()) GTEST_SKIP() << "the linker gives this program no build id";
    uint64_t bias = 0;  // of the program itself, which comes first
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void* out) {
          *static_cast<uint64_t*>(out) = info->dlpi_addr;
          return 1;
        },
        &bias);
    const auto offset =
        (*module)->AddressToFileOffset(reinterpret_cast<uint64_t>(&convert_test_landmark) - bias);
    ASSERT_TRUE(offset.has_value());
    address_ = kMapped + *offset;
  }

  // One wait whose only frame is the landmark, in this program mapped whole at kMapped.
  Recording MakeRecording(const std::string& build_id) const {
    Recording recording;
    AddressSpace space;
    space.tgid = 7;
    space.comm = "app";
    space.mappings = {{kMapped, kMapped + (uint64_t{1} << 32), 0, program_, build_id}};
    recording.spaces = {space};
    Stack stack;
    stack.segments = {{SegmentKind::kUser, 0, {{address_, false, false}}, ""}};
    recording.stacks = {stack};
    Sample sample;
    sample.values = {5'000'000};
    recording.events = {{"offcpu", {{"time", "ns"}}, {sample}, "test"}};
    return recording;
  }

  std::string program_, build_id_;
  uint64_t address_ = 0;
  ScratchDirectory dir_;
};

TEST_F(ConvertTest, ResymbolizesFromTheSameBuild) {
  Recording recording = MakeRecording(build_id_);
  const ResymbolizeReport report = Resymbolize(recording, "");
  EXPECT_EQ(report.files_matched, 1u);
  EXPECT_EQ(report.addresses, 1u);
  EXPECT_THAT(report.mismatches, IsEmpty());
  const auto& frames = recording.names.at({0, address_, false});
  ASSERT_FALSE(frames.empty());
  EXPECT_EQ(frames.back().function, "convert_test_landmark");
}

TEST_F(ConvertTest, AnotherBuildGivesNoNames) {
  Recording recording = MakeRecording("00" + build_id_);
  const ResymbolizeReport report = Resymbolize(recording, "");
  EXPECT_EQ(report.files_matched, 0u);
  EXPECT_THAT(report.mismatches, ElementsAre(program_ + ": another build id here"));
  EXPECT_THAT(recording.names, IsEmpty());
}

TEST_F(ConvertTest, WhatCannotBeComparedIsNotUsed) {
  Recording recording = MakeRecording("");
  EXPECT_THAT(Resymbolize(recording, "").mismatches,
              ElementsAre(program_ + ": the capture has no build id of it"));
  recording = MakeRecording(build_id_);
  recording.spaces[0].mappings[0].path = dir_ / "gone";
  EXPECT_THAT(Resymbolize(recording, "").mismatches,
              ElementsAre(dir_ / "gone: cannot be read here"));
  // As in a damaged capture.
  recording.stacks[0].segments[0].space = 99;
  EXPECT_EQ(Resymbolize(recording, "").addresses, 0u);
}

TEST_F(ConvertTest, ConvertsACaptureWithNewNames) {
  dir_.Put("in.raw", WriteCapture(MakeRecording(build_id_)));
  ConvertOptions options;
  options.input = dir_ / "in.raw";
  options.outputs = {{dir_ / "out.folded", Format::kFolded, ""}};
  options.quiet = true;
  EXPECT_EQ(RunConvert(options), 0);
  EXPECT_THAT(dir_.Get("out.folded"), testing::Not(HasSubstr("convert_test_landmark")));
  options.resymbolize = true;
  EXPECT_EQ(RunConvert(options), 0);
  EXPECT_THAT(dir_.Get("out.folded"), HasSubstr("app;convert_test_landmark;"));
  EXPECT_THAT(dir_.Get("out.folded"), HasSubstr(" 5000\n"));
}

// What a conversion says on stderr.
class ConvertSaysTest : public testing::Test {
 protected:
  // The lines of stderr of a conversion that succeeds.
  std::string Say(const Recording& recording, const ProfileOptions& view) const {
    dir_.Put("in.raw", WriteCapture(recording));
    ConvertOptions options;
    options.input = dir_ / "in.raw";
    options.outputs = {{dir_ / "out.folded", Format::kFolded, ""}};
    options.view = view;
    testing::internal::CaptureStderr();
    EXPECT_EQ(RunConvert(options), 0);
    return testing::internal::GetCapturedStderr();
  }

  std::string Wrote() const { return "wrote " + (dir_ / "out.folded") + "\n"; }

  static Recording TwoWaits() {
    Recording recording;
    AddressSpace space;
    space.tgid = 7;
    space.comm = "app";
    recording.spaces = {space};
    for (const uint64_t address : {0x1000, 0x2000}) {
      Stack stack;
      stack.segments = {{SegmentKind::kUser, 0, {{address, false, false}}, ""}};
      recording.stacks.push_back(stack);
      symbolizer::Frame frame;
      frame.function = address == 0x1000 ? "wanted" : "unwanted";
      recording.names[{0, address, false}] = {frame};
      Sample sample;
      sample.stack = static_cast<uint32_t>(recording.stacks.size() - 1);
      sample.values = {5'000'000, 3};
      if (recording.events.empty())
        recording.events = {{"offcpu", {{"time", "ns"}, {"count", "count"}}, {}, "test"}};
      recording.events[0].samples.push_back(sample);
    }
    return recording;
  }

  ScratchDirectory dir_;
};

TEST_F(ConvertSaysTest, NothingWhereAllIsShown) {
  EXPECT_EQ(Say(TwoWaits(), {}), Wrote());
  ProfileOptions none;
  none.exclude = {"matches no frame"};
  EXPECT_EQ(Say(TwoWaits(), none), Wrote());
}

TEST_F(ConvertSaysTest, WhatExpressionsHid) {
  ProfileOptions view;
  view.exclude = {"^unwanted$"};
  EXPECT_THAT(Say(TwoWaits(), view),
              testing::StartsWith("hidden   5.0 ms in 3 waits of offcpu: -X ^unwanted$\n"));
  EXPECT_THAT(dir_.Get("out.folded"), testing::Not(HasSubstr("unwanted")));
}

TEST_F(ConvertSaysTest, WhatWasLost) {
  Recording recording = TwoWaits();
  recording.losses = {{"offcpu", "start unknown", 2, 9'000, "", true}};
  EXPECT_THAT(Say(recording, {}),
              testing::StartsWith("WARNING 25.0% of switches lost (start unknown): 2 waits"));
  recording.losses[0].count = 0;
  EXPECT_EQ(Say(recording, {}), Wrote());
}

TEST_F(ConvertSaysTest, IdleThreadsThatWereFolded) {
  Recording recording = TwoWaits();
  recording.spaces[0].go_version = "go1.22";
  recording.stacks[0].segments[0].addresses.clear();
  uint64_t address = 0x3000;
  for (const char* function :
       {"runtime.futex", "runtime.notesleep", "runtime.mPark", "runtime.stopm"}) {
    symbolizer::Frame frame;
    frame.function = function;
    frame.kind = symbolizer::FrameKind::kGo;
    recording.names[{0, ++address, false}] = {frame};
    recording.stacks[0].segments[0].addresses.push_back({address, false, false});
  }
  recording.events[0].samples[0].reason.syscall = SYS_futex;
  const std::string folded = Say(recording, {});
  EXPECT_THAT(folded, HasSubstr("of Go's own threads, by design (--idle shows their stacks)"));
  ProfileOptions view;
  view.idle = true;
  EXPECT_EQ(Say(recording, view), Wrote());
}

// Every cut of a small capture: an error and no file, or a warning that says how much was read.
TEST_F(ConvertSaysTest, CutCaptures) {
  const std::string whole = WriteCapture(TwoWaits());
  ConvertOptions options;
  options.input = dir_ / "in.raw";
  options.outputs = {{dir_ / "out.folded", Format::kFolded, ""}};
  size_t refused = 0, warned = 0;
  for (size_t length = 24; length < whole.size(); ++length) {
    dir_.Put("in.raw", whole.substr(0, length));
    testing::internal::CaptureStderr();
    const int code = RunConvert(options);
    const std::string said = testing::internal::GetCapturedStderr();
    const std::string where =
        fmt::format("{}: cut at byte {} of {}: ", options.input, length, whole.size());
    if (code == 0) {
      ++warned;
      EXPECT_THAT(said, HasSubstr("WARNING " + where + "2 of 2 samples read"));
      EXPECT_THAT(dir_.Get("out.folded"), HasSubstr("app;"));
      std::filesystem::remove(dir_ / "out.folded");
    } else {
      ++refused;
      EXPECT_EQ(code, 1);
      EXPECT_THAT(said, testing::StartsWith(where));
      EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 2) << said;
      EXPECT_THAT(dir_.Entries(), ElementsAre("in.raw"));
    }
  }
  EXPECT_GT(refused, 0u);
  EXPECT_GT(warned, 0u);
}

TEST_F(ConvertTest, WhatIsNoCaptureFails) {
  dir_.Put("in.raw", "not a capture");
  ConvertOptions options;
  options.input = dir_ / "in.raw";
  options.outputs = {{dir_ / "out.html", Format::kHtml, ""}};
  EXPECT_EQ(RunConvert(options), 1);
  options.input = dir_ / "gone.raw";
  EXPECT_EQ(RunConvert(options), 1);
  options.input = dir_.path();
  EXPECT_EQ(RunConvert(options), 1);
  EXPECT_THAT(dir_.Entries(), ElementsAre("in.raw"));
}

}  // namespace
}  // namespace stallscope
