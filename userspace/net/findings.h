// SPDX-License-Identifier: Apache-2.0
//
// What stands out in a table, in plain words. Each rule has its thresholds here and its test.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "userspace/net/table.h"

namespace stallscope {

// Not reused, and left open: of a path that opens so many in all, and so many a second, and uses
// each of them for no more turns than this. Not reused where most of them have ended; left open
// where most of them have not.
inline constexpr uint64_t kReuseLeastConnections = 20;
inline constexpr double kReuseLeastRate = 1;  // a second
inline constexpr double kReuseMostTurns = 5;  // of a connection
inline constexpr double kReuseLeastShare = 0.5;
// Where turns are not known, a connection that lives longer is taken to be used again.
inline constexpr uint64_t kReuseLongestLifeNs = 10'000'000'000;

inline constexpr double kFailuresLeastShare = 0.01;  // of attempts

inline constexpr uint64_t kSynLeast = 3;
inline constexpr double kSynLeastShare = 0.01;  // of attempts

// One peer slow: its median against the median of its siblings' (same path, same port).
inline constexpr uint64_t kSlowLeastValues = 10;  // of each
inline constexpr double kSlowFactor = 3;
inline constexpr uint64_t kSlowLeastNs = 1'000'000;  // apart

inline constexpr uint64_t kResetsLeast = 2;  // after a second of silence

inline constexpr uint64_t kAcceptLeastValues = 10;
inline constexpr uint64_t kAcceptLateNs = 10'000'000;  // at the 99th percentile

inline constexpr uint64_t kLoopLeastValues = 10;
inline constexpr uint64_t kLoopLateNs = 10'000'000;   // at the 99th percentile
inline constexpr uint64_t kLoopBusyNs = 100'000'000;  // one stretch with no thread in the call

inline constexpr uint64_t kLossLeastSegments = 100;
inline constexpr double kLossLeastRate = 0.01;

struct NetVerdict {
  std::vector<NetFinding> findings;     // in the order of the rules, of each the heaviest first
  std::vector<std::string> not_judged;  // "event loop late: event loops were not measured"
  size_t rules = 0;                     // that were judged
};

NetVerdict JudgeNet(const NetTable& table, uint64_t duration_ns);

// All rules' names, in order.
std::vector<std::string_view> NetRuleNames();

}  // namespace stallscope
