// SPDX-License-Identifier: Apache-2.0
#include "userspace/profile/idle.h"

#include <fmt/format.h>

#include <utility>

namespace stallscope {

extern const std::string_view kIdleRules;  // idle.rules, put in at build time

namespace {

// What parks a goroutine, on behalf of the function that waits.
bool IsParking(std::string_view function) {
  return function.starts_with("runtime.") || function.starts_with("internal/runtime/") ||
         function.starts_with("internal/poll.");
}

std::string_view Trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

// The next word of `text`, which loses it.
std::string_view TakeWord(std::string_view& text) {
  text = Trimmed(text);
  const std::string_view word = text.substr(0, text.find(' '));
  text.remove_prefix(word.size());
  return word;
}

// Where `functions` ends but for runtime.goexit, which every goroutine returns to.
size_t EndOfOwn(const std::vector<std::string_view>& functions) {
  const bool goexit = !functions.empty() && functions.back() == "runtime.goexit";
  return functions.size() - (goexit ? 1 : 0);
}

}  // namespace

absl::StatusOr<IdleRules> IdleRules::BuiltIn() { return Parse(kIdleRules); }

absl::StatusOr<IdleRules> IdleRules::Parse(std::string_view text) {
  IdleRules rules;
  for (size_t number = 1; !text.empty(); ++number) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(line.size() < text.size() ? line.size() + 1 : line.size());
    const std::string_view words = Trimmed(line);
    if (words.empty() || words.front() == '#') continue;
    std::string reason;
    absl::StatusOr<Rule> rule = ParseRule(words, reason);
    if (!rule.ok()) {
      return absl::InvalidArgumentError(
          fmt::format("line {}: {}", number, std::string(rule.status().message())));
    }
    rules.by_reason_[reason].push_back(static_cast<uint32_t>(rules.rules_.size()));
    rules.rules_.push_back(*std::move(rule));
  }
  return rules;
}

absl::StatusOr<IdleRules::Rule> IdleRules::ParseRule(std::string_view line, std::string& reason) {
  Rule rule;
  const size_t colon = line.find(": [");
  const size_t close = line.find("] ", colon);
  if (colon == std::string_view::npos || colon == 0 || close == std::string_view::npos ||
      close == colon + 3) {
    return absl::InvalidArgumentError("a rule begins with NAME: [REASON]");
  }
  rule.name = line.substr(0, colon);
  reason = line.substr(colon + 3, close - colon - 3);
  std::string_view rest = line.substr(close + 2);
  bool after_gap = false;
  while (true) {
    const std::string_view function = TakeWord(rest);
    if (function.empty() || function == "<" || function == "<<") {
      return absl::InvalidArgumentError("a function is missing");
    }
    if (function == "go") {
      if (rule.steps.empty() || after_gap || !Trimmed(rest).empty()) {
        return absl::InvalidArgumentError("\"< go\" stands at the end, after a function");
      }
      rule.to_the_end = true;
      return rule;
    }
    rule.steps.push_back({std::string(function), after_gap});
    const std::string_view arrow = TakeWord(rest);
    if (arrow.empty()) return rule;
    if (arrow != "<" && arrow != "<<") {
      return absl::InvalidArgumentError("between two functions stands < or <<");
    }
    after_gap = arrow == "<<";
  }
}

std::string_view IdleRules::Match(std::string_view reason,
                                  const std::vector<std::string_view>& functions,
                                  bool whole) const {
  const auto found = by_reason_.find(reason);
  if (found == by_reason_.end()) return "";
  for (const uint32_t rule : found->second) {
    if (Matches(rules_[rule], functions, whole)) return rules_[rule].name;
  }
  return "";
}

bool IdleRules::Matches(const Rule& rule, const std::vector<std::string_view>& functions,
                        bool whole) {
  for (size_t at = 0; at < functions.size(); ++at) {
    if (functions[at] == rule.steps[0].function && MatchesFrom(rule, functions, whole, at)) {
      return true;
    }
    if (!IsParking(functions[at])) return false;
  }
  return false;
}

// Whether the rest of the rule matches with its first function at `at`. As for wildcards in a
// file's name: what follows a gap is tried at each place, and only the newest gap is ever widened,
// so the time is the product of the two lengths at most.
bool IdleRules::MatchesFrom(const Rule& rule, const std::vector<std::string_view>& functions,
                            bool whole, size_t at) {
  const size_t end = EndOfOwn(functions);
  size_t step = 1;
  ++at;
  size_t gap_step = 0;  // the step after the newest gap; 0: none yet
  size_t gap_at = 0;    // where it was tried last
  while (true) {
    const bool done = step == rule.steps.size();
    if (done && (!rule.to_the_end || (whole && at == end))) return true;
    if (!done && rule.steps[step].after_gap && step != gap_step) {
      gap_step = step;
      gap_at = at;
    }
    if (!done && at < functions.size() && functions[at] == rule.steps[step].function) {
      ++step;
      ++at;
      continue;
    }
    if (gap_step == 0 || gap_at >= functions.size()) return false;
    step = gap_step;
    at = ++gap_at;
  }
}

}  // namespace stallscope
