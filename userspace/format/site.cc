// SPDX-License-Identifier: Apache-2.0
#include "userspace/format/site.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace stallscope {
namespace {

// First path elements of the packages of Go's standard library, sorted.
constexpr auto kGoStandardLibrary = std::to_array<std::string_view>({
    "archive",  "bufio",   "bytes",   "cmp",      "compress", "container", "context", "crypto",
    "database", "debug",   "embed",   "encoding", "errors",   "expvar",    "flag",    "fmt",
    "go",       "hash",    "html",    "image",    "index",    "internal",  "io",      "iter",
    "log",      "maps",    "math",    "mime",     "net",      "os",        "path",    "plugin",
    "reflect",  "regexp",  "runtime", "slices",   "sort",     "strconv",   "strings", "structs",
    "sync",     "syscall", "testing", "text",     "time",     "unicode",   "unique",  "unsafe",
    "vendor",   "weak",
});

bool IsStandardLibrary(std::string_view function) {
  const std::string_view first = function.substr(0, function.find_first_of("/."));
  return std::binary_search(kGoStandardLibrary.begin(), kGoStandardLibrary.end(), first);
}

// How well a frame names the place; 0 is not at all.
int SiteRank(const ProfileFrame& frame) {
  switch (frame.kind) {
    case ProfileFrameKind::kGo:
      return IsStandardLibrary(frame.name) ? 3 : 4;
    case ProfileFrameKind::kNative:
      return frame.unnamed ? 1 : 3;
    case ProfileFrameKind::kRuntime:
      return 2;
    case ProfileFrameKind::kKernel:
    case ProfileFrameKind::kMarker:
      return 1;
  }
  return 0;
}

}  // namespace

std::optional<uint32_t> FindSite(const std::vector<ProfileFrame>& frames,
                                 const ProfileSample& sample) {
  std::optional<uint32_t> site;
  int best = 0;
  for (auto it = sample.frames.rbegin(); it != sample.frames.rend(); ++it) {
    if (*it >= frames.size()) continue;
    const int rank = SiteRank(frames[*it]);
    if (rank > best) {
      best = rank;
      site = *it;
    }
  }
  return site;
}

}  // namespace stallscope
