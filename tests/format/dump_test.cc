// SPDX-License-Identifier: Apache-2.0
#include "userspace/format/dump.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace stallscope {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

ProfileFrame Frame(std::string name, std::string file, uint32_t line) {
  ProfileFrame frame;
  frame.name = std::move(name);
  frame.file = std::move(file);
  frame.line = line;
  frame.kind = ProfileFrameKind::kGo;
  return frame;
}

DumpEntry Waiting(uint64_t id, std::string reason, uint32_t stack) {
  DumpEntry entry;
  entry.id = id;
  entry.state = "waiting";
  entry.reason = std::move(reason);
  entry.stack = stack;
  return entry;
}

// Two goroutines alike, one with everything, one idle, one that runs.
Dump Sample() {
  Dump dump;
  dump.tool_version = "0.1.0";
  dump.target = "42 (shop)";
  dump.go_version = "go1.26.8";
  dump.stacks = {{Frame("runtime.goexit", "asm.s", 1), Frame("main.work", "work.go", 7),
                  Frame("runtime.gopark", "proc.go", 3)},
                 {Frame("runtime.goexit", "asm.s", 1), Frame("runtime.bgsweep", "mgc.go", 9)},
                 {Frame("main.evil\x1b[31m", "a\nb.go", 5)}};
  dump.creators = {Frame("main.main", "main.go", 3)};
  DumpEntry full = Waiting(9, "IO wait", 2);
  full.at_least_ns = 300'000'000'000;
  full.locked = true;
  full.creator = 0;
  full.parent = 1;
  full.labels = {{"handler", "/orders"}};
  full.peer = "10.0.0.5:443";
  DumpEntry idle = Waiting(3, "GC sweep wait", 1);
  idle.idle = "runtime worker";
  DumpEntry running;
  running.id = 11;
  running.state = "running";
  running.no_stack = "it runs";
  dump.entries = {idle, Waiting(7, "chan receive", 0), Waiting(8, "chan receive", 0), full,
                  running};
  return dump;
}

TEST(DumpText, EqualOnesAreAGroup) {
  const std::string text = DumpText(Sample(), {});
  EXPECT_THAT(text, HasSubstr("42 (shop), go1.26.8: 5 goroutines: 1 running, 4 waiting"));
  EXPECT_THAT(text, HasSubstr("2 goroutines [chan receive]  (id 7, 8)\n  main.work\n"));
  EXPECT_THAT(text,
              HasSubstr("1 goroutine [IO wait 10.0.0.5:443, locked to thread], for >= 5 min"));
  EXPECT_THAT(text, HasSubstr("created by main.main in goroutine 1\n      main.go:3\n"));
  EXPECT_THAT(text, HasSubstr("labels: handler=/orders\n"));
  EXPECT_THAT(text, HasSubstr("(no stack: it runs)"));
  EXPECT_LT(text.find("chan receive"), text.find("IO wait")) << "the largest group first";
}

TEST(DumpText, WhatIsIdleIsOneLine) {
  const std::string text = DumpText(Sample(), {});
  EXPECT_THAT(text, Not(HasSubstr("bgsweep")));
  EXPECT_THAT(text, HasSubstr("idle by design, hidden: 1 (1 runtime worker)"));
  const std::string all = DumpText(Sample(), {.idle = true});
  EXPECT_THAT(all, HasSubstr("bgsweep")) << "a stack of the runtime alone is shown";
  EXPECT_THAT(all, Not(HasSubstr("hidden")));
}

TEST(DumpText, FramesOfTheRuntimeAreLeftOutAsGoDoes) {
  const std::string text = DumpText(Sample(), {});
  EXPECT_THAT(text, Not(HasSubstr("gopark")));
  EXPECT_THAT(text, Not(HasSubstr("goexit")));
}

TEST(DumpText, EachByItself) {
  const std::string text = DumpText(Sample(), {.all = true});
  EXPECT_THAT(text, HasSubstr("goroutine 7 [chan receive]:\nmain.work\n    work.go:7\n"));
  EXPECT_THAT(text, HasSubstr("goroutine 8 [chan receive]:\nmain.work\n"));
}

TEST(DumpText, NamesCannotSteerATerminal) {
  const std::string text = DumpText(Sample(), {});
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_THAT(text, HasSubstr("a b.go:5"));
}

TEST(DumpJson, HasEverythingOfEveryOne) {
  const auto json = nlohmann::json::parse(DumpJson(Sample()));
  ASSERT_EQ(json["goroutines"].size(), 5u);
  const auto& full = json["goroutines"][3];
  EXPECT_EQ(full["id"], 9);
  EXPECT_EQ(full["at_least_ns"], 300'000'000'000);
  EXPECT_EQ(full["locked_to_thread"], true);
  EXPECT_EQ(full["peer"], "10.0.0.5:443");
  EXPECT_EQ(full["labels"]["handler"], "/orders");
  EXPECT_EQ(full["created_by"]["name"], "main.main");
  EXPECT_EQ(full["created_by"]["parent"], 1);
  EXPECT_EQ(full["frames"][0]["name"], "main.evil\x1b[31m");
  const auto& plain = json["goroutines"][1];
  EXPECT_EQ(plain["frames"][0]["name"], "runtime.goexit") << "root first, nothing left out";
  EXPECT_EQ(plain["frames"].size(), 3u);
  EXPECT_TRUE(plain["created_by"].is_null());
  EXPECT_TRUE(plain["at_least_ns"].is_null());
  EXPECT_EQ(json["goroutines"][0]["idle"], "runtime worker");
  EXPECT_EQ(json["goroutines"][4]["no_stack"], "it runs");
}

TEST(DumpJson, ThreadsHaveNames) {
  Dump dump = Sample();
  dump.go_version.clear();
  dump.entries.resize(1);
  dump.entries[0].name = "worker-\xff";
  const auto json = nlohmann::json::parse(DumpJson(dump));
  EXPECT_TRUE(json["go_version"].is_null());
  EXPECT_EQ(json["threads"][0]["name"], "worker-\xef\xbf\xbd");
  EXPECT_THAT(DumpText(dump, {.idle = true}), HasSubstr(": 1 thread: "));
}

}  // namespace
}  // namespace stallscope
