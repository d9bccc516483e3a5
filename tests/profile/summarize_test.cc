// SPDX-License-Identifier: Apache-2.0
#include "userspace/profile/summarize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

namespace stallscope {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

ProfileFrame Frame(std::string name, ProfileFrameKind kind) {
  ProfileFrame frame;
  frame.name = std::move(name);
  frame.kind = kind;
  frame.unnamed = frame.name[0] == '[' && kind != ProfileFrameKind::kMarker;
  return frame;
}

constexpr auto kGo = ProfileFrameKind::kGo;

ProfileSample Sample(std::string reason, std::vector<uint32_t> frames,
                     std::vector<std::optional<int64_t>> values) {
  ProfileSample sample;
  sample.comm = "server";
  sample.reason = std::move(reason);
  sample.frames = std::move(frames);
  sample.values = std::move(values);
  return sample;
}

Profile ServerProfile() {
  Profile profile;
  profile.target = "-p 100 (server)";
  profile.duration_ns = 10'000'000'000;
  profile.frames = {Frame("main.hot", kGo), Frame("main.cold", kGo), Frame("main.read", kGo)};
  EventProfile event;
  event.name = "offcpu";
  event.mechanism = "tp_btf sched_switch";
  event.columns = {{"time", "ns"}, {"runq", "ns"}, {"count", "count"}};
  event.samples = {Sample("idle M", {}, {90'000'000'000, 0, 1000}),
                   Sample("futex", {0}, {3'000'000'000, 0, 30}),
                   Sample("futex", {1}, {1'000'000'000, 0, 10}),
                   Sample("pipe", {2}, {5'000'000'000, std::nullopt, 5}),
                   Sample("sleep", {}, {500'000'000, 0, 5}),
                   Sample("disk", {2}, {500'000'000, 0, std::nullopt})};
  profile.events = {event};
  return profile;
}

TEST(Summarize, TotalsAddUp) {
  Profile profile = ServerProfile();
  profile.hidden = {{"offcpu", "-X x", 50, 7}, {"other", "-X x", 1, 1}};
  profile.losses = {{"offcpu", "stack map full", 1100, 5, "", true},
                    {"offcpu", "stack unreadable", 9, std::nullopt, "", false}};
  const EventSummary event = Summarize(profile).events.at(0);
  EXPECT_EQ(event.time_ns, 100'000'000'000u);
  EXPECT_EQ(event.count, 1050u);
  EXPECT_EQ(event.hidden_count, 50u);
  EXPECT_EQ(event.hidden_time_ns, 7u);
  EXPECT_DOUBLE_EQ(event.DroppedShare(), 0.5);
}

TEST(Summarize, TheHeaviestReasonsLeaveGosOwnThreadsOut) {
  const Summary summary = Summarize(ServerProfile());
  ASSERT_EQ(summary.heaviest.size(), 3u);
  EXPECT_EQ(summary.heaviest[0].reason, "pipe");
  EXPECT_EQ(summary.heaviest[0].site, "main.read");
  EXPECT_DOUBLE_EQ(summary.heaviest[0].share, 0.5);
  EXPECT_EQ(summary.heaviest[1].reason, "futex");
  EXPECT_EQ(summary.heaviest[1].site, "main.hot");
  EXPECT_DOUBLE_EQ(summary.heaviest[1].site_share, 0.75);
  EXPECT_EQ(summary.go_scheduler_time_ns, 90'000'000'000u);
}

// The rules of a screen: 80 columns (twice that for a warning), some 24 rows, nothing that steers a
// terminal.
void ExpectFitsScreen(const std::string& text, int rows = 24) {
  std::istringstream lines(text);
  std::string line;
  int count = 0;
  while (std::getline(lines, line)) {
    EXPECT_LE(line.size(), line.rfind("WARNING", 0) == 0 ? 160u : 80u) << line;
    ++count;
  }
  EXPECT_LE(count, rows);
  EXPECT_TRUE(std::all_of(text.begin(), text.end(),
                          [](char c) { return c == '\n' || (c >= 0x20 && c < 0x7f); }));
}

TEST(FormatSummary, SaysWhatItMust) {
  Profile profile = ServerProfile();
  profile.stack_counts.stacks = 200;
  profile.stack_counts.user_frames = 1000;
  profile.stack_counts.user_unnamed = 4;
  profile.stack_counts.user_guessed = 250;
  profile.stack_counts.ended_early = {{StackEnd::kUnreadable, 12}};
  profile.cost = {120'000'000, 30'000'000, 1000, 24u << 20, 45u << 20};
  profile.notes = {"pid 100 became another program"};
  SummaryOptions options;
  options.files = {"x.html"};
  options.next = "stallscope convert x.raw -o x.json";
  const std::string text = FormatSummary(profile, options);
  ExpectFitsScreen(text);
  for (const char* part :
       {"target   server (pid 100), 10.00 s\n", "offcpu   100.00 s in 1,050 waits, 6 stacks\n",
        "         by tp_btf sched_switch\n", "lost     nothing",
        "unnamed 0.4% of 1,000 user frames", "guessed 25.0%",
        "12 of 200 distinct ones end early: unreadable 12",
        "CPU 120.0 ms, kernel programs 30.0 ms; maps 24.0 MB, RSS 45.0 MB", "[pipe]   main.read",
        "[futex]  main.hot (75%)", "90.00 s of Go's own threads", "pid 100 became another program",
        "wrote    x.html", "next     stallscope convert x.raw -o x.json"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  EXPECT_THAT(text, Not(HasSubstr("WARNING")));
}

// Names may be cut, the words that say what went wrong may not.
TEST(FormatSummary, WrapsWhyStacksEndEarly) {
  Profile profile = ServerProfile();
  profile.stack_counts.stacks = 200;
  profile.stack_counts.ended_early = {{StackEnd::kFull, 1},
                                      {StackEnd::kUnreadable, 2},
                                      {StackEnd::kLeftStack, 3},
                                      {StackEnd::kNotACall, 4}};
  const std::string text = FormatSummary(profile, {});
  ExpectFitsScreen(text);
  EXPECT_THAT(text, HasSubstr("stacks   10 of 200 distinct ones end early: too deep 1, "));
  for (const char* why :
       {"too deep 1,", "unreadable 2,", "left the stack 3,", "not after a call 4\n"}) {
    EXPECT_THAT(text, HasSubstr(why));
  }
}

TEST(FormatSummary, WarnsOfLossWithItsRemedy) {
  Profile profile = ServerProfile();
  profile.losses = {{"offcpu", "stack map full", 1050, 5, "--stacks 65536", true}};
  profile.stack_counts.native_stacks = 10;
  profile.stack_counts.native_shallow = 6;
  const std::string text = FormatSummary(profile, {});
  EXPECT_THAT(text, HasSubstr("WARNING 50.0% of switches lost (map full): 1,050 waits"));
  EXPECT_THAT(text, HasSubstr("try --stacks 65536"));
  EXPECT_THAT(text, HasSubstr("one or two frames deep: built without frame pointers?"));
  profile.cost.kernel_ns = std::nullopt;
  EXPECT_THAT(FormatSummary(profile, {}), HasSubstr("kernel programs not measured"));
}

// A loss that cannot move any number is said plainly; the largest ones come first.
TEST(FormatSummary, WarnsFromATenthOfAPercentOn) {
  Profile profile = ServerProfile();
  profile.events[0].samples[0].values[2] = 99'999;
  profile.losses = {{"offcpu", "start unknown", 1, 66'900, "", false}};
  EXPECT_THAT(FormatSummary(profile, {}),
              HasSubstr("\nlost     start unknown (<0.1% of switches): 1 wait, 66.9 us\n"));
  profile.losses = {{"offcpu", "a", 1, 1, "", false},
                    {"offcpu", "b", 2, 1, "", false},
                    {"offcpu", "c", 3, 1, "", false},
                    {"offcpu", "stack map full", 101, 1, "--stacks 65536", true}};
  const std::string text = FormatSummary(profile, {});
  EXPECT_THAT(text, HasSubstr("\nWARNING 0.1% of switches lost (map full): 101 waits"));
  EXPECT_THAT(text, HasSubstr("lost     c ("));
  EXPECT_THAT(text, Not(HasSubstr(" a (")));
  EXPECT_THAT(text, HasSubstr("and 1 more, smaller"));
}

TEST(FormatSummary, NamesTheTarget) {
  const auto target = [](std::string target) {
    Profile profile;
    profile.target = std::move(target);
    profile.duration_ns = 1'000'000'000;
    const std::string text = FormatSummary(profile, {});
    return text.substr(0, text.find('\n'));
  };
  EXPECT_EQ(target("-p 7 (a (b))"), "target   a (b) (pid 7), 1.00 s");
  EXPECT_EQ(target("-p 7 (a), 8 (b)"), "target   7 (a), 8 (b), 1.00 s");
  EXPECT_EQ(target("-p 7"), "target   -p 7, 1.00 s");
  EXPECT_EQ(target("-p ("), "target   -p (, 1.00 s");
  EXPECT_EQ(target("-p )"), "target   ), 1.00 s");
  EXPECT_EQ(target("--comm nginx (4 processes)"), "target   --comm nginx (4 processes), 1.00 s");
  EXPECT_EQ(target("-a"), "target   every process, 1.00 s");
  EXPECT_EQ(target(""), "target   , 1.00 s");
}

TEST(FormatSummary, NamesThreadsThatWereBlockedAllTheTime) {
  Profile profile = ServerProfile();
  ProfileHungThread hung;
  hung.tid = 4711;
  hung.name = "reader";
  hung.reason = "pipe";
  hung.frames = {2};
  ProfileHungThread idle = hung;
  idle.reason = "idle M";
  idle.go_scheduler = true;
  profile.hung = {hung, idle, idle};
  const std::string text = FormatSummary(profile, {});
  EXPECT_THAT(text, HasSubstr("all the time: tid 4711 reader  [pipe]  main.read"));
  EXPECT_THAT(text, HasSubstr("2 idle threads of Go, by design"));
}

TEST(FormatSummary, NamesWhatHungUntilItsProcessEnded) {
  Profile profile;
  profile.frames = {Frame("main.read", kGo)};
  ProfileHungThread hung;
  hung.comm = "app";
  hung.pid = 9;
  hung.reason = "pipe";
  hung.frames = {0};
  ProfileHungThread other = hung;
  other.reason = "futex";
  profile.hung = {hung, hung, other};
  const std::string text = FormatSummary(profile, {});
  EXPECT_THAT(text, HasSubstr("all the time until it ended: 2 threads [pipe]  main.read\n"));
  EXPECT_THAT(text, HasSubstr("all the time until it ended: 1 thread [futex]  main.read\n"));
}

// A server of goroutines: one reason that matters, a deadlock, and much that is idle by design.
Profile GoroutineProfile() {
  Profile profile;
  profile.target = "-p 100 (server)";
  profile.duration_ns = 30'000'000'000;
  profile.frames = {Frame("main.(*Store).Put", kGo), Frame("main.fetch", kGo),
                    Frame("sync.(*Mutex).Lock", kGo), Frame("net/http.(*conn).serve", kGo),
                    Frame("[never ran]", ProfileFrameKind::kMarker)};
  profile.frames[0].file = "/src/store/store.go";
  profile.frames[0].line = 41;
  EventProfile event;
  event.name = "goroutine";
  event.mechanism = "census";
  event.columns = {{"time", "ns"}, {"count", "count"}};
  ProfileSample hung = Sample("sync.Mutex.Lock", {4, 3, 0, 2}, {90'000'000'000, 3});
  hung.never_ran = true;
  hung.own_from = 1;
  hung.labels = {{"tenant", "a"}};
  ProfileSample sleeper = Sample("sleep", {4, 1}, {30'000'000'000, 1});
  sleeper.never_ran = true;
  sleeper.own_from = 1;
  event.samples = {hung, sleeper, Sample("IO wait", {1}, {12'000'000'000, 400}),
                   Sample("chan receive", {3}, {4'000'000'000, 80})};
  profile.events = {event};
  profile.hidden = {
      {"goroutine", "idle by design: accept loop", 1, 30'000'000'000, "accept loop"},
      {"goroutine", "idle by design: runtime worker", 9, 270'000'000'000, "runtime worker"}};
  Census census;
  census.ticks = 600;
  census.period_ns = 50'000'000;
  census.share_ppm = 342'000;
  census.fewest = 812;
  census.most = 1204;
  census.tick_cpu_ns = 240'000'000;
  census.setup_cpu_ns = 210'000'000;
  census.budget_ppm = 10'000;
  census.stacks_read = 1000;
  census.torn = 2;
  census.unread = 1;
  census.reasons = {{"IO wait", 12'000'000'000, 240'000'000},
                    {"sync.Mutex.Lock", 90'000'000'000, 0}};
  profile.censuses = {{100, "server", census}};
  RuntimeHistogram latency;
  latency.name = "scheduler latency";
  latency.p50_ns = 12'000;
  latency.p99_ns = 1'200'000;
  latency.max_ns = 8'000'000;
  RuntimeHistogram mutex;
  mutex.name = "mutex wait";
  mutex.total_ns = 1'500'000'000;
  profile.histograms = {{100, "server", latency}, {100, "server", mutex}};
  return profile;
}

TEST(Summarize, WhatNeverRanStandsOutsideTheShares) {
  const Summary summary = Summarize(GoroutineProfile());
  ASSERT_EQ(summary.heaviest.size(), 2u);
  EXPECT_EQ(summary.heaviest[0].reason, "IO wait");
  EXPECT_DOUBLE_EQ(summary.heaviest[0].share, 0.75);
  EXPECT_EQ(summary.heaviest[0].margin_ns, 240'000'000u);
  EXPECT_EQ(summary.heaviest[1].margin_ns, std::nullopt);
  EXPECT_EQ(summary.events[0].never_ran_time_ns, 120'000'000'000u);
  EXPECT_EQ(summary.events[0].never_ran_count, 4u);
  ASSERT_EQ(summary.never_ran.size(), 1u) << "a sleep ends by itself";
  EXPECT_EQ(summary.never_ran[0].reason, "sync.Mutex.Lock");
  EXPECT_EQ(summary.never_ran[0].site, "main.(*Store).Put");
  EXPECT_EQ(summary.never_ran[0].count, 3u);
}

TEST(Summarize, WhatIsIdleByDesignStandsOutsideTheShares) {
  Profile profile = GoroutineProfile();
  profile.events[0].samples[0].idle = "accept loop";
  profile.events[0].samples[2].idle = "accept loop";
  const Summary summary = Summarize(profile);
  ASSERT_EQ(summary.heaviest.size(), 1u);
  EXPECT_EQ(summary.heaviest[0].reason, "chan receive");
  EXPECT_EQ(summary.idle_time_ns, 12'000'000'000u);
  EXPECT_TRUE(summary.never_ran.empty());
}

TEST(Summarize, LabelsAloneMakeNoOtherStack) {
  Profile profile = GoroutineProfile();
  ProfileSample twin = profile.events[0].samples[0];
  twin.labels = {{"tenant", "b"}};
  profile.events[0].samples.insert(profile.events[0].samples.begin(), twin);
  const Summary summary = Summarize(profile);
  EXPECT_EQ(summary.events[0].stacks, 4u);
  ASSERT_EQ(summary.never_ran.size(), 1u);
  EXPECT_EQ(summary.never_ran[0].count, 6u);
}

// Two processes: what was estimated apart has squares that add up.
TEST(Summarize, MarginsOfProcessesAddUpAsSquares) {
  Profile profile = GoroutineProfile();
  profile.censuses[0].census.reasons = {{"IO wait", 6'000'000'000, 300}};
  profile.censuses.push_back(profile.censuses[0]);
  profile.censuses[1].census.reasons[0].margin_ns = 400;
  EXPECT_EQ(Summarize(profile).heaviest[0].margin_ns, 500u);
}

TEST(FormatSummary, SaysWhatACensusMust) {
  const std::string text = FormatSummary(GoroutineProfile(), {});
  ExpectFitsScreen(text);
  for (const char* part :
       {"goroutine 136.00 s in 484 waits, 4 stacks; 120.00 s of it never ran\n",
        "census    600 snapshots at 20.0 Hz of 812..1,204 goroutines, 34.2% of them each\n",
        "CPU 0.8% of a core, budget 1.0%, set-up 210.0 ms, torn 0.2%, unread 1\n",
        "at 95%, hidden too: [sync.Mutex.Lock] 90.00 s +-0 ns,\n", "[IO wait] 12.00 s +-240.0 ms\n",
        "hidden    300.00 s in 10 waits idle by design (--idle shows them):\n",
        "runtime worker 9, accept loop 1\n", "75.0%   12.00 s  [IO wait]", "+-2.0%  main.fetch\n",
        "blocked   3 goroutines never ran: [sync.Mutex.Lock]\n"
        "            at main.(*Store).Put store.go:41\n",
        "runtime   scheduler latency p50 12.0 us p99 1.2 ms max 8.0 ms\n",
        "mutex wait 1.50 s in all\n"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
}

// What an estimate is of is said, and its range is not given to a part of it.
TEST(Summarize, ARangeIsOfTheWholeReason) {
  Profile profile = GoroutineProfile();
  profile.censuses[0].census.reasons[0].time_ns = 50'000'000'000;  // 38 s of it are hidden
  EXPECT_EQ(Summarize(profile).heaviest[0].margin_ns, std::nullopt);
  profile.hidden.clear();
  const std::string whole = FormatSummary(profile, {});
  EXPECT_THAT(whole, HasSubstr("at 95%: ["));
  profile.events[0].samples[3].idle = "accept loop";
  EXPECT_THAT(FormatSummary(profile, {}), HasSubstr("at 95%, idle too: ["));
}

// Two events: columns of both, and no figure is cut on account of a long name.
TEST(FormatSummary, NoFigureIsCut) {
  Profile profile = GoroutineProfile();
  profile.frames.push_back(Frame("github.com/some/where/internal/store.(*Client).roundTrip", kGo));
  const auto site = static_cast<uint32_t>(profile.frames.size() - 1);
  EventProfile threads;
  threads.name = "offcpu";
  threads.mechanism = "tp_btf sched_switch";
  threads.columns = {{"time", "ns"}, {"count", "count"}};
  threads.samples = {Sample("io_uring", {site}, {1'234'567'890'000, 1'000}),
                     Sample("io_uring", {1}, {234'567'890'000, 1'000})};
  profile.events[0].samples[2].frames = {site};
  profile.events[0].samples.push_back(Sample("IO wait", {1}, {1'000'000'000, 4}));
  profile.events.push_back(threads);
  const std::string text = FormatSummary(profile, {});
  ExpectFitsScreen(text, 46);
  for (const char* figure : {"1469.14 s  [io_uring]", "13.00 s  [IO wait]", "(84%)\n", "(92%)\n",
                             "137.00 s in 488 waits", "1469.14 s in 2,000 waits"}) {
    EXPECT_THAT(text, HasSubstr(figure));
  }
}

TEST(FormatSummary, ACensusOfAHostileTargetFitsTheScreen) {
  Profile profile = GoroutineProfile();
  const std::string hostile = "\x1b[2J\n\xc2\x9b;\x80" + std::string(500, 'x') + "end";
  for (ProfileFrame& frame : profile.frames) frame.name = frame.file = hostile;
  profile.target = hostile;
  for (int i = 0; i < 20; ++i) {
    const std::string name = std::to_string(i) + hostile;
    profile.censuses[0].census.reasons.push_back({name, 1, 1});
    profile.censuses.push_back({7, name, profile.censuses[0].census});
    profile.histograms.push_back(profile.histograms[0]);
    profile.histograms.back().histogram.name = name;
    profile.histograms.back().comm = name;
    profile.hidden.push_back({"goroutine", name, 1, 1, name});
    profile.hidden.push_back({"goroutine", name, 1, 1, ""});
    profile.notes.push_back(name);
    profile.losses.push_back({name, name, 5, 5, name, true});
    ProfileSample hung = profile.events[0].samples[0];
    hung.reason = "chan " + name;
    profile.events[0].samples.push_back(hung);
    ProfileHungThread thread;
    thread.name = name;
    profile.hung.push_back(thread);
  }
  ExpectFitsScreen(FormatSummary(profile, {}), 48);
}

// A hostile target and a bad night: everything at once, and every name is long and full of escapes.
TEST(FormatSummary, FitsOneScreenWhateverTheNames) {
  Profile profile = ServerProfile();
  const std::string hostile = "\x1b[2J\n\xc2\x9b;\x80" + std::string(500, 'x') + "end";
  for (ProfileFrame& frame : profile.frames) frame.name = hostile;
  profile.target = hostile;
  profile.events[0].mechanism = hostile;
  for (ProfileSample& sample : profile.events[0].samples) sample.reason = hostile + sample.reason;
  for (int i = 0; i < 20; ++i) {
    profile.notes.push_back(hostile);
    profile.losses.push_back({hostile, hostile, 5, 5, hostile, true});
    ProfileHungThread hung;
    hung.name = hostile;
    hung.reason = hostile;
    profile.hung.push_back(hung);
  }
  profile.hidden = {{"offcpu", hostile, 1, 1}};
  ExpectFitsScreen(FormatSummary(profile, {}), 28);
}

TEST(FormatSummary, AnEmptyProfileIsSaid) {
  const std::string text = FormatSummary(Profile(), {});
  ExpectFitsScreen(text);
  EXPECT_THAT(text, HasSubstr("nothing waited"));
}

}  // namespace
}  // namespace stallscope
