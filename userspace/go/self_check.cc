// SPDX-License-Identifier: Apache-2.0
#include "userspace/go/self_check.h"

#include <absl/container/flat_hash_set.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

namespace stallscope {
namespace {

constexpr uint64_t kWord = 8;
// Each takes some 400 bytes and a stack of at least 2 KiB: this many fill 160 GiB.
constexpr uint64_t kMostGoroutines = 1u << 26;
constexpr uint64_t kSample = 1024;
constexpr uint64_t kLargestStack = uint64_t{1} << 40;
constexpr uint64_t kLargestId = uint64_t{1} << 56;
constexpr uint16_t kLargestG = 4096;
// A goroutine that changes while it is read can look wrong; the next look is another one.
constexpr int kLooks = 4;
constexpr useconds_t kBetweenLooksUs = 200;
// Of those that are alive this share may look wrong for reasons that are not known.
constexpr size_t kTolerated = 32;

absl::Status Differs(std::string_view function, std::string_view fields,
                     const std::vector<int64_t>& expected, const std::vector<int64_t>& found) {
  return absl::UnimplementedError(
      fmt::format("the self-check failed: {} at {} expected, runtime.{} works on {}", fields,
                  fmt::join(expected, ", "), function,
                  found.empty() ? std::string("nothing of the kind")
                                : fmt::format("{}", fmt::join(found, ", "))));
}

struct Live {
  uint32_t status = 0;
  bool scanned = false;
  uint64_t id = 0, lo = 0, hi = 0, sp = 0, syscallsp = 0, start = 0;
  uint8_t reason = 0;
};

class GoroutineCheck {
 public:
  GoroutineCheck(const GoRuntime& runtime, const Memory& memory, const FunctionEntry& entry)
      : runtime_(runtime), offsets_(runtime.offsets), memory_(memory), function_entry_(entry) {}

  absl::Status Run();

 private:
  absl::StatusOr<std::vector<uint64_t>> SampleList() const;
  std::optional<Live> Read(uint64_t g) const;
  // "" when nothing is wrong with it.
  std::string Problem(const Live& live) const;
  std::string StackProblem(const Live& live) const;
  bool IsStatus(uint32_t status) const;

  const GoRuntime& runtime_;
  const GoOffsets& offsets_;
  const Memory& memory_;
  const FunctionEntry& function_entry_;
};

absl::Status Wrong(const std::string& what) {
  return absl::UnimplementedError(fmt::format("the self-check failed: {}", what));
}

bool IsAlive(uint32_t status) {
  return status != kGoIdle && status != kGoDead && status != kGoDeadExtra;
}

// Spread over the list. Its length is read before its array, as the runtime itself does it.
absl::StatusOr<std::vector<uint64_t>> GoroutineCheck::SampleList() const {
  const auto length = memory_.ReadValue<uint64_t>(runtime_.allglen);
  const auto array = memory_.ReadValue<uint64_t>(runtime_.allgptr);
  if (!length || !array) return Wrong("the list of goroutines cannot be read");
  if (*length == 0) return absl::FailedPreconditionError("this runtime has no goroutine yet");
  if (*length > kMostGoroutines)
    return Wrong(
        fmt::format("at most {} goroutines expected, allglen is {}", kMostGoroutines, *length));
  std::vector<uint64_t> sample(std::min(*length, kSample));
  const uint64_t step = *length / sample.size();
  for (uint64_t i = 0; i < sample.size(); ++i) {
    const auto g = memory_.ReadValue<uint64_t>(*array + i * step * kWord);
    if (!g)
      return Wrong(fmt::format("{} entries expected in the list at {:#x}, entry {} cannot be read",
                               *length, *array, i * step));
    sample[i] = *g;
  }
  return sample;
}

std::optional<Live> GoroutineCheck::Read(uint64_t g) const {
  if (g == 0 || g % kWord != 0) return std::nullopt;
  uint8_t bytes[kLargestG + kWord] = {};  // the last field may reach over the end
  if (!memory_.Read(g, bytes, offsets_.g_size)) return std::nullopt;
  const auto field = [&](uint16_t offset, auto* value) {
    memcpy(value, bytes + offset, sizeof(*value));
  };
  Live live;
  uint32_t status = 0;
  field(offsets_.g_atomicstatus, &status);
  live.scanned = (status & kGoScanBit) != 0;
  live.status = status & ~uint32_t{kGoScanBit};
  field(offsets_.g_goid, &live.id);
  field(offsets_.g_stack_lo, &live.lo);
  field(offsets_.g_stack_hi, &live.hi);
  field(offsets_.g_sched_sp, &live.sp);
  field(offsets_.g_syscallsp, &live.syscallsp);
  field(offsets_.g_startpc, &live.start);
  field(offsets_.g_waitreason, &live.reason);
  return live;
}

bool GoroutineCheck::IsStatus(uint32_t status) const {
  switch (status) {
    case kGoIdle:
    case kGoRunnable:
    case kGoRunning:
    case kGoSyscall:
    case kGoWaiting:
    case kGoDead:
    case kGoCopyStack:
    case kGoPreempted:
      return true;
    case kGoLeaked:
    case kGoDeadExtra:
      return runtime_.minor >= 26;
    default:
      return false;
  }
}

std::string GoroutineCheck::StackProblem(const Live& live) const {
  if (live.lo >= live.hi || live.hi - live.lo > kLargestStack)
    return fmt::format("a stack expected, its bounds are {:#x} and {:#x}", live.lo, live.hi);
  const bool rests =
      live.status == kGoWaiting || live.status == kGoRunnable || live.status == kGoPreempted;
  const uint64_t sp = live.status == kGoSyscall ? live.syscallsp : live.sp;
  if ((rests || live.status == kGoSyscall) && (sp < live.lo || sp > live.hi))
    return fmt::format("a stack pointer between {:#x} and {:#x} expected, found {:#x} (state {})",
                       live.lo, live.hi, sp, live.status);
  return "";
}

std::string GoroutineCheck::Problem(const Live& live) const {
  if (!IsStatus(live.status))
    return fmt::format("a goroutine's state expected, found {}", live.status);
  if (!IsAlive(live.status)) return "";
  if (live.id == 0 || live.id > kLargestId)
    return fmt::format("a goroutine's number expected, found {}", live.id);
  // The collector moves stacks under the scan bit.
  if (!live.scanned && live.status != kGoCopyStack) {
    if (std::string problem = StackProblem(live); !problem.empty()) return problem;
  }
  if (live.status == kGoWaiting && live.reason >= runtime_.wait_reasons.size())
    return fmt::format("a wait reason below {} expected, found {}", runtime_.wait_reasons.size(),
                       live.reason);
  const auto entry = function_entry_(live.start);
  if (entry && *entry != live.start)
    return fmt::format("the entry of a function expected, found {:#x} inside the one at {:#x}",
                       live.start, *entry);
  return "";
}

absl::Status GoroutineCheck::Run() {
  if (offsets_.g_size > kLargestG)
    return Wrong(
        fmt::format("at most {} bytes a goroutine expected, found {}", kLargestG, offsets_.g_size));
  auto sample = SampleList();
  if (!sample.ok()) return sample.status();
  absl::flat_hash_set<uint64_t> seen, ids;
  size_t alive = 0, strange = 0;
  std::string example;
  for (const uint64_t g : *sample) {
    if (!seen.insert(g).second)
      return Wrong(fmt::format("each goroutine once expected, {:#x} is in the list twice", g));
    std::optional<Live> live;
    std::string problem;
    for (int look = 0; look < kLooks; ++look) {
      if (look > 0 && strange <= kTolerated) usleep(kBetweenLooksUs);
      live = Read(g);
      if (!live) return Wrong(fmt::format("a goroutine expected, {:#x} cannot be read", g));
      problem = Problem(*live);
      if (problem.empty()) break;
    }
    if (!IsAlive(live->status)) continue;
    ++alive;
    if (problem.empty() && !ids.insert(live->id).second)
      return Wrong(fmt::format("each number once expected, {} is of two goroutines", live->id));
    if (problem.empty()) continue;
    ++strange;
    example = std::move(problem);
  }
  if (alive == 0) return absl::FailedPreconditionError("this runtime has no live goroutine");
  if (strange * kTolerated > alive)
    return Wrong(fmt::format("{} ({} of {} goroutines are like that)", example, strange, alive));
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckOffsets(const GoOffsets& offsets, const GoRuntimeCode& code) {
  const std::vector<int64_t> status = {offsets.g_atomicstatus};
  if (code.casgstatus.compare_exchanges != status)
    return Differs("casgstatus", "g.atomicstatus", status, code.casgstatus.compare_exchanges);
  const std::vector<int64_t> reason = {offsets.g_waitreason};
  if (code.gopark.stores_of_cl != reason)
    return Differs("gopark", "g.waitreason", reason, code.gopark.stores_of_cl);
  std::vector<int64_t> sched = {offsets.g_sched_sp, offsets.g_sched_pc, offsets.g_sched_bp};
  std::sort(sched.begin(), sched.end());
  if (code.mcall.stores_by_g != sched)
    return Differs("mcall", "g.sched.sp, .pc and .bp", sched, code.mcall.stores_by_g);
  const std::vector<int64_t>& loads = code.mcall.loads_by_g;
  if (std::find(loads.begin(), loads.end(), offsets.g_m) == loads.end())
    return Differs("mcall", "g.m", {offsets.g_m}, loads);
  return absl::OkStatus();
}

absl::Status CheckGoroutines(const GoRuntime& runtime, const Memory& memory,
                             const FunctionEntry& function_entry) {
  return GoroutineCheck(runtime, memory, function_entry).Run();
}

}  // namespace stallscope
