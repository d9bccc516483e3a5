// SPDX-License-Identifier: Apache-2.0
#include "userspace/go/syscall_threads.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>
#include <string_view>
#include <vector>

#include "userspace/process/proc_files.h"

namespace stallscope {
namespace {

constexpr size_t kMostThreads = 4096;

std::optional<uint64_t> NumberIn(std::string_view text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<uint64_t> NumberOf(std::string_view status, std::string_view field) {
  const auto text = StatusField(status, field);
  return text ? NumberIn(*text) : std::nullopt;
}

// Adds a thread that sleeps; leaves out all others.
void AddThread(uint32_t tid, std::string_view status,
               absl::flat_hash_map<uint64_t, SleepingThread>* threads) {
  const std::string state = StatusField(status, "State").value_or("");
  if (!state.starts_with('S') && !state.starts_with('D')) return;
  const auto voluntary = NumberOf(status, "voluntary_ctxt_switches");
  const auto forced = NumberOf(status, "nonvoluntary_ctxt_switches");
  if (!voluntary || !forced) return;
  // From our namespace inwards: the last is what the process calls it itself.
  const std::string numbers = StatusField(status, "NSpid").value_or("");
  const auto own = NumberIn(std::string_view(numbers).substr(numbers.rfind('\t') + 1));
  if (own) (*threads)[*own] = {tid, *voluntary + *forced};
}

struct Carrier {
  uint64_t m = 0, curg = 0, procid = 0;
  bool operator==(const Carrier&) const = default;
};

// The m that carries a goroutine; nullopt where it cannot be read.
std::optional<Carrier> CarrierOf(uint64_t g, const GoOffsets& offsets, const Memory& memory) {
  Carrier carrier;
  const MemoryRange m = {g + offsets.g_m, &carrier.m, sizeof(carrier.m)};
  if (memory.ReadRanges({&m, 1}).whole != 1 || carrier.m == 0) return std::nullopt;
  const MemoryRange rest[2] = {
      {carrier.m + offsets.m_curg, &carrier.curg, sizeof(carrier.curg)},
      {carrier.m + offsets.m_procid, &carrier.procid, sizeof(carrier.procid)}};
  if (memory.ReadRanges(rest).whole != 2) return std::nullopt;
  return carrier;
}

}  // namespace

absl::flat_hash_map<uint64_t, SleepingThread> SleepingThreads(const std::string& proc_dir) {
  absl::flat_hash_map<uint64_t, SleepingThread> threads;
  const std::vector<uint32_t> ids = ThreadIds(proc_dir, kMostThreads + 1);
  if (ids.size() > kMostThreads) return threads;
  for (const uint32_t tid : ids) {
    const auto status = ReadProcFile(fmt::format("{}/task/{}/status", proc_dir, tid), 1 << 16);
    if (status.ok()) AddThread(tid, *status, &threads);
  }
  return threads;
}

absl::flat_hash_map<uint64_t, SleepingThread> SleepersInSystemCalls(
    const std::vector<Goroutine>& goroutines, const GoOffsets& offsets, const Memory& memory,
    const absl::flat_hash_map<uint64_t, SleepingThread>& threads) {
  absl::flat_hash_map<uint64_t, SleepingThread> sleepers;
  for (const Goroutine& goroutine : goroutines) {
    if (goroutine.status != kGoSyscall || sleepers.size() >= kMostThreads) continue;
    const auto carrier = CarrierOf(goroutine.g, offsets, memory);
    if (!carrier || carrier->curg != goroutine.g) continue;
    const auto thread = threads.find(carrier->procid);
    if (thread != threads.end()) sleepers[goroutine.g] = thread->second;
  }
  return sleepers;
}

}  // namespace stallscope
