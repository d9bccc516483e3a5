// SPDX-License-Identifier: Apache-2.0
#include "userspace/profile/capture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <limits>
#include <random>

#include "tests/profile/sample_recording.h"
#include "userspace/profile/make_profile.h"

namespace stallscope {
namespace {

using ::testing::HasSubstr;

// Every field of every structure holds something other than its default.
Recording FullRecording() {
  Recording recording = EmptyRecording();
  recording.machine = "x86_64";
  recording.start_mono_ns = 5;
  recording.start_unix_ns = -7;
  recording.per_thread = true;
  recording.spaces[0].start_boot_ns = 99;
  recording.spaces[0].exec_id = 2;
  recording.events.push_back({"retrans", {{"segments", "segments"}}, {}, "tp"});
  symbolizer::Frame frame;
  frame.function = std::string("a;b\n\0\xff", 6);
  frame.file = "x.go";
  frame.line = 12;
  frame.kind = symbolizer::FrameKind::kGo;
  frame.inlined = true;
  frame.wrapper = true;
  recording.names[{0, 0x400100, true}] = {frame, frame};
  recording.names[{kKernelSpace, ~uint64_t{0}, false}] = {};
  recording.names[{1, 77, false}] = {frame};  // of no stack
  const uint32_t whole = AddStack(
      recording,
      {MakeSegment(SegmentKind::kKernel, kKernelSpace,
                   {{~uint64_t{0}, false, false}, {1, true, false}}),
       MakeMarker("caller unknown"), MakeSegment(SegmentKind::kUser, 1, {{0x1800, false, true}}),
       MakeSegment(SegmentKind::kGoroutine, 0, {{0x400100, true, false}, {0x400200, true, true}})},
      StackEnd::kFull);
  const uint32_t empty =
      AddStack(recording, {MakeSegment(SegmentKind::kCreator, 0, {{0x400300, true, false}})},
               StackEnd::kLost);
  RawReason reason;
  reason.syscall = 202;
  reason.task_state = 0x8001;
  reason.in_iowait = true;
  reason.kernel_thread = true;
  reason.file = FileType::kTty;
  Sample sample =
      MakeSample(0, empty, reason, {3, std::nullopt, std::numeric_limits<int64_t>::min()});
  sample.tid = 101;
  sample.thread_name = "worker-1";
  recording.events[0].samples = {sample, MakeSample(1, whole, {}, {}),
                                 MakeSample(0, 12345, {}, {1, 2, 3})};
  Sample goroutine = MakeSample(0, empty, {}, {4, 5, 6});
  goroutine.reason.words = "chan receive";
  goroutine.reason.peer = "10.0.0.5:443";
  goroutine.never_ran = true;
  goroutine.labels = {{"", ""}, {"handler", "/orders"}};
  recording.events[0].samples.push_back(goroutine);
  recording.censuses = {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, {{"sleep", 13, 14}, {}}}};
  recording.histograms = {{0, "scheduler latency", 1, 2, 3, 4, 5}};
  recording.events[1].samples = {MakeSample(1, whole, {}, {std::nullopt})};
  recording.losses = {{"offcpu", "stack map full", 4, 5, "--stacks 65536", true},
                      {"offcpu", "start unknown", 6, std::nullopt, "", false}};
  recording.filtered = {{"offcpu", "--max", 7, 8}};
  recording.hung = {{1, 201, "waiter", whole, reason}};
  recording.totals = {{0, 1, 2, 3, 4}};
  recording.notes = {"one", ""};
  recording.cost = {1, 2, 3, 4, 5};
  return recording;
}

// Enough stacks for several blocks of each kind.
Recording LargeRecording() {
  Recording recording = EmptyRecording();
  std::mt19937_64 random(7);
  for (uint32_t i = 0; i < 6000; ++i) {
    std::vector<StackAddress> addresses;
    for (int frame = 0; frame < 12; ++frame) {
      const uint64_t address = 0x400000 + random() % 0x400000;
      addresses.push_back(AddName(recording, 0, address, "function" + std::to_string(address)));
    }
    AddStack(recording, {MakeSegment(SegmentKind::kUser, 0, addresses)});
  }
  for (int i = 0; i < 9000; ++i) {
    recording.events[0].samples.push_back(MakeSample(0, random() % 6000, InSyscall(SYS_futex),
                                                     {static_cast<int64_t>(random() >> 2), 0, 1}));
  }
  return recording;
}

Recording Whole(const std::string& bytes) {
  absl::StatusOr<ReadCaptureResult> result = ReadCapture(bytes);
  EXPECT_TRUE(result.ok());
  EXPECT_EQ(result->damage, "");
  return result->recording;
}

TEST(Capture, RoundTripIsExact) {
  EXPECT_EQ(Whole(WriteCapture(FullRecording())), FullRecording());
  EXPECT_EQ(Whole(WriteCapture(Recording())), Recording());
  EXPECT_EQ(Whole(WriteCapture(LargeRecording())), LargeRecording());
}

TEST(Capture, EqualRecordingsGiveEqualBytes) {
  EXPECT_EQ(WriteCapture(FullRecording()), WriteCapture(FullRecording()));
  EXPECT_NE(WriteCapture(FullRecording()), WriteCapture(EmptyRecording()));
}

TEST(Capture, EveryCutIsNoticedAndNeverCrashes) {
  const std::string bytes = WriteCapture(FullRecording());
  for (size_t length = 0; length < bytes.size(); ++length) {
    absl::StatusOr<ReadCaptureResult> result =
        ReadCapture(std::string_view(bytes).substr(0, length));
    if (!result.ok()) {
      EXPECT_LT(length, 24u);
      continue;
    }
    EXPECT_THAT(result->damage, HasSubstr("cut at byte " + std::to_string(length) + " of " +
                                          std::to_string(bytes.size())));
    size_t samples = 0;
    for (const RecordedEvent& event : result->recording.events) samples += event.samples.size();
    EXPECT_EQ(result->nothing_read, samples == 0) << length;
    EXPECT_TRUE(MakeProfile(result->recording, {}).ok());
  }
}

TEST(Capture, ACutSaysHowMuchWasRead) {
  const std::string bytes = WriteCapture(FullRecording());
  const auto damage = [&](std::string_view part) {
    absl::StatusOr<ReadCaptureResult> result = ReadCapture(part);
    EXPECT_TRUE(result.ok());
    return result.ok() ? result->damage : "";
  };
  const std::string size = std::to_string(bytes.size());
  EXPECT_EQ(damage(bytes.substr(0, 24)), "cut at byte 24 of " + size + ": nothing could be read");
  EXPECT_EQ(
      damage(bytes.substr(0, bytes.size() - 1)),
      "cut at byte " + std::to_string(bytes.size() - 1) + " of " + size + ": 5 of 5 samples read");
}

// A recording without samples that is cut lost none.
TEST(Capture, ACutAfterTheFactsOfAnEmptyRecording) {
  const std::string bytes = WriteCapture(EmptyRecording());
  absl::StatusOr<ReadCaptureResult> early = ReadCapture(bytes.substr(0, 30));
  ASSERT_TRUE(early.ok());
  EXPECT_TRUE(early->nothing_read);
  absl::StatusOr<ReadCaptureResult> late = ReadCapture(bytes.substr(0, bytes.size() - 1));
  ASSERT_TRUE(late.ok());
  EXPECT_FALSE(late->nothing_read);
  EXPECT_THAT(late->damage, HasSubstr("0 of 0 samples read"));
  EXPECT_FALSE(ReadCapture(bytes)->nothing_read);
}

// Each sample of a cut file is one of the whole file, with its whole stack and all its names.
TEST(Capture, ACutFileIsASmallerRecording) {
  const Recording whole = LargeRecording();
  const std::string bytes = WriteCapture(whole);
  size_t samples_before = 0;
  for (int percent : {30, 60, 90}) {
    absl::StatusOr<ReadCaptureResult> cut =
        ReadCapture(std::string_view(bytes).substr(0, bytes.size() * percent / 100));
    ASSERT_TRUE(cut.ok());
    const Recording& part = cut->recording;
    const std::vector<Sample>& samples = part.events[0].samples;
    EXPECT_GT(samples.size(), samples_before);
    EXPECT_LT(samples.size(), whole.events[0].samples.size());
    samples_before = samples.size();
    EXPECT_THAT(cut->damage, HasSubstr(std::to_string(samples.size()) + " of 9000 samples read"));
    size_t at = 0;
    for (const Sample& sample : samples) {
      while (at < whole.events[0].samples.size() && !(whole.events[0].samples[at] == sample)) ++at;
      ASSERT_LT(at, whole.events[0].samples.size());  // the same order, too
      ++at;
      ASSERT_LT(sample.stack, part.stacks.size());
      ASSERT_EQ(part.stacks[sample.stack], whole.stacks[sample.stack]);
      for (const StackAddress& address : part.stacks[sample.stack].segments[0].addresses) {
        ASSERT_EQ(part.names.count({0, address.value, true}), 1u);
      }
    }
  }
}

TEST(Capture, EveryFlippedByteIsNoticed) {
  const std::string bytes = WriteCapture(FullRecording());
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (uint8_t mask : {0x01, 0x80, 0xff}) {
      std::string flipped = bytes;
      flipped[i] ^= static_cast<char>(mask);
      absl::StatusOr<ReadCaptureResult> result = ReadCapture(flipped);
      EXPECT_TRUE(!result.ok() || !result->damage.empty()) << "byte " << i;
    }
  }
}

TEST(Capture, WhatFollowsTheEndIsNoticed) {
  absl::StatusOr<ReadCaptureResult> result = ReadCapture(WriteCapture(FullRecording()) + "x");
  ASSERT_TRUE(result.ok());
  EXPECT_THAT(result->damage, HasSubstr("1 bytes follow"));
  EXPECT_EQ(result->recording, FullRecording());
}

void PutFixed32(std::string& bytes, size_t at, uint32_t value) {
  for (int i = 0; i < 4; ++i) bytes[at + i] = static_cast<char>(value >> (8 * i));
}

uint32_t Crc(std::string_view bytes) {
  return crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size());
}

TEST(Capture, ANewerVersionIsRefusedInClearWords) {
  std::string bytes = WriteCapture(FullRecording());
  PutFixed32(bytes, 8, 2);
  PutFixed32(bytes, 20, Crc(bytes.substr(0, 20)));
  absl::StatusOr<ReadCaptureResult> result = ReadCapture(bytes);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("version 2"));
}

TEST(Capture, OtherFilesAreRefused) {
  for (std::string_view bytes : {"", "STALL",
                                 "\x7f"
                                 "ELF and more of it than a header takes",
                                 "STALLRAW"}) {
    EXPECT_EQ(ReadCapture(bytes).status().code(), absl::StatusCode::kInvalidArgument) << bytes;
  }
}

// A block as the format describes it.
std::string Block(uint32_t type, std::string_view raw) {
  uLongf length = compressBound(raw.size());
  std::string stored(length, '\0');
  compress(reinterpret_cast<Bytef*>(stored.data()), &length,
           reinterpret_cast<const Bytef*>(raw.data()), raw.size());
  stored.resize(length);
  std::string header(16, '\0');
  PutFixed32(header, 0, type);
  PutFixed32(header, 4, stored.size());
  PutFixed32(header, 8, raw.size());
  PutFixed32(header, 12, Crc(header.substr(0, 12) + stored));
  return header + stored;
}

std::string Header() { return WriteCapture(Recording()).substr(0, 24); }

TEST(Capture, UnknownBlocksArePassedOver) {
  const std::string bytes = Header() + Block(999, "from a later version") +
                            Block(2, std::string("\x04note", 5)) + Block(12, "\x02");
  absl::StatusOr<ReadCaptureResult> result = ReadCapture(bytes);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->damage, "");
  EXPECT_THAT(result->recording.notes, ::testing::ElementsAre("note"));
}

TEST(Capture, AMissingBlockIsNoticed) {
  absl::StatusOr<ReadCaptureResult> result =
      ReadCapture(Header() + Block(2, std::string("\x04note", 5)) + Block(12, "\x02"));
  ASSERT_TRUE(result.ok());
  EXPECT_NE(result->damage, "");
}

// Well-formed blocks whose contents are absurd.
TEST(Capture, HugeCountsCostNothing) {
  const std::string huge = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
  const std::string inside[] = {
      Block(2, huge),                                            // a note of 2^64 bytes
      Block(10, std::string(1, '\0') + huge),                    // a stack of 2^64 segments
      Block(11, huge),                                           // samples of event 2^64
      Block(8, std::string(2, '\0') + huge),                     // an event of 2^64 columns
      Block(2, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),  // a number longer than 64 bits
  };
  for (const std::string& block : inside) {
    absl::StatusOr<ReadCaptureResult> result = ReadCapture(Header() + block + Block(12, "\x01"));
    ASSERT_TRUE(result.ok());
    EXPECT_THAT(result->damage, HasSubstr("damaged at byte 24"));
  }
}

TEST(Capture, MemoryIsBounded) {
  const std::string empty_stacks(1 << 20, '\0');  // half a million stacks without segments, in 1 kB
  const std::string bytes = Header() + Block(10, empty_stacks) + Block(12, "\x01");
  EXPECT_LT(bytes.size(), 4096u);
  absl::StatusOr<ReadCaptureResult> result = ReadCapture(bytes, 8 << 20);
  ASSERT_TRUE(result.ok());
  EXPECT_THAT(result->damage, HasSubstr("too large to read"));
  EXPECT_LT(result->recording.stacks.size() * sizeof(Stack), size_t{8} << 20);
  EXPECT_EQ(Whole(bytes).stacks.size(), empty_stacks.size() / 2);
}

}  // namespace
}  // namespace stallscope
