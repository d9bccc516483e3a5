// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
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

using ::testing::HasSubstr;
using ::testing::Not;

std::string Between(const std::string& text, const std::string& open, const std::string& close) {
  const size_t start = text.find(open);
  if (start == std::string::npos) return "";
  const size_t end = text.find(close, start + open.size());
  return text.substr(start + open.size(), end - start - open.size());
}

nlohmann::json DataOf(const std::string& page) {
  return nlohmann::json::parse(
      Between(page, "<script type=\"application/json\" id=\"data\">", "</script>"), nullptr, false);
}

size_t Count(const std::string& text, const std::string& what) {
  size_t count = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++count;
  return count;
}

TEST(Html, AsksForNothing) {
  const std::string page = Html(ServiceProfile());
  EXPECT_THAT(page, HasSubstr("default-src 'none'"));
  EXPECT_THAT(page, Not(HasSubstr("unsafe-inline")));
  for (const char* reference : {"http://", "https://", "src=", "<link", "@import", "url("}) {
    EXPECT_EQ(Count(page, reference), 0u) << reference;
  }
  EXPECT_THAT(page, Not(HasSubstr("{{"))) << "everything was filled in";
}

TEST(Html, Header) {
  const std::string page = Html(ServiceProfile());
  EXPECT_THAT(page, HasSubstr("<h1>-p 4242 (orders), 977 (postgres)</h1>"));
  EXPECT_THAT(page, HasSubstr("<title>-p 4242 (orders), 977 (postgres) - stallscope</title>"));
  EXPECT_THAT(page, HasSubstr("<dt>Recorded</dt><dd>2025-11-21 09:00:11 UTC</dd>"));
  EXPECT_THAT(page, HasSubstr("<dt>Duration</dt><dd>10.0 s</dd>"));
  EXPECT_THAT(page, HasSubstr("<dt>Lost</dt><dd>12 samples, listed below</dd>"));
  EXPECT_THAT(
      page,
      HasSubstr("<b>offcpu</b>: 12 samples (1.24 ms) missing from the picture: start unknown"));
  EXPECT_THAT(page, HasSubstr("33 samples shown without a full stack or name: stack map full; try "
                              "<code>--stacks 65536</code>"));
  EXPECT_THAT(page, HasSubstr("3 min 3 s (311 samples) not shown: idle by design"));
  EXPECT_THAT(page, HasSubstr("not time on a clock axis"));
  Profile clean = ServiceProfile();
  clean.losses.clear();
  EXPECT_THAT(Html(clean), HasSubstr("<dt>Lost</dt><dd>nothing</dd>"));
}

TEST(Html, TitleNamesOneProcessFirst) {
  const auto title = [](const std::string& target) {
    Profile profile;
    profile.target = target;
    const std::string page = Html(profile);
    EXPECT_EQ(Between(page, "<title>", "</title>"),
              Between(page, "<h1>", "</h1>") + " - stallscope");
    return Between(page, "<h1>", "</h1>");
  };
  EXPECT_EQ(title("-p 42 (demo)"), "demo (pid 42)");
  EXPECT_EQ(title("-p 42 (a (b) c)"), "a (b) c (pid 42)");
  EXPECT_EQ(title("-p 42 ()"), " (pid 42)");
  for (const std::string other :
       {"-a", "-p 42 (demo), 43 (demo)", "--comm demo (1 process)", "-- demo (x)", "-- -p 42 (x)",
        "-p (demo)", "-p 42", "-p 42 (demo", "-p x (demo)", "-p ", ""}) {
    EXPECT_EQ(title(other), other);
  }
}

TEST(Html, TableOfTheHeaviest) {
  const std::string page = Html(ServiceProfile());
  const std::string goroutines = Between(page, "id=\"event-0\"", "</section>");
  EXPECT_THAT(goroutines, HasSubstr("109 s in 7,041 samples"));
  EXPECT_EQ(Count(goroutines, "<tr><td"), 20u);
  const std::string first = Between(goroutines, "<tbody>", "</tr>");
  EXPECT_THAT(first, HasSubstr("[IO wait]"));
  EXPECT_THAT(first, HasSubstr("github.com/lib/pq.(*conn).recv1Buf"));
  EXPECT_THAT(first, HasSubstr("/src/pq/conn.go:1060"));
  EXPECT_THAT(first, HasSubstr("43.0 s"));
  EXPECT_THAT(first, HasSubstr("2,613"));
  EXPECT_THAT(first, HasSubstr("39.3 %"));
  EXPECT_THAT(Between(page, "id=\"event-1\"", "</section>"), HasSubstr("tp_btf sched_switch"));
}

TEST(Html, DataHoldsTheTrees) {
  const nlohmann::json data = DataOf(Html(ServiceProfile()));
  ASSERT_TRUE(data.is_object());
  ASSERT_EQ(data["events"].size(), 2u);
  const nlohmann::json& event = data["events"][1];
  EXPECT_EQ(event["name"], "offcpu");
  EXPECT_EQ(event["columns"][0], nlohmann::json({"time", "ns", "time waited"}));
  EXPECT_EQ(event["depth"].size(), event["frame"].size());
  EXPECT_EQ(event["values"].size(), 3u);
  int64_t sum = 0;
  for (const nlohmann::json& value : event["values"][0]) sum += value.get<int64_t>();
  EXPECT_EQ(sum, 37'040'000'000) << "all of the samples' time";
  for (const nlohmann::json& column : event["values"])
    EXPECT_EQ(column.size(), event["leaf"].size());
  bool not_measured = false;
  for (const nlohmann::json& value : event["values"][1]) not_measured |= value.is_null();
  EXPECT_TRUE(not_measured);
  for (const nlohmann::json& frame : event["frame"])
    EXPECT_LT(4 * frame.get<size_t>(), data["frames"].size());
}

TEST(Html, MeaningOfWidth) {
  ProfileBuilder b;
  b.Event("oncpu", {{"time", "ns"}});
  b.Event("retrans", {{"segments", "segments"}, {"bytes", "bytes"}});
  const nlohmann::json data = DataOf(Html(b.profile));
  EXPECT_EQ(data["events"][0]["columns"][0][2], "CPU time");
  EXPECT_EQ(data["events"][1]["columns"][0][2], "segments");
}

TEST(Html, HostileNamesStayText) {
  const std::string page = Html(HostileProfile());
  EXPECT_EQ(Count(page, "<script"), 2u);
  EXPECT_EQ(Count(page, "</script"), 2u);
  EXPECT_EQ(Count(page, "<img"), 0u);
  EXPECT_THAT(page, HasSubstr("&lt;script&gt;document.title=&#39;broken&#39;&lt;/script&gt;"));
  EXPECT_EQ(page.find('\x01'), std::string::npos);
  EXPECT_LT(page.size(), 200'000u) << "the name of a megabyte is clipped";
  const nlohmann::json data = DataOf(page);
  ASSERT_TRUE(data.is_object());
  bool found = false;
  bool placeholder = false;
  for (const nlohmann::json& text : data["strings"]) {
    found |= text == "</script><script>document.title='broken'</script>";
    placeholder |= text == "{{DATA}}{{TITLE}}";
    EXPECT_LE(text.get<std::string>().size(), kMaxNameBytes + 3);
  }
  EXPECT_TRUE(found);
  EXPECT_TRUE(placeholder) << "what is filled in is not searched again";
}

TEST(Html, NothingRecorded) {
  EXPECT_THAT(Html(Profile{}), HasSubstr("<dt>Lost</dt>"));
  ProfileBuilder b;
  b.Event("offcpu", {{"time", "ns"}});
  b.Event("odd", {});
  const std::string page = Html(b.profile);
  EXPECT_EQ(Count(page, "No samples."), 2u);
  EXPECT_TRUE(DataOf(page).is_object());
}

TEST(Html, ManyStacks) {
  const Profile profile = ManyStacksProfile(kManyStacks, 30);
  const std::clock_t start = std::clock();
  const std::string page = Html(profile);
  const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  EXPECT_EQ(page, Html(profile));
  const nlohmann::json data = DataOf(page);
  ASSERT_TRUE(data.is_object());
  EXPECT_EQ(data["events"][0]["leaf"].size(), kManyStacks);
  std::printf("%zu stacks: %.2f s of CPU, %zu MiB\n", kManyStacks, seconds, page.size() >> 20);
}

}  // namespace
}  // namespace stallscope
