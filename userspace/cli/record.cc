// SPDX-License-Identifier: Apache-2.0
//
// `stallscope record`: targets and outputs are checked, the programs attached, the loop drains
// until the end, and the recording becomes files and a summary. What was recorded is written
// whatever happens to the target.
#include "userspace/cli/record.h"

#include <errno.h>
#include <fmt/format.h>
#include <stdio.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "symbolizer/go_binary.h"
#include "symbolizer/go_image.h"
#include "symbolizer/module.h"
#include "userspace/cli/child.h"
#include "userspace/cli/console.h"
#include "userspace/cli/kernel_targets.h"
#include "userspace/cli/outputs.h"
#include "userspace/cli/signals.h"
#include "userspace/cli/summary_json.h"
#include "userspace/cli/target_watch.h"
#include "userspace/cli/targets.h"
#include "userspace/cli/ticker.h"
#include "userspace/cli/version.h"
#include "userspace/cli/words.h"
#include "userspace/collect/cost.h"
#include "userspace/collect/epoll.h"
#include "userspace/collect/goroutines.h"
#include "userspace/collect/offcpu.h"
#include "userspace/collect/recorded_stacks.h"
#include "userspace/collect/requirements.h"
#include "userspace/collect/status.h"
#include "userspace/collect/tcp.h"
#include "userspace/go/offsets.h"
#include "userspace/go/runtime.h"
#include "userspace/process/clock.h"
#include "userspace/profile/make_profile.h"
#include "userspace/profile/summarize.h"

namespace stallscope {
namespace {

constexpr double kStrictShare = 0.01;

// What an event is of, after its name.
std::string_view MeaningOf(std::string_view event) {
  if (event == "offcpu") return "where threads block";
  if (event == "tcp") return "who sets up connections, and how long that takes";
  if (event == "retrans") return "whose connections send segments again";
  if (event == "epoll") return "where threads wait for events, and how late event loops are";
  return "where goroutines wait";
}

class Recorder {
 public:
  explicit Recorder(const RecordOptions& options)
      : options_(options),
        console_(options.quiet, !options.json),
        watch_(options.target, &console_) {}

  int Run() {
    if (const absl::Status status = Prepare(); !status.ok()) return ReportError(status);
    if (const absl::Status status = Attach(); !status.ok()) return ReportError(status);
    Loop();
    if (signals_.Count() <= 1) return Finish();
    NoteRunningCommand();
    return kExitAbandoned;
  }

 private:
  // Everything that can fail before anything is attached.
  absl::Status Prepare() {
    QuietLibbpf(options_.verbose);
    auto targets = ResolveTargets(options_.target, getpid());
    if (!targets.ok()) return targets.status();
    targets_ = *std::move(targets);
    for (const std::string& note : targets_.notes) console_.Say(note);

    const bool one = targets_.processes.size() == 1;
    std::string name =
        options_.target.kind == TargetSelector::Kind::kAll ? "all" : options_.target.comm;
    if (one) name = targets_.processes[0].comm;
    if (options_.target.kind == TargetSelector::Kind::kCommand) {
      name = options_.target.command[0].substr(options_.target.command[0].find_last_of('/') + 1);
    } else if (name.empty()) {
      name = targets_.processes.empty() ? "none" : targets_.processes[0].comm;
    }
    std::vector<Output> outputs = options_.outputs;
    start_unix_ns_ = static_cast<int64_t>(ClockNs(CLOCK_REALTIME));
    if (outputs.empty()) {
      outputs = DefaultOutputs(name, one ? std::optional(targets_.processes[0].pid) : std::nullopt,
                               start_unix_ns_, options_.format);
    }
    ChooseEvents();
    wanted_outputs_ = std::move(outputs);
    outputs_ = PlanOutputs(wanted_outputs_, events_);
    if (auto status = CheckStdout(outputs_); !status.ok()) return status;
    if (auto status = CheckWritable(outputs_); !status.ok()) return status;

    if (options_.target.kind == TargetSelector::Kind::kCommand) {
      auto child = Child::Prepare(options_.target.command);
      if (!child.ok())
        return RunError(std::string(child.status().message()),
                        "check the limits of this shell (ulimit -a)");
      child_ = *std::move(child);
      targets_.processes = {{static_cast<uint32_t>(child_->pid()), name}};
    }
    return absl::OkStatus();
  }

  // Without -e: goroutines of Go programs, threads of all others. Of everything there would be too
  // many.
  void ChooseEvents() {
    const bool by_kind = options_.events.empty();
    const bool known = options_.target.kind != TargetSelector::Kind::kAll &&
                       options_.target.kind != TargetSelector::Kind::kCommand;
    for (const Target& target : targets_.processes) {
      if (by_kind && known && IsGoProgram(target.pid)) go_.push_back(target);
    }
    if (!by_kind) {
      events_ = options_.events;
      if (Records("goroutine")) go_ = targets_.processes;
    } else if (go_.empty()) {
      events_ = {"offcpu"};
    } else if (go_.size() == targets_.processes.size()) {
      events_ = {"goroutine"};
    } else {
      events_ = {"goroutine", "offcpu"};
    }
    if (by_kind && options_.target.kind == TargetSelector::Kind::kCommand) ChooseByCommand();
    if (!by_kind || !known || go_.empty()) return;
    why_ = events_.size() > 1
               ? fmt::format("{} of {} are Go programs", go_.size(), targets_.processes.size())
           : go_.size() > 1 ? "Go programs"
                            : "a Go program";
  }

  // The program that a command starts with is known before it runs; what a script starts is not.
  void ChooseByCommand() {
    why_ = "for a Go program add -e goroutine";
    const std::string path = ExecutableOf(options_.target.command[0]);
    const auto module = symbolizer::Module::Open({path, path, ""});
    if (!module.ok() || (*module)->go() == nullptr) return;
    const std::string& version = (*module)->go()->version();
    const auto minor = symbolizer::GoMinorVersion(version);
    if ((minor && KnownGoOffsets(*minor)) || GoOffsetsFromDwarf(**module).ok()) {
      events_ = {"goroutine"};
      why_ = "a Go program";
    } else {
      why_ = UnknownGoVersion(version);
    }
  }

  bool IsGoProgram(uint32_t pid) {
    const auto space = LiveSpace::Open(pid, &modules_);
    return space.ok() && (*space)->go(nullptr) != nullptr;
  }

  bool Records(std::string_view event) const {
    return std::find(events_.begin(), events_.end(), event) != events_.end();
  }

  absl::Status Attach() {
    if (child_) watch_.BeginCommand(child_->pid());
    watch_.Begin(targets_);
    start_ns_ = ClockNs(CLOCK_MONOTONIC);
    if (Records("goroutine")) {
      if (auto status = AttachToGoroutines(); !status.ok()) return status;
      if (goroutines_ && goroutines_->start_ns()) start_ns_ = goroutines_->start_ns();
    }
    const bool connections = Records("tcp") || Records("retrans");
    KernelTargets targets;
    if (Records("offcpu") || connections || Records("epoll")) {
      auto found = FindKernelTargets(options_.target, targets_, options_.children, &pids_);
      if (!found.ok()) return found.status();
      targets = *std::move(found);
    }
    if (Records("offcpu")) {
      if (auto status = AttachToThreads(targets); !status.ok()) return status;
      start_ns_ = offcpu_->start_mono_ns();
      if (goroutines_) goroutines_->Begin();
    }
    if (connections) {
      if (auto status = AttachToConnections(targets); !status.ok()) return status;
      if (!offcpu_ && !goroutines_) start_ns_ = tcp_->start_mono_ns();
    }
    if (Records("epoll")) {
      if (auto status = AttachToEpoll(targets); !status.ok()) return status;
      if (!offcpu_ && !goroutines_ && !tcp_) start_ns_ = epoll_->start_mono_ns();
    }
    watch_.SetStart(start_ns_);
    cost_.emplace(ProgramFds());
    if (child_) {
      if (goroutines_) goroutines_->Expect(child_->pid());
      if (auto status = child_->Release(); !status.ok()) {
        return RunError(
            fmt::format("{}: {}", options_.target.command[0], std::string(status.message())),
            "check the command's name and that it can be executed");
      }
    }
    // A census estimates sums; it times no single wait, and looks at no thread.
    if (goroutines_ && (options_.min_ns > 0 || options_.max_ns != ~uint64_t{0}))
      console_.Note("--min and --max are of threads: goroutines are shown whatever they waited");
    if (options_.exact && !goroutines_)
      console_.Note("--exact is of goroutines: none of these is a Go program");
    if (options_.view.peers && events_.size() == 1 && Records("offcpu"))
      console_.Note("--peers is of goroutines: whom threads wait for is not told");
    if (goroutines_ && options_.threads && !offcpu_)
      console_.Note("--threads is of threads: goroutines are not kept apart");
    for (const std::string& event : events_) {
      console_.Say(fmt::format("recording {} ({}) of {}{}{}", event, MeaningOf(event), TargetText(),
                               why_.empty() ? "" : ", " + why_ + ",", DurationWords()));
    }
    return absl::OkStatus();
  }

  // Where none of them can be read and the user named no event, their threads are recorded.
  absl::Status AttachToGoroutines() {
    GoroutineWaitsOptions census;
    census.duration_ns = DurationNs();
    census.peers = options_.view.peers;
    census.created_by = options_.view.created_by;
    census.budget = options_.budget / static_cast<double>(std::max<size_t>(go_.size(), 1));
    census.exact = options_.exact;
    goroutines_.emplace(&modules_, census, options_.stacks);
    if (child_) return absl::OkStatus();
    const bool wanted = !options_.events.empty();
    for (const Target& target : go_) {
      const absl::Status status = goroutines_->Add(target.pid);
      if (status.ok() || absl::IsFailedPrecondition(status)) continue;
      if (absl::IsAborted(status)) return ExplainLoadFailure(status);
      if (options_.exact && absl::IsResourceExhausted(status)) {
        const std::string lines(status.message());
        const size_t end = lines.find('\n');
        return TargetError(
            fmt::format("{} ({}): {}", Printable(target.comm), target.pid, lines.substr(0, end)),
            end == std::string::npos ? "leave out --exact" : lines.substr(end + 1));
      }
      absl::Status why = ExplainGoroutineFailure(status, target.comm, target.pid, "record");
      if (ExitCodeOf(why) == kExitMachine || (wanted && go_.size() == 1)) return why;
      console_.Note(std::string(why.message().substr(0, why.message().find('\n'))));
      if (!wanted && !Records("offcpu")) events_.push_back("offcpu");
    }
    if (goroutines_->empty()) {
      if (wanted && events_.size() == 1) {
        return TargetError("none of them is a Go program that can be read",
                           "their threads instead: -e offcpu");
      }
      goroutines_.reset();
      events_ = {"offcpu"};
      why_.clear();
    }
    outputs_ = PlanOutputs(wanted_outputs_, events_);
    // What was attached to one after the other begins at once.
    if (options_.exact && goroutines_) goroutines_->Begin();
    return absl::OkStatus();
  }

  absl::Status AttachToThreads(const KernelTargets& targets) {
    OffCpuOptions collector;
    AimAt(targets, &collector.ledger);
    collector.follow_children = options_.children;
    collector.from_exec = child_ != nullptr;
    collector.wanted_comm = targets.wanted_comm;
    collector.ledger.min_ns = options_.min_ns;
    collector.ledger.max_ns = options_.max_ns;
    collector.ledger.per_thread = options_.threads;
    collector.ledger.stack_entries = options_.stacks;
    auto offcpu = OffCpu::Start(collector, &pids_, &modules_);
    if (!offcpu.ok()) return ExplainLoadFailure(offcpu.status());
    offcpu_ = *std::move(offcpu);

    for (uint32_t tgid : collector.ledger.tgids) {
      const Space* space = offcpu_->Current(tgid);
      if (space && !space->go_problem.empty()) console_.Say(GoProblem(*space));
    }
    return absl::OkStatus();
  }

  absl::Status AttachToConnections(const KernelTargets& targets) {
    TcpOptions collector;
    AimAt(targets, &collector.probe);
    collector.probe.stack_entries = options_.stacks;
    collector.set_up = Records("tcp");
    collector.retransmits = Records("retrans");
    collector.per_thread = options_.threads;
    collector.follow_children = options_.children;
    collector.wanted_comm = targets.wanted_comm;
    collector.min_ns = options_.min_ns;
    collector.max_ns = options_.max_ns;
    auto tcp = Tcp::Start(collector, &pids_, &modules_);
    if (!tcp.ok()) return ExplainLoadFailure(tcp.status());
    tcp_ = *std::move(tcp);
    return absl::OkStatus();
  }

  absl::Status AttachToEpoll(const KernelTargets& targets) {
    EpollOptions collector;
    AimAt(targets, &collector.probe);
    collector.probe.stack_entries = options_.stacks;
    collector.probe.per_thread = options_.threads;
    collector.probe.min_ns = options_.min_ns;
    collector.probe.max_ns = options_.max_ns;
    collector.follow_children = options_.children;
    collector.wanted_comm = targets.wanted_comm;
    auto epoll = Epoll::Start(collector, &pids_, &modules_);
    if (!epoll.ok()) return ExplainLoadFailure(epoll.status());
    epoll_ = *std::move(epoll);
    return absl::OkStatus();
  }

  template <typename Visit>
  void VisitCollectors(const Visit& visit) const {
    if (offcpu_) visit(*offcpu_);
    if (goroutines_) visit(*goroutines_);
    if (tcp_) visit(*tcp_);
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

  std::string TargetText() const {
    return targets_.description.empty() ? "every process" : targets_.description;
  }

  uint64_t DurationNs() const {
    // A command runs to its end unless told otherwise.
    if (child_ && !options_.duration_given) return 0;
    return options_.duration_ns;
  }

  std::string DurationWords() const {
    if (DurationNs()) return fmt::format(" for {}", DurationText(DurationNs()));
    return child_ ? " until it ends" : " until Ctrl-C";
  }

  void Loop() {
    const Ticker ticker(kTickNs);
    const uint64_t deadline = DurationNs() ? start_ns_ + DurationNs() : 0;
    int end_fd = child_ ? child_->end_fd() : -1;
    for (uint64_t tick = 0; signals_.Count() == 0 && !over_ && !watch_.over();) {
      uint64_t wake = deadline;
      if (goroutines_) wake = std::min(deadline ? deadline : ~uint64_t{0}, goroutines_->due_ns());
      const Ticker::Woken woken = ticker.Wait(signals_.fd(), end_fd, wake);
      // Once is enough: it stays readable, and a command that is traced is ours to wait for only
      // when its tracer lets go.
      if (woken.end) end_fd = -1;
      const uint64_t now = ClockNs(CLOCK_MONOTONIC);
      if (goroutines_) {
        for (const ProcessChange& change : goroutines_->Tick(now)) Follow(change);
      }
      if (deadline && now >= deadline) break;  // the end drains by itself
      if (!woken.tick && !woken.end) continue;
      ++tick;
      cost_->Tick(now);
      if (!Drain()) break;
      if (tick % kTicksARescan == 0) AddNewMembers();
      if (child_ && child_->ExitCode()) over_ = true;
      ShowProgress(now - start_ns_);
    }
    console_.EndProgress();
  }

  bool Drain() {
    if (tcp_) {
      for (const ProcessChange& change : tcp_->Drain()) Follow(change);
    }
    if (epoll_ && !FollowAll(epoll_->Drain())) return false;
    return !offcpu_ || FollowAll(offcpu_->Drain());
  }

  bool FollowAll(const absl::StatusOr<std::vector<ProcessChange>>& changes) {
    if (!changes.ok()) {
      if (failure_.ok()) failure_ = changes.status();
      return false;
    }
    for (const ProcessChange& change : *changes) Follow(change);
    return true;
  }

  void Follow(const ProcessChange& change) {
    size_t collectors = 0;
    VisitCollectors([&](const auto&) { ++collectors; });
    watch_.Follow(change, collectors);
  }

  void AddNewMembers() {
    for (const Target& target : watch_.FindNewMembers()) {
      const bool wants_census =
          goroutines_ && (!options_.events.empty() || IsGoProgram(target.pid));
      const absl::Status added =
          wants_census ? goroutines_->Add(target.pid) : absl::NotFoundError("not wanted");
      const bool in_census = added.ok();
      if (options_.exact && absl::IsResourceExhausted(added)) {
        const std::string why(added.message());
        console_.Note(fmt::format("{} ({}) is not recorded: {}", Printable(target.comm), target.pid,
                                  why.substr(0, why.find('\n'))));
      }
      const auto tgid = pids_.ToKernel(target.pid);
      if (tgid && tcp_) tcp_->AddTarget(*tgid).IgnoreError();
      if (tgid && epoll_) epoll_->AddTarget(*tgid).IgnoreError();
      if (!offcpu_ || (in_census && options_.events.empty())) continue;
      if (tgid) offcpu_->AddTarget(*tgid).IgnoreError();
    }
  }

  // We started the command, but it is not ours to end.
  void NoteRunningCommand() {
    if (child_ && !child_->ExitCode())
      console_.Note(fmt::format("the command (pid {}) still runs", child_->pid()));
  }

  int Finish() {
    const uint64_t stop_ns = ClockNs(CLOCK_MONOTONIC);
    if (goroutines_) goroutines_->Stop(stop_ns);
    watch_.End(targets_);
    if (offcpu_) FollowAll(offcpu_->Stop());
    if (tcp_) FollowAll(tcp_->Stop());
    if (epoll_) FollowAll(epoll_->Stop());
    NoteRunningCommand();
    Recording recording;
    recording.tool_version = ToolVersion();
    recording.target = TargetText();
    utsname system;
    if (uname(&system) == 0) recording.machine = system.machine;
    recording.start_unix_ns = start_unix_ns_;
    recording.start_mono_ns = start_ns_;
    recording.duration_ns = stop_ns - start_ns_;
    const auto interrupted = [this] { return signals_.Count() > 1; };
    if (offcpu_ && absl::IsCancelled(offcpu_->Fill(&recording, interrupted))) return kExitAbandoned;
    if (goroutines_) goroutines_->Fill(&recording);
    if (tcp_ && absl::IsCancelled(tcp_->Fill(&recording, interrupted))) return kExitAbandoned;
    if (epoll_ && absl::IsCancelled(epoll_->Fill(&recording, interrupted))) return kExitAbandoned;
    const std::vector<std::string>& notes = console_.notes();
    recording.notes.insert(recording.notes.begin(), notes.begin(), notes.end());
    cost_->SetPrograms(ProgramFds());  // of programs that came later too
    recording.cost = cost_->Measure(ClockNs(CLOCK_MONOTONIC), recording.duration_ns, MapFds(),
                                    offcpu_ ? offcpu_->ring_bytes() : 0);
    offcpu_.reset();
    tcp_.reset();
    epoll_.reset();
    goroutines_.reset();  // nothing of ours is attached from here on

    auto profile = MakeProfile(recording, options_.view);
    if (!profile.ok()) return ReportError(profile.status());
    if (interrupted()) return kExitAbandoned;
    const WriteReport written = WriteOutputs(recording, *profile, options_.view, outputs_);
    if (interrupted()) return kExitAbandoned;
    if (!options_.quiet && !options_.json) {
      SummaryOptions summary;
      summary.files = written.paths;
      summary.next = NextCommand(written.paths);
      fputs(FormatSummary(*profile, summary).c_str(), stderr);
    }
    if (options_.json) fputs(SummaryJson(*profile, written.paths).c_str(), stdout);
    if (!written.status.ok()) return ReportError(written.status);
    if (!failure_.ok()) {
      return ReportError(
          RunError(std::string(failure_.message()), "what was recorded until then is written"));
    }
    if (options_.strict && LossShare(*profile) > kStrictShare) return kExitLoss;
    if (child_) return child_->ExitCode().value_or(kExitDone);
    return kExitDone;
  }

  // Of the event that lost most: lost / (lost + recorded).
  double LossShare(const Profile& profile) const {
    double worst = 0;
    for (const EventSummary& event : Summarize(profile).events) {
      uint64_t lost = 0, dropped = 0;
      for (const Loss& loss : profile.losses) {
        if (loss.event != event.name) continue;
        lost += loss.count;
        if (loss.dropped) dropped += loss.count;
      }
      const double all = static_cast<double>(event.count + event.hidden_count + dropped);
      if (all > 0) worst = std::max(worst, static_cast<double>(lost) / all);
    }
    return worst;
  }

  std::string NextCommand(const std::vector<std::string>& files) const {
    for (const std::string& file : files) {
      if (FormatOfPath(file) == Format::kHtml) return "open " + ShellQuoted(file) + " in a browser";
    }
    for (const std::string& file : files) {
      if (FormatOfPath(file) == Format::kPprof) return "go tool pprof -http=: " + ShellQuoted(file);
    }
    for (const std::string& file : files) {
      if (FormatOfPath(file) == Format::kRaw)
        return "stallscope convert " + ShellQuoted(file) + " -o flame.html";
    }
    for (const std::string& file : files) {
      if (FormatOfPath(file) == Format::kFolded) {
        return "flamegraph.pl --countname=us --colors=io " + ShellQuoted(file) + " > flame.svg";
      }
    }
    return "";
  }

  void ShowProgress(uint64_t elapsed_ns) {
    if (!console_.shows_progress()) return;
    uint64_t waits = 0, stacks = 0;
    std::string goroutines;
    if (offcpu_) waits += offcpu_->waits(), stacks += offcpu_->stacks();
    if (tcp_) waits += tcp_->connections(), stacks += tcp_->stacks();
    if (epoll_) waits += epoll_->calls(), stacks += epoll_->stacks();
    if (goroutines_) {
      waits += goroutines_->waits(), stacks += goroutines_->stacks();
      goroutines = fmt::format("  {} goroutines", goroutines_->goroutines());
    }
    console_.ShowProgress(
        fmt::format("{:.1f} s{}{}  {} waits  {} stacks", static_cast<double>(elapsed_ns) / 1e9,
                    DurationNs() ? fmt::format(" of {}", DurationText(DurationNs())) : "",
                    goroutines, waits, stacks));
  }

  const RecordOptions& options_;
  Console console_;
  TargetWatch watch_;
  std::unique_ptr<Child> child_;
  Signals signals_;
  Targets targets_;
  std::vector<Output> wanted_outputs_, outputs_;  // as typed, and one a file
  int64_t start_unix_ns_ = 0;
  PidNamespace pids_;
  symbolizer::ModuleCache modules_;
  std::vector<std::string> events_;
  std::string why_;                       // these events, where the user named none
  std::vector<Target> go_;                // whose goroutines are recorded
  std::unique_ptr<OffCpu> offcpu_;        // null: no threads are recorded
  std::optional<Goroutines> goroutines_;  // absent: no goroutines are
  std::unique_ptr<Tcp> tcp_;              // null: no connections are
  std::unique_ptr<Epoll> epoll_;          // null: no calls that wait for events are
  uint64_t start_ns_ = 0;
  std::optional<CostMeter> cost_;
  absl::Status failure_;
  bool over_ = false;  // the command has ended
};

}  // namespace

int RunRecord(const RecordOptions& options) { return Recorder(options).Run(); }

}  // namespace stallscope
