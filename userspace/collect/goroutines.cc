// SPDX-License-Identifier: Apache-2.0
#include "userspace/collect/goroutines.h"

#include <absl/status/status.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <set>
#include <utility>

namespace stallscope {
namespace {

constexpr uint64_t kRetryNs = 20'000'000;
// Of so few the differences say little of how far the sums are off.
constexpr uint64_t kFewSnapshots = 10;
// How long the changes of state are counted before they are measured, and between two looks at
// their number. By then it may be so many times what the budget allows.
constexpr uint64_t kRateWindowNs = 250'000'000, kWatchNs = 1'000'000'000;
constexpr double kTolerance = 2;
// The budget to try has some room for a rate that varies.
constexpr double kHeadroom = 1.5;

std::string ProcDir(uint32_t pid) { return fmt::format("/proc/{}", pid); }

std::string Percent(double share) {
  return fmt::format("{:.{}f}%", 100 * share, share < 0.1 ? 1 : 0);
}

// Of one core, what a probe takes that is hit so often.
double ShareOfProbe(const GoroutineWaits& waits, double per_second) {
  uint64_t cost_ns = 0;
  for (const GoRuntime* runtime : waits.runtimes())
    cost_ns = std::max(cost_ns, TransitionCostNs(runtime->transitions));
  return per_second * static_cast<double>(cost_ns) / 1e9;
}

// In a line of what and one of what to do.
absl::Status TooDear(double per_second, double share, double budget) {
  return absl::ResourceExhaustedError(fmt::format(
      "its goroutines change state {:.0f} times a second: --exact would cost it about {} of a "
      "core, above the budget of {:.3g}%\nallow it with --budget {:.0f}%, or leave out --exact: "
      "snapshots estimate the same",
      per_second, Percent(share), 100 * budget, std::max(2.0, std::ceil(100 * kHeadroom * share))));
}

// For a note beside others.
std::string Briefly(const absl::Status& status) {
  if (absl::IsResourceExhausted(status)) return "not measured: it would cost more than the budget";
  return std::string(status.message());
}

}  // namespace

absl::Status Goroutines::Add(uint32_t pid) {
  Program program;
  program.pid = pid;
  absl::Status status = Open(&program);
  if (status.ok() || absl::IsFailedPrecondition(status)) programs_.push_back(std::move(program));
  return status;
}

void Goroutines::Expect(uint32_t pid) {
  Program program;
  program.pid = pid;
  program.expected = true;
  if (auto stat = ReadProcessStat(ProcDir(pid)); stat.ok()) program.stat = *stat;
  programs_.push_back(std::move(program));
}

absl::Status Goroutines::Open(Program* program) {
  const std::string directory = ProcDir(program->pid);
  program->comm = ReadComm(directory);
  auto stat = ReadProcessStat(directory);
  if (!stat.ok() || HasEnded(directory))
    return absl::NotFoundError(fmt::format("no process {}", program->pid));
  program->stat = *stat;
  auto space = LiveSpace::Open(program->pid, modules_);
  if (!space.ok()) return space.status();
  program->space = *std::move(space);
  auto waits = GoroutineWaits::Start(program->space, options_);
  if (!waits.ok()) return waits.status();
  program->waits = *std::move(waits);
  if (!options_.exact) return absl::OkStatus();
  absl::Status status = Measure(program);
  if (!status.ok()) {
    program->transitions.clear();
    program->waits.reset();
  }
  return status;
}

// First the rate at which the probes would be hit, by what the runtime counts anyway; then the
// probes; then what goroutines do that wait already.
absl::Status Goroutines::Measure(Program* program) {
  GoroutineWaits& waits = *program->waits;
  if (const auto rate = waits.TransitionsPerSecond(kRateWindowNs)) {
    const double share = ShareOfProbe(waits, *rate);
    if (share > options_.budget) return TooDear(*rate, share, options_.budget);
  }
  GoTransitionsOptions options;
  options.stack_entries = stack_entries_;
  options.goroutines = waits.goroutines();
  options.syscalls_come_by = waits.MeasuresSyscalls();
  for (const GoRuntime* runtime : waits.runtimes()) {
    auto transitions = GoTransitions::Attach(*program->space, *runtime, options);
    if (absl::IsUnimplemented(transitions.status())) return transitions.status();
    if (!transitions.ok()) return absl::AbortedError(std::string(transitions.status().message()));
    program->transitions.push_back(*std::move(transitions));
  }
  const auto snapshots = waits.Look();
  if (!snapshots.ok()) return snapshots.status();
  for (size_t i = 0; i < snapshots->size(); ++i) program->transitions[i]->Open((*snapshots)[i]);
  BeginNow(program);
  return absl::OkStatus();
}

// What the program does may have changed since the rate was measured: then it ends here.
void Goroutines::WatchBudget(Program* program, uint64_t now_ns) const {
  if (program->transitions.empty() || now_ns < program->counted_ns + kWatchNs) return;
  uint64_t counted = 0;
  for (const auto& transitions : program->transitions) counted += transitions->transitions();
  const double seconds = static_cast<double>(now_ns - program->counted_ns) / 1e9;
  const double share =
      ShareOfProbe(*program->waits, static_cast<double>(counted - program->counted) / seconds);
  program->counted = counted;
  program->counted_ns = now_ns;
  if (share <= kTolerance * options_.budget) return;
  program->problem =
      fmt::format("measured for {:.3g} s, then it cost {} of a core",
                  static_cast<double>(now_ns - program->waits->start_ns()) / 1e9, Percent(share));
  End(program, now_ns, /*gone=*/false);
}

void Goroutines::BeginNow(Program* program) {
  program->counted = 0;
  for (const auto& transitions : program->transitions) {
    transitions->Start();
    program->counted += transitions->transitions();
  }
  program->waits->Begin();
  program->counted_ns = program->waits->start_ns();
}

void Goroutines::End(Program* program, uint64_t stop_ns, bool gone) {
  program->over = true;
  if (!program->waits) return;
  for (const auto& transitions : program->transitions) transitions->Stop(stop_ns);
  program->waits->Stop(stop_ns, gone);
  for (size_t i = 0; i < program->transitions.size(); ++i)
    program->waits->SetMeasured(i, program->transitions[i]->Waits());
}

void Goroutines::Begin() {
  for (Program& program : programs_) {
    if (program.waits) BeginNow(&program);
  }
}

uint64_t Goroutines::start_ns() const {
  uint64_t start_ns = 0;
  for (const Program& program : programs_) {
    if (!program.waits) continue;
    start_ns = start_ns ? std::min(start_ns, program.waits->start_ns()) : program.waits->start_ns();
  }
  return start_ns;
}

uint64_t Goroutines::due_ns() const {
  uint64_t due_ns = std::numeric_limits<uint64_t>::max();
  for (const Program& program : programs_) {
    if (program.over) continue;
    due_ns = std::min(due_ns, program.waits ? program.waits->due_ns() : program.retry_ns);
  }
  return due_ns;
}

std::vector<ProcessChange> Goroutines::Tick(uint64_t now_ns) {
  std::vector<ProcessChange> changes;
  std::vector<Program> successors;
  for (Program& program : programs_) {
    if (program.over) continue;
    auto change = Look(&program, now_ns);
    if (!change) continue;
    if (change->kind == ProcessChange::kExec) {
      Program next;
      next.pid = program.pid;
      const absl::Status status = Open(&next);
      change->after = next.comm;
      if (!status.ok()) {
        next.over = !absl::IsFailedPrecondition(status);
        next.problem = Briefly(status);
      }
      successors.push_back(std::move(next));
    }
    changes.push_back(*std::move(change));
  }
  std::move(successors.begin(), successors.end(), std::back_inserter(programs_));
  return changes;
}

Goroutines::Life Goroutines::LifeOf(const Program& program) {
  const std::string directory = ProcDir(program.pid);
  const auto stat = ReadProcessStat(directory);
  if (!stat.ok() || stat->start_ticks != program.stat.start_ticks || HasEnded(directory))
    return Life::kEnded;
  return stat->memory == program.stat.memory ? Life::kGoesOn : Life::kOtherProgram;
}

// A snapshot is taken only of the program that was begun with: its memory is compared first.
std::optional<ProcessChange> Goroutines::Look(Program* program, uint64_t now_ns) {
  const Life life = LifeOf(*program);
  const bool ended = life == Life::kEnded;
  if (life == Life::kGoesOn) {
    if (!program->waits) {
      if (now_ns < program->retry_ns) return std::nullopt;
      program->retry_ns = now_ns + kRetryNs;
      if (program->expected) return std::nullopt;
      const absl::Status status = Open(program);
      program->over = !status.ok() && !absl::IsFailedPrecondition(status);
      program->problem = Briefly(status);  // none when it has begun
      return std::nullopt;
    }
    WatchBudget(program, now_ns);
    if (program->over) return std::nullopt;
    if (now_ns < program->waits->due_ns()) return std::nullopt;
    const absl::Status status = program->waits->Tick();
    if (status.ok()) return std::nullopt;
    // It ended or changed in the middle of it: the next look says which.
    if (absl::IsNotFound(status) || absl::IsFailedPrecondition(status)) return std::nullopt;
    program->problem = std::string(status.message());
    End(program, now_ns, /*gone=*/true);
    return std::nullopt;
  }
  End(program, now_ns, /*gone=*/true);
  if (ended && !program->waits && program->problem.empty())
    program->problem = "it ended before its goroutines could be read";
  ProcessChange change;
  change.kind = ended ? ProcessChange::kExit : ProcessChange::kExec;
  change.tgid = program->pid;
  change.before = program->comm;
  change.mono_ns = now_ns;
  return change;
}

void Goroutines::Stop(uint64_t stop_ns) {
  for (Program& program : programs_) {
    if (program.over) continue;
    End(&program, stop_ns, /*gone=*/LifeOf(program) != Life::kGoesOn);
  }
}

void Goroutines::Fill(Recording* recording) const {
  RecordedEvent event;
  event.name = "goroutine";
  event.columns = {{"time", "ns"}, {"count", "count"}};
  event.mechanism = mechanism();
  for (const Program& program : programs_) {
    if (!program.problem.empty()) {
      recording->notes.push_back(
          fmt::format("{} ({}): {}", program.pid, program.comm, program.problem));
    }
    if (!program.waits) continue;
    AddressSpace space = program.space->Describe();
    space.tgid = program.pid;
    space.comm = program.comm;
    recording->spaces.push_back(std::move(space));
    program.waits->Fill(recording->spaces.size() - 1, &event, recording);
    if (const auto blind_ns = program.waits->blind_ns(); blind_ns && program.waits->never_ran()) {
      recording->notes.push_back(fmt::format("pid {}: never ran: seen until {} ms before its end",
                                             program.pid, *blind_ns / 1'000'000));
    }
    const uint64_t ticks = recording->censuses.back().ticks;
    for (const auto& transitions : program.transitions) transitions->AddLosses(recording);
    if (ticks < kFewSnapshots && !options_.exact) {
      recording->notes.push_back(
          fmt::format("{} ({}): {} snapshots are few: the estimates and their ranges are rough",
                      program.pid, program.comm, ticks));
    }
  }
  recording->events.push_back(std::move(event));
}

std::string Goroutines::mechanism() const {
  std::set<std::string> probes, runtimes;
  bool syscalls_come_by = true;
  for (const Program& program : programs_) {
    for (const auto& transitions : program.transitions) probes.insert(transitions->mechanism());
    if (!program.waits) continue;
    runtimes.insert(program.waits->mechanism());
    syscalls_come_by = syscalls_come_by && program.waits->MeasuresSyscalls();
  }
  std::string text = "process_vm_readv";
  if (!probes.empty()) {
    text = fmt::format("{} (measured), process_vm_readv for {}", fmt::join(probes, ", "),
                       syscalls_come_by ? "[preempted]" : "[syscall] and [preempted]");
  }
  for (const std::string& runtime : runtimes) text += ", " + runtime;
  return text;
}

uint64_t Goroutines::waits() const {
  uint64_t waits = 0;
  for (const Program& program : programs_) waits += program.waits ? program.waits->waits() : 0;
  return waits;
}

size_t Goroutines::stacks() const {
  size_t stacks = 0;
  for (const Program& program : programs_) stacks += program.waits ? program.waits->stacks() : 0;
  return stacks;
}

uint64_t Goroutines::goroutines() const {
  uint64_t goroutines = 0;
  for (const Program& program : programs_)
    goroutines += program.waits && !program.over ? program.waits->goroutines() : 0;
  return goroutines;
}

std::vector<int> Goroutines::ProgramFds() const {
  std::vector<int> fds;
  for (const Program& program : programs_) {
    for (const auto& transitions : program.transitions) {
      for (const int fd : transitions->ProgramFds()) fds.push_back(fd);
    }
  }
  return fds;
}

std::vector<int> Goroutines::MapFds() const {
  std::vector<int> fds;
  for (const Program& program : programs_) {
    for (const auto& transitions : program.transitions) {
      for (const int fd : transitions->MapFds()) fds.push_back(fd);
    }
  }
  return fds;
}

}  // namespace stallscope
