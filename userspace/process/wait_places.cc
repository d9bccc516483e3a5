// SPDX-License-Identifier: Apache-2.0
#include "userspace/process/wait_places.h"

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>

#include <cstring>
#include <string>
#include <string_view>

namespace stallscope {
namespace {

constexpr uint64_t kMaxLibraryBytes = 16u << 20;
constexpr int kCallsOut = 2;
constexpr size_t kMaxPlaces = 4096;  // a library
constexpr size_t kCallBytes = 5;     // e8 and a 32-bit distance

bool IsCLibraryOrLoader(std::string_view path) {
  const std::string_view name = path.substr(path.find_last_of('/') + 1);
  return name.starts_with("libc.") || name.starts_with("libc-") || name.starts_with("libpthread") ||
         name.starts_with("ld-");
}

using Functions = absl::flat_hash_set<uint64_t>;  // by start

// The places that a call in `code` to one of the functions returns to, by what is called.
absl::flat_hash_map<uint64_t, std::vector<uint64_t>> CallsInside(std::string_view code,
                                                                 uint64_t start) {
  absl::flat_hash_map<uint64_t, std::vector<uint64_t>> calls;
  for (size_t at = code.find('\xe8');
       at != std::string_view::npos && at + kCallBytes <= code.size();
       at = code.find('\xe8', at + 1)) {
    int32_t distance;
    memcpy(&distance, code.data() + at + 1, sizeof(distance));
    const uint64_t back = start + at + kCallBytes;
    const uint64_t target = back + distance;
    if (target >= start && target < start + code.size()) calls[target].push_back(back);
  }
  return calls;
}

void AddPlaces(std::string_view code, uint64_t start, const LiveSpace& space,
               std::vector<WaitPlace>* places) {
  constexpr std::string_view kSystemCall = "\x0f\x05";
  const size_t limit = places->size() + kMaxPlaces;
  Functions seen, functions;
  const auto add = [&](WaitPlace place, Functions* around) {
    if (places->size() >= limit) return;
    places->push_back(place);
    const auto function = space.FunctionStart(place.address - 1);
    if (function && seen.insert(*function).second) around->insert(*function);
  };
  for (size_t at = code.find(kSystemCall); at != std::string_view::npos;
       at = code.find(kSystemCall, at + 1)) {
    add({start + at + kSystemCall.size(), false}, &functions);
  }
  const auto calls = CallsInside(code, start);
  for (int out = 0; out < kCallsOut; ++out) {
    Functions callers;
    for (uint64_t function : functions) {
      const auto found = calls.find(function);
      if (found == calls.end()) continue;
      for (uint64_t back : found->second) add({back, true}, &callers);
    }
    functions = std::move(callers);
  }
}

}  // namespace

std::vector<WaitPlace> CLibraryWaitPlaces(const LiveSpace& space) {
  std::vector<WaitPlace> places;
  for (const Mapping& mapping : space.Mappings()) {
    const uint64_t size = mapping.end - mapping.start;
    if (!IsCLibraryOrLoader(mapping.path) || size > kMaxLibraryBytes) continue;
    std::string code(size, '\0');
    if (!space.memory().Read(mapping.start, code.data(), size)) continue;
    AddPlaces(code, mapping.start, space, &places);
  }
  return places;
}

}  // namespace stallscope
