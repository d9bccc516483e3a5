// SPDX-License-Identifier: Apache-2.0
//
// Goroutines that are idle by design: rules over a wait's reason and the functions on its stack.
// idle.rules has ours, and says how one is written.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace stallscope {

class IdleRules {
 public:
  // Those of idle.rules. Fails only where that file does not parse.
  static absl::StatusOr<IdleRules> BuiltIn();

  // `text` as idle.rules is written. Fails with InvalidArgument that names the line.
  static absl::StatusOr<IdleRules> Parse(std::string_view text);

  // The name of the first rule that explains a goroutine's wait; empty when none does. `reason`:
  // the runtime's words. `functions`: the names on its stack, innermost first, inlined ones
  // included. `whole`: the stack was walked to its end; a rule that ends in "< go" wants that.
  std::string_view Match(std::string_view reason, const std::vector<std::string_view>& functions,
                         bool whole) const;

  size_t size() const { return rules_.size(); }

 private:
  struct Step {
    std::string function;
    bool after_gap = false;  // "<<" stands before it
  };
  struct Rule {
    std::string name;
    std::vector<Step> steps;  // innermost first
    bool to_the_end = false;  // "< go"
  };

  static absl::StatusOr<Rule> ParseRule(std::string_view line, std::string& reason);
  static bool Matches(const Rule& rule, const std::vector<std::string_view>& functions, bool whole);
  static bool MatchesFrom(const Rule& rule, const std::vector<std::string_view>& functions,
                          bool whole, size_t at);

  std::vector<Rule> rules_;
  std::map<std::string, std::vector<uint32_t>, std::less<>> by_reason_;  // in the order of the file
};

}  // namespace stallscope
