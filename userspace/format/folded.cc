// SPDX-License-Identifier: Apache-2.0
//
// Folded stacks: `comm;user frames root to leaf;kernel frames;[reason] N`, one line a distinct
// stack.
//
// Readers of this format (flamegraph.pl, inferno, speedscope) take the number after the last space
// and know neither comments nor quoting. A stack that itself ends in a space and a number is read
// by them as a line of two columns, so FoldedStack makes sure that none does.
#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "userspace/format/diff.h"
#include "userspace/format/format.h"
#include "userspace/format/text.h"
#include "userspace/format/value.h"

namespace stallscope {
namespace {

constexpr char kUnknown[] = "[unknown]";

// A name as one frame of a folded line: printable, without ';', without spaces at its ends, never
// empty.
std::string FoldedName(std::string_view name) {
  std::string text = PrintableName(name);
  std::replace(text.begin(), text.end(), ';', ':');
  const size_t first = text.find_first_not_of(' ');
  if (first == std::string::npos) return kUnknown;
  return text.substr(first, text.find_last_not_of(' ') - first + 1);
}

std::string FoldedComm(std::string_view comm) {
  std::string text = FoldedName(comm);
  std::replace(text.begin(), text.end(), ' ', '_');
  return text;
}

std::string FoldedFrame(const ProfileFrame& frame) {
  std::string text = FoldedName(frame.name);
  if (frame.kind == ProfileFrameKind::kKernel) text += "_[k]";
  if (frame.inlined) text += "_[i]";
  return text;
}

// Where the last word of a stack reads as a number ("f 12", "f 1.5"), the space before it becomes
// '_'.
void JoinTrailingNumber(std::string& stack) {
  const size_t space = stack.rfind(' ');
  if (space == std::string::npos) return;
  if (stack.find_first_not_of("0123456789.", space + 1) == std::string::npos) stack[space] = '_';
}

// `sample`: a ProfileSample, or another that has its comm, frames and reason.
template <typename Sample>
std::string FoldedStack(const std::vector<std::string>& frames, const Sample& sample,
                        bool reason_root) {
  std::string reason;
  if (!sample.reason.empty()) reason = ";[" + FoldedName(sample.reason) + "]";
  std::string stack = FoldedComm(sample.comm);
  if (reason_root) stack += reason;
  for (const uint32_t frame : sample.frames) {
    stack += ';';
    stack += frame < frames.size() ? frames[frame] : kUnknown;
  }
  if (!reason_root) stack += reason;
  JoinTrailingNumber(stack);
  return stack;
}

// Times are shown in microseconds, halves rounded up; the sum is never negative.
int64_t FoldedValue(int64_t sum, const Column& column) {
  if (column.unit != "ns") return sum;
  return sum / 1000 + (sum % 1000 >= 500 ? 1 : 0);
}

}  // namespace

std::string Folded(const Profile& profile, const EventProfile& event) {
  if (event.columns.empty()) return "";
  std::vector<std::string> frames;
  frames.reserve(profile.frames.size());
  for (const ProfileFrame& frame : profile.frames) frames.push_back(FoldedFrame(frame));

  std::vector<std::pair<std::string, int64_t>> stacks;
  stacks.reserve(event.samples.size());
  for (const ProfileSample& sample : event.samples) {
    const std::optional<int64_t> value = ValueAt(sample, 0);
    if (value) stacks.emplace_back(FoldedStack(frames, sample, profile.reason_root), *value);
  }
  std::sort(stacks.begin(), stacks.end());

  std::vector<std::string> lines;
  for (size_t i = 0; i < stacks.size();) {
    std::optional<int64_t> sum;
    size_t next = i;
    for (; next < stacks.size() && stacks[next].first == stacks[i].first; ++next) {
      sum = AddValues(sum, stacks[next].second);
    }
    const int64_t value = FoldedValue(*sum, event.columns[0]);
    if (value > 0) lines.push_back(std::move(stacks[i].first) + ' ' + std::to_string(value) + '\n');
    i = next;
  }
  // With the numbers the order can differ ("f 5" is after "f $x 5", "f" before "f $x"). `LC_ALL=C
  // sort -c` shall agree.
  if (!std::is_sorted(lines.begin(), lines.end())) std::sort(lines.begin(), lines.end());
  std::string out;
  for (const std::string& line : lines) out += line;
  return out;
}

std::string FoldedDiff(const Comparison& comparison, const EventComparison& event) {
  std::vector<std::string> frames;
  frames.reserve(comparison.frames.size());
  for (const ProfileFrame& frame : comparison.frames) frames.push_back(FoldedFrame(frame));
  std::map<std::string, std::pair<double, double>> sums;
  for (const StackChange& change : event.changes) {
    auto& [before, after] = sums[FoldedStack(frames, change, false)];
    before += change.values.front();
    after += change.values.back();
  }
  const auto rounded = [&event](double value) {
    return FoldedValue(std::llround(std::min(value, 9e18)), event.column);
  };
  std::vector<std::string> lines;
  for (const auto& [stack, sum] : sums) {
    const int64_t before = rounded(sum.first), after = rounded(sum.second);
    if (before == 0 && after == 0) continue;
    lines.push_back(stack + ' ' + std::to_string(before) + ' ' + std::to_string(after) + '\n');
  }
  std::sort(lines.begin(), lines.end());
  std::string out;
  for (const std::string& line : lines) out += line;
  return out;
}

}  // namespace stallscope
