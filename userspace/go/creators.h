// SPDX-License-Identifier: Apache-2.0
//
// Whether the goroutine that started another one still stands where it did that.
//
// A stack does not say which call of a function it was that started a goroutine. What can be told
// is where its creator is now: in the function with the go statement, behind that statement, or in
// one that has called it, directly or through one more, and waits further down.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <optional>
#include <utility>

#include "userspace/go/code.h"
#include "userspace/go/runtime.h"
#include "userspace/go/stack_table.h"
#include "userspace/process/memory.h"

namespace stallscope {

class CreatorStacks {
 public:
  // `memory` and the runtime must outlive it.
  CreatorStacks(const Memory* memory, const GoRuntime& runtime)
      : memory_(memory), runtime_(runtime) {}

  // `stack`: of the creator, `index` its number. `created_at`: return address of the go statement.
  // The index into the stack's addresses of the first frame outside the function with the go
  // statement, when the creator still stands there; nullopt when it does not, when it cannot be
  // told, or when two of its frames might be the one.
  std::optional<uint32_t> StandsAt(GoStackIndex index, const GoStack& stack, uint64_t created_at);

 private:
  // Which functions a function calls.
  struct Calls {
    static constexpr uint64_t kAll = ~uint64_t{0};
    absl::flat_hash_map<uint64_t, uint64_t> first_return;  // return address, by target
    uint64_t known_to = kAll;                              // those behind it are not known
  };
  // Does `function` call `wanted`, or a function that does, before the call that returns to
  // `before`?
  struct Question {
    uint64_t function = 0, before = 0, wanted = 0;
    bool operator==(const Question&) const = default;
    template <typename H>
    friend H AbslHashValue(H h, const Question& question) {
      return H::combine(std::move(h), question.function, question.before, question.wanted);
    }
  };

  std::optional<uint32_t> Look(const GoStack& stack, uint64_t created_at);
  // nullopt: it cannot be told.
  std::optional<bool> HasCalled(const Question& question);
  std::optional<bool> FollowCalls(const Question& question);
  const Calls& CallsOf(uint64_t function);

  const Memory* memory_;
  const GoRuntime& runtime_;
  absl::flat_hash_map<std::pair<GoStackIndex, uint64_t>, std::optional<uint32_t>> known_;
  absl::flat_hash_map<Question, std::optional<bool>> answers_;
  absl::flat_hash_map<uint64_t, Calls> calls_;  // by the function's entry
  uint64_t code_bytes_ = 0;                     // that were read
  uint64_t followed_ = 0;                       // calls
};

}  // namespace stallscope
