// SPDX-License-Identifier: Apache-2.0
//
// `stallscope top`: a recording of goroutines that is looked at while it goes on. A table is what
// came since the table before it.
#include "userspace/cli/top.h"

#include <absl/status/status.h>
#include <fmt/format.h>
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "userspace/cli/signals.h"
#include "userspace/cli/targets.h"
#include "userspace/cli/words.h"
#include "userspace/collect/goroutines.h"
#include "userspace/format/text.h"
#include "userspace/process/clock.h"
#include "userspace/profile/make_profile.h"
#include "userspace/profile/site.h"

namespace stallscope {
namespace {

constexpr size_t kRowsElsewhere = 15;  // where stdout is no terminal

// Where goroutines wait: reason, site, whether they never ran.
struct Place {
  std::string reason, site;
  auto operator<=>(const Place&) const = default;
};
using Times = std::map<Place, double>;  // ns

struct Row {
  Place place;
  double goroutines = 0;  // on average
  double change = 0;      // of that, since the table before
};

// All since the start; `covered_ns` is the time that the snapshots so far stand for.
Times TimesOf(const Goroutines& goroutines, bool idle, double* covered_ns) {
  Recording recording;
  goroutines.Fill(&recording);
  *covered_ns = 0;
  for (const Census& census : recording.censuses)
    *covered_ns += static_cast<double>(census.ticks) * static_cast<double>(census.period_ns);
  ProfileOptions view;
  view.idle = idle;
  Times times;
  const auto profile = MakeProfile(recording, view);
  if (!profile.ok()) return times;
  for (const EventProfile& event : profile->events) {
    for (const ProfileSample& sample : event.samples) {
      const auto site = SiteOfWait(profile->frames, sample.frames, sample.own_from);
      Place place;
      place.reason = sample.reason;
      if (site) {
        const ProfileFrame& frame = profile->frames[*site];
        const std::string file = frame.file.substr(frame.file.find_last_of('/') + 1);
        place.site = frame.name;
        if (!file.empty()) place.site += fmt::format(" {}:{}", file, frame.line);
      }
      times[place] += static_cast<double>(sample.values.empty() ? 0 : sample.values[0].value_or(0));
    }
  }
  return times;
}

class Top {
 public:
  Top(const TopOptions& options, const Target& target, Goroutines* goroutines)
      : options_(options), target_(target), goroutines_(*goroutines) {
    on_terminal_ = isatty(STDOUT_FILENO);
  }

  int Run() {
    const uint64_t start = ClockNs(CLOCK_MONOTONIC);
    uint64_t next = start + options_.interval_ns;
    while (signals_.Count() == 0) {
      Wait(std::min(next, goroutines_.due_ns()));
      for (const ProcessChange& change : goroutines_.Tick(ClockNs(CLOCK_MONOTONIC))) {
        if (change.kind == ProcessChange::kExit) over_ = "it ended";
        if (change.kind == ProcessChange::kExec)
          over_ = fmt::format("it became another program ({})", Printable(change.after));
      }
      const uint64_t now = ClockNs(CLOCK_MONOTONIC);
      if (now >= next || !over_.empty()) {
        Print(now - start);
        next = now + options_.interval_ns;
      }
      if (!over_.empty()) break;
      if (options_.duration_ns && now - start >= options_.duration_ns) break;
      if (ferror(stdout)) break;  // nobody reads any more
    }
    if (!over_.empty())
      PrintLine(stderr, fmt::format("{} ({}): {}", target_.pid, Printable(target_.comm), over_));
    return kExitDone;
  }

 private:
  void Wait(uint64_t until_ns) const {
    const uint64_t now = ClockNs(CLOCK_MONOTONIC);
    if (until_ns <= now) return;
    const uint64_t left = until_ns - now;
    const timespec timeout = {static_cast<time_t>(left / 1'000'000'000),
                              static_cast<long>(left % 1'000'000'000)};
    pollfd fd = {signals_.fd(), POLLIN, 0};
    ppoll(&fd, 1, &timeout, nullptr);
  }

  void Print(uint64_t elapsed_ns) {
    double covered_ns = 0;
    Times times = TimesOf(goroutines_, options_.idle, &covered_ns);
    const double interval_ns = covered_ns - covered_before_ns_;
    if (interval_ns <= 0) return;  // no snapshot since
    std::map<Place, double> averages;
    std::vector<Row> rows;
    double all = 0;
    for (const auto& [place, time_ns] : times) {
      const double goroutines = std::max(0.0, time_ns - before_[place]) / interval_ns;
      averages[place] = goroutines;
      all += goroutines;
      const double change = first_ ? 0 : goroutines - averages_before_[place];
      if (goroutines >= 0.05 || std::abs(change) >= 0.05)
        rows.push_back({place, goroutines, change});
    }
    std::stable_sort(rows.begin(), rows.end(),
                     [](const Row& a, const Row& b) { return a.goroutines > b.goroutines; });
    Show(rows, all, elapsed_ns);
    before_ = std::move(times);
    covered_before_ns_ = covered_ns;
    averages_before_ = std::move(averages);
    first_ = false;
  }

  void Show(const std::vector<Row>& rows, double all, uint64_t elapsed_ns) const {
    size_t width = 120, shown = kRowsElsewhere;
    winsize size = {};
    if (on_terminal_ && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 5) {
      width = std::max<size_t>(size.ws_col, 40);
      shown = size.ws_row - 5;
    }
    std::string text;
    if (on_terminal_) text += "\x1b[H\x1b[2J";
    text += Clipped(
        fmt::format("{} ({})  {:.1f} s  {} goroutines, {:.1f} of them wait and are not idle",
                    target_.pid, PrintableName(target_.comm), static_cast<double>(elapsed_ns) / 1e9,
                    goroutines_.goroutines(), all),
        width);
    if (const std::string note = StandsStillNote(target_); !note.empty())
      text += Clipped(PrintableName(note), width);
    text += Clipped(fmt::format("{:>10} {:>8} {:>6}  {:<22} {}", "goroutines", "change", "share",
                                "reason", "site"),
                    width);
    for (size_t i = 0; i < std::min(rows.size(), shown); ++i) {
      const Row& row = rows[i];
      text += Clipped(
          fmt::format("{:>10.1f} {:>8} {:>5.1f}%  {:<22} {}", row.goroutines,
                      std::abs(row.change) < 0.05 ? "" : fmt::format("{:+.1f}", row.change),
                      all > 0 ? row.goroutines * 100 / all : 0,
                      "[" + PrintableName(row.place.reason) + "]", PrintableName(row.place.site)),
          width);
    }
    if (!on_terminal_) text += '\n';
    fwrite(text.data(), 1, text.size(), stdout);
    fflush(stdout);
  }

  // One line of at most `width` bytes.
  static std::string Clipped(std::string line, size_t width) {
    if (line.size() > width) {
      while (width > 0 && (static_cast<unsigned char>(line[width]) & 0xc0) == 0x80) --width;
      line.resize(width);
    }
    return line + "\n";
  }

  const TopOptions& options_;
  const Target& target_;
  Goroutines& goroutines_;
  Signals signals_;
  bool on_terminal_ = false, first_ = true;
  std::string over_;
  Times before_;
  double covered_before_ns_ = 0;
  std::map<Place, double> averages_before_;
};

}  // namespace

int RunTop(const TopOptions& options) {
  std::vector<std::string> notes;
  const auto target = ResolvePid(options.pid, TargetPaths{}, notes);
  if (!target.ok()) return ReportError(target.status());
  for (const std::string& note : notes) PrintLine(stderr, note);
  symbolizer::ModuleCache modules;
  GoroutineWaitsOptions census;
  census.budget = options.budget;
  Goroutines goroutines(&modules, census);
  const absl::Status status = goroutines.Add(target->pid);
  if (!status.ok() && !absl::IsFailedPrecondition(status)) {
    return ReportError(ExplainGoroutineFailure(status, target->comm, target->pid, "top"));
  }
  return Top(options, *target, &goroutines).Run();
}

}  // namespace stallscope
