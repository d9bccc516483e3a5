// SPDX-License-Identifier: Apache-2.0
#include "userspace/profile/make_profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "tests/profile/sample_recording.h"

namespace stallscope {
namespace {

using symbolizer::FrameKind;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Profile Make(const Recording& recording, const ProfileOptions& options = {}) {
  absl::StatusOr<Profile> profile = MakeProfile(recording, options);
  EXPECT_TRUE(profile.ok());
  return *std::move(profile);
}

std::vector<std::string> Names(const Profile& profile, const std::vector<uint32_t>& frames) {
  std::vector<std::string> names;
  for (uint32_t frame : frames) names.push_back(profile.frames[frame].name);
  return names;
}

// "comm;a;b;[reason] time/runq/count", null as "-".
std::vector<std::string> Lines(const Profile& profile) {
  std::vector<std::string> lines;
  for (const EventProfile& event : profile.events) {
    for (const ProfileSample& sample : event.samples) {
      std::string line = sample.comm;
      for (const std::string& name : Names(profile, sample.frames)) line += ";" + name;
      line += ";[" + sample.reason + "]";
      char separator = ' ';
      for (const std::optional<int64_t>& value : sample.values) {
        line += separator + (value ? std::to_string(*value) : "-");
        separator = '/';
      }
      lines.push_back(line);
    }
  }
  return lines;
}

const ProfileFrame* FindFrame(const Profile& profile, std::string_view name) {
  for (const ProfileFrame& frame : profile.frames) {
    if (frame.name == name) return &frame;
  }
  return nullptr;
}

// A C stack: main -> read, and in the kernel ksys_read -> schedule.
uint32_t AddReadStack(Recording& r) {
  return AddStack(
      r,
      {MakeSegment(SegmentKind::kKernel, kKernelSpace,
                   {AddName(r, kKernelSpace, 0xffffffff81000010, "schedule", FrameKind::kKernel),
                    AddName(r, kKernelSpace, 0xffffffff81000020, "ksys_read", FrameKind::kKernel)}),
       MakeSegment(SegmentKind::kUser, 1,
                   {AddName(r, 1, 0x7f0000001500, "read", FrameKind::kNative, false),
                    AddName(r, 1, 0x1100, "main")})});
}

// A thread of the Go scheduler.
uint32_t AddIdleStack(Recording& r, uint64_t at) {
  return AddStack(r, {MakeSegment(SegmentKind::kUser, 0,
                                  {AddName(r, 0, at, "runtime.futex", FrameKind::kRuntime),
                                   AddName(r, 0, at + 1, "runtime.notesleep", FrameKind::kRuntime),
                                   AddName(r, 0, at + 2, "runtime.mPark", FrameKind::kRuntime)})});
}

TEST(MakeProfile, UserThenKernelRootFirst) {
  Recording r = EmptyRecording();
  r.events[0].samples = {MakeSample(1, AddReadStack(r), InSyscall(SYS_recvfrom), {1000, 20, 3})};
  const Profile profile = Make(r);
  EXPECT_THAT(Lines(profile),
              ElementsAre("worker;main;read;ksys_read;schedule;[socket] 1000/20/3"));
  EXPECT_EQ(FindFrame(profile, "schedule")->kind, ProfileFrameKind::kKernel);
  EXPECT_TRUE(FindFrame(profile, "read")->system);
  EXPECT_FALSE(FindFrame(profile, "main")->system);
  EXPECT_THAT(profile.events[0].samples[0].labels, ElementsAre(std::pair("pid", "200")));
}

TEST(MakeProfile, KernelOnlyAndUserOnly) {
  Recording r = EmptyRecording();
  r.events[0].samples = {MakeSample(1, AddReadStack(r), InSyscall(SYS_recvfrom), {1, 2, 3})};
  ProfileOptions options;
  options.kernel_only = true;
  EXPECT_THAT(Lines(Make(r, options)), ElementsAre("worker;ksys_read;schedule;[socket] 1/2/3"));
  options.kernel_only = false;
  options.user_only = true;
  EXPECT_THAT(Lines(Make(r, options)), ElementsAre("worker;main;read;[socket] 1/2/3"));
}

TEST(MakeProfile, AGoroutineStandsBelowTheCThatItCalled) {
  Recording r = EmptyRecording();
  const uint32_t stack = AddStack(
      r, {MakeSegment(SegmentKind::kUser, 0,
                      {AddName(r, 0, 0x500000, "c_inner"), AddName(r, 0, 0x500010, "c_outer")}),
          MakeMarker("caller unknown"),
          MakeSegment(SegmentKind::kGoroutine, 0,
                      {AddName(r, 0, 0x500020, "main.call", FrameKind::kGo),
                       AddName(r, 0, 0x500030, "runtime.goexit", FrameKind::kRuntime)})});
  r.events[0].samples = {MakeSample(0, stack, InSyscall(SYS_nanosleep), {1, 0, 1})};
  const Profile profile = Make(r);
  EXPECT_THAT(Lines(profile), ElementsAre("server;runtime.goexit;main.call;[caller unknown];"
                                          "c_outer;c_inner;[sleep] 1/0/1"));
  EXPECT_EQ(FindFrame(profile, "[caller unknown]")->kind, ProfileFrameKind::kMarker);
  EXPECT_EQ(FindFrame(profile, "main.call")->kind, ProfileFrameKind::kGo);
  EXPECT_EQ(FindFrame(profile, "runtime.goexit")->kind, ProfileFrameKind::kRuntime);
}

TEST(MakeProfile, InlinedFramesAreExpanded) {
  Recording r = EmptyRecording();
  StackAddress address{0x500000, true, true};
  symbolizer::Frame inner{"main.inner", "a.go", 3, FrameKind::kGo, true};
  symbolizer::Frame outer{"main.outer", "a.go", 9, FrameKind::kGo, false};
  r.names[{0, 0x500000, true}] = {inner, outer};
  const uint32_t stack = AddStack(r, {MakeSegment(SegmentKind::kGoroutine, 0, {address})});
  r.events[0].samples = {MakeSample(0, stack, InSyscall(SYS_futex), {1, 0, 1})};
  const Profile profile = Make(r);
  EXPECT_THAT(Lines(profile), ElementsAre("server;main.outer;main.inner;[futex] 1/0/1"));
  EXPECT_TRUE(FindFrame(profile, "main.inner")->inlined);
  EXPECT_FALSE(FindFrame(profile, "main.outer")->inlined);
  EXPECT_EQ(FindFrame(profile, "main.inner")->line, 3u);
  EXPECT_TRUE(FindFrame(profile, "main.outer")->guessed);
  EXPECT_EQ(profile.stack_counts.user_guessed, 2u);
}

// Two processes run the same file at two addresses; one of them calls f from two places.
Recording WithSharedCode() {
  Recording r = EmptyRecording();
  r.spaces[0].mappings.push_back(
      {0x7e0000001000, 0x7e0000100000, 0x28000, "/usr/lib/libc.so.6", "beef"});
  const auto add = [&r](SpaceIndex space, std::vector<StackAddress> addresses) {
    const uint32_t stack =
        AddStack(r, {MakeSegment(SegmentKind::kUser, space, std::move(addresses))});
    r.events[0].samples.push_back(MakeSample(space, stack, InSyscall(SYS_futex), {1, 0, 1}));
  };
  add(1, {AddName(r, 1, 0x7f0000001500, "wait"), AddName(r, 1, 0x1100, "f")});
  add(1, {AddName(r, 1, 0x7f0000001500, "wait"), AddName(r, 1, 0x1200, "f")});
  add(0, {AddName(r, 0, 0x7e0000001500, "wait"), AddName(r, 0, 0x400100, "main.main")});
  return r;
}

TEST(MakeProfile, ByAddressEachCallIsAFrame) {
  const Recording r = WithSharedCode();
  const Profile plain = Make(r);
  EXPECT_THAT(Lines(plain),
              ElementsAre("server;main.main;wait;[futex] 1/0/1", "worker;f;wait;[futex] 2/0/2"));
  EXPECT_THAT(plain.mappings, IsEmpty());
  for (const ProfileFrame& frame : plain.frames) {
    EXPECT_EQ(frame.address, 0u);
    EXPECT_EQ(frame.mapping, kNoMapping);
  }
  ProfileOptions options;
  options.by_address = true;
  const Profile profile = Make(r, options);
  EXPECT_THAT(Lines(profile),
              ElementsAre("server;main.main;wait;[futex] 1/0/1", "worker;f;wait;[futex] 1/0/1",
                          "worker;f;wait;[futex] 1/0/1"));
  std::vector<uint64_t> calls;
  for (const ProfileFrame& frame : profile.frames) {
    if (frame.name == "f") calls.push_back(frame.address);
  }
  EXPECT_THAT(calls, ElementsAre(0x10ff, 0x11ff)) << "inside the calls, not after them";
}

TEST(MakeProfile, ByAddressProcessesShareAFilesMapping) {
  ProfileOptions options;
  options.by_address = true;
  const Profile profile = Make(WithSharedCode(), options);
  ASSERT_EQ(profile.mappings.size(), 6u);
  EXPECT_EQ(profile.mappings[0].path, "/usr/bin/worker") << "the one that waits longest";
  EXPECT_EQ(profile.mappings[0].build_id, "ef01");
  EXPECT_EQ(profile.mappings[0].file_offset, 0x1000u);
  size_t waits = 0;
  for (const ProfileFrame& frame : profile.frames) {
    ASSERT_LT(frame.mapping, profile.mappings.size()) << frame.name;
    const ProfileMapping& mapping = profile.mappings[frame.mapping];
    EXPECT_TRUE(mapping.start <= frame.address && frame.address < mapping.end) << frame.name;
    if (frame.name != "wait") continue;
    ++waits;
    EXPECT_EQ(mapping.path, "/usr/lib/libc.so.6");
    EXPECT_EQ(mapping.start, 0x7e0000001000u);
    EXPECT_EQ(frame.address, 0x7e00000014ffu);
  }
  EXPECT_EQ(waits, 1u);
}

TEST(MakeProfile, ByAddressTheKernelsStayUnknown) {
  Recording r = EmptyRecording();
  r.events[0].samples = {MakeSample(1, AddReadStack(r), InSyscall(SYS_read), {1, 0, 1})};
  // Code in no mapping, and one that a damaged capture turned over.
  r.spaces[1].mappings.push_back({0x9000, 0x8000, 0, "/turned", ""});
  const uint32_t stack =
      AddStack(r, {MakeSegment(SegmentKind::kUser, 1, {{0x8500, false, false}, {0, true, false}}),
                   MakeSegment(SegmentKind::kUser, 77, {{0x8600, false, false}}),
                   MakeMarker("caller unknown")});
  r.events[0].samples.push_back(MakeSample(1, stack, InSyscall(SYS_read), {1, 0, 1}));
  ProfileOptions options;
  options.by_address = true;
  const Profile profile = Make(r, options);
  for (const char* name : {"schedule", "ksys_read", "[caller unknown]"}) {
    EXPECT_EQ(FindFrame(profile, name)->address, 0u) << name;
    EXPECT_EQ(FindFrame(profile, name)->mapping, kNoMapping) << name;
  }
  EXPECT_EQ(FindFrame(profile, "read")->address, 0x7f0000001500u) << "no return address: as it is";
  EXPECT_EQ(FindFrame(profile, "[unknown]")->mapping, kNoMapping);
}

// main.run calls the method value main.(*T).f-fm, which Go's compiler made.
Recording WithWrapper(const std::string& callee) {
  Recording r = EmptyRecording();
  const symbolizer::Frame wrapper{"main.(*T).f-fm", "", 0, FrameKind::kGo, false, true};
  r.names[{0, 0x500010, true}] = {wrapper};
  std::vector<StackAddress> addresses = {{0x500010, true, false},
                                         AddName(r, 0, 0x500020, "main.run", FrameKind::kGo)};
  if (!callee.empty()) {
    addresses.insert(addresses.begin(), AddName(r, 0, 0x500000, callee, FrameKind::kGo));
  }
  const uint32_t stack = AddStack(r, {MakeSegment(SegmentKind::kGoroutine, 0, addresses)});
  r.events[0].samples = {MakeSample(0, stack, InSyscall(SYS_futex), {1, 0, 1})};
  return r;
}

// As in Go's own traces.
TEST(MakeProfile, WrappersAreLeftOutUnlessTheyPanic) {
  EXPECT_THAT(Lines(Make(WithWrapper("main.(*T).f"))),
              ElementsAre("server;main.run;main.(*T).f;[futex] 1/0/1"));
  EXPECT_THAT(Lines(Make(WithWrapper(""))), ElementsAre("server;main.run;[futex] 1/0/1"));
  EXPECT_THAT(Lines(Make(WithWrapper("runtime.panicwrap"))),
              ElementsAre("server;main.run;main.(*T).f-fm;runtime.panicwrap;[futex] 1/0/1"));
  EXPECT_EQ(Make(WithWrapper("main.(*T).f")).stack_counts.user_frames, 2u);
}

TEST(MakeProfile, AnInlinedWrapperLeavesItsCaller) {
  Recording r = WithWrapper("main.(*T).f");
  r.names[{0, 0x500010, true}] = {{"main.(*T).f-fm", "", 0, FrameKind::kGo, true, true},
                                  {"main.outer", "", 0, FrameKind::kGo, false, false}};
  EXPECT_THAT(Lines(Make(r)), ElementsAre("server;main.run;main.outer;main.(*T).f;[futex] 1/0/1"));
}

TEST(MakeProfile, AddressesWithoutAName) {
  Recording r = EmptyRecording();
  const uint32_t stack =
      AddStack(r, {MakeSegment(SegmentKind::kKernel, kKernelSpace, {{0xffffffff81234567, true}}),
                   MakeSegment(SegmentKind::kUser, 1,
                               {{0x7f00002012ab},        // a deleted library
                                {0x7f0000002000, true},  // libc: address - start + offset
                                {0x7fff00000010},        // the vDSO
                                {0x7f0000400010},        // anonymous memory
                                {0x10},                  // no mapping at all
                                {0x2000, true}})});      // returns to the end of its mapping
  r.events[0].samples = {MakeSample(1, stack, InSyscall(SYS_futex), {1, 0, 1})};
  const Profile profile = Make(r);
  EXPECT_THAT(Lines(profile), ElementsAre("worker;[worker+0x2000];[unknown];[unknown];[vdso+0x10];"
                                          "[libc.so.6+0x29000];[libfoo.so.1+0x12ab];"
                                          "[kernel+0xffffffff81234567];[futex] 1/0/1"));
  for (const ProfileFrame& frame : profile.frames) EXPECT_TRUE(frame.unnamed) << frame.name;
  EXPECT_EQ(profile.stack_counts.user_frames, 6u);
  EXPECT_EQ(profile.stack_counts.user_unnamed, 6u);
  EXPECT_EQ(profile.stack_counts.kernel_unnamed, 1u);
}

TEST(MakeProfile, NamesBelongToTheirSpaceAndKindOfAddress) {
  Recording r = EmptyRecording();
  AddName(r, 0, 0x1100, "of_server");
  AddName(r, 1, 0x1100, "returns");
  AddName(r, 1, 0x1100, "starts", FrameKind::kNative, false);
  const uint32_t stack =
      AddStack(r, {MakeSegment(SegmentKind::kUser, 1, {{0x1100, false}, {0x1100, true}})});
  r.events[0].samples = {MakeSample(1, stack, InSyscall(SYS_futex), {1, 0, 1})};
  EXPECT_THAT(Lines(Make(r)), ElementsAre("worker;returns;starts;[futex] 1/0/1"));
}

TEST(MakeProfile, EqualSamplesAreMerged) {
  Recording r = EmptyRecording();
  const uint32_t a = AddReadStack(r);
  const uint32_t b = AddReadStack(r);  // the same names at the same addresses
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  r.events[0].samples = {MakeSample(1, a, InSyscall(SYS_recvfrom), {1, std::nullopt, 1}),
                         MakeSample(1, b, InSyscall(SYS_recvmsg), {2, std::nullopt, 1}),
                         MakeSample(1, a, InSyscall(SYS_futex), {kMost, 3, 1}),
                         MakeSample(1, a, InSyscall(SYS_futex), {kMost, std::nullopt})};
  EXPECT_THAT(Lines(Make(r)), ElementsAre("worker;main;read;ksys_read;schedule;[futex] " +
                                              std::to_string(kMost) + "/3/1",
                                          "worker;main;read;ksys_read;schedule;[socket] 3/-/2"));
}

TEST(MakeProfile, IdleGroupsAreOneLineEach) {
  Recording r = EmptyRecording();
  const uint32_t one = AddIdleStack(r, 0x500000);
  const uint32_t two = AddIdleStack(r, 0x500100);
  const uint32_t sysmon =
      AddStack(r, {MakeSegment(SegmentKind::kUser, 0,
                               {AddName(r, 0, 0x600000, "runtime.usleep", FrameKind::kRuntime),
                                AddName(r, 0, 0x600010, "runtime.sysmon", FrameKind::kRuntime)})});
  r.events[0].samples = {MakeSample(0, one, InSyscall(SYS_futex), {10, 0, 1}),
                         MakeSample(0, two, InSyscall(SYS_futex), {20, 0, 2}),
                         MakeSample(0, one, InSyscall(SYS_nanosleep), {5, 0, 1}),
                         MakeSample(0, sysmon, InSyscall(SYS_nanosleep), {7, 0, 1})};
  EXPECT_THAT(Lines(Make(r)),
              ElementsAre("server;[idle M] 30/0/3", "server;[sysmon] 7/0/1",
                          "server;runtime.mPark;runtime.notesleep;runtime.futex;[sleep] 5/0/1"));
  ProfileOptions options;
  options.idle = true;
  EXPECT_THAT(Lines(Make(r, options)),
              ElementsAre("server;runtime.mPark;runtime.notesleep;runtime.futex;[idle M] 30/0/3",
                          "server;runtime.mPark;runtime.notesleep;runtime.futex;[sleep] 5/0/1",
                          "server;runtime.sysmon;runtime.usleep;[sysmon] 7/0/1"));
}

TEST(MakeProfile, ThreadsAreFramesAndLabels) {
  Recording r = EmptyRecording();
  r.per_thread = true;
  const uint32_t stack = AddReadStack(r);
  const uint32_t idle = AddIdleStack(r, 0x500000);
  r.events[0].samples = {MakeSample(1, stack, InSyscall(SYS_futex), {1, 0, 1}),
                         MakeSample(1, stack, InSyscall(SYS_futex), {2, 0, 1}),
                         MakeSample(0, idle, InSyscall(SYS_futex), {4, 0, 1})};
  r.events[0].samples[0].tid = 201;
  r.events[0].samples[0].thread_name = "io";
  r.events[0].samples[1].tid = 202;
  r.events[0].samples[1].thread_name = "io";
  r.events[0].samples[2].tid = 101;
  r.events[0].samples[2].thread_name = "server";
  const Profile profile = Make(r);
  EXPECT_THAT(Lines(profile),
              ElementsAre("server;[thread server 101];[idle M] 4/0/1",
                          "worker;[thread io 201];main;read;ksys_read;schedule;[futex] 1/0/1",
                          "worker;[thread io 202];main;read;ksys_read;schedule;[futex] 2/0/1"));
  EXPECT_THAT(
      profile.events[0].samples[1].labels,
      ElementsAre(std::pair("pid", "200"), std::pair("thread", "io"), std::pair("tid", "201")));
}

// Shown and hidden add up to what was recorded, whatever the filter.
TEST(MakeProfile, WhatFiltersDropIsCounted) {
  Recording r = EmptyRecording();
  const uint32_t read = AddReadStack(r);
  const uint32_t idle = AddIdleStack(r, 0x500000);
  r.events[0].samples = {MakeSample(1, read, InSyscall(SYS_recvfrom), {1, 0, 1}),
                         MakeSample(1, read, InSyscall(SYS_futex), {10, 0, 2}),
                         MakeSample(0, idle, InSyscall(SYS_futex), {100, 0, 4})};
  struct Case {
    std::vector<std::string> include, exclude;
    int64_t shown_time, shown_count;
  };
  const Case cases[] = {
      {{}, {}, 111, 7},
      {{"^main$"}, {}, 11, 3},
      {{}, {"ksys_"}, 100, 4},
      {{}, {"mPark"}, 11, 3},        // though its frames are not shown
      {{"\\[socket\\]"}, {}, 1, 1},  // reasons are frames
      {{"^server$"}, {}, 100, 4},    // so is comm
      {{"main", "mPark"}, {"\\[futex"}, 101, 5},
      {{"nothing"}, {}, 0, 0},
  };
  for (const Case& c : cases) {
    ProfileOptions options;
    options.include = c.include;
    options.exclude = c.exclude;
    const Profile profile = Make(r, options);
    int64_t time = 0, count = 0;
    for (const ProfileSample& sample : profile.events[0].samples) {
      time += *sample.values[0];
      count += *sample.values[2];
    }
    EXPECT_EQ(time, c.shown_time);
    EXPECT_EQ(count, c.shown_count);
    uint64_t hidden_time = 0, hidden_count = 0;
    for (const Hidden& hidden : profile.hidden) {
      hidden_time += hidden.time_ns;
      hidden_count += hidden.count;
      EXPECT_EQ(hidden.event, "offcpu");
      EXPECT_NE(hidden.why, "");
    }
    EXPECT_EQ(time + hidden_time, 111u);
    EXPECT_EQ(count + hidden_count, 7u);
  }
}

TEST(MakeProfile, ABadExpressionIsNamed) {
  ProfileOptions options;
  options.exclude = {"fine", "br(oken"};
  const absl::StatusOr<Profile> profile = MakeProfile(EmptyRecording(), options);
  EXPECT_EQ(profile.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(profile.status().message()), HasSubstr("-X br(oken"));
}

TEST(MakeProfile, ExpressionsAreBoundedInTime) {
  Recording r = EmptyRecording();
  const uint32_t stack = AddStack(
      r, {MakeSegment(SegmentKind::kUser, 1, {AddName(r, 1, 0x1100, std::string(20000, 'a'))})});
  r.events[0].samples = {MakeSample(1, stack, InSyscall(SYS_futex), {1, 0, 1})};
  ProfileOptions options;
  options.include = {
      "^(a+)+$x"};  // exponential for a matcher that backtracks: the test would never end
  EXPECT_THAT(Lines(Make(r, options)), IsEmpty());
}

TEST(MakeProfile, TheOrderOfTheRecordingDoesNotMatter) {
  Recording r = EmptyRecording();
  for (uint64_t i = 0; i < 50; ++i) {
    const uint64_t address = 0x500000 + i * 7919 % 997;
    const uint32_t stack = AddStack(
        r, {MakeSegment(SegmentKind::kGoroutine, 0,
                        {AddName(r, 0, address, "main.f" + std::to_string(i * 31 % 50))})});
    r.events[0].samples.push_back(
        MakeSample(0, stack, InSyscall(SYS_futex), {static_cast<int64_t>(i), 0, 1}));
  }
  Recording reversed = r;
  std::reverse(reversed.stacks.begin(), reversed.stacks.end());
  std::reverse(reversed.events[0].samples.begin(), reversed.events[0].samples.end());
  for (Sample& sample : reversed.events[0].samples) sample.stack = 49 - sample.stack;
  const Profile a = Make(r), b = Make(reversed);
  EXPECT_EQ(Lines(a), Lines(b));
  EXPECT_EQ(a.frames, b.frames);
  EXPECT_TRUE(std::is_sorted(a.frames.begin(), a.frames.end()));
}

TEST(MakeProfile, IndicesOutOfRangeAreMarked) {
  Recording r = EmptyRecording();
  const uint32_t stack = AddStack(r, {MakeSegment(SegmentKind::kUser, 99, {{0x1100, true}})});
  r.events[0].samples = {MakeSample(1, 12345, InSyscall(SYS_futex), {1, 0, 1}),
                         MakeSample(77, stack, InSyscall(SYS_futex), {2, 0, 1}),
                         MakeSample(kKernelSpace, stack, InSyscall(SYS_futex), {4})};
  r.hung = {{66, 5, "gone", 4242, InSyscall(SYS_futex)}};
  EXPECT_THAT(Lines(Make(r)),
              ElementsAre("[unknown];[unknown];[futex] 2/0/1", "kernel;[unknown];[futex] 4/-/-",
                          "worker;[stack lost];[futex] 1/0/1"));
}

TEST(MakeProfile, StacksThatEndedEarlyAndShallowOnesAreCounted) {
  Recording r = EmptyRecording();
  AddReadStack(r);
  const Segment user = r.stacks[0].segments[1];
  AddStack(r, {user}, StackEnd::kUnreadable);
  AddStack(r, {user}, StackEnd::kUnreadable);
  AddStack(r, {}, StackEnd::kNone);
  AddIdleStack(r, 0x500000);
  const StackCounts counts = Make(r).stack_counts;
  EXPECT_EQ(counts.stacks, 5u);
  EXPECT_EQ(counts.with_user, 4u);
  EXPECT_THAT(counts.ended_early, ElementsAre(std::pair(StackEnd::kUnreadable, 2u)));
  EXPECT_EQ(counts.native_stacks, 3u);
  EXPECT_EQ(counts.native_shallow, 3u);
  EXPECT_EQ(counts.go_frames, 3u);
}

TEST(MakeProfile, HungThreadsKeepTheirWholeStack) {
  Recording r = EmptyRecording();
  const uint32_t read = AddReadStack(r);
  const uint32_t idle = AddIdleStack(r, 0x500000);
  r.hung = {{1, 201, "waiter", read, InSyscall(SYS_recvfrom)},
            {0, 101, "server", idle, InSyscall(SYS_futex)}};
  ProfileOptions options;
  options.exclude = {"."};
  const Profile profile = Make(r, options);
  ASSERT_EQ(profile.hung.size(), 2u);
  EXPECT_EQ(profile.hung[0].reason, "idle M");
  EXPECT_TRUE(profile.hung[0].go_scheduler);
  EXPECT_FALSE(profile.hung[1].go_scheduler);
  EXPECT_EQ(profile.hung[1].pid, 200u);
  EXPECT_THAT(Names(profile, profile.hung[1].frames),
              ElementsAre("main", "read", "ksys_read", "schedule"));
}

TEST(MakeProfile, FactsAreCarriedOver) {
  Recording r = EmptyRecording();
  r.losses = {{"offcpu", "start unknown", 1, 2, "", true}};
  r.filtered = {{"offcpu", "--max", 3, 4}};
  r.totals = {{0, 1, 2, 3, 4}, {99, 5, 6, 7, 8}};
  r.notes = {"a note"};
  r.cost.own_cpu_ns = 7;
  const Profile profile = Make(r);
  EXPECT_EQ(profile.losses, r.losses);
  EXPECT_EQ(profile.hidden, r.filtered);
  EXPECT_EQ(profile.totals, (std::vector<ProfileTotals>{{100, "server", 1, 2, 3, 4},
                                                        {0, "[unknown]", 5, 6, 7, 8}}));
  EXPECT_EQ(profile.notes, r.notes);
  EXPECT_EQ(profile.cost, r.cost);
  EXPECT_EQ(profile.target, r.target);
  EXPECT_EQ(profile.duration_ns, r.duration_ns);
  EXPECT_EQ(profile.events[0].mechanism, "tp_btf sched_switch");
}

TEST(MakeProfile, EventsInFlightAreLabelledAndPeersComeInside) {
  Recording r = EmptyRecording();
  r.events[0].name = "tcp";
  r.events[0].columns = {{"time", "ns"}, {"count", "count"}};
  const uint32_t stack = AddStack(r, {});
  Sample done = MakeSample(0, stack, {}, {30, 1});
  done.reason.words = "connect timed out";
  done.reason.peer = "10.0.0.5:443";
  Sample open = done;
  open.reason.words = "connect (unfinished)";
  // A connect that failed before anything was tried took no time that is known.
  Sample none = done;
  none.reason.words = "connect unreachable";
  none.values = {std::nullopt, 1};
  r.events[0].samples = {done, open, none};
  ProfileOptions options;
  options.peers = true;
  const auto profile = MakeProfile(r, options);
  ASSERT_TRUE(profile.ok());
  const auto& samples = profile->events[0].samples;
  ASSERT_EQ(samples.size(), 3u);
  EXPECT_EQ(samples[0].reason, "connect 10.0.0.5:443 (unfinished)");
  EXPECT_EQ(samples[0].labels.at("open"), "true");
  EXPECT_EQ(samples[1].reason, "connect 10.0.0.5:443 timed out");
  EXPECT_EQ(samples[1].labels.count("open"), 0u);
  EXPECT_EQ(samples[2].reason, "connect 10.0.0.5:443 unreachable");
  EXPECT_EQ(samples[2].values[0], std::nullopt);
}

}  // namespace
}  // namespace stallscope
