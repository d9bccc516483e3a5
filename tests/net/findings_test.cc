// SPDX-License-Identifier: Apache-2.0
//
// Each rule on both sides of its thresholds.
#include "userspace/net/findings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace stallscope {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint64_t kSecond = 1'000'000'000, kMs = 1'000'000;

NetPeer Row(ConnectionRole role = ConnectionRole::kOpened) {
  NetPeer row;
  row.role = role;
  row.peer = "10.0.0.5:443";
  row.process = "api (42)";
  row.path = "main.fetch";
  return row;
}

std::vector<std::string> Texts(const NetTable& table, uint64_t duration_ns = 10 * kSecond) {
  std::vector<std::string> texts;
  for (const NetFinding& finding : JudgeNet(table, duration_ns).findings)
    texts.push_back(finding.rule + ": " + finding.text);
  return texts;
}

std::vector<std::string> Texts(const NetPeer& row) {
  NetTable table;
  table.peers = {row};
  return Texts(table);
}

Histogram Of(uint64_t value, uint64_t times) {
  Histogram histogram;
  histogram.Add(value, times);
  return histogram;
}

// 400 connections in 10 s, each of 2 s and three turns, which the client closes.
NetPeer NotReused() {
  NetPeer row = Row();
  row.sums.attempts = row.sums.established = 400;
  row.sums.lifetime = Of(2 * kSecond, 400);
  row.sums.turns = 1200;
  row.sums.turns_connections = 400;
  row.sums.closed_by = {{"us", 400}};
  return row;
}

TEST(FindingsTest, NothingOfNothing) {
  EXPECT_THAT(Texts(NetTable()), IsEmpty());
  EXPECT_THAT(Texts(Row()), IsEmpty());
}

TEST(FindingsTest, NotReused) {
  EXPECT_THAT(Texts(NotReused()),
              ElementsAre("not reused: main.fetch in api (42) opens 40 connections a second to "
                          "10.0.0.5:443, each lives 2.00 s and serves 3 turns: keep-alive is not "
                          "working, and the client closes first"));
  NetPeer row = NotReused();
  row.sums.closed_by = {{"peer", 395}, {"us", 5}};
  EXPECT_TRUE(Texts(row)[0].ends_with("keep-alive is not working, and the server closes first"));
  row.sums.closed_by = {{"peer", 200}, {"us", 200}};
  EXPECT_TRUE(Texts(row)[0].ends_with("keep-alive is not working"));
}

TEST(FindingsTest, NotReusedNeedsManyThatEndAfterFewTurns) {
  const auto without = [](const std::function<void(ConnectionSums&)>& change) {
    NetPeer row = NotReused();
    change(row.sums);
    return Texts(row);
  };
  EXPECT_THAT(without([](auto& sums) { sums.established = kReuseLeastConnections - 1; }),
              IsEmpty());
  EXPECT_THAT(without([](auto& sums) { sums.turns = 400 * 5 + 1; }), IsEmpty());
  EXPECT_THAT(without([](auto& sums) { sums.lifetime = Of(kSecond, 199); }), IsEmpty());
  NetPeer accepted = NotReused();
  accepted.role = ConnectionRole::kAccepted;
  EXPECT_THAT(Texts(accepted), IsEmpty());
  NetTable slowly;
  slowly.peers = {NotReused()};
  EXPECT_THAT(Texts(slowly, 401 * kSecond), IsEmpty());
  EXPECT_EQ(Texts(slowly, 400 * kSecond).size(), 1U);
}

TEST(FindingsTest, WithoutTurnsLifetimesTell) {
  NetPeer row = NotReused();
  row.sums.turns.reset();
  EXPECT_EQ(Texts(row)[0],
            "not reused: main.fetch in api (42) opens 40 connections a second to 10.0.0.5:443, "
            "each lives 2.00 s: keep-alive is not working, and the client closes first");
  row.sums.lifetime = Of(11 * kSecond, 400);
  EXPECT_THAT(Texts(row), IsEmpty());
}

TEST(FindingsTest, LeftOpen) {
  NetPeer row = NotReused();
  row.sums.lifetime = Of(kSecond, 190);
  row.sums.open = 210;
  row.sums.turns = 400;
  EXPECT_THAT(Texts(row),
              ElementsAre("left open: main.fetch in api (42) opened 400 connections to "
                          "10.0.0.5:443 and 210 of them are still open, with 1 turn each: they "
                          "are neither used again nor closed"));
  row.sums.open = 200;
  EXPECT_THAT(Texts(row), IsEmpty());
  row.sums.open = 400;
  row.sums.turns = 400 * 5 + 1;
  EXPECT_THAT(Texts(row), IsEmpty());
}

TEST(FindingsTest, Failures) {
  NetPeer row = Row();
  row.sums.attempts = 300;
  row.sums.established = 297;
  row.sums.failures = {{"refused", 1}, {"timed out", 2}};
  EXPECT_THAT(Texts(row),
              ElementsAre("failures: 3 of 300 connects by main.fetch in api (42) to 10.0.0.5:443 "
                          "failed: timed out 2, refused 1"));
  row.sums.attempts = 301;
  EXPECT_THAT(Texts(row), IsEmpty());
  // Who lost a race did not fail.
  row.sums = {};
  row.sums.attempts = row.sums.superseded = 10;
  EXPECT_THAT(Texts(row), IsEmpty());
}

TEST(FindingsTest, SynSentAgain) {
  NetPeer row = Row();
  row.sums.attempts = row.sums.established = 300;
  row.sums.syn_retransmits = 3;
  EXPECT_TRUE(
      Texts(row)[0].starts_with("SYN sent again: 3 SYNs by main.fetch in api (42) to 10.0.0.5:443 "
                                "were sent again, in 300 connects: "));
  row.sums.attempts = 301;
  EXPECT_THAT(Texts(row), IsEmpty());
  row.sums.attempts = 2;
  row.sums.syn_retransmits = 2;
  EXPECT_THAT(Texts(row), IsEmpty());
  NetPeer listener = Row(ConnectionRole::kListener);
  listener.sums.syn_retransmits = 3;
  EXPECT_EQ(Texts(listener).size(), 1U);
}

NetTable Siblings(uint64_t slow_ns, uint64_t others_ns, uint64_t times) {
  NetTable table;
  for (const char* peer : {"10.0.0.5:443", "10.0.0.6:443", "10.0.0.7:443"}) {
    NetPeer row = Row();
    row.peer = peer;
    row.sums.first_byte = Of(table.peers.empty() ? slow_ns : others_ns, times);
    table.peers.push_back(row);
  }
  return table;
}

TEST(FindingsTest, SlowPeer) {
  EXPECT_THAT(Texts(Siblings(32 * kMs, 8 * kMs, 10)),
              ElementsAre("slow peer: 10.0.0.5:443 is slow for main.fetch in api (42): its first "
                          "byte comes after 32.0 ms, while 2 siblings of the same path take 8.0 "
                          "ms (medians)"));
  EXPECT_THAT(Texts(Siblings(23 * kMs, 8 * kMs, 10)), IsEmpty());
  EXPECT_THAT(Texts(Siblings(32 * kMs, 8 * kMs, 9)), IsEmpty());
  // Three times nothing is nothing.
  EXPECT_THAT(Texts(Siblings(900'000, 10'000, 10)), IsEmpty());
  NetTable other_services = Siblings(32 * kMs, 8 * kMs, 10);
  other_services.peers[1].peer = "10.0.0.6:5432";
  other_services.peers[2].peer = "10.0.0.7:5432";
  EXPECT_THAT(Texts(other_services), IsEmpty());
  NetTable other_paths = Siblings(32 * kMs, 8 * kMs, 10);
  other_paths.peers[1].path = other_paths.peers[2].path = "main.other";
  EXPECT_THAT(Texts(other_paths), IsEmpty());
}

TEST(FindingsTest, ResetsAfterIdle) {
  NetPeer row = Row();
  row.sums.resets_received = 5;
  row.sums.resets_after_idle = 1;
  EXPECT_THAT(Texts(row), IsEmpty());
  row.sums.resets_after_idle = 2;
  EXPECT_EQ(Texts(row).size(), 1U);
}

TEST(FindingsTest, Loss) {
  NetPeer row = Row();
  row.sums.data_segments = 100;
  row.sums.retransmitted = 1;
  EXPECT_THAT(Texts(row), ElementsAre("loss: 1 of 100 segments by main.fetch in api (42) to "
                                      "10.0.0.5:443 were sent again (1.0%)"));
  row.sums.data_segments = 101;
  EXPECT_THAT(Texts(row), IsEmpty());
  row.sums.data_segments = 99;
  EXPECT_THAT(Texts(row), IsEmpty());
}

TEST(FindingsTest, AcceptQueueLateOverAllPeers) {
  NetTable table;
  table.peers = {Row(ConnectionRole::kAccepted), Row(ConnectionRole::kAccepted)};
  table.peers[0].peer = "10.0.0.8";
  table.peers[1].peer = "10.0.0.9";
  for (NetPeer& row : table.peers) row.sums.accept_queue = Of(11 * kMs, 5);
  EXPECT_THAT(Texts(table), ElementsAre("accept queue late: main.fetch in api (42) accepts late: "
                                        "connections of 2 peers wait 10.9 ms in the queue at the "
                                        "99th percentile, 11.0 ms at most"));
  table.peers[1].sums.accept_queue = Of(11 * kMs, 4);
  EXPECT_THAT(Texts(table), IsEmpty());
  for (NetPeer& row : table.peers) row.sums.accept_queue = Of(9 * kMs, 50);
  EXPECT_THAT(Texts(table), IsEmpty());
}

TEST(FindingsTest, EventLoopLate) {
  NetTable table;
  NetLoop loop;
  loop.process = "web (7)";
  loop.name = "epoll fd 5";
  loop.longest_unattended_ns = 99 * kMs;
  loop.lag = Of(9 * kMs, 100);
  table.loops = {loop};
  EXPECT_THAT(Texts(table), IsEmpty());
  table.loops->front().longest_unattended_ns = 100 * kMs;
  EXPECT_THAT(Texts(table), ElementsAre("event loop late: epoll fd 5 of web (7) is "
                                        "late: nobody waited on it for 100.0 ms at a stretch"));
  table.loops->front().longest_unattended_ns = 0;
  table.loops->front().lag = Of(11 * kMs, 10);
  EXPECT_EQ(Texts(table).size(), 1U);
  table.loops->front().lag = Of(11 * kMs, 9);
  EXPECT_THAT(Texts(table), IsEmpty());
}

TEST(FindingsTest, WhatCannotBeJudgedIsSaid) {
  NetTable table;
  table.peers = {Row()};
  NetVerdict verdict = JudgeNet(table, kSecond);
  EXPECT_THAT(verdict.not_judged, ElementsAre("left open: turns are not measured here",
                                              "event loop late: event loops were not measured"));
  EXPECT_EQ(verdict.rules + 2, NetRuleNames().size());
  table.loops.emplace();
  table.peers[0].sums.turns = 0;
  verdict = JudgeNet(table, kSecond);
  EXPECT_THAT(verdict.not_judged, IsEmpty());
  EXPECT_EQ(verdict.rules, NetRuleNames().size());
}

}  // namespace
}  // namespace stallscope
