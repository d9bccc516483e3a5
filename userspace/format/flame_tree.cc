// SPDX-License-Identifier: Apache-2.0
//
// Names are replaced by their rank in sorted order first, so that the samples' paths are rows of
// small numbers. Sorted, they are the tree in preorder: what a row shares with the row before it is
// already there.
#include "userspace/format/flame_tree.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>

#include "userspace/format/text.h"
#include "userspace/format/value.h"

namespace stallscope {
namespace {

using Label =
    std::pair<std::string, FlameKind>;  // boxes with equal labels below one caller are one box
constexpr uint32_t kNoFrame = 0xffffffff;

FlameKind KindOf(ProfileFrameKind kind) {
  switch (kind) {
    case ProfileFrameKind::kNative:
      return FlameKind::kNative;
    case ProfileFrameKind::kGo:
      return FlameKind::kGo;
    case ProfileFrameKind::kRuntime:
      return FlameKind::kRuntime;
    case ProfileFrameKind::kKernel:
      return FlameKind::kKernel;
    case ProfileFrameKind::kMarker:
      return FlameKind::kMarker;
  }
  return FlameKind::kNative;
}

Label LabelOf(std::string_view name, FlameKind kind) {
  return {PrintableName(name.empty() ? "[unknown]" : name), kind};
}

Label ReasonLabel(const std::string& reason) {
  return {"[" + PrintableName(reason) + "]", FlameKind::kReason};
}

// Every label of a profile, and its rank.
class Labels {
 public:
  explicit Labels(const Profile& profile) {
    for (const ProfileFrame& frame : profile.frames) {
      frames_.push_back(Insert(LabelOf(frame.name, KindOf(frame.kind))));
    }
    unknown_ = Insert(LabelOf("", FlameKind::kMarker));
    for (const EventProfile& event : profile.events) {
      for (const ProfileSample& sample : event.samples) {
        if (!comms_.contains(sample.comm)) {
          comms_[sample.comm] = Insert(LabelOf(sample.comm, FlameKind::kProcess));
        }
        if (!reasons_.contains(sample.reason)) {
          reasons_[sample.reason] = Insert(ReasonLabel(sample.reason));
        }
      }
    }
    for (auto& [label, rank] : ranks_) {
      rank = static_cast<uint32_t>(by_rank_.size());
      by_rank_.push_back(&label);
    }
  }
  Labels(const Labels&) = delete;
  Labels& operator=(const Labels&) = delete;

  uint32_t OfFrame(uint32_t frame) const {
    return frame < frames_.size() ? frames_[frame]->second : unknown_->second;
  }
  uint32_t OfComm(const std::string& comm) const { return comms_.at(comm)->second; }
  uint32_t OfReason(const std::string& reason) const { return reasons_.at(reason)->second; }
  const Label& At(uint32_t rank) const { return *by_rank_[rank]; }

 private:
  using Ranks = std::map<Label, uint32_t>;

  Ranks::const_iterator Insert(Label label) { return ranks_.emplace(std::move(label), 0).first; }

  Ranks ranks_;
  std::vector<const Label*> by_rank_;
  std::vector<Ranks::const_iterator> frames_;  // parallel to Profile::frames
  Ranks::const_iterator unknown_;
  std::map<std::string, Ranks::const_iterator> comms_;
  std::map<std::string, Ranks::const_iterator> reasons_;
};

struct Step {
  uint32_t rank = 0;
  uint32_t frame = kNoFrame;  // index into Profile::frames, for file and line
};

std::vector<Step> PathOf(const Labels& labels, const ProfileSample& sample, bool reason_root) {
  std::vector<Step> path;
  path.reserve(sample.frames.size() + 2);
  const bool has_reason = !sample.reason.empty();
  path.push_back({labels.OfComm(sample.comm)});
  if (has_reason && reason_root) path.push_back({labels.OfReason(sample.reason)});
  for (const uint32_t frame : sample.frames) path.push_back({labels.OfFrame(frame), frame});
  if (has_reason && !reason_root) path.push_back({labels.OfReason(sample.reason)});
  return path;
}

// Gives each distinct box text one index.
class FrameTable {
 public:
  uint32_t Add(FlameFrame frame) {
    const auto [it, added] = index_.emplace(std::move(frame), static_cast<uint32_t>(index_.size()));
    return it->second;
  }
  std::vector<FlameFrame> Take() {
    std::vector<FlameFrame> frames(index_.size());
    for (const auto& [frame, index] : index_) frames[index] = frame;
    return frames;
  }

 private:
  std::map<FlameFrame, uint32_t> index_;
};

// A node while its samples are still being merged.
struct OpenNode {
  uint32_t rank = 0;
  uint32_t depth = 0;
  uint32_t frame = kNoFrame;
  bool same_file = true;
  bool same_line = true;
};

void MergePlace(const Profile& profile, uint32_t frame, OpenNode& node) {
  if (frame == node.frame || frame >= profile.frames.size()) return;
  if (node.frame >= profile.frames.size()) return;
  const ProfileFrame& a = profile.frames[node.frame];
  const ProfileFrame& b = profile.frames[frame];
  if (a.file != b.file) node.same_file = false;
  if (a.line != b.line) node.same_line = false;
}

FlameFrame TextOf(const Profile& profile, const Labels& labels, const OpenNode& node) {
  const auto& [name, kind] = labels.At(node.rank);
  FlameFrame text = {name, kind, "", 0};
  if (node.frame < profile.frames.size() && node.same_file) {
    const ProfileFrame& frame = profile.frames[node.frame];
    text.file = PrintableName(frame.file);
    text.line = node.same_line ? frame.line : 0;
  }
  return text;
}

void AddToLeaf(const ProfileSample& sample, size_t columns, uint32_t node, FlameTree& tree) {
  if (tree.leaves.empty() || tree.leaves.back().node != node) {
    tree.leaves.push_back({node, std::vector<std::optional<int64_t>>(columns)});
  }
  std::vector<std::optional<int64_t>>& values = tree.leaves.back().values;
  for (size_t i = 0; i < columns; ++i) values[i] = AddValues(values[i], ValueAt(sample, i));
}

FlameTree MakeTree(const Profile& profile, const EventProfile& event, const Labels& labels,
                   FrameTable& table) {
  std::vector<std::vector<Step>> paths;
  paths.reserve(event.samples.size());
  for (const ProfileSample& sample : event.samples) {
    paths.push_back(PathOf(labels, sample, profile.reason_root));
  }
  std::vector<size_t> order(paths.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&paths](size_t a, size_t b) {
    return std::lexicographical_compare(
        paths[a].begin(), paths[a].end(), paths[b].begin(), paths[b].end(),
        [](const Step& x, const Step& y) { return x.rank < y.rank; });
  });

  FlameTree tree;
  std::vector<OpenNode> nodes;
  std::vector<uint32_t>
      open;  // the path to the newest node, as indices into `nodes`; the root is not in it
  for (const size_t index : order) {
    const std::vector<Step>& path = paths[index];
    size_t shared = 0;
    while (shared < path.size() && shared < open.size() &&
           nodes[open[shared]].rank == path[shared].rank) {
      MergePlace(profile, path[shared].frame, nodes[open[shared]]);
      ++shared;
    }
    open.resize(shared);
    for (; shared < path.size(); ++shared) {
      open.push_back(static_cast<uint32_t>(nodes.size()));
      const uint32_t depth = static_cast<uint32_t>(shared) + 1;
      nodes.push_back({path[shared].rank, depth, path[shared].frame});
    }
    AddToLeaf(event.samples[index], event.columns.size(), open.back() + 1, tree);
  }

  tree.nodes.push_back({table.Add({"all", FlameKind::kProcess, "", 0}), 0});
  for (const OpenNode& node : nodes) {
    tree.nodes.push_back({table.Add(TextOf(profile, labels, node)), node.depth});
  }
  return tree;
}

}  // namespace

FlameGraph MakeFlameGraph(const Profile& profile) {
  const Labels labels(profile);
  FrameTable table;
  FlameGraph graph;
  for (const EventProfile& event : profile.events) {
    graph.trees.push_back(MakeTree(profile, event, labels, table));
  }
  graph.frames = table.Take();
  return graph;
}

}  // namespace stallscope
