// SPDX-License-Identifier: Apache-2.0
#include "userspace/profile/compare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/profile/sample_recording.h"
#include "userspace/profile/make_profile.h"

namespace stallscope {
namespace {

using symbolizer::FrameKind;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kSecond = 1'000'000'000;

// A recording of goroutines, or a dump of them, of one build: another `bias` is another build,
// whose functions lie elsewhere.
class Goroutines {
 public:
  Goroutines(std::string event, std::vector<Column> columns, int64_t seconds, uint64_t bias = 0)
      : bias_(bias) {
    recording_ = EmptyRecording();
    recording_.duration_ns = static_cast<uint64_t>(seconds * kSecond);
    recording_.events[0].name = std::move(event);
    recording_.events[0].columns = std::move(columns);
  }

  static Goroutines Recorded(int64_t seconds, uint64_t bias = 0) {
    return Goroutines("goroutine", {{"time", "ns"}, {"count", "count"}}, seconds, bias);
  }
  static Goroutines Dump() { return Goroutines("goroutines", {{"count", "count"}}, 0); }

  // Goroutines in `function`, started by main.start`starter`.
  Goroutines& Add(std::string function, std::string words,
                  std::vector<std::optional<int64_t>> values, int starter = 0,
                  bool never_ran = false) {
    std::vector<Segment> segments = {MakeSegment(
        SegmentKind::kGoroutine, 0,
        {AddName(recording_, 0, 0x500000 + bias_, "runtime.gopark", FrameKind::kRuntime),
         AddName(recording_, 0, next_ += 16, std::move(function), FrameKind::kGo)})};
    if (starter > 0) {
      segments.push_back(
          MakeSegment(SegmentKind::kCreator, 0,
                      {AddName(recording_, 0, 0x600000 + bias_ + 16 * starter,
                               "main.start" + std::to_string(starter), FrameKind::kGo)}));
    }
    Sample sample = MakeSample(0, AddStack(recording_, segments), {}, std::move(values));
    sample.reason.words = std::move(words);
    sample.never_ran = never_ran;
    recording_.events[0].samples.push_back(std::move(sample));
    return *this;
  }

  Profile Make() const {
    ProfileOptions options;
    options.idle = true;
    options.created_by = true;
    auto profile = MakeProfile(recording_, options);
    EXPECT_TRUE(profile.ok());
    return *std::move(profile);
  }

  Recording& recording() { return recording_; }

 private:
  Recording recording_;
  uint64_t bias_;
  uint64_t next_ = 0x510000 + bias_;
};

// "function [reason] 1 2 <- creator", each stack's innermost function but one.
std::vector<std::string> Lines(const Comparison& comparison, const EventComparison& event) {
  std::vector<std::string> lines;
  for (const StackChange& change : event.changes) {
    std::string line = comparison.frames[change.frames.at(0)].name + " [" + change.reason + "]";
    for (const double value : change.values) {
      line += " " + std::to_string(static_cast<int64_t>(value));
    }
    if (change.creator) line += " <- " + comparison.frames[*change.creator].name;
    lines.push_back(line);
  }
  return lines;
}

Comparison Must(const std::vector<Profile>& profiles) {
  auto comparison = Compare(profiles);
  EXPECT_TRUE(comparison.ok()) << comparison.status();
  return *std::move(comparison);
}

TEST(Compare, TimesArePerSecondOfRecording) {
  // Twice as long, in another build: main.same waits as much a second, main.slower three times.
  const Comparison comparison =
      Must({Goroutines::Recorded(10)
                .Add("main.same", "select", {10 * kSecond, 5})
                .Add("main.slower", "chan receive", {10 * kSecond, 5})
                .Add("main.gone", "sleep", {5 * kSecond, 1})
                .Make(),
            Goroutines::Recorded(20, 0x10000)
                .Add("main.same", "select", {20 * kSecond, 9})
                .Add("main.slower", "chan receive", {40 * kSecond, 9}, 0, true)
                .Add("main.slower", "chan receive", {20 * kSecond, 9})
                .Make()});
  ASSERT_EQ(comparison.rates.size(), 1u);
  EXPECT_THAT(
      Lines(comparison, comparison.rates[0]),
      ElementsAre("main.slower [chan receive] 1000000000 3000000000",
                  "main.gone [sleep] 500000000 0", "main.same [select] 1000000000 1000000000"));
  EXPECT_THAT(comparison.rates[0].totals, ElementsAre(2.5e9, 4e9));
  EXPECT_EQ(comparison.rates[0].column.unit, "ns");
  EXPECT_TRUE(comparison.missing.empty());
}

// 20 goroutines that wait for 10 s of a recording of 10 s, however often they woke up.
TEST(Compare, ARecordingCountsGoroutinesByTheirTime) {
  const Comparison comparison =
      Must({Goroutines::Recorded(10).Add("main.leak", "select", {199 * kSecond, 900}, 1).Make(),
            Goroutines::Recorded(30).Add("main.leak", "select", {901 * kSecond, 4}, 1).Make()});
  ASSERT_TRUE(comparison.counts.has_value());
  EXPECT_EQ(comparison.counts->name, "goroutines");
  EXPECT_THAT(Lines(comparison, *comparison.counts),
              ElementsAre("main.leak [select] 20 30 <- main.start1"));
}

TEST(Compare, DumpsAreCountedAsTheyAre) {
  const Comparison comparison = Must(
      {Goroutines::Dump().Add("main.a", "select", {5}, 1).Add("main.a", "select", {1}, 2).Make(),
       Goroutines::Dump().Add("main.a", "select", {9}, 1).Add("main.a", "select", {1}, 2).Make()});
  EXPECT_TRUE(comparison.rates.empty());
  ASSERT_TRUE(comparison.counts.has_value());
  EXPECT_THAT(
      Lines(comparison, *comparison.counts),
      ElementsAre("main.a [select] 5 9 <- main.start1", "main.a [select] 1 1 <- main.start2"));
  EXPECT_THAT(comparison.counts->totals, ElementsAre(6, 10));
}

TEST(Compare, ADumpAndARecordingHaveCountsInCommon) {
  const Comparison comparison =
      Must({Goroutines::Dump().Add("main.a", "select", {5}).Make(),
            Goroutines::Recorded(10).Add("main.a", "select", {70 * kSecond, 7}).Make()});
  EXPECT_TRUE(comparison.rates.empty());
  ASSERT_TRUE(comparison.counts.has_value());
  EXPECT_THAT(Lines(comparison, *comparison.counts), ElementsAre("main.a [select] 5 7"));
  EXPECT_THAT(comparison.missing, ElementsAre("goroutine"));
}

TEST(Compare, WhatGrowsAndNeverShrinks) {
  const auto dump = [](int64_t leak, int64_t wave, int64_t late) {
    return Goroutines::Dump()
        .Add("main.leak", "select", {leak})
        .Add("main.wave", "select", {wave})
        .Add("main.late", "select", {late})
        .Add("main.flat", "select", {3})
        .Make();
  };
  const Comparison comparison = Must({dump(1, 1, 0), dump(5, 9, 0), dump(5, 4, 2), dump(9, 5, 2)});
  std::vector<std::string> leaks;
  for (const StackChange& change : comparison.counts->changes) {
    if (NeverShrinks(change)) leaks.push_back(comparison.frames[change.frames[0]].name);
  }
  EXPECT_THAT(leaks, ElementsAre("main.leak", "main.late"));
}

// Idle connections may leak; how long they idle is no news.
TEST(Compare, IdleGoroutinesAreCountedButTheirTimeIsNot) {
  const auto recorded = [](int64_t time) {
    return Goroutines::Recorded(10)
        .Add("net/http.(*persistConn).writeLoop", "select", {time, 1})
        .Add("main.f", "select", {kSecond, 1})
        .Make();
  };
  const Comparison comparison = Must({recorded(10 * kSecond), recorded(50 * kSecond)});
  EXPECT_THAT(Lines(comparison, comparison.rates.at(0)),
              ElementsAre("main.f [select] 100000000 100000000"));
  EXPECT_THAT(Lines(comparison, *comparison.counts),
              ElementsAre("net/http.(*persistConn).writeLoop [select] 1 5", "main.f [select] 0 0"));
}

TEST(Compare, OtherEventsAndUnits) {
  const auto offcpu = [](int64_t time, std::string unit) {
    Goroutines made("offcpu", {{"time", std::move(unit)}}, 10);
    made.recording().events[0].samples = {
        MakeSample(0, AddStack(made.recording(), {}), InSyscall(SYS_futex), {time})};
    return made.Make();
  };
  const Comparison comparison = Must({offcpu(10, "ns"), offcpu(30, "ns")});
  EXPECT_FALSE(comparison.counts.has_value());
  EXPECT_THAT(comparison.rates.at(0).totals, ElementsAre(1, 3));
  EXPECT_EQ(Compare({offcpu(10, "ns"), offcpu(30, "us")}).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(Compare, NothingInCommonIsRefused) {
  const Profile one = Goroutines::Recorded(10).Make();
  EXPECT_EQ(Compare({one}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Compare({one, Profile()}).status().code(), absl::StatusCode::kFailedPrecondition);
  // A recording that lasted no time has no rates.
  EXPECT_FALSE(Compare({Goroutines::Recorded(0).Make(), one}).ok());
}

}  // namespace
}  // namespace stallscope
