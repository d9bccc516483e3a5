// SPDX-License-Identifier: Apache-2.0
//
// Values of samples: adding them up, and showing a sum to a person.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "userspace/profile/profile.h"

namespace stallscope {

// The sample's value in a column, or nothing where it was not measured.
std::optional<int64_t> ValueAt(const ProfileSample& sample, size_t column);

// The sum, held at the largest int64_t; nothing only when both are. A negative value, which only a
// damaged capture can hold, counts as 0.
std::optional<int64_t> AddValues(std::optional<int64_t> a, std::optional<int64_t> b);

// "1.23 ms", "12 min 3 s" for "ns"; "1.50 MiB" for "bytes"; "1,234" for any other unit.
std::string ShowValue(int64_t value, std::string_view unit);

// "12.3 %"; "< 0.1 %" for a part that is more than nothing; "0 %" when the whole is 0.
std::string ShowShare(int64_t part, int64_t whole);

}  // namespace stallscope
