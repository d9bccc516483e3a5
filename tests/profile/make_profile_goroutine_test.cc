// SPDX-License-Identifier: Apache-2.0
//
// Goroutines: their words, peers, labels, creators, and those that never ran.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/profile/sample_recording.h"
#include "userspace/profile/make_profile.h"
#include "userspace/profile/site.h"

namespace stallscope {
namespace {

using symbolizer::FrameKind;
using ::testing::ElementsAre;
using ::testing::Pair;

Recording GoroutineRecording() {
  Recording recording = EmptyRecording();
  recording.events[0].name = "goroutine";
  recording.events[0].columns = {{"time", "ns"}, {"count", "count"}};
  recording.events[0].mechanism = "census of goroutines";
  return recording;
}

Profile Make(const Recording& recording, const ProfileOptions& options = {}) {
  absl::StatusOr<Profile> profile = MakeProfile(recording, options);
  EXPECT_TRUE(profile.ok());
  return *std::move(profile);
}

// "comm;a;b;[reason] time/count".
std::vector<std::string> Lines(const Profile& profile) {
  std::vector<std::string> lines;
  for (const ProfileSample& sample : profile.events[0].samples) {
    std::string line = sample.comm;
    for (uint32_t frame : sample.frames) line += ";" + profile.frames[frame].name;
    line += ";[" + sample.reason + "]";
    line += " " + std::to_string(*sample.values[0]) + "/" + std::to_string(*sample.values[1]);
    lines.push_back(line);
  }
  return lines;
}

// main.worker, parked in the runtime; innermost first.
Segment Worker(Recording& r) {
  return MakeSegment(SegmentKind::kGoroutine, 0,
                     {AddName(r, 0, 0x500000, "runtime.gopark", FrameKind::kRuntime),
                      AddName(r, 0, 0x500010, "main.worker", FrameKind::kGo)});
}

Segment Creator(Recording& r, bool whole_parent) {
  std::vector<StackAddress> addresses = {AddName(r, 0, 0x500020, "main.startAll", FrameKind::kGo)};
  if (whole_parent) addresses.push_back(AddName(r, 0, 0x500030, "main.main", FrameKind::kGo));
  return MakeSegment(SegmentKind::kCreator, 0, addresses);
}

Sample Waiting(uint32_t stack, std::string words, int64_t time, std::string peer = "") {
  Sample sample = MakeSample(0, stack, {}, {time, 1});
  sample.reason.words = std::move(words);
  sample.reason.peer = std::move(peer);
  return sample;
}

TEST(Goroutines, ReasonsAreTheRuntimesWords) {
  Recording r = GoroutineRecording();
  const uint32_t stack = AddStack(r, {Worker(r)});
  // Words that are one of a thread's reasons: still a goroutine, with all of its stack.
  r.events[0].samples = {Waiting(stack, "chan receive", 5), Waiting(stack, "sysmon", 7)};
  EXPECT_THAT(Lines(Make(r)), ElementsAre("server;main.worker;runtime.gopark;[chan receive] 5/1",
                                          "server;main.worker;runtime.gopark;[sysmon] 7/1"));
}

TEST(Goroutines, PeersAreMergedUnlessAskedFor) {
  Recording r = GoroutineRecording();
  const uint32_t stack = AddStack(r, {Worker(r)});
  r.events[0].samples = {Waiting(stack, "IO wait", 5, "10.0.0.5:443"),
                         Waiting(stack, "IO wait", 7, "10.0.0.6:443"),
                         Waiting(stack, "IO wait", 9)};
  EXPECT_THAT(Lines(Make(r)), ElementsAre("server;main.worker;runtime.gopark;[IO wait] 21/3"));
  ProfileOptions options;
  options.peers = true;
  EXPECT_THAT(Lines(Make(r, options)),
              ElementsAre("server;main.worker;runtime.gopark;[IO wait] 9/1",
                          "server;main.worker;runtime.gopark;[IO wait 10.0.0.5:443] 5/1",
                          "server;main.worker;runtime.gopark;[IO wait 10.0.0.6:443] 7/1"));
}

TEST(Goroutines, LabelsKeepSamplesApartAndNeverReplaceOurs) {
  Recording r = GoroutineRecording();
  const uint32_t stack = AddStack(r, {Worker(r)});
  Sample a = Waiting(stack, "select", 1);
  a.labels = {{"pid", "7"}, {"label.pid", "8"}, {"tenant", "blue"}};
  Sample b = Waiting(stack, "select", 2);
  b.labels = {{"tenant", "red"}};
  r.events[0].samples = {a, b, a};
  const Profile profile = Make(r);
  ASSERT_EQ(profile.events[0].samples.size(), 2u);
  EXPECT_THAT(profile.events[0].samples[0].labels,
              ElementsAre(Pair("label.label.pid", "7"), Pair("label.pid", "8"), Pair("pid", "100"),
                          Pair("tenant", "blue")));
  EXPECT_THAT(profile.events[0].samples[0].values, ElementsAre(2, 2));
  EXPECT_THAT(profile.events[0].samples[1].labels,
              ElementsAre(Pair("pid", "100"), Pair("tenant", "red")));
}

TEST(Goroutines, HaveNoThread) {
  Recording r = GoroutineRecording();
  r.per_thread = true;
  const uint32_t stack = AddStack(r, {Worker(r)});
  r.events[0].samples = {Waiting(stack, "select", 1), MakeSample(0, stack, InSyscall(0), {1, 1})};
  r.events[0].samples[1].tid = 7;
  r.events[0].samples[1].thread_name = "x";
  const Profile profile = Make(r);
  ASSERT_EQ(profile.events[0].samples.size(), 2u);
  const ProfileSample& thread = profile.events[0].samples[0];
  EXPECT_EQ(profile.frames[thread.frames[0]].name, "[thread x 7]");
  EXPECT_EQ(thread.own_from, 1u);
  const ProfileSample& goroutine = profile.events[0].samples[1];
  EXPECT_EQ(profile.frames[goroutine.frames[0]].name, "main.worker");
  EXPECT_THAT(goroutine.labels, ElementsAre(Pair("pid", "100")));
}

TEST(Goroutines, ThoseThatNeverRanStandUnderOneRoot) {
  Recording r = GoroutineRecording();
  const uint32_t stack = AddStack(r, {Worker(r)});
  r.events[0].samples = {Waiting(stack, "select", 1), Waiting(stack, "select", 10)};
  r.events[0].samples[1].never_ran = true;
  const Profile profile = Make(r);
  EXPECT_THAT(Lines(profile),
              ElementsAre("server;[never ran];main.worker;runtime.gopark;[select] 10/1",
                          "server;main.worker;runtime.gopark;[select] 1/1"));
  EXPECT_TRUE(profile.events[0].samples[0].never_ran);
  EXPECT_FALSE(profile.events[0].samples[1].never_ran);
}

TEST(Goroutines, CreatorsAreShownOnDemand) {
  Recording r = GoroutineRecording();
  const uint32_t one = AddStack(r, {Worker(r), Creator(r, false)});
  const uint32_t whole = AddStack(r, {Worker(r), Creator(r, true)});
  r.events[0].samples = {Waiting(one, "select", 1), Waiting(whole, "select", 2)};
  const Profile plain = Make(r);
  EXPECT_THAT(Lines(plain), ElementsAre("server;main.worker;runtime.gopark;[select] 3/2"));
  EXPECT_EQ(plain.events[0].samples[0].creator, std::nullopt);
  EXPECT_EQ(plain.stack_counts.user_frames, 4u);

  ProfileOptions options;
  options.created_by = true;
  const Profile profile = Make(r, options);
  EXPECT_THAT(
      Lines(profile),
      ElementsAre("server;main.main;main.startAll;[created by, still there];main.worker;"
                  "runtime.gopark;[select] 2/1",
                  "server;main.startAll;[created by];main.worker;runtime.gopark;[select] 1/1"));
  for (const ProfileSample& sample : profile.events[0].samples) {
    ASSERT_TRUE(sample.creator.has_value());
    EXPECT_EQ(profile.frames[*sample.creator].name, "main.startAll");
    EXPECT_EQ(profile.frames[sample.frames[sample.own_from]].name, "main.worker");
  }
  EXPECT_EQ(profile.stack_counts.user_frames, 4u);
}

// The site is in the goroutine's own stack, not where it was started.
TEST(Goroutines, TheCreatorIsNeverTheSite) {
  Recording r = GoroutineRecording();
  const Segment own =
      MakeSegment(SegmentKind::kGoroutine, 0,
                  {AddName(r, 0, 0x500040, "net/http.(*conn).serve", FrameKind::kGo)});
  const uint32_t stack = AddStack(r, {own, Creator(r, false)});
  r.events[0].samples = {Waiting(stack, "select", 1)};
  ProfileOptions options;
  options.created_by = true;
  const Profile profile = Make(r, options);
  const ProfileSample& sample = profile.events[0].samples[0];
  const auto site = SiteOfWait(profile.frames, sample.frames, sample.own_from);
  ASSERT_TRUE(site.has_value());
  EXPECT_EQ(profile.frames[*site].name, "net/http.(*conn).serve");
}

// An accept loop, and a lock that its callback waits for.
Recording WithAcceptLoop(bool never_ran) {
  Recording r = GoroutineRecording();
  const uint32_t accept = AddStack(
      r, {MakeSegment(SegmentKind::kGoroutine, 0,
                      {AddName(r, 0, 0x500000, "runtime.gopark", FrameKind::kRuntime),
                       AddName(r, 0, 0x500050, "internal/poll.(*FD).Accept", FrameKind::kGo),
                       AddName(r, 0, 0x500060, "net.(*netFD).accept", FrameKind::kGo)})});
  r.events[0].samples = {Waiting(accept, "IO wait", 90), Waiting(accept, "sync.Mutex.Lock", 7),
                         Waiting(AddStack(r, {Worker(r)}), "IO wait", 5)};
  for (Sample& sample : r.events[0].samples) sample.never_ran = never_ran;
  return r;
}

TEST(Goroutines, IdleOnesAreHiddenAndCounted) {
  for (const bool never_ran : {false, true}) {
    const Profile profile = Make(WithAcceptLoop(never_ran));
    EXPECT_EQ(profile.events[0].samples.size(), 2u);
    ASSERT_EQ(profile.hidden.size(), 1u);
    EXPECT_EQ(profile.hidden[0].event, "goroutine");
    EXPECT_EQ(profile.hidden[0].why, "idle by design: accept loop");
    EXPECT_EQ(profile.hidden[0].rule, "accept loop");
    EXPECT_EQ(profile.hidden[0].time_ns, 90u);
    EXPECT_EQ(profile.hidden[0].count, 1u);
  }
}

TEST(Goroutines, IdleOnesAreShownOnDemandAndMarked) {
  ProfileOptions options;
  options.idle = true;
  const Profile profile = Make(WithAcceptLoop(false), options);
  EXPECT_TRUE(profile.hidden.empty());
  ASSERT_EQ(profile.events[0].samples.size(), 3u);
  for (const ProfileSample& sample : profile.events[0].samples) {
    EXPECT_EQ(sample.idle, *sample.values[0] == 90 ? "accept loop" : "");
  }
}

// Rules that look for the goroutine's first function want the whole stack.
TEST(Goroutines, AStackThatEndsEarlyHasNoFirstFunction) {
  Recording r = GoroutineRecording();
  const Segment loop =
      MakeSegment(SegmentKind::kGoroutine, 0,
                  {AddName(r, 0, 0x500000, "runtime.selectgo", FrameKind::kRuntime),
                   AddName(r, 0, 0x500070, "net/http.(*persistConn).writeLoop", FrameKind::kGo)});
  r.events[0].samples = {Waiting(AddStack(r, {loop}), "select", 1),
                         Waiting(AddStack(r, {loop}, StackEnd::kUnreadable), "select", 2)};
  EXPECT_THAT(
      Lines(Make(r)),
      ElementsAre("server;net/http.(*persistConn).writeLoop;runtime.selectgo;[select] 2/1"));
}

TEST(Goroutines, MinusXSeesACreatorOnlyWhereItIsShown) {
  Recording r = GoroutineRecording();
  const uint32_t stack = AddStack(r, {Worker(r), Creator(r, false)});
  r.events[0].samples = {Waiting(stack, "select", 1)};
  ProfileOptions options;
  options.exclude = {"startAll"};
  EXPECT_EQ(Make(r, options).events[0].samples.size(), 1u);
  options.created_by = true;
  EXPECT_EQ(Make(r, options).events[0].samples.size(), 0u);
}

}  // namespace
}  // namespace stallscope
