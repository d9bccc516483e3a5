// SPDX-License-Identifier: Apache-2.0
//
// Two lines a row: who (role, peer, path, process) and how much, in columns; then what else there
// is to say, as few words as there are.
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "userspace/format/net.h"
#include "userspace/format/text.h"
#include "userspace/profile/show.h"
#include "userspace/profile/summarize.h"

namespace stallscope {
namespace {

constexpr size_t kLeastWidth = 100;
constexpr size_t kMostRows = 20;
constexpr size_t kMostFindings = 12;
constexpr std::string_view kNone = "-";           // there was none
constexpr std::string_view kNotMeasured = "n/a";  // nobody looked

// As many words to a line as fit; the lines after the first begin with `indent` spaces.
std::string Wrapped(std::string_view text, size_t indent, size_t width) {
  const size_t first = std::min(text.find_first_not_of(' '), text.size());
  std::string out, line(first, ' ');
  bool begun = false;  // the line has a word
  text.remove_prefix(first);
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (begun && line.size() + 1 + word.size() > width) {
      out += line + "\n";
      line.assign(indent, ' ');
    } else if (begun) {
      line += ' ';
    }
    line += word;
    begun = true;
  }
  return out + line + "\n";
}

// As many parts to a line as fit, with "; " between; a part that is wider than a line is broken.
std::string WrappedParts(const std::vector<std::string>& parts, size_t indent, size_t width) {
  std::string out, line;
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::string part = parts[i] + (i + 1 < parts.size() ? ";" : "");
    if (!line.empty() && indent + line.size() + 1 + part.size() > width) {
      out += Wrapped(std::string(indent, ' ') + line, indent, width);
      line.clear();
    }
    line += (line.empty() ? "" : " ") + part;
  }
  return line.empty() ? out : out + Wrapped(std::string(indent, ' ') + line, indent, width);
}

std::string Joined(const std::vector<std::string>& parts, std::string_view separator) {
  std::string text;
  for (const std::string& part : parts)
    text += text.empty() ? part : fmt::format("{}{}", separator, part);
  return text;
}

// "refused 2, timed out 1", most first.
std::string ShowCounts(const std::map<std::string, uint64_t>& counts, size_t most) {
  std::vector<std::pair<std::string, uint64_t>> sorted(counts.begin(), counts.end());
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  std::vector<std::string> parts;
  for (const auto& [word, count] : sorted) {
    if (parts.size() == most) {
      parts.push_back(fmt::format("{} more", sorted.size() - most));
      break;
    }
    parts.push_back(fmt::format("{} {}", CutMiddle(word, 40), ShowCount(count)));
  }
  return Joined(parts, ", ");
}

double ShareOf(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

std::string ShowPercent(double share) {
  if (share == 0) return "0";
  if (share < 0.0001) return "<0.01%";
  return fmt::format("{:.{}f}%", share * 100, share < 0.01 ? 2 : share < 0.9995 ? 1 : 0);
}

// Three columns: p50, p99, max.
std::string ShowTimes(const std::optional<Histogram>& times) {
  if (!times) return fmt::format("{0:>8}{0:>8}{0:>8}", kNotMeasured);
  if (times->count() == 0) return fmt::format("{0:>8}{0:>8}{0:>8}", kNone);
  return fmt::format("{:>8}{:>8}{:>8}", ShowDurationShort(times->Quantile(0.5)),
                     ShowDurationShort(times->Quantile(0.99)), ShowDurationShort(times->max()));
}

// Who ended most of those that ended: "us 98%".
std::string ShowClosedBy(const ConnectionSums& sums) {
  uint64_t all = 0;
  const std::pair<const std::string, uint64_t>* most = nullptr;
  for (const auto& entry : sums.closed_by) {
    all += entry.second;
    if (!most || entry.second > most->second) most = &entry;
  }
  if (all == 0) return std::string(kNone);
  const std::string_view who = most->first == "reset by us"     ? "RST us"
                               : most->first == "reset by peer" ? "RST peer"
                                                                : std::string_view(most->first);
  return fmt::format("{} {:.0f}%", CutMiddle(who, 8), ShareOf(most->second, all) * 100);
}

class NetPage {
 public:
  NetPage(const NetReport& report, size_t width)
      : report_(report), width_(std::max(width, kLeastWidth)) {
    for (const NetPeer& row : report.table.peers) processes_.insert(row.process);
  }

  std::string Text() {
    Head();
    Peers();
    Loops();
    Findings();
    out_ += "\n";
    for (const EventProfile& event : report_.profile.events) {
      if (!event.mechanism.empty())
        out_ += Wrapped(fmt::format("by       {}", event.mechanism), 9, width_);
    }
    out_ += FormatQuality(report_.profile, width_);
    return std::move(out_);
  }

 private:
  void Head() {
    uint64_t connects = 0, accepted = 0, failed = 0, before = 0;
    for (const NetPeer& row : report_.table.peers) {
      if (row.role == ConnectionRole::kOpened) connects += row.sums.attempts;
      if (row.role == ConnectionRole::kAccepted) accepted += row.sums.attempts;
      if (row.role != ConnectionRole::kListener) before += row.sums.before_attach;
      failed += Failed(row.sums);
    }
    out_ +=
        Wrapped(fmt::format("net {}, {}: {} connects, {} accepted, {} failed, {} open since before",
                            CutMiddle(report_.profile.target, 60),
                            ShowDuration(report_.profile.duration_ns), ShowCount(connects),
                            ShowCount(accepted), ShowCount(failed), ShowCount(before)),
                2, width_);
  }

  // Whether there is something to say of it.
  static bool IsShown(const NetPeer& row) {
    return row.role != ConnectionRole::kListener || row.sums.syn_retransmits > 0;
  }

  void Peers() {
    out_ += "\n";
    std::vector<const NetPeer*> rows;
    for (const NetPeer& row : report_.table.peers) {
      if (IsShown(row)) rows.push_back(&row);
    }
    if (rows.empty()) {
      out_ += "no connection was opened, accepted or there\n";
      return;
    }
    out_ += fmt::format("{:>15}{:>24}{:>24}{:>16}\n", "", "connect or accept queue", "first byte",
                        "segments");
    out_ += fmt::format("{:>8}{:>7}{:>8}{:>8}{:>8}{:>8}{:>8}{:>8}{:>8}{:>8}{:>7}{:>14}\n", "conns",
                        "failed", "p50", "p99", "max", "p50", "p99", "max", "again", "loss",
                        "turns", "closed by");
    for (size_t i = 0; i < std::min(rows.size(), kMostRows); ++i) Peer(*rows[i]);
    if (rows.size() <= kMostRows) return;
    uint64_t others = 0;
    for (size_t i = kMostRows; i < rows.size(); ++i)
      others += rows[i]->sums.attempts + rows[i]->sums.before_attach;
    out_ +=
        fmt::format("and {} with {}: --json has all\n",
                    Counted(rows.size() - kMostRows, "more row"), Counted(others, "connection"));
  }

  void Peer(const NetPeer& row) {
    const ConnectionSums& sums = row.sums;
    Who(RoleName(row.role), row.peer, row.path, row.process);
    const bool opened = row.role == ConnectionRole::kOpened;
    const bool unknown = row.role == ConnectionRole::kUnknown;
    const bool listener = row.role == ConnectionRole::kListener;
    const std::string none(kNone);
    out_ += fmt::format(
        "{:>8}{:>7}{}{}{:>8}{:>8}{:>7}{:>14}\n",
        listener ? none : ShowCount(unknown ? sums.before_attach : sums.attempts),
        listener || unknown ? none : ShowCount(Failed(sums)),
        ShowTimes(opened ? sums.connect : sums.accept_queue),
        listener ? ShowTimes(Histogram()) : ShowTimes(sums.first_byte),
        ShowCount(sums.retransmitted),
        sums.data_segments ? ShowPercent(ShareOf(sums.retransmitted, sums.data_segments)) : none,
        listener      ? none
        : !sums.turns ? std::string(kNotMeasured)
        : sums.turns_connections == 0
            ? none
            : fmt::format("{:.1f}", ShareOf(*sums.turns, sums.turns_connections)),
        ShowClosedBy(sums));
    out_ += WrappedParts(Details(row), 4, width_);
  }

  void Who(std::string_view role, std::string_view peer, std::string_view path,
           const std::string& process) {
    const std::string of =
        processes_.size() > 1 && path != process ? "  " + CutMiddle(process, 28) : "";
    const std::string head = fmt::format("{:<9} {}  ", role, CutMiddle(peer, 50));
    const size_t taken = head.size() + of.size();
    const size_t room = taken + 20 < width_ ? width_ - taken : 20;
    out_ +=
        fmt::format("{}{}{}\n", head, CutMiddle(path.empty() ? "path unknown" : path, room), of);
  }

  std::vector<std::string> Details(const NetPeer& row) const {
    const ConnectionSums& sums = row.sums;
    std::vector<std::string> parts;
    const auto count = [&](uint64_t value, std::string_view words) {
      if (value > 0) parts.push_back(fmt::format("{} {}", ShowCount(value), words));
    };
    if (!sums.failures.empty()) parts.push_back("failed: " + ShowCounts(sums.failures, 6));
    count(sums.superseded, "superseded by a faster sibling");
    if (row.role == ConnectionRole::kOpened) count(InFlight(sums), "still trying");
    if (row.role != ConnectionRole::kListener) count(sums.open, "open at the end");
    if (row.role == ConnectionRole::kOpened || row.role == ConnectionRole::kAccepted)
      count(sums.before_attach, "since before");
    count(sums.time_wait, "in TIME_WAIT");
    if (sums.lifetime.count() > 0) {
      parts.push_back(fmt::format("lived {} (p50)", ShowDuration(sums.lifetime.Quantile(0.5))));
    }
    if (sums.bytes_sent + sums.bytes_received > 0) {
      parts.push_back(
          fmt::format("{} out, {} in", ShowBytes(sums.bytes_sent), ShowBytes(sums.bytes_received)));
    }
    std::vector<std::string> kinds;
    for (const auto& [again, words] :
         {std::pair(sums.syn_retransmits,
                    row.role == ConnectionRole::kListener ? "SYN-ACK" : "SYN"),
          std::pair(sums.timeout_retransmits, "by time-out"),
          std::pair(sums.fast_retransmits, "fast"),
          std::pair(sums.tail_loss_probes, "as tail loss probes (inferred)"),
          std::pair(sums.failed_sends, "that could not be sent")}) {
      if (again > 0) kinds.push_back(fmt::format("{} {}", ShowCount(again), words));
    }
    if (!kinds.empty()) parts.push_back("again: " + Joined(kinds, ", "));
    count(sums.resets_sent, "resets sent");
    count(sums.resets_received, "resets received");
    count(sums.resets_after_idle, "of them after a second of silence");
    count(sums.multiplexed, "multiplexed: not in first byte");
    if (sums.receiver_limited_ns > 0)
      parts.push_back(
          fmt::format("peer's window shut for {}", ShowDuration(sums.receiver_limited_ns)));
    if (!sums.holders.empty()) parts.push_back("held by " + ShowCounts(sums.holders, 3));
    return parts;
  }

  void Loops() {
    if (!report_.table.loops) return;
    out_ += "\n";
    const std::vector<NetLoop>& loops = *report_.table.loops;
    if (loops.empty()) {
      out_ += "no event loop: no call of epoll_wait, poll or select\n";
      return;
    }
    out_ += fmt::format("{:>10}{:>10}{:>8}{:>8}{:>8}{:>10}{:>24}{:>10}\n", "", "time-out", "events",
                        "", "time", "longest", "ready to handed out", "without");
    out_ += fmt::format("{:>10}{:>10}{:>8}{:>8}{:>8}{:>10}{:>8}{:>8}{:>8}{:>10}\n", "calls", "0",
                        "a call", "empty", "in it", "nobody", "p50", "p99", "max", "a lag");
    for (size_t i = 0; i < std::min(loops.size(), kMostRows); ++i) Loop(loops[i]);
    if (loops.size() > kMostRows)
      out_ +=
          fmt::format("and {}: --json has all\n", Counted(loops.size() - kMostRows, "more loop"));
  }

  void Loop(const NetLoop& loop) {
    const std::string threads = fmt::format("{}, {}", loop.name, Counted(loop.threads, "thread"));
    Who("loop", loop.threads ? threads : loop.name, loop.path, loop.process);
    // Calls that may wait: those with a time-out of 0 come back empty by design.
    const uint64_t waits = loop.calls - std::min(loop.calls, loop.polls);
    const uint64_t empty = loop.empty - std::min(loop.empty, loop.empty_polls);
    out_ += fmt::format("{:>10}{:>10}{:>8.1f}{:>8}{:>8}{:>10}{}{:>10}\n", ShowCount(loop.calls),
                        ShowCount(loop.polls), ShareOf(loop.events, loop.calls),
                        ShowPercent(ShareOf(empty, waits)),
                        loop.waiting_share ? ShowPercent(*loop.waiting_share) : std::string(kNone),
                        loop.longest_unattended_ns ? ShowDurationShort(loop.longest_unattended_ns)
                                                   : std::string(kNone),
                        ShowTimes(loop.lag), ShowCount(loop.without_lag));
  }

  void Findings() {
    const NetVerdict& verdict = report_.verdict;
    out_ += "\n";
    if (verdict.findings.empty()) {
      out_ += fmt::format("findings  none: {} found nothing\n", Counted(verdict.rules, "rule"));
    }
    for (size_t i = 0; i < std::min(verdict.findings.size(), kMostFindings); ++i) {
      const NetFinding& finding = verdict.findings[i];
      out_ +=
          Wrapped(fmt::format("! {}: {}", finding.rule, PrintableName(finding.text)), 2, width_);
    }
    if (verdict.findings.size() > kMostFindings) {
      out_ += fmt::format("and {}: --json has all\n",
                          Counted(verdict.findings.size() - kMostFindings, "more finding"));
    }
    for (const std::string& rule : verdict.not_judged)
      out_ += Wrapped(fmt::format("not judged  {}", rule), 12, width_);
  }

  const NetReport& report_;
  size_t width_;
  std::set<std::string> processes_;
  std::string out_;
};

}  // namespace

std::string NetText(const NetReport& report, size_t width) { return NetPage(report, width).Text(); }

}  // namespace stallscope
