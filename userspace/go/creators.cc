// SPDX-License-Identifier: Apache-2.0
#include "userspace/go/creators.h"

#include <algorithm>
#include <string>
#include <string_view>

namespace stallscope {
namespace {

// What is read of the code of a program, in all, to see which function calls which, and how many of
// its calls are followed.
constexpr uint64_t kMostCodeBytes = 8 << 20;
constexpr uint64_t kMostFollowed = 32 << 20;
constexpr size_t kMostKnown = 1 << 20;

}  // namespace

std::optional<uint32_t> CreatorStacks::StandsAt(GoStackIndex index, const GoStack& stack,
                                                uint64_t created_at) {
  if (known_.size() >= kMostKnown) known_.clear();
  const auto [it, added] = known_.try_emplace({index, created_at});
  if (added) it->second = Look(stack, created_at);
  return it->second;
}

std::optional<uint32_t> CreatorStacks::Look(const GoStack& stack, uint64_t created_at) {
  const auto creator = runtime_.tables->FunctionAt(created_at - runtime_.load_bias - 1);
  if (!creator || stack.end != StackEnd::kComplete) return std::nullopt;
  const auto& addresses = stack.addresses;
  std::vector<uint64_t> entries(addresses.size());  // 0: of the runtime, or not known
  std::optional<uint32_t> frame;
  for (uint32_t i = 0; i < addresses.size(); ++i) {
    const auto function = runtime_.tables->FunctionAt(addresses[i].value - runtime_.load_bias -
                                                      addresses[i].is_return);
    if (!function || function->name.compare(0, 8, "runtime.") == 0) continue;
    entries[i] = function->entry;
    if (function->entry != creator->entry) continue;
    if (frame) return std::nullopt;
    frame = i;
  }
  if (frame) {
    if (addresses[*frame].value <= created_at) return std::nullopt;
    return *frame + 1;
  }
  for (uint32_t i = 0; i < addresses.size(); ++i) {
    if (entries[i] == 0 || !addresses[i].is_return) continue;
    const auto has_called = HasCalled(
        {entries[i] + runtime_.load_bias, addresses[i].value, creator->entry + runtime_.load_bias});
    // Where one may have, another is not the only one.
    if (!has_called) return std::nullopt;
    if (!*has_called) continue;
    if (frame) return std::nullopt;
    frame = i;
  }
  return frame;
}

std::optional<bool> CreatorStacks::HasCalled(const Question& question) {
  if (answers_.size() >= kMostKnown) answers_.clear();
  const auto known = answers_.find(question);
  if (known != answers_.end()) return known->second;
  if (followed_ >= kMostFollowed) return std::nullopt;
  const std::optional<bool> answer = FollowCalls(question);
  answers_.emplace(question, answer);
  return answer;
}

std::optional<bool> CreatorStacks::FollowCalls(const Question& question) {
  const Calls calls = CallsOf(question.function);  // a copy: the table grows below
  followed_ += calls.first_return.size();
  bool all_known = calls.known_to >= question.before;
  for (const auto& [target, first_return] : calls.first_return) {
    if (first_return >= question.before) continue;
    if (target == question.wanted) return true;
    const Calls& further = CallsOf(target);
    if (further.first_return.contains(question.wanted)) return true;
    all_known = all_known && further.known_to == Calls::kAll;
  }
  return all_known ? std::optional(false) : std::nullopt;
}

const CreatorStacks::Calls& CreatorStacks::CallsOf(uint64_t function) {
  const auto [it, added] = calls_.try_emplace(function);
  Calls& calls = it->second;
  if (!added) return calls;
  // What is no function of Go's calls none, and the runtime's do not start goroutines of others.
  const auto found = runtime_.tables->FunctionAt(function - runtime_.load_bias);
  if (!found || found->entry + runtime_.load_bias != function || found->end <= found->entry ||
      found->name.compare(0, 8, "runtime.") == 0) {
    return calls;
  }
  const uint64_t size = found->end - found->entry;
  std::string code(std::min<uint64_t>(size, kMostCode), '\0');
  calls.known_to = function;
  if (code_bytes_ >= kMostCodeBytes || !memory_->Read(function, code.data(), code.size()))
    return calls;
  code_bytes_ += code.size();
  calls.known_to = code.size() < size ? function + code.size() : Calls::kAll;
  for (const DirectCall& call : ReadCalls(code, function))
    calls.first_return.try_emplace(call.target, call.return_address);
  return calls;
}

}  // namespace stallscope
