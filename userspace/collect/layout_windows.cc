// SPDX-License-Identifier: Apache-2.0
#include "userspace/collect/layout_windows.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace stallscope {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;
// A layout that had samples lately is read once a second, an idle one less often: what it loads in
// between is unsure for longer.
constexpr uint64_t kInterval = kSecond, kIdleInterval = 10 * kSecond, kIdleAfter = 10 * kSecond;
// Big layouts take a hundredth of the time at most.
constexpr uint64_t kShare = 100;
// For one drain, and for the last.
constexpr uint64_t kBudget = 2'000'000, kLastBudget = kSecond;

}  // namespace

uint64_t SteadyClock() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

void LayoutWindows::Read(const Sink& sink) {
  ++drain_;
  const uint64_t now = clock_();
  std::vector<SpaceIndex> due;
  for (const auto& [space, window] : windows_) {
    if (window.due_ns <= now) due.push_back(space);
  }
  // Those that wait for long first, so that each has its turn.
  std::sort(due.begin(), due.end(), [&](SpaceIndex a, SpaceIndex b) {
    return std::pair(windows_[a].due_ns, a) < std::pair(windows_[b].due_ns, b);
  });
  ReadUntil(now + kBudget, due, sink);
}

void LayoutWindows::Finish(const Sink& sink) {
  ++drain_;
  std::vector<SpaceIndex> waiting;
  for (const auto& [space, window] : windows_) {
    if (!window.waiting.empty() || !window.straddling.empty()) waiting.push_back(space);
  }
  std::sort(waiting.begin(), waiting.end());
  ReadUntil(clock_() + kLastBudget, waiting, sink);
  for (auto& [space, window] : windows_) {  // those that there was no time for
    for (const auto& [bytes, sample] : window.straddling)
      sink(*window.unsure, sample.first, sample.second);
    for (const auto& [bytes, sample] : window.waiting) sink(space, sample.first, sample.second);
  }
  windows_.clear();
}

void LayoutWindows::ReadUntil(uint64_t end_ns, const std::vector<SpaceIndex>& spaces,
                              const Sink& sink) {
  uint64_t start = clock_();
  for (SpaceIndex space : spaces) {
    if (start >= end_ns) return;
    const auto found = windows_.find(space);
    Window window = std::move(found->second);
    windows_.erase(found);
    SpaceIndex next = space;
    const bool goes_on = ReadOne(space, &window, sink, &next);
    const uint64_t end = clock_();
    if (goes_on) {
      const bool idle = start - std::min(start, window.last_sample_ns) > kIdleAfter;
      window.due_ns = end + std::max(idle ? kIdleInterval : kInterval, (end - start) * kShare);
      windows_[next] = std::move(window);
    }
    start = end;
  }
}

bool LayoutWindows::ReadOne(SpaceIndex space, Window* window, const Sink& sink, SpaceIndex* next) {
  const auto give = [&](SpaceIndex to, Sums* sums) {
    for (const auto& [bytes, sample] : *sums) sink(to, sample.first, sample.second);
    sums->clear();
  };
  const bool straddles = !window->straddling.empty();
  const LayoutReading reading = reader_(space, straddles ? window->unsure : std::nullopt);
  if (reading.kind == LayoutReading::kReplaced) {
    give(reading.between, &window->straddling);
    give(reading.between, &window->waiting);
    window->unsure = reading.between;
    window->replaced_at = drain_;
    *next = reading.after;
    return true;
  }
  if (straddles) give(*window->unsure, &window->straddling);
  give(space, &window->waiting);
  return reading.kind == LayoutReading::kSame;
}

void LayoutWindows::Add(SpaceIndex space, const sample_key& key, const sample_value& value) {
  const auto [it, is_new] = windows_.try_emplace(space);
  Window& window = it->second;
  window.last_sample_ns = clock_();
  // It was read when it was opened, just now.
  if (is_new) window.due_ns = window.last_sample_ns + kInterval;
  // What this drain brings was taken before the reading, and what the next one brings may have come
  // between the two.
  const bool straddles = window.unsure && drain_ - window.replaced_at <= 1;
  const std::string bytes(reinterpret_cast<const char*>(&key), sizeof(key));
  auto& [kept, sum] = (straddles ? window.straddling : window.waiting)
                          .try_emplace(bytes, key, sample_value())
                          .first->second;
  if (sum.count == 0) sum.file_type = value.file_type;
  sum.blocked_ns += value.blocked_ns;
  sum.runq_ns += value.runq_ns;
  sum.count += value.count;
}

bool LayoutWindows::empty() const {
  return std::all_of(windows_.begin(), windows_.end(), [](const auto& window) {
    return window.second.waiting.empty() && window.second.straddling.empty();
  });
}

}  // namespace stallscope
