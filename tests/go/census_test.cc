// SPDX-License-Identifier: Apache-2.0
#include "userspace/go/census.h"

#include <errno.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <string.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <string>

#include "symbolizer/go_table.h"
#include "tests/go/fake_memory.h"
#include "tests/symbolizer/go_test_program.h"

namespace stallscope {
namespace {

using symbolizer::GoFunctionRecord;
using symbolizer::TestFunction;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint64_t kBias = 0x5500'0000'0000;
constexpr uint64_t kAllglen = 0x10000, kAllgptr = 0x10008, kArray = 0x20000;
constexpr uint64_t kGs = 0x100000, kGSize = 480;
constexpr uint64_t kStacks = 0x40000000, kStackSize = 64 << 10;

// Code, each function 64 bytes: gopark keeps 16 bytes of stack, main.wait 32, main.work and
// main.other 48, goexit is the outermost, asyncPreempt interrupts, mcall changes stacks.
enum Function { kGopark, kWait, kWork, kOther, kGoexit, kAsyncPreempt, kMcall };

uint64_t CodeOf(Function function, uint64_t offset = 0) {
  return kBias + symbolizer::TestProgram::kCode + static_cast<uint64_t>(function) * 64 + offset;
}

std::vector<TestFunction> Functions() {
  std::vector<TestFunction> functions = {
      {"runtime.gopark", 64, {{64, 1}}, {{64, 16}}},
      {"main.wait", 64, {{64, 1}}, {{4, 0}, {64, 32}}},
      {"main.work", 64, {{64, 1}}, {{4, 0}, {64, 48}}},
      {"main.other", 64, {{64, 1}}, {{4, 0}, {64, 48}}},
      {"runtime.goexit", 64, {{64, 1}}, {{64, 0}}},
      {"runtime.asyncPreempt", 64, {{64, 1}}, {{64, 8}}},
      {"runtime.mcall", 64, {{64, 1}}, {{64, 8}}},
  };
  functions[kGoexit].flags = GoFunctionRecord::kTopFrame | GoFunctionRecord::kAssembly;
  functions[kMcall].flags = GoFunctionRecord::kWritesSp | GoFunctionRecord::kAssembly;
  return functions;
}

GoOffsets Offsets() {
  GoOffsets o;
  o.g_size = kGSize;
  o.g_stack_lo = 0;
  o.g_stack_hi = 8;
  o.g_sched_sp = 56;
  o.g_sched_pc = 64;
  o.g_syscallsp = 104;
  o.g_syscallpc = 112;
  o.g_atomicstatus = 144;
  o.g_goid = 152;
  o.g_waitreason = 176;
  o.g_tracking_seq = 191;
  o.g_lockedm = 208;
  o.g_parent_goid = 280;
  o.g_gopc = 288;
  o.g_startpc = 304;
  o.g_labels = 352;
  return o;
}

class CensusTest : public ::testing::Test {
 protected:
  void SetUp() override { Use(26); }

  void Use(int minor) {
    program_ = symbolizer::BuildTestProgram(Functions(), {.minor = minor});
    auto tables = symbolizer::GoBinary::Find(program_.View());
    ASSERT_TRUE(tables.ok());
    ASSERT_NE(*tables, nullptr);
    tables_ = std::move(*tables);
    runtime_ = GoRuntime();
    runtime_.version = tables_->version();
    runtime_.minor = minor;
    runtime_.offsets = Offsets();
    runtime_.load_bias = kBias;
    runtime_.tables = tables_.get();
    runtime_.allglen = kAllglen;
    runtime_.allgptr = kAllgptr;
  }

  static uint64_t G(uint64_t i) { return kGs + i * kGSize; }
  static uint64_t Hi(uint64_t i) { return kStacks + (i + 1) * kStackSize; }

  void List(uint64_t count) {
    memory_.Put(kAllglen, count);
    memory_.Put(kAllgptr, kArray);
    for (uint64_t i = 0; i < count; ++i) memory_.Put(kArray + i * 8, G(i));
  }

  // A stack of these return addresses, each pushed by the function before it; the last is goexit.
  // Returns where sp stands.
  uint64_t Push(uint64_t hi, const std::vector<uint64_t>& pcs) {
    uint64_t size = 0;
    std::vector<uint64_t> slots;
    for (size_t i = 0; i + 1 < pcs.size(); ++i) {
      const auto depth = tables_->StackDepth(pcs[i] - kBias);
      size += static_cast<uint64_t>(depth.value_or(0));
      slots.push_back(size);
      size += 8;
    }
    const uint64_t sp = hi - size - 32;
    for (size_t i = 0; i < slots.size(); ++i) memory_.Put(sp + slots[i], pcs[i + 1]);
    return sp;
  }

  void Goroutine_(uint64_t i, uint64_t id, uint32_t status, const std::vector<uint64_t>& pcs,
                  uint8_t seq = 1, uint8_t reason = 7) {
    const uint64_t g = G(i);
    const std::string zero(kGSize, '\0');
    memory_.Write(g, zero.data(), zero.size());
    const std::string page(4096, '\0');
    memory_.Write(Hi(i) - 4096, page.data(), page.size());
    memory_.Put<uint64_t>(g + 0, Hi(i) - 8192);
    memory_.Put<uint64_t>(g + 8, Hi(i));
    memory_.Write(Hi(i) - 8192, page.data(), page.size());
    memory_.Put(g + 144, status);
    memory_.Put(g + 152, id);
    memory_.Put(g + 176, reason);
    memory_.Put(g + 191, seq);
    memory_.Put<uint64_t>(g + 280, 1);
    memory_.Put(g + 288, CodeOf(kWork, 20));
    memory_.Put(g + 304, CodeOf(kWork));
    if (pcs.empty()) return;
    const uint64_t sp = Push(Hi(i), pcs);
    const bool syscall = (status & ~0x1000u) == kGoSyscall;
    memory_.Put(g + (syscall ? 104 : 56), sp);
    memory_.Put(g + (syscall ? 112 : 64), pcs[0]);
  }

  static std::vector<uint64_t> Waiting(Function in = kWork) {
    return {CodeOf(kGopark, 30), CodeOf(kWait, 20), CodeOf(in, 40), CodeOf(kGoexit, 1)};
  }

  std::unique_ptr<GoroutineCensus> Census(CensusOptions options = {}) {
    options.seed = 42;
    auto census = GoroutineCensus::Create(&memory_, runtime_, options);
    EXPECT_TRUE(census.ok());
    return std::move(*census);
  }

  static std::vector<uint64_t> Values(const GoStack& stack) {
    std::vector<uint64_t> values;
    for (const StackAddress& address : stack.addresses) values.push_back(address.value);
    return values;
  }

  symbolizer::TestProgram program_;
  std::unique_ptr<symbolizer::GoBinary> tables_;
  GoRuntime runtime_;
  FakeMemory memory_;
  Snapshot snapshot_;
};

TEST_F(CensusTest, EveryStatus) {
  List(8);
  Goroutine_(0, 1, kGoWaiting, Waiting());
  Goroutine_(1, 2, kGoRunnable | kGoScanBit, Waiting());
  Goroutine_(2, 3, kGoRunning, {});
  Goroutine_(3, 4, kGoSyscall, Waiting(kOther));
  Goroutine_(4, 5, kGoDead, {});
  Goroutine_(5, 6, kGoIdle, {});
  Goroutine_(6, 7, kGoDeadExtra, {});
  Goroutine_(7, 8, kGoPreempted, Waiting());
  const auto census = Census();
  ASSERT_TRUE(census->Take(1, &snapshot_).ok());
  ASSERT_EQ(snapshot_.goroutines.size(), 5u);
  EXPECT_EQ(snapshot_.listed, 8u);
  std::map<uint64_t, Goroutine> by_id;
  for (const Goroutine& goroutine : snapshot_.goroutines) by_id[goroutine.id] = goroutine;
  EXPECT_EQ(by_id[1].status, kGoWaiting);
  EXPECT_EQ(by_id[1].wait_reason, 7);
  EXPECT_EQ(by_id[1].parent_id, 1u);
  EXPECT_EQ(by_id[1].created_at, 0u);  // the first: the runtime's own start made it
  EXPECT_EQ(by_id[3].created_at, CodeOf(kWork, 20));
  EXPECT_EQ(by_id[1].start, CodeOf(kWork));
  EXPECT_EQ(by_id[1].g, G(0));
  EXPECT_EQ(Values(census->stack(by_id[1].stack)), Waiting());
  EXPECT_EQ(census->stack(by_id[1].stack).end, StackEnd::kComplete);
  EXPECT_EQ(by_id[2].status, kGoRunnable);
  EXPECT_EQ(by_id[2].stack, by_id[1].stack);
  EXPECT_EQ(by_id[3].stack, kNoGoStack);
  EXPECT_FALSE(by_id[3].unread);
  EXPECT_EQ(Values(census->stack(by_id[4].stack)), Waiting(kOther));
  EXPECT_EQ(by_id[8].stack, by_id[1].stack);
  EXPECT_EQ(census->stacks(), 2u);
  EXPECT_EQ(census->counters().torn, 0u);
}

// ---- whom goroutines wait for ----

class NoSockets : public Sockets {
 public:
  Answer Find(uint64_t, bool, Socket*) override { return Answer::kNoSocket; }
};

class CensusOfPeersTest : public CensusTest {
 protected:
  static constexpr uint64_t kWaiting = 320, kSudogs = 0x3d0000000000, kChannels = 0x3d0000100000;

  void SetUp() override {
    Use(26);
    runtime_.wait_reasons.assign(7, "something else");
    runtime_.wait_reasons.push_back("chan receive");
    runtime_.offsets.g_waiting = kWaiting;
    runtime_.offsets.sudog_is_select = 60;
    runtime_.offsets.sudog_elem_vu = 24;
    runtime_.offsets.sudog_c_vu = 88;
    options_.sockets = &sockets_;
  }
  static uint64_t Sudog(uint64_t i) { return kSudogs + i * 4096; }
  static std::string Channel(uint64_t i) { return fmt::format("{:#x}", kChannels + i * 4096); }

  // Goroutine `i` waits for channel `channel`.
  void Wait(uint64_t i, uint64_t channel, uint8_t seq = 1) {
    Goroutine_(i, i + 1, kGoWaiting, Waiting(), seq);
    memory_.Put(G(i) + kWaiting, Sudog(i));
    const std::string zero(128, '\0');
    memory_.Write(Sudog(i), zero.data(), zero.size());
    memory_.Put(Sudog(i), G(i));
    memory_.Put(Sudog(i) + 88, kChannels + channel * 4096);
  }
  std::string PeerOf(const GoroutineCensus& census, uint64_t i) {
    const GoPeerIndex peer = snapshot_.goroutines.at(i).peer;
    return peer == kNoGoPeer ? "" : census.peer(peer);
  }

  NoSockets sockets_;
  CensusOptions options_;
};

TEST_F(CensusOfPeersTest, ReadWithTheStack) {
  List(100);
  for (uint64_t i = 0; i < 100; ++i) Wait(i, i / 2);
  const auto census = Census(options_);
  ASSERT_TRUE(census->Take(1, &snapshot_).ok());
  ASSERT_EQ(snapshot_.goroutines.size(), 100u);
  for (uint64_t i = 0; i < 100; ++i) EXPECT_EQ(PeerOf(*census, i), Channel(i / 2));
  EXPECT_EQ(census->counters().peers, 100u);
  EXPECT_LT(memory_.calls, 20u) << "none for a goroutine of its own";
  Wait(7, 99, 2);
  ASSERT_TRUE(census->Take(1, &snapshot_).ok());
  EXPECT_EQ(PeerOf(*census, 7), Channel(99));
  EXPECT_EQ(PeerOf(*census, 8), Channel(4));
}

TEST_F(CensusOfPeersTest, RecordsThatAreNone) {
  List(5);
  for (uint64_t i = 0; i < 5; ++i) Wait(i, i);
  memory_.Put(Sudog(0), G(1));                               // another's
  memory_.Put(Sudog(1) + 60, uint8_t{1});                    // of a select
  memory_.Put(G(2) + kWaiting, uint64_t{0x7000'0000'0000});  // not readable
  memory_.Put(G(3) + kWaiting, uint64_t{0xffff'8000'0000'0000});
  const auto census = Census(options_);
  ASSERT_TRUE(census->Take(1, &snapshot_).ok());
  ASSERT_EQ(snapshot_.goroutines.size(), 5u);
  for (uint64_t i = 0; i < 5; ++i) {
    EXPECT_EQ(PeerOf(*census, i), i < 4 ? "" : Channel(4)) << i;
    ASSERT_NE(snapshot_.goroutines[i].stack, kNoGoStack);
    EXPECT_EQ(Values(census->stack(snapshot_.goroutines[i].stack)), Waiting());
  }
  EXPECT_EQ(census->counters().peers_unknown, 4u);
}

// It goes on to another channel at any moment while it is looked at: it is never said to wait for
// the one and with the state of the other.
TEST_F(CensusOfPeersTest, GoesOnMeanwhile) {
  for (int moment = 0; moment < 12; ++moment) {
    List(1);
    Wait(0, 1, 1);
    const auto census = Census(options_);
    int left = moment;
    memory_.after_read = [&](const MemoryRange&) {
      if (left-- != 0) return;
      Wait(0, 2, 2);
    };
    ASSERT_TRUE(census->Take(1, &snapshot_).ok());
    memory_.after_read = nullptr;
    ASSERT_EQ(snapshot_.goroutines.size(), 1u);
    const std::string wanted = Channel(snapshot_.goroutines[0].tracking_seq);
    EXPECT_THAT(PeerOf(*census, 0), ::testing::AnyOf(wanted, "")) << moment;
  }
}

TEST_F(CensusTest, ReturnAddressesAndInterruptions) {
  List(2);
  Goroutine_(
      0, 1, kGoRunnable,
      {CodeOf(kGopark, 30), CodeOf(kAsyncPreempt, 10), CodeOf(kWork, 40), CodeOf(kGoexit, 1)});
  Goroutine_(1, 2, kGoRunnable, {CodeOf(kWork), CodeOf(kGoexit, 1)});  // has not begun
  const auto census = Census();
  ASSERT_TRUE(census->Take(1, &snapshot_).ok());
  ASSERT_EQ(snapshot_.goroutines.size(), 2u);
  EXPECT_THAT(
      census->stack(snapshot_.goroutines[0].stack).addresses,
      ElementsAre(StackAddress{CodeOf(kGopark, 30), true},
                  StackAddress{CodeOf(kAsyncPreempt, 10), true},
                  StackAddress{CodeOf(kWork, 40), false}, StackAddress{CodeOf(kGoexit, 1), true}));
  EXPECT_THAT(
      census->stack(snapshot_.goroutines[1].stack).addresses,
      ElementsAre(StackAddress{CodeOf(kWork), false}, StackAddress{CodeOf(kGoexit, 1), true}));
}

// What frame pointers led to is told as the tables tell the same stack.
TEST_F(CensusTest, AddressesThatFramePointersLedTo) {
  GoUnwinder unwinder(tables_.get(), kBias);
  std::vector<StackAddress> frames;
  EXPECT_EQ(unwinder.Adopt({CodeOf(kGopark, 30), CodeOf(kAsyncPreempt, 10), CodeOf(kWork, 40),
                            CodeOf(kGoexit, 1)},
                           /*doubtful_second=*/false, StackEnd::kLeftStack, &frames),
            StackEnd::kComplete);
  EXPECT_THAT(frames, ElementsAre(StackAddress{CodeOf(kGopark, 30), true},
                                  StackAddress{CodeOf(kAsyncPreempt, 10), true},
                                  StackAddress{CodeOf(kWork, 40), false},
                                  StackAddress{CodeOf(kGoexit, 1), true}));
  // Before main.work has made its frame the word on the stack is its caller; later it is not.
  const std::vector<StackAddress> begun = {{CodeOf(kWork, 40), true}, {CodeOf(kGoexit, 1), true}};
  const std::vector<StackAddress> at_entry = {
      {CodeOf(kWork, 2), true}, {CodeOf(kOther, 20), true}, {CodeOf(kGoexit, 1), true}};
  unwinder.Adopt({CodeOf(kWork, 2), CodeOf(kOther, 20), CodeOf(kGoexit, 1)}, true,
                 StackEnd::kComplete, &frames);
  EXPECT_EQ(frames, at_entry);
  unwinder.Adopt({CodeOf(kWork, 40), CodeOf(kOther, 20), CodeOf(kGoexit, 1)}, true,
                 StackEnd::kComplete, &frames);
  EXPECT_EQ(frames, begun);
  // An address outside Go's code ends it, whatever comes after.
  EXPECT_EQ(unwinder.Adopt({CodeOf(kWork, 40), 0x1234, CodeOf(kGoexit, 1)}, false,
                           StackEnd::kComplete, &frames),
            StackEnd::kNotACall);
  EXPECT_EQ(frames.size(), 1u);
  EXPECT_EQ(unwinder.Adopt({}, true, StackEnd::kUnreadable, &frames), StackEnd::kUnreadable);
  EXPECT_THAT(frames, IsEmpty());
}

TEST_F(CensusTest, AnUnchangedGoroutineIsNotUnwoundAgain) {
  List(3);
  for (uint64_t i = 0; i < 3; ++i) Goroutine_(i, i + 1, kGoWaiting, Waiting());
  const auto census = Census();
  ASSERT_TRUE(census->Take(1, &snapshot_).ok());
  EXPECT_EQ(census->counters().stacks_read, 3u);
  EXPECT_FALSE(snapshot_.goroutines[0].same_wait);
  ASSERT_TRUE(census->Take(1, &snapshot_).ok());
  EXPECT_EQ(census->counters().stacks_read, 3u);
  ASSERT_EQ(snapshot_.goroutines.size(), 3u);
  for (const Goroutine& goroutine : snapshot_.goroutines) {
    EXPECT_TRUE(goroutine.same_wait);
    EXPECT_EQ(Values(census->stack(goroutine.stack)), Waiting());
  }

  // One ran and waits at the very same place: only the sequence number tells.
  Goroutine_(1, 2, kGoWaiting, Waiting(kOther), 2);
  ASSERT_TRUE(census->Take(1, &snapshot_).ok());
  EXPECT_EQ(census->counters().stacks_read, 4u);
  EXPECT_TRUE(snapshot_.goroutines[0].same_wait);
  EXPECT_FALSE(snapshot_.goroutines[1].same_wait);
  EXPECT_EQ(Values(census->stack(snapshot_.goroutines[1].stack)), Waiting(kOther));

  // One was woken and has not run yet: its stack is the same, its wait is over.
  Goroutine_(0, 1, kGoRunnable, Waiting());
  ASSERT_TRUE(census->Take(1, &snapshot_).ok());
  EXPECT_FALSE(snapshot_.goroutines[0].same_wait);
  EXPECT_EQ(snapshot_.goroutines[0].status, kGoRunnable);
  EXPECT_EQ(Values(census->stack(snapshot_.goroutines[0].stack)), Waiting());
}

TEST_F(CensusTest, AnotherGoroutineInTheSameStructure) {
  List(1);
  Goroutine_(0, 1, kGoWaiting, Waiting());
  const auto census = Census();
  ASSERT_TRUE(census->Take(1, &snapshot_).ok());
  Goroutine_(0, 2, kGoWaiting, Waiting(kOther));
  ASSERT_TRUE(census->Take(1, &snapshot_).ok());
  ASSERT_EQ(snapshot_.goroutines.size(), 1u);
  EXPECT_FALSE(snapshot_.goroutines[0].same_wait);
  EXPECT_EQ(Values(census->stack(snapshot_.goroutines[0].stack)), Waiting(kOther));
}

TEST_F(CensusTest, AMovedStackIsTheSameWait) {
  List(1);
  Goroutine_(0, 1, kGoWaiting, Waiting());
  const auto census = Census();
  ASSERT_TRUE(census->Take(1, &snapshot_).ok());
  const uint64_t hi = Hi(5), sp = Push(hi, Waiting());
  memory_.Put<uint64_t>(G(0), hi - 2048);
  memory_.Put(G(0) + 8, hi);
  memory_.Put(G(0) + 56, sp);
  ASSERT_TRUE(census->Take(1, &snapshot_).ok());
  EXPECT_TRUE(snapshot_.goroutines[0].same_wait);
  EXPECT_EQ(snapshot_.goroutines[0].sp, sp);
}

// From go1.26 on a system call does not count in trackingSeq: the stack is read each time, and no
// two looks are taken for the same call.
TEST_F(CensusTest, SystemCallsAreToldApartWhereTheyCanBe) {
  for (const int minor : {25, 26}) {
    Use(minor);
    List(1);
    Goroutine_(0, 1, kGoSyscall, Waiting());
    const auto census = Census();
    ASSERT_TRUE(census->Take(1, &snapshot_).ok());
    Goroutine_(0, 1, kGoSyscall, Waiting(kOther));
    if (minor < 26) memory_.Put<uint8_t>(G(0) + 191, 2);
    ASSERT_TRUE(census->Take(1, &snapshot_).ok());
    EXPECT_EQ(Values(census->stack(snapshot_.goroutines[0].stack)), Waiting(kOther)) << minor;
    ASSERT_TRUE(census->Take(1, &snapshot_).ok());
    EXPECT_EQ(snapshot_.goroutines[0].same_wait, minor < 26) << minor;
  }
}

// The goroutine goes on between the first reading of its g and the second, as often as asked.
class MovingTest : public CensusTest {
 protected:
  // From now on moves each time after its stack was read.
  void MoveAfterStackReads(int times) {
    left_ = times;
    memory_.after_read = [this](const MemoryRange& range) {
      if (range.address < Hi(0) - 8192 || range.address >= Hi(0) || left_ == 0) return;
      --left_;
      const bool other = (++moves_ % 2) != 0;
      Goroutine_(0, 1, kGoWaiting, Waiting(other ? kOther : kWork),
                 static_cast<uint8_t>(1 + moves_));
    };
  }
  int left_ = 0, moves_ = 0;
};

TEST_F(MovingTest, ATornReadingIsMadeAgain) {
  List(2);
  Goroutine_(0, 1, kGoWaiting, Waiting());
  Goroutine_(1, 2, kGoWaiting, Waiting());
  const auto census = Census();
  MoveAfterStackReads(3);
  ASSERT_TRUE(census->Take(1, &snapshot_).ok());
  ASSERT_EQ(snapshot_.goroutines.size(), 2u);
  EXPECT_EQ(census->counters().torn, 3u);
  EXPECT_EQ(census->counters().unread, 0u);
  EXPECT_EQ(Values(census->stack(snapshot_.goroutines[0].stack)), Waiting(kOther));
  EXPECT_EQ(snapshot_.goroutines[0].tracking_seq, 4);
}

TEST_F(MovingTest, OneThatNeverHoldsStillIsCountedWithoutItsStack) {
  List(1);
  Goroutine_(0, 1, kGoWaiting, Waiting());
  const auto census = Census();
  MoveAfterStackReads(1000);
  ASSERT_TRUE(census->Take(1, &snapshot_).ok());
  ASSERT_EQ(snapshot_.goroutines.size(), 1u);
  EXPECT_EQ(snapshot_.goroutines[0].stack, kNoGoStack);
  EXPECT_TRUE(snapshot_.goroutines[0].unread);
  EXPECT_EQ(snapshot_.goroutines[0].status, kGoWaiting);
  EXPECT_EQ(snapshot_.goroutines[0].wait_reason, 7);
  EXPECT_EQ(census->counters().unread, 1u);
  MoveAfterStackReads(0);
  ASSERT_TRUE(census->Take(1, &snapshot_).ok());
  EXPECT_FALSE(snapshot_.goroutines[0].unread);
  EXPECT_NE(snapshot_.goroutines[0].stack, kNoGoStack);
}

TEST_F(MovingTest, OneThatEndsWhileItIsReadIsNotThere) {
  List(2);
  Goroutine_(0, 1, kGoWaiting, Waiting());
  Goroutine_(1, 2, kGoWaiting, Waiting());
  const auto census = Census();
  memory_.after_read = [this](const MemoryRange& range) {
    if (range.address >= Hi(0) - 8192 && range.address < Hi(0)) Goroutine_(0, 1, kGoDead, {});
  };
  ASSERT_TRUE(census->Take(1, &snapshot_).ok());
  ASSERT_EQ(snapshot_.goroutines.size(), 1u);
  EXPECT_EQ(snapshot_.goroutines[0].id, 2u);
}

// What decides that a goroutine is read a second time must not be what it was doing the first time:
// else it would be counted as waiting too rarely.
TEST_F(MovingTest, AnActiveGoroutineIsSeenAtTheSecondReadingWhateverItDidAtTheFirst) {
  List(1);
  const auto census = Census();
  for (uint8_t seq = 1; seq < 4; ++seq) {
    Goroutine_(0, 1, kGoWaiting, Waiting(), seq);
    ASSERT_TRUE(census->Take(1, &snapshot_).ok());
  }
  Goroutine_(0, 1, kGoRunning, Waiting(), 4);
  memory_.after_read = [this](const MemoryRange& range) {
    if (range.address == G(0)) Goroutine_(0, 1, kGoWaiting, Waiting(kOther), 4);
    memory_.after_read = nullptr;
  };
  ASSERT_TRUE(census->Take(1, &snapshot_).ok());
  ASSERT_EQ(snapshot_.goroutines.size(), 1u);
  EXPECT_EQ(snapshot_.goroutines[0].status, kGoRunning) << "the list was read, not yet the g";

  Goroutine_(0, 1, kGoRunning, Waiting(), 4);
  int reads = 0;
  memory_.after_read = [this, &reads](const MemoryRange& range) {
    if (range.address == G(0) && ++reads == 1) {
      Goroutine_(0, 1, kGoWaiting, Waiting(kOther), 5);
    }
  };
  ASSERT_TRUE(census->Take(1, &snapshot_).ok());
  ASSERT_EQ(snapshot_.goroutines.size(), 1u);
  EXPECT_EQ(snapshot_.goroutines[0].status, kGoWaiting);
  EXPECT_EQ(Values(census->stack(snapshot_.goroutines[0].stack)), Waiting(kOther));
}

TEST_F(CensusTest, DeepStacks) {
  List(1);
  std::vector<uint64_t> pcs = {CodeOf(kGopark, 30)};
  for (int i = 0; i < 400; ++i) pcs.push_back(CodeOf(kWork, 40));
  pcs.push_back(CodeOf(kGoexit, 1));
  Goroutine_(0, 1, kGoWaiting, {});
  for (uint64_t at = Hi(0) - kStackSize / 2; at < Hi(0); at += 8) memory_.Put<uint64_t>(at, 0);
  memory_.Put<uint64_t>(G(0), Hi(0) - kStackSize / 2);
  memory_.Put(G(0) + 56, Push(Hi(0), pcs));
  memory_.Put(G(0) + 64, pcs[0]);
  {
    const auto census = Census();
    ASSERT_TRUE(census->Take(1, &snapshot_).ok());
    EXPECT_EQ(Values(census->stack(snapshot_.goroutines[0].stack)), pcs);
    EXPECT_EQ(census->counters().incomplete, 0u);
  }
  {
    const auto census = Census({.max_frames = 100});
    ASSERT_TRUE(census->Take(1, &snapshot_).ok());
    const GoStack& stack = census->stack(snapshot_.goroutines[0].stack);
    EXPECT_EQ(stack.end, StackEnd::kFull);
    EXPECT_EQ(stack.addresses.size(), 100u);
    EXPECT_EQ(census->counters().incomplete, 1u);
  }
  {
    const auto census = Census({.max_stack_bytes = 8 << 10});
    ASSERT_TRUE(census->Take(1, &snapshot_).ok());
    EXPECT_EQ(census->stack(snapshot_.goroutines[0].stack).end, StackEnd::kFull);
  }
}

TEST_F(CensusTest, TheListGrowsAndMoves) {
  List(20);
  for (uint64_t i = 0; i < 60; ++i) Goroutine_(i, i + 1, kGoWaiting, Waiting());
  const auto census = Census();
  ASSERT_TRUE(census->Take(1, &snapshot_).ok());
  EXPECT_EQ(snapshot_.goroutines.size(), 20u);
  // It grew into another array; new structures lie before and between the old ones.
  constexpr uint64_t kNewArray = kArray + 0x8000;
  for (uint64_t i = 0; i < 60; ++i) memory_.Put(kNewArray + i * 8, G(i));
  memory_.Put(kAllgptr, kNewArray);
  memory_.Put<uint64_t>(kAllglen, 60);
  ASSERT_TRUE(census->Take(1, &snapshot_).ok());
  ASSERT_EQ(snapshot_.goroutines.size(), 60u);
  size_t same = 0;
  std::set<uint64_t> ids;
  for (const Goroutine& goroutine : snapshot_.goroutines) {
    same += goroutine.same_wait;
    ids.insert(goroutine.id);
  }
  EXPECT_EQ(same, 20u);
  EXPECT_EQ(ids.size(), 60u);

  memory_.Put<uint64_t>(kNewArray + 59 * 8, G(3));
  memory_.Put(kAllgptr, kArray);  // which has another content
  EXPECT_EQ(census->Take(1, &snapshot_).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(CensusTest, AListThatLies) {
  List(4);
  for (uint64_t i = 0; i < 4; ++i) Goroutine_(i, i + 1, kGoWaiting, Waiting());
  {
    // One twice, one that is no address, one that is not mapped, one that would wrap around.
    const auto census = Census();
    memory_.Put<uint64_t>(kAllglen, 8);
    memory_.Put(kArray + 4 * 8, G(1));
    memory_.Put<uint64_t>(kArray + 5 * 8, 3);
    memory_.Put<uint64_t>(kArray + 6 * 8, 0x7000'0000'0000);
    memory_.Put<uint64_t>(kArray + 7 * 8, ~uint64_t{7});
    ASSERT_TRUE(census->Take(1, &snapshot_).ok());
    EXPECT_EQ(snapshot_.goroutines.size(), 4u);
    EXPECT_EQ(census->counters().refused, 3u);
    EXPECT_EQ(census->counters().unreadable, 1u);
    memory_.Put<uint64_t>(kAllglen, 4);
    const absl::Status status = census->Take(1, &snapshot_);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_NE(std::string(status.message()).find("shrank"), std::string::npos);
  }
  for (const uint64_t length : {uint64_t{5} << 20, ~uint64_t{0}, uint64_t{1} << 63}) {
    memory_.Put(kAllglen, length);
    EXPECT_EQ(Census()->Take(1, &snapshot_).code(), absl::StatusCode::kResourceExhausted) << length;
  }
  memory_.Put<uint64_t>(kAllglen, 4000000);  // allowed, but not there
  EXPECT_EQ(Census()->Take(1, &snapshot_).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(CensusTest, AnUnreadableStructureHidesNoOther) {
  List(40);
  for (uint64_t i = 0; i < 40; ++i) Goroutine_(i, i + 1, kGoWaiting, Waiting());
  // Close enough to be read together with its neighbours, on a page that is not there.
  const uint64_t absent = ((G(39) + kGSize + 4095) & ~uint64_t{4095}) - 8;
  ASSERT_LT(absent - G(39), kGSize + 4096);
  memory_.Put<uint64_t>(kAllglen, 41);
  memory_.Put(kArray + 40 * 8, absent);
  const auto census = Census();
  ASSERT_TRUE(census->Take(1, &snapshot_).ok());
  EXPECT_EQ(snapshot_.goroutines.size(), 40u);
  EXPECT_EQ(census->counters().unreadable, 1u);
}

TEST_F(CensusTest, StacksThatAreNone) {
  List(7);
  for (uint64_t i = 0; i < 7; ++i) Goroutine_(i, i + 1, kGoWaiting, Waiting());
  memory_.Put<uint64_t>(G(0) + 56, 0);                  // sp outside
  memory_.Put<uint64_t>(G(1) + 8, ~uint64_t{0} - 7);    // hi absurd
  memory_.Put<uint64_t>(G(2) + 64, 0x1234);             // pc nowhere
  memory_.Put<uint64_t>(G(3) + 64, CodeOf(kMcall, 8));  // depth not known
  memory_.Put<uint64_t>(G(4), 0x6000'0000'0000);        // a stack that is not mapped
  memory_.Put<uint64_t>(G(4) + 8, 0x6000'0000'2000);
  memory_.Put<uint64_t>(G(4) + 56, 0x6000'0000'1000);
  const uint64_t sp = Hi(5) - 16;  // ends in the middle of a frame
  memory_.Put(G(5) + 56, sp);
  const auto census = Census();
  ASSERT_TRUE(census->Take(1, &snapshot_).ok());
  ASSERT_EQ(snapshot_.goroutines.size(), 7u);
  const auto& goroutines = snapshot_.goroutines;
  EXPECT_TRUE(goroutines[0].unread);
  EXPECT_TRUE(goroutines[1].unread);
  for (const int i : {2, 3, 5, 6}) ASSERT_NE(goroutines[i].stack, kNoGoStack) << i;
  EXPECT_EQ(census->stack(goroutines[2].stack).end, StackEnd::kNotACall);
  EXPECT_THAT(census->stack(goroutines[2].stack).addresses, IsEmpty());
  EXPECT_EQ(census->stack(goroutines[3].stack).end, StackEnd::kNotACall);
  EXPECT_TRUE(goroutines[4].unread);
  EXPECT_EQ(census->stack(goroutines[5].stack).end, StackEnd::kLeftStack);
  EXPECT_EQ(Values(census->stack(goroutines[6].stack)), Waiting());
}

TEST_F(CensusTest, LabelsAreReadOnceInAWait) {
  List(3);
  for (uint64_t i = 0; i < 3; ++i) Goroutine_(i, i + 1, kGoWaiting, Waiting());
  runtime_.labels_are_slice = true;
  constexpr uint64_t kLabels = 0x30000, kText = 0x30100;
  memory_.Write(kText, "keyvalue", 8);
  for (const uint64_t word :
       {kLabels + 24, uint64_t{1}, uint64_t{1}, kText, uint64_t{3}, kText + 3, uint64_t{5}}) {
    static uint64_t at = kLabels;
    memory_.Put(at, word);
    at += 8;
  }
  memory_.Put(G(0) + 352, kLabels);
  memory_.Put(G(1) + 352, kLabels);
  const auto census = Census();
  ASSERT_TRUE(census->Take(1, &snapshot_).ok());
  ASSERT_EQ(snapshot_.goroutines.size(), 3u);
  ASSERT_NE(snapshot_.goroutines[0].label_set, kNoGoLabels);
  EXPECT_EQ(census->labels(snapshot_.goroutines[0].label_set), (GoLabels{{"key", "value"}}));
  EXPECT_EQ(snapshot_.goroutines[1].label_set, snapshot_.goroutines[0].label_set);
  EXPECT_EQ(snapshot_.goroutines[2].label_set, kNoGoLabels);

  memory_.calls = 0;
  ASSERT_TRUE(census->Take(1, &snapshot_).ok());
  EXPECT_EQ(memory_.calls, 2u) << "the list and the structures";
  EXPECT_EQ(census->labels(snapshot_.goroutines[0].label_set), (GoLabels{{"key", "value"}}));

  // Another wait: another set may lie at the same address.
  memory_.Write(kText, "keyother", 8);
  Goroutine_(0, 1, kGoWaiting, Waiting(), 2);
  memory_.Put(G(0) + 352, kLabels);
  ASSERT_TRUE(census->Take(1, &snapshot_).ok());
  EXPECT_EQ(census->labels(snapshot_.goroutines[0].label_set), (GoLabels{{"key", "other"}}));
  EXPECT_EQ(census->counters().labels_unread, 0u);

  // Given up while they were read.
  Goroutine_(0, 1, kGoWaiting, Waiting(), 3);
  memory_.Put(G(0) + 352, kLabels);
  memory_.after_read = [this](const MemoryRange& range) {
    if (range.address == kText) memory_.Put<uint64_t>(G(0) + 352, 0);
  };
  ASSERT_TRUE(census->Take(1, &snapshot_).ok());
  EXPECT_EQ(snapshot_.goroutines[0].label_set, kNoGoLabels);
  EXPECT_EQ(census->counters().labels_unread, 1u);
}

TEST_F(CensusTest, FullTablesAreCounted) {
  List(2);
  Goroutine_(0, 1, kGoWaiting, Waiting());
  Goroutine_(1, 2, kGoWaiting, Waiting(kOther));
  const auto census = Census({.max_stacks = 1});
  ASSERT_TRUE(census->Take(1, &snapshot_).ok());
  EXPECT_EQ(census->stacks(), 1u);
  EXPECT_EQ(census->counters().stacks_lost, 1u);
  EXPECT_EQ(snapshot_.goroutines[1].stack, kNoGoStack);
}

TEST_F(CensusTest, TheEndOfTheProcess) {
  List(200);
  for (uint64_t i = 0; i < 200; ++i) Goroutine_(i, i + 1, kGoWaiting, Waiting());
  for (const int reads : {0, 1, 2, 3, 50}) {
    const auto census = Census();
    int left = reads;
    memory_.gone = reads == 0;
    memory_.after_read = [&](const MemoryRange&) { memory_.gone = --left <= 0; };
    const absl::Status status = census->Take(1, &snapshot_);
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << reads;
    EXPECT_EQ(census->Take(1, &snapshot_).code(), absl::StatusCode::kNotFound);
  }
}

TEST_F(CensusTest, ImpossibleOffsetsAreRefused) {
  runtime_.offsets.g_goid = GoOffsets::kNoField;
  EXPECT_EQ(GoroutineCensus::Create(&memory_, runtime_).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(CensusTest, APartIsAFairSample) {
  constexpr uint64_t kCount = 400;
  List(kCount);
  for (uint64_t i = 0; i < kCount; ++i) {
    Goroutine_(i, i + 1, i % 10 == 0 ? kGoDead : kGoWaiting, Waiting());
  }
  const auto census = Census();
  ASSERT_TRUE(census->Take(1, &snapshot_).ok());
  const uint64_t whole = census->counters().looks;
  EXPECT_EQ(whole, kCount * 9 / 10);

  constexpr int kTakes = 4000;
  std::vector<int> seen(kCount + 1, 0);
  double estimates = 0;
  for (int take = 0; take < kTakes; ++take) {
    ASSERT_TRUE(census->Take(0.2, &snapshot_).ok());
    ASSERT_EQ(snapshot_.units_taken, snapshot_.units / 5);
    std::map<uint32_t, std::set<uint64_t>> members;
    for (const Goroutine& goroutine : snapshot_.goroutines) {
      ASSERT_LT(goroutine.unit, snapshot_.units_taken);
      ++seen[goroutine.id];
      members[goroutine.unit].insert(goroutine.id);
    }
    for (const auto& [unit, ids] : members) ASSERT_LE(*ids.rbegin() - *ids.begin(), 15u);
    estimates += snapshot_.weight * static_cast<double>(snapshot_.goroutines.size());
  }
  // Each is taken with probability 0.2: six standard deviations of a binomial.
  for (uint64_t id = 1; id <= kCount; ++id) {
    if ((id - 1) % 10 == 0) {
      EXPECT_EQ(seen[id], 0);
    } else {
      EXPECT_NEAR(seen[id], 0.2 * kTakes, 6 * std::sqrt(kTakes * 0.2 * 0.8)) << id;
    }
  }
  EXPECT_NEAR(estimates / kTakes, static_cast<double>(whole), 0.01 * static_cast<double>(whole));
}

TEST_F(CensusTest, NeighboursAreReadTogether) {
  constexpr uint64_t kCount = 2000;
  List(kCount);
  for (uint64_t i = 0; i < kCount; ++i) Goroutine_(i, i + 1, kGoWaiting, Waiting());
  const auto census = Census();
  ASSERT_TRUE(census->Take(1, &snapshot_).ok());
  memory_.calls = memory_.bytes_read = 0;
  ASSERT_TRUE(census->Take(1, &snapshot_).ok());
  EXPECT_LE(memory_.calls, 1 + kCount * kGSize / (90 << 10) + 1);
  EXPECT_LE(memory_.bytes_read, kCount * kGSize + 16);
}

}  // namespace
}  // namespace stallscope
