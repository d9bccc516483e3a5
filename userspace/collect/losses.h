// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "userspace/profile/recording.h"

namespace stallscope {

// Says in a recording what one of its events has lost or left out. What has a count of 0 is not
// mentioned.
class Losses {
 public:
  Losses(std::string event, Recording* recording)
      : event_(std::move(event)), recording_(recording) {}

  // As struct Loss has them.
  void Add(std::string name, uint64_t count, std::string remedy, bool dropped,
           std::optional<uint64_t> time_ns = std::nullopt);
  // Left out by an option, `why`.
  void Hide(std::string why, uint64_t count, uint64_t time_ns);

 private:
  std::string event_;
  Recording* recording_;
};

}  // namespace stallscope
