// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/convert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <link.h>

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
