// SPDX-License-Identifier: Apache-2.0
#include "userspace/go/code.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace stallscope {
namespace {

using namespace std::string_view_literals;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint64_t kHere = 0x400000;

TEST(ReadCode, StaticAddresses) {
  // lea 0x100(%rip),%rcx; mov 0x200(%rip),%rax
  const auto code = "\x48\x8d\x0d\x00\x01\x00\x00\x48\x8b\x05\x00\x02\x00\x00"sv;
  const CodeFacts facts = ReadCode(code, kHere);
  EXPECT_THAT(facts.static_addresses, ElementsAre(kHere + 7 + 0x100, kHere + 14 + 0x200));
  EXPECT_TRUE(facts.whole);
}

TEST(ReadCode, ThreadLocalsAreNoStaticAddresses) {
  // mov %fs:0xfffffffffffffff8,%r14
  EXPECT_THAT(ReadCode("\x64\x4c\x8b\x34\x25\xf8\xff\xff\xff"sv, kHere).static_addresses,
              IsEmpty());
}

TEST(ReadCode, OnlyALockedCompareExchangeOf32BitsIsOne) {
  // lock cmpxchg %ecx,0x98(%rdx)
  EXPECT_THAT(ReadCode("\xf0\x0f\xb1\x8a\x98\x00\x00\x00"sv, kHere).compare_exchanges,
              ElementsAre(0x98));
  // lock cmpxchg %rcx,0x90(%rdx)
  EXPECT_THAT(ReadCode("\xf0\x48\x0f\xb1\x8a\x90\x00\x00\x00"sv, kHere).compare_exchanges,
              IsEmpty());
  // cmpxchg %ecx,0x98(%rdx)
  EXPECT_THAT(ReadCode("\x0f\xb1\x8a\x98\x00\x00\x00"sv, kHere).compare_exchanges, IsEmpty());
}

TEST(ReadCode, StoresOfCl) {
  // mov %cl,0xb8(%rax)
  EXPECT_THAT(ReadCode("\x88\x88\xb8\x00\x00\x00"sv, kHere).stores_of_cl, ElementsAre(0xb8));
  // mov %cl,0x10(%rsp): a spill
  EXPECT_THAT(ReadCode("\x88\x4c\x24\x10"sv, kHere).stores_of_cl, IsEmpty());
  // mov %dl,0xb8(%rax)
  EXPECT_THAT(ReadCode("\x88\x90\xb8\x00\x00\x00"sv, kHere).stores_of_cl, IsEmpty());
}

TEST(ReadCode, FieldsOfTheCurrentG) {
  // mov %rbx,0x40(%r14); mov %ebx,0x44(%r14); mov 0x30(%r14),%rbx
  const CodeFacts facts = ReadCode("\x49\x89\x5e\x40\x41\x89\x5e\x44\x49\x8b\x5e\x30"sv, kHere);
  EXPECT_THAT(facts.stores_by_g, ElementsAre(0x40)) << "of 64 bits";
  EXPECT_THAT(facts.loads_by_g, ElementsAre(0x30));
}

TEST(ReadCode, AtomicAdds) {
  // lock xadd %rcx,0x18(%rip)
  EXPECT_THAT(ReadCode("\xf0\x48\x0f\xc1\x0d\x18\x00\x00\x00"sv, kHere).atomic_adds,
              ElementsAre(kHere + 9 + 0x18));
  // lea 0x300(%rip),%rdx; lock xadd %rcx,(%rdx)
  EXPECT_THAT(ReadCode("\x48\x8d\x15\x00\x03\x00\x00\xf0\x48\x0f\xc1\x0a"sv, kHere).atomic_adds,
              ElementsAre(kHere + 7 + 0x300));
}

TEST(ReadCode, ARegisterIsKnownOnlyWhileNothingElseIsPutIntoIt) {
  // lea 0x300(%rip),%rdx; mov %rax,%rdx; lock xadd %rcx,(%rdx)
  EXPECT_THAT(
      ReadCode("\x48\x8d\x15\x00\x03\x00\x00\x48\x89\xc2\xf0\x48\x0f\xc1\x0a"sv, kHere).atomic_adds,
      IsEmpty());
  // ... another path comes in: lea; test %eax,%eax; je 1f; lea; 1: lock xadd %rcx,(%rdx)
  EXPECT_THAT(ReadCode("\x48\x8d\x15\x00\x03\x00\x00\x85\xc0\x74\x07\x48\x8d\x15\x00\x05\x00\x00"
                       "\xf0\x48\x0f\xc1\x0a"sv,
                       kHere)
                  .atomic_adds,
              IsEmpty());
}

TEST(ReadCode, StoredConstants) {
  // movl $10000,0x400(%rip); lea 0x100(%rip),%rcx; movl $7,0x10(%rcx)
  const CodeFacts facts = ReadCode(
      "\xc7\x05\x00\x04\x00\x00\x10\x27\x00\x00\x48\x8d\x0d\x00\x01\x00\x00\xc7\x41\x10\x07\x00\x00\x00"sv,
      kHere);
  ASSERT_EQ(facts.stored_constants.size(), 2u);
  EXPECT_EQ(facts.stored_constants[0], (CodeFacts::StoredConstant{kHere + 10 + 0x400, 10000}));
  EXPECT_EQ(facts.stored_constants[1], (CodeFacts::StoredConstant{kHere + 17 + 0x110, 7}));
}

TEST(ReadCode, LimitsOfBytes) {
  // cmp $0x1b,%al; jae; nop; ret
  EXPECT_THAT(ReadCode("\x3c\x1b\x73\x01\x90\xc3"sv, kHere).byte_limits, ElementsAre(27u));
  // cmp $0x1a,%al; ja; nop; ret
  EXPECT_THAT(ReadCode("\x3c\x1a\x77\x01\x90\xc3"sv, kHere).byte_limits, ElementsAre(27u));
  // cmp $0x1a,%eax; ja; ret
  EXPECT_THAT(ReadCode("\x83\xf8\x1a\x77\x00\xc3"sv, kHere).byte_limits, IsEmpty());
  // cmp $0xff,%al; ja
  EXPECT_THAT(ReadCode("\x3c\xff\x77\x00"sv, kHere).byte_limits, ElementsAre(256u));
}

TEST(ReadCode, EndsAtBytesThatAreNoInstruction) {
  // mov 0x30(%r14),%rbx; (bad); mov 0x40(%r14),%rbx
  const CodeFacts facts = ReadCode("\x49\x8b\x5e\x30\x06\x49\x8b\x5e\x40"sv, kHere);
  EXPECT_FALSE(facts.whole);
  EXPECT_THAT(facts.loads_by_g, ElementsAre(0x30));
  EXPECT_FALSE(ReadCode("\x49\x8b"sv, kHere).whole) << "cut";
  EXPECT_TRUE(ReadCode(""sv, kHere).whole);
}

TEST(ReadCode, IsBounded) {
  const std::string nops(10 * kMostCode, '\x90');
  EXPECT_TRUE(ReadCode(nops, kHere).whole);
}

TEST(CodeFacts, OfSeveralBodies) {
  CodeFacts facts = ReadCode("\x49\x8b\x5e\x40"sv, kHere);
  facts.Add(ReadCode("\x49\x8b\x5e\x30\x49\x8b\x5e\x40"sv, kHere));
  EXPECT_THAT(facts.loads_by_g, ElementsAre(0x30, 0x40));
  facts.Add(ReadCode("\x06"sv, kHere));
  EXPECT_FALSE(facts.whole);
}

void ExpectSite(std::string_view code, int arguments, uint32_t offset, bool after_stack_check) {
  const auto site = CheapProbeSite(code, arguments);
  ASSERT_TRUE(site.has_value());
  EXPECT_EQ(site->offset, offset);
  EXPECT_EQ(site->after_stack_check, after_stack_check);
}

TEST(CheapProbeSite, TheBranchBehindTheStackCheck) {
  // cmp 0x10(%r14),%rsp; jbe 1f; push %rbp; mov %rsp,%rbp; ret; 1: call; jmp to the start
  ExpectSite("\x49\x3b\x66\x10\x76\x05\x55\x48\x89\xe5\xc3\xe8\x00\x00\x00\x00\xeb\xee"sv, 9, 4,
             true);
  // lea -0x200(%rsp),%r12; cmp 0x10(%r14),%r12; jbe
  ExpectSite("\x4c\x8d\xa4\x24\x00\xfe\xff\xff\x4d\x3b\x66\x10\x76\xf2"sv, 9, 12, true);
  // mov %rsp,%r12; sub $0x10000,%r12; jb; cmp 0x10(%r14),%r12; jbe
  ExpectSite("\x49\x89\xe4\x49\x81\xec\x00\x00\x01\x00\x72\xf4\x4d\x3b\x66\x10\x76\xee"sv, 9, 16,
             true);
}

TEST(CheapProbeSite, APush) {
  // push %rbp; mov %rsp,%rbp; sub $0x28,%rsp; ret
  ExpectSite("\x55\x48\x89\xe5\x48\x83\xec\x28\xc3"sv, 9, 0, false);
}

TEST(CheapProbeSite, ANopBeforeTheFirstCall) {
  // sub $0x28,%rsp; mov %rbp,0x20(%rsp); lea 0x20(%rsp),%rbp; nop; call
  ExpectSite("\x48\x83\xec\x28\x48\x89\x6c\x24\x20\x48\x8d\x6c\x24\x20\x90\xe8\xec\x00\x00\x00"sv,
             9, 14, false);
  // sub $0x28,%rsp; call; nop
  EXPECT_FALSE(CheapProbeSite("\x48\x83\xec\x28\xe8\xcf\xff\xff\xff\x90"sv, 9).has_value());
}

TEST(CheapProbeSite, LongNopsAreNotEmulatedByEveryKernel) {
  // xchg %ax,%ax; nopl (%rax); ret
  EXPECT_FALSE(CheapProbeSite("\x66\x90\x0f\x1f\x00\xc3"sv, 0).has_value());
}

TEST(CheapProbeSite, AllRunsComeBy) {
  // sub $8,%rsp; xor %edx,%edx; test %eax,%eax; je 1f; nop; 1: ret: the branch, not the nop
  ExpectSite("\x48\x83\xec\x08\x31\xd2\x85\xc0\x74\x01\x90\xc3"sv, 9, 8, false);
}

TEST(CheapProbeSite, ArgumentsAreStillThere) {
  // sub $0x28,%rsp; mov %rbx,%rax; nop; ret
  const auto code = "\x48\x83\xec\x28\x48\x89\xd8\x90\xc3"sv;
  EXPECT_FALSE(CheapProbeSite(code, 1).has_value());
  ExpectSite(code, 0, 7, false);
  // mov %rax,%r14; nop: the current g
  EXPECT_FALSE(CheapProbeSite("\x49\x89\xc6\x90\xc3"sv, 0).has_value());
}

TEST(CheapProbeSite, NotInALoop) {
  // sub $0x28,%rsp; 1: nop; dec %rdx; jne 1b; ret
  EXPECT_FALSE(CheapProbeSite("\x48\x83\xec\x28\x90\x48\xff\xca\x75\xfa\xc3"sv, 9).has_value());
}

TEST(CheapProbeSite, NothingInNothing) {
  EXPECT_FALSE(CheapProbeSite(""sv, 0).has_value());
  EXPECT_FALSE(CheapProbeSite("\x06"sv, 0).has_value());
  EXPECT_FALSE(CheapProbeSite("\xc3"sv, 0).has_value());
}

}  // namespace
}  // namespace stallscope
