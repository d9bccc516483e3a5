// SPDX-License-Identifier: Apache-2.0
#include "userspace/format/value.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace stallscope {
namespace {

// Three significant digits, as a ruler would be read.
std::string ThreeDigits(double value) {
  if (value < 9.995) return fmt::format("{:.2f}", value);
  if (value < 99.95) return fmt::format("{:.1f}", value);
  return fmt::format("{:.0f}", value);
}

std::string ShowDuration(int64_t ns) {
  const double value = static_cast<double>(ns);
  if (value < 1e3) return fmt::format("{} ns", ns);
  if (value < 999.5e3) return ThreeDigits(value / 1e3) + " \xc2\xb5s";
  if (value < 999.5e6) return ThreeDigits(value / 1e6) + " ms";
  if (value < 120e9) return ThreeDigits(value / 1e9) + " s";
  const int64_t seconds = ns / 1'000'000'000;
  if (seconds < 7200) return fmt::format("{} min {} s", seconds / 60, seconds % 60);
  return fmt::format("{} h {} min", seconds / 3600, seconds / 60 % 60);
}

std::string ShowBytes(int64_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  const double value = static_cast<double>(bytes);
  if (value < 1024.0 * 1024) return ThreeDigits(value / 1024) + " KiB";
  if (value < 1024.0 * 1024 * 1024) return ThreeDigits(value / (1024.0 * 1024)) + " MiB";
  return ThreeDigits(value / (1024.0 * 1024 * 1024)) + " GiB";
}

std::string ShowCount(int64_t count) {
  std::string digits = std::to_string(count);
  for (size_t i = digits.size(); i > 3; i -= 3) digits.insert(i - 3, 1, ',');
  return digits;
}

}  // namespace

std::optional<int64_t> ValueAt(const ProfileSample& sample, size_t column) {
  if (column >= sample.values.size()) return std::nullopt;
  return sample.values[column];
}

std::optional<int64_t> AddValues(std::optional<int64_t> a, std::optional<int64_t> b) {
  if (!a && !b) return std::nullopt;
  const int64_t left = std::max<int64_t>(a.value_or(0), 0);
  const int64_t right = std::max<int64_t>(b.value_or(0), 0);
  constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();
  return left > kLargest - right ? kLargest : left + right;
}

std::string ShowValue(int64_t value, std::string_view unit) {
  value = std::max<int64_t>(value, 0);
  if (unit == "ns") return ShowDuration(value);
  if (unit == "bytes") return ShowBytes(value);
  return ShowCount(value);
}

std::string ShowShare(int64_t part, int64_t whole) {
  if (whole <= 0 || part <= 0) return "0 %";
  const double percent = 100.0 * static_cast<double>(part) / static_cast<double>(whole);
  if (percent < 0.1) return "< 0.1 %";
  return fmt::format("{:.1f} %", percent);
}

}  // namespace stallscope
