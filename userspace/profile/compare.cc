// SPDX-License-Identifier: Apache-2.0
#include "userspace/profile/compare.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string_view>
#include <tuple>
#include <utility>

#include "userspace/profile/reason.h"

namespace stallscope {
namespace {

const EventProfile* Find(const Profile& profile, std::string_view name) {
  for (const EventProfile& event : profile.events) {
    if (event.name == name) return &event;
  }
  return nullptr;
}

// A dump: how many stand where, at one moment.
bool IsCount(const EventProfile& event) {
  return event.columns.size() == 1 && event.columns[0].name == "count";
}

double FirstValue(const ProfileSample& sample) {
  if (sample.values.empty()) return 0;
  return static_cast<double>(std::max<int64_t>(0, sample.values[0].value_or(0)));
}

// Where the number of goroutines in a stack can be had from, and what to divide by.
struct CountSource {
  const EventProfile* event = nullptr;
  double divisor = 1;
};

// The sum of the time that goroutines stood in a stack, over the time of the recording, is how many
// of them there were on average (Little's law).
CountSource CountsOf(const Profile& profile) {
  for (const EventProfile& event : profile.events) {
    if (IsCount(event)) return {&event, 1};
  }
  const EventProfile* goroutines = Find(profile, "goroutine");
  const bool timed = goroutines != nullptr && !goroutines->columns.empty() &&
                     goroutines->columns[0].unit == "ns" && profile.duration_ns > 0;
  if (!timed) return {};
  return {goroutines, static_cast<double>(profile.duration_ns)};
}

class Comparer {
 public:
  explicit Comparer(const std::vector<Profile>& profiles) : profiles_(profiles) {
    for (const Profile& profile : profiles) frames_.push_back(NumberFrames(profile));
  }

  absl::StatusOr<Comparison> Run() {
    for (const EventProfile& event : profiles_[0].events) CompareRates(event);
    CompareCounts();
    NoteMissing();
    if (comparison_.rates.empty() && !comparison_.counts) {
      return absl::FailedPreconditionError("they have no event in common");
    }
    return std::move(comparison_);
  }

 private:
  // What makes two samples of different profiles one.
  using Key = std::tuple<std::string, std::vector<uint32_t>, std::string, uint32_t>;
  using Sums = std::map<Key, std::vector<double>>;
  static constexpr uint32_t kNoCreator = 0xffffffff;

  // For each frame of a profile its number in the comparison.
  std::vector<uint32_t> NumberFrames(const Profile& profile) {
    std::vector<uint32_t> numbers;
    numbers.reserve(profile.frames.size());
    for (const ProfileFrame& frame : profile.frames) {
      const uint32_t next = static_cast<uint32_t>(comparison_.frames.size());
      const auto [it, added] = frame_of_.try_emplace({frame.name, frame.kind}, next);
      if (added) {
        comparison_.frames.push_back(frame);
        comparison_.frames.back().inlined = false;  // another build's compiler may decide otherwise
        comparison_.frames.back().guessed = false;
      }
      numbers.push_back(it->second);
    }
    return numbers;
  }

  void Add(size_t profile, const ProfileSample& sample, bool with_creator, double divisor,
           Sums& sums) const {
    Key key;
    std::get<0>(key) = sample.comm;
    for (size_t i = sample.own_from; i < sample.frames.size(); ++i) {
      std::get<1>(key).push_back(frames_[profile][sample.frames[i]]);
    }
    std::get<2>(key) = sample.reason;
    std::get<3>(key) =
        with_creator && sample.creator ? frames_[profile][*sample.creator] : kNoCreator;
    std::vector<double>& values = sums[std::move(key)];
    values.resize(profiles_.size());
    values[profile] += FirstValue(sample) / divisor;
  }

  void CompareRates(const EventProfile& first) {
    if (IsCount(first) || first.columns.empty()) return;
    Sums sums;
    for (size_t i = 0; i < profiles_.size(); ++i) {
      const EventProfile* event = Find(profiles_[i], first.name);
      const bool same = event != nullptr && !event->columns.empty() &&
                        event->columns[0] == first.columns[0] && profiles_[i].duration_ns > 0;
      if (!same) return;
      const double seconds = static_cast<double>(profiles_[i].duration_ns) / 1e9;
      for (const ProfileSample& sample : event->samples) {
        if (IsGoSchedulerReason(sample.reason) || !sample.idle.empty()) continue;
        Add(i, sample, false, seconds, sums);
      }
    }
    comparison_.rates.push_back(Finish(first.name, first.columns[0], sums));
  }

  void CompareCounts() {
    Sums sums;
    for (size_t i = 0; i < profiles_.size(); ++i) {
      const CountSource source = CountsOf(profiles_[i]);
      if (source.event == nullptr) return;
      for (const ProfileSample& sample : source.event->samples) {
        Add(i, sample, true, source.divisor, sums);
      }
    }
    for (auto& [key, values] : sums) {
      for (double& value : values) value = std::round(value);
    }
    const CountSource first = CountsOf(profiles_[0]);
    const std::string name = IsCount(*first.event) ? first.event->name : "goroutines";
    comparison_.counts = Finish(name, {"count", "count"}, sums);
  }

  EventComparison Finish(const std::string& name, const Column& column, const Sums& sums) const {
    EventComparison event;
    event.name = name;
    event.column = column;
    event.totals.resize(profiles_.size());
    for (auto& [key, values] : sums) {
      StackChange& change = event.changes.emplace_back();
      std::tie(change.comm, change.frames, change.reason, std::ignore) = key;
      if (std::get<3>(key) != kNoCreator) change.creator = std::get<3>(key);
      for (size_t i = 0; i < values.size(); ++i) event.totals[i] += values[i];
      change.values = values;
    }
    std::stable_sort(event.changes.begin(), event.changes.end(),
                     [](const StackChange& a, const StackChange& b) {
                       return std::abs(a.Change()) > std::abs(b.Change());
                     });
    return event;
  }

  bool IsCompared(const std::string& name) const {
    for (const EventComparison& event : comparison_.rates) {
      if (event.name == name) return true;
    }
    return comparison_.counts && comparison_.counts->name == name;
  }

  void NoteMissing() {
    for (const Profile& profile : profiles_) {
      for (const EventProfile& event : profile.events) {
        std::vector<std::string>& missing = comparison_.missing;
        if (IsCompared(event.name) ||
            std::find(missing.begin(), missing.end(), event.name) != missing.end()) {
          continue;
        }
        missing.push_back(event.name);
      }
    }
  }

  const std::vector<Profile>& profiles_;
  std::vector<std::vector<uint32_t>> frames_;  // of each profile
  std::map<std::pair<std::string, ProfileFrameKind>, uint32_t> frame_of_;
  Comparison comparison_;
};

}  // namespace

absl::StatusOr<Comparison> Compare(const std::vector<Profile>& profiles) {
  if (profiles.size() < 2) return absl::InvalidArgumentError("there is nothing to compare with");
  return Comparer(profiles).Run();
}

bool NeverShrinks(const StackChange& change) {
  return change.values.back() > change.values.front() &&
         std::is_sorted(change.values.begin(), change.values.end());
}

}  // namespace stallscope
