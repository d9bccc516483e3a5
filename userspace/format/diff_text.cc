// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "userspace/format/diff.h"
#include "userspace/format/text.h"
#include "userspace/format/value.h"
#include "userspace/profile/site.h"

namespace stallscope {
namespace {

constexpr size_t kMostCallers = 2;
constexpr size_t kLongestName = 120;

std::string ShownName(std::string_view name) {
  std::string text = PrintableName(name);
  if (text.size() <= kLongestName) return text;
  return PrintableName(text.substr(0, kLongestName - 2)) + "..";
}

std::string ShowNumber(double value, const Column& column) {
  const int64_t rounded = static_cast<int64_t>(std::min(std::round(value), 9e18));
  std::string text = ShowValue(rounded, column.unit);
  // One byte a column, so that the table's are straight.
  const size_t micro = text.find("\xc2\xb5s");
  if (micro != std::string::npos) text.replace(micro, 3, "us");
  return text;
}

// "+1.20 ms", "-3".
std::string ShowChange(double change, const Column& column) {
  return (change < 0 ? "-" : "+") + ShowNumber(std::abs(change), column);
}

std::string PlaceOf(const ProfileFrame& frame) {
  if (frame.file.empty()) return "";
  const std::string file = ShownName(frame.file.substr(frame.file.rfind('/') + 1));
  return frame.line == 0 ? " " + file : fmt::format(" {}:{}", file, frame.line);
}

// "main.(*Store).Put < main.handle < net/http.HandlerFunc.ServeHTTP": the site of the wait and its
// callers, which tell it from others of that site.
std::string SiteText(const Comparison& comparison, const StackChange& change) {
  const std::optional<uint32_t> site = SiteOfWait(comparison.frames, change.frames);
  if (!site) return ShownName(change.comm) + ", site unknown";
  const auto found = std::find(change.frames.rbegin(), change.frames.rend(), *site);
  std::string text;
  size_t callers = 0;
  for (auto frame = found; frame != change.frames.rend() && callers <= kMostCallers; ++frame) {
    text += (text.empty() ? "" : " < ") + ShownName(comparison.frames[*frame].name);
    ++callers;
  }
  return text;
}

std::string ReasonText(const StackChange& change) {
  return change.reason.empty() ? "" : "[" + ShownName(change.reason) + "]";
}

// "12 -> 15 -> 40".
std::string CourseText(const std::vector<double>& values, const Column& column) {
  std::string text;
  for (const double value : values)
    text += (text.empty() ? "" : " -> ") + ShowNumber(value, column);
  return text;
}

void AppendRows(const Comparison& comparison, const EventComparison& event,
                std::string_view heading, bool up, size_t rows, std::string& out) {
  size_t printed = 0, others = 0;
  for (const StackChange& change : event.changes) {
    const double by = change.Change();
    if ((by > 0) != up || ShowNumber(std::abs(by), event.column) == ShowNumber(0, event.column)) {
      continue;
    }
    if (printed == rows) {
      ++others;
      continue;
    }
    if (printed++ == 0) out += fmt::format("{}\n", heading);
    out += fmt::format("  {:>10}  {}  {}  {}\n", ShowChange(by, event.column),
                       CourseText(change.values, event.column), ReasonText(change),
                       SiteText(comparison, change));
  }
  if (others > 0) out += fmt::format("  and {} more\n", others);
}

void AppendRates(const Comparison& comparison, const EventComparison& event, size_t rows,
                 std::string& out) {
  out += fmt::format("{}, {} per second of recording: {}\n", ShownName(event.name),
                     ShownName(event.column.name), CourseText(event.totals, event.column));
  const size_t before = out.size();
  const bool time = event.column.unit == "ns";
  AppendRows(comparison, event, time ? "longer" : "more", true, rows, out);
  AppendRows(comparison, event, time ? "shorter" : "less", false, rows, out);
  if (out.size() == before) out += "  no change\n";
}

void AppendCounts(const Comparison& comparison, const EventComparison& event, size_t rows,
                  std::string& out) {
  out += fmt::format("{}: {}\n", ShownName(event.name), CourseText(event.totals, event.column));
  const bool several = event.totals.size() > 2;
  size_t printed = 0, others = 0;
  for (const StackChange& change : event.changes) {
    // With more than two, what went down in between is no leak.
    if (!NeverShrinks(change)) continue;
    if (printed == rows) {
      ++others;
      continue;
    }
    if (printed++ == 0) out += several ? "grew and never shrank\n" : "grew\n";
    out += fmt::format("  {:>10}  {}  {}  {}", ShowChange(change.Change(), event.column),
                       CourseText(change.values, event.column), ReasonText(change),
                       SiteText(comparison, change));
    if (change.creator) {
      const ProfileFrame& creator = comparison.frames[*change.creator];
      out += fmt::format(", created by {}{}", ShownName(creator.name), PlaceOf(creator));
    }
    out += "\n";
  }
  if (printed == 0) out += several ? "  none grew and never shrank\n" : "  none grew\n";
  if (others > 0) out += fmt::format("  and {} more\n", others);
}

}  // namespace

std::string DiffText(const Comparison& comparison, size_t rows) {
  std::string out;
  for (const EventComparison& event : comparison.rates) {
    AppendRates(comparison, event, rows, out);
  }
  if (comparison.counts) AppendCounts(comparison, *comparison.counts, rows, out);
  for (const std::string& name : comparison.missing) {
    out += fmt::format("{}: not compared, it is not in all of them in one unit\n", ShownName(name));
  }
  return out;
}

}  // namespace stallscope
