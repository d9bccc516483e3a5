// SPDX-License-Identifier: Apache-2.0
//
// What a probe that walks user stacks is told while it runs: whom it is about (bpf/target.h), how
// their Go programs are laid out (bpf/go_layouts.h), and how to step through code that keeps no
// frame pointer (bpf/walk.h).
#pragma once

#include <absl/status/status.h>
#include <bpf/libbpf.h>

#include <cstdint>
#include <optional>

#include "bpf/wire.h"
#include "userspace/collect/bpf_object.h"
#include "userspace/collect/target_options.h"
#include "userspace/process/go_layout.h"

namespace stallscope {

class ProbeTargets {
 public:
  // What the programs of a skeleton have to know before they are loaded.
  template <typename Skeleton>
  static void Prepare(const TargetOptions& options, Skeleton* skeleton) {
    auto* knobs = skeleton->rodata;
    knobs->target_mode = options.mode;
    knobs->target_tgid =
        options.mode == TARGET_ONE && !options.tgids.empty() ? options.tgids[0] : 0;
    knobs->own_tgid = options.own_tgid;
    knobs->hash_seed = HashSeed();
    if (options.mode == TARGET_ONE)
      bpf_map__set_max_entries(skeleton->maps.targets, 1);  // not asked
  }

  // Of a skeleton that is loaded, and outlives this.
  template <typename Skeleton>
  static ProbeTargets Of(const Skeleton& skeleton) {
    ProbeTargets targets;
    targets.mode_ = static_cast<target_mode>(skeleton.rodata->target_mode);
    targets.targets_ = bpf_map__fd(skeleton.maps.targets);
    targets.go_layouts_ = bpf_map__fd(skeleton.maps.go_layouts);
    targets.frame_steps_ = bpf_map__fd(skeleton.maps.frame_steps);
    targets.one_go_ = &skeleton.bss->one_go;
    targets.frame_steps_used_ = &skeleton.bss->frame_steps_used;
    return targets;
  }

  // TARGET_SET: kernel's numbers.
  absl::Status AddAll(const TargetOptions& options);
  absl::Status Add(uint32_t tgid);
  void Remove(uint32_t tgid);

  void SetGoLayout(uint32_t tgid, const std::optional<GoLayout>& layout);
  // How the walker steps from `address` to its caller, in every process. Forgotten when there is no
  // room: stacks are then shallower, not wrong.
  void SetFrameStep(uint64_t address, const frame_step& step);

  // The map of targets.
  int fd() const { return targets_; }

 private:
  target_mode mode_ = TARGET_ONE;
  int targets_ = -1, go_layouts_ = -1, frame_steps_ = -1;
  go_layout* one_go_ = nullptr;  // these are the programs' memory
  uint32_t* frame_steps_used_ = nullptr;
};

}  // namespace stallscope
