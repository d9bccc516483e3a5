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

// The code of a file around an address of ours, mapped a second time.
class SecondMapping {
 public:
  // At `place`, or anywhere when it is 0. `size`: bytes of it.
  SecondMapping(const void* around, uint64_t place, size_t size = kSize) : size_(size) {
    const uint64_t address = reinterpret_cast<uint64_t>(around);
    for (const MapsLine& line : ExecutableLines()) {
      if (address < line.start || address >= line.end) continue;
      const uint64_t skip = (address - line.start) / 4096 * 4096;
      const int fd = open(line.path.c_str(), O_RDONLY | O_CLOEXEC);
      void* at = mmap(reinterpret_cast<void*>(place), size, PROT_READ | PROT_EXEC,
                      MAP_PRIVATE | (place ? MAP_FIXED_NOREPLACE : 0), fd, line.file_offset + skip);
      close(fd);
      if (at == MAP_FAILED) return;
      start_ = reinterpret_cast<uint64_t>(at);
      twin_ = start_ + (address - line.start - skip);
    }
  }
  ~SecondMapping() { Unmap(); }
  void Unmap() {
    if (start_) munmap(reinterpret_cast<void*>(start_), size_);
    start_ = 0;
  }
  uint64_t start() const { return start_; }
  uint64_t twin() const { return twin_; }  // of `around`

 private:
  size_t size_;
  uint64_t start_ = 0, twin_ = 0;
};

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
  SecondMapping first(in_c_library_, 0);
  ASSERT_NE(first.start(), 0u);
  EXPECT_TRUE(space_->Add(ExecutableLines()).empty());
  const std::string name = NameAt(*space_, first.twin());
  ASSERT_NE(name, "");
  EXPECT_EQ(name, NameAt(*space_, reinterpret_cast<uint64_t>(in_c_library_)));
  const uint64_t place = first.start();
  first.Unmap();
  SecondMapping second(in_the_test_, place);
  ASSERT_EQ(second.start(), place);

  const auto contradicted = space_->Add(ExecutableLines());
  EXPECT_TRUE(Covers(contradicted, place));
  EXPECT_TRUE(Covers(contradicted, place + kSize - 1));
  EXPECT_FALSE(Covers(contradicted, reinterpret_cast<uint64_t>(in_c_library_)));
  EXPECT_EQ(NameAt(*space_, first.twin()), name);  // it is of its own time

  const auto after = space_->Successor(ExecutableLines());
  EXPECT_NE(NameAt(*after, first.twin()), name);
  EXPECT_NE(NameAt(*after, second.twin()).find("ExecutableLines"), std::string::npos);
  EXPECT_TRUE(after->Add(ExecutableLines()).empty());
  EXPECT_EQ(NameAt(*after, reinterpret_cast<uint64_t>(in_c_library_)), name);

  const auto between = space_->CopyFor(getpid());
  between->Blank(contradicted);
  for (const uint64_t address : {first.twin(), second.twin()}) {
    EXPECT_EQ(NameAt(*between, address), "");
    EXPECT_TRUE(between->IsExecutable(address));
    EXPECT_TRUE(between->FollowsCall(address));  // nobody can say that it does not
  }
  EXPECT_EQ(NameAt(*between, reinterpret_cast<uint64_t>(in_c_library_)), name);
  EXPECT_TRUE(between->Add(ExecutableLines()).empty());
  EXPECT_EQ(NameAt(*between, second.twin()), "");  // for ever
  for (const Mapping& mapping : between->Mappings()) {
    if (place >= mapping.start && place < mapping.end) {
      EXPECT_EQ(mapping.path, "");
    }
  }
}

TEST_F(LiveSpaceTest, WhatIsOnlyUnmappedKeepsItsNames) {
  SecondMapping mapping(in_c_library_, 0);
  space_->Add(ExecutableLines());
  const std::string name = NameAt(*space_, mapping.twin());
  ASSERT_NE(name, "");
  mapping.Unmap();
  EXPECT_TRUE(space_->Add(ExecutableLines()).empty());
  EXPECT_EQ(NameAt(*space_, mapping.twin()), name);
}

TEST_F(LiveSpaceTest, TheSameFileAtTheSamePlaceContradictsNothing) {
  SecondMapping room(in_c_library_, 0);
  const uint64_t place = room.start();
  room.Unmap();
  SecondMapping part(in_c_library_, place, kSize / 2);
  ASSERT_EQ(part.start(), place);
  space_->Add(ExecutableLines());
  const std::string name = NameAt(*space_, part.twin());
  ASSERT_NE(name, "");
  part.Unmap();
  SecondMapping whole(in_c_library_, place);
  ASSERT_EQ(whole.start(), place);
  EXPECT_TRUE(space_->Add(ExecutableLines()).empty());
  EXPECT_EQ(NameAt(*space_, whole.twin()), name);
  whole.Unmap();
  // The same file, but another part of it.
  SecondMapping moved(reinterpret_cast<const char*>(in_c_library_) + 4096, place);
  ASSERT_EQ(moved.start(), place);
  EXPECT_TRUE(Covers(space_->Add(ExecutableLines()), place));
}

TEST_F(LiveSpaceTest, MemoryWithoutAFileGrows) {
  const auto map = [](uint64_t at, size_t size) {
    return reinterpret_cast<uint64_t>(mmap(reinterpret_cast<void*>(at), size, PROT_READ | PROT_EXEC,
                                           MAP_PRIVATE | MAP_ANONYMOUS | (at ? MAP_FIXED : 0), -1,
                                           0));
  };
  const uint64_t at = map(0, kSize);
  space_->Add(ExecutableLines());
  const size_t before = space_->Mappings().size();
  for (size_t pages = 1; pages <= 32; ++pages) {
    munmap(reinterpret_cast<void*>(at), kSize);
    ASSERT_EQ(map(at, pages * 4096), at);
    EXPECT_TRUE(space_->Add(ExecutableLines()).empty());
    munmap(reinterpret_cast<void*>(at), kSize);
    ASSERT_EQ(map(at, kSize), at);
    EXPECT_TRUE(space_->Add(ExecutableLines()).empty());
  }
  EXPECT_LE(space_->Mappings().size(), before + 1);
  munmap(reinterpret_cast<void*>(at), kSize);
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
  SecondMapping mapping(in_c_library_, 0);
  const auto changed = LiveSpace::ReadLayout(getpid(), first->digest);
  ASSERT_TRUE(changed.ok());
  EXPECT_NE(changed->digest, first->digest);
  EXPECT_GT(changed->lines.size(), first->lines.size());
}

TEST_F(LiveSpaceTest, LearningGoesOnForEver) {
  using Clock = std::chrono::steady_clock;
  constexpr size_t kPieces = 80;
  void* room = mmap(nullptr, 2 * kPieces * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(room, MAP_FAILED);
  for (size_t i = 0; i < kPieces; ++i) {
    char* piece = static_cast<char*>(room) + 2 * i * 4096;
    const uint64_t address = reinterpret_cast<uint64_t>(piece);
    ASSERT_EQ(mprotect(piece, 4096, PROT_READ | PROT_EXEC), 0);
    ASSERT_FALSE(space_->IsExecutable(address));
    const auto end = Clock::now() + std::chrono::seconds(5);
    for (; !space_->IsExecutable(address) && Clock::now() < end; space_->Learn(address))
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    ASSERT_TRUE(space_->IsExecutable(address)) << "not learned: number " << i;
  }
  munmap(room, 2 * kPieces * 4096);
}

TEST_F(LiveSpaceTest, LearningReadsOnceInAWhile) {
  void* room = mmap(nullptr, 4 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(room, MAP_FAILED);
  const uint64_t address = reinterpret_cast<uint64_t>(room);
  const auto start = std::chrono::steady_clock::now();
  space_->Learn(address);  // nothing there: this was the reading
  ASSERT_EQ(mprotect(room, 4096, PROT_READ | PROT_EXEC), 0);
  space_->Learn(address);
  const bool at_once = std::chrono::steady_clock::now() - start < std::chrono::milliseconds(50);
  EXPECT_TRUE(!space_->IsExecutable(address) || !at_once);
  munmap(room, 4 * 4096);
}

TEST_F(LiveSpaceTest, KnowsItsProgram) {
  EXPECT_TRUE(space_->IsProgramOf(getpid()));
  EXPECT_FALSE(space_->IsProgramOf(1));
  EXPECT_FALSE(space_->IsProgramOf(0x7fffffff));
}

}  // namespace
}  // namespace stallscope
