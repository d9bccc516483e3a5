// SPDX-License-Identifier: Apache-2.0
#include "userspace/profile/site.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace stallscope {
namespace {

// First path elements of the packages of Go's standard library, sorted. A module's own path has a
// dot in it, or is one that its author chose not to collide with these.
constexpr auto kGoStandard = std::to_array<std::string_view>({
    "archive",  "bufio",   "bytes",   "cmp",      "compress", "container", "context", "crypto",
    "database", "debug",   "embed",   "encoding", "errors",   "expvar",    "flag",    "fmt",
    "go",       "hash",    "html",    "image",    "index",    "internal",  "io",      "iter",
    "log",      "maps",    "math",    "mime",     "net",      "os",        "path",    "plugin",
    "reflect",  "regexp",  "runtime", "slices",   "sort",     "strconv",   "strings", "structs",
    "sync",     "syscall", "testing", "text",     "time",     "unicode",   "unique",  "unsafe",
    "vendor",   "weak",
});

// Packages of it that any wait goes through and that say nothing about which.
constexpr auto kGoPlumbing = std::to_array<std::string_view>(
    {"bufio", "internal", "io", "os", "reflect", "runtime", "sync", "syscall", "time"});

template <size_t N>
bool Contains(const std::array<std::string_view, N>& sorted, std::string_view word) {
  return std::binary_search(sorted.begin(), sorted.end(), word);
}

enum SiteRank { kUnnamed, kUnderneath, kPlumbing, kStandardLibrary, kOwn };

SiteRank RankOfGo(std::string_view function) {
  const std::string_view package = function.substr(0, function.find_first_of("/."));
  if (Contains(kGoPlumbing, package) || function.substr(0, 4) == "net.") return kPlumbing;
  if (function.substr(0, 13) == "golang.org/x/") return kStandardLibrary;
  return Contains(kGoStandard, package) ? kStandardLibrary : kOwn;
}

SiteRank RankOf(const ProfileFrame& frame) {
  if (frame.unnamed) return kUnnamed;
  switch (frame.kind) {
    case ProfileFrameKind::kGo:
      return RankOfGo(frame.name);
    case ProfileFrameKind::kNative:
      return frame.system ? kUnderneath : kOwn;
    case ProfileFrameKind::kRuntime:
      return kUnderneath;
    case ProfileFrameKind::kKernel:
    case ProfileFrameKind::kMarker:
      break;
  }
  return kUnnamed;
}

}  // namespace

std::optional<uint32_t> SiteOfWait(const std::vector<ProfileFrame>& frames,
                                   const std::vector<uint32_t>& stack, size_t from) {
  std::optional<uint32_t> site;
  SiteRank best = kUnnamed;
  for (size_t i = stack.size(); i > from; --i) {
    const uint32_t frame = stack[i - 1];
    if (frame >= frames.size()) continue;
    const SiteRank rank = RankOf(frames[frame]);
    if (rank <= best) continue;
    best = rank;
    site = frame;
  }
  return site;
}

}  // namespace stallscope
