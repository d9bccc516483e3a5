// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <limits>
#include <regex>
#include <sstream>

#include "tests/format/demo_profile.h"
#include "tests/format/many.h"
#include "userspace/format/format.h"
#include "userspace/format/text.h"

namespace stallscope {
namespace {

std::string FoldedOf(const ProfileBuilder& b) { return Folded(b.profile, b.profile.events.back()); }

ProfileBuilder TimeEvent() {
  ProfileBuilder b;
  b.Event("offcpu", {{"time", "ns"}, {"runq", "ns"}, {"count", "count"}});
  return b;
}

// Each line by flamegraph.pl's rule; the stack must not match again, or it is read as two columns.
void ExpectReadable(const std::string& folded) {
  const std::regex rule(R"(^(.*)\s+?(\d+(?:\.\d*)?)$)");
  std::istringstream lines(folded);
  std::string line;
  while (std::getline(lines, line)) {
    // The library's regex recurses once a character: long lines are checked by their end.
    const std::string end = line.size() > 500 ? line.substr(line.size() - 500) : line;
    std::smatch parts;
    ASSERT_TRUE(std::regex_match(end, parts, rule)) << end;
    const std::string stack = parts[1];
    EXPECT_FALSE(std::regex_match(stack, rule)) << end;
  }
}

TEST(Folded, Golden) {
  ProfileBuilder b = TimeEvent();
  b.Sample("my app",
           {"go:main.main@/src/main.go:3", "native:read", "kernel:vfs_read", "kernel:schedule"},
           "pipe", {1'234'567, 5, 1});
  b.Sample("my app", {"go:main.main@/src/main.go:3", "marker:[caller unknown]", "native:read"},
           "IO wait", {2'000, 5, 1});
  EXPECT_EQ(FoldedOf(b),
            "my_app;main.main;[caller unknown];read;[IO wait] 2\n"
            "my_app;main.main;read;vfs_read_[k];schedule_[k];[pipe] 1235\n");
}

TEST(Folded, ReasonRoot) {
  ProfileBuilder b = TimeEvent();
  b.Sample("app", {"go:main.main", "kernel:schedule"}, "chan receive", {9'000, 0, 1});
  b.profile.reason_root = true;
  EXPECT_EQ(FoldedOf(b), "app;[chan receive];main.main;schedule_[k] 9\n");
}

TEST(Folded, SuffixesOfInlinedFrames) {
  ProfileBuilder b = TimeEvent();
  b.Sample("app", {"go:main.f", "kernel:k"}, "disk", {9'000, 0, 1});
  for (ProfileFrame& frame : b.profile.frames) frame.inlined = true;
  EXPECT_EQ(FoldedOf(b), "app;main.f_[i];k_[k]_[i];[disk] 9\n");
}

TEST(Folded, RoundsAfterSumming) {
  ProfileBuilder b = TimeEvent();
  for (int i = 0; i < 3; ++i) b.Sample("a", {"go:x"}, "futex", {400, 0, 1});
  b.Sample("b", {"go:x"}, "futex", {499, 0, 1});
  b.Sample("c", {"go:x"}, "futex", {500, 0, 1});
  b.Sample("d", {"go:x"}, "futex", {1'499, 0, 1});
  EXPECT_EQ(FoldedOf(b), "a;x;[futex] 1\nc;x;[futex] 1\nd;x;[futex] 1\n")
      << "a line whose sum rounds to nothing is left out";
}

TEST(Folded, OtherUnitsAreKept) {
  ProfileBuilder b;
  b.Event("retrans", {{"segments", "segments"}, {"bytes", "bytes"}});
  b.Sample("a", {"go:x"}, "retransmit", {3, 4'000});
  EXPECT_EQ(FoldedOf(b), "a;x;[retransmit] 3\n");
}

TEST(Folded, NotMeasuredIsNotAZero) {
  ProfileBuilder b = TimeEvent();
  b.Sample("a", {"go:x"}, "futex", {std::nullopt, 0, 1});
  b.Sample("a", {"go:y"}, "futex", {std::nullopt, 0, 1});
  b.Sample("a", {"go:y"}, "futex", {5'000, 0, 1});
  EXPECT_EQ(FoldedOf(b), "a;y;[futex] 5\n");
}

TEST(Folded, DamagedValues) {
  ProfileBuilder b = TimeEvent();
  constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();
  b.Sample("a", {"go:x"}, "futex", {kLargest, 0, 1});
  b.Sample("a", {"go:x"}, "futex", {kLargest, 0, 1});
  b.Sample("b", {"go:x"}, "futex", {-7'000, 0, 1});
  b.Sample("c", {"go:x"}, "futex", {});
  b.profile.events[0].samples[0].frames[0] = 77;
  EXPECT_EQ(FoldedOf(b), "a;[unknown];[futex] 9223372036854776\na;x;[futex] 9223372036854776\n");
}

TEST(Folded, NoColumnsNoSamples) {
  ProfileBuilder b = TimeEvent();
  EXPECT_EQ(FoldedOf(b), "");
  b.Event("odd", {});
  b.Sample("a", {"go:x"}, "futex", {});
  EXPECT_EQ(FoldedOf(b), "");
}

TEST(Folded, EscapesNames) {
  ProfileBuilder b = TimeEvent();
  b.Sample("a;b c\n", {"native:go.shape.struct { a bool; b string }", "native: \x01\x7f\xff "},
           "x;\ny", {5'000, 0, 1});
  EXPECT_EQ(FoldedOf(b), "a:b_c;go.shape.struct { a bool: b string };??\xef\xbf\xbd;[x: y] 5\n");
}

TEST(Folded, NamesWithoutAnyCharacter) {
  ProfileBuilder b = TimeEvent();
  b.Sample("", {"native:", "native: \t"}, "", {5'000, 0, 1});
  EXPECT_EQ(FoldedOf(b), "[unknown];[unknown];[unknown] 5\n");
}

TEST(Folded, NoStackIsReadAsTwoColumns) {
  ProfileBuilder b = TimeEvent();
  b.Sample("app", {"native:f 12"}, "", {5'000, 0, 1});
  b.Sample("app", {"native:g 1.5 "}, "", {5'000, 0, 1});
  b.Sample("app", {"native:h 7."}, "", {5'000, 0, 1});
  b.Sample("app", {"native:i 1x"}, "", {5'000, 0, 1});
  b.Sample("app 3", {}, "", {5'000, 0, 1});
  const std::string folded = FoldedOf(b);
  EXPECT_EQ(folded, "app;f_12 5\napp;g_1.5 5\napp;h_7. 5\napp;i 1x 5\napp_3 5\n");
  ExpectReadable(folded);
}

TEST(Folded, HostileNamesAreReadable) {
  Profile profile = HostileProfile();
  for (const bool reason_root : {false, true}) {
    profile.reason_root = reason_root;
    const std::string folded = Folded(profile, profile.events[0]);
    ExpectReadable(folded);
    EXPECT_EQ(std::count(folded.begin(), folded.end(), '\n'), 3);
    EXPECT_LT(folded.size(), 2 * kMaxNameBytes) << "the name of a megabyte is clipped";
  }
}

TEST(Folded, SortedByBytes) {
  ProfileBuilder b = TimeEvent();
  for (const char* name :
       {"native:b", "native:a $x", "native:a", "native:a!", "native:\xc3\xa9", "native:Z"}) {
    b.Sample("app", {name}, "", {5'000, 0, 1});
  }
  std::istringstream text(FoldedOf(b));
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line);) lines.push_back(line);
  EXPECT_EQ(lines.size(), 6u);
  EXPECT_TRUE(std::is_sorted(lines.begin(), lines.end()));
}

TEST(Folded, ManyStacks) {
  const Profile profile = ManyStacksProfile(kManyStacks, 30);
  const std::clock_t start = std::clock();
  const std::string folded = Folded(profile, profile.events[0]);
  const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  EXPECT_EQ(std::count(folded.begin(), folded.end(), '\n'),
            static_cast<std::ptrdiff_t>(kManyStacks));
  EXPECT_EQ(folded, Folded(profile, profile.events[0]));
  std::printf("%zu stacks: %.2f s of CPU, %zu MiB\n", kManyStacks, seconds, folded.size() >> 20);
}

}  // namespace
}  // namespace stallscope
