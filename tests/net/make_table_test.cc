// SPDX-License-Identifier: Apache-2.0
#include "userspace/net/make_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "userspace/profile/make_profile.h"

namespace stallscope {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// A program with two call sites of one function that opens, and one that listens.
Recording Program() {
  Recording recording;
  AddressSpace space;
  space.tgid = 42;
  space.comm = "api";
  space.go_version = "go1.26";
  recording.spaces = {space};
  const auto name = [&](uint64_t address, const char* function) {
    symbolizer::Frame frame;
    frame.function = function;
    frame.kind = symbolizer::FrameKind::kGo;
    recording.names[{0, address, true}] = {frame};
  };
  name(0x10, "net.(*Dialer).DialContext");
  name(0x20, "main.fetch");
  name(0x30, "main.first");
  name(0x40, "main.second");
  const auto stack = [&](std::vector<uint64_t> addresses) {
    Segment segment;
    segment.kind = SegmentKind::kGoroutine;
    for (const uint64_t address : addresses) segment.addresses.push_back({address, true});
    recording.stacks.push_back({{segment}, StackEnd::kComplete});
  };
  stack({0x10, 0x20, 0x30});
  stack({0x10, 0x20, 0x40});
  name(0x50, "net.(*sysDialer).dialTCP");
  Segment marker;
  marker.kind = SegmentKind::kMarker;
  marker.marker = "opened before attach";
  recording.stacks.push_back({{marker}, StackEnd::kNone});
  recording.stacks.push_back({{}, StackEnd::kNone});
  stack({0x50, 0x20, 0x30});
  return recording;
}

ConnectionGroup Group(uint32_t stack, std::string peer, uint64_t attempts,
                      ConnectionRole role = ConnectionRole::kOpened) {
  ConnectionGroup group;
  group.role = role;
  group.stack = stack;
  group.peer = std::move(peer);
  group.sums.attempts = attempts;
  group.sums.connect.Add(1000, attempts);
  return group;
}

std::vector<NetPeer> RowsOf(const std::vector<ConnectionGroup>& groups, bool with_stacks = true) {
  Recording recording = Program();
  recording.events.push_back(ConnectionEvent(groups, "test"));
  ProfileOptions everything;
  everything.idle = true;
  const auto profile = MakeProfile(recording, everything);
  EXPECT_TRUE(profile.ok());
  return NamePeers(*profile, groups, with_stacks);
}

TEST(MakeTableTest, EqualNamesAreOneRow) {
  const auto rows = RowsOf(
      {Group(0, "10.0.0.5:443", 3), Group(4, "10.0.0.5:443", 4), Group(0, "10.0.0.6:443", 9)});
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].peer, "10.0.0.6:443");
  EXPECT_EQ(rows[1].peer, "10.0.0.5:443");
  EXPECT_EQ(rows[1].process, "api (42)");
  EXPECT_EQ(rows[1].path, "main.fetch");
  EXPECT_EQ(rows[1].sums.attempts, 7U);
  EXPECT_EQ(rows[1].sums.connect.count(), 7U);
  // The stack is that of the heavier part.
  EXPECT_THAT(rows[1].frames, ElementsAre("main.first", "main.fetch", "net.(*sysDialer).dialTCP"));
}

TEST(MakeTableTest, CallersTellOnePathFromAnother) {
  const auto rows = RowsOf({Group(0, "a:1", 3), Group(1, "a:1", 2), Group(0, "b:1", 1)});
  ASSERT_EQ(rows.size(), 3U);
  EXPECT_EQ(rows[0].path, "main.fetch from main.first");
  EXPECT_EQ(rows[1].path, "main.fetch from main.second");
  EXPECT_EQ(rows[2].path, "main.fetch from main.first");
  EXPECT_THAT(rows[1].frames,
              ElementsAre("main.second", "main.fetch", "net.(*Dialer).DialContext"));
}

TEST(MakeTableTest, RolesStayApart) {
  const auto rows =
      RowsOf({Group(0, "10.0.0.5:443", 3), Group(0, "10.0.0.5:443", 3, ConnectionRole::kAccepted)});
  EXPECT_EQ(rows.size(), 2U);
}

TEST(MakeTableTest, PathsWithoutAStack) {
  const auto rows = RowsOf({Group(2, "a:1", 2), Group(3, "b:1", 1)});
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].path, "[opened before attach]");
  EXPECT_EQ(rows[1].path, "");
  EXPECT_THAT(rows[1].frames, IsEmpty());
  EXPECT_EQ(RowsOf({Group(3, "b:1", 1)}, false)[0].path, "api (42)");
}

TEST(MakeTableTest, LoopsGetTheirPaths) {
  EventLoop one, unknown;
  one.stack = 0;
  one.row.name = "epoll fd 5";
  one.row.calls = 3;
  unknown.row.name = "epoll fd 6";
  const std::vector<EventLoop> loops = {unknown, one};
  Recording recording = Program();
  recording.events.push_back(LoopEvent(loops));
  ProfileOptions everything;
  everything.idle = true;
  const auto profile = MakeProfile(recording, everything);
  ASSERT_TRUE(profile.ok());
  const auto rows = NameLoops(*profile, loops);
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].path, "");
  EXPECT_EQ(rows[1].name, "epoll fd 5");
  EXPECT_EQ(rows[1].path, "main.fetch");
}

TEST(TableTest, MergedSumsAreAllOfBoth) {
  ConnectionSums a, b;
  a.attempts = 1, b.attempts = 2;
  a.failures["refused"] = 1;
  b.failures["refused"] = 2;
  b.failures["timed out"] = 3;
  b.first_byte.emplace().Add(5);
  b.turns = 7;
  a.receiver_limited_ns = 10, b.receiver_limited_ns = 5;
  MergeSums(b, &a);
  EXPECT_EQ(a.attempts, 3U);
  EXPECT_EQ(a.failures["refused"], 3U);
  EXPECT_EQ(a.failures["timed out"], 3U);
  EXPECT_EQ(a.first_byte->count(), 1U);
  EXPECT_EQ(a.turns, 7U);
  EXPECT_EQ(a.receiver_limited_ns, 15U);
  // What neither has measured stays absent.
  ConnectionSums c, d;
  MergeSums(c, &d);
  EXPECT_FALSE(d.first_byte.has_value());
  EXPECT_FALSE(d.turns.has_value());
}

TEST(TableTest, WhatIsStillTrying) {
  ConnectionSums all;
  EXPECT_EQ(InFlight(all), 0U);
  all.attempts = 10;
  all.established = 4;
  all.superseded = 1;
  all.failures["refused"] = 2;
  EXPECT_EQ(Failed(all), 2U);
  EXPECT_EQ(InFlight(all), 3U);
}

}  // namespace
}  // namespace stallscope
