// SPDX-License-Identifier: Apache-2.0
//
// goruntime PID: prints as JSON what is found of the Go runtimes of a live process, and its
// goroutines as their structures have them. For tests and the curious.
//   --dwarf   and whether the debug information of each gives the offsets that were used
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <string>
#include <string_view>

#include "userspace/go/code.h"
#include "userspace/go/runtime.h"

namespace stallscope {
namespace {

constexpr int kExitUsage = 2;
constexpr int kExitUnreadable = 4;
constexpr uint64_t kMostPrinted = 1u << 20;

double CpuMilliseconds() {
  struct rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  const auto ms = [](const timeval& time) { return time.tv_sec * 1e3 + time.tv_usec / 1e3; };
  return ms(usage.ru_utime) + ms(usage.ru_stime);
}

std::string Quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < ' ' ? '?' : c;
  }
  return out + "\"";
}

// {"id": 1, "status": 4, "reason": 14, "parent": 0}, of those that are alive.
std::string Goroutines(const GoRuntime& runtime, const Memory& memory) {
  const uint64_t length =
      std::min(memory.ReadValue<uint64_t>(runtime.allglen).value_or(0), kMostPrinted);
  const uint64_t array = memory.ReadValue<uint64_t>(runtime.allgptr).value_or(0);
  std::string out;
  for (uint64_t i = 0; i < length; ++i) {
    const uint64_t g = memory.ReadValue<uint64_t>(array + 8 * i).value_or(0);
    const GoOffsets& at = runtime.offsets;
    const uint32_t status =
        memory.ReadValue<uint32_t>(g + at.g_atomicstatus).value_or(0) & ~uint32_t{kGoScanBit};
    if (status == kGoIdle || status == kGoDead || status == kGoDeadExtra) continue;
    const uint64_t parent = at.g_parent_goid == GoOffsets::kNoField
                                ? 0
                                : memory.ReadValue<uint64_t>(g + at.g_parent_goid).value_or(0);
    const uint64_t start = memory.ReadValue<uint64_t>(g + at.g_startpc).value_or(0);
    const auto function = runtime.tables->FunctionAt(start - runtime.load_bias);
    out += fmt::format(
        "{}{{\"id\": {}, \"status\": {}, \"reason\": {}, \"parent\": {}, "
        "\"start\": {}}}",
        out.empty() ? "" : ",\n   ", memory.ReadValue<uint64_t>(g + at.g_goid).value_or(0), status,
        memory.ReadValue<uint8_t>(g + at.g_waitreason).value_or(0), parent,
        Quoted(function ? function->name : ""));
  }
  return out;
}

std::string DwarfSays(const LiveSpace& space, const GoRuntime& runtime) {
  for (const LiveSpace::GoModule& module : space.GoModules()) {
    if (module.path != runtime.path) continue;
    const auto own = GoOffsetsFromDwarf(*module.module);
    if (!own.ok()) return std::string(own.status().message());
    return own->AgreesWith(runtime.offsets) ? "equal" : "different";
  }
  return "no module";
}

// Where a probe on casgstatus(gp, old, new) would go: bytes from its entry.
std::string CasgstatusProbe(const LiveSpace& space, const GoRuntime& runtime) {
  for (const LiveSpace::GoModule& module : space.GoModules()) {
    const auto function = runtime.tables->FunctionNamed("runtime.casgstatus");
    if (module.path != runtime.path || !function) continue;
    const auto site =
        CheapProbeSite(module.module->CodeAt(function->entry, function->end - function->entry), 3);
    if (site) return fmt::format("{}", site->offset);
  }
  return "null";
}

int Run(uint32_t pid, bool dwarf) {
  symbolizer::ModuleCache modules;
  const double start = CpuMilliseconds();
  const auto space = LiveSpace::Open(pid, &modules);
  if (!space.ok()) {
    fmt::print(stderr, "error: cannot read process {}: {}\n", pid,
               std::string(space.status().message()));
    return kExitUnreadable;
  }
  const double opened = CpuMilliseconds();
  std::vector<RefusedGoModule> refused;
  const auto runtimes = FindGoRuntimes(**space, &refused);
  const double found = CpuMilliseconds();
  fmt::print("{{\"open_ms\": {:.2f}, \"find_ms\": {:.2f},\n \"refused\": [", opened - start,
             found - opened);
  for (size_t i = 0; i < refused.size(); ++i) {
    fmt::print("{}{{\"path\": {}, \"why\": {}}}", i == 0 ? "" : ", ", Quoted(refused[i].path),
               Quoted(std::string(refused[i].why.message())));
  }
  fmt::print("],\n \"problem\": {},\n \"runtimes\": [",
             Quoted(runtimes.ok() ? "" : std::string(runtimes.status().message())));
  for (size_t i = 0; runtimes.ok() && i < runtimes->size(); ++i) {
    const GoRuntime& runtime = (*runtimes)[i];
    fmt::print("{}\n  {{\"path\": {}, \"version\": {}, \"offsets_from\": {}, \"load_bias\": {},\n",
               i == 0 ? "" : ",", Quoted(runtime.path), Quoted(runtime.version),
               Quoted(runtime.offsets_from), runtime.load_bias);
    fmt::print("   \"casgstatus_probe\": {},\n", CasgstatusProbe(**space, runtime));
    fmt::print("   \"allglen\": {}, \"allgptr\": {}, \"sched\": {},\n   \"wait_reasons\": [",
               runtime.allglen, runtime.allgptr, runtime.sched);
    for (size_t n = 0; n < runtime.wait_reasons.size(); ++n)
      fmt::print("{}{}", n == 0 ? "" : ", ", Quoted(runtime.wait_reasons[n]));
    fmt::print("],\n");
    if (dwarf) fmt::print("   \"dwarf\": {},\n", Quoted(DwarfSays(**space, runtime)));
    fmt::print("   \"goroutines\": [{}]}}", Goroutines(runtime, (*space)->memory()));
  }
  fmt::print("]}}\n");
  return 0;
}

}  // namespace
}  // namespace stallscope

int main(int argc, char** argv) {
  uint32_t pid = 0;
  bool dwarf = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--dwarf") {
      dwarf = true;
    } else {
      std::from_chars(word.data(), word.data() + word.size(), pid);
    }
  }
  if (pid == 0) {
    fmt::print(stderr, "usage: goruntime [--dwarf] PID\n");
    return stallscope::kExitUsage;
  }
  return stallscope::Run(pid, dwarf);
}
