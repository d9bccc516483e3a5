// SPDX-License-Identifier: Apache-2.0
#include "userspace/go/creators.h"

#include <algorithm>
#include <string>
#include <string_view>

namespace stallscope {
namespace {

// What is read of the code of a program, in all, to see which function calls which.
constexpr uint64_t kMostCodeBytes = 8 << 20;
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
    if (!HasCalled(entries[i] + runtime_.load_bias, addresses[i].value,
                   creator->entry + runtime_.load_bias)) {
      continue;
    }
    if (frame) return std::nullopt;
    frame = i;
  }
  return frame;
}

// `function` calls `wanted`, or a function that does, before the call that returns to `before`.
bool CreatorStacks::HasCalled(uint64_t function, uint64_t before, uint64_t wanted) {
  const std::vector<DirectCall> calls = CallsOf(function);  // a copy: the table grows below
  return std::any_of(calls.begin(), calls.end(), [&](const DirectCall& call) {
    if (call.return_address >= before) return false;
    if (call.target == wanted) return true;
    const std::vector<DirectCall>& further = CallsOf(call.target);
    return std::any_of(further.begin(), further.end(),
                       [&](const DirectCall& one) { return one.target == wanted; });
  });
}

const std::vector<DirectCall>& CreatorStacks::CallsOf(uint64_t function) {
  const auto [it, added] = calls_.try_emplace(function);
  if (!added || code_bytes_ >= kMostCodeBytes) return it->second;
  const auto found = runtime_.tables->FunctionAt(function - runtime_.load_bias);
  if (!found || found->entry + runtime_.load_bias != function || found->end <= found->entry ||
      found->name.compare(0, 8, "runtime.") == 0) {
    return it->second;
  }
  std::string code(std::min<uint64_t>(found->end - found->entry, kMostCode), '\0');
  code_bytes_ += code.size();
  if (memory_->Read(function, code.data(), code.size())) it->second = ReadCalls(code, function);
  return it->second;
}

}  // namespace stallscope
