// SPDX-License-Identifier: Apache-2.0
#include "userspace/format/flame_tree.h"

#include <gtest/gtest.h>

#include "tests/format/demo_profile.h"

namespace stallscope {
namespace {

// One line a node: two spaces a level, the name, its place, and its own values where samples end in
// it.
std::string Draw(const FlameGraph& graph, size_t tree_index) {
  const FlameTree& tree = graph.trees[tree_index];
  std::string out;
  size_t leaf = 0;
  for (uint32_t i = 0; i < tree.nodes.size(); ++i) {
    const FlameFrame& frame = graph.frames[tree.nodes[i].frame];
    out += std::string(2 * tree.nodes[i].depth, ' ') + frame.name;
    if (!frame.file.empty()) out += " " + frame.file + ":" + std::to_string(frame.line);
    if (leaf < tree.leaves.size() && tree.leaves[leaf].node == i) {
      for (const std::optional<int64_t>& value : tree.leaves[leaf].values) {
        out += " " + (value ? std::to_string(*value) : std::string("null"));
      }
      ++leaf;
    }
    out += '\n';
  }
  EXPECT_EQ(leaf, tree.leaves.size()) << "leaves are in order of their nodes";
  return out;
}

ProfileBuilder TimeEvent() {
  ProfileBuilder b;
  b.Event("offcpu", {{"time", "ns"}, {"count", "count"}});
  return b;
}

TEST(MakeFlameGraph, MergesCallersAndSortsSiblings) {
  ProfileBuilder b = TimeEvent();
  b.Sample("app", {"go:main", "go:z"}, "futex", {1, 1});
  b.Sample("app", {"go:main", "go:a"}, "pipe", {2, 1});
  b.Sample("app", {"go:main", "go:z"}, "futex", {4, std::nullopt});
  b.Sample("app", {"go:main"}, "disk", {8, std::nullopt});
  b.Sample("other", {}, "disk", {16, 1});
  EXPECT_EQ(Draw(MakeFlameGraph(b.profile), 0),
            "all\n"
            "  app\n"
            "    main\n"
            "      [disk] 8 null\n"
            "      a\n"
            "        [pipe] 2 1\n"
            "      z\n"
            "        [futex] 5 1\n"
            "  other\n"
            "    [disk] 16 1\n");
}

TEST(MakeFlameGraph, ReasonRoot) {
  ProfileBuilder b = TimeEvent();
  b.Sample("app", {"go:main", "go:z"}, "futex", {1, 1});
  b.Sample("app", {"go:main"}, "futex", {2, 1});
  b.profile.reason_root = true;
  EXPECT_EQ(Draw(MakeFlameGraph(b.profile), 0),
            "all\n"
            "  app\n"
            "    [futex]\n"
            "      main 2 1\n"
            "        z 1 1\n");
}

TEST(MakeFlameGraph, EqualNamesOfTwoKindsAreTwoBoxes) {
  ProfileBuilder b = TimeEvent();
  b.Sample("app", {"native:read"}, "", {1, 1});
  b.Sample("app", {"kernel:read"}, "", {2, 1});
  EXPECT_EQ(Draw(MakeFlameGraph(b.profile), 0), "all\n  app\n    read 1 1\n    read 2 1\n");
}

TEST(MakeFlameGraph, PlaceOnlyWhereAllAgree) {
  ProfileBuilder b = TimeEvent();
  b.Sample("app", {"go:f@/a.go:1", "go:g@/g.go:5"}, "", {1, 1});
  b.Sample("app", {"go:f@/a.go:2", "go:g@/g.go:5"}, "", {1, 1});
  b.Sample("app", {"go:h@/a.go:2"}, "", {1, 1});
  b.Sample("app", {"go:h@/b.go:2"}, "", {1, 1});
  EXPECT_EQ(Draw(MakeFlameGraph(b.profile), 0),
            "all\n  app\n    f /a.go:0\n      g /g.go:5 2 2\n    h 2 2\n");
}

TEST(MakeFlameGraph, EventsShareFrames) {
  ProfileBuilder b = TimeEvent();
  b.Sample("app", {"go:f"}, "futex", {1, 1});
  b.Event("goroutine", {{"time", "ns"}});
  b.Sample("app", {"go:f"}, "select", {7});
  const FlameGraph graph = MakeFlameGraph(b.profile);
  EXPECT_EQ(graph.frames.size(), 5u) << "all, app, f and two reasons";
  EXPECT_EQ(Draw(graph, 1), "all\n  app\n    f\n      [select] 7\n");
}

TEST(MakeFlameGraph, NothingRecorded) {
  ProfileBuilder b = TimeEvent();
  EXPECT_EQ(Draw(MakeFlameGraph(b.profile), 0), "all\n");
}

TEST(MakeFlameGraph, DamagedSample) {
  ProfileBuilder b = TimeEvent();
  b.Sample("", {"go:x"}, "", {1});
  b.profile.events[0].samples[0].frames[0] = 99;
  EXPECT_EQ(Draw(MakeFlameGraph(b.profile), 0), "all\n  [unknown]\n    [unknown] 1 null\n");
}

TEST(MakeFlameGraph, DeepStacks) {
  const FlameGraph graph = MakeFlameGraph(ManyStacksProfile(3, 100'000));
  EXPECT_EQ(graph.trees[0].nodes.back().depth, 100'002u);
}

}  // namespace
}  // namespace stallscope
