// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>

#include "tests/format/demo_profile.h"
#include "tests/format/many.h"
#include "userspace/format/format.h"
#include "userspace/format/text.h"

namespace stallscope {
namespace {

nlohmann::json Parse(const std::string& text) {
  return nlohmann::json::parse(text, nullptr, false);
}

constexpr char kGolden[] = R"json({"version":"0.1.0",
"target":"-p 7 (app)",
"start_unix_ns":11,
"duration_ns":22,
"events":{
"offcpu":{"mechanism":"tp_btf sched_switch","columns":[{"name":"time","unit":"ns"},{"name":"count","unit":"count"}],"samples":[
{"values":[5,null],"reason":"pipe","labels":{"comm":"app","pid":"4242"},"frames":[{"name":"main.f","file":"/m.go","line":3,"kind":"go","inlined":true},{"name":"read","file":null,"line":null,"kind":"native","guessed":true},{"name":"schedule","file":null,"line":null,"kind":"kernel"},{"name":"[stack lost]","file":null,"line":null,"kind":"marker"}]}]}},
"losses":[{"event":"offcpu","name":"stack map full","count":3,"time_ns":null,"dropped":false,"remedy":"--stacks 65536"}],
"hidden":[{"event":"offcpu","why":"--max","count":1,"time_ns":2}],
"totals":[{"pid":4242,"comm":"app","running_ns":1,"runnable_ns":2,"blocked_ns":3,"unknown_ns":4,"switches":5}],
"hung":[
{"comm":"app","pid":4242,"tid":4250,"name":"reader","reason":"pipe","go_scheduler":false,"frames":[{"name":"main.f","file":"/m.go","line":3,"kind":"go","inlined":true}]}],
"censuses":[],
"runtime":[],
"notes":["a note"],
"cost":{"own_cpu_ns":1,"kernel_ns":null,"kernel_runs":2,"map_bytes":3,"rss_bytes":4}}
)json";

TEST(Json, Golden) {
  ProfileBuilder b;
  b.profile.tool_version = "0.1.0";
  b.profile.target = "-p 7 (app)";
  b.profile.start_unix_ns = 11;
  b.profile.duration_ns = 22;
  b.Event("offcpu", {{"time", "ns"}, {"count", "count"}});
  b.profile.events[0].mechanism = "tp_btf sched_switch";
  b.Sample("app", {"go:main.f@/m.go:3", "native:read", "kernel:schedule", "marker:[stack lost]"},
           "pipe", {5, std::nullopt});
  b.profile.frames[0].inlined = true;
  b.profile.frames[1].guessed = true;
  b.profile.losses = {{"offcpu", "stack map full", 3, std::nullopt, "--stacks 65536", false}};
  b.profile.hidden = {{"offcpu", "--max", 1, 2}};
  b.profile.totals = {{4242, "app", 1, 2, 3, 4, 5}};
  b.profile.hung = {{"app", 4242, 4250, "reader", "pipe", {0}, false}};
  b.profile.notes = {"a note"};
  b.profile.cost = {1, std::nullopt, 2, 3, 4};
  EXPECT_EQ(Json(b.profile), kGolden);
}

TEST(Json, EmptyProfileIsWhole) {
  const nlohmann::json json = Parse(Json(Profile{}));
  ASSERT_TRUE(json.is_object());
  EXPECT_TRUE(json["events"].is_object());
  EXPECT_TRUE(json["losses"].is_array());
  EXPECT_TRUE(json["cost"]["kernel_ns"].is_null());
}

TEST(Json, ServiceProfile) {
  const nlohmann::json json = Parse(Json(ServiceProfile()));
  ASSERT_TRUE(json.is_object());
  EXPECT_EQ(json["events"].size(), 2u);
  const nlohmann::json& sample = json["events"]["goroutine"]["samples"][0];
  EXPECT_EQ(sample["frames"][0]["name"], "net/http.(*conn).serve") << "root first";
  EXPECT_EQ(sample["frames"][0]["line"], 1995);
  EXPECT_FALSE(sample["frames"][0].contains("guessed"));
  EXPECT_EQ(sample["values"], nlohmann::json({31'200'000'000, 1911}));
  EXPECT_EQ(sample["frames"].back()["kind"], "runtime");
}

TEST(Json, HostileNames) {
  const std::string text = Json(HostileProfile());
  const nlohmann::json json = Parse(text);
  ASSERT_TRUE(json.is_object());
  const nlohmann::json& sample = json["events"]["offcpu"]["samples"][0];
  EXPECT_EQ(sample["labels"]["comm"], "a;b c\n<b>");
  EXPECT_EQ(sample["frames"][2]["name"], "line\nbreak\x01\x7f") << "kept as it is";
  EXPECT_EQ(sample["frames"][3]["name"], "\xef\xbf\xbd\xef\xbf\xbd bytes \xef\xbf\xbd");
  EXPECT_EQ(sample["frames"].back()["name"].get<std::string>().size(), kMaxNameBytes + 3);
  EXPECT_EQ(json["events"]["offcpu"]["samples"][1]["reason"], "");
}

TEST(Json, DamagedSample) {
  ProfileBuilder b;
  b.Event("offcpu", {{"time", "ns"}, {"count", "count"}});
  b.Sample("a", {"go:x"}, "futex", {1});
  b.profile.events[0].samples[0].frames[0] = 77;
  const nlohmann::json json = Parse(Json(b.profile));
  ASSERT_TRUE(json.is_object());
  const nlohmann::json& sample = json["events"]["offcpu"]["samples"][0];
  EXPECT_EQ(sample["frames"][0]["name"], "[unknown]");
  EXPECT_EQ(sample["values"], nlohmann::json({1, nullptr}));
}

TEST(Json, ManyStacks) {
  const Profile profile = ManyStacksProfile(kManyStacks, 30);
  const std::clock_t start = std::clock();
  const std::string text = Json(profile);
  const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  EXPECT_EQ(text, Json(profile));
  EXPECT_TRUE(nlohmann::json::accept(text));
  std::printf("%zu stacks: %.2f s of CPU, %zu MiB\n", kManyStacks, seconds, text.size() >> 20);
}

}  // namespace
}  // namespace stallscope
