// SPDX-License-Identifier: Apache-2.0
//
// Which layout of its process a sample belongs to. Layouts are read now and then, and samples come
// in between, so a sample waits until its layout has been read again: if nothing was replaced since
// the reading before it, it belongs there; otherwise nobody can tell, and it belongs to what both
// layouts have in common.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "bpf/wire.h"
#include "userspace/collect/space_table.h"

namespace stallscope {

uint64_t SteadyClock();  // ns

class LayoutWindows {
 public:
  // Reads a layout again; as SpaceTable::Reread.
  using Reader = std::function<LayoutReading(SpaceIndex, std::optional<SpaceIndex> unsure)>;
  // Takes a sample whose space is known.
  using Sink = std::function<void(SpaceIndex, const sample_key&, const sample_value&)>;
  using Clock = std::function<uint64_t()>;  // ns

  explicit LayoutWindows(Reader reader, Clock clock = SteadyClock)
      : reader_(std::move(reader)), clock_(std::move(clock)) {}

  // To be called once a drain, before its samples are added: reads the layouts whose turn it is,
  // for a bounded time, and gives what they settle to `sink`.
  void Read(const Sink& sink);
  // Reads what has samples waiting, after the last drain, and gives all of them to `sink`.
  void Finish(const Sink& sink);

  // Keeps a sample of the drain around the last Read. `space`: as the table has it now.
  void Add(SpaceIndex space, const sample_key& key, const sample_value& value);
  // No sample waits.
  bool empty() const;

 private:
  using Sums = absl::flat_hash_map<std::string, std::pair<sample_key, sample_value>>;
  struct Window {
    Sums waiting;
    // What was drained around a reading that found a replacement, or right after it: it may come
    // from before the replacement, and so belongs to `unsure` at best.
    Sums straddling;
    std::optional<SpaceIndex> unsure;
    uint64_t due_ns = 0, last_sample_ns = 0;
    uint64_t replaced_at = 0;  // number of the drain
  };

  // Reads one layout; false when the window is over for good.
  bool ReadOne(SpaceIndex space, Window* window, const Sink& sink, SpaceIndex* next);
  void ReadUntil(uint64_t end_ns, const std::vector<SpaceIndex>& spaces, const Sink& sink);

  Reader reader_;
  Clock clock_;
  uint64_t drain_ = 0;
  absl::flat_hash_map<SpaceIndex, Window> windows_;
};

}  // namespace stallscope
