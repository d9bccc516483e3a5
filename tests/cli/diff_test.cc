// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/diff.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cli/scratch_directory.h"
#include "userspace/cli/outputs.h"
#include "userspace/cli/words.h"
#include "userspace/profile/capture.h"

namespace stallscope {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// One goroutine stack, main.leak; so many of them for the whole recording.
Recording MakeRecording(int64_t goroutines, int64_t start_unix_ns) {
  Recording recording;
  recording.target = "-p 7 (app)";
  recording.duration_ns = 10'000'000'000;
  recording.start_unix_ns = start_unix_ns;
  AddressSpace space;
  space.tgid = 7;
  space.comm = "app";
  space.go_version = "go1.26.1";
  recording.spaces = {space};
  symbolizer::Frame frame;
  frame.function = "main.leak";
  frame.kind = symbolizer::FrameKind::kGo;
  recording.names[{0, 0x1000, false}] = {frame};
  Stack stack;
  stack.segments = {{SegmentKind::kGoroutine, 0, {{0x1000, false, false}}, ""}};
  recording.stacks = {stack};
  RecordedEvent event;
  event.name = "goroutine";
  event.columns = {{"time", "ns"}, {"count", "count"}};
  Sample sample;
  sample.reason.words = "chan send";
  sample.values = {goroutines * 10'000'000'000, goroutines};
  event.samples = {sample};
  recording.events = {event};
  return recording;
}

class DiffTest : public testing::Test {
 protected:
  void SetUp() override {
    scratch_.Put("a.raw", WriteCapture(MakeRecording(2, 100)));
    scratch_.Put("b.raw", WriteCapture(MakeRecording(5, 200)));
  }

  // What it printed on stdout; `code_` and `errors_` have the rest.
  std::string Run(std::vector<std::string> words) {
    for (std::string& word : words) {
      if (word.find('.') != std::string::npos) word = scratch_ / word;
    }
    words.insert(words.begin(), "diff");
    const auto command = ParseCommandLine(words);
    EXPECT_TRUE(command.ok()) << command.status();
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    code_ = RunDiff(std::get<DiffOptions>(*command));
    fflush(stdout);
    errors_ = testing::internal::GetCapturedStderr();
    return testing::internal::GetCapturedStdout();
  }

  ScratchDirectory scratch_;
  int code_ = -1;
  std::string errors_;
};

TEST_F(DiffTest, ATableOnStdout) {
  const std::string text = Run({"a.raw", "b.raw"});
  EXPECT_EQ(code_, kExitDone);
  EXPECT_THAT(errors_, IsEmpty());
  EXPECT_THAT(text, HasSubstr("a.raw: -p 7 (app), 10.00 s\n"));
  EXPECT_THAT(text, HasSubstr("goroutine, time per second of recording: 2.00 s -> 5.00 s\n"));
  EXPECT_THAT(text, HasSubstr("+3.00 s  2.00 s -> 5.00 s  [chan send]  main.leak\n"));
  EXPECT_THAT(text, HasSubstr("goroutines: 2 -> 5\ngrew\n"));
}

TEST_F(DiffTest, TwoColumnsInAFile) {
  const std::string text = Run({"a.raw", "b.raw", "-o", "x.folded"});
  EXPECT_EQ(code_, kExitDone);
  EXPECT_EQ(scratch_.Get("x.folded"), "app;main.leak;[chan send] 2000000 5000000\n");
  EXPECT_THAT(text, HasSubstr("grew"));
  EXPECT_THAT(errors_, HasSubstr("wrote "));
  EXPECT_THAT(Run({"a.raw", "b.raw", "-o", "x.folded", "-q"}), IsEmpty());
  EXPECT_THAT(errors_, IsEmpty());
}

TEST_F(DiffTest, ManyInTheOrderOfTime) {
  scratch_.Put("c.raw", WriteCapture(MakeRecording(4, 300)));
  EXPECT_THAT(Run({"a.raw", "b.raw", "c.raw"}), HasSubstr("none grew and never shrank"));
  EXPECT_THAT(Run({"a.raw", "c.raw", "b.raw"}), HasSubstr("2 -> 4 -> 5"));
  EXPECT_THAT(errors_, HasSubstr("b.raw was recorded before the file in front of it\n"));
}

TEST_F(DiffTest, AFilterHoldsForAll) {
  EXPECT_THAT(Run({"a.raw", "b.raw", "-X", "leak"}), Not(HasSubstr("main.leak")));
  EXPECT_EQ(code_, kExitDone);
}

TEST_F(DiffTest, WhatCannotBeComparedIsSaidInTwoLines) {
  Recording other = MakeRecording(1, 300);
  other.events[0].name = "offcpu";
  scratch_.Put("other.raw", WriteCapture(other));
  EXPECT_THAT(Run({"a.raw", "other.raw"}), IsEmpty());
  EXPECT_EQ(code_, kExitFailed);
  EXPECT_THAT(errors_, HasSubstr("cannot be compared: they have no event in common\n"));
  EXPECT_THAT(errors_, HasSubstr("compare two recordings of one event, or two dumps\n"));

  Run({"a.raw", "missing.raw"});
  EXPECT_EQ(code_, kExitFailed);
  EXPECT_THAT(errors_, HasSubstr("missing.raw: No such file or directory\n"));

  scratch_.Put("no.raw", "hello");
  Run({"a.raw", "no.raw"});
  EXPECT_EQ(code_, kExitFailed);
  EXPECT_THAT(errors_, HasSubstr("no.raw: "));

  Run({"a.raw", "b.raw", "-o", "nowhere/x.folded"});
  EXPECT_EQ(code_, kExitFailed);
  EXPECT_THAT(errors_, HasSubstr("nowhere/x.folded: No such file or directory\n"));
}

std::string Refusal(const std::vector<std::string>& words) {
  const auto command = ParseCommandLine(words);
  EXPECT_FALSE(command.ok());
  EXPECT_EQ(ExitCodeOf(command.status()), kExitUsage);
  return std::string(command.status().message());
}

TEST(DiffOptions, RefusesWithARemedy) {
  EXPECT_THAT(Refusal({"diff"}), HasSubstr("stallscope diff BEFORE.raw AFTER.raw"));
  EXPECT_THAT(Refusal({"diff", "a.raw"}), HasSubstr("there is only 'a.raw' to compare"));
  EXPECT_THAT(Refusal({"diff", "-", "-"}), HasSubstr("stdin"));
  EXPECT_THAT(Refusal({"diff", "a", "b", "-o", "x.html"}), HasSubstr("did you mean 'x.folded'?"));
  EXPECT_THAT(Refusal({"diff", "a", "b", "-o", "x"}), HasSubstr("did you mean 'x.folded'?"));
  EXPECT_THAT(Refusal({"diff", "a", "b", "-X", "("}), HasSubstr("not a regular expression"));
  EXPECT_THAT(Refusal({"diff", "a", "b", "--quite"}), HasSubstr("did you mean '--quiet'?"));
}

}  // namespace
}  // namespace stallscope
