// SPDX-License-Identifier: Apache-2.0
//
// Each rule on stacks as programs have them, from the inside out, and on near misses.
#include "userspace/profile/idle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace stallscope {
namespace {

using ::testing::HasSubstr;

using Functions = std::vector<std::string_view>;

// `inner` inside `outer`.
Functions operator+(const Functions& inner, const Functions& outer) {
  Functions all = inner;
  all.insert(all.end(), outer.begin(), outer.end());
  return all;
}

const IdleRules& BuiltIn() {
  static const IdleRules* rules = [] {
    auto parsed = IdleRules::BuiltIn();
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    return new IdleRules(*std::move(parsed));
  }();
  return *rules;
}

std::string Match(std::string_view reason, const Functions& functions, bool whole = true) {
  return std::string(BuiltIn().Match(reason, functions + Functions{"runtime.goexit"}, whole));
}

const Functions kPark = {"runtime.gopark"};
const Functions kSelect = {"runtime.gopark", "runtime.selectgo"};
const Functions kReceive = {"runtime.gopark", "runtime.chanrecv", "runtime.chanrecv1"};
const Functions kPoll = {"runtime.gopark", "runtime.netpollblock", "internal/poll.runtime_pollWait",
                         "internal/poll.(*pollDesc).wait", "internal/poll.(*pollDesc).waitRead"};
const Functions kNetRead =
    kPoll + Functions{"internal/poll.(*FD).Read", "net.(*netFD).Read", "net.(*conn).Read"};
const Functions kTlsRead =
    kNetRead + Functions{"crypto/tls.(*atLeastReader).Read", "bytes.(*Buffer).ReadFrom",
                         "crypto/tls.(*Conn).readFromUntil", "crypto/tls.(*Conn).readRecordOrCCS",
                         "crypto/tls.(*Conn).readRecord",    "crypto/tls.(*Conn).Read"};
const Functions kLock = {"runtime.gopark",
                         "runtime.goparkunlock",
                         "runtime.semacquire1",
                         "internal/sync.runtime_SemacquireMutex",
                         "internal/sync.(*Mutex).lockSlow",
                         "internal/sync.(*Mutex).Lock",
                         "sync.(*Mutex).Lock"};
const Functions kServerRead = {"net/http.(*connReader).Read", "bufio.(*Reader).fill"};

TEST(IdleRules, TheRuntimesOwnGoroutines) {
  const std::string worker = "runtime worker";
  const auto parked = [](std::string_view function) { return kPark + Functions{function}; };
  EXPECT_EQ(Match("force gc (idle)", parked("runtime.forcegchelper")), worker);
  EXPECT_EQ(Match("GC sweep wait", parked("runtime.bgsweep") + Functions{"runtime.gcenable.func1"}),
            worker);
  for (const char* reason : {"GC scavenge wait", "sleep"}) {
    EXPECT_EQ(Match(reason, kPark + Functions{"runtime.(*scavengerState).park",
                                              "runtime.bgscavenge", "runtime.gcenable.gowrap2"}),
              worker);
  }
  EXPECT_EQ(Match("finalizer wait", parked("runtime.runfinq")), worker);
  EXPECT_EQ(Match("finalizer wait", parked("runtime.runFinalizers")), worker);
  EXPECT_EQ(Match("cleanup wait",
                  kPark + Functions{"runtime.(*cleanupQueue).dequeue", "runtime.runCleanups"}),
            worker);
  EXPECT_EQ(Match("GC worker (idle)", parked("runtime.gcBgMarkWorker")), worker);
  EXPECT_EQ(Match("GOMAXPROCS updater (idle)", parked("runtime.updateMaxProcsGoroutine")), worker);
  EXPECT_EQ(Match("select", kSelect + Functions{"runtime.ensureSigM.func1"}), worker);
  for (const char* function : {"runtime.unique_runtime_registerUniqueMapCleanup.func1",
                               "runtime.unique_runtime_registerUniqueMapCleanup.func2"}) {
    EXPECT_EQ(Match("chan receive", kReceive + Functions{function}), worker);
  }
  EXPECT_EQ(Match("trace reader (blocked)",
                  parked("runtime.ReadTrace") + Functions{"runtime/trace.Start.func1"}),
            worker);
}

TEST(IdleRules, AFinalizerThatHangsIsNotIdle) {
  EXPECT_EQ(Match("chan receive", kReceive + Functions{"main.close", "runtime.runfinq"}), "");
  EXPECT_EQ(Match("finalizer wait", kPark + Functions{"main.close", "runtime.runfinq"}), "");
  EXPECT_EQ(Match("sync.Mutex.Lock", kLock + Functions{"main.cleanup", "runtime.runCleanups"}), "");
}

TEST(IdleRules, ASleepOfTheProgramIsNotIdle) {
  EXPECT_EQ(Match("sleep", {"runtime.gopark", "time.Sleep", "main.retry"}), "");
}

TEST(IdleRules, OnlyMainMayWaitForEver) {
  EXPECT_EQ(
      Match("select (no cases)", {"runtime.gopark", "runtime.block", "main.main", "runtime.main"}),
      "waits for ever");
  EXPECT_EQ(Match("select (no cases)", {"runtime.gopark", "runtime.block", "main.worker"}), "");
  EXPECT_EQ(Match("chan receive", kReceive + Functions{"main.main", "runtime.main"}), "");
}

TEST(IdleRules, Signals) {
  EXPECT_EQ(Match("syscall", {"runtime.notetsleepg", "os/signal.signal_recv", "os/signal.loop"}),
            "signal loop");
  EXPECT_EQ(Match("select", kSelect + Functions{"os/signal.NotifyContext.func1"}), "signal loop");
  EXPECT_EQ(Match("chan send", {"runtime.gopark", "os/signal.process", "os/signal.loop"}), "");
  EXPECT_EQ(Match("chan receive", kReceive + Functions{"main.waitForSignal"}), "");
}

TEST(IdleRules, AcceptLoops) {
  const Functions tcp = {"net.(*netFD).accept", "net.(*TCPListener).accept",
                         "net.(*TCPListener).Accept"};
  const Functions unix_socket = {"net.(*netFD).accept", "net.(*UnixListener).accept",
                                 "net.(*UnixListener).Accept"};
  const Functions serve = {"net/http.(*Server).Serve", "main.main.func1"};
  const Functions accept = {"internal/poll.(*FD).Accept"};
  EXPECT_EQ(Match("IO wait", kPoll + accept + tcp + serve), "accept loop");
  EXPECT_EQ(Match("IO wait", kPoll + accept + unix_socket + Functions{"main.loop"}), "accept loop");
  EXPECT_EQ(
      Match("IO wait", kPoll + accept + tcp + Functions{"crypto/tls.(*listener).Accept"} + serve),
      "accept loop");
  // A stack whose root was not reached: what it waits for is known all the same.
  EXPECT_EQ(Match("IO wait", kPoll + accept + tcp, false), "accept loop");

  EXPECT_EQ(Match("sync.Mutex.Lock",
                  kLock + Functions{"main.(*limited).Accept", "net/http.(*Server).Serve"}),
            "");
  EXPECT_EQ(Match("sync.Mutex.Lock", kLock + accept + tcp + serve), "") << "a lock below Accept";
  EXPECT_EQ(Match("semacquire",
                  Functions{"runtime.gopark", "runtime.semacquire1",
                            "internal/poll.(*fdMutex).rwlock", "internal/poll.(*FD).readLock"} +
                      accept + tcp),
            "");
  EXPECT_EQ(
      Match("select", kSelect + Functions{"golang.org/x/net/netutil.(*limitListener).acquire",
                                          "golang.org/x/net/netutil.(*limitListener).Accept"}),
      "")
      << "as many connections as the limit allows";
  // The loop serves its connection by itself, which does not answer.
  EXPECT_EQ(Match("IO wait", kNetRead + Functions{"main.serveOne", "main.acceptLoop"}), "");
  EXPECT_EQ(Match("IO wait", kPoll + Functions{"main.(*FD).Accept"} + tcp), "");
}

TEST(IdleRules, ServersThatWaitForARequest) {
  const std::string name = "server waits for a request";
  const Functions next = {"bufio.(*Reader).Peek", "net/http.(*conn).serve"};
  const Functions first = {"bufio.(*Reader).ReadSlice",
                           "bufio.(*Reader).ReadLine",
                           "net/textproto.(*Reader).readLineSlice",
                           "net/textproto.(*Reader).ReadLine",
                           "net/http.readRequest",
                           "net/http.(*conn).readRequest",
                           "net/http.(*conn).serve"};
  Functions first_127 = first;
  first_127[4] = "net/http.readRequestLimit";
  for (const Functions& read : {kNetRead, kTlsRead, kNetRead + Functions{"main.counted.Read"}}) {
    EXPECT_EQ(Match("IO wait", read + kServerRead + next), name);
    EXPECT_EQ(Match("IO wait", read + kServerRead + first), name);
    EXPECT_EQ(Match("IO wait", read + kServerRead + first_127), name);
    EXPECT_EQ(Match("IO wait", read + kServerRead +
                                   Functions{"bufio.(*Reader).Peek", "net/http.(*conn).readRequest",
                                             "net/http.(*conn).serve"}),
              name);
    EXPECT_EQ(Match("IO wait", read + Functions{"net/http.(*connReader).backgroundRead"}),
              "server watches a client");
  }
}

TEST(IdleRules, ServersThatWaitForMoreThanARequest) {
  const Functions handler = {"main.handle", "net/http.HandlerFunc.ServeHTTP",
                             "net/http.serverHandler.ServeHTTP", "net/http.(*conn).serve"};
  // Its own read, of another connection or of a file.
  EXPECT_EQ(Match("IO wait", kNetRead + handler), "");
  EXPECT_EQ(Match("IO wait",
                  kNetRead + Functions{"bufio.(*Reader).fill", "bufio.(*Reader).Peek"} + handler),
            "");
  // The request's body.
  EXPECT_EQ(Match("IO wait", kNetRead + kServerRead +
                                 Functions{"bufio.(*Reader).Read", "io.(*LimitedReader).Read",
                                           "net/http.(*body).readLocked", "net/http.(*body).Read",
                                           "io.ReadAll"} +
                                 handler),
            "");
  // A hijacked connection, read by the handler through the server's own buffer.
  EXPECT_EQ(Match("IO wait", kNetRead + kServerRead + Functions{"bufio.(*Reader).Peek"} + handler),
            "");
  // What is left of a body after the handler.
  EXPECT_EQ(Match("IO wait",
                  kNetRead + kServerRead +
                      Functions{"bufio.(*Reader).Read", "net/http.(*body).Close",
                                "net/http.(*response).finishRequest", "net/http.(*conn).serve"}),
            "");
  // A request of which a part came.
  EXPECT_EQ(Match("IO wait",
                  kNetRead + kServerRead +
                      Functions{"bufio.(*Reader).ReadSlice", "bufio.(*Reader).ReadLine",
                                "net/textproto.(*Reader).readLineSlice",
                                "net/textproto.(*Reader).readContinuedLineSlice",
                                "net/textproto.readMIMEHeader",
                                "net/textproto.(*Reader).ReadMIMEHeader", "net/http.readRequest",
                                "net/http.(*conn).readRequest", "net/http.(*conn).serve"}),
            "");
  // A TLS handshake.
  EXPECT_EQ(
      Match("IO wait",
            kNetRead +
                Functions{"crypto/tls.(*atLeastReader).Read", "crypto/tls.(*Conn).readRecordOrCCS",
                          "crypto/tls.(*Conn).readHandshake", "crypto/tls.(*Conn).serverHandshake",
                          "crypto/tls.(*Conn).handshakeContext", "net/http.(*conn).serve"}),
      "");
  // A lock in a wrapped connection, and one that the background read waits for.
  EXPECT_EQ(
      Match("sync.Mutex.Lock", kLock + Functions{"main.counted.Read"} + kServerRead +
                                   Functions{"bufio.(*Reader).Peek", "net/http.(*conn).serve"}),
      "");
  EXPECT_EQ(Match("sync.Mutex.Lock", kLock + Functions{"net/http.(*connReader).lock",
                                                       "net/http.(*connReader).backgroundRead"}),
            "");
  // The end of that wait.
  EXPECT_EQ(Match("sync.Cond.Wait",
                  {"runtime.gopark", "sync.runtime_notifyListWait", "sync.(*Cond).Wait",
                   "net/http.(*connReader).abortPendingRead", "net/http.(*conn).serve"}),
            "");
}

TEST(IdleRules, ClientConnections) {
  const Functions peek = {"net/http.(*persistConn).Read", "bufio.(*Reader).fill",
                          "bufio.(*Reader).Peek", "net/http.(*persistConn).readLoop"};
  EXPECT_EQ(Match("IO wait", kNetRead + peek), "client connection");
  EXPECT_EQ(Match("IO wait", kTlsRead + peek), "client connection");
  EXPECT_EQ(Match("select", kSelect + Functions{"net/http.(*persistConn).writeLoop"}),
            "client connection");

  EXPECT_EQ(Match("select", kSelect + Functions{"net/http.(*persistConn).readLoop"}), "")
      << "a body that nobody closes";
  EXPECT_EQ(Match("select", kSelect + Functions{"net/http.(*persistConn).roundTrip",
                                                "net/http.(*Transport).roundTrip"}),
            "");
  EXPECT_EQ(Match("IO wait", kPoll + Functions{"internal/poll.(*FD).Write", "net.(*netFD).Write",
                                               "net/http.persistConnWriter.Write",
                                               "net/http.(*persistConn).writeLoop"}),
            "");
  EXPECT_EQ(Match("IO wait", kNetRead + Functions{"net/http.(*persistConn).Read",
                                                  "bufio.(*Reader).fill", "bufio.(*Reader).Peek",
                                                  "net/http.(*persistConn).readResponse",
                                                  "net/http.(*persistConn).readLoop"}),
            "");
  EXPECT_EQ(Match("IO wait", kNetRead + peek, false), "") << "its root was not reached";
  EXPECT_EQ(Match("IO wait", kNetRead + peek + Functions{"main.ownLoop"}), "");
}

TEST(IdleRules, Http2) {
  struct Names {
    std::string_view header, frame, server_frames, server, client, client_loop;
  };
  const Names all[] = {
      {"net/http.http2readFrameHeader", "net/http.(*http2Framer).ReadFrame",
       "net/http.(*http2serverConn).readFrames", "net/http.(*http2serverConn).serve",
       "net/http.(*http2clientConnReadLoop).run", "net/http.(*http2ClientConn).readLoop"},
      {"golang.org/x/net/http2.readFrameHeader", "golang.org/x/net/http2.(*Framer).ReadFrame",
       "golang.org/x/net/http2.(*serverConn).readFrames",
       "golang.org/x/net/http2.(*serverConn).serve",
       "golang.org/x/net/http2.(*clientConnReadLoop).run",
       "golang.org/x/net/http2.(*ClientConn).readLoop"},
      {"net/http/internal/http2.readFrameHeader", "net/http/internal/http2.(*Framer).ReadFrame",
       "net/http/internal/http2.(*serverConn).readFrames",
       "net/http/internal/http2.(*serverConn).serve",
       "net/http/internal/http2.(*clientConnReadLoop).run",
       "net/http/internal/http2.(*ClientConn).readLoop"},
  };
  const Functions read_full = {"bufio.(*Reader).Read", "io.ReadAtLeast", "io.ReadFull"};
  const std::string name = "HTTP/2 connection";
  for (const Names& n : all) {
    EXPECT_EQ(
        Match("IO wait", kTlsRead + read_full + Functions{n.header, n.frame, n.server_frames}),
        name);
    EXPECT_EQ(Match("IO wait",
                    kTlsRead + read_full + Functions{n.header, n.frame, n.client, n.client_loop}),
              name);
    EXPECT_EQ(Match("select", kSelect + Functions{n.server, "net/http.(*conn).serve"}), name);
    // The rest of a frame that came in part; one that nobody takes; a handler.
    EXPECT_EQ(Match("IO wait", kTlsRead + read_full + Functions{n.frame, n.server_frames}), "");
    EXPECT_EQ(Match("select", kSelect + Functions{n.server_frames}), "");
    EXPECT_EQ(Match("select", kSelect + Functions{"main.handle", n.server}), "");
    EXPECT_EQ(Match("sync.Mutex.Lock", kLock + Functions{n.server}), "");
  }
}

TEST(IdleRules, Grpc) {
  const std::string transport = "google.golang.org/grpc/internal/transport.";
  const std::string server = transport + "(*http2Server).HandleStreams";
  const std::string client = transport + "(*http2Client).reader";
  const std::string own_frame = transport + "(*framer).readFrame";
  const Functions header = {"bufio.(*Reader).Read", "io.ReadAtLeast", "io.ReadFull",
                            "golang.org/x/net/http2.readFrameHeader"};
  const std::string name = "gRPC connection";
  for (const std::string& reader : {server, client}) {
    for (const Functions& frame :
         {Functions{"golang.org/x/net/http2.(*Framer).ReadFrame"},
          Functions{"golang.org/x/net/http2.(*Framer).ReadFrameHeader",
                    "golang.org/x/net/http2.(*Framer).ReadFrame"},
          Functions{"golang.org/x/net/http2.(*Framer).ReadFrameHeader", own_frame}}) {
      EXPECT_EQ(Match("IO wait", kNetRead + header + frame + Functions{reader}), name);
      EXPECT_EQ(Match("IO wait", kNetRead + header + frame + Functions{"main.f", reader}), "");
    }
  }
  const std::string get = transport + "(*controlBuffer).get";
  const std::string loopy = transport + "(*loopyWriter).run";
  const std::string new_client = transport + "NewHTTP2Client.func6";
  EXPECT_EQ(Match("select", kSelect + Functions{get, loopy, new_client}), name);
  EXPECT_EQ(Match("select", kSelect + Functions{get}), "");
  EXPECT_EQ(Match("IO wait", kPoll + Functions{"internal/poll.(*FD).Write", loopy}), "");
  for (const char* side : {"(*http2Server).keepalive", "(*http2Client).keepalive"}) {
    const std::string keepalive = transport + side;
    EXPECT_EQ(Match("select", kSelect + Functions{keepalive}), name);
    EXPECT_EQ(Match("sync.Mutex.Lock", kLock + Functions{keepalive}), "");
  }
  const std::string dormant = transport + "(*http2Client).keepalive";
  EXPECT_EQ(Match("sync.Cond.Wait", {"runtime.gopark", "runtime.goparkunlock",
                                     "sync.runtime_notifyListWait", "sync.(*Cond).Wait", dormant}),
            name);
  EXPECT_EQ(
      Match("select",
            kSelect +
                Functions{"google.golang.org/grpc/internal/grpcsync.(*CallbackSerializer).run"}),
      "gRPC worker");
  EXPECT_EQ(
      Match("chan receive", kReceive + Functions{"google.golang.org/grpc.(*Server).serverWorker"}),
      "gRPC worker");
  EXPECT_EQ(
      Match("chan receive", kReceive + Functions{"main.(*api).Get",
                                                 "google.golang.org/grpc.(*Server).serverWorker"}),
      "");
}

TEST(IdleRules, Databases) {
  for (const char* function :
       {"database/sql.(*DB).connectionOpener", "database/sql.(*DB).connectionCleaner",
        "github.com/go-sql-driver/mysql.(*mysqlConn).startWatcher.func1"}) {
    EXPECT_EQ(Match("select", kSelect + Functions{function}), "database worker");
    EXPECT_EQ(Match("sync.Mutex.Lock", kLock + Functions{function}), "");
  }
  EXPECT_EQ(Match("IO wait", kNetRead + Functions{"database/sql.(*DB).openNewConnection",
                                                  "database/sql.(*DB).connectionOpener"}),
            "");
  EXPECT_EQ(Match("chan receive", kReceive + Functions{"database/sql.(*Tx).awaitDone"}), "");
  EXPECT_EQ(Match("select", kSelect + Functions{"database/sql.(*DB).conn", "main.query"}), "")
      << "a connection from a pool that has none left";
}

TEST(IdleRules, TimedLoopsKnownByName) {
  for (const char* function :
       {"go.opencensus.io/stats/view.(*worker).start",
        "go.opentelemetry.io/otel/sdk/trace.(*batchSpanProcessor).processQueue",
        "github.com/golang/glog.(*fileSink).flushDaemon",
        "k8s.io/klog/v2.(*flushDaemon).run.func1"}) {
    EXPECT_EQ(Match("select", kSelect + Functions{function}), "timed loop");
    EXPECT_EQ(Match("select", kSelect + Functions{"main.callback", function}), "");
  }
  for (const char* function :
       {"github.com/golang/glog.(*loggingT).flushDaemon", "k8s.io/klog/v2.(*loggingT).flushDaemon",
        "gopkg.in/natefinch/lumberjack.v2.(*Logger).millRun"}) {
    EXPECT_EQ(Match("chan receive", kReceive + Functions{function}), "timed loop");
  }
  EXPECT_EQ(Match("select", kSelect + Functions{"main.tickerLoop"}), "");
  EXPECT_EQ(Match("chan receive", kReceive + Functions{"main.tickerLoop"}), "");
}

// --- The language.

std::string MatchOne(std::string_view rule, const Functions& functions, bool whole = true) {
  const auto rules = IdleRules::Parse(rule);
  EXPECT_TRUE(rules.ok()) << rules.status();
  return std::string(rules->Match("r", functions, whole));
}

TEST(IdleRules, StepsAndGaps) {
  EXPECT_EQ(MatchOne("n: [r] a < b", {"a", "b", "c"}), "n");
  EXPECT_EQ(MatchOne("n: [r] a < b", {"a", "x", "b"}), "");
  EXPECT_EQ(MatchOne("n: [r] a << b", {"a", "b"}), "n");
  EXPECT_EQ(MatchOne("n: [r] a << b", {"a", "x", "y", "b", "c"}), "n");
  EXPECT_EQ(MatchOne("n: [r] a << b", {"b", "a"}), "");
  // The first b is not the one; widening the gap finds the next.
  EXPECT_EQ(MatchOne("n: [r] a << b < c", {"a", "b", "b", "x", "b", "c"}), "n");
  EXPECT_EQ(MatchOne("n: [r] a << b < c << d < go", {"a", "b", "b", "c", "d", "d"}), "n");
  EXPECT_EQ(MatchOne("n: [r] a << b < c << d < go", {"a", "b", "b", "c", "d", "e"}), "");
  EXPECT_EQ(MatchOne("n: [r] a", {"runtime.x", "internal/poll.y", "internal/runtime/z.z", "a"}),
            "n");
  EXPECT_EQ(MatchOne("n: [r] a", {"main.x", "a"}), "");
  EXPECT_EQ(MatchOne("n: [r] a", {"runtimex.x", "a"}), "");
  EXPECT_EQ(MatchOne("n: [r] runtime.a < b", {"runtime.a", "runtime.a", "b"}), "n");
  EXPECT_EQ(MatchOne("n: [r] a", {}), "");
  EXPECT_EQ(MatchOne("n: [q] a", {"a"}), "");
}

TEST(IdleRules, GoIsTheEndOfAWholeStack) {
  EXPECT_EQ(MatchOne("n: [r] a < go", {"a"}), "n");
  EXPECT_EQ(MatchOne("n: [r] a < go", {"a", "runtime.goexit"}), "n");
  EXPECT_EQ(MatchOne("n: [r] a < go", {"a"}, false), "");
  EXPECT_EQ(MatchOne("n: [r] a < go", {"a", "b"}), "");
  EXPECT_EQ(MatchOne("n: [r] a < go", {"a", "b", "runtime.goexit"}), "");
  EXPECT_EQ(MatchOne("n: [r] a", {"a", "b"}, false), "n");
}

TEST(IdleRules, TheFirstRuleThatMatchesNamesIt) {
  const auto rules = IdleRules::Parse("one: [r] a\n# a comment\n\n  two: [r] a < b\n");
  ASSERT_TRUE(rules.ok());
  EXPECT_EQ(rules->size(), 2u);
  EXPECT_EQ(rules->Match("r", {"a", "b"}, true), "one");
}

TEST(IdleRules, WhatIsNoRuleIsRefusedByItsLine) {
  for (const char* line :
       {"no reason", "n: []", "n: [r]", "n: [r] ", ": [r] a", "n: [r] a <", "n: [r] < a",
        "n: [r] a b", "n: [r] go", "n: [r] a << go", "n: [r] a < go < b", "n: [] a"}) {
    const auto rules = IdleRules::Parse(std::string("ok: [r] a\n") + line + "\n");
    ASSERT_FALSE(rules.ok()) << line;
    EXPECT_THAT(std::string(rules.status().message()), HasSubstr("line 2: "));
  }
}

// A stack as long as they get, made to be tried at each place.
TEST(IdleRules, LongStacksTakeNoLongTime) {
  Functions functions(100'000, "a");
  functions.push_back("c");
  EXPECT_EQ(MatchOne("n: [r] a << a < a < a << a < a < b", functions), "");
  EXPECT_EQ(MatchOne("n: [r] a << a < a << a < a < c", functions), "n");
}

}  // namespace
}  // namespace stallscope
