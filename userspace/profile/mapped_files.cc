// SPDX-License-Identifier: Apache-2.0
#include "userspace/profile/mapped_files.h"

#include <algorithm>
#include <map>
#include <string>
#include <tuple>

namespace stallscope {
namespace {

// What makes mappings of two processes the same part of the same file.
using FilePart = std::tuple<std::string, std::string, uint64_t, uint64_t>;

FilePart PartOf(const Mapping& mapping) {
  return {mapping.path, mapping.build_id, mapping.file_offset, mapping.end - mapping.start};
}

// The space with the most of the first columns' values, the first of equals; spaces.size() without
// any.
size_t HeaviestSpace(const Recording& recording) {
  std::vector<double> values(recording.spaces.size());
  for (const RecordedEvent& event : recording.events) {
    for (const Sample& sample : event.samples) {
      if (sample.space >= values.size() || sample.values.empty()) continue;
      values[sample.space] +=
          static_cast<double>(std::max<int64_t>(0, sample.values[0].value_or(0)));
    }
  }
  return std::max_element(values.begin(), values.end()) - values.begin();
}

const Mapping* MainBinary(const Recording& recording) {
  const size_t heaviest = HeaviestSpace(recording);
  if (heaviest >= recording.spaces.size()) return nullptr;
  const AddressSpace& space = recording.spaces[heaviest];
  if (space.exe.empty()) return nullptr;
  for (const Mapping& mapping : space.mappings) {
    if (mapping.start < mapping.end && mapping.path == space.exe) return &mapping;
  }
  return nullptr;
}

}  // namespace

MappedFiles::MappedFiles(const Recording& recording) {
  std::map<FilePart, uint64_t> starts;
  for (const AddressSpace& space : recording.spaces) {
    for (const Mapping& mapping : space.mappings) {
      if (mapping.start >= mapping.end) continue;
      const auto [it, added] = starts.try_emplace(PartOf(mapping), mapping.start);
      if (!added) it->second = std::min(it->second, mapping.start);
    }
  }
  std::map<FilePart, uint32_t> numbers;
  const auto add = [&](const FilePart& part, uint64_t start) {
    if (!numbers.try_emplace(part, static_cast<uint32_t>(mappings_.size())).second) return;
    const auto& [path, build_id, file_offset, size] = part;
    mappings_.push_back({start, start + size, file_offset, path, build_id});
  };
  if (const Mapping* main = MainBinary(recording)) add(PartOf(*main), starts[PartOf(*main)]);
  for (const auto& [part, start] : starts) add(part, start);
  for (const AddressSpace& space : recording.spaces) {
    for (const Mapping& mapping : space.mappings) {
      if (mapping.start < mapping.end) index_[&mapping] = numbers[PartOf(mapping)];
    }
  }
}

MappedFiles::Place MappedFiles::PlaceOf(const Mapping& mapping, uint64_t address) const {
  const auto found = index_.find(&mapping);
  if (found == index_.end()) return {};
  return {found->second, mappings_[found->second].start + (address - mapping.start)};
}

}  // namespace stallscope
