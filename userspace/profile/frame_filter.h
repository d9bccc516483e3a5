// SPDX-License-Identifier: Apache-2.0
//
// -I and -X: which stacks are kept. The expressions are RE2's, whose matching time is linear in the
// text.
#pragma once

#include <absl/status/statusor.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace re2 {
class RE2;
}

namespace stallscope {

class FrameFilter {
 public:
  struct Match {
    bool included = false;  // matches one of -I
    bool excluded = false;  // matches one of -X
    Match& operator|=(const Match& other) {
      included |= other.included;
      excluded |= other.excluded;
      return *this;
    }
  };

  // Fails with InvalidArgument when an expression does not compile; the message names it and says
  // why.
  static absl::StatusOr<FrameFilter> Create(const std::vector<std::string>& include,
                                            const std::vector<std::string>& exclude);

  FrameFilter(FrameFilter&&) noexcept;
  FrameFilter& operator=(FrameFilter&&) noexcept;
  ~FrameFilter();

  // What one frame of a stack says: a function's name, the comm, or a reason in its brackets.
  Match Of(std::string_view frame) const;

  // `stack` is the union over the frames of a stack.
  bool Keeps(const Match& stack) const {
    return (include_.empty() || stack.included) && !stack.excluded;
  }

  // Neither -I nor -X was given.
  bool IsEmpty() const { return include_.empty() && exclude_.empty(); }

  // Why a stack was dropped, for the summary: "-I main -X futex". Empty when every stack is kept.
  std::string Description() const;

 private:
  using Expressions = std::vector<std::unique_ptr<re2::RE2>>;
  FrameFilter();

  Expressions include_;
  Expressions exclude_;
};

}  // namespace stallscope
