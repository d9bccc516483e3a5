// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/words.h"

#include <gtest/gtest.h>

namespace stallscope {
namespace {

TEST(Words, DistanceCountsEditsAndSwaps) {
  EXPECT_EQ(EditDistance("offcpu", "offcpu"), 0u);
  EXPECT_EQ(EditDistance("offcp", "offcpu"), 1u);
  EXPECT_EQ(EditDistance("offpcu", "offcpu"), 1u);
  EXPECT_EQ(EditDistance("", "html"), 4u);
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3u);
}

TEST(Words, NearestTakesTheFirstOfEquals) {
  EXPECT_EQ(Nearest("htm", {"folded", "html", "json"}), "html");
  EXPECT_EQ(Nearest("x", {"a", "b"}), "a");
  EXPECT_EQ(Nearest("x", {}), "");
}

TEST(Words, DurationsOfEveryUnit) {
  EXPECT_EQ(ParseDuration("30"), 30'000'000'000u);
  EXPECT_EQ(ParseDuration("30s"), 30'000'000'000u);
  EXPECT_EQ(ParseDuration("2m"), 120'000'000'000u);
  EXPECT_EQ(ParseDuration("1h"), 3'600'000'000'000u);
  EXPECT_EQ(ParseDuration("500ms"), 500'000'000u);
  EXPECT_EQ(ParseDuration("10us"), 10'000u);
  EXPECT_EQ(ParseDuration("1.5s"), 1'500'000'000u);
  EXPECT_EQ(ParseDuration("0"), 0u);
}

TEST(Words, WhatIsNoDuration) {
  for (const char* text : {"", "s", ".", "-1", "1 s", "1x", "1.2.3s", "9223372036854775808ns",
                           "99999999999h", "0x10", "1e3"}) {
    EXPECT_EQ(ParseDuration(text), std::nullopt) << text;
  }
}

TEST(Words, NearestDurationIsAlwaysOne) {
  EXPECT_EQ(NearestDuration("10sec"), "10s");
  EXPECT_EQ(NearestDuration("2 minutes"), "2m");
  EXPECT_EQ(NearestDuration("5msec"), "5ms");
  EXPECT_EQ(NearestDuration("-5"), "5s");
  EXPECT_EQ(NearestDuration("soon"), "30s");
  EXPECT_EQ(NearestDuration("99999999999999999999h"), "30s");
  EXPECT_EQ(NearestDuration("0x10"), "16s");
  EXPECT_EQ(NearestDuration("0x10ms"), "16ms");
  EXPECT_EQ(NearestDuration("0x"), "30s");
  EXPECT_EQ(NearestDuration("0xffffffffffffffffffff"), "30s");
  EXPECT_EQ(NearestDuration("0,5"), "30s");
}

TEST(Words, ExplainsWhyGoroutinesCannotBeRead) {
  const absl::Status rights =
      ExplainGoroutineFailure(absl::PermissionDeniedError("cannot read"), "etcd", 42, "top");
  EXPECT_EQ(ExitCodeOf(rights), kExitMachine);
  EXPECT_EQ(rights.message(),
            "etcd (42): cannot read\n"
            "run it as root: sudo stallscope top ...; or add CAP_SYS_PTRACE");
  const absl::Status other =
      ExplainGoroutineFailure(absl::NotFoundError("whatever"), "redis", 77, "record");
  EXPECT_EQ(ExitCodeOf(other), kExitTarget);
  EXPECT_EQ(other.message(),
            "redis (77) is not a Go program\n"
            "its threads instead: stallscope record -p 77 -e offcpu");
  const absl::Status unknown =
      ExplainGoroutineFailure(absl::UnimplementedError("go1.99 is newer"), "a\nb", 77, "dump");
  EXPECT_EQ(ExitCodeOf(unknown), kExitTarget);
  EXPECT_EQ(unknown.message(),
            "a?b (77): go1.99 is newer\n"
            "its threads instead: stallscope record -p 77 -e offcpu");
}

TEST(Words, DurationTextReadsBack) {
  for (const uint64_t ns :
       {1ull, 1'500ull, 1'500'000'000ull, 90'000'000'000ull, 7'200'000'000'000ull, 0ull}) {
    EXPECT_EQ(ParseDuration(DurationText(ns)), ns) << DurationText(ns);
  }
  EXPECT_EQ(DurationText(1'500'000'000), "1500ms");
}

TEST(Words, ExitCodesOfErrors) {
  EXPECT_EQ(ExitCodeOf(UsageError("a", "b")), 2);
  EXPECT_EQ(ExitCodeOf(MachineError("a", "b")), 3);
  EXPECT_EQ(ExitCodeOf(TargetError("a", "b")), 4);
  EXPECT_EQ(ExitCodeOf(RunError("a", "b")), 1);
  EXPECT_EQ(ExitCodeOf(absl::InternalError("x")), 1);
  EXPECT_EQ(ExitCodeOf(absl::OkStatus()), 0);
  EXPECT_EQ(UsageError("what", "remedy").message(), "what\nremedy");
}

TEST(Words, PrintableHasNoControlBytes) { EXPECT_EQ(Printable("a\nb\033[1m"), "a?b?[1m"); }

}  // namespace
}  // namespace stallscope
