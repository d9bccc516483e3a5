// SPDX-License-Identifier: Apache-2.0
#include "userspace/go/goroutine_waits.h"

#include <absl/status/status.h>
#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <random>
#include <set>
#include <tuple>
#include <utility>

#include "userspace/process/clock.h"

namespace stallscope {
namespace {

constexpr uint32_t kNoSum = 0xffffffff;
// Where waits are measured, for what is not: system calls are entered and left in place from then
// on, and snapshots may take so much for them.
constexpr int kFirstWithInPlaceSyscalls = 26;
constexpr double kBudgetBesideMeasuring = 0.01;
// Of the budget, what reading the kernel's tables of sockets may take.
constexpr double kSocketShare = 0.25;
constexpr size_t kMostParted = 1 << 20;

// The states that are no wait of the runtime's have words of ours.
constexpr char kRunnable[] = "runnable";
constexpr char kSyscall[] = "syscall";
// A program that is gone was in its last snapshot so recently that the snapshot counts as its end.
constexpr uint64_t kRecentNs = 1'000'000'000;

constexpr uint32_t kRunnableWords = 0, kSyscallWords = 1, kPreemptedWords = 2;

// Of this thread, which is the one that takes the snapshots.
uint64_t OwnCpu() { return ClockNs(CLOCK_THREAD_CPUTIME_ID); }

uint64_t Rounded(double value) {
  return value > 0 ? static_cast<uint64_t>(std::llround(value)) : 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<GoroutineWaits>> GoroutineWaits::Start(
    std::shared_ptr<const LiveSpace> space, const GoroutineWaitsOptions& options) {
  const uint64_t cpu_before = OwnCpu();
  std::unique_ptr<GoroutineWaits> self(new GoroutineWaits(std::move(space), options));
  if (!self->options_.seed) self->options_.seed = std::random_device()();
  for (const char* words : {kRunnable, kSyscall, kPreempted}) self->InternWords(words);
  if (options.peers) {
    self->sockets_ = std::make_unique<ProcessSockets>(fmt::format("/proc/{}", self->space_->pid()),
                                                      options.budget * kSocketShare);
  }
  CensusOptions census_options;
  census_options.sockets = self->sockets_.get();
  auto found = FindGoRuntimes(*self->space_);
  if (!found.ok()) return found.status();
  for (const GoRuntime& runtime : *found) {
    auto census = GoroutineCensus::Create(&self->space_->memory(), runtime, census_options);
    if (!census.ok()) return census.status();
    Runtime& added = self->runtimes_.emplace_back();
    added.census = *std::move(census);
    if (options.created_by) {
      added.creator_stacks =
          std::make_unique<CreatorStacks>(&self->space_->memory(), added.census->runtime());
    }
    for (const std::string& words : runtime.wait_reasons)
      added.words_of_reason.push_back(self->InternWords(words));
  }
  self->snapshots_.resize(self->runtimes_.size());
  self->taking_.resize(self->runtimes_.size());
  if (auto status = self->Take(1); !status.ok()) return status;
  const uint64_t second = OwnCpu();
  if (auto status = self->Take(1); !status.ok()) return status;
  self->snapshot_cpu_ns_ = OwnCpu() - second;
  self->setup_cpu_ns_ = OwnCpu() - cpu_before;
  self->Begin();
  return self;
}

void GoroutineWaits::Begin() {
  for (Runtime& runtime : runtimes_)
    runtime.counts_at_start = ReadRuntimeCounts(runtime.census->runtime(), space_->memory());
  if (AnyInSystemCall()) {
    const auto threads = SleepingThreads(fmt::format("/proc/{}", space_->pid()));
    for (size_t i = 0; i < runtimes_.size(); ++i) {
      const GoRuntime& runtime = runtimes_[i].census->runtime();
      runtimes_[i].sleepers_at_start = SleepersInSystemCalls(
          snapshots_[i].goroutines, runtime.offsets, space_->memory(), threads);
    }
  }
  waits_ = 0;
  for (size_t i = 0; i < runtimes_.size(); ++i) CountWaitsAtStart(runtimes_[i], snapshots_[i]);
  start_ns_ = ClockNs(CLOCK_MONOTONIC);
  const uint64_t deadline_ns = options_.duration_ns ? start_ns_ + options_.duration_ns : 0;
  const double budget =
      options_.exact ? std::min(options_.budget, kBudgetBesideMeasuring) : options_.budget;
  plan_ = std::make_unique<TickPlan>(start_ns_, deadline_ns, budget, options_.seed);
  plan_->Expect(snapshot_cpu_ns_);
}

absl::Status GoroutineWaits::Take(double share) {
  uint64_t alive = 0;
  for (size_t i = 0; i < runtimes_.size(); ++i) {
    if (auto status = runtimes_[i].census->Take(share, &taking_[i]); !status.ok()) return status;
    alive += Rounded(static_cast<double>(taking_[i].goroutines.size()) * taking_[i].weight);
  }
  alive_ = alive;
  taken_ns_ = ClockNs(CLOCK_MONOTONIC);
  std::swap(snapshots_, taking_);
  return absl::OkStatus();
}

absl::Status GoroutineWaits::Tick() {
  const uint64_t cpu_before = OwnCpu();
  const double share = plan_->share();
  const auto stratum_ns = static_cast<double>(plan_->stratum_ns());
  if (auto status = Take(share); !status.ok()) return status;
  for (size_t i = 0; i < runtimes_.size(); ++i) Book(runtimes_[i], snapshots_[i], stratum_ns);
  CloseStratum(stratum_ns);
  looks_ += share;
  fewest_ = ticks_ == 0 ? alive_ : std::min(fewest_, alive_);
  most_ = std::max(most_, alive_);
  ++ticks_;
  shares_ += share;
  const uint64_t cpu_ns = OwnCpu() - cpu_before;
  tick_cpu_ns_ += cpu_ns;
  plan_->Took(cpu_ns);
  return absl::OkStatus();
}

// A wait that goes on when the recording begins is one that was seen. System calls that look alike
// are counted by looks.
void GoroutineWaits::CountWaitsAtStart(Runtime& runtime, const Snapshot& snapshot) {
  runtime.sums.clear();
  runtime.index.clear();
  runtime.sum_at.assign(snapshot.goroutines.size(), kNoSum);
  runtime.sum_of.clear();
  if (runtime.creator_stacks) FindCreators(runtime, snapshot);
  for (size_t place = 0; place < snapshot.goroutines.size(); ++place) {
    const Goroutine& goroutine = snapshot.goroutines[place];
    const auto words = WordsOf(runtime, goroutine);
    if (!words || (*words == kSyscallWords && !runtime.census->tells_system_calls_apart()))
      continue;
    const uint32_t index = SumOf(runtime, goroutine, place, *words);
    Sum& sum = runtime.sums[index];
    ++sum.waits;
    ++waits_;
    if (!goroutine.since_first_take) continue;
    ++sum.at_start;
    if (options_.peers || options_.created_by) runtime.sum_of[goroutine.id] = index;
  }
}

void GoroutineWaits::Book(Runtime& runtime, const Snapshot& snapshot, double stands_for_ns) {
  const double time_ns = stands_for_ns * snapshot.weight;
  runtime.sum_at.resize(snapshot.goroutines.size(), kNoSum);
  if (runtime.creator_stacks) FindCreators(runtime, snapshot);
  for (size_t place = 0; place < snapshot.goroutines.size(); ++place) {
    const Goroutine& goroutine = snapshot.goroutines[place];
    const auto words = WordsOf(runtime, goroutine);
    if (!words) continue;
    const uint32_t index = SumOf(runtime, goroutine, place, *words);
    if (goroutine.since_first_take && !runtime.sum_of.empty()) MoveTo(index, goroutine, runtime);
    Sum& sum = runtime.sums[index];
    sum.time_ns += time_ns;
    if (goroutine.since_first_take) sum.since_start_ns += time_ns;
    reasons_[*words].count += snapshot.weight;
    if (goroutine.same_wait && sum.waits > 0) continue;
    ++sum.waits;
    ++waits_;
  }
}

// A wait that the recording began with, of which more has come to be known, or less: its peer, its
// creator. It is one wait, and all its time goes where it is now.
void GoroutineWaits::MoveTo(uint32_t index, const Goroutine& goroutine, Runtime& runtime) {
  const auto known = runtime.sum_of.find(goroutine.id);
  if (known == runtime.sum_of.end() || known->second == index) return;
  Sum& from = runtime.sums[known->second];
  Sum& to = runtime.sums[index];
  known->second = index;
  const double time_ns = std::min(covered_ns_, from.since_start_ns);
  from.time_ns -= time_ns;
  from.since_start_ns -= time_ns;
  to.time_ns += time_ns;
  to.since_start_ns += time_ns;
  if (from.at_start == 0) return;
  --from.at_start;
  --from.waits;
  ++to.at_start;
  ++to.waits;
}

// Which goroutines have a creator that still stands where it started them. One that runs, or that
// is not in this snapshot, says nothing either way.
void GoroutineWaits::FindCreators(Runtime& runtime, const Snapshot& snapshot) {
  const std::vector<Goroutine>& goroutines = snapshot.goroutines;
  constexpr size_t kNotSeen = ~size_t{0};
  runtime.creator_of.assign(goroutines.size(), kNoCreator);
  runtime.creator_at.clear();
  for (const Goroutine& goroutine : goroutines) {
    if (goroutine.parent_id && goroutine.created_at)
      runtime.creator_at.try_emplace(goroutine.parent_id, kNotSeen);
  }
  for (size_t place = 0; place < goroutines.size(); ++place) {
    const auto creator = runtime.creator_at.find(goroutines[place].id);
    if (creator != runtime.creator_at.end()) creator->second = place;
  }
  for (size_t place = 0; place < goroutines.size(); ++place) {
    const Goroutine& goroutine = goroutines[place];
    if (!goroutine.parent_id || !goroutine.created_at) continue;
    const size_t at = runtime.creator_at[goroutine.parent_id];
    if (at == kNotSeen || goroutines[at].stack == kNoGoStack) continue;
    const GoStackIndex stack = goroutines[at].stack;
    const auto first_frame =
        runtime.creator_stacks->StandsAt(stack, runtime.census->stack(stack), goroutine.created_at);
    if (runtime.parted.size() + runtime.stood.size() >= kMostParted) continue;
    // A creator that has run since may stand there again, but for another.
    if (!first_frame || (!goroutines[at].same_wait && runtime.stood.contains(goroutine.id))) {
      runtime.parted.insert(goroutine.id);
    } else if (!runtime.parted.contains(goroutine.id)) {
      runtime.stood.insert(goroutine.id);
      const auto [it, added] =
          runtime.creator_index.try_emplace({stack, *first_frame}, runtime.creators.size());
      if (added) runtime.creators.push_back(it->first);
      runtime.creator_of[place] = it->second;
    }
  }
}

uint32_t GoroutineWaits::SumOf(Runtime& runtime, const Goroutine& goroutine, size_t place,
                               uint32_t words) {
  const Key key = {
      goroutine.stack,      words,
      goroutine.created_at, goroutine.label_set,
      goroutine.peer,       runtime.creator_of.empty() ? kNoCreator : runtime.creator_of[place]};
  uint32_t& sum_at = runtime.sum_at[place];
  if (sum_at != kNoSum && runtime.sums[sum_at].key == key) return sum_at;
  const auto [it, added] = runtime.index.try_emplace(key, runtime.sums.size());
  if (added) runtime.sums.emplace_back().key = key;
  sum_at = it->second;
  return it->second;
}

std::optional<uint32_t> GoroutineWaits::WordsOf(const Runtime& runtime,
                                                const Goroutine& goroutine) const {
  return WordsOf(runtime, goroutine.status, goroutine.wait_reason);
}

// nullopt: it does not wait.
std::optional<uint32_t> GoroutineWaits::WordsOf(const Runtime& runtime, uint32_t status,
                                                uint32_t reason) const {
  switch (status) {
    case kGoRunnable:
      return kRunnableWords;
    case kGoSyscall:
      return kSyscallWords;
    case kGoPreempted:
      return kPreemptedWords;
    case kGoWaiting:
    case kGoLeaked:
      if (reason < runtime.words_of_reason.size()) return runtime.words_of_reason[reason];
      return std::nullopt;
    default:
      return std::nullopt;
  }
}

bool GoroutineWaits::MeasuresSyscalls() const {
  return std::all_of(runtimes_.begin(), runtimes_.end(), [](const Runtime& runtime) {
    return runtime.census->runtime().minor < kFirstWithInPlaceSyscalls;
  });
}

bool GoroutineWaits::IsMeasured(uint32_t words) const {
  if (!options_.exact || words == kPreemptedWords) return false;
  if (words == kSyscallWords) return MeasuresSyscalls();
  return reasons_[words].words != kCoroutine;
}

std::vector<const GoRuntime*> GoroutineWaits::runtimes() const {
  std::vector<const GoRuntime*> runtimes;
  for (const Runtime& runtime : runtimes_) runtimes.push_back(&runtime.census->runtime());
  return runtimes;
}

absl::StatusOr<std::vector<Snapshot>> GoroutineWaits::Look() {
  if (auto status = Take(1); !status.ok()) return status;
  return snapshots_;
}

std::optional<double> GoroutineWaits::TransitionsPerSecond(uint64_t window_ns) const {
  std::vector<RuntimeCounts> before;
  const uint64_t begin_ns = ClockNs(CLOCK_MONOTONIC);
  for (const Runtime& runtime : runtimes_)
    before.push_back(ReadRuntimeCounts(runtime.census->runtime(), space_->memory()));
  const timespec window = {static_cast<time_t>(window_ns / 1'000'000'000),
                           static_cast<long>(window_ns % 1'000'000'000)};
  nanosleep(&window, nullptr);
  const auto seconds = static_cast<double>(ClockNs(CLOCK_MONOTONIC) - begin_ns) / 1e9;
  double transitions = 0;
  for (size_t i = 0; i < runtimes_.size(); ++i) {
    const auto between = TransitionsBetween(
        before[i], ReadRuntimeCounts(runtimes_[i].census->runtime(), space_->memory()));
    if (!between) return std::nullopt;
    transitions += static_cast<double>(*between);
  }
  return transitions / seconds;
}

void GoroutineWaits::SetMeasured(size_t index, const std::vector<MeasuredWaits>& waits) {
  Runtime& runtime = runtimes_[index];
  absl::flat_hash_map<std::pair<Key, bool>, size_t> sum_of;
  for (const MeasuredWaits& measured : waits) {
    const auto words = WordsOf(runtime, measured.status, measured.wait_reason);
    if (!words || !IsMeasured(*words)) continue;
    const bool never_ran =
        measured.never_ran || runtime.slept_throughout.contains(measured.in_one_call);
    Key key = {.stack = measured.census_stack, .words = *words, .created_at = measured.created_at};
    if (key.stack == kNoGoStack && !measured.no_stack)
      key.stack = runtime.census->Intern(measured.stack);
    const auto [it, added] = sum_of.try_emplace({key, never_ran}, runtime.measured.size());
    if (added) runtime.measured.push_back({.key = key, .measured = true});
    Sum& sum = runtime.measured[it->second];
    sum.time_ns += static_cast<double>(measured.time_ns);
    sum.waits += measured.count;
    if (never_ran) sum.never_ran += measured.count;
  }
}

uint32_t GoroutineWaits::InternWords(const std::string& words) {
  const auto [it, added] = reason_index_.try_emplace(words, reasons_.size());
  if (added) reasons_.emplace_back().words = words;
  return it->second;
}

void GoroutineWaits::CloseStratum(double stratum_ns) {
  for (Reason& reason : reasons_) {
    reason.sum.Add(reason.count, static_cast<uint64_t>(stratum_ns));
    reason.count = 0;
  }
  covered_ns_ += stratum_ns;
}

void GoroutineWaits::Stop(uint64_t stop_ns, bool gone) {
  stop_ns_ = stop_ns;
  if (gone) {
    const uint64_t blind_ns = stop_ns > taken_ns_ ? stop_ns - taken_ns_ : 0;
    if (ticks_ == 0 || blind_ns > kRecentNs) return;
    blind_ns_ = blind_ns;
    return FindThoseThatNeverRan();
  }
  const uint64_t cpu_before = OwnCpu();
  const bool seen = Take(1).ok();
  // The stratum that the end cuts: its snapshot is this one if it had none.
  if (seen && stop_ns > plan_->stratum_start_ns()) {
    const auto rest_ns = static_cast<double>(stop_ns - plan_->stratum_start_ns());
    for (size_t i = 0; i < runtimes_.size(); ++i) Book(runtimes_[i], snapshots_[i], rest_ns);
    CloseStratum(rest_ns);
    looks_ += 1;
  }
  for (Runtime& runtime : runtimes_)
    runtime.counts_at_end = ReadRuntimeCounts(runtime.census->runtime(), space_->memory());
  if (seen) {
    FindThoseThatNeverRan();
    FindSleepersThatNeverRan();
  }
  setup_cpu_ns_ += OwnCpu() - cpu_before;
}

// Of the goroutines that both the first and the last snapshot saw: those that were in one wait in
// all of them.
void GoroutineWaits::FindThoseThatNeverRan() {
  for (size_t i = 0; i < runtimes_.size(); ++i) {
    Runtime& runtime = runtimes_[i];
    if (runtime.creator_stacks) FindCreators(runtime, snapshots_[i]);
    for (size_t place = 0; place < snapshots_[i].goroutines.size(); ++place) {
      const Goroutine& goroutine = snapshots_[i].goroutines[place];
      const bool waits = goroutine.status == kGoWaiting || goroutine.status == kGoLeaked;
      if (!waits || !goroutine.since_first_take) continue;
      const auto words = WordsOf(runtime, goroutine);
      if (!words || IsMeasured(*words)) continue;
      runtime.sum_at.resize(snapshots_[i].goroutines.size(), kNoSum);
      Sum& sum = runtime.sums[SumOf(runtime, goroutine, place, *words)];
      ++sum.never_ran;
      ++sum.looks_at_those;
      ++reasons_[*words].never_ran;
      ++never_ran_;
    }
  }
}

bool GoroutineWaits::AnyInSystemCall() const {
  for (const Snapshot& snapshot : snapshots_) {
    for (const Goroutine& goroutine : snapshot.goroutines) {
      if (goroutine.status == kGoSyscall) return true;
    }
  }
  return false;
}

// Those in a system call, of which the runtime's memory says nothing: their threads slept at both
// ends and were not switched in between.
void GoroutineWaits::FindSleepersThatNeverRan() {
  const bool any = std::any_of(runtimes_.begin(), runtimes_.end(), [](const Runtime& runtime) {
    return !runtime.sleepers_at_start.empty();
  });
  if (!any) return;
  const auto threads = SleepingThreads(fmt::format("/proc/{}", space_->pid()));
  for (size_t i = 0; i < runtimes_.size(); ++i) {
    Runtime& runtime = runtimes_[i];
    const auto& goroutines = snapshots_[i].goroutines;
    const auto sleepers = SleepersInSystemCalls(goroutines, runtime.census->runtime().offsets,
                                                space_->memory(), threads);
    for (size_t place = 0; place < goroutines.size(); ++place) {
      const auto now = sleepers.find(goroutines[place].g);
      const auto before = runtime.sleepers_at_start.find(goroutines[place].g);
      if (now == sleepers.end() || before == runtime.sleepers_at_start.end() ||
          now->second != before->second) {
        continue;
      }
      if (IsMeasured(kSyscallWords)) {
        runtime.slept_throughout.insert(goroutines[place].g);
        continue;
      }
      runtime.sum_at.resize(goroutines.size(), kNoSum);
      Sum& sum = runtime.sums[SumOf(runtime, goroutines[place], place, kSyscallWords)];
      ++sum.never_ran;
      sum.looks_at_those += runtime.census->tells_system_calls_apart() ? 1 : Rounded(looks_);
      ++reasons_[kSyscallWords].never_ran;
      ++never_ran_;
    }
  }
}

std::string GoroutineWaits::mechanism() const {
  std::string text;
  for (const Runtime& runtime : runtimes_) {
    const GoRuntime& found = runtime.census->runtime();
    text += fmt::format("{}{} by {}", text.empty() ? "" : ", ", found.version, found.offsets_from);
  }
  return text;
}

size_t GoroutineWaits::stacks() const {
  size_t stacks = 0;
  for (const Runtime& runtime : runtimes_) stacks += runtime.census->stacks();
  return stacks;
}

std::vector<GoroutineWaits::Sum> GoroutineWaits::SumsToShow(const Runtime& runtime) const {
  std::vector<Sum> sums = runtime.measured;
  std::copy_if(runtime.sums.begin(), runtime.sums.end(), std::back_inserter(sums),
               [&](const Sum& sum) { return !IsMeasured(sum.key.words); });
  return sums;
}

void GoroutineWaits::Fill(SpaceIndex space, RecordedEvent* event, Recording* recording) const {
  const double until_ns = static_cast<double>(stop_ns_ - start_ns_);
  // What is known of a program that is gone is known of the time that its snapshots stand for.
  const double whole_ns = blind_ns_ ? std::min(covered_ns_, until_ns) : until_ns;
  std::vector<Sum> sums;
  std::vector<double> others;         // parallel to `sums`
  std::vector<uint64_t> other_waits;  // likewise
  const auto add = [&](const Sum& sum, Sample* sample) {
    if (sum.measured) {
      sample->never_ran = sum.never_ran > 0;
      sample->values = {static_cast<int64_t>(Rounded(sum.time_ns)),
                        static_cast<int64_t>(sum.waits)};
      event->samples.push_back(*sample);
      return;
    }
    const auto place = static_cast<size_t>(&sum - sums.data());
    if (other_waits[place] > 0 && others[place] >= 0.5) {
      sample->values = {static_cast<int64_t>(Rounded(others[place])),
                        static_cast<int64_t>(other_waits[place])};
      event->samples.push_back(*sample);
    }
    if (sum.never_ran == 0) return;
    sample->never_ran = true;
    sample->values = {static_cast<int64_t>(Rounded(static_cast<double>(sum.never_ran) * whole_ns)),
                      static_cast<int64_t>(sum.never_ran)};
    event->samples.push_back(*sample);
  };
  for (const Runtime& runtime : runtimes_) {
    sums = SumsToShow(runtime);
    others = TimesOfThoseThatRan(sums);
    other_waits = WaitsOfThoseThatRan(sums);
    AddSamples(runtime, sums, space, add, recording);
    for (RuntimeHistogram& histogram :
         Between(runtime.counts_at_start, runtime.counts_at_end, runtime.census->runtime().minor)) {
      histogram.space = space;
      recording->histograms.push_back(std::move(histogram));
    }
  }
  AddCensus(space, recording);
  if (options_.peers) NotePeers(recording);
}

// By sum. Each goroutine that never ran stands in the sums with the length of all strata: in the
// one where it was last seen, and before that perhaps in others, while its peer was not known yet
// or its creator stood elsewhere. Negative: nothing is left of such a one.
std::vector<double> GoroutineWaits::TimesOfThoseThatRan(const std::vector<Sum>& sums) const {
  std::vector<double> times;
  std::map<Wait, std::vector<size_t>> alike;
  std::vector<size_t> short_ones;
  for (const Sum& sum : sums) {
    double time_ns = sum.time_ns - static_cast<double>(sum.never_ran) * covered_ns_;
    // None of those that waited at the start has run: what is left is known without the noise of
    // the snapshots' choice.
    const bool apart = sum.key.words != kSyscallWords && sum.at_start == sum.never_ran;
    if (apart) time_ns = sum.time_ns - sum.since_start_ns;
    if (time_ns < 0 && !sum.measured) {
      short_ones.push_back(times.size());
      alike[WaitOf(sum.key)];
    }
    times.push_back(time_ns);
  }
  if (short_ones.empty()) return times;
  for (size_t i = 0; i < times.size(); ++i) {
    const auto it = alike.find(WaitOf(sums[i].key));
    if (it != alike.end() && times[i] > 0 && !sums[i].measured) it->second.push_back(i);
  }
  for (const size_t i : short_ones) {
    for (const size_t other : alike[WaitOf(sums[i].key)]) {
      if (times[i] >= 0 || times[other] <= 0) continue;
      const double taken = std::min(times[other], -times[i]);
      times[i] += taken;
      times[other] -= taken;
      if (times[other] < 0.5) times[other] = -1;
    }
    times[i] = 0;
  }
  return times;
}

// By sum: waits of goroutines that did run. A goroutine that never did is counted in the sum where
// it was first seen, which another peer or creator of the same wait may have.
std::vector<uint64_t> GoroutineWaits::WaitsOfThoseThatRan(const std::vector<Sum>& sums) {
  std::map<Wait, std::pair<uint64_t, uint64_t>> alike;  // waits; of them those that never ran
  for (const Sum& sum : sums) {
    auto& [waits, never_ran] = alike[WaitOf(sum.key)];
    waits += sum.waits;
    never_ran += sum.looks_at_those;
  }
  std::vector<uint64_t> left;
  for (const Sum& sum : sums) {
    const auto& [waits, never_ran] = alike[WaitOf(sum.key)];
    if (waits <= never_ran) {
      left.push_back(0);
    } else {
      left.push_back(sum.waits > sum.looks_at_those ? sum.waits - sum.looks_at_those : 1);
    }
  }
  return left;
}

void GoroutineWaits::NotePeers(Recording* recording) const {
  uint64_t known = 0, unknown = 0;
  for (const Runtime& runtime : runtimes_) {
    known += runtime.census->counters().peers;
    unknown += runtime.census->counters().peers_unknown;
  }
  if (unknown == 0) return;
  recording->notes.push_back(
      fmt::format("peers: not known in {} of {} looks at waits for sockets, channels and locks "
                  "({:.2g} %)",
                  unknown, known + unknown,
                  100.0 * static_cast<double>(unknown) / static_cast<double>(known + unknown)));
}

void GoroutineWaits::FillCounts(SpaceIndex space, RecordedEvent* event, Recording* recording) {
  const auto add = [&](const Sum& sum, Sample* sample) {
    sample->values = {static_cast<int64_t>(Rounded(sum.time_ns))};
    event->samples.push_back(*sample);
  };
  for (size_t i = 0; i < runtimes_.size(); ++i) {
    Book(runtimes_[i], snapshots_[i], /*stands_for_ns=*/1);
    AddSamples(runtimes_[i], runtimes_[i].sums, space, add, recording);
  }
}

void GoroutineWaits::AddSamples(const Runtime& runtime, const std::vector<Sum>& sums,
                                SpaceIndex space, const ValuesOf& add, Recording* recording) const {
  // With the go statement and its creator.
  std::map<std::tuple<GoStackIndex, uint64_t, CreatorIndex>, uint32_t> stack_of;
  const auto name = [&](const StackAddress& address) {
    const NamedAddress key = {space, address.value, address.is_return};
    if (recording->names.contains(key)) return;
    auto frames = space_->Lookup(address.value, address.is_return);
    if (!frames.empty()) recording->names[key] = std::move(frames);
  };
  const auto stack_index = [&](const Key& key) {
    const auto [it, added] =
        stack_of.try_emplace({key.stack, key.created_at, key.creator}, recording->stacks.size());
    if (!added) return it->second;
    Stack stack;
    Segment segment;
    segment.space = space;
    if (key.stack == kNoGoStack) {
      stack.end = StackEnd::kMoved;
      segment.kind = SegmentKind::kMarker;
      segment.marker = "stack not read";
    } else {
      const GoStack& from = runtime.census->stack(key.stack);
      stack.end = from.end;
      segment.kind = SegmentKind::kGoroutine;
      segment.addresses = from.addresses;
    }
    for (const StackAddress& address : segment.addresses) name(address);
    stack.segments.push_back(std::move(segment));
    if (key.created_at) {
      Segment creator;
      creator.kind = SegmentKind::kCreator;
      creator.space = space;
      creator.addresses = {{key.created_at, /*is_return=*/true, false}};
      if (key.creator != kNoCreator) {
        const Creator& from = runtime.creators[key.creator];
        const auto& frames = runtime.census->stack(from.stack).addresses;
        creator.addresses.insert(creator.addresses.end(), frames.begin() + from.first_frame,
                                 frames.end());
      }
      for (const StackAddress& address : creator.addresses) name(address);
      stack.segments.push_back(std::move(creator));
    }
    recording->stacks.push_back(std::move(stack));
    return it->second;
  };
  for (const Sum& sum : sums) {
    Sample sample;
    sample.space = space;
    sample.stack = stack_index(sum.key);
    sample.reason.words = reasons_[sum.key.words].words;
    if (sum.key.labels != kNoGoLabels) sample.labels = runtime.census->labels(sum.key.labels);
    if (sum.key.peer != kNoGoPeer) sample.reason.peer = runtime.census->peer(sum.key.peer);
    add(sum, &sample);
  }
}

void GoroutineWaits::AddCensus(SpaceIndex space, Recording* recording) const {
  Census census;
  census.space = space;
  census.ticks = ticks_;
  census.tick_cpu_ns = tick_cpu_ns_;
  census.setup_cpu_ns = setup_cpu_ns_;
  census.budget_ppm = Rounded(options_.budget * 1e6);
  if (ticks_ > 0) {
    census.period_ns = Rounded(covered_ns_ / static_cast<double>(ticks_));
    census.share_ppm = Rounded(shares_ / static_cast<double>(ticks_) * 1e6);
  }
  census.fewest = fewest_;
  census.most = most_;
  for (const Runtime& runtime : runtimes_) {
    const CensusCounters& counters = runtime.census->counters();
    census.looks += counters.looks;
    census.stacks_read += counters.stacks_read;
    census.torn += counters.torn;
    census.unread += counters.unread;
  }
  for (uint32_t words = 0; words < reasons_.size(); ++words) {
    if (IsMeasured(words)) continue;
    const Reason& reason = reasons_[words];
    const double time_ns = reason.sum.total() - static_cast<double>(reason.never_ran) * covered_ns_;
    if (time_ns < 0.5 || ticks_ < 2) continue;  // of one snapshot nobody knows how far it is off
    Estimate estimate;
    estimate.words = reason.words;
    estimate.time_ns = Rounded(time_ns);
    const double margin_ns = reason.sum.margin();
    estimate.margin_ns = std::isfinite(margin_ns) ? Rounded(margin_ns) : estimate.time_ns;
    census.reasons.push_back(std::move(estimate));
  }
  recording->censuses.push_back(std::move(census));
}

}  // namespace stallscope
