// SPDX-License-Identifier: Apache-2.0
//
// Names come from other people's programs and may hold any bytes. Every format passes them through
// here first.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace stallscope {

// Longer names are cut to at most this many bytes, and end in an ellipsis.
inline constexpr size_t kMaxNameBytes = 4096;

// The first kMaxNameBytes bytes of `name` (less, so that no UTF-8 sequence is cut in two), then
// U+2026 when something was cut off; a shorter name as it is.
std::string ClipName(std::string_view name);

// `name`, clipped, as valid UTF-8 on one line: tab, newline and carriage return become a space;
// other control characters (C0, DEL, C1), line and paragraph separators and the marks that change
// the direction of writing become
// '?'; each byte that is not part of valid UTF-8 becomes U+FFFD.
std::string PrintableName(std::string_view name);

// `name` as PrintableName gives it, in at most `width` characters: what is cut out of its middle is
// U+2026 there, and behind its last '/' as much is kept as fits.
std::string CutMiddle(std::string_view name, size_t width);

// `text` for HTML, between tags or in a quoted attribute.
std::string EscapeHtml(std::string_view text);

// `text`, valid UTF-8, as a quoted JSON string that may stand inside a <script> element: '<', '>',
// '&', U+2028 and U+2029 are written as \u escapes.
std::string QuoteScriptJson(std::string_view text);

}  // namespace stallscope
