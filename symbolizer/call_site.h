// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace stallscope::symbolizer {

// True when the last bytes of `before` can be an x86-64 call instruction. Every real call is
// accepted; bytes that only look like one (x86 cannot be decoded backwards for sure) are accepted
// too. 8 bytes before the place are enough.
bool EndsWithCall(std::string_view before);

}  // namespace stallscope::symbolizer
