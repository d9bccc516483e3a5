// SPDX-License-Identifier: Apache-2.0
#include "userspace/collect/offcpu.h"

#include <absl/container/flat_hash_set.h>
#include <absl/status/status.h>
#include <fmt/format.h>
#include <sys/syscall.h>

#include <algorithm>

#include "symbolizer/go_binary.h"
#include "userspace/collect/losses.h"
#include "userspace/collect/probe_targets.h"
#include "userspace/collect/recorded_stacks.h"
#include "userspace/process/clock.h"
#include "userspace/process/proc_files.h"
#include "userspace/process/user_stack.h"

namespace stallscope {
namespace {

template <typename T>
std::string Bytes(const T& value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}

RawReason ReasonOf(const sample_key& key, uint32_t file_type) {
  RawReason reason;
  reason.syscall = key.syscall;
  if ((key.flags & SAMPLE_COMPAT) && key.syscall >= 0) reason.syscall += kCompatSyscall;
  reason.task_state = key.state;
  reason.in_iowait = key.flags & SAMPLE_IN_IOWAIT;
  reason.kernel_thread = key.flags & SAMPLE_KERNEL_THREAD;
  reason.file = static_cast<FileType>(std::min<uint32_t>(file_type, WIRE_FILE_OTHER));
  return reason;
}

// The system call that a thread which was stopped in it goes on in under the number of
// restart_syscall(2). The kernel keeps the number to itself, but the thread comes back to the
// instruction that made the call: where the one before it loads a number of those that are
// restarted so, that is it. nullopt: it is another kind of wait, or cannot be told.
std::optional<int32_t> RestartedSyscall(const thread_record& thread, const LiveSpace& space) {
#ifdef __x86_64__
  if (thread.syscall != SYS_restart_syscall || (thread.sample_flags & SAMPLE_COMPAT))
    return std::nullopt;
  struct __attribute__((packed)) {
    uint8_t load;  // mov $number, %eax
    int32_t number;
    uint8_t call[2];  // syscall
  } code;
  static_assert(sizeof(code) == 7);
  if (!space.memory().Read(thread.ip - sizeof(code), &code, sizeof(code))) return std::nullopt;
  if (code.load != 0xb8 || code.call[0] != 0x0f || code.call[1] != 0x05) return std::nullopt;
  for (const int32_t number : {SYS_nanosleep, SYS_clock_nanosleep, SYS_poll, SYS_futex}) {
    if (code.number == number) return number;
  }
#else
  static_cast<void>(thread);
  static_cast<void>(space);
#endif
  return std::nullopt;
}

}  // namespace

absl::StatusOr<std::unique_ptr<OffCpu>> OffCpu::Start(const OffCpuOptions& options,
                                                      PidNamespace* pids,
                                                      symbolizer::ModuleCache* modules) {
  std::unique_ptr<OffCpu> self(new OffCpu(options, pids, modules));
  if (auto mappings = CodeMappings::Open(); mappings.ok()) {
    self->code_mappings_ = *std::move(mappings);
  } else {
    self->no_code_mappings_ = std::string(mappings.status().message());
  }
  self->processes_.ReadNamed();
  auto loaded = Ledger::Load(options.ledger);
  if (!loaded.ok()) return loaded.status();
  self->ledger_ = *std::move(loaded);
  if (auto status = self->processes_.Attach(&self->ledger_->targets()); !status.ok()) return status;
  if (auto status = self->ledger_->Attach(); !status.ok()) return status;
  auto status = self->ReadOpenThreads();
  if (!status.ok()) return status;
  return self;
}

// Threads that wait now: into the ledger first, so that their time counts from the start; then
// their stacks, read from outside; then a second look, because a thread that ran meanwhile may have
// been read in two halves.
absl::Status OffCpu::ReadOpenThreads() {
  auto threads = ledger_->OpenPass();
  if (!threads.ok()) return threads.status();
  if (start_ns_ == 0) {
    start_ns_ = ClockNs(CLOCK_MONOTONIC);
    ledger_->Start(start_ns_);
  }
  absl::flat_hash_map<uint64_t, uint64_t> switches;  // promise -> at the first look
  for (const thread_record& thread : *threads) {
    if (options_.from_exec) before_exec_ = thread.space;
    if (!(thread.user_stack & STACK_PROMISE)) continue;
    const SpaceIndex index = processes_.spaces().Find(thread.space);
    if (user_stacks_.contains(StackKey(index, thread.user_stack))) continue;  // of an earlier pass
    Space& space = processes_.spaces().at(index);
    Stack stack;
    if (space.live && thread.ip) {
      Registers registers = {thread.ip, thread.sp, thread.bp, thread.fsbase};
      stack = UnwindFromOutside(registers, space.go ? &*space.go : nullptr, *space.live, index);
      processes_.teacher().TeachStack(stack, *space.live);
      if (const auto syscall = RestartedSyscall(thread, *space.live))
        restarted_[thread.user_stack] = *syscall;
    } else {
      stack.end = StackEnd::kNone;
    }
    user_stacks_[{index, thread.user_stack}] = std::move(stack);
    switches[thread.user_stack] = thread.switches;
  }
  auto again = ledger_->VerifyPass();
  if (!again.ok()) return again.status();
  absl::flat_hash_set<uint64_t> unmoved;
  for (const thread_record& thread : *again) {
    const auto first = switches.find(thread.user_stack);
    if (first != switches.end() && first->second == thread.switches)
      unmoved.insert(thread.user_stack);
  }
  for (auto& [key, stack] : user_stacks_) {
    if (!switches.contains(key.second) || unmoved.contains(key.second)) continue;
    ++moved_;
    stack = MarkerStack("stack not read", StackEnd::kMoved);
  }
  return absl::OkStatus();
}

std::vector<ProcessChange> OffCpu::TakeProcessEvents() {
  return processes_.TakeEvents([this](const process_event& event, bool begins) {
    const space_key& space = event.space;
    if (begins) lives_[space.tgid].insert(space.start_boot_ns);
    if (event.kind == PROCESS_EXIT) ends_[{space.tgid, space.start_boot_ns}] = event.time_ns;
  });
}

absl::StatusOr<std::vector<ProcessChange>> OffCpu::Drain() {
  SeeMappings();  // before anything is opened that they would be held against
  // The samples first: an exec that comes after them is then known before their program is read.
  auto samples = ledger_->Drain();
  if (!samples.ok()) return samples.status();
  auto changes = TakeProcessEvents();
  windows_.Read(Booking());
  // Nobody asks for these again: one process has one layout at a time.
  if (options_.ledger.mode == TARGET_ONE && windows_.empty()) walked_.clear();
  Take(*samples);
  return changes;
}

void OffCpu::SeeMappings() {
  if (!code_mappings_) return;
  for (auto& [pid, line] : code_mappings_->Drain())
    processes_.spaces().SawMapping(pid, std::move(line));
}

bool OffCpu::IsForeign(const space_key& key) const {
  if (before_exec_ && key.tgid == before_exec_->tgid && key.exec_id == before_exec_->exec_id)
    return true;
  if (options_.ledger.mode == TARGET_ALL) return false;
  const auto life = lives_.find(key.tgid);
  if (life != lives_.end()) return !life->second.contains(key.start_boot_ns);
  return processes_.IsForeign(key);
}

void OffCpu::Take(const Ledger::Samples& samples) {
  for (const auto& [key, value] : samples) {
    if (IsForeign(key.space)) continue;
    const SpaceIndex space = processes_.spaces().Find(key.space);
    // Read while the kernel has them, even if the sample has to wait for its space.
    KeepUserStack(space, key.user_stack);
    KeepKernelStack(key.kernel_stack);
    if (key.tid && !thread_names_.contains(key.tid)) {
      const auto own = pids_->FromKernel(key.tid);
      thread_names_[key.tid] =
          own ? ReadComm(fmt::format("/proc/{}/task/{}", processes_.spaces().at(space).pid, *own))
              : "?";
    }
    const bool has_addresses =
        key.user_stack >= STACK_ID_FIRST && !(key.user_stack & STACK_PROMISE);
    if (has_addresses && processes_.spaces().at(space).live) {
      windows_.Add(space, key, value);
    } else {
      Book(space, key, value);
    }
    waits_ += value.count;
  }
  // Stacks that were read may leave the kernel's map: they come again if they occur again.
  const uint64_t kept = ledger_->Counters()[LEDGER_STACKS_KEPT];
  if (kept - kept_at_last_forget_ > options_.ledger.stack_entries / 2) {
    ledger_->ForgetStacks(read_ids_);
    read_ids_.clear();
    kept_at_last_forget_ = kept;
  }
}

LayoutWindows::Sink OffCpu::Booking() {
  return [this](SpaceIndex space, const sample_key& key, const sample_value& value) {
    Book(space, key, value);
  };
}

void OffCpu::Book(SpaceIndex space, const sample_key& key, const sample_value& value) {
  std::string bytes = Bytes(key);
  bytes += Bytes(space);
  Sum& sum = sums_[bytes];
  if (sum.value.count == 0) {
    sum.space = space;
    sum.key = key;
    sum.value.file_type = value.file_type;
    KeepUserStack(space, key.user_stack);
  }
  sum.value.blocked_ns += value.blocked_ns;
  sum.value.runq_ns += value.runq_ns;
  sum.value.count += value.count;
}

const Stack* OffCpu::EarlierStack(SpaceIndex space, uint64_t id) const {
  for (auto at = processes_.spaces().at(space).previous; at;
       at = processes_.spaces().at(*at).previous) {
    if (const auto found = user_stacks_.find(StackKey(*at, id)); found != user_stacks_.end())
      return &found->second;
  }
  return nullptr;
}

void OffCpu::KeepUserStack(SpaceIndex index, uint64_t id) {
  if (id < STACK_ID_FIRST || (id & STACK_PROMISE) || user_stacks_.contains(StackKey(index, id)))
    return;
  // Another space may have met the same stack, and the kernel's copy may be forgotten since.
  if (!walked_.contains(id)) {
    const auto raw = ledger_->ReadStack(id);
    if (!raw) {
      KeepEarlierStack(index, id);
      return;
    }
    read_ids_.push_back(id);
    walked_[id] = Unpack(*raw);
  }
  Space& space = processes_.spaces().at(index);
  const WalkedStack& walked = walked_[id];
  if (!space.live) {
    user_stacks_[{index, id}] = UnjudgedStack(walked, index);
    return;
  }
  Stack stack = JudgeUserStack(walked, *space.live, index);
  processes_.teacher().TeachStack(stack, *space.live);
  user_stacks_[{index, id}] = std::move(stack);
}

// The kernel has forgotten the stack since an earlier layout met it: the addresses are the same,
// the names are this one's.
void OffCpu::KeepEarlierStack(SpaceIndex index, uint64_t id) {
  const Stack* earlier = EarlierStack(index, id);
  if (!earlier) {
    unread_stacks_.insert({index, id});
    return;
  }
  Stack stack = *earlier;
  for (Segment& segment : stack.segments) {
    if (segment.kind != SegmentKind::kMarker) segment.space = index;
  }
  user_stacks_[{index, id}] = std::move(stack);
}

void OffCpu::KeepKernelStack(uint64_t id) {
  if (id < STACK_ID_FIRST || kernel_stacks_.contains(id)) return;
  const auto raw = ledger_->ReadStack(id);
  if (!raw) return;
  read_ids_.push_back(id);
  kernel_stacks_[id].assign(raw->addresses, raw->addresses + raw->count);
}

absl::StatusOr<std::vector<ProcessChange>> OffCpu::Stop() {
  stop_ns_ = ClockNs(CLOCK_MONOTONIC);
  auto threads = ledger_->Close(stop_ns_);
  if (!threads.ok()) return threads.status();
  blocked_at_end_ = *std::move(threads);
  // Two drains: what was summed before the end, and what the closing pass added.
  std::vector<ProcessChange> all;
  for (int i = 0; i < 2; ++i) {
    auto changes = Drain();
    if (!changes.ok()) return changes.status();
    all.insert(all.end(), changes->begin(), changes->end());
  }
  SeeMappings();
  windows_.Finish(Booking());
  processes_.Detach();
  return all;
}

uint32_t OffCpu::InternStack(SpaceIndex space, uint64_t user, uint64_t kernel,
                             Recording* recording) {
  const uint64_t parts[3] = {space, user, kernel};
  const auto [it, is_new] = interned_.try_emplace(Bytes(parts), 0);
  if (!is_new) return it->second;
  Stack stack;
  if (const auto found = user_stacks_.find(StackKey(space, user)); found != user_stacks_.end()) {
    stack = found->second;
  } else if (const Stack* earlier = user & STACK_PROMISE ? EarlierStack(space, user) : nullptr) {
    stack = *earlier;  // read when the recording began: its names are those of that time
  } else if (user == STACK_NONE) {
    stack.end = StackEnd::kNone;
  } else {
    stack = MarkerStack("stack lost", StackEnd::kLost);
  }
  if (const auto found = kernel_stacks_.find(kernel); found != kernel_stacks_.end()) {
    Segment segment;
    segment.kind = SegmentKind::kKernel;
    segment.space = kKernelSpace;
    for (size_t i = 0; i < found->second.size(); ++i) {
      segment.addresses.push_back({found->second[i], /*is_return=*/i > 0, false});
    }
    stack.segments.insert(stack.segments.begin(), std::move(segment));
  }
  const auto [index, fresh] = stack_index_.try_emplace(stack, recording->stacks.size());
  if (fresh) recording->stacks.push_back(std::move(stack));
  it->second = index->second;
  return it->second;
}

sample_key OffCpu::Restarted(sample_key key) const {
  const auto found = restarted_.find(key.user_stack);
  if (found != restarted_.end()) key.syscall = found->second;
  return key;
}

absl::Status OffCpu::Fill(Recording* recording, const std::function<bool()>& interrupted) {
  recording->start_mono_ns = start_ns_;
  recording->duration_ns = stop_ns_ - start_ns_;
  recording->per_thread = options_.ledger.per_thread;

  RecordedEvent event;
  event.name = "offcpu";
  event.columns = {{"time", "ns"}, {"runq", "ns"}, {"count", "count"}};
  event.mechanism = ledger_->mechanism();
  for (const auto& [bytes, sum] : sums_) {
    Sample sample;
    sample.space = sum.space;
    sample.stack = InternStack(sum.space, sum.key.user_stack, sum.key.kernel_stack, recording);
    sample.reason = ReasonOf(Restarted(sum.key), sum.value.file_type);
    if (sum.key.tid) {
      sample.tid = pids_->FromKernel(sum.key.tid).value_or(sum.key.tid);
      sample.thread_name = thread_names_[sum.key.tid];
    }
    sample.values = {static_cast<int64_t>(sum.value.blocked_ns),
                     static_cast<int64_t>(sum.value.runq_ns),
                     static_cast<int64_t>(sum.value.count)};
    event.samples.push_back(std::move(sample));
  }
  recording->events.push_back(std::move(event));

  for (const thread_record& thread : blocked_at_end_) {
    if (IsForeign(thread.space)) continue;
    if (!(thread.flags & THREAD_WHOLE_TIME) && !options_.hung_at_end) continue;
    HungThread hung;
    hung.space = processes_.spaces().Find(thread.space);
    hung.tid = pids_->FromKernel(thread.tid).value_or(thread.tid);
    hung.name = std::string(thread.comm, strnlen(thread.comm, sizeof(thread.comm)));
    KeepKernelStack(thread.kernel_stack);
    hung.stack = InternStack(hung.space, thread.user_stack, thread.kernel_stack, recording);
    sample_key key = {};
    key.syscall = thread.syscall;
    key.state = thread.state;
    key.flags = thread.sample_flags;
    key.user_stack = thread.user_stack;
    hung.reason = ReasonOf(Restarted(key), thread.file_type);
    recording->hung.push_back(std::move(hung));
  }
  AddThreadsBlockedUntilTheEnd(recording);
  for (const auto& [key, sum] : ledger_->Totals()) {
    if (IsForeign(key)) continue;
    ProcessTotals totals;
    totals.space = processes_.spaces().Find(key);
    totals.running_ns = sum.running_ns;
    totals.runnable_ns = sum.runnable_ns;
    totals.blocked_ns = sum.blocked_ns;
    totals.unknown_ns = sum.unknown_ns;
    totals.switches = sum.switches;
    recording->totals.push_back(totals);
  }
  AddLosses(recording);
  AddSpaces(processes_.spaces(), recording);
  return NameAddresses(processes_.spaces(), 0, 0, recording, interrupted);
}

// Of a process that ended before the recording did: the waits from the recording's begin to that
// end. No wait is longer, so a sum that lacks next to nothing of its count times that has no other.
void OffCpu::AddThreadsBlockedUntilTheEnd(Recording* recording) {
  constexpr uint64_t kShortestNs = 500'000'000;
  constexpr uint64_t kDyingNs = 50'000'000;  // all of its threads together, from the signal on
  for (const auto& [bytes, sum] : sums_) {
    const space_key& key = processes_.spaces().at(sum.space).key;
    const auto end = ends_.find({key.tgid, key.start_boot_ns});
    if (end == ends_.end() || end->second < start_ns_ + kShortestNs) continue;
    const uint64_t whole_ns = end->second - start_ns_;
    const uint64_t most = kShortestNs * 1'000'000'000 / whole_ns;  // no sum reaches 2^64
    if (sum.value.count > most || sum.value.blocked_ns + kDyingNs < sum.value.count * whole_ns)
      continue;
    HungThread hung;
    hung.space = sum.space;
    hung.tid = sum.key.tid ? pids_->FromKernel(sum.key.tid).value_or(sum.key.tid) : 0;
    if (const auto name = thread_names_.find(sum.key.tid); name != thread_names_.end())
      hung.name = name->second;
    hung.stack = InternStack(sum.space, sum.key.user_stack, sum.key.kernel_stack, recording);
    hung.reason = ReasonOf(Restarted(sum.key), sum.value.file_type);
    for (uint64_t i = 0; i < sum.value.count; ++i) recording->hung.push_back(hung);
  }
}

void OffCpu::AddLosses(Recording* recording) const {
  const std::vector<uint64_t> counters = ledger_->Counters();
  Losses losses("offcpu", recording);
  const std::string more_stacks = fmt::format("--stacks {}", options_.ledger.stack_entries * 4);
  losses.Add("stack map full", counters[LEDGER_STACK_MAP_FULL], more_stacks, false);
  losses.Add("sample map full", counters[LEDGER_SAMPLE_MAP_FULL], more_stacks, true,
             counters[LEDGER_SAMPLE_MAP_FULL_NS]);
  const size_t unread =
      std::count_if(unread_stacks_.begin(), unread_stacks_.end(),
                    [&](const StackKey& key) { return !user_stacks_.contains(key); });
  // Their length is not known, so they are in no sample and in no total but `unknown`.
  losses.Add("start unknown", counters[LEDGER_START_UNKNOWN] + counters[LEDGER_END_UNKNOWN], "",
             true);
  losses.Add("no thread storage", counters[LEDGER_NO_STORAGE], "", true);
  losses.Add("stack could not be read", unread, more_stacks, false);
  losses.Add("thread totals lost", counters[LEDGER_TOTALS_FULL], "", false);
  losses.Add("thread moved while its stack was read", moved_, "", false);
  losses.Add("process gone before it could be read", processes_.spaces().gone(), "", false);
  losses.Add("process events lost", processes_.events_lost(), "", false);
  if (code_mappings_) losses.Add("mapping events lost", code_mappings_->lost(), "", false);
  losses.Hide("--min", counters[LEDGER_BELOW_MIN], counters[LEDGER_BELOW_MIN_NS]);
  losses.Hide("--max", counters[LEDGER_ABOVE_MAX], counters[LEDGER_ABOVE_MAX_NS]);
  if (!code_mappings_) {
    recording->notes.push_back(
        fmt::format("{}: a library that was mapped between two readings of the layout is not seen",
                    no_code_mappings_));
  }
  if (const uint64_t repaired = counters[LEDGER_SWITCH_IN_REPAIRED]) {
    recording->notes.push_back(
        fmt::format("{} missed switch-ins repaired from the scheduler's own record", repaired));
  }
}

absl::Status OffCpu::AddTarget(uint32_t kernel_tgid) {
  if (auto status = processes_.AddTarget(kernel_tgid); !status.ok()) return status;
  return ReadOpenThreads();  // what waits in it already
}

std::vector<int> OffCpu::ProgramFds() const {
  std::vector<int> fds = ledger_->ProgramFds();
  for (int fd : processes_.ProgramFds()) fds.push_back(fd);
  return fds;
}

std::vector<int> OffCpu::MapFds() const {
  std::vector<int> fds = ledger_->MapFds();
  for (int fd : processes_.MapFds()) fds.push_back(fd);
  return fds;
}

}  // namespace stallscope
