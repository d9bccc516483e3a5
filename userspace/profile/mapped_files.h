// SPDX-License-Identifier: Apache-2.0
//
// The mappings of all processes as one list: what several of them have mapped of the same file
// stands in it once, and addresses are given as in that one.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <vector>

#include "userspace/profile/profile.h"
#include "userspace/profile/recording.h"

namespace stallscope {

class MappedFiles {
 public:
  // `recording` must outlive this, with its mappings where they are.
  explicit MappedFiles(const Recording& recording);

  // As in Profile::mappings: the main binary first.
  const std::vector<ProfileMapping>& mappings() const { return mappings_; }

  struct Place {
    uint32_t mapping = kNoMapping;
    uint64_t address = 0;
  };
  // Of an address inside `mapping`, which is one of the recording's.
  Place PlaceOf(const Mapping& mapping, uint64_t address) const;

 private:
  std::vector<ProfileMapping> mappings_;
  absl::flat_hash_map<const Mapping*, uint32_t> index_;
};

}  // namespace stallscope
