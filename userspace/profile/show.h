// SPDX-License-Identifier: Apache-2.0
//
// Figures and names as the summaries on a terminal show them: plain ASCII.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace stallscope {

std::string ShowDuration(uint64_t ns);       // "43 ns", "12.3 us", "1.2 ms", "1.23 s"
std::string ShowDurationShort(uint64_t ns);  // three digits: "43 ns", "12.3 us", "123 s"
std::string ShowBytes(uint64_t bytes);       // "12 kB", "1.5 MB"
std::string ShowCount(uint64_t count);       // "12,345"
std::string ShowShare(double share);  // "12.3%" of 0.123; "<0.1%" of what is more than nothing

// "1 wait", "2 waits".
std::string Counted(uint64_t count, std::string_view thing);
std::string Counted(uint64_t count, std::string_view one, std::string_view several);

// `text` with '?' for what could steer a terminal (anything but printable ASCII), and at most
// `width` characters: what is cut out of its middle leaves "..", since the ends of a name tell
// most.
std::string Shorten(std::string_view text, size_t width = std::string_view::npos);

}  // namespace stallscope
