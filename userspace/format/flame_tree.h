// SPDX-License-Identifier: Apache-2.0
//
// The stacks of a Profile as trees, as a flame graph draws them: equal callers merged, siblings by
// name.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "userspace/profile/profile.h"

namespace stallscope {

// What a box stands for; the page has a colour for each. The numbers are written into the page.
enum class FlameKind : uint8_t {
  kProcess = 0,  // comm, and the root
  kGo = 1,
  kRuntime = 2,
  kNative = 3,
  kKernel = 4,
  kReason = 5,
  kMarker = 6,
};

// What is written in a box. File and line only where all samples merged in that box agree.
struct FlameFrame {
  std::string name;  // printable (text.h)
  FlameKind kind = FlameKind::kProcess;
  std::string file;  // printable; empty when unknown
  uint32_t line = 0;
  auto operator<=>(const FlameFrame&) const = default;
};

// One event's tree in preorder; node 0 is the root, "all".
struct FlameTree {
  struct Node {
    uint32_t frame = 0;  // index into FlameGraph::frames
    uint32_t depth = 0;  // 0 is the root
  };
  // The samples that end in a node, added up.
  struct Leaf {
    uint32_t node = 0;
    std::vector<std::optional<int64_t>> values;  // parallel to the event's columns
  };
  std::vector<Node> nodes;
  std::vector<Leaf> leaves;  // by node, ascending
};

struct FlameGraph {
  std::vector<FlameFrame> frames;  // distinct
  std::vector<FlameTree> trees;    // parallel to Profile::events
};

// Frames are merged by name and kind below the same caller. The reason is the innermost box, or
// comes after comm when profile.reason_root is set. Takes n log n comparisons of n samples and no
// recursion, however deep the stacks.
FlameGraph MakeFlameGraph(const Profile& profile);

}  // namespace stallscope
