// SPDX-License-Identifier: Apache-2.0
#include "userspace/profile/address_namer.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace stallscope {
namespace {

std::string_view Basename(std::string_view path) {
  constexpr std::string_view kDeleted = " (deleted)";
  if (path.size() > kDeleted.size() && path.substr(path.size() - kDeleted.size()) == kDeleted) {
    path.remove_suffix(kDeleted.size());
  }
  const size_t slash = path.rfind('/');
  if (slash != std::string_view::npos) path.remove_prefix(slash + 1);
  if (path.size() > 2 && path.front() == '[' && path.back() == ']') {
    path = path.substr(1, path.size() - 2);  // [vdso]
  }
  return path;
}

// glibc 2.34 put its threads into libc.so.6; before, and in other C libraries, they stand apart.
bool IsSystemLibrary(std::string_view path) {
  const std::string_view name = Basename(path);
  for (std::string_view prefix : {"libc.so", "libc-2.", "libc.musl-", "libpthread", "librt.so",
                                  "librt-2.", "ld-linux", "ld-musl-", "ld-2.", "ld.so"}) {
    if (name.starts_with(prefix)) return true;
  }
  return path == "[vdso]" || path == "[vsyscall]";
}

std::vector<const Mapping*> SortedByStart(const std::vector<Mapping>& mappings) {
  std::vector<const Mapping*> sorted;
  for (const Mapping& mapping : mappings) {
    if (mapping.start < mapping.end) sorted.push_back(&mapping);
  }
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const Mapping* a, const Mapping* b) { return a->start < b->start; });
  return sorted;
}

ProfileFrameKind UserKind(symbolizer::FrameKind kind) {
  switch (kind) {
    case symbolizer::FrameKind::kGo:
      return ProfileFrameKind::kGo;
    case symbolizer::FrameKind::kRuntime:
      return ProfileFrameKind::kRuntime;
    case symbolizer::FrameKind::kNative:
    case symbolizer::FrameKind::kKernel:
      break;
  }
  return ProfileFrameKind::kNative;
}

// In the instruction that runs, or in the call that has not returned.
uint64_t InsideInstruction(const StackAddress& address) {
  return address.is_return ? address.value - 1 : address.value;
}

ProfileFrame Unnamed(const StackAddress& address, const Mapping* mapping, bool kernel) {
  ProfileFrame frame;
  frame.kind = kernel ? ProfileFrameKind::kKernel : ProfileFrameKind::kNative;
  frame.guessed = address.guessed;
  frame.unnamed = true;
  if (kernel) {
    frame.name = fmt::format("[kernel+{:#x}]", address.value);
  } else if (mapping == nullptr || Basename(mapping->path).empty()) {
    frame.name = "[unknown]";
  } else {
    frame.name = fmt::format("[{}+{:#x}]", Basename(mapping->path),
                             address.value - mapping->start + mapping->file_offset);
    frame.system = IsSystemLibrary(mapping->path);
  }
  return frame;
}

}  // namespace

AddressNamer::AddressNamer(const Recording& recording, bool by_address) : recording_(recording) {
  if (by_address) files_.emplace(recording);
  for (const AddressSpace& space : recording.spaces) {
    mappings_.push_back(SortedByStart(space.mappings));
  }
}

const NamedFrames& AddressNamer::Name(SpaceIndex space, const StackAddress& address) {
  const Key key{space, address.value, address.is_return, address.guessed};
  auto [it, added] = known_.try_emplace(key);
  if (added) it->second = Resolve(space, address);
  return it->second;
}

uint32_t AddressNamer::Marker(std::string_view text) {
  ProfileFrame frame;
  frame.name = fmt::format("[{}]", text);
  frame.kind = ProfileFrameKind::kMarker;
  return Store(std::move(frame));
}

const Mapping* AddressNamer::FindMapping(SpaceIndex space, const StackAddress& address) const {
  if (space >= mappings_.size()) return nullptr;
  // A call may be the last instruction of its mapping.
  const uint64_t inside = InsideInstruction(address);
  const std::vector<const Mapping*>& sorted = mappings_[space];
  auto after = std::upper_bound(
      sorted.begin(), sorted.end(), inside,
      [](uint64_t wanted, const Mapping* mapping) { return wanted < mapping->start; });
  if (after == sorted.begin()) return nullptr;
  const Mapping* mapping = *std::prev(after);
  return inside < mapping->end ? mapping : nullptr;
}

void AddressNamer::Place(const StackAddress& address, const Mapping* mapping,
                         ProfileFrame& frame) const {
  if (!files_ || frame.kind == ProfileFrameKind::kKernel) return;
  frame.address = InsideInstruction(address);
  if (mapping == nullptr) return;
  const MappedFiles::Place place = files_->PlaceOf(*mapping, frame.address);
  frame.address = place.address;
  frame.mapping = place.mapping;
}

NamedFrames AddressNamer::Resolve(SpaceIndex space, const StackAddress& address) {
  NamedFrames result;
  const bool kernel = space == kKernelSpace;
  const Mapping* mapping = FindMapping(space, address);
  auto found = recording_.names.find(NamedAddress{space, address.value, address.is_return});
  if (found == recording_.names.end() || found->second.empty()) {
    result.unnamed = true;
    ProfileFrame frame = Unnamed(address, mapping, kernel);
    Place(address, mapping, frame);
    result.frames.push_back(Store(std::move(frame)));
    return result;
  }
  result.wrapper = found->second.front().wrapper;
  result.outermost = &found->second.back();
  for (const symbolizer::Frame& source : found->second) {
    ProfileFrame frame;
    frame.name = source.function;
    frame.file = source.file;
    frame.line = source.line;
    frame.kind = kernel ? ProfileFrameKind::kKernel : UserKind(source.kind);
    frame.inlined = source.inlined;
    frame.guessed = address.guessed;
    frame.system = mapping != nullptr && IsSystemLibrary(mapping->path);
    Place(address, mapping, frame);
    result.evidence |= kernel ? KernelEvidence(frame.name) : UserEvidence(frame.name);
    result.frames.push_back(Store(std::move(frame)));
  }
  return result;
}

}  // namespace stallscope
