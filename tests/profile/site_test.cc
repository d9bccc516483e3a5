// SPDX-License-Identifier: Apache-2.0
#include "userspace/profile/site.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

namespace stallscope {
namespace {

ProfileFrame Frame(std::string name, ProfileFrameKind kind) {
  ProfileFrame frame;
  frame.name = std::move(name);
  frame.kind = kind;
  frame.unnamed = frame.name[0] == '[' && kind != ProfileFrameKind::kMarker;
  return frame;
}

std::string Site(std::vector<ProfileFrame> root_first) {
  std::vector<uint32_t> stack;
  for (uint32_t i = 0; i < root_first.size(); ++i) stack.push_back(i);
  const std::optional<uint32_t> site = SiteOfWait(root_first, stack);
  return site ? root_first[*site].name : "none";
}

constexpr auto kGo = ProfileFrameKind::kGo;
constexpr auto kNative = ProfileFrameKind::kNative;
constexpr auto kRuntime = ProfileFrameKind::kRuntime;
constexpr auto kKernel = ProfileFrameKind::kKernel;

TEST(SiteOfWait, PassesOverLibrariesThatEverybodyWaitsIn) {
  ProfileFrame libc_read = Frame("read", kNative);
  libc_read.system = true;
  ProfileFrame libc_start = Frame("__libc_start_main", kNative);
  libc_start.system = true;
  EXPECT_EQ(Site({libc_start, Frame("main", kNative), Frame("load", kNative), libc_read,
                  Frame("vfs_read", kKernel)}),
            "load");
  EXPECT_EQ(Site({libc_start, Frame("[app+0x10]", kNative), libc_read}), "read");
  EXPECT_EQ(Site({Frame("runtime.goexit", kRuntime), Frame("main.serve", kGo),
                  Frame("github.com/x/y.(*T).read", kGo), Frame("net.(*conn).Read", kGo),
                  Frame("internal/poll.(*FD).Read", kGo), Frame("runtime.futex", kRuntime)}),
            "github.com/x/y.(*T).read");
  EXPECT_EQ(Site({Frame("runtime.goexit", kRuntime), Frame("net/http.(*persistConn).readLoop", kGo),
                  Frame("bufio.(*Reader).Peek", kGo), Frame("net.(*conn).Read", kGo)}),
            "net/http.(*persistConn).readLoop");
  EXPECT_EQ(Site({Frame("main.call", kGo), Frame("runtime.cgocall", kRuntime),
                  Frame("c_wait", kNative), libc_read}),
            "c_wait");
  EXPECT_EQ(Site({Frame("[unknown]", kNative), Frame("schedule", kKernel)}), "none");
  EXPECT_EQ(Site({}), "none");
}

TEST(SiteOfWait, AModuleMayHaveANameWithoutADot) {
  EXPECT_EQ(Site({Frame("orders/store.Put", kGo), Frame("sync.(*Mutex).Lock", kGo)}),
            "orders/store.Put");
  EXPECT_EQ(Site({Frame("synchro.Wait", kGo), Frame("sync.(*Mutex).Lock", kGo)}), "synchro.Wait");
}

TEST(SiteOfWait, IgnoresAnIndexWithoutAFrame) { EXPECT_EQ(SiteOfWait({}, {9}), std::nullopt); }

}  // namespace
}  // namespace stallscope
