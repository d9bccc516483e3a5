// SPDX-License-Identifier: Apache-2.0
//
// In passes: name each distinct address once, build each distinct stack once, then walk the
// samples, which only handle small numbers, and at the end put frames and samples into an order
// that does not depend on the order they came in.
#include "userspace/profile/make_profile.h"

#include <absl/container/flat_hash_map.h>
#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <string_view>
#include <tuple>
#include <utility>

#include "symbolizer/go_binary.h"
#include "userspace/profile/address_namer.h"
#include "userspace/profile/frame_filter.h"
#include "userspace/profile/idle.h"
#include "userspace/profile/interner.h"
#include "userspace/profile/reason.h"
#include "userspace/profile/stack_order.h"

namespace stallscope {
namespace {

int64_t SaturatingAdd(int64_t a, int64_t b) {
  int64_t sum = 0;
  if (!__builtin_add_overflow(a, b, &sum)) return sum;
  return a < 0 ? std::numeric_limits<int64_t>::min() : std::numeric_limits<int64_t>::max();
}

// A sum over no measured value stays unmeasured. `from` may have another length: a damaged capture.
void AddValues(const std::vector<std::optional<int64_t>>& from,
               std::vector<std::optional<int64_t>>& sum) {
  for (size_t i = 0; i < std::min(from.size(), sum.size()); ++i) {
    if (from[i]) sum[i] = SaturatingAdd(sum[i].value_or(0), *from[i]);
  }
}

// One distinct stack with its names chosen: root first.
struct NamedStack {
  std::vector<uint32_t> frames;
  Evidence evidence = 0;
  std::vector<uint32_t> creator;  // SegmentKind::kCreator, and the marker that ends it
  std::optional<uint32_t> go_statement;
  bool whole = false;  // down to its first frame
};

class StackNamer {
 public:
  StackNamer(const Recording& recording, AddressNamer& addresses)
      : recording_(recording), addresses_(addresses) {}

  NamedStack Name(const Stack& stack, StackCounts& counts) {
    NamedStack named;
    UserPart user;
    const symbolizer::Frame* callee = nullptr;
    size_t addresses = 0;
    for (const Segment& segment : stack.segments) addresses += segment.addresses.size();
    named.frames.reserve(addresses);
    named.whole = stack.end == StackEnd::kComplete;
    for (const Segment& segment : stack.segments) {  // innermost first
      if (segment.kind == SegmentKind::kMarker) {
        named.frames.push_back(addresses_.Marker(segment.marker));
        callee = nullptr;
      } else if (segment.kind == SegmentKind::kCreator) {
        NameCreator(segment, named);
      } else {
        NameSegment(segment, callee, named, user, counts);
      }
    }
    std::reverse(named.frames.begin(), named.frames.end());
    Count(stack, user, counts);
    return named;
  }

 private:
  struct UserPart {
    uint64_t addresses = 0;
    // How far the walk came: the C library's part at the leaf counts once, however many of its own
    // functions a system call goes through.
    uint64_t depth = 0;
    bool in_library = false;
    bool go = false;
  };

  // `callee`: the frame inside the segment, nullptr for none; becomes the outermost one of it.
  void NameSegment(const Segment& segment, const symbolizer::Frame*& callee, NamedStack& named,
                   UserPart& user, StackCounts& counts) {
    const bool kernel = segment.kind == SegmentKind::kKernel;
    const SpaceIndex space = kernel ? kKernelSpace : segment.space;
    const bool go =
        space < recording_.spaces.size() && !recording_.spaces[space].go_version.empty();
    if (go) named.evidence |= kGoProgram;
    if (segment.kind == SegmentKind::kGoroutine) named.evidence |= kHasGoroutine;
    for (const StackAddress& address : segment.addresses) {
      const NamedFrames& frames = addresses_.Name(space, address);
      named.evidence |= frames.evidence;
      const uint64_t count = Append(frames, callee, named.frames);
      if (kernel) {
        counts.kernel_frames += count;
        counts.kernel_unnamed += frames.unnamed;
        continue;
      }
      const bool library = !frames.frames.empty() && addresses_.frame(frames.frames[0]).system;
      const bool goes_on = library && user.in_library && user.depth == 1;
      if (!goes_on) ++user.depth;
      user.in_library = library;
      counts.user_frames += count;
      counts.user_unnamed += frames.unnamed;
      counts.user_guessed += address.guessed ? count : 0;
      counts.go_frames += go ? count : 0;
      counts.go_unnamed += go && frames.unnamed;
    }
    if (!kernel) {
      user.addresses += segment.addresses.size();
      user.go |= go;
    }
  }

  // Where the goroutine comes from says nothing of its wait: no evidence, and counted nowhere.
  void NameCreator(const Segment& segment, NamedStack& named) {
    if (segment.addresses.empty() || !named.creator.empty()) return;
    const symbolizer::Frame* callee = nullptr;
    for (const StackAddress& address : segment.addresses) {
      Append(addresses_.Name(segment.space, address), callee, named.creator);
    }
    if (named.creator.empty()) return;
    named.go_statement = named.creator.front();
    std::reverse(named.creator.begin(), named.creator.end());
    const bool whole_parent = segment.addresses.size() > 1;
    named.creator.push_back(
        addresses_.Marker(whole_parent ? "created by, still there" : "created by"));
  }

  // Without a wrapper that Go's traces leave out above `callee`. Returns how many frames they were.
  static size_t Append(const NamedFrames& named, const symbolizer::Frame*& callee,
                       std::vector<uint32_t>& frames) {
    const bool elided = named.wrapper && !symbolizer::GoShowsWrapper(callee);
    callee = named.outermost;
    frames.insert(frames.end(), named.frames.begin() + elided, named.frames.end());
    return named.frames.size() - elided;
  }

  static void Count(const Stack& stack, const UserPart& user, StackCounts& counts) {
    ++counts.stacks;
    if (stack.end != StackEnd::kComplete && stack.end != StackEnd::kNone) {
      ++counts.ended_early[stack.end];
    }
    if (user.addresses == 0) return;
    ++counts.with_user;
    if (user.go) return;
    ++counts.native_stacks;
    if (user.depth <= 2) ++counts.native_shallow;
  }

  const Recording& recording_;
  AddressNamer& addresses_;
};

// Where an event keeps the time and the number of its waits; -1 where it has no such column.
struct TimeAndCount {
  int time = -1;
  int count = -1;

  explicit TimeAndCount(const std::vector<Column>& columns) {
    for (size_t i = 0; i < columns.size(); ++i) {
      if (time < 0 && columns[i].name == "time") time = static_cast<int>(i);
      if (count < 0 && columns[i].name == "count") count = static_cast<int>(i);
    }
  }

  void AddTo(Hidden& hidden, const Sample& sample) const {
    hidden.time_ns += Value(sample, time).value_or(0);
    hidden.count += count < 0 ? 1 : Value(sample, count).value_or(0);
  }

 private:
  static std::optional<uint64_t> Value(const Sample& sample, int column) {
    if (column < 0 || static_cast<size_t>(column) >= sample.values.size()) return std::nullopt;
    const std::optional<int64_t>& value = sample.values[column];
    if (!value || *value < 0) return std::nullopt;
    return static_cast<uint64_t>(*value);
  }
};

// What makes two samples one: indices into the tables of the Builder.
struct SampleKey {
  uint32_t comm = 0;
  uint32_t labels = 0;
  uint32_t stack = 0;
  uint32_t reason = 0;
  uint32_t idle = 0;
  bool operator==(const SampleKey&) const = default;
  template <typename H>
  friend H AbslHashValue(H h, const SampleKey& key) {
    return H::combine(std::move(h), key.comm, key.labels, key.stack, key.reason, key.idle);
  }
};

// The labels of a sample.
struct Labels {
  uint32_t pid = 0;
  uint32_t tid = 0;
  std::string thread;
  bool has_thread = false;  // --threads, and it is a thread's
  std::map<std::string, std::string> own;
  auto operator<=>(const Labels&) const = default;
  template <typename H>
  friend H AbslHashValue(H h, const Labels& labels) {
    return H::combine(std::move(h), labels.pid, labels.tid, labels.thread, labels.has_thread,
                      labels.own);
  }
};

// What is shown of a stack.
struct ShownStack {
  std::vector<uint32_t> frames;  // as in ProfileSample
  uint32_t own_from = 0;
  std::optional<uint32_t> creator;
  bool never_ran = false;
  bool operator==(const ShownStack&) const = default;
  template <typename H>
  friend H AbslHashValue(H h, const ShownStack& shown) {
    return H::combine(std::move(h), shown.frames, shown.own_from, shown.creator, shown.never_ran);
  }
};

// A goroutine's label under a key of ours keeps its value under another key.
bool IsKeyOfOurs(std::string_view key) {
  return key == "comm" || key == "pid" || key == "tid" || key == "thread" || key == "open";
}

std::map<std::string, std::string> OwnLabels(const std::map<std::string, std::string>& labels) {
  std::map<std::string, std::string> own;
  for (const auto& [key, value] : labels) {
    if (!IsKeyOfOurs(key)) own.emplace(key, value);
  }
  for (const auto& [key, value] : labels) {
    if (!IsKeyOfOurs(key)) continue;
    std::string renamed = "label." + key;
    while (!own.emplace(renamed, value).second) renamed = "label." + renamed;
  }
  return own;
}

// For each of `values`, which differ: how many of them are less.
template <typename T>
std::vector<uint32_t> Ranks(const std::deque<T>& values) {
  std::vector<uint32_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](uint32_t a, uint32_t b) { return values[a] < values[b]; });
  std::vector<uint32_t> ranks(values.size());
  for (uint32_t i = 0; i < order.size(); ++i) ranks[order[i]] = i;
  return ranks;
}

class Builder {
 public:
  Builder(const Recording& recording, const ProfileOptions& options, const FrameFilter& filter,
          const IdleRules& rules)
      : recording_(recording),
        options_(options),
        filter_(filter),
        rules_(rules),
        addresses_(recording, options.by_address) {
    idle_.Intern("");
    own_machine_ = recording.machine.empty() || recording.machine == SyscallMachine();
  }

  Profile Build() {
    CopyFacts();
    NameStacks();
    for (const RecordedEvent& event : recording_.events) BuildEvent(event);
    BuildHung();
    Finish();
    return std::move(profile_);
  }

 private:
  using Values = std::vector<std::optional<int64_t>>;
  using ReasonKey = std::tuple<Evidence, int32_t, uint32_t, bool, bool, uint8_t>;
  struct Pending {
    SampleKey key;
    Values values;
  };
  // The place of each number of a SampleKey in the order of what it stands for.
  struct SampleOrder {
    std::vector<uint32_t> comm, stack, reason, labels;
  };

  void CopyFacts() {
    profile_.tool_version = recording_.tool_version;
    profile_.target = recording_.target;
    profile_.start_unix_ns = recording_.start_unix_ns;
    profile_.duration_ns = recording_.duration_ns;
    profile_.reason_root = options_.reason_root;
    profile_.losses = recording_.losses;
    profile_.hidden = recording_.filtered;
    for (const ProcessTotals& totals : recording_.totals) {
      profile_.totals.push_back({Pid(totals.space), Comm(totals.space), totals.running_ns,
                                 totals.runnable_ns, totals.blocked_ns, totals.unknown_ns,
                                 totals.switches});
    }
    for (const Census& census : recording_.censuses) {
      profile_.censuses.push_back({Pid(census.space), Comm(census.space), census});
    }
    for (const RuntimeHistogram& histogram : recording_.histograms) {
      profile_.histograms.push_back({Pid(histogram.space), Comm(histogram.space), histogram});
    }
    profile_.notes = recording_.notes;
    profile_.mappings = addresses_.mappings();
    profile_.cost = recording_.cost;
  }

  void NameStacks() {
    StackNamer namer(recording_, addresses_);
    stacks_.reserve(recording_.stacks.size() + 1);
    for (const Stack& stack : recording_.stacks) {
      stacks_.push_back(namer.Name(stack, profile_.stack_counts));
    }
    // For samples whose index is out of range: a damaged capture.
    stacks_.push_back(NamedStack{{addresses_.Marker("stack lost")}, 0});
  }

  // Index into stacks_.
  uint32_t StackIndex(uint32_t recorded) const {
    return std::min<uint32_t>(recorded, static_cast<uint32_t>(stacks_.size()) - 1);
  }

  std::string Comm(SpaceIndex space) const {
    if (space < recording_.spaces.size()) return recording_.spaces[space].comm;
    return space == kKernelSpace ? "kernel" : "[unknown]";
  }

  // Index into comms_.
  uint32_t CommOf(SpaceIndex space) {
    auto [it, added] = comm_of_.try_emplace(space);
    if (added) it->second = comms_.Intern(Comm(space));
    return it->second;
  }

  uint32_t Pid(SpaceIndex space) const {
    return space < recording_.spaces.size() ? recording_.spaces[space].tgid : 0;
  }

  uint32_t Reason(uint32_t stack, const RawReason& raw) {
    if (!raw.words.empty()) {
      const bool peer = options_.peers && !raw.peer.empty();
      const uint32_t reason = reasons_.Intern(peer ? WithPeer(raw.words, raw.peer) : raw.words);
      if (peer) peer_of_reason_.try_emplace(reason, raw.peer);
      return reason;
    }
    const Evidence evidence = stacks_[stack].evidence;
    auto [it, added] =
        reason_of_.try_emplace(ReasonKey{evidence, raw.syscall, raw.task_state, raw.in_iowait,
                                         raw.kernel_thread, static_cast<uint8_t>(raw.file)});
    if (added) it->second = reasons_.Intern(NameReason(raw, evidence, own_machine_));
    return it->second;
  }

  uint32_t InternLabels(const Sample& sample) {
    Labels labels;
    labels.pid = Pid(sample.space);
    labels.own = OwnLabels(sample.labels);
    if (IsUnfinished(sample.reason.words)) labels.own["open"] = "true";
    // A goroutine that waits has no thread.
    if (recording_.per_thread && (sample.reason.words.empty() || sample.tid != 0)) {
      labels.has_thread = true;
      labels.tid = sample.tid;
      labels.thread = sample.thread_name;
    }
    return labels_.Intern(std::move(labels));
  }

  void BuildEvent(const RecordedEvent& event) {
    std::vector<Pending> pending;
    absl::flat_hash_map<SampleKey, size_t> index;
    Hidden hidden;
    hidden.event = event.name;
    hidden.why = filter_.Description();
    std::map<std::string_view, Hidden> idle;  // by rule
    const TimeAndCount columns(event.columns);
    for (const Sample& sample : event.samples) {
      const uint32_t stack = StackIndex(sample.stack);
      SampleKey key;
      key.reason = Reason(stack, sample.reason);
      key.comm = CommOf(sample.space);
      if (!IsShown(key, stack)) {
        columns.AddTo(hidden, sample);
        continue;
      }
      key.idle = IdleBy(stack, sample.reason.words);
      if (key.idle != kNotIdle && !options_.idle) {
        columns.AddTo(idle[idle_.values()[key.idle]], sample);
        continue;
      }
      key.labels = InternLabels(sample);
      key.stack = ShownOf(stack, key, sample);
      auto [it, added] = index.try_emplace(key, pending.size());
      if (added) pending.push_back({key, Values(event.columns.size())});
      AddValues(sample.values, pending[it->second].values);
    }
    if (hidden.count > 0 || hidden.time_ns > 0) profile_.hidden.push_back(hidden);
    for (auto& [rule, by_rule] : idle) {
      by_rule.event = event.name;
      by_rule.rule = rule;
      by_rule.why = fmt::format("idle by design: {}", rule);
      profile_.hidden.push_back(std::move(by_rule));
    }
    EventProfile& built = profile_.events.emplace_back();
    built.name = event.name;
    built.columns = event.columns;
    built.mechanism = event.mechanism;
    pending_.push_back(std::move(pending));
  }

  // Index into idle_ of the rule that explains a goroutine's wait.
  uint32_t IdleBy(uint32_t stack, const std::string& words) {
    if (words.empty()) return kNotIdle;
    auto [it, added] = idle_of_.try_emplace({stack, words_.Intern(words)});
    if (!added) return it->second;
    const NamedStack& named = stacks_[stack];
    std::vector<std::string_view> functions;
    functions.reserve(named.frames.size());
    for (auto frame = named.frames.rbegin(); frame != named.frames.rend(); ++frame) {
      functions.push_back(addresses_.frame(*frame).name);
    }
    it->second = idle_.Intern(std::string(rules_.Match(words, functions, named.whole)));
    return it->second;
  }

  // -I and -X look at the whole stack, before --kernel, --user and the folding of idle groups cut
  // it.
  bool IsShown(const SampleKey& key, uint32_t stack) {
    if (filter_.IsEmpty()) return true;
    FrameFilter::Match match = MatchOfStack(stack);
    match |= MatchOfText(reason_matches_, key.reason,
                         fmt::format("[{}]", reasons_.values()[key.reason]));
    match |= MatchOfText(comm_matches_, key.comm, comms_.values()[key.comm]);
    return filter_.Keeps(match);
  }

  using Matches = absl::flat_hash_map<uint32_t, FrameFilter::Match>;

  FrameFilter::Match MatchOfText(Matches& known, uint32_t index, const std::string& text) {
    auto [it, added] = known.try_emplace(index);
    if (added) it->second = filter_.Of(text);
    return it->second;
  }

  FrameFilter::Match MatchOfStack(uint32_t stack) {
    auto [it, added] = stack_matches_.try_emplace(stack);
    if (added) {
      for (uint32_t frame : stacks_[stack].frames) it->second |= MatchOfFrame(frame);
      if (options_.created_by) {
        for (uint32_t frame : stacks_[stack].creator) it->second |= MatchOfFrame(frame);
      }
    }
    return it->second;
  }

  FrameFilter::Match MatchOfFrame(uint32_t frame) {
    return MatchOfText(frame_matches_, frame, addresses_.frame(frame).name);
  }

  // What is left of a stack to show, as an index into shown_. Equal ones get one index.
  uint32_t ShownOf(uint32_t stack, const SampleKey& key, const Sample& sample) {
    const bool folded = !options_.idle && sample.reason.words.empty() &&
                        IsGoSchedulerReason(reasons_.values()[key.reason]);
    const bool never_ran = sample.never_ran;
    const uint32_t thread = labels_.values()[key.labels].has_thread ? key.labels + 1 : 0;
    auto [it, added] = shown_of_.try_emplace(std::make_tuple(stack, folded, never_ran, thread));
    if (added) it->second = shown_.Intern(CutStack(stack, folded, never_ran, key.labels));
    return it->second;
  }

  ShownStack CutStack(uint32_t stack, bool folded, bool never_ran, uint32_t labels) {
    ShownStack shown;
    const Labels& of = labels_.values()[labels];
    if (of.has_thread) {
      shown.frames.push_back(addresses_.Marker(fmt::format("thread {} {}", of.thread, of.tid)));
    }
    shown.never_ran = never_ran;
    if (never_ran) shown.frames.push_back(addresses_.Marker("never ran"));
    const NamedStack& whole = stacks_[stack];
    if (options_.created_by && !options_.kernel_only && !folded) {
      shown.frames.insert(shown.frames.end(), whole.creator.begin(), whole.creator.end());
      shown.creator = whole.go_statement;
    }
    shown.own_from = static_cast<uint32_t>(shown.frames.size());
    if (folded) return shown;
    shown.frames.reserve(shown.frames.size() + whole.frames.size());
    for (uint32_t frame : whole.frames) {
      if (!IsCut(frame)) shown.frames.push_back(frame);
    }
    return shown;
  }

  bool IsCut(uint32_t frame) const {
    if (!options_.kernel_only && !options_.user_only) return false;
    const bool kernel = addresses_.frame(frame).kind == ProfileFrameKind::kKernel;
    return (options_.kernel_only && !kernel) || (options_.user_only && kernel);
  }

  void BuildHung() {
    for (const HungThread& thread : recording_.hung) {
      const uint32_t stack = StackIndex(thread.stack);
      ProfileHungThread hung;
      hung.comm = Comm(thread.space);
      hung.pid = Pid(thread.space);
      hung.tid = thread.tid;
      hung.name = thread.name;
      hung.reason = reasons_.values()[Reason(stack, thread.reason)];
      hung.frames = stacks_[stack].frames;
      hung.go_scheduler = IsGoSchedulerReason(hung.reason);
      profile_.hung.push_back(std::move(hung));
    }
  }

  // From here on nothing depends on the order in which the recording listed things: everything is
  // put into the order of its names once, and what refers to it compares numbers.
  void Finish() {
    const std::vector<uint32_t> frame_rank = SortFrames();
    std::deque<ShownStack> shown = shown_.TakeValues();
    std::deque<std::vector<uint32_t>> stacks;
    for (ShownStack& stack : shown) {
      Renumber(stack.frames, frame_rank);
      if (stack.creator) stack.creator = frame_rank[*stack.creator];
      stacks.push_back(std::move(stack.frames));
    }
    SampleOrder order;
    order.comm = Ranks(comms_.values());
    order.stack = RankStacks(stacks);
    order.reason = Ranks(reasons_.values());
    order.labels = Ranks(labels_.values());
    for (size_t i = 0; i < pending_.size(); ++i) {
      FinishEvent(pending_[i], shown, stacks, order, profile_.events[i]);
    }
    for (ProfileHungThread& hung : profile_.hung) Renumber(hung.frames, frame_rank);
    std::sort(profile_.hung.begin(), profile_.hung.end(),
              [](const ProfileHungThread& a, const ProfileHungThread& b) {
                return std::tie(a.comm, a.pid, a.tid, a.reason, a.frames) <
                       std::tie(b.comm, b.pid, b.tid, b.reason, b.frames);
              });
  }

  static void Renumber(std::vector<uint32_t>& frames, const std::vector<uint32_t>& rank) {
    for (uint32_t& frame : frames) frame = rank[frame];
  }

  // Fills Profile::frames with the frames that are shown and gives the new number of each.
  std::vector<uint32_t> SortFrames() {
    std::vector<bool> used(addresses_.size());
    for (const ShownStack& shown : shown_.values()) {
      for (uint32_t frame : shown.frames) used[frame] = true;
    }
    for (const ProfileHungThread& hung : profile_.hung) {
      for (uint32_t frame : hung.frames) used[frame] = true;
    }
    std::vector<uint32_t> order;
    for (uint32_t i = 0; i < used.size(); ++i) {
      if (used[i]) order.push_back(i);
    }
    std::sort(order.begin(), order.end(),
              [this](uint32_t a, uint32_t b) { return addresses_.frame(a) < addresses_.frame(b); });
    std::vector<uint32_t> rank(used.size());
    for (uint32_t i = 0; i < order.size(); ++i) {
      rank[order[i]] = i;
      profile_.frames.push_back(addresses_.frame(order[i]));
    }
    return rank;
  }

  void FinishEvent(std::vector<Pending>& pending, const std::deque<ShownStack>& shown,
                   const std::deque<std::vector<uint32_t>>& stacks, const SampleOrder& order,
                   EventProfile& event) {
    using Place = std::tuple<uint32_t, uint32_t, uint32_t, uint32_t, std::string_view, size_t>;
    std::vector<Place> places;
    places.reserve(pending.size());
    for (size_t i = 0; i < pending.size(); ++i) {
      const SampleKey& key = pending[i].key;
      places.emplace_back(order.comm[key.comm], order.stack[key.stack], order.reason[key.reason],
                          order.labels[key.labels], idle_.values()[key.idle], i);
    }
    std::sort(places.begin(), places.end());
    event.samples.reserve(pending.size());
    for (const Place& place : places) {
      Pending& p = pending[std::get<5>(place)];
      ProfileSample& sample = event.samples.emplace_back();
      sample.idle = idle_.values()[p.key.idle];
      sample.comm = comms_.values()[p.key.comm];
      sample.frames = stacks[p.key.stack];
      sample.own_from = shown[p.key.stack].own_from;
      sample.creator = shown[p.key.stack].creator;
      sample.never_ran = shown[p.key.stack].never_ran;
      sample.reason = reasons_.values()[p.key.reason];
      if (const auto peer = peer_of_reason_.find(p.key.reason); peer != peer_of_reason_.end())
        sample.peer = peer->second;
      sample.labels = LabelMap(labels_.values()[p.key.labels]);
      sample.values = std::move(p.values);
    }
  }

  std::map<std::string, std::string> LabelMap(const Labels& labels) const {
    std::map<std::string, std::string> map = labels.own;
    if (labels.pid != 0) map["pid"] = fmt::format("{}", labels.pid);
    if (labels.has_thread) {
      map["tid"] = fmt::format("{}", labels.tid);
      map["thread"] = labels.thread;
    }
    return map;
  }

  const Recording& recording_;
  const ProfileOptions& options_;
  const FrameFilter& filter_;
  const IdleRules& rules_;
  bool own_machine_ = true;  // system call numbers are of our table
  AddressNamer addresses_;
  std::vector<NamedStack> stacks_;  // parallel to Recording::stacks, and one more

  Interner<std::string> comms_;
  Interner<std::string> reasons_;
  absl::flat_hash_map<uint32_t, std::string> peer_of_reason_;
  Interner<Labels> labels_;
  Interner<ShownStack> shown_;
  static constexpr uint32_t kNotIdle = 0;
  Interner<std::string> idle_;   // names of rules; kNotIdle is ""
  Interner<std::string> words_;  // of goroutines' reasons

  absl::flat_hash_map<SpaceIndex, uint32_t> comm_of_;
  absl::flat_hash_map<ReasonKey, uint32_t> reason_of_;
  absl::flat_hash_map<std::tuple<uint32_t, bool, bool, uint32_t>, uint32_t> shown_of_;
  absl::flat_hash_map<std::pair<uint32_t, uint32_t>, uint32_t> idle_of_;  // by stack and words
  Matches stack_matches_;
  Matches frame_matches_;
  Matches reason_matches_;
  Matches comm_matches_;

  std::vector<std::vector<Pending>> pending_;  // parallel to Profile::events
  Profile profile_;
};

}  // namespace

absl::StatusOr<Profile> MakeProfile(const Recording& recording, const ProfileOptions& options) {
  absl::StatusOr<FrameFilter> filter = FrameFilter::Create(options.include, options.exclude);
  if (!filter.ok()) return filter.status();
  absl::StatusOr<IdleRules> rules = IdleRules::BuiltIn();
  if (!rules.ok()) return rules.status();
  return Builder(recording, options, *filter, *rules).Build();
}

}  // namespace stallscope
