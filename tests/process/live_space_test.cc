// SPDX-License-Identifier: Apache-2.0
//
// Layouts on the test's own address space: files that are really mapped take each other's place.
#include "userspace/process/live_space.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>

namespace stallscope {
namespace {

constexpr size_t kSize = 64 * 4096;

std::vector<MapsLine> ExecutableLines() {
  auto layout = LiveSpace::ReadLayout(getpid());
  return layout.ok() ? layout->lines : std::vector<MapsLine>();
}

// Addresses that stay ours: what is unmapped there is closed to the allocator, whose memory would
// else take its place.
class Room {
 public:
  explicit Room(size_t size = kSize) : size_(size) {
    start_ = reinterpret_cast<uint64_t>(
        mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  }
  ~Room() { munmap(reinterpret_cast<void*>(start_), size_); }
  void Clear() {
    mmap(reinterpret_cast<void*>(start_), size_, PROT_NONE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  }
  uint64_t start() const { return start_; }

 private:
  size_t size_;
  uint64_t start_ = 0;
};

// The code of a file around an address of ours, mapped a second time at the start of a room.
// `size`: bytes of it. Returns where `around` lies there; 0 when it could not be mapped.
uint64_t MapCode(const Room& room, const void* around, size_t size = kSize) {
  const uint64_t address = reinterpret_cast<uint64_t>(around);
  for (const MapsLine& line : ExecutableLines()) {
    if (address < line.start || address >= line.end) continue;
    const uint64_t skip = (address - line.start) / 4096 * 4096;
    const int fd = open(line.path.c_str(), O_RDONLY | O_CLOEXEC);
    void* at = mmap(reinterpret_cast<void*>(room.start()), size, PROT_READ | PROT_EXEC,
                    MAP_PRIVATE | MAP_FIXED, fd, line.file_offset + skip);
    close(fd);
    return at == MAP_FAILED ? 0 : room.start() + (address - line.start - skip);
  }
  return 0;
}

class LiveSpaceTest : public testing::Test {
 protected:
  void SetUp() override {
    auto space = LiveSpace::Open(getpid(), &modules_);
    ASSERT_TRUE(space.ok()) << space.status();
    space_ = *std::move(space);
  }
  static std::string NameAt(const LiveSpace& space, uint64_t address) {
    const auto frames = space.Lookup(address, /*is_return=*/false);
    return frames.empty() ? "" : frames.back().function;
  }

  symbolizer::ModuleCache modules_;
  std::unique_ptr<LiveSpace> space_;
  const void* in_c_library_ = reinterpret_cast<const void*>(&getppid);
  const void* in_the_test_ = reinterpret_cast<const void*>(&ExecutableLines);
};

bool Covers(const std::vector<LiveSpace::Range>& ranges, uint64_t address) {
  return std::any_of(ranges.begin(), ranges.end(), [&](const LiveSpace::Range& range) {
    return address >= range.start && address < range.end;
  });
}

TEST_F(LiveSpaceTest, AnotherFileAtAnAddressBeginsASuccessor) {
  Room room;
  const uint64_t place = room.start();
  const uint64_t first = MapCode(room, in_c_library_);
  ASSERT_NE(first, 0u);
  EXPECT_TRUE(space_->Add(ExecutableLines()).empty());
  const std::string name = NameAt(*space_, first);
  ASSERT_NE(name, "");
  EXPECT_EQ(name, NameAt(*space_, reinterpret_cast<uint64_t>(in_c_library_)));
  room.Clear();
  const uint64_t second = MapCode(room, in_the_test_);
  ASSERT_NE(second, 0u);

  const auto contradicted = space_->Add(ExecutableLines());
  EXPECT_TRUE(Covers(contradicted, place));
  EXPECT_TRUE(Covers(contradicted, place + kSize - 1));
  EXPECT_FALSE(Covers(contradicted, reinterpret_cast<uint64_t>(in_c_library_)));
  EXPECT_EQ(NameAt(*space_, first), name);  // it is of its own time

  const auto after = space_->Successor(ExecutableLines());
  EXPECT_NE(NameAt(*after, first), name);
  EXPECT_NE(NameAt(*after, second).find("ExecutableLines"), std::string::npos);
  EXPECT_TRUE(after->Add(ExecutableLines()).empty());
  EXPECT_EQ(NameAt(*after, reinterpret_cast<uint64_t>(in_c_library_)), name);

  const auto between = space_->CopyFor(getpid());
  between->Blank(contradicted);
  for (const uint64_t address : {first, second}) {
    EXPECT_EQ(NameAt(*between, address), "");
    EXPECT_TRUE(between->IsExecutable(address));
    EXPECT_TRUE(between->FollowsCall(address));  // nobody can say that it does not
  }
  EXPECT_EQ(NameAt(*between, reinterpret_cast<uint64_t>(in_c_library_)), name);
  EXPECT_TRUE(between->Add(ExecutableLines()).empty());
  EXPECT_EQ(NameAt(*between, second), "");  // for ever
  for (const Mapping& mapping : between->Mappings()) {
    if (place >= mapping.start && place < mapping.end) {
      EXPECT_EQ(mapping.path, "");
    }
  }
}

TEST_F(LiveSpaceTest, WhatIsOnlyUnmappedKeepsItsNames) {
  Room room;
  const uint64_t twin = MapCode(room, in_c_library_);
  space_->Add(ExecutableLines());
  const std::string name = NameAt(*space_, twin);
  ASSERT_NE(name, "");
  room.Clear();
  EXPECT_TRUE(space_->Add(ExecutableLines()).empty());
  EXPECT_EQ(NameAt(*space_, twin), name);
}

TEST_F(LiveSpaceTest, TheSameFileAtTheSamePlaceContradictsNothing) {
  Room room;
  const uint64_t part = MapCode(room, in_c_library_, kSize / 2);
  space_->Add(ExecutableLines());
  const std::string name = NameAt(*space_, part);
  ASSERT_NE(name, "");
  room.Clear();
  const uint64_t whole = MapCode(room, in_c_library_);
  ASSERT_EQ(whole, part);
  EXPECT_TRUE(space_->Add(ExecutableLines()).empty());
  EXPECT_EQ(NameAt(*space_, whole), name);
  room.Clear();
  // The same file, but another part of it.
  ASSERT_NE(MapCode(room, static_cast<const char*>(in_c_library_) + 4096), 0u);
  EXPECT_TRUE(Covers(space_->Add(ExecutableLines()), room.start()));
}

TEST_F(LiveSpaceTest, MemoryWithoutAFileGrows) {
  Room room;
  const auto open_to = [&](size_t size) {
    room.Clear();
    return mprotect(reinterpret_cast<void*>(room.start()), size, PROT_READ | PROT_EXEC);
  };
  ASSERT_EQ(open_to(kSize), 0);
  space_->Add(ExecutableLines());
  const size_t before = space_->Mappings().size();
  for (size_t pages = 1; pages <= 32; ++pages) {
    ASSERT_EQ(open_to(pages * 4096), 0);
    EXPECT_TRUE(space_->Add(ExecutableLines()).empty());
    ASSERT_EQ(open_to(kSize), 0);
    EXPECT_TRUE(space_->Add(ExecutableLines()).empty());
  }
  EXPECT_LE(space_->Mappings().size(), before + 1);
}

TEST_F(LiveSpaceTest, ALayoutIsParsedOnlyWhenItChanged) {
  const auto first = LiveSpace::ReadLayout(getpid());
  ASSERT_TRUE(first.ok());
  EXPECT_FALSE(first->lines.empty());
  for (const MapsLine& line : first->lines) EXPECT_TRUE(line.executable);
  const auto again = LiveSpace::ReadLayout(getpid(), first->digest);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->digest, first->digest);
  EXPECT_TRUE(again->lines.empty());
  Room room;
  ASSERT_NE(MapCode(room, in_c_library_), 0u);
  const auto changed = LiveSpace::ReadLayout(getpid(), first->digest);
  ASSERT_TRUE(changed.ok());
  EXPECT_NE(changed->digest, first->digest);
  EXPECT_GT(changed->lines.size(), first->lines.size());
}

TEST_F(LiveSpaceTest, LearningGoesOnForEver) {
  using Clock = std::chrono::steady_clock;
  constexpr size_t kPieces = 80;
  const Room room(2 * kPieces * 4096);
  for (size_t i = 0; i < kPieces; ++i) {
    const uint64_t address = room.start() + 2 * i * 4096;
    ASSERT_EQ(mprotect(reinterpret_cast<void*>(address), 4096, PROT_READ | PROT_EXEC), 0);
    ASSERT_FALSE(space_->IsExecutable(address));
    const auto end = Clock::now() + std::chrono::seconds(5);
    for (; !space_->IsExecutable(address) && Clock::now() < end; space_->Learn(address))
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    ASSERT_TRUE(space_->IsExecutable(address)) << "not learned: number " << i;
  }
}

TEST_F(LiveSpaceTest, LearningReadsOnceInAWhile) {
  const Room room(4 * 4096);
  const uint64_t address = room.start();
  const auto start = std::chrono::steady_clock::now();
  space_->Learn(address);  // nothing there: this was the reading
  ASSERT_EQ(mprotect(reinterpret_cast<void*>(address), 4096, PROT_READ | PROT_EXEC), 0);
  space_->Learn(address);
  const bool at_once = std::chrono::steady_clock::now() - start < std::chrono::milliseconds(50);
  EXPECT_TRUE(!space_->IsExecutable(address) || !at_once);
}

TEST_F(LiveSpaceTest, KnowsItsProgram) {
  EXPECT_TRUE(space_->IsProgramOf(getpid()));
  EXPECT_FALSE(space_->IsProgramOf(1));
  EXPECT_FALSE(space_->IsProgramOf(0x7fffffff));
}

}  // namespace
}  // namespace stallscope
