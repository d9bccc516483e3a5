// SPDX-License-Identifier: Apache-2.0
//
// goroutines PID: every goroutine of a live Go process, in the manner of its own debug=2 dump: id,
// state, then function and line of each frame. The census on a command line, for tests and the
// curious.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "symbolizer/module_cache.h"
#include "userspace/go/census.h"
#include "userspace/go/runtime.h"
#include "userspace/process/live_space.h"

namespace stallscope {
namespace {

constexpr int kExitFailed = 4;

struct Options {
  uint32_t pid = 0;
  int takes = 1;
  int interval_ms = 50;
  double share = 1;
  bool counters_only = false;
  bool labels = false;
};

std::string StateOf(const Goroutine& goroutine, const GoRuntime& runtime) {
  switch (goroutine.status) {
    case kGoRunnable:
      return "runnable";
    case kGoRunning:
      return "running";
    case kGoSyscall:
      return "syscall";
    case kGoCopyStack:
      return "copystack";
    case kGoPreempted:
      return "preempted";
    default:
      break;
  }
  if (goroutine.wait_reason == 0) return "waiting";
  if (goroutine.wait_reason < runtime.wait_reasons.size()) {
    return runtime.wait_reasons[goroutine.wait_reason];
  }
  return fmt::format("wait reason {}", goroutine.wait_reason);
}

void PrintStack(const GoStack& stack, const LiveSpace& space) {
  symbolizer::Frame callee;
  bool has_callee = false;
  for (const StackAddress& address : stack.addresses) {
    for (const symbolizer::Frame& frame : space.Lookup(address.value, address.is_return)) {
      const bool shown =
          !frame.wrapper || symbolizer::GoShowsWrapper(has_callee ? &callee : nullptr);
      callee = frame;
      has_callee = true;
      if (!shown) continue;
      fmt::print("{}({})\n\t{}:{}\n", frame.function, frame.inlined ? "..." : "", frame.file,
                 frame.line);
    }
  }
  if (stack.end != StackEnd::kComplete) {
    fmt::print("[the stack ends early: {}]\n", static_cast<int>(stack.end));
  }
}

void PrintLabels(const GoLabels& labels) {
  fmt::print("labels:");
  for (const auto& [key, value] : labels) fmt::print(" {}={}", key, value);
  fmt::print("\n");
}

void PrintGoroutine(const Goroutine& goroutine, const GoroutineCensus& census,
                    const LiveSpace& space, bool labels) {
  fmt::print("goroutine {} [{}{}]:\n", goroutine.id, StateOf(goroutine, census.runtime()),
             goroutine.locked_thread != 0 ? ", locked to thread" : "");
  if (goroutine.stack != kNoGoStack) PrintStack(census.stack(goroutine.stack), space);
  if (goroutine.unread) fmt::print("[the stack could not be read in one piece]\n");
  const auto creator = space.Lookup(goroutine.created_at, true);
  constexpr uint64_t kMainGoroutine = 1;  // made by the runtime
  if (!creator.empty() && goroutine.id != kMainGoroutine) {
    fmt::print("created by {}", creator.back().function);
    if (goroutine.parent_id != 0) fmt::print(" in goroutine {}", goroutine.parent_id);
    fmt::print("\n\t{}:{}\n", creator.back().file, creator.back().line);
  }
  if (labels && goroutine.label_set != kNoGoLabels) {
    PrintLabels(census.labels(goroutine.label_set));
  }
  fmt::print("\n");
}

void PrintCounters(const Snapshot& snapshot, const GoroutineCensus& census) {
  const CensusCounters& counters = census.counters();
  fmt::print(
      "listed {} alive {} units {} of {} | takes {} looks {} stacks_read {} torn {} unread {} "
      "incomplete {} unreadable {} refused {} labels_unread {} stacks {}\n",
      snapshot.listed, snapshot.goroutines.size(), snapshot.units_taken, snapshot.units,
      counters.takes, counters.looks, counters.stacks_read, counters.torn, counters.unread,
      counters.incomplete, counters.unreadable, counters.refused, counters.labels_unread,
      census.stacks());
}

absl::Status Run(const Options& options) {
  symbolizer::ModuleCache modules;
  auto space = LiveSpace::Open(options.pid, &modules);
  if (!space.ok()) return space.status();
  auto runtimes = FindGoRuntimes(**space);
  if (!runtimes.ok()) return runtimes.status();
  for (const GoRuntime& runtime : *runtimes) {
    auto census = GoroutineCensus::Create(&(*space)->memory(), runtime);
    if (!census.ok()) return census.status();
    Snapshot snapshot;
    for (int take = 0; take < options.takes; ++take) {
      if (take > 0) usleep(static_cast<useconds_t>(options.interval_ms) * 1000);
      if (absl::Status status = (*census)->Take(options.share, &snapshot); !status.ok()) {
        return status;
      }
    }
    if (options.counters_only) {
      PrintCounters(snapshot, **census);
      continue;
    }
    for (const Goroutine& goroutine : snapshot.goroutines) {
      PrintGoroutine(goroutine, **census, **space, options.labels);
    }
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace stallscope

int main(int argc, char** argv) {
  stallscope::Options options;
  CLI::App app{"Every goroutine of a live Go process."};
  app.add_option("pid", options.pid)->required();
  app.add_option("--takes", options.takes, "snapshots; the last is printed");
  app.add_option("--interval", options.interval_ms, "milliseconds between two");
  app.add_option("--share", options.share, "of the goroutines, in each snapshot");
  app.add_flag("--counters", options.counters_only, "print what was counted, no goroutines");
  app.add_flag("--labels", options.labels, "print pprof labels too");
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = stallscope::Run(options);
  if (!status.ok()) {
    fmt::print(stderr, "goroutines: {}\n", std::string(status.message()));
    return stallscope::kExitFailed;
  }
  return 0;
}
