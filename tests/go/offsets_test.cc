// SPDX-License-Identifier: Apache-2.0
#include "userspace/go/offsets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace stallscope {
namespace {

using ::testing::HasSubstr;
using Structures = absl::flat_hash_map<std::string, symbolizer::StructLayout>;

TEST(KnownGoOffsets, WhatMovedBetweenVersions) {
  ASSERT_NE(KnownGoOffsets(19), nullptr);
  EXPECT_EQ(KnownGoOffsets(22)->g_atomicstatus + 8, KnownGoOffsets(23)->g_atomicstatus)
      << "1.23 added syscallbp";
  EXPECT_EQ(KnownGoOffsets(22)->g_syscallbp, GoOffsets::kNoField);
  EXPECT_EQ(KnownGoOffsets(24)->m_curg, KnownGoOffsets(25)->m_curg + 8) << "1.25 dropped gobuf.ret";
  EXPECT_EQ(KnownGoOffsets(19)->g_parent_goid, GoOffsets::kNoField);
  EXPECT_EQ(KnownGoOffsets(18), nullptr);
  EXPECT_EQ(KnownGoOffsets(20), nullptr);
}

TEST(UnknownGoVersion, SaysWhy) {
  EXPECT_EQ(UnknownGoVersion("go1.99.1"), "go1.99.1 is newer than this build knows");
  EXPECT_THAT(UnknownGoVersion("go1.20.4"), HasSubstr("is not in this build's table"));
  EXPECT_THAT(UnknownGoVersion("go2"), HasSubstr("is not understood"));
  EXPECT_THAT(UnknownGoVersion(""), HasSubstr("is not understood"));
}

// What debug information could say: each structure with each field, 8 bytes apart.
Structures AllFields() {
  Structures structures;
  for (const std::string_view name : GoOffsetStructures()) {
    symbolizer::StructLayout& layout = structures[std::string(name)];
    layout.size = 8000;
    uint64_t at = 0;
#define STALLSCOPE_GO_FIELD(member, structure, path) \
  if (name == structure && *path != '\0') layout.members[path] = at += 8;
#define STALLSCOPE_GO_OPTIONAL STALLSCOPE_GO_FIELD
#include "userspace/go/offsets_fields.inc"
#undef STALLSCOPE_GO_FIELD
#undef STALLSCOPE_GO_OPTIONAL
  }
  return structures;
}

TEST(GoOffsetsFrom, DebugInformation) {
  Structures structures = AllFields();
  structures["runtime.g"].members["sched.sp"] = 77;
  const auto offsets = GoOffsetsFrom(structures);
  ASSERT_TRUE(offsets.ok()) << offsets.status();
  EXPECT_EQ(offsets->g_size, 8000);
  EXPECT_EQ(offsets->g_stack_lo, 8);
  EXPECT_EQ(offsets->g_sched_sp, 77);
  EXPECT_EQ(offsets->sudog_g, 8);
}

TEST(GoOffsetsFrom, WhatIsMissing) {
  Structures structures = AllFields();
  structures["runtime.g"].members.erase("parentGoid");
  auto offsets = GoOffsetsFrom(structures);
  ASSERT_TRUE(offsets.ok());
  EXPECT_EQ(offsets->g_parent_goid, GoOffsets::kNoField);
  structures["runtime.g"].members.erase("goid");
  offsets = GoOffsetsFrom(structures);
  EXPECT_EQ(std::string(offsets.status().message()), "no runtime.g.goid");
  structures.erase("runtime.g");
  EXPECT_EQ(std::string(GoOffsetsFrom(structures).status().message()), "no runtime.g");
}

TEST(GoOffsetsFrom, PackagesThatTheProgramDoesNotUse) {
  Structures structures = AllFields();
  structures.erase("net.netFD");
  const auto offsets = GoOffsetsFrom(structures);
  ASSERT_TRUE(offsets.ok()) << offsets.status();
  EXPECT_EQ(offsets->net_fd_raddr, GoOffsets::kNoField);
  EXPECT_EQ(offsets->poll_fd_sysfd, 8);
  auto all = GoOffsetsFrom(AllFields());
  ASSERT_TRUE(all.ok());
  EXPECT_TRUE(offsets->AgreesWith(*all));
  EXPECT_TRUE(all->AgreesWith(*offsets));
  all->g_goid += 8;
  EXPECT_FALSE(offsets->AgreesWith(*all));
}

TEST(GoOffsetsFrom, WhatMakesNoSense) {
  Structures structures = AllFields();
  structures["runtime.g"].members["goid"] = 8000;
  EXPECT_THAT(std::string(GoOffsetsFrom(structures).status().message()),
              HasSubstr("runtime.g.goid at 8000 makes no sense"));
  structures = AllFields();
  structures["runtime.schedt"].size = uint64_t{1} << 40;
  structures["runtime.schedt"].members["goidgen"] = 1 << 20;
  EXPECT_FALSE(GoOffsetsFrom(structures).ok());
}

}  // namespace
}  // namespace stallscope
