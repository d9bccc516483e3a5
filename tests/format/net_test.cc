// SPDX-License-Identifier: Apache-2.0
#include "userspace/format/net.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

namespace stallscope {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint64_t kSecond = 1'000'000'000, kMs = 1'000'000, kUs = 1'000;

Histogram Spread(uint64_t usual, uint64_t longest, uint64_t times) {
  Histogram histogram;
  histogram.Add(usual, times - 1);
  histogram.Add(longest);
  return histogram;
}

// A client whose connections are not reused, a server, a socket from before, a listener that is not
// heard, and two loops.
NetReport Sample() {
  NetReport report;
  report.profile.tool_version = "0.1.0";
  report.profile.target = "-p 42 (api), 43 (web)";
  report.profile.duration_ns = 10 * kSecond;
  EventProfile event;
  event.name = "net";
  event.mechanism = "tp_btf inet_sock_set_state, tcp_destroy_sock; sys_exit of 4 calls";
  report.profile.events = {event};
  report.profile.cost.own_cpu_ns = 40 * kMs;
  report.profile.cost.kernel_ns = 5 * kMs;
  report.profile.cost.map_bytes = 5 << 20;
  report.profile.cost.rss_bytes = 40 << 20;

  NetPeer client;
  client.role = ConnectionRole::kOpened;
  client.peer = "10.0.0.5:443";
  client.process = "api (42)";
  client.path = "github.com/acme/shop/internal/transport/http/client/orders.(*Client).FetchOrder";
  client.frames = {"main.main", client.path, "net.(*Dialer).DialContext"};
  ConnectionSums& sums = client.sums;
  sums.attempts = 1204;
  sums.established = 1200;
  sums.failures = {{"refused", 1}, {"timed out", 2}};
  sums.open = 12;
  sums.connect = Spread(1200 * kUs, 1020 * kMs, 1200);
  sums.first_byte = Spread(850 * kUs, 35 * kMs, 3000);
  sums.turns = 3600;
  sums.turns_connections = 1200;
  sums.lifetime = Spread(2 * kSecond, 3 * kSecond, 1188);
  sums.closed_by = {{"us", 1180}, {"reset by peer", 8}};
  sums.data_segments = 40'000;
  sums.retransmitted = 31;
  sums.syn_retransmits = 1;
  sums.timeout_retransmits = 12;
  sums.fast_retransmits = 18;
  sums.bytes_sent = 3 << 20;
  sums.bytes_received = 200 << 20;
  sums.time_wait = 600;
  sums.resets_received = 8;

  NetPeer server;
  server.role = ConnectionRole::kAccepted;
  server.peer = "192.0.2.17";
  server.process = "web (43)";
  server.path = "ngx_event_accept";
  server.sums.attempts = server.sums.established = 96;
  server.sums.open = 96;
  server.sums.accept_queue = Spread(40 * kUs, 3 * kMs, 96);
  server.sums.holders = {{"worker (44)", 90}};

  NetPeer before;
  before.peer = "[2001:db8::7]:5432";
  before.process = "api (42)";
  before.path = "[opened before attach]";
  before.sums.before_attach = before.sums.open = 4;

  NetPeer listener;
  listener.role = ConnectionRole::kListener;
  listener.peer = ":8080";
  listener.process = "web (43)";
  listener.path = "ngx_open_listening_sockets";
  NetPeer unheard = listener;
  unheard.peer = ":8081";
  unheard.sums.retransmitted = unheard.sums.syn_retransmits = 7;

  report.table.peers = {client, server, before, listener, unheard};
  NetLoop loop;
  loop.process = "web (43)";
  loop.name = "epoll fd 5";
  loop.threads = 2;
  loop.polls = 34;
  loop.path = "ngx_epoll_process_events";
  loop.calls = 12'034;
  loop.events = 20'000;
  loop.empty = 12;
  loop.waiting_share = 0.934;
  loop.longest_busy_ns = 300 * kMs;
  loop.longest_unattended_ns = 120 * kMs;
  loop.lag = Spread(12 * kUs, 119 * kMs, 20'000);
  loop.without_lag = 40;
  NetLoop timers = loop;
  timers.name = "poll";
  timers.threads = 0;
  timers.longest_busy_ns = timers.longest_unattended_ns = 0;
  timers.waiting_share.reset();
  timers.lag.reset();
  report.table.loops = {loop, timers};
  report.verdict = JudgeNet(report.table, report.profile.duration_ns);
  return report;
}

std::vector<std::string> LinesOf(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

TEST(NetTextTest, Golden) {
  EXPECT_EQ("\n" + NetText(Sample()), R"(
net -p 42 (api), 43 (web), 10.00 s: 1,204 connects, 96 accepted, 3 failed, 4 open since before

                connect or accept queue              first byte        segments
   conns failed     p50     p99     max     p50     p99     max   again    loss  turns     closed by
opened    10.0.0.5:443  github.com/acme/shop/i…ort/http/client/orders.(*Client).FetchOrder  api (42)
   1,204      3 1.20 ms 1.20 ms  1.02 s  844 us  844 us 35.0 ms      31   0.08%    3.0        us 99%
    failed: timed out 2, refused 1; 1 still trying; 12 open at the end; 600 in TIME_WAIT;
    lived 2.00 s (p50); 3.0 MB out, 200.0 MB in; again: 1 SYN, 12 by time-out, 18 fast;
    8 resets received
accepted  192.0.2.17  ngx_event_accept  web (43)
      96      0 40.4 us 2.98 ms 3.00 ms     n/a     n/a     n/a       0       -    n/a             -
    96 open at the end; held by worker (44) 90
unknown   [2001:db8::7]:5432  [opened before attach]  api (42)
       4      -       -       -       -     n/a     n/a     n/a       0       -    n/a             -
    4 open at the end
listener  :8081  ngx_open_listening_sockets  web (43)
       -      -       -       -       -       -       -       -       7       -      -             -
    again: 7 SYN-ACK

            time-out  events            time   longest     ready to handed out   without
     calls         0  a call   empty   in it    nobody     p50     p99     max     a lag
loop      epoll fd 5, 2 threads  ngx_epoll_process_events  web (43)
    12,034        34     1.7   0.10%   93.4%    120 ms 11.9 us 11.9 us  119 ms        40
loop      poll  ngx_epoll_process_events  web (43)
    12,034        34     1.7   0.10%       -         -     n/a     n/a     n/a        40

! SYN sent again: 7 SYN-ACKs by ngx_open_listening_sockets in web (43) on :8081 were sent again:
  clients do not hear them, or the queue of accept() is full
! not reused: github.com/acme/shop/internal/transport/http/client/orders.(*Client).FetchOrder in api
  (42) opens 120 connections a second to 10.0.0.5:443, each lives 2.00 s and serves 3 turns:
  keep-alive is not working, and the client closes first
! event loop late: epoll fd 5 of web (43) is late: nobody waited on it for 120.0 ms at a stretch

by       tp_btf inet_sock_set_state, tcp_destroy_sock; sys_exit of 4 calls
lost     nothing
cost     CPU 40.0 ms, kernel programs 5.0 ms; maps 5.0 MB, RSS 40.0 MB
)");
}

TEST(NetTextTest, NoLineIsWiderThanAsked) {
  for (const size_t width : {100, 140}) {
    for (const std::string& line : LinesOf(NetText(Sample(), width))) {
      size_t characters = 0;
      for (const char c : line) characters += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
      EXPECT_LE(characters, width) << line;
    }
  }
}

TEST(NetTextTest, NamesCannotSteerATerminal) {
  NetReport report = Sample();
  report.table.peers[0].path = "evil\x1b[31m\npath";
  report.table.peers[0].process = "a\x1b]0;x\x07 (42)";
  report.table.peers[0].sums.holders = {{"h\x1b[2J (9)", 1}};
  report.verdict = JudgeNet(report.table, report.profile.duration_ns);
  const std::string text = NetText(report);
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
  EXPECT_THAT(text, Not(HasSubstr("\x07")));
}

TEST(NetTextTest, AbsenceIsSaid) {
  NetReport report;
  report.profile.target = "-p 1 (init)";
  report.verdict = JudgeNet(report.table, kSecond);
  const std::string text = NetText(report);
  EXPECT_THAT(text, HasSubstr("no connection was opened, accepted or there\n"));
  EXPECT_THAT(text, HasSubstr("findings  none: 8 rules found nothing\n"));
  EXPECT_THAT(text, HasSubstr("not judged  event loop late: event loops were not measured\n"));
  EXPECT_THAT(text, HasSubstr("nothing\n"));  // lost
  report.table.loops.emplace();
  EXPECT_THAT(NetText(report), HasSubstr("no event loop"));
}

TEST(NetTextTest, ManyRowsAreCut) {
  NetReport report = Sample();
  const NetPeer row = report.table.peers[1];
  for (int i = 0; i < 30; ++i) report.table.peers.push_back(row);
  EXPECT_THAT(NetText(report),
              HasSubstr("and 14 more rows with 1,344 connections: --json has all"));
}

TEST(NetJsonTest, ShapeOfARow) {
  const auto json = nlohmann::json::parse(NetJson(Sample()));
  EXPECT_EQ(json["version"], "0.1.0");
  EXPECT_EQ(json["target"], "-p 42 (api), 43 (web)");
  EXPECT_EQ(json["duration_ns"], 10 * kSecond);
  EXPECT_EQ(json["peers"].size(), 5U);
  const auto& client = json["peers"][0];
  EXPECT_EQ(client["peer"], "10.0.0.5:443");
  EXPECT_EQ(client["role"], "opened");
  EXPECT_EQ(client["connects"], 1204);
  EXPECT_EQ(client["in_flight"], 1);
  EXPECT_EQ(client["failures"], nlohmann::json({{"refused", 1}, {"timed out", 2}}));
  EXPECT_EQ(client["connect"]["count"], 1200);
  EXPECT_EQ(client["connect"]["max"], 1020 * kMs);
  EXPECT_NEAR(client["connect"]["p50"].get<double>(), 1.2e6, 1.2e6 / 64);
  EXPECT_TRUE(client["accept"].is_null());
  EXPECT_TRUE(client["dns"].is_null());
  EXPECT_TRUE(client["tls"].is_null());
  EXPECT_EQ(client["retrans"], 31);
  EXPECT_EQ(client["segments"], 40'000);
  EXPECT_EQ(client["turns"], 3600);
  EXPECT_EQ(client["closed_by"]["us"], 1180);
  const auto& server = json["peers"][1];
  EXPECT_TRUE(server["connect"].is_null());
  EXPECT_EQ(server["accept"]["count"], 96);
  EXPECT_TRUE(server["first_byte"].is_null());
  EXPECT_TRUE(server["turns"].is_null());
  EXPECT_EQ(server["holders"]["worker (44)"], 90);
  EXPECT_EQ(json["loops"].size(), 2U);
  EXPECT_TRUE(json["loops"][1]["lag"].is_null());
  EXPECT_EQ(json["findings"][0]["rule"], "SYN sent again");
  EXPECT_TRUE(json["losses"].empty());
  EXPECT_EQ(json["cost"]["own_cpu_ns"], 40 * kMs);
}

TEST(NetJsonTest, WhatWasNotMeasuredIsNull) {
  NetReport report;
  const auto json = nlohmann::json::parse(NetJson(report));
  EXPECT_TRUE(json["loops"].is_null());
  EXPECT_TRUE(json["peers"].empty());
  EXPECT_TRUE(json["findings"].empty());
  NetPeer row;
  row.role = ConnectionRole::kOpened;
  row.path = "bad \xff utf-8";
  report.table.peers = {row};
  const auto one = nlohmann::json::parse(NetJson(report));
  EXPECT_TRUE(one["peers"][0]["connect"]["p50"].is_null());
  EXPECT_EQ(one["peers"][0]["connect"]["count"], 0);
}

}  // namespace
}  // namespace stallscope
