// SPDX-License-Identifier: Apache-2.0
#include "userspace/format/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace stallscope {
namespace {

constexpr std::string_view kEllipsis = "\xe2\x80\xa6";
constexpr std::string_view kReplacement = "\xef\xbf\xbd";

struct CodePoint {
  char32_t value = 0;
  size_t size = 0;  // bytes; 0 when the bytes are not valid UTF-8
};

bool IsContinuation(char c) { return (static_cast<uint8_t>(c) & 0xc0) == 0x80; }

// Decodes the code point at the start of `text`, which is not empty. Strict: no overlong forms, no
// surrogates.
CodePoint Decode(std::string_view text) {
  const uint8_t lead = static_cast<uint8_t>(text[0]);
  if (lead < 0x80) return {lead, 1};
  size_t size = 0;
  char32_t value = 0;
  char32_t least = 0;
  if ((lead & 0xe0) == 0xc0) {
    size = 2, value = lead & 0x1f, least = 0x80;
  } else if ((lead & 0xf0) == 0xe0) {
    size = 3, value = lead & 0x0f, least = 0x800;
  } else if ((lead & 0xf8) == 0xf0) {
    size = 4, value = lead & 0x07, least = 0x10000;
  } else {
    return {};
  }
  if (text.size() < size) return {};
  for (size_t i = 1; i < size; ++i) {
    if (!IsContinuation(text[i])) return {};
    value = value << 6 | (static_cast<uint8_t>(text[i]) & 0x3f);
  }
  const bool surrogate = value >= 0xd800 && value <= 0xdfff;
  if (value < least || value > 0x10ffff || surrogate) return {};
  return {value, size};
}

bool IsLineSpace(char32_t c) { return c == '\t' || c == '\n' || c == '\r'; }

// Characters that a terminal or a browser would obey instead of show.
bool IsControl(char32_t c) {
  const bool direction = c == 0x061c || c == 0x200e || c == 0x200f ||
                         (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
  return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0x2028 || c == 0x2029 || direction;
}

}  // namespace

std::string ClipName(std::string_view name) {
  if (name.size() <= kMaxNameBytes) return std::string(name);
  size_t size = kMaxNameBytes;
  // At most three steps back: a longer run of continuation bytes is not UTF-8 anyway.
  for (size_t i = 0; i < 3 && IsContinuation(name[size]); ++i) --size;
  std::string clipped(name.substr(0, size));
  clipped += kEllipsis;
  return clipped;
}

std::string PrintableName(std::string_view name) {
  const std::string clipped = ClipName(name);
  std::string_view rest = clipped;
  std::string out;
  out.reserve(rest.size());
  while (!rest.empty()) {
    const CodePoint c = Decode(rest);
    if (c.size == 0) {
      out += kReplacement;
      rest.remove_prefix(1);
      continue;
    }
    if (IsLineSpace(c.value)) {
      out += ' ';
    } else if (IsControl(c.value)) {
      out += '?';
    } else {
      out += rest.substr(0, c.size);
    }
    rest.remove_prefix(c.size);
  }
  return out;
}

std::string CutMiddle(std::string_view name, size_t width) {
  std::string shown = PrintableName(name);
  std::vector<size_t> starts;  // of each character, and the end
  for (size_t i = 0; i < shown.size(); ++i) {
    if (!IsContinuation(shown[i])) starts.push_back(i);
  }
  const size_t size = starts.size();
  if (size <= width) return shown;
  if (width < 2) return shown.substr(0, width ? starts[1] : 0);
  starts.push_back(shown.size());
  const size_t room = width - 1;
  const size_t slash = shown.rfind('/');
  const size_t behind =
      slash == std::string::npos
          ? 0
          : starts.end() - std::upper_bound(starts.begin(), starts.end(), slash) - 1;
  const size_t tail =
      std::min(std::max(behind + 1, room * 2 / 3), room - std::min<size_t>(room, 2));
  return shown.substr(0, starts[room - tail]) + std::string(kEllipsis) +
         shown.substr(starts[size - tail]);
}

std::string EscapeHtml(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string QuoteScriptJson(std::string_view text) {
  std::string out = "\"";
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const std::string_view three = text.substr(i, 3);
    if (three == "\xe2\x80\xa8" || three == "\xe2\x80\xa9") {
      out += three == "\xe2\x80\xa8" ? "\\u2028" : "\\u2029";
      i += 2;
    } else if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<uint8_t>(c) < 0x20 || c == '<' || c == '>' || c == '&' || c == 0x7f) {
      out += fmt::format("\\u{:04x}", static_cast<uint8_t>(c));
    } else {
      out += c;
    }
  }
  out += '"';
  return out;
}

}  // namespace stallscope
