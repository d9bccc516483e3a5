// SPDX-License-Identifier: Apache-2.0
#include "userspace/go/labels.h"

#include <string.h>

#include <algorithm>
#include <utility>

#include "userspace/go/values.h"

namespace stallscope {
namespace {

constexpr uint64_t kMostLabels = 256;
constexpr uint64_t kLongestString = 4096;
constexpr uint64_t kMostBytes = 64 << 10;

struct Label {
  GoString key, value;
};
static_assert(sizeof(Label) == 32);

// Go's map header (runtime.hmap) of go1.18 to go1.23.
struct MapHeader {
  uint64_t count = 0;
  uint8_t flags = 0, log2_buckets = 0;
  uint16_t overflow_count = 0;
  uint32_t seed = 0;
  uint64_t buckets = 0, old_buckets = 0, evacuated = 0, extra = 0;
};
static_assert(sizeof(MapHeader) == 48);
constexpr uint8_t kGrowsToSameSize = 8;  // flag
constexpr uint8_t kMostLog2Buckets = 8;

// A bucket of a map[string]string.
struct Bucket {
  static constexpr size_t kEntries = 8;
  uint8_t top_hash[kEntries];
  GoString keys[kEntries], values[kEntries];
  uint64_t overflow;
};
static_assert(sizeof(Bucket) == 272);
constexpr uint8_t kEmptyOne = 1;   // top_hash: up to here nothing
constexpr uint8_t kFirstHash = 5;  // from here an entry; in between the bucket has moved

std::optional<std::vector<Label>> LabelsOfSlice(const Memory& memory, uint64_t address) {
  const auto slice = memory.ReadValue<GoSlice>(address);
  if (!slice || slice->length > kMostLabels || slice->length > slice->capacity) return std::nullopt;
  std::vector<Label> labels(slice->length);
  if (!labels.empty() &&
      !memory.Read(slice->data, labels.data(), labels.size() * sizeof(labels[0]))) {
    return std::nullopt;
  }
  return labels;
}

// Adds the entries of one row of buckets; false when it is not one.
bool AddBuckets(const Memory& memory, uint64_t address, uint64_t count, bool are_old,
                uint64_t* chains_left, std::vector<Label>* labels) {
  for (uint64_t i = 0; i < count; ++i) {
    bool first = true;
    for (uint64_t at = address + i * sizeof(Bucket); at != 0; first = false) {
      const auto bucket = memory.ReadValue<Bucket>(at);
      if (!bucket || (*chains_left)-- == 0) return false;
      const uint8_t mark = bucket->top_hash[0];
      if (first && are_old && mark > kEmptyOne && mark < kFirstHash) break;
      for (size_t entry = 0; entry < Bucket::kEntries; ++entry) {
        if (bucket->top_hash[entry] < kFirstHash) continue;
        if (labels->size() == kMostLabels) return false;
        labels->push_back({bucket->keys[entry], bucket->values[entry]});
      }
      at = bucket->overflow;
    }
  }
  return true;
}

std::optional<std::vector<Label>> LabelsOfMap(const Memory& memory, uint64_t address) {
  const auto map = memory.ReadValue<uint64_t>(address);
  if (!map) return std::nullopt;
  std::vector<Label> labels;
  if (*map == 0) return labels;
  const auto header = memory.ReadValue<MapHeader>(*map);
  if (!header || header->count > kMostLabels || header->log2_buckets > kMostLog2Buckets) {
    return std::nullopt;
  }
  if (header->count == 0) return labels;
  const uint64_t buckets = uint64_t{1} << header->log2_buckets;
  uint64_t chains_left = 4 * buckets + kMostLabels;
  if (!AddBuckets(memory, header->buckets, buckets, false, &chains_left, &labels)) {
    return std::nullopt;
  }
  // While it grows, a part of the entries is where it was.
  if (header->old_buckets != 0) {
    const bool same_size = (header->flags & kGrowsToSameSize) != 0;
    const uint64_t old = same_size ? buckets : std::max<uint64_t>(buckets / 2, 1);
    if (!AddBuckets(memory, header->old_buckets, old, true, &chains_left, &labels)) {
      return std::nullopt;
    }
  }
  if (labels.size() != header->count) return std::nullopt;
  return labels;
}

}  // namespace

std::optional<GoLabels> ReadGoLabels(const Memory& memory, uint64_t address, bool are_slice) {
  const auto labels = are_slice ? LabelsOfSlice(memory, address) : LabelsOfMap(memory, address);
  if (!labels) return std::nullopt;
  uint64_t bytes = 0;
  for (const Label& label : *labels) {
    if (label.key.size > kLongestString || label.value.size > kLongestString) return std::nullopt;
    bytes += label.key.size + label.value.size;
  }
  if (bytes > kMostBytes) return std::nullopt;

  std::vector<std::pair<std::string, std::string>> texts(labels->size());
  std::vector<MemoryRange> ranges;
  const auto add = [&](const GoString& from, std::string* to) {
    to->resize(from.size);
    if (from.size > 0) ranges.push_back({from.data, to->data(), from.size});
  };
  for (size_t i = 0; i < labels->size(); ++i) {
    add((*labels)[i].key, &texts[i].first);
    add((*labels)[i].value, &texts[i].second);
  }
  if (memory.ReadRanges(ranges).error != 0) return std::nullopt;
  GoLabels read;
  for (auto& [key, value] : texts) read.insert_or_assign(std::move(key), std::move(value));
  return read;
}

GoLabelsIndex GoLabelsTable::Intern(const GoLabels& labels) {
  if (const auto at = index_.find(labels); at != index_.end()) return at->second;
  size_t bytes = 0;
  for (const auto& [key, value] : labels) bytes += key.size() + value.size() + 128;
  if (by_index_.size() >= kMostSets || bytes_ + bytes > kMostBytes) return kNoGoLabels;
  bytes_ += bytes;
  const auto index = static_cast<GoLabelsIndex>(by_index_.size());
  by_index_.push_back(index_.emplace(labels, index).first);
  return index;
}

}  // namespace stallscope
