// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "userspace/format/diff.h"

namespace stallscope {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

ProfileFrame Frame(std::string name, ProfileFrameKind kind = ProfileFrameKind::kGo) {
  ProfileFrame frame;
  frame.name = std::move(name);
  frame.kind = kind;
  return frame;
}

StackChange Change(std::vector<uint32_t> frames, std::string reason, std::vector<double> values) {
  StackChange change;
  change.comm = "the server";
  change.frames = std::move(frames);
  change.reason = std::move(reason);
  change.values = std::move(values);
  return change;
}

// ns per second of recording.
Comparison Times() {
  Comparison comparison;
  comparison.frames = {Frame("main.main"), Frame("main.put"),
                       Frame("schedule", ProfileFrameKind::kKernel)};
  EventComparison event;
  event.name = "offcpu";
  event.column = {"time", "ns"};
  event.totals = {4'001'000, 3'503'400};
  event.changes = {Change({0, 1}, "futex", {1'000'000, 3'000'000}),
                   Change({0, 1, 2}, "disk", {3'000'000, 500'000}),
                   Change({0}, "sleep", {1'000, 3'400}), Change({0}, "pipe", {100, 400})};
  comparison.rates = {event};
  return comparison;
}

TEST(FoldedDiff, TwoColumnsInMicroseconds) {
  const Comparison comparison = Times();
  EXPECT_EQ(FoldedDiff(comparison, comparison.rates[0]),
            "the_server;main.main;[sleep] 1 3\n"
            "the_server;main.main;main.put;[futex] 1000 3000\n"
            "the_server;main.main;main.put;schedule_[k];[disk] 3000 500\n");
}

TEST(FoldedDiff, StacksThatReadTheSameAreAddedUp) {
  Comparison comparison = Times();
  comparison.rates[0].column.unit = "count";
  comparison.rates[0].changes = {Change({0}, "a", {1, 2, 3}), Change({0}, "a", {10, 20, 40})};
  EXPECT_EQ(FoldedDiff(comparison, comparison.rates[0]), "the_server;main.main;[a] 11 43\n");
}

TEST(DiffText, SaysWhatGotLongerAndWhatGotShorter) {
  const std::string text = DiffText(Times());
  EXPECT_THAT(text, HasSubstr("offcpu, time per second of recording: 4.00 ms -> 3.50 ms\n"));
  EXPECT_THAT(text, HasSubstr("longer\n    +2.00 ms  1.00 ms -> 3.00 ms  [futex]  "
                              "main.put < main.main\n"));
  EXPECT_THAT(text, HasSubstr("shorter\n    -2.50 ms  3.00 ms -> 500 us  [disk]  "
                              "main.put < main.main\n"));
  EXPECT_LT(text.find("[futex]"), text.find("[sleep]"));
}

TEST(DiffText, ShowsSomeRowsAndCountsTheOthers) {
  const std::string text = DiffText(Times(), 1);
  EXPECT_THAT(text, HasSubstr("[futex]"));
  EXPECT_THAT(text, Not(HasSubstr("[sleep]")));
  EXPECT_THAT(text, HasSubstr("  and 2 more\n"));
}

TEST(DiffText, NoChangeIsSaid) {
  Comparison comparison = Times();
  comparison.rates[0].changes = {Change({0}, "futex", {5, 5})};
  EXPECT_THAT(DiffText(comparison), HasSubstr("  no change\n"));
}

Comparison Counts(size_t columns) {
  Comparison comparison;
  comparison.frames = {Frame("main.worker"), Frame("main.start")};
  comparison.frames[1].file = "/src/pool.go";
  comparison.frames[1].line = 12;
  EventComparison event;
  event.name = "goroutines";
  event.column = {"count", "count"};
  StackChange leak = Change({0}, "chan receive", {12, 15, 1040});
  leak.creator = 1;
  event.changes = {leak, Change({0}, "wave", {1, 9, 5})};
  event.totals = {13, 24, 1045};
  for (StackChange& change : event.changes) change.values.resize(columns);
  event.totals.resize(columns);
  comparison.counts = event;
  return comparison;
}

TEST(DiffText, NamesWhatGrewAndWhoStartedIt) {
  const std::string three = DiffText(Counts(3));
  EXPECT_THAT(three, HasSubstr("goroutines: 13 -> 24 -> 1,045\n"));
  EXPECT_THAT(three,
              HasSubstr("grew and never shrank\n      +1,028  12 -> 15 -> 1,040  [chan receive]  "
                        "main.worker, created by main.start pool.go:12\n"));
  EXPECT_THAT(three, Not(HasSubstr("[wave]")));
  const std::string two = DiffText(Counts(2));
  EXPECT_THAT(two, HasSubstr("grew\n"));
  EXPECT_THAT(two, HasSubstr("[wave]"));
  EXPECT_THAT(two, Not(HasSubstr("never")));
}

TEST(DiffText, HostileNamesSteerNoTerminal) {
  Comparison comparison = Counts(3);
  const std::string hostile = "\x1b[2J\n\xc2\x9b;\x80" + std::string(5000, 'x');
  for (ProfileFrame& frame : comparison.frames) frame.name = frame.file = hostile;
  comparison.counts->changes[0].reason = hostile;
  comparison.counts->name = hostile;
  comparison.missing = {hostile};
  const std::string text = DiffText(comparison);
  EXPECT_LT(text.size(), 2000u);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 4);
  EXPECT_TRUE(std::none_of(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) < 0x20 && c != '\n') || c == 0x7f;
  }));
  EXPECT_THAT(text, Not(HasSubstr("\xc2\x9b")));
}

}  // namespace
}  // namespace stallscope
