// SPDX-License-Identifier: Apache-2.0
#include "userspace/go/estimate.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace stallscope {
namespace {

// How much of what is expected of a snapshot comes from the last one.
constexpr double kNewest = 0.3;
constexpr double kSmallestShare = 1e-4;

// 97.5 % quantile of Student's distribution, to 0.3 % from 3 degrees of freedom on
// (Cornish-Fisher), exact below.
double StudentQuantile(uint64_t degrees) {
  if (degrees == 1) return 12.706;
  if (degrees == 2) return 4.303;
  const double z = 1.959964, n = static_cast<double>(degrees);
  const double z3 = z * z * z, z5 = z3 * z * z, z7 = z5 * z * z;
  return z + (z3 + z) / (4 * n) + (5 * z5 + 16 * z3 + 3 * z) / (96 * n * n) +
         (3 * z7 + 19 * z5 + 17 * z3 - 15 * z) / (384 * n * n * n);
}

}  // namespace

TickPlan::TickPlan(uint64_t start_ns, uint64_t deadline_ns, double budget, uint64_t seed)
    : random_(seed),
      start_ns_(start_ns),
      deadline_ns_(deadline_ns),
      budget_(budget),
      stratum_start_ns_(start_ns) {
  Draw();
}

void TickPlan::Expect(uint64_t full_cpu_ns) {
  full_cpu_ns_ = static_cast<double>(full_cpu_ns);
  Draw();
}

void TickPlan::Took(uint64_t cpu_ns) {
  used_cpu_ns_ += static_cast<double>(cpu_ns);
  const double full_ns = static_cast<double>(cpu_ns) / share_;
  full_cpu_ns_ = full_cpu_ns_ == 0 ? full_ns : full_cpu_ns_ + kNewest * (full_ns - full_cpu_ns_);
  stratum_start_ns_ += stratum_ns_;
  Draw();
}

// The stratum is as long as it takes until what was used and what the next snapshot will use are
// within the budget of all that time.
void TickPlan::Draw() {
  const double elapsed_ns = static_cast<double>(stratum_start_ns_ - start_ns_);
  const double affordable_ns = (used_cpu_ns_ + full_cpu_ns_) / budget_ - elapsed_ns;
  const double length_ns =
      std::clamp<double>(affordable_ns, static_cast<double>(kShortest_ns), kLongest_ns);
  share_ = 1;
  if (affordable_ns > length_ns && full_cpu_ns_ > 0) {
    const double left_ns = budget_ * (elapsed_ns + length_ns) - used_cpu_ns_;
    share_ = std::clamp(left_ns / full_cpu_ns_, kSmallestShare, 1.0);
  }
  stratum_ns_ = static_cast<uint64_t>(length_ns);
  if (deadline_ns_ > stratum_start_ns_) {
    const uint64_t left_ns = deadline_ns_ - stratum_start_ns_;
    if (left_ns < stratum_ns_ + stratum_ns_ / 2) stratum_ns_ = left_ns;
  }
  std::uniform_int_distribution<uint64_t> within(0, std::max<uint64_t>(stratum_ns_, 1) - 1);
  due_ns_ = stratum_start_ns_ + within(random_);
}

void StratifiedSum::Add(double count, uint64_t stratum_ns) {
  const double length_ns = static_cast<double>(stratum_ns);
  if (strata_ > 0) {
    const double difference = (count - previous_) * length_ns;
    variance_ += difference * difference / 2;
  }
  total_ += count * length_ns;
  previous_ = count;
  ++strata_;
}

double StratifiedSum::margin() const {
  if (strata_ < 2) return std::numeric_limits<double>::infinity();
  const double strata = static_cast<double>(strata_);
  // The first stratum has no difference to one before it.
  return StudentQuantile(strata_ - 1) * std::sqrt(variance_ * strata / (strata - 1));
}

}  // namespace stallscope
