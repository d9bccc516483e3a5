// SPDX-License-Identifier: Apache-2.0
#include "userspace/go/estimate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace stallscope {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;

// Goroutines that wait and run by turns, for times drawn from an exponential distribution.
class Population {
 public:
  Population(int goroutines, double mean_wait_ns, double mean_run_ns, uint64_t end_ns,
             std::mt19937_64* random)
      : waits_(goroutines) {
    std::exponential_distribution<double> wait(1 / mean_wait_ns), run(1 / mean_run_ns);
    for (auto& waits : waits_) {
      double now = -run(*random);
      while (now < static_cast<double>(end_ns)) {
        const double until = now + wait(*random);
        waits.push_back({now, until});
        truth_ += std::max(0.0, std::min<double>(until, end_ns) - std::max(now, 0.0));
        now = until + run(*random);
      }
    }
  }
  double truth() const { return truth_; }
  int WaitingAt(uint64_t ns) const {
    int count = 0;
    for (const auto& waits : waits_) {
      for (const auto& [from, until] : waits)
        count += from <= static_cast<double>(ns) && static_cast<double>(ns) < until;
    }
    return count;
  }

 private:
  std::vector<std::vector<std::pair<double, double>>> waits_;
  double truth_ = 0;
};

TEST(TickPlanTest, StrataCoverTheRecordingWithoutGapOrOverlap) {
  TickPlan plan(7 * kSecond, 37 * kSecond, 0.01, 1);
  uint64_t at = 7 * kSecond;
  int ticks = 0;
  while (plan.stratum_ns() > 0) {
    EXPECT_EQ(plan.stratum_start_ns(), at);
    EXPECT_GE(plan.due_ns(), at);
    EXPECT_LT(plan.due_ns(), at + plan.stratum_ns());
    at += plan.stratum_ns();
    plan.Took(100'000);
    ++ticks;
    if (at >= 37 * kSecond) break;
  }
  EXPECT_EQ(at, 37 * kSecond);
  EXPECT_EQ(ticks, 600);
}

TEST(TickPlanTest, KeepsTheBudgetByTakingFewerThenByTakingParts) {
  for (const double full_ms : {0.1, 2.0, 4.0, 40.0, 900.0}) {
    TickPlan plan(0, 60 * kSecond, 0.01, 1);
    const auto cost_ns = static_cast<uint64_t>(full_ms * 1e6);
    plan.Expect(cost_ns);
    double used = 0, shares = 0;
    int ticks = 0;
    while (plan.stratum_start_ns() < 60 * kSecond) {
      const double share = plan.share();
      const auto cost = static_cast<uint64_t>(static_cast<double>(cost_ns) * share);
      used += static_cast<double>(cost);
      shares += share;
      ++ticks;
      plan.Took(cost);
    }
    EXPECT_LE(used, 0.0101 * 60 * kSecond) << full_ms;
    if (full_ms <= 0.5) {
      EXPECT_EQ(ticks, 1200);
    } else {
      EXPECT_GE(used, 0.0095 * 60 * kSecond) << full_ms << ": the budget is there to be used";
      EXPECT_GE(ticks, 119) << full_ms;
    }
    if (full_ms <= 4) {
      EXPECT_DOUBLE_EQ(shares, ticks) << full_ms;
    }
  }
}

// The two promises of the summary: no bias, and an interval that holds the truth.
TEST(StratifiedSumTest, IsRightOnAverageAndWithinItsInterval) {
  std::mt19937_64 random(20261121);
  constexpr int kRuns = 400;
  for (const double mean_wait_ms : {1.0, 40.0, 700.0}) {
    int inside = 0;
    double error = 0, error_squared = 0;
    for (int run = 0; run < kRuns; ++run) {
      const Population population(20, mean_wait_ms * 1e6, 5e6, 5 * kSecond, &random);
      TickPlan plan(0, 5 * kSecond, 1, random());
      StratifiedSum sum;
      while (plan.stratum_start_ns() < 5 * kSecond) {
        sum.Add(population.WaitingAt(plan.due_ns()), plan.stratum_ns());
        plan.Took(1000);
      }
      const double off = sum.total() - population.truth();
      inside += std::abs(off) <= sum.margin();
      error += off;
      error_squared += off * off;
    }
    const double standard_error = std::sqrt(error_squared) / kRuns;
    EXPECT_LT(std::abs(error / kRuns), 3 * standard_error) << mean_wait_ms;
    EXPECT_GE(inside, kRuns * 93 / 100) << mean_wait_ms;
  }
}

// A program in step with a fixed period would be seen always at the same place of its turn.
TEST(StratifiedSumTest, AProgramInStepWithThePeriodIsSeenRight) {
  TickPlan plan(0, 60 * kSecond, 1, 3);
  StratifiedSum sum;
  double truth = 0;
  while (plan.stratum_start_ns() < 60 * kSecond) {
    const bool waits = plan.due_ns() % TickPlan::kShortest_ns < TickPlan::kShortest_ns / 10;
    sum.Add(waits ? 50 : 0, plan.stratum_ns());
    truth += 5.0 * static_cast<double>(plan.stratum_ns());
    plan.Took(1000);
  }
  EXPECT_LE(std::abs(sum.total() - truth), sum.margin());
  EXPECT_LE(sum.margin(), 0.3 * truth);
}

TEST(StratifiedSumTest, OneSnapshotSaysNothingOfItsError) {
  StratifiedSum sum;
  sum.Add(3, kSecond);
  EXPECT_EQ(sum.total(), 3e9);
  EXPECT_TRUE(std::isinf(sum.margin()));
}

}  // namespace
}  // namespace stallscope
