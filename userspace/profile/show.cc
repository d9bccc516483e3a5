// SPDX-License-Identifier: Apache-2.0
#include "userspace/profile/show.h"

#include <fmt/format.h>

namespace stallscope {
namespace {

// A terminal gets only what cannot steer it: anything but printable ASCII is '?'.
std::string Printable(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const uint8_t byte = static_cast<uint8_t>(c);
    if ((byte & 0xc0) == 0x80) continue;  // the rest of a character that is already '?'
    out.push_back(byte >= 0x20 && byte < 0x7f ? c : '?');
  }
  return out;
}

}  // namespace

std::string ShowDuration(uint64_t ns) {
  if (ns >= 999'950'000) return fmt::format("{:.2f} s", ns / 1e9);
  if (ns >= 999'950) return fmt::format("{:.1f} ms", ns / 1e6);
  if (ns >= 1000) return fmt::format("{:.1f} us", ns / 1e3);
  return fmt::format("{} ns", ns);
}

std::string ShowDurationShort(uint64_t ns) {
  const double value = static_cast<double>(ns);
  const auto digits = [](double number, std::string_view unit) {
    const int places = number < 9.995 ? 2 : number < 99.95 ? 1 : 0;
    return fmt::format("{:.{}f} {}", number, places, unit);
  };
  if (value < 1e3) return fmt::format("{} ns", ns);
  if (value < 999.5e3) return digits(value / 1e3, "us");
  if (value < 999.5e6) return digits(value / 1e6, "ms");
  return digits(value / 1e9, "s");
}

std::string ShowBytes(uint64_t bytes) {
  if (bytes >= 1 << 20) return fmt::format("{:.1f} MB", bytes / 1048576.0);
  return fmt::format("{} kB", (bytes + 1023) / 1024);
}

std::string ShowCount(uint64_t count) {
  std::string digits = fmt::format("{}", count);
  for (size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, 1, ',');
  return digits;
}

std::string ShowShare(double share) {
  if (share > 0 && share < 0.001) return "<0.1%";
  return fmt::format("{:.1f}%", share * 100);
}

std::string Counted(uint64_t count, std::string_view thing) {
  return fmt::format("{} {}{}", ShowCount(count), thing, count == 1 ? "" : "s");
}

std::string Counted(uint64_t count, std::string_view one, std::string_view several) {
  return fmt::format("{} {}", ShowCount(count), count == 1 ? one : several);
}

std::string Shorten(std::string_view text, size_t width) {
  std::string out = Printable(text);
  if (out.size() <= width) return out;
  if (width < 8) return out.substr(0, width);
  const size_t tail = (width - 2) * 2 / 3;
  const size_t head = width - 2 - tail;
  out.replace(head, out.size() - head - tail, "..");
  return out;
}

}  // namespace stallscope
