// SPDX-License-Identifier: Apache-2.0
#include "userspace/collect/epoll.h"

#include <absl/container/flat_hash_set.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "userspace/collect/losses.h"
#include "userspace/collect/recorded_stacks.h"
#include "userspace/process/clock.h"
#include "userspace/process/proc_files.h"
#include "userspace/profile/reason.h"

namespace stallscope {
namespace {

uint64_t Between(uint64_t from, uint64_t to) { return to > from ? to - from : 0; }

std::string CallWords(int32_t syscall, uint32_t flags) {
  const auto name = SyscallName(syscall);
  const std::string words = name ? std::string(*name) : fmt::format("syscall {}", syscall);
  return flags & EPOLL_UNFINISHED ? Unfinished(words) : words;
}

// Loops that are told of in the summary.
constexpr int kMostNotes = 3;

std::string Duration(uint64_t ns) {
  const auto value = static_cast<double>(ns);
  if (ns < 1'000'000) return fmt::format("{:.3g} us", value / 1e3);
  if (ns < 1'000'000'000) return fmt::format("{:.3g} ms", value / 1e6);
  return fmt::format("{:.3g} s", value / 1e9);
}

// What is to be said of the loops that were waited on most, in lines that fit a screen. `pid_of`:
// of a row's space.
template <typename PidOf>
void AddNotes(const std::vector<EventLoop>& loops, bool has_lag, const PidOf& pid_of,
              Recording* recording) {
  int said = 0;
  for (const auto& [space, stack, row] : loops) {
    if (row.threads == 0) continue;  // poll() and select()
    if (said++ == kMostNotes) break;
    const std::string name = fmt::format("{} of {}", row.name, pid_of(space));
    recording->notes.push_back(fmt::format("{}: {} calls, {} events, {} empty; away {}", name,
                                           row.calls, row.events, row.empty,
                                           Duration(row.longest_unattended_ns)));
    if (!row.lag || row.lag->count() == 0) continue;
    recording->notes.push_back(
        fmt::format("{}: lag p50 {}, p99 {}, max {}", name, Duration(row.lag->Quantile(0.5)),
                    Duration(row.lag->Quantile(0.99)), Duration(row.longest_lag_ns)));
  }
  if (said && !has_lag)
    recording->notes.push_back("this kernel does not tell how late loops are (sk_data_ready, 6.3)");
}

WalkedProcessesOptions ProcessesOf(const EpollOptions& options) {
  return {options.probe, options.follow_children, options.wanted_comm};
}

}  // namespace

Epoll::Epoll(EpollOptions options, PidNamespace* pids, symbolizer::ModuleCache* modules)
    : pids_(pids), options_(std::move(options)), processes_(ProcessesOf(options_), pids, modules) {}

absl::StatusOr<std::unique_ptr<Epoll>> Epoll::Start(const EpollOptions& options, PidNamespace* pids,
                                                    symbolizer::ModuleCache* modules) {
  std::unique_ptr<Epoll> self(new Epoll(options, pids, modules));
  self->processes_.ReadNamed();
  auto probe = EpollProbe::Load(options.probe);
  if (!probe.ok()) return probe.status();
  self->probe_ = *std::move(probe);
  if (auto status = self->processes_.Attach(&self->probe_->targets()); !status.ok()) return status;
  if (auto status = self->probe_->Attach(); !status.ok()) return status;
  self->start_ns_ = ClockNs(CLOCK_MONOTONIC);
  self->probe_->Start(self->start_ns_);
  if (auto status = self->probe_->FindCalls(self->start_ns_); !status.ok()) return status;
  return self;
}

absl::Status Epoll::AddTarget(uint32_t kernel_tgid) {
  // Calls that it is in now began before it was ours: they count from here.
  const uint64_t now = ClockNs(CLOCK_MONOTONIC);
  if (auto status = processes_.AddTarget(kernel_tgid); !status.ok()) return status;
  return probe_->FindCalls(now);
}

// --- While it records.

absl::StatusOr<std::vector<ProcessChange>> Epoll::Drain() {
  // The records first: an exec that comes after them is then known before their program is read.
  auto records = probe_->Drain();
  std::vector<ProcessChange> changes = processes_.TakeEvents();
  if (!records.ok()) return records.status();
  Take(*records);
  return changes;
}

void Epoll::Take(const EpollProbe::Records& records) {
  for (const stack_record& record : records.stacks) stacks_.Take(record);
  for (const auto& [key, sum] : records.sums) TakeSum(key, sum);
  for (const loop_thread_record& record : records.threads) {
    NameOf(record.key.loop);
    TakeThread(record.key, record.row, record.ended_ns);
  }
}

void Epoll::TakeSum(const epoll_key& key, const epoll_sum& sum) {
  calls_ += sum.count;
  if (processes_.IsForeign(key.loop.space)) return;
  const SpaceIndex space = processes_.FindAndTeach(key.loop.space);
  if (key.tid && !thread_names_.contains(key.tid)) {
    const auto own = pids_->FromKernel(key.tid);
    thread_names_[key.tid] =
        own ? ReadComm(fmt::format("/proc/{}/task/{}", processes_.spaces().at(space).pid, *own))
            : "?";
  }
  NameOf(key.loop);  // while its row is there
  Sum& all = sums_[{space, key.stack, CallWords(key.syscall, key.flags), key.loop.loop, key.tid}];
  all.time_ns += sum.time_ns;
  all.count += sum.count;
  all.events += sum.events;
  all.empty += sum.empty;
}

// "epoll fd 5"; empty: there is no loop.
const std::string& Epoll::NameOf(const loop_key& key) {
  std::string& name = names_[{processes_.FindAndTeach(key.space), key.loop}];
  if (name.empty() && key.loop) {
    const auto row = probe_->Loop(key);
    name = row ? fmt::format("epoll fd {}", row->fd) : "epoll";
  }
  return name;
}

// --- The end.

absl::StatusOr<std::vector<ProcessChange>> Epoll::Stop() {
  auto changes = Drain();
  if (!changes.ok()) return changes.status();
  stop_ns_ = ClockNs(CLOCK_MONOTONIC);
  if (auto status = probe_->Stop(stop_ns_); !status.ok()) return status;
  auto rest = Drain();
  if (!rest.ok()) return rest.status();
  for (ProcessChange& change : *rest) changes->push_back(std::move(change));
  // Who has ended meanwhile has left its loops.
  if (auto status = TakeLoops(); !status.ok()) return status;
  if (auto status = TakeOpenCalls(); !status.ok()) return status;
  probe_->Detach();
  processes_.Detach();
  return changes;
}

absl::Status Epoll::TakeLoops() {
  auto open = probe_->OpenLoops();
  if (!open.ok()) return open.status();
  absl::flat_hash_set<std::pair<uint32_t, uint64_t>> open_loops;  // tgid, address
  for (const loop_key& key : *open) open_loops.insert({key.space.tgid, key.loop});
  const auto is_open = [&](const loop_key& key) {
    return open_loops.contains({key.space.tgid, key.loop});
  };

  for (const auto& [key, row] : probe_->LoopThreads()) {
    const auto tid = pids_->FromKernel(key.tid);
    const bool lives = tid && access(fmt::format("/proc/{}", *tid).c_str(), F_OK) == 0;
    // A thread that ended, or a loop that was closed: nobody is busy with it since.
    const bool over = !lives || !is_open(key.loop);
    TakeThread(key, row, over && row.left_ns ? row.left_ns : stop_ns_);
  }
  for (const auto& [key, row] : probe_->Loops()) {
    if (processes_.IsForeign(key.space)) continue;
    Loop& loop = LoopOf(key);
    loop.longest_lag_ns = row.longest_lag_ns;
    loop.longest_unattended_ns = row.longest_unattended_ns;
    if (row.inside <= 0 && row.left_ns && is_open(key)) {
      loop.longest_unattended_ns =
          std::max(loop.longest_unattended_ns, Between(row.left_ns, stop_ns_));
    }
  }
  for (const auto& [key, times] : probe_->Lags()) {
    if (!processes_.IsForeign(key.loop.space)) LoopOf(key.loop).lag.AddBucket(key.bucket, times);
  }
  return absl::OkStatus();
}

// `end_ns`: the end of the thread, or of the recording.
void Epoll::TakeThread(const loop_thread_key& key, const loop_thread& row, uint64_t end_ns) {
  if (processes_.IsForeign(key.loop.space)) return;
  Loop& loop = LoopOf(key.loop);
  ++loop.threads;
  loop.calls += row.calls;
  loop.polls += row.polls;
  loop.events += row.events;
  loop.empty += row.empty;
  loop.empty_polls += row.empty_polls;
  loop.waiting_ns += row.waiting_ns;
  loop.thread_ns += Between(row.since_ns, end_ns);
  loop.longest_busy_ns = std::max<uint64_t>(loop.longest_busy_ns, row.longest_busy_ns);
  if (row.left_ns)
    loop.longest_busy_ns = std::max(loop.longest_busy_ns, Between(row.left_ns, end_ns));
}

// The stacks of calls that began before the recording and never ended are read from outside; then a
// second look, because a thread that ran meanwhile may have been read in two halves.
absl::Status Epoll::TakeOpenCalls() {
  auto calls = probe_->OpenCalls();
  if (!calls.ok()) return calls.status();
  absl::flat_hash_map<uint64_t, uint64_t> switches;  // promise -> at the first look
  for (const epoll_call& call : *calls) {
    if (!(call.key.stack & STACK_PROMISE) || processes_.IsForeign(call.key.loop.space)) continue;
    stacks_.Read(call.key.loop.space, {call.ip, call.sp, call.bp, call.fsbase}, call.key.stack);
    switches[call.key.stack] = call.switches;
  }
  if (!switches.empty()) {
    auto again = probe_->OpenCalls();
    if (!again.ok()) return again.status();
    for (const epoll_call& call : *again) {
      const auto first = switches.find(call.key.stack);
      if (first != switches.end() && first->second == call.switches) switches.erase(first);
    }
  }
  for (const auto& [id, count] : switches) {
    ++moved_;
    stacks_.Replace(id, MarkerStack("stack not read", StackEnd::kMoved));
  }
  for (const epoll_call& call : *calls) TakeOpenCall(call);
  return absl::OkStatus();
}

void Epoll::TakeOpenCall(const epoll_call& call) {
  const uint64_t time_ns = Between(call.since_ns, stop_ns_);
  if (processes_.IsForeign(call.key.loop.space)) return;
  if (call.key.loop.loop) {
    Loop& loop = LoopOf(call.key.loop);
    ++loop.calls;
    if (!(call.key.flags & EPOLL_NO_WAIT)) loop.waiting_ns += time_ns;
  }
  if (time_ns < options_.probe.min_ns || time_ns > options_.probe.max_ns) {
    Hidden& hidden = time_ns < options_.probe.min_ns ? below_min_ : above_max_;
    ++hidden.count;
    hidden.time_ns += time_ns;
    return;
  }
  epoll_key key = call.key;
  key.flags = EPOLL_UNFINISHED;
  if (!options_.probe.per_thread) key.tid = 0;
  TakeSum(key, {time_ns, 1, 0, 0});
}

// --- The recording.

absl::Status Epoll::Fill(Recording* recording, const std::function<bool()>& interrupted,
                         std::vector<EventLoop>* loops) const {
  const SpaceIndex base = recording->spaces.size();
  const size_t first_stack = recording->stacks.size();
  RecordedEvent event;
  event.name = "epoll";
  event.columns = {{"time", "ns"}, {"count", "count"}, {"events", "count"}, {"empty", "count"}};
  event.mechanism = probe_->mechanism();
  std::map<Stack, uint32_t> index;
  for (const auto& [key, sum] : sums_) {
    const auto& [space, id, words, loop, tid] = key;
    Stack stack = stacks_.Find(id);
    for (Segment& segment : stack.segments) {
      if (segment.kind != SegmentKind::kMarker) segment.space += base;
    }
    const auto [place, fresh] = index.try_emplace(stack, recording->stacks.size());
    if (fresh) recording->stacks.push_back(std::move(stack));
    Sample sample;
    sample.space = base + space;
    sample.stack = place->second;
    sample.reason.words = words;
    if (const auto name = names_.find({space, loop}); name != names_.end())
      sample.reason.peer = name->second;
    if (options_.probe.per_thread) {
      sample.tid = pids_->FromKernel(tid).value_or(tid);
      if (const auto name = thread_names_.find(tid); name != thread_names_.end())
        sample.thread_name = name->second;
    }
    for (const uint64_t value : {sum.time_ns, sum.count, sum.events, sum.empty})
      sample.values.push_back(static_cast<int64_t>(value));
    event.samples.push_back(std::move(sample));
  }
  std::vector<EventLoop> found = FindLoops(base, event.samples);
  const auto pid_of = [&](SpaceIndex space) { return PidOf(space - base); };
  if (loops) {
    *loops = std::move(found);
  } else {
    AddNotes(found, probe_->has_lag(), pid_of, recording);
  }
  recording->per_thread |= options_.probe.per_thread;
  recording->events.push_back(std::move(event));
  AddLosses(recording);
  AddSpaces(processes_.spaces(), recording);
  return NameAddresses(processes_.spaces(), base, first_stack, recording, interrupted);
}

// `samples`: one for each of `sums_`, in the same order.
std::vector<EventLoop> Epoll::FindLoops(SpaceIndex base, const std::vector<Sample>& samples) const {
  // The time on each stack of a loop, or of poll() or select(), which are told by it.
  struct Calls {
    std::map<uint32_t, uint64_t> time_on;  // by the recording's stack
    Sum sum;
    std::string name;
  };
  std::map<std::tuple<LoopId, uint32_t>, Calls> calls;
  size_t at = 0;
  for (const auto& [key, sum] : sums_) {
    const auto& [space, id, words, loop, tid] = key;
    const Sample& sample = samples[at++];
    Calls& all = calls[{{space, loop}, loop ? 0 : sample.stack}];
    all.time_on[sample.stack] += sum.time_ns;
    all.sum.time_ns += sum.time_ns;
    all.sum.count += sum.count;
    all.sum.events += sum.events;
    all.sum.empty += sum.empty;
    all.name = words.substr(0, words.find(' '));
  }
  std::vector<EventLoop> rows;
  const auto add = [&](SpaceIndex space, const Calls* on, NetLoop row) {
    EventLoop found;
    found.space = base + space;
    if (on) {
      found.stack =
          std::max_element(on->time_on.begin(), on->time_on.end(),
                           [](const auto& a, const auto& b) { return a.second < b.second; })
              ->first;
    }
    found.row = std::move(row);
    rows.push_back(std::move(found));
  };
  for (const auto& [id, loop] : loops_) {
    const auto on = calls.find({id, 0});
    add(id.first, on == calls.end() ? nullptr : &on->second, RowOf(id, loop));
  }
  for (const auto& [key, on] : calls) {
    const LoopId& id = std::get<LoopId>(key);
    if (id.second) continue;
    NetLoop row;
    row.process = ProcessOf(id.first);
    row.name = on.name;
    row.calls = on.sum.count;
    row.events = on.sum.events;
    row.empty = on.sum.empty;
    row.waiting_ns = on.sum.time_ns;
    add(id.first, &on, std::move(row));
  }
  std::stable_sort(rows.begin(), rows.end(), [](const EventLoop& a, const EventLoop& b) {
    return a.row.waiting_ns > b.row.waiting_ns;
  });
  return rows;
}

uint32_t Epoll::PidOf(SpaceIndex index) const {
  const Space& space = processes_.spaces().at(index);
  return space.pid ? space.pid : space.key.tgid;
}

std::string Epoll::ProcessOf(SpaceIndex index) const {
  return fmt::format("{} ({})", processes_.spaces().at(index).comm, PidOf(index));
}

NetLoop Epoll::RowOf(const LoopId& id, const Loop& loop) const {
  NetLoop row;
  row.process = ProcessOf(id.first);
  const auto name = names_.find(id);
  row.name = name == names_.end() || name->second.empty() ? "epoll" : name->second;
  row.threads = loop.threads;
  row.calls = loop.calls;
  row.polls = loop.polls;
  row.events = loop.events;
  row.empty = loop.empty;
  row.empty_polls = loop.empty_polls;
  row.waiting_ns = loop.waiting_ns;
  if (loop.thread_ns) {
    row.waiting_share = static_cast<double>(loop.waiting_ns) / static_cast<double>(loop.thread_ns);
  }
  row.longest_busy_ns = loop.longest_busy_ns;
  row.longest_unattended_ns = loop.longest_unattended_ns;
  if (probe_->has_lag()) {
    row.lag = loop.lag;
    row.longest_lag_ns = loop.longest_lag_ns;
    row.without_lag = Between(loop.lag.count(), loop.events);
  }
  return row;
}

void Epoll::AddLosses(Recording* recording) const {
  const std::vector<uint64_t> counters = probe_->Counters();
  const std::string more_stacks =
      fmt::format("--stacks {}", uint64_t{options_.probe.stack_entries} * 4);
  Losses losses("epoll", recording);
  losses.Add("sample map full", counters[EPOLL_SAMPLE_MAP_FULL], "", true,
             counters[EPOLL_SAMPLE_MAP_FULL_NS]);
  losses.Add("no memory for a thread", counters[EPOLL_NO_STORAGE], "", true);
  losses.Add("calls missed", probe_->MissedCalls(), "", true);
  losses.Add("stack map full", counters[EPOLL_STACK_MAP_FULL], more_stacks, false);
  losses.Add("ring of stacks full", counters[EPOLL_STACK_RING_FULL], "", false);
  losses.Add("loop map full", counters[EPOLL_LOOP_MAP_FULL], "", false);
  losses.Add("map of ready items full", counters[EPOLL_READY_MAP_FULL], "", false);
  losses.Add("lag map full", counters[EPOLL_LAG_MAP_FULL], "", false);
  losses.Add("arrivals of data missed", probe_->MissedArrivals(), "", false);
  losses.Add("process gone before it could be read", stacks_.gone(), "", false);
  losses.Add("stack not read", moved_, "", false);
  losses.Add("process events lost", processes_.events_lost(), "", false);
  losses.Hide("--min", below_min_.count + counters[EPOLL_BELOW_MIN],
              below_min_.time_ns + counters[EPOLL_BELOW_MIN_NS]);
  losses.Hide("--max", above_max_.count + counters[EPOLL_ABOVE_MAX],
              above_max_.time_ns + counters[EPOLL_ABOVE_MAX_NS]);
}

std::vector<int> Epoll::ProgramFds() const {
  std::vector<int> fds = probe_->ProgramFds();
  for (const int fd : processes_.ProgramFds()) fds.push_back(fd);
  return fds;
}

std::vector<int> Epoll::MapFds() const {
  std::vector<int> fds = probe_->MapFds();
  for (const int fd : processes_.MapFds()) fds.push_back(fd);
  return fds;
}

}  // namespace stallscope
