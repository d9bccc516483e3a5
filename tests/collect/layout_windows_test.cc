// SPDX-License-Identifier: Apache-2.0
#include "userspace/collect/layout_windows.h"

#include <gtest/gtest.h>

#include <map>
#include <vector>

namespace stallscope {
namespace {

constexpr uint64_t kTick = 100'000'000;

// Samples are told apart by their stack. Space numbers: a layout, then what it has in common with
// the next, then the next.
class LayoutWindowsTest : public testing::Test {
 protected:
  LayoutReading Reread(SpaceIndex space, std::optional<SpaceIndex> unsure) {
    readings_.push_back(space);
    unsure_ = unsure;
    now_ += reading_ns_;
    LayoutReading reading;
    reading.kind = next_;
    if (next_ == LayoutReading::kReplaced) {
      reading.between = space + 1;
      reading.after = current_ = space + 2;
    }
    next_ = LayoutReading::kSame;
    return reading;
  }
  void Read() {
    windows_.Read([this](SpaceIndex space, const sample_key& key, const sample_value& value) {
      Book(space, key, value);
    });
  }
  void Finish() {
    windows_.Finish([this](SpaceIndex space, const sample_key& key, const sample_value& value) {
      Book(space, key, value);
    });
  }
  void Book(SpaceIndex space, const sample_key& key, const sample_value& value) {
    booked_[{space, key.user_stack}] += value.blocked_ns;
    count_ += value.count;
  }
  void Add(uint64_t stack, SpaceIndex space) {
    sample_key key = {};
    key.user_stack = stack;
    sample_value value = {};
    value.blocked_ns = 5;
    value.count = 1;
    windows_.Add(space, key, value);
  }
  void Add(uint64_t stack) { Add(stack, current_); }
  // A drain: layouts, then samples.
  void Drain(uint64_t stack) {
    Read();
    Add(stack);
    now_ += kTick;
  }

  using Booked = std::map<std::pair<SpaceIndex, uint64_t>, uint64_t>;
  uint64_t now_ = 1'000'000'000, reading_ns_ = 0;
  SpaceIndex current_ = 0;
  LayoutReading::Kind next_ = LayoutReading::kSame;
  std::vector<SpaceIndex> readings_;
  std::optional<SpaceIndex> unsure_;
  Booked booked_;
  uint64_t count_ = 0;
  LayoutWindows windows_ =
      LayoutWindows([this](SpaceIndex space, auto unsure) { return Reread(space, unsure); },
                    [this] { return now_; });
};

TEST_F(LayoutWindowsTest, SamplesWaitForAReadingAndAreSummed) {
  for (int i = 0; i < 10; ++i) Drain(20);
  EXPECT_TRUE(booked_.empty());
  EXPECT_FALSE(windows_.empty());
  Read();
  EXPECT_EQ(booked_, (Booked{{{0, 20}, 50}}));
  EXPECT_EQ(count_, 10u);
  EXPECT_TRUE(windows_.empty());
}

TEST_F(LayoutWindowsTest, OneReadingASecond) {
  for (int i = 0; i < 101; ++i) Drain(20);
  EXPECT_EQ(readings_.size(), 10u);
}

TEST_F(LayoutWindowsTest, TheWindowOfAReplacementBelongsToNeitherSide) {
  for (int i = 0; i < 10; ++i) Drain(20);
  next_ = LayoutReading::kReplaced;
  Drain(21);  // drained before the reading
  Drain(22);  // drained after it: some of it is older
  EXPECT_EQ(booked_, (Booked{{{1, 20}, 50}}));
  for (int i = 0; i < 8; ++i) Drain(23);
  Read();
  EXPECT_EQ(booked_, (Booked{{{1, 20}, 50}, {{1, 21}, 5}, {{1, 22}, 5}, {{2, 23}, 40}}));
  EXPECT_EQ(unsure_, std::optional<SpaceIndex>(1));
}

TEST_F(LayoutWindowsTest, OfTwoReplacementsInARowWhatIsBetweenLacksBoth) {
  for (int i = 0; i < 10; ++i) Drain(20);
  next_ = LayoutReading::kReplaced;
  Drain(21);
  EXPECT_FALSE(unsure_.has_value());
  for (int i = 0; i < 9; ++i) Drain(22);
  next_ = LayoutReading::kReplaced;
  Drain(23);
  EXPECT_EQ(unsure_, std::optional<SpaceIndex>(1));
  EXPECT_EQ(booked_, (Booked{{{1, 20}, 50}, {{3, 21}, 5}, {{3, 22}, 45}}));
  Finish();
  EXPECT_EQ((booked_[{3, 23}]), 5u);
}

TEST_F(LayoutWindowsTest, WhatIsGoneKeepsItsSamples) {
  for (int i = 0; i < 10; ++i) Drain(20);
  next_ = LayoutReading::kGone;
  Read();
  EXPECT_EQ(booked_, (Booked{{{0, 20}, 50}}));
  now_ += 100 * kTick;
  Read();
  EXPECT_EQ(readings_.size(), 1u);  // nobody asks for it again
}

TEST_F(LayoutWindowsTest, TheEndReadsWhatWaits) {
  Drain(20);
  next_ = LayoutReading::kReplaced;
  Finish();
  EXPECT_EQ(booked_, (Booked{{{1, 20}, 5}}));
  EXPECT_TRUE(windows_.empty());
}

TEST_F(LayoutWindowsTest, IdleLayoutsAreReadLessOften) {
  Drain(20);
  for (int i = 0; i < 100; ++i, now_ += kTick) Read();
  const size_t lately = readings_.size();
  EXPECT_GE(lately, 9u);
  for (int i = 0; i < 300; ++i, now_ += kTick) Read();
  EXPECT_LE(readings_.size() - lately, 4u);
  EXPECT_GE(readings_.size() - lately, 2u);
}

TEST_F(LayoutWindowsTest, ManyProcessesTakeTurns) {
  constexpr size_t kProcesses = 300;
  reading_ns_ = 100'000;
  for (SpaceIndex space = 0; space < kProcesses; ++space) Add(20, space);
  now_ += 20 * kTick;
  for (int drain = 0; drain < 15; ++drain, now_ += kTick) {
    const uint64_t start = now_;
    Read();
    EXPECT_LE(now_ - start, 2'100'000u);
  }
  EXPECT_EQ(booked_.size(), kProcesses);  // each once, none twice
  EXPECT_EQ(count_, kProcesses);
}

TEST_F(LayoutWindowsTest, BigLayoutsTakeAHundredthOfTheTime) {
  reading_ns_ = 50'000'000;
  const uint64_t start = now_;
  for (int i = 0; i < 1000; ++i) Drain(20);
  EXPECT_LE(readings_.size() * reading_ns_, (now_ - start) / 90);
  EXPECT_GE(readings_.size(), 10u);
}

}  // namespace
}  // namespace stallscope
