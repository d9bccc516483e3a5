// SPDX-License-Identifier: Apache-2.0
#include "symbolizer/text_tables.h"

#include <algorithm>
#include <charconv>

namespace stallscope::symbolizer {
namespace {

constexpr uint64_t kLongestKernelFunction = 64u << 10;
constexpr size_t kLongestName = 4096;
constexpr size_t kMostSymbols = 4u << 20;
constexpr size_t kMostNameBytes = 256u << 20;

std::string_view TakeLine(std::string_view* text) {
  const size_t end = text->find('\n');
  const std::string_view line = text->substr(0, end);
  text->remove_prefix(end == std::string_view::npos ? text->size() : end + 1);
  return line;
}

std::string_view TakeField(std::string_view* line) {
  const size_t begin = std::min(line->find_first_not_of(" \t"), line->size());
  line->remove_prefix(begin);
  const size_t end = std::min(line->find_first_of(" \t"), line->size());
  const std::string_view field = line->substr(0, end);
  line->remove_prefix(end);
  return field;
}

bool ParseHex(std::string_view text, uint64_t* value) {
  if (text.substr(0, 2) == "0x") text.remove_prefix(2);
  const auto result = std::from_chars(text.data(), text.data() + text.size(), *value, 16);
  return result.ec == std::errc() && result.ptr == text.data() + text.size();
}

bool IsText(std::string_view type) {
  return type == "t" || type == "T" || type == "w" || type == "W";
}

// Labels that assemblers and the kernel's build leave behind: mapping symbols, local labels, the
// padding before functions (__pfx_) and kCFI's type words (__cfi_). None is a function that runs.
bool IsLabel(std::string_view name) {
  return name.empty() || name[0] == '$' || name.substr(0, 2) == ".L" ||
         name.substr(0, 6) == "__pfx_" || name.substr(0, 6) == "__cfi_";
}

}  // namespace

KernelSymbols KernelSymbols::Parse(std::string_view text) {
  KernelSymbols table;
  bool any = false, any_address = false;
  while (!text.empty() && table.symbols_.size() < kMostSymbols &&
         table.names_.size() < kMostNameBytes) {
    std::string_view line = TakeLine(&text);
    const std::string_view address_text = TakeField(&line), type = TakeField(&line),
                           name = TakeField(&line);
    uint64_t address = 0;
    if (!ParseHex(address_text, &address) || type.size() != 1 || name.empty()) continue;
    any = true;
    any_address = any_address || address != 0;
    if (address == 0 || name.size() > kLongestName) continue;
    // A label is no name, yet it ends the function before it.
    const bool is_name = IsText(type) && !IsLabel(name);
    if (!is_name && !IsText(type)) continue;
    Symbol symbol;
    symbol.address = address;
    symbol.name_offset = static_cast<uint32_t>(table.names_.size());
    symbol.name_size = is_name ? static_cast<uint32_t>(name.size()) : 0;
    if (is_name) table.names_.append(name);
    table.symbols_.push_back(symbol);
  }
  table.hidden_ = any && !any_address;
  std::stable_sort(table.symbols_.begin(), table.symbols_.end(),
                   [](const Symbol& a, const Symbol& b) { return a.address < b.address; });
  return table;
}

bool KernelSymbols::hidden() const { return hidden_; }

std::optional<Frame> KernelSymbols::Lookup(uint64_t address) const {
  auto next =
      std::upper_bound(symbols_.begin(), symbols_.end(), address,
                       [](uint64_t value, const Symbol& symbol) { return value < symbol.address; });
  if (next == symbols_.begin()) return std::nullopt;
  const uint64_t start = std::prev(next)->address;
  if (address - start >= kLongestKernelFunction) return std::nullopt;
  // Of several names for one place, the first in the file that is a name.
  std::optional<Symbol> best;
  while (next != symbols_.begin() && std::prev(next)->address == start) {
    --next;
    if (next->name_size != 0) best = *next;
  }
  if (!best) return std::nullopt;
  Frame frame;
  frame.function = names_.substr(best->name_offset, best->name_size);
  frame.kind = FrameKind::kKernel;
  return frame;
}

std::optional<uint64_t> KernelSymbols::AddressOf(std::string_view name) const {
  for (const Symbol& symbol : symbols_) {
    if (std::string_view(names_).substr(symbol.name_offset, symbol.name_size) == name &&
        !name.empty()) {
      return symbol.address;
    }
  }
  return std::nullopt;
}

PerfMap PerfMap::Parse(std::string_view text) {
  PerfMap map;
  size_t name_bytes = 0;
  while (!text.empty() && map.symbols_.size() < kMostSymbols && name_bytes < kMostNameBytes) {
    std::string_view line = TakeLine(&text);
    Symbol symbol;
    if (!ParseHex(TakeField(&line), &symbol.start) || !ParseHex(TakeField(&line), &symbol.size))
      continue;
    const size_t begin = line.find_first_not_of(" \t");
    if (begin == std::string_view::npos || symbol.size == 0 ||
        symbol.start + symbol.size < symbol.start)
      continue;
    line = line.substr(begin, kLongestName);
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.remove_suffix(1);
    symbol.name = std::string(line);
    name_bytes += line.size();
    map.symbols_.push_back(std::move(symbol));
  }
  // A JIT appends: where it used an address again, the later line is what is there now.
  std::stable_sort(map.symbols_.begin(), map.symbols_.end(),
                   [](const Symbol& a, const Symbol& b) { return a.start < b.start; });
  return map;
}

std::optional<Frame> PerfMap::Lookup(uint64_t address) const {
  auto next =
      std::upper_bound(symbols_.begin(), symbols_.end(), address,
                       [](uint64_t value, const Symbol& symbol) { return value < symbol.start; });
  if (next == symbols_.begin()) return std::nullopt;
  --next;
  if (address - next->start >= next->size) return std::nullopt;
  Frame frame;
  frame.function = next->name;
  return frame;
}

}  // namespace stallscope::symbolizer
