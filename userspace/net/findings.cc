// SPDX-License-Identifier: Apache-2.0
#include "userspace/net/findings.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <optional>
#include <utility>

#include "userspace/profile/show.h"

namespace stallscope {
namespace {

struct Look {
  const NetTable& table;
  double seconds;
  std::vector<NetFinding>& findings;
};

double Share(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

// "main.fetchOrder in api (4242)"; a row without stacks, or without a name for its path, is named
// by its process.
std::string Who(const NetPeer& row) {
  if (row.path.empty() || row.path == row.process) return row.process;
  return fmt::format("{} in {}", row.path, row.process);
}

void Add(const Look& look, std::string_view rule, const NetPeer& row, std::string text) {
  look.findings.push_back({std::string(rule), row.process, row.peer, row.path, std::move(text)});
}

// "40", "2.5": a figure that is read, not computed with.
std::string Plain(double value) {
  if (value >= 9.95) return ShowCount(static_cast<uint64_t>(std::llround(value)));
  std::string text = fmt::format("{:.1f}", value);
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return text;
}

std::string Times(const std::map<std::string, uint64_t>& counts) {
  std::vector<std::pair<std::string, uint64_t>> sorted(counts.begin(), counts.end());
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  std::string text;
  for (const auto& [word, count] : sorted) {
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", word, ShowCount(count));
  }
  return text;
}

// Rows of one process and path, over all their peers: who accepts does not choose them.
std::vector<NetPeer> OverPeers(const NetTable& table, ConnectionRole role) {
  std::map<std::pair<std::string, std::string>, size_t> index;
  std::vector<NetPeer> sums;
  std::vector<size_t> peers;
  for (const NetPeer& row : table.peers) {
    if (row.role != role) continue;
    const auto [at, fresh] = index.try_emplace({row.process, row.path}, sums.size());
    if (fresh) {
      sums.push_back(row);
      peers.push_back(1);
      continue;
    }
    MergeSums(row.sums, &sums[at->second].sums);
    ++peers[at->second];
  }
  for (size_t i = 0; i < sums.size(); ++i) {
    if (peers[i] > 1) sums[i].peer = Counted(peers[i], "peer");
  }
  return sums;
}

// --- Reuse.

std::optional<double> TurnsEach(const ConnectionSums& sums) {
  if (!sums.turns || sums.turns_connections == 0) return std::nullopt;
  return Share(*sums.turns, sums.turns_connections);
}

bool OpensMany(const Look& look, const NetPeer& row) {
  const double rate = static_cast<double>(row.sums.established) / look.seconds;
  return row.role == ConnectionRole::kOpened && row.sums.established >= kReuseLeastConnections &&
         rate >= kReuseLeastRate;
}

std::string WhoCloses(const ConnectionSums& sums) {
  uint64_t all = 0, us = 0, peer = 0;
  for (const auto& [who, count] : sums.closed_by) {
    all += count;
    if (who.starts_with("us") || who.ends_with("by us")) us += count;
    if (who.starts_with("peer") || who.ends_with("by peer")) peer += count;
  }
  constexpr double kMostly = 0.9;
  if (Share(us, all) >= kMostly) return ", and the client closes first";
  if (Share(peer, all) >= kMostly) return ", and the server closes first";
  return "";
}

void NotReused(const Look& look, std::string_view rule) {
  for (const NetPeer& row : look.table.peers) {
    const ConnectionSums& sums = row.sums;
    if (!OpensMany(look, row)) continue;
    if (Share(sums.lifetime.count(), sums.established) < kReuseLeastShare) continue;
    const uint64_t life_ns = sums.lifetime.Quantile(0.5);
    const auto turns = TurnsEach(sums);
    if (turns ? *turns > kReuseMostTurns : life_ns > kReuseLongestLifeNs) continue;
    const std::string serves =
        turns ? fmt::format(" and serves {} {}", Plain(*turns), *turns == 1 ? "turn" : "turns")
              : "";
    Add(look, rule, row,
        fmt::format("{} opens {} connections a second to {}, each lives {}{}: keep-alive is not "
                    "working{}",
                    Who(row), Plain(static_cast<double>(sums.established) / look.seconds), row.peer,
                    ShowDuration(life_ns), serves, WhoCloses(sums)));
  }
}

void LeftOpen(const Look& look, std::string_view rule) {
  for (const NetPeer& row : look.table.peers) {
    const ConnectionSums& sums = row.sums;
    if (!OpensMany(look, row)) continue;
    const auto turns = TurnsEach(sums);
    if (!turns || *turns > kReuseMostTurns) continue;
    const uint64_t left = std::min(sums.open, sums.established);
    if (Share(left, sums.established) <= kReuseLeastShare) continue;
    Add(look, rule, row,
        fmt::format("{} opened {} connections to {} and {} of them are still open, with {} {} "
                    "each: they are neither used again nor closed",
                    Who(row), ShowCount(sums.established), row.peer, ShowCount(left), Plain(*turns),
                    *turns == 1 ? "turn" : "turns"));
  }
}

std::string LacksTurns(const NetTable& table) {
  const bool any = std::any_of(table.peers.begin(), table.peers.end(),
                               [](const NetPeer& row) { return row.sums.turns.has_value(); });
  return any || table.peers.empty() ? "" : "turns are not measured here";
}

// --- Set-up.

void Failures(const Look& look, std::string_view rule) {
  for (const NetPeer& row : look.table.peers) {
    const uint64_t failed = Failed(row.sums);
    if (failed == 0 || Share(failed, row.sums.attempts) < kFailuresLeastShare) continue;
    const std::string of =
        row.role == ConnectionRole::kOpened
            ? fmt::format("{} by {} to {} failed", Counted(row.sums.attempts, "connect"), Who(row),
                          row.peer)
            : fmt::format("{} of {} to {} ended before they were accepted",
                          Counted(row.sums.attempts, "connection"), row.peer, Who(row));
    Add(look, rule, row,
        fmt::format("{} of {}: {}", ShowCount(failed), of, Times(row.sums.failures)));
  }
}

void SynAgain(const Look& look, std::string_view rule) {
  for (const NetPeer& row : look.table.peers) {
    const uint64_t again = row.sums.syn_retransmits;
    if (again < kSynLeast) continue;
    if (row.role == ConnectionRole::kOpened) {
      if (Share(again, row.sums.attempts) < kSynLeastShare) continue;
      Add(look, rule, row,
          fmt::format("{} by {} to {} were sent again, in {}: nobody answered, or its queue of "
                      "listen() was full; each costs a second or more",
                      Counted(again, "SYN"), Who(row), row.peer,
                      Counted(row.sums.attempts, "connect")));
    } else if (row.role == ConnectionRole::kListener) {
      Add(look, rule, row,
          fmt::format("{} by {} on {} were sent again: clients do not hear them, or the queue of "
                      "accept() is full",
                      Counted(again, "SYN-ACK"), Who(row), row.peer));
    }
  }
}

void AcceptLate(const Look& look, std::string_view rule) {
  for (const NetPeer& row : OverPeers(look.table, ConnectionRole::kAccepted)) {
    const Histogram& queue = row.sums.accept_queue;
    if (queue.count() < kAcceptLeastValues || queue.Quantile(0.99) < kAcceptLateNs) continue;
    Add(look, rule, row,
        fmt::format("{} accepts late: connections of {} wait {} in the queue at the 99th "
                    "percentile, {} at most",
                    Who(row), row.peer, ShowDuration(queue.Quantile(0.99)),
                    ShowDuration(queue.max())));
  }
}

// --- Peers.

std::string_view PortOf(std::string_view peer) {
  const size_t colon = peer.rfind(':');
  return colon == std::string_view::npos ? std::string_view() : peer.substr(colon);
}

uint64_t Median(std::vector<uint64_t> values) {
  std::sort(values.begin(), values.end());
  return values[(values.size() - 1) / 2];
}

// Where first bytes are not measured, the time to connect.
const Histogram& Answers(const NetPeer& row) {
  return row.sums.first_byte ? *row.sums.first_byte : row.sums.connect;
}

void SlowPeer(const Look& look, std::string_view rule) {
  const auto counts = [](const NetPeer& row) {
    return row.role == ConnectionRole::kOpened && Answers(row).count() >= kSlowLeastValues;
  };
  std::map<std::pair<std::string, std::string>, std::vector<const NetPeer*>> paths;
  for (const NetPeer& row : look.table.peers) {
    if (counts(row)) paths[{row.process, row.path}].push_back(&row);
  }
  for (const NetPeer& row : look.table.peers) {
    if (!counts(row)) continue;
    std::vector<uint64_t> siblings;
    for (const NetPeer* other : paths[{row.process, row.path}]) {
      const bool same_kind = other->sums.first_byte.has_value() == row.sums.first_byte.has_value();
      if (other != &row && same_kind && PortOf(other->peer) == PortOf(row.peer))
        siblings.push_back(Answers(*other).Quantile(0.5));
    }
    if (siblings.empty()) continue;
    const uint64_t own = Answers(row).Quantile(0.5), others = Median(siblings);
    if (own < others + kSlowLeastNs ||
        static_cast<double>(own) < kSlowFactor * static_cast<double>(others))
      continue;
    Add(look, rule, row,
        fmt::format("{} is slow for {}: {} {}, while {} of the same path {} {} (medians)", row.peer,
                    Who(row),
                    row.sums.first_byte ? "its first byte comes after" : "to connect takes",
                    ShowDuration(own), Counted(siblings.size(), "sibling"),
                    siblings.size() == 1 ? "takes" : "take", ShowDuration(others)));
  }
}

void ResetsAfterIdle(const Look& look, std::string_view rule) {
  for (const NetPeer& row : look.table.peers) {
    if (row.sums.resets_after_idle < kResetsLeast) continue;
    Add(look, rule, row,
        fmt::format("{} reset {} of {} after a second or more of silence: an idle time-out of the "
                    "peer, or of something in between, is shorter than ours",
                    row.peer, Counted(row.sums.resets_after_idle, "connection"), Who(row)));
  }
}

void LossHigh(const Look& look, std::string_view rule) {
  for (const NetPeer& row : look.table.peers) {
    const double rate = Share(row.sums.retransmitted, row.sums.data_segments);
    if (row.sums.data_segments < kLossLeastSegments || rate < kLossLeastRate) continue;
    Add(look, rule, row,
        fmt::format("{} of {} by {} {} {} were sent again ({})", ShowCount(row.sums.retransmitted),
                    Counted(row.sums.data_segments, "segment"), Who(row), "to", row.peer,
                    ShowShare(rate)));
  }
}

// --- Loops.

void LoopLate(const Look& look, std::string_view rule) {
  if (!look.table.loops) return;
  for (const NetLoop& loop : *look.table.loops) {
    const bool late = loop.lag && loop.lag->count() >= kLoopLeastValues &&
                      loop.lag->Quantile(0.99) >= kLoopLateNs;
    const bool busy = loop.longest_unattended_ns >= kLoopBusyNs;
    if (!late && !busy) continue;
    std::string text = fmt::format("{} of {} is late", loop.name, loop.process);
    if (late) {
      text += fmt::format(": what is ready waits {} at the 99th percentile, {} at most",
                          ShowDuration(loop.lag->Quantile(0.99)), ShowDuration(loop.lag->max()));
    }
    if (busy) {
      text += fmt::format("{} nobody waited on it for {} at a stretch", late ? ";" : ":",
                          ShowDuration(loop.longest_unattended_ns));
    }
    look.findings.push_back({std::string(rule), loop.process, "", loop.path, std::move(text)});
  }
}

std::string LacksLoops(const NetTable& table) {
  return table.loops ? "" : "event loops were not measured";
}

// --- The rules.

struct Rule {
  std::string_view name;
  void (*judge)(const Look& look, std::string_view rule);
  std::string (*lacks)(const NetTable& table);  // what it needs and is not there; null: nothing
};

constexpr Rule kRules[] = {
    {"failures", Failures, nullptr},
    {"SYN sent again", SynAgain, nullptr},
    {"not reused", NotReused, nullptr},
    {"left open", LeftOpen, LacksTurns},
    {"slow peer", SlowPeer, nullptr},
    {"reset after idle", ResetsAfterIdle, nullptr},
    {"loss", LossHigh, nullptr},
    {"accept queue late", AcceptLate, nullptr},
    {"event loop late", LoopLate, LacksLoops},
};

}  // namespace

NetVerdict JudgeNet(const NetTable& table, uint64_t duration_ns) {
  NetVerdict verdict;
  const double seconds = std::max(static_cast<double>(duration_ns) / 1e9, 1e-3);
  const Look look{table, seconds, verdict.findings};
  for (const Rule& rule : kRules) {
    const std::string lacks = rule.lacks ? rule.lacks(table) : "";
    if (!lacks.empty()) {
      verdict.not_judged.push_back(fmt::format("{}: {}", rule.name, lacks));
      continue;
    }
    ++verdict.rules;
    rule.judge(look, rule.name);
  }
  return verdict;
}

std::vector<std::string_view> NetRuleNames() {
  std::vector<std::string_view> names;
  for (const Rule& rule : kRules) names.push_back(rule.name);
  return names;
}

}  // namespace stallscope
