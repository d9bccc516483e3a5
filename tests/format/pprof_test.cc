// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <ctime>
#include <limits>
#include <sstream>

#include "tests/format/demo_profile.h"
#include "tests/format/many.h"
#include "tests/format/pprof_reader.h"
#include "userspace/format/format.h"

namespace stallscope {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;
using testing::SizeIs;
using testing::StartsWith;
using testing::UnorderedElementsAre;

// Reads it back; a file that breaks a rule of the format fails the test.
PprofFile PprofOf(const Profile& profile, const EventProfile& event) {
  PprofFile file = ReadPprof(Pprof(profile, event));
  EXPECT_THAT(FaultsOf(file), IsEmpty());
  return file;
}

PprofFile PprofOf(const ProfileBuilder& b) { return PprofOf(b.profile, b.profile.events.back()); }

ProfileBuilder TimeEvent() {
  ProfileBuilder b;
  b.Event("offcpu", {{"time", "ns"}, {"runq", "ns"}, {"count", "count"}});
  return b;
}

TEST(Pprof, ASampleWithItsStackLeafFirst) {
  ProfileBuilder b = TimeEvent();
  b.Sample("my app",
           {"go:main.main@/src/main.go:3", "native:read", "kernel:vfs_read", "kernel:schedule"},
           "pipe", {1'234'567, 5, 1});
  const PprofFile file = PprofOf(b);
  ASSERT_THAT(file.samples, SizeIs(1));
  EXPECT_THAT(file.Stack(file.samples[0]),
              ElementsAre("schedule", "vfs_read", "read", "main.main"));
  EXPECT_THAT(
      file.samples[0].labels,
      UnorderedElementsAre(Pair("reason", "pipe"), Pair("comm", "my app"), Pair("pid", "4242")));
  EXPECT_THAT(file.functions, SizeIs(4));
  const PprofFile::Location& main = *file.FindLocation(file.samples[0].locations[3]);
  EXPECT_EQ(main.lines[0].line, 3);
  EXPECT_EQ(file.functions.back().file, "/src/main.go");
}

TEST(Pprof, WaitsAreContentionsAndDelay) {
  ProfileBuilder b = TimeEvent();
  b.Sample("app", {"go:f"}, "pipe", {1'234'567, 5, 3});
  const PprofFile file = PprofOf(b);
  EXPECT_THAT(file.types, ElementsAre(Pair("contentions", "count"), Pair("delay", "nanoseconds"),
                                      Pair("runq", "nanoseconds")));
  EXPECT_EQ(file.standard_type, "delay");
  EXPECT_THAT(file.samples[0].values, ElementsAre(3, 1'234'567, 5));
  EXPECT_EQ(file.period_type, PprofFile::ValueType("contentions", "count"));
  EXPECT_EQ(file.period, 1);

  b.Event("goroutine", {{"time", "ns"}, {"count", "count"}});
  b.Sample("app", {"go:f"}, "chan receive", {7, 2});
  EXPECT_THAT(PprofOf(b).samples[0].values, ElementsAre(2, 7));
}

TEST(Pprof, ThePeriodOfACensusIsTheTimeBetweenTwoSnapshots) {
  ProfileBuilder b = TimeEvent();
  b.Sample("app", {"native:f"}, "futex", {7, 0, 2});
  b.Event("goroutine", {{"time", "ns"}, {"count", "count"}});
  b.Sample("app", {"go:f"}, "chan receive", {7, 2});
  EXPECT_EQ(PprofOf(b).period, 1) << "it holds no census";
  ProfileCensus census;
  census.census.ticks = 300;
  census.census.period_ns = 50'000'000;
  b.profile.censuses.push_back(census);
  PprofFile file = PprofOf(b);
  EXPECT_EQ(file.period_type, PprofFile::ValueType("wallclock", "nanoseconds"));
  EXPECT_EQ(file.period, 50'000'000);
  census.census.ticks = 100;
  census.census.period_ns = 90'000'000;
  b.profile.censuses.push_back(census);
  EXPECT_EQ(PprofOf(b).period, 60'000'000) << "of two processes";

  const PprofFile threads = PprofOf(b.profile, b.profile.events.front());
  EXPECT_EQ(threads.period_type, PprofFile::ValueType("contentions", "count"));
  EXPECT_EQ(threads.period, 1) << "each wait of a thread is counted";

  b.profile.censuses[0].census.period_ns = ~uint64_t{0};
  EXPECT_GT(PprofOf(b).period, 0) << "of a damaged capture";
}

TEST(Pprof, OtherEventsAreTheirColumns) {
  ProfileBuilder b;
  b.Event("retrans", {{"segments", "segments"}, {"bytes", "bytes"}, {"time", "ns"}});
  b.Sample("a", {"go:x"}, "retransmit", {3, 4'000, 9});
  const PprofFile file = PprofOf(b);
  EXPECT_THAT(file.types, ElementsAre(Pair("segments", "segments"), Pair("bytes", "bytes"),
                                      Pair("time", "nanoseconds")));
  EXPECT_EQ(file.standard_type, "segments");
  EXPECT_THAT(file.samples[0].values, ElementsAre(3, 4'000, 9));
  EXPECT_EQ(file.period_type, PprofFile::ValueType("retrans", "count"));

  b.Event("offcpu", {{"time", "ns"}});  // of a capture without counts
  b.Sample("a", {"go:x"}, "futex", {3});
  EXPECT_THAT(PprofOf(b).types, ElementsAre(Pair("time", "nanoseconds")));
}

TEST(Pprof, TimeAndDuration) {
  const Profile profile = ServiceProfile();
  const PprofFile file = PprofOf(profile, profile.events[0]);
  EXPECT_EQ(file.time_nanos, profile.start_unix_ns);
  EXPECT_EQ(file.duration_nanos, static_cast<int64_t>(profile.duration_ns));
}

TEST(Pprof, CommentsSayWhatIsNotInIt) {
  Profile profile = ServiceProfile();
  profile.notes.assign(50, "a note\nof two lines");
  const PprofFile threads = PprofOf(profile, profile.events[1]);
  ASSERT_THAT(threads.comments, SizeIs(3 + 2 + 11));
  EXPECT_EQ(threads.comments[0], "stallscope 0.1.0");
  EXPECT_EQ(threads.comments[1], "target: -p 4242 (orders), 977 (postgres)");
  EXPECT_EQ(threads.comments[3], "lost: start unknown, 12, 1.24 ms");
  EXPECT_EQ(threads.comments[4], "touched: stack map full, 33");
  EXPECT_EQ(threads.comments[5], "note: a note of two lines");
  EXPECT_EQ(threads.comments.back(), "note: and 40 more");
  EXPECT_THAT(PprofOf(profile, profile.events[0]).comments, Contains(StartsWith("hidden: 311 (")));
}

// Inlined frames and the function they are in are one place in the code.
TEST(Pprof, InlinedFramesAreLinesOfOneLocation) {
  ProfileBuilder b = TimeEvent();
  b.Sample("app",
           {"go:main", "go:outer@/a.go:1", "go:middle@/b.go:2", "go:inner@/c.go:3", "kernel:k"},
           "futex", {1, 1, 1});
  b.profile.mappings = {{0x1000, 0x9000, 0, "/bin/app", "ab"}};
  for (ProfileFrame& frame : b.profile.frames) {
    frame.inlined = frame.name == "middle" || frame.name == "inner";
    if (frame.kind == ProfileFrameKind::kKernel) continue;
    frame.mapping = 0;
    frame.address = frame.name == "main" ? 0x2000 : 0x3000;
  }
  const PprofFile file = PprofOf(b);
  EXPECT_THAT(file.Stack(file.samples[0]), ElementsAre("k", "inner < middle < outer", "main"));
  const PprofFile::Location& three = *file.FindLocation(file.samples[0].locations[1]);
  EXPECT_EQ(three.address, 0x3000u);
  EXPECT_EQ(three.lines[2].line, 1);
  EXPECT_TRUE(file.mappings[0].has_inlined);
}

// What a filter or a damaged capture leaves: the frame outside is of other code, or there is none.
TEST(Pprof, AnInlinedFrameAloneIsALocation) {
  ProfileBuilder b = TimeEvent();
  b.Sample("app", {"go:root", "go:elsewhere", "go:inner"}, "futex", {1, 1, 1});
  for (ProfileFrame& frame : b.profile.frames) {
    frame.inlined = frame.name != "elsewhere";
    frame.address = frame.name == "elsewhere" ? 0x2000 : 0x3000;
  }
  const PprofFile file = PprofOf(b);
  EXPECT_THAT(file.Stack(file.samples[0]), ElementsAre("inner", "elsewhere", "root"));
}

TEST(Pprof, MappingsThatAreUsedAndTheMainBinary) {
  ProfileBuilder b = TimeEvent();
  b.profile.mappings = {{0x400000, 0x500000, 0x1000, "/usr/bin/app", "0123abcd"},
                        {0x7000, 0x8000, 0, "/lib/unused.so", "ff"},
                        {0x9000, 0xa000, 0, "/lib/libc.so.6", "nonsense/../x"},
                        {0xb000, 0xc000, 0, "", "a"}};
  b.Sample("app", {"native:read@/c.c:4", "native:jitted", "marker:[caller unknown]", "kernel:k"},
           "pipe", {1, 1, 1});
  ProfileFrame& read = b.profile.frames[0];
  read.mapping = 2;
  read.address = 0x9123;
  b.profile.frames[1].mapping = 3;  // jitted
  const PprofFile file = PprofOf(b);
  ASSERT_THAT(file.mappings, SizeIs(4));
  EXPECT_EQ(file.mappings[0].file, "/usr/bin/app");
  EXPECT_EQ(file.mappings[0].build_id, "0123abcd");
  EXPECT_EQ(file.mappings[0].start, 0x400000u);
  EXPECT_EQ(file.mappings[0].limit, 0x500000u);
  EXPECT_EQ(file.mappings[0].offset, 0x1000u);
  EXPECT_FALSE(file.mappings[0].has_files);
  EXPECT_EQ(file.mappings[1].file, "/lib/libc.so.6");
  EXPECT_EQ(file.mappings[1].build_id, "") << "what is no build id is none";
  EXPECT_TRUE(file.mappings[1].has_files && file.mappings[1].has_lines);
  EXPECT_EQ(file.mappings[2].file, "");
  EXPECT_EQ(file.mappings[2].build_id, "") << "pprof takes the first two digits of one";
  EXPECT_EQ(file.mappings[3].file, "[kernel.kallsyms]");
  const std::vector<uint64_t>& locations = file.samples[0].locations;
  ASSERT_THAT(locations, SizeIs(4));
  EXPECT_EQ(file.FindLocation(locations[0])->mapping, file.mappings[3].id);
  EXPECT_EQ(file.FindLocation(locations[1])->mapping, 0u) << "a marker is nowhere";
  EXPECT_EQ(file.FindLocation(locations[2])->mapping, file.mappings[2].id);
  EXPECT_EQ(file.FindLocation(locations[3])->mapping, file.mappings[1].id);
  EXPECT_EQ(file.FindLocation(locations[3])->address, 0x9123u);
}

TEST(Pprof, ReasonsAreFramesWhereThereIsNoOther) {
  ProfileBuilder b = TimeEvent();
  b.Sample("app", {}, "idle M", {1, 1, 1});
  b.Sample("app", {}, "", {1, 1, 1});
  b.Sample("app", {"go:f"}, "futex", {1, 1, 1});
  PprofFile file = PprofOf(b);
  EXPECT_THAT(file.Stack(file.samples[0]), ElementsAre("[idle M]"));
  EXPECT_THAT(file.Stack(file.samples[1]), ElementsAre("[unknown]"));
  EXPECT_THAT(file.Stack(file.samples[2]), ElementsAre("f"));
  b.profile.reason_root = true;
  file = PprofOf(b);
  EXPECT_THAT(file.Stack(file.samples[0]), ElementsAre("[idle M]"));
  EXPECT_THAT(file.Stack(file.samples[2]), ElementsAre("f", "[futex]"));
}

TEST(Pprof, LabelsOfTheProgramDoNotHideOurs) {
  ProfileBuilder b = TimeEvent();
  b.Sample("app", {"go:f"}, "futex", {1, 1, 1});
  b.profile.events[0].samples[0].labels = {
      {"", "nameless"},     {"comm", "theirs"},
      {"reason", "theirs"}, {"label.reason", "theirs too"},
      {"empty", ""},        {"pprof::base", "x"},
      {"tid", "77"},        {"a\x01", "1"},
      {"a\x02", "2"},       {"thread", "worker\xff"},
  };
  const PprofFile file = PprofOf(b);
  const PprofFile::Sample& sample = file.samples[0];
  EXPECT_EQ(sample.Label("reason"), "futex");
  EXPECT_EQ(sample.Label("comm"), "app");
  EXPECT_EQ(sample.Label("label.comm"), "theirs");
  EXPECT_EQ(sample.Label("label.pprof::base"), "x");
  EXPECT_EQ(sample.Label("label."), "nameless");
  EXPECT_EQ(sample.Label("tid"), "77");
  EXPECT_EQ(sample.Label("thread"), "worker\xef\xbf\xbd");
  EXPECT_EQ(sample.Label("a?"), "1");
  EXPECT_EQ(sample.Label("label.a?"), "2");
  EXPECT_THAT(sample.labels, SizeIs(11)) << "all but the empty one";
}

TEST(Pprof, AnyBytesAreAName) {
  const Profile profile = HostileProfile();
  const PprofFile file = PprofOf(profile, profile.events[0]);
  EXPECT_THAT(file.samples, SizeIs(3));
  // Each single byte, alone and in the middle, in each place that a target can write to.
  ProfileBuilder b = TimeEvent();
  for (int byte = 0; byte < 256; ++byte) {
    const std::string odd = {'x', static_cast<char>(byte), 'y'};
    const std::string alone(1, static_cast<char>(byte));
    b.Sample(odd, {"native:" + odd, "native:" + alone}, alone, {1, 1, 1});
    b.profile.events[0].samples.back().labels = {{odd, alone}, {alone, odd}};
    b.profile.frames.back().file = odd;
    b.profile.frames.back().mapping = byte;
    b.profile.mappings.push_back({1, 2, 3, alone + odd, odd});
    b.profile.notes.push_back(odd);
  }
  b.profile.target = std::string("\xed\xa0\x80\xf5\x80", 5);
  EXPECT_THAT(PprofOf(b).samples, SizeIs(256));
}

TEST(Pprof, Empty) {
  ProfileBuilder b = TimeEvent();
  PprofFile file = PprofOf(b);
  EXPECT_THAT(file.samples, IsEmpty());
  EXPECT_THAT(file.types, SizeIs(3));
  b.Event("odd", {});
  b.Sample("a", {"go:x"}, "futex", {});
  file = PprofOf(b);
  EXPECT_THAT(file.samples, IsEmpty());
  EXPECT_THAT(file.types, ElementsAre(Pair("samples", "count")));
  const Profile nothing;
  EXPECT_THAT(PprofOf(nothing, EventProfile()).samples, IsEmpty());
}

TEST(Pprof, NotMeasuredAndDamagedValues) {
  ProfileBuilder b = TimeEvent();
  constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();
  b.Sample("a", {"go:none"}, "futex", {std::nullopt, std::nullopt, std::nullopt});
  b.Sample("a", {"go:zero"}, "futex", {0, 0, 0});
  b.Sample("a", {"go:short"}, "futex", {});
  b.Sample("a", {"go:count"}, "futex", {std::nullopt, -4, 1});
  b.Sample("a", {"go:large"}, "futex", {kLargest, 0, 1});
  b.profile.events[0].samples.back().frames[0] = 0xffffffff;
  const PprofFile file = PprofOf(b);
  ASSERT_THAT(file.samples, SizeIs(2));
  EXPECT_THAT(file.samples[0].values, ElementsAre(1, 0, 0));
  EXPECT_THAT(file.samples[1].values, ElementsAre(1, kLargest, 0));
  EXPECT_THAT(file.Stack(file.samples[1]), ElementsAre("[unknown]"));
}

TEST(Pprof, TotalsAreThoseOfTheFoldedFile) {
  const Profile profile = ServiceProfile();
  for (const EventProfile& event : profile.events) {
    const PprofFile file = PprofOf(profile, event);
    int64_t folded = 0, lines = 0;
    std::istringstream text(Folded(profile, event));
    for (std::string line; std::getline(text, line); ++lines) {
      folded += std::stoll(line.substr(line.rfind(' ') + 1));
    }
    EXPECT_GT(lines, 3);
    EXPECT_NEAR(static_cast<double>(file.Total(1)) / 1000, static_cast<double>(folded),
                0.5 * static_cast<double>(lines));
  }
}

TEST(Pprof, ManyStacks) {
  const Profile profile = ManyStacksProfile(kManyStacks, 30);
  const std::clock_t start = std::clock();
  const std::string bytes = Pprof(profile, profile.events[0]);
  const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  EXPECT_EQ(bytes, Pprof(profile, profile.events[0]));
  const PprofFile file = ReadPprof(bytes);
  EXPECT_THAT(FaultsOf(file), IsEmpty());
  EXPECT_THAT(file.samples, SizeIs(kManyStacks));
  std::printf("%zu stacks: %.2f s of CPU, %zu KiB\n", kManyStacks, seconds, bytes.size() >> 10);
}

}  // namespace
}  // namespace stallscope
