// SPDX-License-Identifier: Apache-2.0
#include "userspace/profile/frame_filter.h"

#include <absl/status/status.h>
#include <fmt/format.h>
#include <re2/re2.h>

#include <utility>

namespace stallscope {
namespace {

using Expressions = std::vector<std::unique_ptr<re2::RE2>>;

absl::Status Compile(std::string_view option, const std::vector<std::string>& patterns,
                     Expressions& compiled) {
  re2::RE2::Options options;
  options.set_log_errors(false);
  options.set_never_capture(true);
  for (const std::string& pattern : patterns) {
    auto expression = std::make_unique<re2::RE2>(pattern, options);
    if (!expression->ok()) {
      return absl::InvalidArgumentError(
          fmt::format("{} {}: {}", option, pattern, expression->error()));
    }
    compiled.push_back(std::move(expression));
  }
  return absl::OkStatus();
}

bool AnyMatches(const Expressions& expressions, const std::string& text) {
  for (const auto& expression : expressions) {
    if (re2::RE2::PartialMatch(text, *expression)) return true;
  }
  return false;
}

}  // namespace

FrameFilter::FrameFilter() = default;
FrameFilter::FrameFilter(FrameFilter&&) noexcept = default;
FrameFilter& FrameFilter::operator=(FrameFilter&&) noexcept = default;
FrameFilter::~FrameFilter() = default;

absl::StatusOr<FrameFilter> FrameFilter::Create(const std::vector<std::string>& include,
                                                const std::vector<std::string>& exclude) {
  FrameFilter filter;
  if (absl::Status s = Compile("-I", include, filter.include_); !s.ok()) return s;
  if (absl::Status s = Compile("-X", exclude, filter.exclude_); !s.ok()) return s;
  return filter;
}

FrameFilter::Match FrameFilter::Of(std::string_view frame) const {
  Match match;
  if (IsEmpty()) return match;
  const std::string text(
      frame);  // the one type that every RE2 takes: newer ones use Abseil's string_view
  match.included = AnyMatches(include_, text);
  match.excluded = AnyMatches(exclude_, text);
  return match;
}

std::string FrameFilter::Description() const {
  std::string text;
  for (const auto& expression : include_) text += fmt::format(" -I {}", expression->pattern());
  for (const auto& expression : exclude_) text += fmt::format(" -X {}", expression->pattern());
  return text.empty() ? text : text.substr(1);
}

}  // namespace stallscope
