// SPDX-License-Identifier: Apache-2.0
#include "userspace/go/labels.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/go/fake_memory.h"

namespace stallscope {
namespace {

constexpr uint64_t kLabels = 0x10000, kMap = 0x11000, kBuckets = 0x20000, kOldBuckets = 0x40000;
constexpr uint64_t kBucketSize = 272;

// Writes Go values one after the other.
class LabelsTest : public ::testing::Test {
 protected:
  // The address of a string header's two words is `at`.
  void PutString(uint64_t at, const std::string& text) {
    memory_.Put(at, text_);
    memory_.Put<uint64_t>(at + 8, text.size());
    memory_.Write(text_, text.data(), text.size());
    text_ += text.size();
  }

  void PutSlice(const std::vector<std::pair<std::string, std::string>>& labels) {
    memory_.Put<uint64_t>(kLabels, kLabels + 64);
    memory_.Put<uint64_t>(kLabels + 8, labels.size());
    memory_.Put<uint64_t>(kLabels + 16, labels.size() + 2);
    for (size_t i = 0; i < labels.size(); ++i) {
      PutString(kLabels + 64 + i * 32, labels[i].first);
      PutString(kLabels + 64 + i * 32 + 16, labels[i].second);
    }
  }

  void PutMap(uint64_t count, uint8_t log2_buckets, uint64_t old_buckets = 0, uint8_t flags = 0) {
    memory_.Put(kLabels, kMap);
    memory_.Put(kMap, count);
    memory_.Put(kMap + 8, flags);
    memory_.Put(kMap + 9, log2_buckets);
    memory_.Put(kMap + 16, kBuckets);
    memory_.Put(kMap + 24, old_buckets);
    memory_.Put<uint64_t>(kMap + 40, 0);
    const std::string empty((size_t{1} << log2_buckets) * kBucketSize, '\0');
    memory_.Write(kBuckets, empty.data(), empty.size());
    if (old_buckets != 0) memory_.Write(old_buckets, empty.data(), empty.size());
  }

  void PutEntry(uint64_t bucket, int entry, const std::string& key, const std::string& value,
                uint8_t top_hash = 77) {
    memory_.Put(bucket + static_cast<uint64_t>(entry), top_hash);
    PutString(bucket + 8 + static_cast<uint64_t>(entry) * 16, key);
    PutString(bucket + 136 + static_cast<uint64_t>(entry) * 16, value);
  }

  std::optional<GoLabels> Slice() { return ReadGoLabels(memory_, kLabels, true); }
  std::optional<GoLabels> Map() { return ReadGoLabels(memory_, kLabels, false); }

  FakeMemory memory_;
  uint64_t text_ = 0x80000;
};

TEST_F(LabelsTest, Slice) {
  PutSlice({{"job", "7"}, {"tenant", "a b"}, {"empty", ""}});
  EXPECT_EQ(Slice(), (GoLabels{{"job", "7"}, {"tenant", "a b"}, {"empty", ""}}));
  PutSlice({});
  EXPECT_EQ(Slice(), GoLabels());
}

TEST_F(LabelsTest, SliceThatIsNone) {
  EXPECT_EQ(Slice(), std::nullopt) << "not readable";
  PutSlice({{"job", "7"}});
  memory_.Put<uint64_t>(kLabels + 8, uint64_t{1} << 40);
  EXPECT_EQ(Slice(), std::nullopt) << "absurd length";
  memory_.Put<uint64_t>(kLabels + 8, 4);
  EXPECT_EQ(Slice(), std::nullopt) << "longer than its capacity";
  PutSlice({{"job", "7"}});
  memory_.Put<uint64_t>(kLabels + 64 + 8, uint64_t{1} << 60);
  EXPECT_EQ(Slice(), std::nullopt) << "a string of absurd length";
  PutSlice({{"job", "7"}});
  memory_.Put<uint64_t>(kLabels + 64, 0x7000'0000'0000);
  EXPECT_EQ(Slice(), std::nullopt) << "a string that is not there";
}

TEST_F(LabelsTest, MapOfOneBucket) {
  PutMap(2, 0);
  PutEntry(kBuckets, 0, "job", "7");
  PutEntry(kBuckets, 3, "tenant", "x");
  memory_.Put<uint8_t>(kBuckets + 1, 1);  // deleted
  EXPECT_EQ(Map(), (GoLabels{{"job", "7"}, {"tenant", "x"}}));
  memory_.Put<uint64_t>(kLabels, 0);  // a nil map
  EXPECT_EQ(Map(), GoLabels());
}

TEST_F(LabelsTest, MapWithOverflow) {
  PutMap(10, 0);
  for (int i = 0; i < 8; ++i) PutEntry(kBuckets, i, "key" + std::to_string(i), "v");
  const uint64_t overflow = kBuckets + 4 * kBucketSize;
  const std::string empty(kBucketSize, '\0');
  memory_.Write(overflow, empty.data(), empty.size());
  memory_.Put(kBuckets + 264, overflow);
  PutEntry(overflow, 0, "key8", "v");
  PutEntry(overflow, 1, "key9", "v");
  const auto labels = Map();
  ASSERT_TRUE(labels.has_value());
  EXPECT_EQ(labels->size(), 10u);
  memory_.Put(overflow + 264, kBuckets);  // in a circle
  EXPECT_EQ(Map(), std::nullopt);
}

// While a map grows, its entries move bucket by bucket; what has moved is marked, and left where it
// was.
TEST_F(LabelsTest, MapThatGrows) {
  PutMap(3, 2, kOldBuckets);
  PutEntry(kOldBuckets, 0, "moved", "old", 2);
  PutEntry(kOldBuckets, 1, "also moved", "old", 3);
  PutEntry(kOldBuckets + kBucketSize, 0, "stays", "1");
  PutEntry(kBuckets, 0, "moved", "new");
  PutEntry(kBuckets + 2 * kBucketSize, 0, "also moved", "new");
  EXPECT_EQ(Map(), (GoLabels{{"moved", "new"}, {"also moved", "new"}, {"stays", "1"}}));
}

TEST_F(LabelsTest, MapThatIsNone) {
  PutMap(2, 0);
  PutEntry(kBuckets, 0, "job", "7");
  EXPECT_EQ(Map(), std::nullopt) << "an entry is missing";
  PutMap(2, 0);
  memory_.Put<uint8_t>(kMap + 9, 30);
  EXPECT_EQ(Map(), std::nullopt) << "absurd size";
  memory_.Put<uint64_t>(kLabels, 0x7000'0000'0000);
  EXPECT_EQ(Map(), std::nullopt) << "not there";
}

TEST(GoLabelsTable, EachOnce) {
  GoLabelsTable table;
  const GoLabelsIndex first = table.Intern({{"a", "1"}}), second = table.Intern({{"a", "2"}});
  EXPECT_NE(first, second);
  EXPECT_EQ(table.Intern({{"a", "1"}}), first);
  EXPECT_EQ(table[second], (GoLabels{{"a", "2"}}));
  EXPECT_EQ(table.size(), 2u);
}

}  // namespace
}  // namespace stallscope
