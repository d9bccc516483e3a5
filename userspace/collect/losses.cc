// SPDX-License-Identifier: Apache-2.0
#include "userspace/collect/losses.h"

#include <utility>

namespace stallscope {

void Losses::Add(std::string name, uint64_t count, std::string remedy, bool dropped,
                 std::optional<uint64_t> time_ns) {
  if (count == 0) return;
  Loss loss;
  loss.event = event_;
  loss.name = std::move(name);
  loss.count = count;
  loss.time_ns = time_ns;
  loss.remedy = std::move(remedy);
  loss.dropped = dropped;
  recording_->losses.push_back(std::move(loss));
}

void Losses::Hide(std::string why, uint64_t count, uint64_t time_ns) {
  if (count == 0) return;
  Hidden hidden;
  hidden.event = event_;
  hidden.why = std::move(why);
  hidden.count = count;
  hidden.time_ns = time_ns;
  recording_->filtered.push_back(std::move(hidden));
}

}  // namespace stallscope
