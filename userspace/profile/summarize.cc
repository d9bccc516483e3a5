// SPDX-License-Identifier: Apache-2.0
#include "userspace/profile/summarize.h"

#include <absl/container/flat_hash_map.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string_view>
#include <tuple>
#include <utility>

#include "userspace/profile/reason.h"
#include "userspace/profile/show.h"
#include "userspace/profile/site.h"

namespace stallscope {
namespace {

std::optional<size_t> FindColumn(const EventProfile& event, std::string_view name) {
  for (size_t i = 0; i < event.columns.size(); ++i) {
    if (event.columns[i].name == name) return i;
  }
  return std::nullopt;
}

// 0 where nothing was measured, and for the negative values that only a damaged capture can hold.
uint64_t ValueOf(const ProfileSample& sample, size_t column) {
  if (column >= sample.values.size()) return 0;
  return static_cast<uint64_t>(std::max<int64_t>(0, sample.values[column].value_or(0)));
}

double Share(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

// Whether labels alone tell them apart.
bool IsOneLine(const ProfileSample& a, const ProfileSample& b) {
  return a.comm == b.comm && a.frames == b.frames && a.reason == b.reason;
}

EventSummary SummarizeEvent(const Profile& profile, const EventProfile& event) {
  EventSummary summary;
  summary.name = event.name;
  summary.mechanism = event.mechanism;
  if (!event.columns.empty()) summary.unit = event.columns[0].unit;
  const std::optional<size_t> time = FindColumn(event, "time");
  const std::optional<size_t> count = FindColumn(event, "count");
  if (time) summary.time_ns = 0;
  for (const ProfileSample& sample : event.samples) {
    if (time) *summary.time_ns += ValueOf(sample, *time);
    summary.count += count ? ValueOf(sample, *count) : 1;
    summary.value += ValueOf(sample, 0);
    if (sample.never_ran) {
      summary.never_ran_count += count ? ValueOf(sample, *count) : 1;
      summary.never_ran_time_ns += time ? ValueOf(sample, *time) : 0;
    } else if (!sample.idle.empty() && time) {
      summary.idle_time_ns += ValueOf(sample, *time);
    }
  }
  const ProfileSample* previous = nullptr;  // samples are sorted, those of one line beside another
  for (const ProfileSample& sample : event.samples) {
    if (previous == nullptr || !IsOneLine(*previous, sample)) ++summary.stacks;
    previous = &sample;
  }
  for (const Hidden& hidden : profile.hidden) {
    if (hidden.event != event.name) continue;
    summary.hidden_time_ns += hidden.time_ns;
    summary.hidden_count += hidden.count;
  }
  for (const Loss& loss : profile.losses) {
    if (loss.event == event.name && loss.dropped) summary.dropped_count += loss.count;
  }
  return summary;
}

// The estimates of all processes, by reason. They are independent of each other: so their margins
// add up as squares.
std::map<std::string, Estimate> AllEstimates(const Profile& profile) {
  std::map<std::string, Estimate> all;
  for (const ProfileCensus& of : profile.censuses) {
    for (const Estimate& estimate : of.census.reasons) {
      Estimate& sum = all[estimate.words];
      sum.words = estimate.words;
      sum.time_ns += estimate.time_ns;
      sum.margin_ns = static_cast<uint64_t>(
          std::hypot(static_cast<double>(sum.margin_ns), static_cast<double>(estimate.margin_ns)));
    }
  }
  return all;
}

// One reason while it is summed up.
struct ReasonSums {
  uint64_t value = 0;
  // By comm and site. The site is an index into Profile::frames, or kNoSite.
  absl::flat_hash_map<std::pair<std::string, uint32_t>, uint64_t> sites;
};

constexpr uint32_t kNoSite = 0xffffffff;

HeavyReason Heaviest(const Profile& profile, const EventProfile& event, std::string_view reason,
                     const ReasonSums& sums, uint64_t whole) {
  HeavyReason heavy;
  heavy.event = event.name;
  heavy.reason = reason;
  heavy.value = sums.value;
  heavy.unit = event.columns.empty() ? "" : event.columns[0].unit;
  heavy.share = Share(sums.value, whole);
  const std::pair<const std::pair<std::string, uint32_t>, uint64_t>* best = nullptr;
  for (const auto& entry : sums.sites) {
    const bool better = best == nullptr || entry.second > best->second ||
                        (entry.second == best->second && entry.first < best->first);
    if (better) best = &entry;
  }
  if (best == nullptr) return heavy;
  heavy.comm = best->first.first;
  if (best->first.second != kNoSite) heavy.site = profile.frames[best->first.second].name;
  heavy.site_share = Share(best->second, sums.value);
  return heavy;
}

// The range of an estimate is that of all goroutines in its reason. Where idle ones, or what -I and
// -X hide, are a part of them, it says nothing of the others.
bool IsOfTheSame(const Estimate& estimate, const HeavyReason& heavy) {
  constexpr double kRounding = 0.005;
  return std::abs(static_cast<double>(estimate.time_ns) - static_cast<double>(heavy.value)) <=
         kRounding * static_cast<double>(estimate.time_ns);
}

std::vector<HeavyReason> HeaviestReasons(const Profile& profile, const EventProfile& event,
                                         size_t limit) {
  std::map<std::string_view, ReasonSums> by_reason;
  uint64_t whole = 0;
  for (const ProfileSample& sample : event.samples) {
    if (IsGoSchedulerReason(sample.reason) || sample.never_ran || !sample.idle.empty()) continue;
    const uint64_t value = ValueOf(sample, 0);
    const uint32_t site =
        SiteOfWait(profile.frames, sample.frames, sample.own_from).value_or(kNoSite);
    ReasonSums& sums = by_reason[sample.reason];
    sums.value += value;
    sums.sites[{sample.comm, site}] += value;
    whole += value;
  }
  std::vector<HeavyReason> heaviest;
  for (const auto& [reason, sums] : by_reason) {
    heaviest.push_back(Heaviest(profile, event, reason, sums, whole));
  }
  std::stable_sort(heaviest.begin(), heaviest.end(),
                   [](const HeavyReason& a, const HeavyReason& b) { return a.value > b.value; });
  if (heaviest.size() > limit) heaviest.resize(limit);
  if (event.name == "goroutine") {
    const std::map<std::string, Estimate> estimates = AllEstimates(profile);
    for (HeavyReason& heavy : heaviest) {
      const auto found = estimates.find(heavy.reason);
      if (found != estimates.end() && IsOfTheSame(found->second, heavy))
        heavy.margin_ns = found->second.margin_ns;
    }
  }
  return heaviest;
}

// Waits that end only when somebody else does something: a lock, a channel, a socket, the kernel.
// The words of the Go runtime, of all versions that a census knows.
bool WaitsForOthers(std::string_view reason) {
  for (const std::string_view word :
       {"semacquire", "sync.", "chan ", "select", "IO wait", "syscall"}) {
    if (reason.starts_with(word)) return true;
  }
  return false;
}

// A lock that nobody gives back is the plainest sign of a deadlock.
bool IsOfLock(std::string_view reason) {
  return reason.starts_with("sync.") || reason.starts_with("semacquire");
}

// Equal sites and words together, whatever peers they wait for.
std::string_view WordsWithoutPeer(const ProfileSample& sample) {
  std::string_view words = sample.reason;
  if (!sample.peer.empty() && words.ends_with(sample.peer))
    words.remove_suffix(std::min(words.size(), sample.peer.size() + 1));
  return words;
}

std::vector<NeverRan> NeverRanIn(const Profile& profile) {
  std::map<std::tuple<std::string, std::string, uint32_t>, uint64_t> counts;
  for (const EventProfile& event : profile.events) {
    const std::optional<size_t> count = FindColumn(event, "count");
    for (const ProfileSample& sample : event.samples) {
      if (!sample.never_ran || !sample.idle.empty() || !WaitsForOthers(sample.reason)) continue;
      const uint32_t site =
          SiteOfWait(profile.frames, sample.frames, sample.own_from).value_or(kNoSite);
      counts[{sample.comm, std::string(WordsWithoutPeer(sample)), site}] +=
          count ? ValueOf(sample, *count) : 1;
    }
  }
  std::vector<NeverRan> all;
  for (const auto& [key, count] : counts) {
    const auto& [comm, reason, site] = key;
    NeverRan& one = all.emplace_back();
    one.comm = comm;
    one.reason = reason;
    one.count = count;
    if (site == kNoSite) continue;
    one.site = profile.frames[site].name;
    one.file = profile.frames[site].file;
    one.line = profile.frames[site].line;
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const NeverRan& a, const NeverRan& b) { return a.count > b.count; });
  // Some of those that wait for locks are named, however many wait for something else.
  constexpr ptrdiff_t kMostLocksFirst = 2;
  std::vector<NeverRan> locks, others;
  for (NeverRan& one : all) {
    const bool first = IsOfLock(one.reason) && ptrdiff_t(locks.size()) < kMostLocksFirst;
    (first ? locks : others).push_back(std::move(one));
  }
  locks.insert(locks.end(), std::make_move_iterator(others.begin()),
               std::make_move_iterator(others.end()));
  return locks;
}

// Those that nobody is waited for by: sleepers, and goroutines that wait for ever by design.
uint64_t OthersThatNeverRan(const Profile& profile) {
  uint64_t sum = 0;
  for (const EventProfile& event : profile.events) {
    const std::optional<size_t> count = FindColumn(event, "count");
    for (const ProfileSample& sample : event.samples) {
      if (sample.never_ran && sample.idle.empty() && !WaitsForOthers(sample.reason))
        sum += count ? ValueOf(sample, *count) : 1;
    }
  }
  return sum;
}

uint64_t GoSchedulerTime(const EventProfile& event) {
  const std::optional<size_t> time = FindColumn(event, "time");
  uint64_t sum = 0;
  for (const ProfileSample& sample : event.samples) {
    if (time && IsGoSchedulerReason(sample.reason)) sum += ValueOf(sample, *time);
  }
  return sum;
}

// --- Text.

std::string ShowValue(uint64_t value, std::string_view unit) {
  if (unit == "ns") return ShowDuration(value);
  if (unit == "bytes") return ShowBytes(value);
  if (unit.empty() || unit == "count") return ShowCount(value);
  return fmt::format("{} {}", ShowCount(value), unit);
}

// For the user's own words, which may be in any language.
std::string WithoutControls(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (static_cast<uint8_t>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return out;
}

// What stands between the commas.
std::vector<std::string> Parts(std::string_view list) {
  constexpr std::string_view kComma = ", ";
  std::vector<std::string> parts;
  while (true) {
    const size_t end = list.find(kComma);
    parts.emplace_back(list.substr(0, end));
    if (end == std::string_view::npos) return parts;
    list.remove_prefix(end + kComma.size());
  }
}

std::string_view EndWord(StackEnd end) {
  switch (end) {
    case StackEnd::kComplete:
      return "complete";
    case StackEnd::kNone:
      return "no user part";
    case StackEnd::kFull:
      return "too deep";
    case StackEnd::kUnreadable:
      return "unreadable";
    case StackEnd::kLeftStack:
      return "left the stack";
    case StackEnd::kNotACall:
      return "not after a call";
    case StackEnd::kLost:
      return "lost";
    case StackEnd::kMoved:
      return "ran meanwhile";
  }
  return "unknown";
}

// "etcd (pid 4242)" for "-p 4242 (etcd)"; other targets as the command line names them.
std::string ShowTarget(std::string_view target) {
  if (target == "-a") return "every process";
  std::string whole = Shorten(target);
  std::string_view rest = whole;
  if (rest.substr(0, 3) != "-p " || rest.back() != ')') return whole;
  rest.remove_prefix(3);
  const size_t digits = rest.find_first_not_of("0123456789");
  const bool one = digits > 0 && digits != std::string_view::npos &&
                   rest.substr(digits, 2) == " (" && rest.find("), ") == std::string_view::npos;
  if (!one) return std::string(rest);
  const std::string_view name = rest.substr(digits + 2, rest.size() - digits - 3);
  return fmt::format("{} (pid {})", name, rest.substr(0, digits));
}

// The screen, line by line: a key in the first column, text in the second.
class Screen {
 public:
  // Keys are the names of `events`, and words of ours.
  Screen(size_t width, const std::vector<EventSummary>& events)
      : width_(std::max<size_t>(width, 40)) {
    constexpr size_t kWidestKey = 10;
    for (const EventSummary& event : events) {
      key_width_ = std::max(key_width_, std::min(event.name.size(), kWidestKey) + 1);
    }
  }

  // The columns that a line's text may take.
  size_t room() const { return width_ - key_width_; }

  // What is wider goes on in further lines, of which no word is cut that fits into one. The key of
  // equal lines in a row is printed once.
  void Line(std::string_view key, std::string_view text) {
    while (text.size() > room()) {
      const size_t end = text.rfind(' ', room());
      if (end == std::string_view::npos || text.find_first_not_of(' ') >= end) break;
      OneLine(key, text.substr(0, end));
      text.remove_prefix(end + 1);
    }
    OneLine(key, text);
  }

  // Words of ours, which must not be cut: `parts` with ", " between, as many to a line as fit.
  void WrappedLine(std::string_view key, const std::vector<std::string>& parts) {
    std::string line;
    for (const std::string& part : parts) {
      if (!line.empty() && line.size() + 2 + part.size() + 1 > room()) {
        Line(key, line + ",");
        line.clear();
      }
      line += line.empty() ? part : ", " + part;
    }
    Line(key, line);
  }

  // What a person copies, or a script looks for: kept whole, however wide.
  void WholeLine(std::string_view key, std::string_view text) {
    const std::string_view shown = key == last_key_ ? std::string_view() : key;
    text_ += fmt::format("{:<{}}{}\n", shown, key_width_, WithoutControls(text));
    last_key_ = key;
  }

  void Warning(std::string_view text) {
    text_ += fmt::format("WARNING {}\n", Shorten(text, 2 * width_ - 8));
    last_key_ = "";
  }

  void Blank() {
    text_ += "\n";
    last_key_ = "";
  }

  std::string TakeText() { return std::move(text_); }

 private:
  void OneLine(std::string_view key, std::string_view text) {
    const std::string_view shown = key == last_key_ ? std::string_view() : key;
    text_ += fmt::format("{:<{}}{}\n", Shorten(shown, key_width_ - 1), key_width_,
                         Shorten(text, room()));
    last_key_ = key;
  }

  size_t width_;
  size_t key_width_ = 9;
  std::string last_key_;
  std::string text_;
};

// The words whole, the last of them, which may be a peer, cut in its middle.
std::string ShortenReason(std::string_view reason, size_t width) {
  const std::string whole = Shorten(reason);
  const size_t last = whole.rfind(' ');
  constexpr size_t kLeast = 8;  // of which something can be told
  if (whole.size() <= width || last == std::string::npos || last + kLeast > width)
    return Shorten(reason, width);
  return whole.substr(0, last + 1) + Shorten(whole.substr(last + 1), width - last - 1);
}

// What the sums of an event are counted in.
std::string_view SampleOf(std::string_view event) {
  if (event == "tcp" || event == "net") return "connection";
  if (event == "epoll") return "call";
  return event == "retrans" ? "path" : "wait";
}

void PrintEvents(const Profile& profile, const Summary& summary, Screen& screen) {
  const std::string target = ShowTarget(profile.target);
  const std::string duration = ShowDuration(profile.duration_ns);
  screen.Line("target", fmt::format("{}, {}", Shorten(target, screen.room() - duration.size() - 2),
                                    duration));
  for (const EventSummary& event : summary.events) {
    const std::string value =
        event.time_ns ? ShowDuration(*event.time_ns) : ShowValue(event.value, event.unit);
    std::string never_ran;
    if (event.never_ran_count > 0) {
      never_ran = fmt::format("; {} of it never ran", ShowDuration(event.never_ran_time_ns));
    }
    screen.WrappedLine(event.name,
                       {fmt::format("{} in {}", value, Counted(event.count, SampleOf(event.name))),
                        fmt::format("{}{}", Counted(event.stacks, "stack"), never_ran)});
    screen.WrappedLine(event.name, Parts("by " + event.mechanism));
  }
}

// How often, how many, at what cost: one process in two lines.
void PrintCensus(const Profile& profile, const ProfileCensus& of, Screen& screen) {
  const Census& census = of.census;
  const std::string who =
      profile.censuses.size() > 1 ? fmt::format("{} {}: ", Shorten(of.comm, 16), of.pid) : "";
  const double rate = census.period_ns == 0 ? 0 : 1e9 / static_cast<double>(census.period_ns);
  const std::string part =
      census.share_ppm >= 1'000'000
          ? ""
          : fmt::format(", {} of them each", ShowShare(census.share_ppm / 1e6));
  screen.Line("census", fmt::format("{}{} at {:.1f} Hz of {}..{} goroutines{}", who,
                                    Counted(census.ticks, "snapshot"), rate,
                                    ShowCount(census.fewest), ShowCount(census.most), part));
  const std::vector<std::string> cost = {
      fmt::format("CPU {} of a core", ShowShare(Share(census.tick_cpu_ns, profile.duration_ns))),
      fmt::format("budget {}", ShowShare(census.budget_ppm / 1e6)),
      fmt::format("set-up {}", ShowDuration(census.setup_cpu_ns)),
      fmt::format("torn {}", ShowShare(Share(census.torn, census.stacks_read))),
      fmt::format("unread {}", ShowCount(census.unread))};
  screen.WrappedLine("census", cost);
}

// Estimates are of all goroutines, the heaviest sites of those that are shown and not idle.
std::string_view InEstimatesToo(const Summary& summary) {
  for (const EventSummary& event : summary.events) {
    if (event.name != "goroutine") continue;
    if (event.hidden_time_ns > 0) return ", hidden too";
    if (event.idle_time_ns > 0) return ", idle too";
  }
  return "";
}

void PrintCensuses(const Profile& profile, const Summary& summary, Screen& screen) {
  constexpr size_t kMost = 1;
  for (size_t i = 0; i < std::min(profile.censuses.size(), kMost); ++i) {
    PrintCensus(profile, profile.censuses[i], screen);
  }
  if (profile.censuses.size() > kMost) {
    screen.Line("census", fmt::format("and {}", Counted(profile.censuses.size() - kMost,
                                                        "more process", "more processes")));
  }
  std::vector<Estimate> estimates;
  for (auto& [words, estimate] : AllEstimates(profile)) estimates.push_back(estimate);
  if (estimates.empty()) return;
  std::stable_sort(estimates.begin(), estimates.end(),
                   [](const Estimate& a, const Estimate& b) { return a.time_ns > b.time_ns; });
  constexpr size_t kMostReasons = 3;
  std::vector<std::string> parts;
  for (size_t i = 0; i < std::min(estimates.size(), kMostReasons); ++i) {
    parts.push_back(fmt::format("[{}] {} +-{}", ShortenReason(estimates[i].words, 26),
                                ShowDuration(estimates[i].time_ns),
                                ShowDuration(estimates[i].margin_ns)));
  }
  if (estimates.size() > kMostReasons) {
    parts.push_back(fmt::format("{} more (--json)", estimates.size() - kMostReasons));
  }
  parts[0] = fmt::format("at 95%{}: {}", InEstimatesToo(summary), parts[0]);
  screen.WrappedLine("census", parts);
}

// What idle.rules hid, all of it, and the rules that hid most.
void PrintHiddenByRules(const Profile& profile, Screen& screen) {
  uint64_t time_ns = 0;
  uint64_t count = 0;
  std::map<std::string, uint64_t> by_rule;
  for (const Hidden& hidden : profile.hidden) {
    if (hidden.rule.empty()) continue;
    time_ns += hidden.time_ns;
    count += hidden.count;
    by_rule[hidden.rule] += hidden.count;
  }
  if (by_rule.empty()) return;
  std::vector<std::pair<std::string, uint64_t>> rules(by_rule.begin(), by_rule.end());
  std::stable_sort(rules.begin(), rules.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  screen.Line("hidden", fmt::format("{} in {} idle by design (--idle shows them):",
                                    ShowDuration(time_ns), Counted(count, "wait")));
  constexpr size_t kMostRules = 4;
  std::vector<std::string> parts;
  for (size_t i = 0; i < std::min(rules.size(), kMostRules); ++i) {
    parts.push_back(fmt::format("{} {}", Shorten(rules[i].first, 30), ShowCount(rules[i].second)));
  }
  if (rules.size() > kMostRules) {
    parts.push_back(fmt::format("{}", Counted(rules.size() - kMostRules, "more rule")));
  }
  screen.WrappedLine("hidden", parts);
}

void PrintHidden(const Profile& profile, Screen& screen) {
  constexpr size_t kMostHidden = 2;
  size_t kinds = 0;
  for (const Hidden& hidden : profile.hidden) {
    if (!hidden.rule.empty() || ++kinds > kMostHidden) continue;
    const std::string what = fmt::format("{} in {} of {}: ", ShowDuration(hidden.time_ns),
                                         Counted(hidden.count, "wait"), Shorten(hidden.event, 10));
    screen.Line("hidden", what + Shorten(hidden.why, screen.room() - what.size()));
  }
  if (kinds > kMostHidden) {
    screen.Line("hidden", fmt::format("and {} more kinds", kinds - kMostHidden));
  }
  PrintHiddenByRules(profile, screen);
}

// Waits that `event` recorded, shown or not.
uint64_t RecordedCount(const Summary& summary, std::string_view event) {
  for (const EventSummary& of : summary.events) {
    if (of.name == event) return of.count + of.hidden_count;
  }
  return 0;
}

// Losses of less are said, but nobody is woken.
constexpr double kWarnShare = 0.001;

// What is lost with its time is in no sample; what lost only a name or a stack is.
double LossShare(const Loss& loss, const Summary& summary) {
  const uint64_t recorded = RecordedCount(summary, loss.event);
  return Share(loss.count, loss.dropped ? recorded + loss.count : std::max(recorded, loss.count));
}

// What one sample of an event is called.
std::string_view NounOf(std::string_view event) {
  if (event == "offcpu") return "switches";
  if (event == "epoll") return "calls";
  return event == "tcp" || event == "retrans" || event == "net" ? "connections" : event;
}

void PrintLoss(const Loss& loss, double share, Screen& screen) {
  std::string what = Counted(loss.count, loss.event == "net" ? "connection" : "wait");
  if (loss.time_ns) what += fmt::format(", {}", ShowDuration(*loss.time_ns));
  if (!loss.remedy.empty()) what += fmt::format("; try {}", loss.remedy);
  if (share < kWarnShare) {
    screen.Line("lost", fmt::format("{} ({} of {}): {}", loss.name, ShowShare(share),
                                    NounOf(loss.event), what));
    return;
  }
  // A full map is said in the words that scripts look for, whichever map it was.
  if (loss.name.ends_with("map full")) {
    screen.Warning(fmt::format("{} of {} lost (map full): {}{}", ShowShare(share),
                               NounOf(loss.event),
                               loss.dropped ? "" : "their stacks, not their time; ", what));
    return;
  }
  screen.Warning(fmt::format("{} of {} {} ({}): {}", ShowShare(share), NounOf(loss.event),
                             loss.dropped ? "lost" : "touched", loss.name, what));
}

void PrintLosses(const Profile& profile, const Summary& summary, Screen& screen) {
  std::vector<std::pair<double, const Loss*>> losses;
  for (const Loss& loss : profile.losses) {
    if (loss.count > 0) losses.emplace_back(LossShare(loss, summary), &loss);
  }
  std::stable_sort(losses.begin(), losses.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  constexpr size_t kMost = 3;
  for (size_t i = 0; i < std::min(losses.size(), kMost); ++i) {
    PrintLoss(*losses[i].second, losses[i].first, screen);
  }
  if (losses.size() > kMost) {
    screen.Line("lost", fmt::format("and {} more, smaller (--json)", losses.size() - kMost));
  }
  if (losses.empty()) screen.Line("lost", "nothing");
}

void PrintNames(const StackCounts& counts, Screen& screen) {
  std::string text =
      fmt::format("unnamed {} of {}", ShowShare(Share(counts.user_unnamed, counts.user_frames)),
                  Counted(counts.user_frames, "user frame"));
  if (counts.go_frames > 0) {
    text += fmt::format(", Go {}", ShowShare(Share(counts.go_unnamed, counts.go_frames)));
  }
  text += fmt::format(", kernel {}", ShowShare(Share(counts.kernel_unnamed, counts.kernel_frames)));
  text += fmt::format("; guessed {}", ShowShare(Share(counts.user_guessed, counts.user_frames)));
  screen.Line("names", text);
}

void PrintStacks(const StackCounts& counts, Screen& screen) {
  uint64_t early = 0;
  for (const auto& [end, count] : counts.ended_early) early += count;
  std::string first =
      fmt::format("{} of {} distinct ones end early", ShowCount(early), ShowCount(counts.stacks));
  std::vector<std::string> parts;
  for (const auto& [end, count] : counts.ended_early) {
    const std::string why = fmt::format("{} {}", EndWord(end), ShowCount(count));
    parts.push_back(parts.empty() ? fmt::format("{}: {}", first, why) : why);
  }
  if (parts.empty()) parts.push_back(std::move(first));
  screen.WrappedLine("stacks", parts);
  if (counts.native_stacks > 0 && counts.native_shallow * 2 > counts.native_stacks) {
    screen.Warning("most user stacks are one or two frames deep: built without frame pointers?");
  }
}

void PrintCost(const Profile& profile, Screen& screen) {
  const Cost& cost = profile.cost;
  std::string kernel = "not measured";
  if (cost.kernel_ns) kernel = ShowDuration(*cost.kernel_ns);
  screen.Line("cost", fmt::format("CPU {}, kernel programs {}; maps {}, RSS {}",
                                  ShowDuration(cost.own_cpu_ns), kernel, ShowBytes(cost.map_bytes),
                                  ShowBytes(cost.rss_bytes)));
}

void PrintHeaviest(const Summary& summary, Screen& screen) {
  const bool several = summary.events.size() > 1;
  constexpr size_t kReason = 26;
  size_t widest = 0;
  bool estimated = false;
  for (const HeavyReason& heavy : summary.heaviest) {
    estimated |= heavy.margin_ns.has_value();
    widest = std::max(widest, ShortenReason(heavy.reason, kReason).size());
  }
  for (const HeavyReason& heavy : summary.heaviest) {
    std::string text = fmt::format(
        "{:>6} {:>9}  {:<{}}", ShowShare(heavy.share), ShowValue(heavy.value, heavy.unit),
        fmt::format("[{}]", ShortenReason(heavy.reason, kReason)), widest + 2);
    if (estimated) {
      const std::string margin =
          heavy.margin_ns ? "+-" + ShowShare(Share(*heavy.margin_ns, heavy.value)) : "";
      text += fmt::format(" {:<6}", margin);
    }
    if (several) text = fmt::format("{:<10}{}", Shorten(heavy.event, 9), text);
    const std::string site =
        heavy.site.empty() ? fmt::format("{}, site unknown", heavy.comm) : heavy.site;
    const std::string part =
        heavy.site_share < 0.9995 ? fmt::format(" ({:.0f}%)", heavy.site_share * 100) : "";
    // Where there is too little room left for it, the site goes on a line of its own: of the
    // figures before it nothing may be cut.
    constexpr size_t kLeastForSite = 16;
    const size_t taken = text.size() + part.size() + 2;
    if (taken + std::min(kLeastForSite, Shorten(site).size()) <= screen.room()) {
      screen.WholeLine("heaviest",
                       fmt::format("{}  {}{}", text, Shorten(site, screen.room() - taken), part));
    } else {
      screen.WholeLine("heaviest", text);
      const size_t room = screen.room() - std::min(screen.room(), part.size() + 4);
      screen.WholeLine("heaviest", fmt::format("    {}{}", Shorten(site, room), part));
    }
  }
  if (summary.heaviest.empty()) screen.Line("heaviest", "nothing waited");
}

void PrintIdle(const Summary& summary, Screen& screen) {
  if (summary.go_scheduler_time_ns > 0) {
    screen.Line("idle", fmt::format("{} of Go's own threads, by design (--idle shows their stacks)",
                                    ShowDuration(summary.go_scheduler_time_ns)));
  }
  if (summary.idle_time_ns > 0) {
    screen.Line("idle", fmt::format("{} of goroutines, by design: not among the heaviest",
                                    ShowDuration(summary.idle_time_ns)));
  }
}

void PrintNeverRan(const Summary& summary, Screen& screen) {
  constexpr size_t kMost = 4;
  uint64_t others = summary.never_ran_elsewhere;
  for (size_t i = 0; i < summary.never_ran.size(); ++i) {
    const NeverRan& one = summary.never_ran[i];
    if (i >= kMost) {
      others += one.count;
      continue;
    }
    std::string place;
    if (!one.file.empty()) {
      place = " " + one.file.substr(one.file.rfind('/') + 1);
      if (one.line > 0) place += fmt::format(":{}", one.line);
    }
    const std::string head =
        fmt::format("{} never ran: [{}]", Counted(one.count, "goroutine"), Shorten(one.reason, 24));
    place = Shorten(place, 24);
    const std::string site = one.site.empty() ? one.comm + ", site unknown" : one.site;
    const std::string where = "at " + Shorten(site, screen.room() - place.size() - 5) + place;
    // Both whole, on a line each where they do not fit on one.
    if (head.size() + 1 + where.size() <= screen.room()) {
      screen.Line("blocked", head + " " + where);
    } else {
      screen.Line("blocked", head);
      screen.Line("blocked", "  " + where);
    }
  }
  if (others > 0) {
    screen.Line("blocked", fmt::format("and {} that never ran", Counted(others, "more goroutine")));
  }
}

// The runtime's own figures, a part a histogram.
void PrintHistograms(const Profile& profile, Screen& screen) {
  constexpr size_t kMost = 4;
  std::vector<std::string> parts;
  for (const ProfileHistogram& of : profile.histograms) {
    const RuntimeHistogram& histogram = of.histogram;
    if (parts.size() == kMost) break;
    std::string text;
    if (profile.censuses.size() > 1) text = fmt::format("{} {}: ", Shorten(of.comm, 16), of.pid);
    text += Shorten(histogram.name, 28);
    if (histogram.max_ns > 0) {
      text += fmt::format(" p50 {} p99 {} max {}", ShowDuration(histogram.p50_ns),
                          ShowDuration(histogram.p99_ns), ShowDuration(histogram.max_ns));
    } else if (histogram.total_ns > 0) {
      text += fmt::format(" {} in all", ShowDuration(histogram.total_ns));
    } else {
      text += " none";
    }
    parts.push_back(std::move(text));
  }
  for (const std::string& part : parts) screen.Line("runtime", part);
}

void PrintHung(const Profile& profile, Screen& screen) {
  constexpr size_t kMost = 3;
  size_t printed = 0;
  size_t others = 0;
  size_t idle = 0;
  std::map<std::pair<std::string, std::string>, size_t> until_the_end;  // by reason and site
  for (const ProfileHungThread& thread : profile.hung) {
    if (thread.go_scheduler) {
      ++idle;
      continue;
    }
    if (thread.tid == 0) {
      const auto site = SiteOfWait(profile.frames, thread.frames);
      ++until_the_end[{thread.reason, site ? profile.frames[*site].name : "site unknown"}];
      continue;
    }
    if (printed == kMost) {
      ++others;
      continue;
    }
    ++printed;
    const std::optional<uint32_t> site = SiteOfWait(profile.frames, thread.frames);
    const std::string head = fmt::format("all the time: tid {} {}  [{}]  ", thread.tid,
                                         Shorten(thread.name, 16), Shorten(thread.reason, 16));
    screen.Line("blocked", head + Shorten(site ? profile.frames[*site].name : "site unknown",
                                          screen.room() - head.size()));
  }
  for (const auto& [place, count] : until_the_end) {
    if (printed == kMost) {
      others += count;
      continue;
    }
    ++printed;
    const std::string head = fmt::format("all the time until it ended: {} [{}]  ",
                                         Counted(count, "thread"), Shorten(place.first, 16));
    screen.Line("blocked", head + Shorten(place.second, screen.room() - head.size()));
  }
  if (others > 0) screen.Line("blocked", fmt::format("and {}", Counted(others, "more thread")));
  if (idle > 0) {
    screen.Line("blocked",
                fmt::format("all the time: {} of Go, by design", Counted(idle, "idle thread")));
  }
}

void PrintNotes(const Profile& profile, Screen& screen) {
  constexpr size_t kMost = 3;
  for (size_t i = 0; i < profile.notes.size(); ++i) {
    if (i == kMost) {
      screen.Line("note", fmt::format("and {} more", profile.notes.size() - kMost));
      return;
    }
    screen.Line("note", profile.notes[i]);
  }
}

}  // namespace

double EventSummary::DroppedShare() const {
  return Share(dropped_count, dropped_count + count + hidden_count);
}

Summary Summarize(const Profile& profile, size_t reasons) {
  Summary summary;
  summary.stacks = profile.stack_counts;
  for (const EventProfile& event : profile.events) {
    summary.events.push_back(SummarizeEvent(profile, event));
    for (HeavyReason& heavy : HeaviestReasons(profile, event, reasons)) {
      summary.heaviest.push_back(std::move(heavy));
    }
    summary.go_scheduler_time_ns += GoSchedulerTime(event);
    summary.idle_time_ns += summary.events.back().idle_time_ns;
  }
  summary.never_ran = NeverRanIn(profile);
  summary.never_ran_elsewhere = OthersThatNeverRan(profile);
  return summary;
}

std::string FormatSummary(const Profile& profile, const SummaryOptions& options) {
  const Summary summary = Summarize(profile);
  Screen screen(options.width, summary.events);
  PrintEvents(profile, summary, screen);
  PrintCensuses(profile, summary, screen);
  PrintHidden(profile, screen);
  screen.Blank();
  PrintHeaviest(summary, screen);
  PrintIdle(summary, screen);
  PrintNeverRan(summary, screen);
  PrintHung(profile, screen);
  PrintHistograms(profile, screen);
  screen.Blank();
  PrintLosses(profile, summary, screen);
  PrintNotes(profile, screen);
  PrintNames(summary.stacks, screen);
  PrintStacks(summary.stacks, screen);
  PrintCost(profile, screen);
  if (!options.files.empty() || !options.next.empty()) screen.Blank();
  for (const std::string& file : options.files) screen.WholeLine("wrote", file);
  if (!options.next.empty()) screen.WholeLine("next", options.next);
  return screen.TakeText();
}

std::string FormatQuality(const Profile& profile, size_t width) {
  const Summary summary = Summarize(profile);
  Screen screen(width, summary.events);
  PrintLosses(profile, summary, screen);
  PrintNotes(profile, screen);
  if (summary.stacks.user_frames > 0) {
    PrintNames(summary.stacks, screen);
    PrintStacks(summary.stacks, screen);
  }
  PrintCost(profile, screen);
  return screen.TakeText();
}

std::string FormatHiddenAndLost(const Profile& profile, bool idle_folded, size_t width) {
  const Summary summary = Summarize(profile);
  Screen screen(width, summary.events);
  PrintHidden(profile, screen);
  if (idle_folded) PrintIdle(summary, screen);
  const bool lost = std::any_of(profile.losses.begin(), profile.losses.end(),
                                [](const Loss& loss) { return loss.count > 0; });
  if (lost) PrintLosses(profile, summary, screen);
  return screen.TakeText();
}

}  // namespace stallscope
