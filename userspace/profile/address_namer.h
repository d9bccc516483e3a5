// SPDX-License-Identifier: Apache-2.0
//
// Addresses -> frames as they are shown: each distinct address is looked up once, each distinct
// frame stored once.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <optional>
#include <string_view>
#include <tuple>
#include <vector>

#include "userspace/profile/interner.h"
#include "userspace/profile/mapped_files.h"
#include "userspace/profile/profile.h"
#include "userspace/profile/reason.h"
#include "userspace/profile/recording.h"

namespace stallscope {

// The frames of one address, innermost first, and what their names say.
struct NamedFrames {
  std::vector<uint32_t> frames;  // indices into AddressNamer::frames()
  Evidence evidence = 0;
  bool unnamed = false;
  // The innermost frame is a wrapper of Go's compiler: whether it is shown depends on what it
  // called. See symbolizer::GoShowsWrapper().
  bool wrapper = false;
  // As the recording has it: what the next address outwards called. nullptr when it has no name.
  const symbolizer::Frame* outermost = nullptr;
};

class AddressNamer {
 public:
  // `recording` must outlive this. `by_address`: as in ProfileOptions.
  explicit AddressNamer(const Recording& recording, bool by_address = false);

  // `space` may be out of range, as in a damaged capture: then there is no name. The answer lives
  // until the next call.
  const NamedFrames& Name(SpaceIndex space, const StackAddress& address);

  // The frame "[text]".
  uint32_t Marker(std::string_view text);

  const ProfileFrame& frame(uint32_t index) const { return frames_.values()[index].frame; }
  // As in Profile.
  std::vector<ProfileMapping> mappings() const {
    return files_ ? files_->mappings() : std::vector<ProfileMapping>();
  }
  size_t size() const { return frames_.values().size(); }

 private:
  using Key = std::tuple<SpaceIndex, uint64_t, bool, bool>;

  // A ProfileFrame that a hash map takes as its key.
  struct FrameKey {
    ProfileFrame frame;
    bool operator==(const FrameKey&) const = default;
    template <typename H>
    friend H AbslHashValue(H h, const FrameKey& key) {
      const ProfileFrame& f = key.frame;
      return H::combine(std::move(h), f.name, f.file, f.line, static_cast<int>(f.kind), f.inlined,
                        f.guessed, f.unnamed, f.system, f.address, f.mapping);
    }
  };

  uint32_t Store(ProfileFrame frame) { return frames_.Intern(FrameKey{std::move(frame)}); }
  const Mapping* FindMapping(SpaceIndex space, const StackAddress& address) const;
  // Says where the frame is, with by_address.
  void Place(const StackAddress& address, const Mapping* mapping, ProfileFrame& frame) const;
  NamedFrames Resolve(SpaceIndex space, const StackAddress& address);

  const Recording& recording_;
  std::optional<MappedFiles> files_;                   // with by_address
  std::vector<std::vector<const Mapping*>> mappings_;  // of each space, sorted by start
  absl::flat_hash_map<Key, NamedFrames> known_;
  Interner<FrameKey> frames_;
};

}  // namespace stallscope
