// SPDX-License-Identifier: Apache-2.0
#include "userspace/collect/goroutines.h"

#include <absl/status/status.h>
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <limits>
#include <set>
#include <utility>

namespace stallscope {
namespace {

constexpr uint64_t kRetryNs = 20'000'000;
// Of so few the differences say little of how far the sums are off.
constexpr uint64_t kFewSnapshots = 10;

std::string ProcDir(uint32_t pid) { return fmt::format("/proc/{}", pid); }

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
  program.retry_ns = std::numeric_limits<uint64_t>::max();
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
  return absl::OkStatus();
}

void Goroutines::Begin() {
  for (Program& program : programs_) {
    if (program.waits) program.waits->Begin();
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
        next.problem = std::string(status.message());
      }
      successors.push_back(std::move(next));
    }
    changes.push_back(*std::move(change));
  }
  std::move(successors.begin(), successors.end(), std::back_inserter(programs_));
  return changes;
}

// A snapshot is taken only of the program that was begun with: its memory is compared first.
std::optional<ProcessChange> Goroutines::Look(Program* program, uint64_t now_ns) {
  const auto stat = ReadProcessStat(ProcDir(program->pid));
  const bool ended = !stat.ok() || stat->start_ticks != program->stat.start_ticks ||
                     HasEnded(ProcDir(program->pid));
  const bool other = !ended && stat->memory != program->stat.memory;
  if (!ended && !other) {
    if (!program->waits) {
      if (program->expected || now_ns < program->retry_ns) return std::nullopt;
      program->retry_ns = now_ns + kRetryNs;
      const absl::Status status = Open(program);
      program->over = !status.ok() && !absl::IsFailedPrecondition(status);
      program->problem = std::string(status.message());  // none when it has begun
      return std::nullopt;
    }
    if (now_ns < program->waits->due_ns()) return std::nullopt;
    const absl::Status status = program->waits->Tick();
    if (status.ok()) return std::nullopt;
    // It ended or changed in the middle of it: the next look says which.
    if (absl::IsNotFound(status) || absl::IsFailedPrecondition(status)) return std::nullopt;
    program->problem = std::string(status.message());
    program->waits->Stop(now_ns, /*gone=*/true);
    program->over = true;
    return std::nullopt;
  }
  program->over = true;
  if (program->waits) program->waits->Stop(now_ns, /*gone=*/true);
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
    program.over = true;
    if (!program.waits) continue;
    const auto stat = ReadProcessStat(ProcDir(program.pid));
    const bool gone = !stat.ok() || stat->start_ticks != program.stat.start_ticks ||
                      stat->memory != program.stat.memory;
    program.waits->Stop(stop_ns, gone);
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
    const uint64_t ticks = recording->censuses.back().ticks;
    if (ticks < kFewSnapshots) {
      recording->notes.push_back(
          fmt::format("{} ({}): {} snapshots are few: the estimates and their ranges are rough",
                      program.pid, program.comm, ticks));
    }
  }
  recording->events.push_back(std::move(event));
}

std::string Goroutines::mechanism() const {
  std::set<std::string> runtimes;
  for (const Program& program : programs_) {
    if (program.waits) runtimes.insert(program.waits->mechanism());
  }
  std::string text = "process_vm_readv";
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

}  // namespace stallscope
