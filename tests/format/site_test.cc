// SPDX-License-Identifier: Apache-2.0
#include "userspace/format/site.h"

#include <gtest/gtest.h>

#include "tests/format/demo_profile.h"

namespace stallscope {
namespace {

std::string SiteOf(const std::vector<std::string>& frames) {
  ProfileBuilder b;
  b.Event("offcpu", {{"time", "ns"}});
  b.Sample("app", frames, "futex", {1});
  for (ProfileFrame& frame : b.profile.frames)
    frame.unnamed = frame.name.find("+0x") != std::string::npos;
  const std::optional<uint32_t> site = FindSite(b.profile.frames, b.profile.events[0].samples[0]);
  return site ? b.profile.frames[*site].name : "none";
}

TEST(FindSite, PassesOverGosStandardLibrary) {
  EXPECT_EQ(SiteOf({"go:main.main", "go:net/http.(*conn).serve", "go:github.com/a/b.(*T).Get",
                    "go:internal/poll.(*FD).Read", "runtime:internal/poll.runtime_pollWait"}),
            "github.com/a/b.(*T).Get");
  EXPECT_EQ(SiteOf({"go:orders/store.Put", "go:sync.(*Mutex).Lock"}), "orders/store.Put")
      << "a module may have a name without a dot";
  EXPECT_EQ(SiteOf({"go:synchro.Wait", "go:sync.(*Mutex).Lock"}), "synchro.Wait");
}

TEST(FindSite, InnermostStandardFrameWhenThereIsNoOther) {
  EXPECT_EQ(
      SiteOf({"go:net/http.(*conn).serve", "go:bufio.(*Reader).Peek", "runtime:runtime.gopark"}),
      "bufio.(*Reader).Peek");
}

TEST(FindSite, GoCallerOfACCall) {
  EXPECT_EQ(
      SiteOf({"go:main.resize", "runtime:runtime.cgocall", "native:vips_sink", "kernel:schedule"}),
      "main.resize");
}

TEST(FindSite, NativeFrameWithAName) {
  EXPECT_EQ(SiteOf({"native:main", "native:read", "native:[libc.so.6+0x12]", "kernel:schedule"}),
            "read");
  EXPECT_EQ(SiteOf({"native:[app+0x12]", "kernel:schedule"}), "schedule");
}

TEST(FindSite, RuntimeThenAnything) {
  EXPECT_EQ(SiteOf({"runtime:runtime.mstart", "runtime:runtime.findRunnable", "kernel:schedule"}),
            "runtime.findRunnable");
  EXPECT_EQ(SiteOf({"marker:[idle M]"}), "[idle M]");
  EXPECT_EQ(SiteOf({}), "none");
}

TEST(FindSite, IgnoresAnIndexWithoutAFrame) {
  ProfileSample sample;
  sample.frames = {9};
  EXPECT_EQ(FindSite({}, sample), std::nullopt);
}

}  // namespace
}  // namespace stallscope
