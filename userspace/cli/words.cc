// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/words.h"

#include <absl/status/status.h>
#include <fmt/format.h>
#include <stdio.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

namespace stallscope {
namespace {

struct Unit {
  std::string_view name;
  uint64_t ns;
};

// Largest first, as DurationText needs them.
constexpr Unit kUnits[] = {{"h", 3'600'000'000'000}, {"m", 60'000'000'000}, {"s", 1'000'000'000},
                           {"ms", 1'000'000},        {"us", 1'000},         {"ns", 1}};

// How people write units that are not ours.
struct Alias {
  std::string_view word, unit;
};
constexpr Alias kUnitAliases[] = {
    {"s", "s"},       {"ms", "ms"},           {"us", "us"},   {"ns", "ns"},     {"m", "m"},
    {"h", "h"},       {"sec", "s"},           {"secs", "s"},  {"seconds", "s"}, {"min", "m"},
    {"mins", "m"},    {"minutes", "m"},       {"hour", "h"},  {"hours", "h"},   {"hrs", "h"},
    {"msec", "ms"},   {"millis", "ms"},       {"usec", "us"}, {"micros", "us"}, {"\xc2\xb5s", "us"},
    {"seconde", "s"}, {"milliseconds", "ms"}, {"nanos", "ns"}};

absl::Status TwoLines(absl::StatusCode code, std::string_view what, std::string_view remedy) {
  return absl::Status(code, fmt::format("{}\n{}", what, remedy));
}

// The digits in front, with one decimal point at most.
size_t NumberSize(std::string_view text) {
  size_t size = 0;
  bool point = false;
  while (size < text.size() &&
         ((text[size] >= '0' && text[size] <= '9') || (text[size] == '.' && !point))) {
    point |= text[size] == '.';
    ++size;
  }
  return size;
}

// Decimal text times `unit` in ns, exact for whole numbers. nullopt: no digit, or too large.
std::optional<uint64_t> Scaled(std::string_view number, uint64_t unit_ns) {
  const size_t point = std::min(number.find('.'), number.size());
  const std::string_view whole = number.substr(0, point);
  const std::string_view fraction = point < number.size() ? number.substr(point + 1) : "";
  if (whole.empty() && fraction.empty()) return std::nullopt;
  uint64_t units = 0;
  if (!whole.empty()) {
    const auto [end, error] = std::from_chars(whole.data(), whole.data() + whole.size(), units);
    if (error != std::errc()) return std::nullopt;
  }
  if (units > std::numeric_limits<int64_t>::max() / unit_ns) return std::nullopt;
  double part = 0, digit = 0.1;
  for (const char c : fraction) {
    part += (c - '0') * digit;
    digit /= 10;
  }
  const uint64_t ns = units * unit_ns + static_cast<uint64_t>(std::llround(part * unit_ns));
  if (ns > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
  return ns;
}

}  // namespace

absl::Status UsageError(std::string_view what, std::string_view remedy) {
  return TwoLines(absl::StatusCode::kInvalidArgument, what, remedy);
}
absl::Status MachineError(std::string_view what, std::string_view remedy) {
  return TwoLines(absl::StatusCode::kFailedPrecondition, what, remedy);
}
absl::Status TargetError(std::string_view what, std::string_view remedy) {
  return TwoLines(absl::StatusCode::kNotFound, what, remedy);
}
absl::Status RunError(std::string_view what, std::string_view remedy) {
  return TwoLines(absl::StatusCode::kAborted, what, remedy);
}

ExitCode ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitDone;
    case absl::StatusCode::kInvalidArgument:
      return kExitUsage;
    case absl::StatusCode::kFailedPrecondition:
      return kExitMachine;
    case absl::StatusCode::kNotFound:
      return kExitTarget;
    default:
      return kExitFailed;
  }
}

void PrintLine(FILE* stream, std::string_view line) {
  // Not fmt::print, which throws. One call, so that lines of several processes do not mix.
  const std::string whole = fmt::format("{}\n", line);
  static_cast<void>(fwrite(whole.data(), 1, whole.size(), stream));
}

int ReportError(const absl::Status& status) {
  PrintLine(stderr, std::string(status.message()));
  return ExitCodeOf(status);
}

absl::Status ExplainGoroutineFailure(const absl::Status& status, std::string_view comm,
                                     uint32_t pid, std::string_view command) {
  const std::string name = fmt::format("{} ({})", Printable(comm), pid);
  const std::string why(status.message());
  if (absl::IsPermissionDenied(status)) {
    return MachineError(
        fmt::format("{}: {}", name, why),
        fmt::format("run it as root: sudo stallscope {} ...; or add CAP_SYS_PTRACE", command));
  }
  return TargetError(
      absl::IsNotFound(status) ? name + " is not a Go program" : fmt::format("{}: {}", name, why),
      fmt::format("its threads instead: stallscope record -p {} -e offcpu", pid));
}

size_t EditDistance(std::string_view a, std::string_view b) {
  // Three rows of the usual table; words from the command line are short, but nothing bounds them.
  constexpr size_t kLongest = 256;
  a = a.substr(0, kLongest);
  b = b.substr(0, kLongest);
  std::vector<size_t> before(b.size() + 1), above(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) above[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t change = above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, change});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
    std::swap(before, above);
    std::swap(above, row);
  }
  return above[b.size()];
}

std::string Nearest(std::string_view word, const std::vector<std::string>& candidates) {
  const auto nearest = std::min_element(candidates.begin(), candidates.end(),
                                        [&](const std::string& a, const std::string& b) {
                                          return EditDistance(word, a) < EditDistance(word, b);
                                        });
  return nearest == candidates.end() ? "" : *nearest;
}

std::optional<uint64_t> ParseDuration(std::string_view text) {
  const size_t size = NumberSize(text);
  const std::string_view suffix = text.substr(size);
  for (const Unit& unit : kUnits) {
    if (suffix == unit.name || (suffix.empty() && unit.name == "s")) {
      return Scaled(text.substr(0, size), unit.ns);
    }
  }
  return std::nullopt;
}

std::string NearestDuration(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '-' || text.front() == '+')) {
    text.remove_prefix(1);
  }
  std::string number(text.substr(0, NumberSize(text)));
  std::string_view suffix = text.substr(number.size());
  if (number == "0" && (suffix.starts_with("x") || suffix.starts_with("X"))) {
    uint64_t value = 0;
    const char* const last = suffix.data() + suffix.size();
    const auto [end, error] = std::from_chars(suffix.data() + 1, last, value, 16);
    if (error == std::errc()) number = fmt::format("{}", value);
    suffix = std::string_view(end, last - end);
  }
  while (!suffix.empty() && suffix.front() == ' ') suffix.remove_prefix(1);
  const Alias* nearest = std::min_element(
      std::begin(kUnitAliases), std::end(kUnitAliases), [&](const Alias& a, const Alias& b) {
        return EditDistance(suffix, a.word) < EditDistance(suffix, b.word);
      });
  const std::string candidate =
      fmt::format("{}{}", number.empty() ? "30" : number, suffix.empty() ? "s" : nearest->unit);
  // 0 is valid, "until Ctrl-C", and not what a slip of the finger meant.
  return ParseDuration(candidate).value_or(0) > 0 ? candidate : "30s";
}

std::string DurationText(uint64_t duration_ns) {
  if (duration_ns == 0) return "0s";
  for (const Unit& unit : kUnits) {
    if (duration_ns % unit.ns == 0) return fmt::format("{}{}", duration_ns / unit.ns, unit.name);
  }
  return fmt::format("{}ns", duration_ns);
}

std::string Joined(const std::vector<std::string>& words, std::string_view separator) {
  return fmt::format("{}", fmt::join(words, separator));
}

std::string Printable(std::string_view text) {
  std::string printable(text);
  for (char& c : printable) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return printable;
}

}  // namespace stallscope
