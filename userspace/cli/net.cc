// SPDX-License-Identifier: Apache-2.0
//
// `stallscope net`: connections are followed until the end, summed by peer and path, judged, and
// printed. What was seen is printed whatever happens to the target.
#include "userspace/cli/net.h"

#include <fmt/format.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "userspace/cli/console.h"
#include "userspace/cli/kernel_targets.h"
#include "userspace/cli/signals.h"
#include "userspace/cli/target_watch.h"
#include "userspace/cli/targets.h"
#include "userspace/cli/ticker.h"
#include "userspace/cli/version.h"
#include "userspace/cli/words.h"
#include "userspace/collect/cost.h"
#include "userspace/collect/epoll.h"
#include "userspace/collect/requirements.h"
#include "userspace/collect/status.h"
#include "userspace/collect/tcp.h"
#include "userspace/format/net.h"
#include "userspace/net/make_table.h"
#include "userspace/process/clock.h"
#include "userspace/profile/make_profile.h"

namespace stallscope {
namespace {

class NetRun {
 public:
  explicit NetRun(const NetOptions& options)
      : options_(options),
        console_(options.quiet, !options.json),
        watch_(options.target, &console_) {}

  int Run() {
    if (const absl::Status status = Attach(); !status.ok()) return ReportError(status);
    Loop();
    return signals_.Count() > 1 ? kExitAbandoned : Finish();
  }

 private:
  bool WithStacks() const { return options_.target.kind != TargetSelector::Kind::kAll; }

  absl::Status Attach() {
    QuietLibbpf(options_.verbose);
    auto targets = ResolveTargets(options_.target, getpid());
    if (!targets.ok()) return targets.status();
    targets_ = *std::move(targets);
    for (const std::string& note : targets_.notes) console_.Say(note);
    watch_.Begin(targets_);
    auto kernel = FindKernelTargets(options_.target, targets_, false, &pids_);
    if (!kernel.ok()) return kernel.status();

    start_unix_ns_ = static_cast<int64_t>(ClockNs(CLOCK_REALTIME));
    TcpOptions collector;
    AimAt(*kernel, &collector.probe);
    collector.probe.stacks = collector.probe.turns = WithStacks();
    collector.probe.stack_entries = options_.stacks;
    collector.groups = true;
    auto tcp = Tcp::Start(collector, &pids_, &modules_);
    if (!tcp.ok()) return ExplainLoadFailure(tcp.status());
    tcp_ = *std::move(tcp);
    start_ns_ = tcp_->start_mono_ns();
    if (WithStacks()) AttachToLoops(*kernel);
    watch_.SetStart(start_ns_);
    cost_.emplace(ProgramFds());
    console_.Say(fmt::format("recording connections of {} by peer{}{}",
                             WithStacks() ? targets_.description : "every process",
                             WithStacks() ? " and by the path that opened them" : " and process",
                             options_.duration_ns
                                 ? fmt::format(" for {}", DurationText(options_.duration_ns))
                                 : " until Ctrl-C"));
    return absl::OkStatus();
  }

  // Connections are told without them.
  void AttachToLoops(const KernelTargets& targets) {
    EpollOptions collector;
    AimAt(targets, &collector.probe);
    collector.probe.stack_entries = options_.stacks;
    auto epoll = Epoll::Start(collector, &pids_, &modules_);
    if (epoll.ok()) {
      epoll_ = *std::move(epoll);
      return;
    }
    const std::string why(epoll.status().message());
    console_.Note(fmt::format("event loops are not measured: {}", why.substr(0, why.find('\n'))));
  }

  template <typename Visit>
  void VisitCollectors(const Visit& visit) const {
    visit(*tcp_);
    if (epoll_) visit(*epoll_);
  }

  std::vector<int> ProgramFds() const {
    std::vector<int> fds;
    VisitCollectors([&](const auto& collector) {
      for (const int fd : collector.ProgramFds()) fds.push_back(fd);
    });
    return fds;
  }

  std::vector<int> MapFds() const {
    std::vector<int> fds;
    VisitCollectors([&](const auto& collector) {
      for (const int fd : collector.MapFds()) fds.push_back(fd);
    });
    return fds;
  }

  void Loop() {
    const Ticker ticker(kTickNs);
    const uint64_t deadline = options_.duration_ns ? start_ns_ + options_.duration_ns : 0;
    for (uint64_t tick = 0; signals_.Count() == 0 && !watch_.over();) {
      const Ticker::Woken woken = ticker.Wait(signals_.fd(), -1, deadline);
      const uint64_t now = ClockNs(CLOCK_MONOTONIC);
      if (deadline && now >= deadline) break;  // the end drains by itself
      if (!woken.tick) continue;
      ++tick;
      cost_->Tick(now);
      FollowAll(tcp_->Drain());
      if (epoll_) FollowAll(epoll_->Drain());
      if (!failure_.ok()) break;
      if (tick % kTicksARescan == 0) AddNewMembers();
      console_.ShowProgress(fmt::format(
          "{:.1f} s{}  {} connections ended  {} stacks", static_cast<double>(now - start_ns_) / 1e9,
          options_.duration_ns ? fmt::format(" of {}", DurationText(options_.duration_ns)) : "",
          tcp_->connections(), tcp_->stacks()));
    }
    console_.EndProgress();
  }

  void FollowAll(const absl::StatusOr<std::vector<ProcessChange>>& changes) {
    if (!changes.ok()) {
      if (failure_.ok()) failure_ = changes.status();
      return;
    }
    for (const ProcessChange& change : *changes) watch_.Follow(change, epoll_ ? 2 : 1);
  }

  void AddNewMembers() {
    for (const Target& target : watch_.FindNewMembers()) {
      const auto tgid = pids_.ToKernel(target.pid);
      if (!tgid) continue;
      tcp_->AddTarget(*tgid).IgnoreError();
      if (epoll_) epoll_->AddTarget(*tgid).IgnoreError();
    }
  }

  int Finish() {
    const uint64_t stop_ns = ClockNs(CLOCK_MONOTONIC);
    watch_.End(targets_);
    FollowAll(tcp_->Stop());
    if (epoll_) FollowAll(epoll_->Stop());
    Recording recording;
    recording.tool_version = ToolVersion();
    recording.target = targets_.description;
    recording.start_unix_ns = start_unix_ns_;
    recording.start_mono_ns = start_ns_;
    recording.duration_ns = stop_ns - start_ns_;
    const auto interrupted = [this] { return signals_.Count() > 1; };
    Raw raw;
    if (absl::IsCancelled(tcp_->Fill(&recording, interrupted, &raw.groups))) return kExitAbandoned;
    recording.events.push_back(ConnectionEvent(raw.groups, tcp_->mechanism()));
    if (epoll_) {
      const absl::Status filled = epoll_->Fill(&recording, interrupted, &raw.loops.emplace());
      if (absl::IsCancelled(filled)) return kExitAbandoned;
      recording.events.push_back(LoopEvent(*raw.loops));
    }
    const std::vector<std::string>& notes = console_.notes();
    recording.notes.insert(recording.notes.begin(), notes.begin(), notes.end());
    recording.cost = cost_->Measure(ClockNs(CLOCK_MONOTONIC), recording.duration_ns, MapFds(), 0);
    tcp_.reset();
    epoll_.reset();  // nothing of ours is attached from here on

    const absl::Status printed = Print(recording, raw);
    if (interrupted()) return kExitAbandoned;
    if (!printed.ok()) return ReportError(printed);
    if (!failure_.ok()) {
      return ReportError(
          RunError(std::string(failure_.message()), "what was seen until then is printed"));
    }
    return kExitDone;
  }

  // What the recording does not hold: named by it.
  struct Raw {
    std::vector<ConnectionGroup> groups;
    std::optional<std::vector<EventLoop>> loops;  // absent: not measured
  };

  absl::Status Print(const Recording& recording, const Raw& raw) const {
    ProfileOptions everything;
    everything.idle = true;
    auto profile = MakeProfile(recording, everything);
    if (!profile.ok()) return profile.status();
    NetReport report;
    report.table.with_stacks = WithStacks();
    report.table.peers = NamePeers(*profile, raw.groups, WithStacks());
    if (raw.loops) report.table.loops = NameLoops(*profile, *raw.loops);
    report.verdict = JudgeNet(report.table, recording.duration_ns);
    report.profile = *std::move(profile);
    const std::string text = options_.json ? NetJson(report) : NetText(report, Width());
    fputs(text.c_str(), stdout);
    return absl::OkStatus();
  }

  // Wider terminals show more of long names.
  static size_t Width() {
    constexpr size_t kUsual = 100, kMost = 180;
    winsize size = {};
    if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) return kUsual;
    return std::clamp<size_t>(size.ws_col, kUsual, kMost);
  }

  const NetOptions& options_;
  Console console_;
  TargetWatch watch_;
  Signals signals_;
  Targets targets_;
  PidNamespace pids_;
  symbolizer::ModuleCache modules_;
  std::unique_ptr<Tcp> tcp_;
  std::unique_ptr<Epoll> epoll_;  // null: event loops are not measured
  std::optional<CostMeter> cost_;
  absl::Status failure_;
  int64_t start_unix_ns_ = 0;
  uint64_t start_ns_ = 0;
};

}  // namespace

int RunNet(const NetOptions& options) { return NetRun(options).Run(); }

}  // namespace stallscope
