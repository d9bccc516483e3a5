// SPDX-License-Identifier: Apache-2.0
#include "userspace/go/dump_goroutines.h"

#include <absl/container/flat_hash_map.h>
#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include "symbolizer/go_binary.h"
#include "userspace/go/census.h"
#include "userspace/process/clock.h"
#include "userspace/process/sockets.h"
#include "userspace/profile/idle.h"

namespace stallscope {
namespace {

// What reading the kernel's tables of sockets, once each socket that is in none of them, may take.
constexpr double kSocketShareOfDump = 0.25;

const char* StateName(uint32_t status) {
  switch (status) {
    case kGoRunnable:
      return "runnable";
    case kGoRunning:
    case kGoCopyStack:
      return "running";
    case kGoSyscall:
      return "syscall";
    case kGoPreempted:
      return "preempted";
    case kGoLeaked:
      return "leaked";
    default:
      return "waiting";
  }
}

ProfileFrame FrameOf(const symbolizer::Frame& from) {
  ProfileFrame frame;
  frame.name = from.function;
  frame.file = from.file;
  frame.line = from.line;
  frame.kind = from.kind == symbolizer::FrameKind::kNative    ? ProfileFrameKind::kNative
               : from.kind == symbolizer::FrameKind::kRuntime ? ProfileFrameKind::kRuntime
                                                              : ProfileFrameKind::kGo;
  frame.inlined = from.inlined;
  return frame;
}

// Which goroutines are idle by design.
class Idle {
 public:
  explicit Idle(const IdleRules* rules) : rules_(rules) {}

  // `frames`: of the entry's stack. `whole`: they lead to its outermost function.
  const std::string& RuleOf(const DumpEntry& entry, const std::vector<ProfileFrame>& frames,
                            bool whole) {
    const std::string& reason = entry.reason.empty() ? entry.state : entry.reason;
    auto [it, added] = rule_of_.try_emplace({*entry.stack, whole, reason});
    if (!added || !rules_) return it->second;
    std::vector<std::string_view> functions;
    for (auto frame = frames.rbegin(); frame != frames.rend(); ++frame)
      functions.push_back(frame->name);
    it->second = std::string(rules_->Match(reason, functions, whole));
    return it->second;
  }

 private:
  const IdleRules* rules_;  // null: none can be had
  std::map<std::tuple<uint32_t, bool, std::string>, std::string> rule_of_;
};

// Names of one runtime's stacks and creation sites, each made once and put into the dump.
class Names {
 public:
  Names(const LiveSpace& space, const GoroutineCensus& census, Dump* dump)
      : space_(space), census_(census), dump_(*dump) {}

  // Index into Dump::stacks; stacks that read alike are one.
  uint32_t Stack(GoStackIndex index) {
    auto [it, added] = stacks_.try_emplace(index);
    if (!added) return it->second;
    std::vector<ProfileFrame> frames = FramesOf(index);
    const auto [same, is_new] = stack_of_.try_emplace(frames, dump_.stacks.size());
    if (is_new) dump_.stacks.push_back(std::move(frames));
    it->second = same->second;
    return it->second;
  }

  // The function that has the go statement, as Go prints it: not what was inlined there. Index into
  // Dump::creators; none for the first goroutine.
  std::optional<uint32_t> Creator(uint64_t created_at) {
    if (created_at == 0) return std::nullopt;
    const auto [it, added] = creators_.try_emplace(created_at, dump_.creators.size());
    if (added) {
      const auto& frames = At(created_at, /*is_return=*/true);
      dump_.creators.push_back(frames.empty() ? Unnamed(created_at) : FrameOf(frames.front()));
    }
    return it->second;
  }

 private:
  // Root first. Wrappers are left out as Go's own traces leave them out.
  std::vector<ProfileFrame> FramesOf(GoStackIndex index) {
    std::vector<ProfileFrame> named;
    const symbolizer::Frame* callee = nullptr;
    for (const StackAddress& address : census_.stack(index).addresses) {
      const auto& frames = At(address.value, address.is_return);
      if (frames.empty()) named.push_back(Unnamed(address.value));
      for (const symbolizer::Frame& frame : frames) {
        if (!frame.wrapper || symbolizer::GoShowsWrapper(callee)) named.push_back(FrameOf(frame));
        callee = &frame;
      }
    }
    std::reverse(named.begin(), named.end());
    return named;
  }

  const std::vector<symbolizer::Frame>& At(uint64_t address, bool is_return) {
    auto [it, added] = frames_.try_emplace({address, is_return});
    if (added) it->second = space_.Lookup(address, is_return);
    return it->second;
  }

  static ProfileFrame Unnamed(uint64_t address) {
    ProfileFrame frame;
    frame.name = fmt::format("[{:#x}]", address);
    frame.unnamed = true;
    return frame;
  }

  const LiveSpace& space_;
  const GoroutineCensus& census_;
  Dump& dump_;
  std::map<std::pair<uint64_t, bool>, std::vector<symbolizer::Frame>> frames_;
  absl::flat_hash_map<GoStackIndex, uint32_t> stacks_;
  absl::flat_hash_map<uint64_t, uint32_t> creators_;
  std::map<std::vector<ProfileFrame>, uint32_t> stack_of_;
};

// A collection that finds a goroutine waiting notes when the one before it ended its marking. The
// goroutine may have begun to wait after that, but it did before the collection that found it
// ended its own marking: the next such time that is known, of any goroutine.
class WaitTimes {
 public:
  WaitTimes(const std::vector<Goroutine>& goroutines, uint64_t now_ns) : now_ns_(now_ns) {
    for (const Goroutine& goroutine : goroutines) {
      if (goroutine.wait_since && goroutine.wait_since < now_ns) ends_.insert(goroutine.wait_since);
    }
  }
  std::optional<uint64_t> AtLeast(const Goroutine& goroutine) const {
    if (!goroutine.wait_since) return std::nullopt;
    const auto next = ends_.upper_bound(goroutine.wait_since);
    if (next == ends_.end()) return std::nullopt;
    return now_ns_ - *next;
  }

 private:
  uint64_t now_ns_;
  std::set<uint64_t> ends_;
};

DumpEntry EntryOf(const Goroutine& goroutine, const GoroutineCensus& census, const WaitTimes& times,
                  Names& names, Idle& idle, const Dump& dump) {
  DumpEntry entry;
  entry.id = goroutine.id;
  entry.state = StateName(goroutine.status);
  const bool waits = goroutine.status == kGoWaiting || goroutine.status == kGoLeaked;
  const auto& reasons = census.runtime().wait_reasons;
  if (waits) {
    entry.reason = goroutine.wait_reason < reasons.size()
                       ? reasons[goroutine.wait_reason]
                       : fmt::format("reason {}", goroutine.wait_reason);
    entry.at_least_ns = times.AtLeast(goroutine);
  }
  entry.locked = goroutine.locked_thread != 0;
  if (goroutine.stack != kNoGoStack) {
    entry.stack = names.Stack(goroutine.stack);
    const bool whole = census.stack(goroutine.stack).end == StackEnd::kComplete;
    entry.idle = idle.RuleOf(entry, dump.stacks[*entry.stack], whole);
  } else {
    entry.no_stack = goroutine.unread ? "it moved while it was read" : "it runs";
  }
  if (goroutine.label_set != kNoGoLabels) entry.labels = census.labels(goroutine.label_set);
  if (goroutine.peer != kNoGoPeer) entry.peer = census.peer(goroutine.peer);
  entry.creator = names.Creator(goroutine.created_at);
  if (entry.creator) entry.parent = goroutine.parent_id;
  return entry;
}

void AddNotes(const CensusCounters& counters, Dump* dump) {
  const auto note = [&](uint64_t count, std::string_view what) {
    if (count) dump->notes.push_back(fmt::format("{} {}", count, what));
  };
  note(counters.unread, "goroutines moved each time that their stack was read: without a stack");
  note(counters.incomplete, "stacks were not followed to their outermost function");
  note(counters.unreadable, "goroutines could not be read: left out");
  note(counters.refused, "entries of the runtime's list are no goroutines: left out");
  note(counters.peers_unknown,
       "goroutines wait for a socket, a channel or a lock that is not known");
  note(counters.labels_unread, "goroutines have labels that could not be read");
  note(counters.stacks_lost, "goroutines are without a stack: too many distinct ones");
}

}  // namespace

absl::StatusOr<Dump> DumpGoroutines(const LiveSpace& space) {
  std::vector<RefusedGoModule> refused;
  auto runtimes = FindGoRuntimes(space, &refused);
  if (!runtimes.ok()) return runtimes.status();
  const auto rules = IdleRules::BuiltIn();
  ProcessSockets sockets(fmt::format("/proc/{}", space.pid()), kSocketShareOfDump);
  CensusOptions options;
  options.sockets = &sockets;
  Dump dump;
  dump.taken_unix_ns = static_cast<int64_t>(ClockNs(CLOCK_REALTIME));
  for (const GoRuntime& runtime : *runtimes) {
    if (dump.go_version.empty()) dump.go_version = runtime.version;
    auto census = GoroutineCensus::Create(&space.memory(), runtime, options);
    if (!census.ok()) return census.status();
    Snapshot snapshot;
    const uint64_t before_ns = ClockNs(CLOCK_MONOTONIC);
    if (auto status = (*census)->Take(1, &snapshot); !status.ok()) return status;
    dump.took_ns += ClockNs(CLOCK_MONOTONIC) - before_ns;
    Names names(space, **census, &dump);
    Idle idle(rules.ok() ? &*rules : nullptr);
    const WaitTimes times(snapshot.goroutines, snapshot.time_ns);
    for (const Goroutine& goroutine : snapshot.goroutines)
      dump.entries.push_back(EntryOf(goroutine, **census, times, names, idle, dump));
    AddNotes((*census)->counters(), &dump);
    if (runtimes->size() > 1)
      dump.notes.push_back(fmt::format("{} goroutines are of {} ({})", snapshot.goroutines.size(),
                                       runtime.path, runtime.version));
  }
  for (const RefusedGoModule& module : refused)
    dump.notes.push_back(
        fmt::format("{} is left out: {}", module.path, std::string(module.why.message())));
  std::stable_sort(dump.entries.begin(), dump.entries.end(),
                   [](const DumpEntry& a, const DumpEntry& b) { return a.id < b.id; });
  return dump;
}

}  // namespace stallscope
