// SPDX-License-Identifier: Apache-2.0
//
// Reads whatever bytes it is handed. Nothing is allocated on the word of a count: lists grow entry
// by entry while there are bytes for the next one, and every entry is charged against the memory
// limit.
#include <absl/container/flat_hash_map.h>
#include <absl/status/status.h>
#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "userspace/profile/capture.h"
#include "userspace/profile/capture_format.h"

namespace stallscope {
namespace {

uint32_t Fixed32(std::string_view bytes, size_t offset) {
  uint32_t value = 0;
  for (int i = 3; i >= 0; --i) value = value << 8 | static_cast<uint8_t>(bytes[offset + i]);
  return value;
}

uint64_t Fixed64(std::string_view bytes, size_t offset) {
  return Fixed32(bytes, offset) | static_cast<uint64_t>(Fixed32(bytes, offset + 4)) << 32;
}

// What may still be allocated for what is read.
class MemoryBudget {
 public:
  explicit MemoryBudget(size_t limit) : left_(limit) {}
  bool Take(size_t bytes) {
    if (bytes > left_) return false;
    left_ -= bytes;
    return true;
  }
  void Return(size_t bytes) { left_ += bytes; }

 private:
  size_t left_;
};

// Reads the payload of one block. After the first failure it yields zeros, and ok() is false.
class Cursor {
 public:
  Cursor(std::string_view bytes, MemoryBudget& budget) : bytes_(bytes), budget_(budget) {}

  bool ok() const { return ok_; }
  bool out_of_memory() const { return out_of_memory_; }
  bool more() const { return ok_ && !bytes_.empty(); }

  uint64_t U64() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (bytes_.empty()) return Fail();
      const uint8_t byte = static_cast<uint8_t>(bytes_.front());
      bytes_.remove_prefix(1);
      if (shift == 63 && byte > 1) return Fail();
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (!(byte & 0x80)) return value;
    }
    return Fail();
  }

  uint32_t U32() {
    const uint64_t value = U64();
    return value <= UINT32_MAX ? static_cast<uint32_t>(value) : static_cast<uint32_t>(Fail());
  }

  int64_t I64() {
    const uint64_t value = U64();
    return static_cast<int64_t>((value >> 1) ^ (~(value & 1) + 1));
  }

  int32_t I32() {
    const int64_t value = I64();
    const bool fits = value >= INT32_MIN && value <= INT32_MAX;
    return fits ? static_cast<int32_t>(value) : static_cast<int32_t>(Fail());
  }

  bool Bool() { return Enum<uint8_t>(1) != 0; }

  template <typename E>
  E Enum(E last) {
    const uint64_t value = U64();
    return static_cast<E>(value <= static_cast<uint64_t>(last) ? value : Fail());
  }

  std::string Text() {
    const uint64_t length = U64();
    if (length > bytes_.size()) Fail();
    if (!ok_ || !Charge(length)) return {};
    std::string text(bytes_.substr(0, length));
    bytes_.remove_prefix(length);
    return text;
  }

  std::optional<uint64_t> Optional() {
    if (!Bool()) return std::nullopt;
    return U64();
  }

  // The bytes make no sense: as if they had ended.
  void Reject() { Fail(); }

  // Before an entry of a list is kept. Lists grow by doubling, hence twice its size.
  bool Charge(size_t bytes) {
    if (ok_ && !budget_.Take(2 * bytes)) {
      out_of_memory_ = true;
      Fail();
    }
    return ok_;
  }

  // A counted list: `read` yields one entry.
  template <typename T, typename Read>
  std::vector<T> List(Read read) {
    std::vector<T> list;
    const uint64_t count = U64();
    for (uint64_t i = 0; i < count && ok_; ++i) {
      if (!Charge(sizeof(T))) break;
      T entry = read();
      if (ok_) list.push_back(std::move(entry));
    }
    return list;
  }

 private:
  uint64_t Fail() {
    ok_ = false;
    bytes_ = {};
    return 0;
  }

  std::string_view bytes_;
  MemoryBudget& budget_;
  bool ok_ = true;
  bool out_of_memory_ = false;
};

RawReason ReadReason(Cursor& in) {
  RawReason reason;
  reason.syscall = in.I32();
  reason.task_state = in.U32();
  reason.in_iowait = in.Bool();
  reason.kernel_thread = in.Bool();
  reason.file = in.Enum(FileType::kOther);
  return reason;
}

Mapping ReadMapping(Cursor& in) {
  Mapping mapping;
  mapping.start = in.U64();
  mapping.end = in.U64();
  mapping.file_offset = in.U64();
  mapping.path = in.Text();
  mapping.build_id = in.Text();
  return mapping;
}

AddressSpace ReadSpace(Cursor& in) {
  AddressSpace space;
  space.tgid = in.U32();
  space.start_boot_ns = in.U64();
  space.exec_id = in.U32();
  space.comm = in.Text();
  space.exe = in.Text();
  space.go_version = in.Text();
  space.mappings = in.List<Mapping>([&] { return ReadMapping(in); });
  return space;
}

Segment ReadSegment(Cursor& in) {
  Segment segment;
  segment.kind = in.Enum(SegmentKind::kCreator);
  segment.space = in.U32();
  segment.marker = in.Text();
  uint64_t previous = 0;
  segment.addresses = in.List<StackAddress>([&] {
    StackAddress address;
    address.value = previous + static_cast<uint64_t>(in.I64());
    const uint8_t bits = in.Enum<uint8_t>(3);
    address.is_return = bits & 1;
    address.guessed = bits & 2;
    previous = address.value;
    return address;
  });
  return segment;
}

Stack ReadStack(Cursor& in) {
  Stack stack;
  stack.end = in.Enum(StackEnd::kMoved);
  stack.segments = in.List<Segment>([&] { return ReadSegment(in); });
  return stack;
}

symbolizer::Frame ReadFrame(Cursor& in) {
  symbolizer::Frame frame;
  frame.function = in.Text();
  frame.file = in.Text();
  frame.line = in.U32();
  frame.kind = in.Enum(symbolizer::FrameKind::kKernel);
  const uint8_t bits = in.Enum<uint8_t>(3);
  frame.inlined = bits & 1;
  frame.wrapper = bits & 2;
  return frame;
}

Column ReadColumn(Cursor& in) {
  Column column;
  column.name = in.Text();
  column.unit = in.Text();
  return column;
}

RecordedEvent ReadEvent(Cursor& in) {
  RecordedEvent event;
  event.name = in.Text();
  event.mechanism = in.Text();
  event.columns = in.List<Column>([&] { return ReadColumn(in); });
  return event;
}

Sample ReadSample(Cursor& in) {
  Sample sample;
  sample.space = in.U32();
  sample.tid = in.U32();
  sample.thread_name = in.Text();
  sample.stack = in.U32();
  sample.reason = ReadReason(in);
  sample.values = in.List<std::optional<int64_t>>([&]() -> std::optional<int64_t> {
    if (!in.Bool()) return std::nullopt;
    return in.I64();
  });
  return sample;
}

// What a sample has beyond what every sample has.
struct SampleDetails {
  std::string words, peer;
  bool never_ran = false;
  std::map<std::string, std::string> labels;
};

SampleDetails ReadDetails(Cursor& in) {
  SampleDetails details;
  details.words = in.Text();
  details.peer = in.Text();
  details.never_ran = in.Bool();
  const uint64_t labels = in.U64();
  for (uint64_t i = 0; i < labels && in.Charge(sizeof(std::string) * 2 + 64); ++i) {
    std::string key = in.Text();
    std::string value = in.Text();
    if (in.ok()) details.labels.insert_or_assign(std::move(key), std::move(value));
  }
  return details;
}

Estimate ReadEstimate(Cursor& in) {
  Estimate estimate;
  estimate.words = in.Text();
  estimate.time_ns = in.U64();
  estimate.margin_ns = in.U64();
  return estimate;
}

Census ReadCensus(Cursor& in) {
  Census census;
  census.space = in.U32();
  for (uint64_t* number :
       {&census.ticks, &census.tick_cpu_ns, &census.setup_cpu_ns, &census.budget_ppm,
        &census.period_ns, &census.share_ppm, &census.fewest, &census.most, &census.looks,
        &census.stacks_read, &census.torn, &census.unread}) {
    *number = in.U64();
  }
  census.reasons = in.List<Estimate>([&] { return ReadEstimate(in); });
  return census;
}

RuntimeHistogram ReadHistogram(Cursor& in) {
  RuntimeHistogram histogram;
  histogram.space = in.U32();
  histogram.name = in.Text();
  for (uint64_t* number : {&histogram.count, &histogram.total_ns, &histogram.p50_ns,
                           &histogram.p99_ns, &histogram.max_ns}) {
    *number = in.U64();
  }
  return histogram;
}

Loss ReadLoss(Cursor& in) {
  Loss loss;
  loss.event = in.Text();
  loss.name = in.Text();
  loss.count = in.U64();
  loss.time_ns = in.Optional();
  loss.remedy = in.Text();
  loss.dropped = in.Bool();
  return loss;
}

Hidden ReadHidden(Cursor& in) {
  Hidden hidden;
  hidden.event = in.Text();
  hidden.why = in.Text();
  hidden.count = in.U64();
  hidden.time_ns = in.U64();
  return hidden;
}

ProcessTotals ReadTotals(Cursor& in) {
  ProcessTotals totals;
  totals.space = in.U32();
  totals.running_ns = in.U64();
  totals.runnable_ns = in.U64();
  totals.blocked_ns = in.U64();
  totals.unknown_ns = in.U64();
  totals.switches = in.U64();
  return totals;
}

HungThread ReadHung(Cursor& in) {
  HungThread thread;
  thread.space = in.U32();
  thread.tid = in.U32();
  thread.name = in.Text();
  thread.stack = in.U32();
  thread.reason = ReadReason(in);
  return thread;
}

class Reader {
 public:
  Reader(std::string_view bytes, size_t memory_limit) : bytes_(bytes), budget_(memory_limit) {}

  ReadCaptureResult Read(uint64_t file_length) {
    offset_ = kCaptureHeaderSize;
    while (!ended_ && result_.damage.empty()) ReadBlock();
    if (ended_ && offset_ != bytes_.size()) {
      result_.damage = fmt::format("{} bytes follow the end of the capture at byte {}",
                                   bytes_.size() - offset_, offset_);
    }
    PlaceSamples();
    if (!ended_) {
      result_.damage += fmt::format(" of {}: {}", file_length, WhatWasRead());
      result_.nothing_read = samples_read_ == 0 && samples_expected_ != uint64_t{0};
    }
    return std::move(result_);
  }

 private:
  std::string WhatWasRead() const {
    if (blocks_ == 0) return "nothing could be read";
    if (!samples_expected_) return fmt::format("{} samples read", samples_read_);
    return fmt::format("{} of {} samples read", samples_read_, *samples_expected_);
  }

  // A sample and its place in the event.
  using PlacedSample = std::pair<uint64_t, Sample>;

  void ReadBlock() {
    if (bytes_.size() - offset_ < kBlockHeaderSize) return Damage("cut");
    const uint32_t type = Fixed32(bytes_, offset_);
    const uint32_t stored_length = Fixed32(bytes_, offset_ + 4);
    const uint32_t raw_length = Fixed32(bytes_, offset_ + 8);
    const uint32_t crc = Fixed32(bytes_, offset_ + 12);
    if (bytes_.size() - offset_ - kBlockHeaderSize < stored_length) return Damage("cut");
    const std::string_view stored = bytes_.substr(offset_ + kBlockHeaderSize, stored_length);
    if (CaptureCrc(bytes_.substr(offset_, kBlockHeaderSize - 4), stored) != crc)
      return Damage("damaged");
    if (raw_length > kMaxBlockRawLength) return Damage("damaged");
    if (!budget_.Take(raw_length)) return Damage("too large to read");
    std::string raw(raw_length, '\0');
    uLongf length = raw_length;
    const bool inflated =
        uncompress(reinterpret_cast<Bytef*>(raw.data()), &length,
                   reinterpret_cast<const Bytef*>(stored.data()), stored.size()) == Z_OK &&
        length == raw_length;
    if (!inflated) return Damage("damaged");
    Cursor in(raw, budget_);
    ReadPayload(static_cast<BlockType>(type), in);
    if (!in.ok()) return Damage(in.out_of_memory() ? "too large to read" : "damaged");
    budget_.Return(raw_length);
    offset_ += kBlockHeaderSize + stored_length;
    ++blocks_;
  }

  void Damage(std::string_view what) {
    result_.damage = fmt::format("{} at byte {}", what, what == "cut" ? bytes_.size() : offset_);
  }

  // A block that fails half-way leaves what was read before the failure. Types that are not known
  // here come from a later issue and are passed over.
  void ReadPayload(BlockType type, Cursor& in) {
    Recording& to = result_.recording;
    switch (type) {
      case BlockType::kMeta:
        return ReadMeta(in);
      case BlockType::kNotes:
        return Append(in, to.notes, [&] { return in.Text(); });
      case BlockType::kLosses:
        return Append(in, to.losses, [&] { return ReadLoss(in); });
      case BlockType::kTotals:
        return Append(in, to.totals, [&] { return ReadTotals(in); });
      case BlockType::kCost:
        return ReadCost(in);
      case BlockType::kHung:
        return Append(in, to.hung, [&] { return ReadHung(in); });
      case BlockType::kSpaces:
        return Append(in, to.spaces, [&] { return ReadSpace(in); });
      case BlockType::kEvents:
        return Append(in, to.events, [&] { return ReadEvent(in); });
      case BlockType::kNames:
        return ReadNames(in);
      case BlockType::kStacks:
        return Append(in, to.stacks, [&] { return ReadStack(in); });
      case BlockType::kSamples:
        return ReadSamples(in);
      case BlockType::kFiltered:
        return Append(in, to.filtered, [&] { return ReadHidden(in); });
      case BlockType::kSampleDetails:
        return ReadAllDetails(in);
      case BlockType::kCensuses:
        return Append(in, to.censuses, [&] { return ReadCensus(in); });
      case BlockType::kHistograms:
        return Append(in, to.histograms, [&] { return ReadHistogram(in); });
      case BlockType::kEnd:
        return ReadEnd(in);
    }
  }

  // A list that ends with its block.
  template <typename T, typename Read>
  void Append(Cursor& in, std::vector<T>& list, Read read) {
    while (in.more()) {
      if (!in.Charge(sizeof(T))) return;
      T entry = read();
      if (in.ok()) list.push_back(std::move(entry));
    }
  }

  void ReadMeta(Cursor& in) {
    Recording& to = result_.recording;
    to.tool_version = in.Text();
    to.target = in.Text();
    to.machine = in.Text();
    to.start_mono_ns = in.U64();
    to.start_unix_ns = in.I64();
    to.duration_ns = in.U64();
    to.per_thread = in.Bool();
    samples_expected_ = in.U64();
  }

  void ReadCost(Cursor& in) {
    Cost& to = result_.recording.cost;
    to.own_cpu_ns = in.U64();
    to.kernel_ns = in.Optional();
    to.kernel_runs = in.U64();
    to.map_bytes = in.U64();
    to.rss_bytes = in.U64();
  }

  void ReadNames(Cursor& in) {
    while (in.more()) {
      NamedAddress address;
      address.space = in.U32();
      address.address = in.U64();
      address.is_return = in.Bool();
      if (!in.Charge(sizeof(NamedAddress) + 64)) return;  // and the map's node
      auto frames = in.List<symbolizer::Frame>([&] { return ReadFrame(in); });
      if (in.ok()) result_.recording.names.insert_or_assign(address, std::move(frames));
    }
  }

  void ReadSamples(Cursor& in) {
    const uint64_t event = in.U64();
    if (event >= result_.recording.events.size()) return in.Reject();
    if (event >= placed_.size()) placed_.resize(event + 1);
    while (in.more()) {
      if (!in.Charge(sizeof(PlacedSample))) return;
      const uint64_t index = in.U64();
      Sample sample = ReadSample(in);
      if (!in.ok()) return;
      placed_[event].emplace_back(index, std::move(sample));
      ++samples_read_;
    }
  }

  void ReadAllDetails(Cursor& in) {
    const uint64_t event = in.U64();
    if (event >= result_.recording.events.size()) return in.Reject();
    if (event >= details_.size()) details_.resize(event + 1);
    while (in.more()) {
      if (!in.Charge(sizeof(SampleDetails) + 64)) return;  // and the map's node
      const uint64_t index = in.U64();
      SampleDetails details = ReadDetails(in);
      if (in.ok()) details_[event].insert_or_assign(index, std::move(details));
    }
  }

  void ReadEnd(Cursor& in) {
    const uint64_t blocks = in.U64();
    if (blocks != blocks_) return in.Reject();  // some were taken out
    ended_ = true;
  }

  void PlaceSamples() {
    for (size_t i = 0; i < placed_.size(); ++i) {
      std::stable_sort(
          placed_[i].begin(), placed_[i].end(),
          [](const PlacedSample& a, const PlacedSample& b) { return a.first < b.first; });
      std::vector<Sample>& samples = result_.recording.events[i].samples;
      samples.reserve(placed_[i].size());
      for (PlacedSample& placed : placed_[i]) {
        if (i < details_.size()) Complete(placed.second, details_[i], placed.first);
        samples.push_back(std::move(placed.second));
      }
    }
  }

  using DetailsByPlace = absl::flat_hash_map<uint64_t, SampleDetails>;

  static void Complete(Sample& sample, DetailsByPlace& all, uint64_t place) {
    const auto found = all.find(place);
    if (found == all.end()) return;
    sample.reason.words = std::move(found->second.words);
    sample.reason.peer = std::move(found->second.peer);
    sample.never_ran = found->second.never_ran;
    sample.labels = std::move(found->second.labels);
    all.erase(found);
  }

  std::string_view bytes_;
  MemoryBudget budget_;
  size_t offset_ = 0;
  uint64_t blocks_ = 0;
  bool ended_ = false;
  uint64_t samples_read_ = 0;
  std::optional<uint64_t> samples_expected_;       // unknown until that block is read
  std::vector<std::vector<PlacedSample>> placed_;  // parallel to Recording::events
  std::vector<DetailsByPlace> details_;            // the same
  ReadCaptureResult result_;
};

}  // namespace

absl::StatusOr<ReadCaptureResult> ReadCapture(std::string_view bytes, size_t memory_limit) {
  if (bytes.substr(0, kCaptureMagic.size()) != kCaptureMagic) {
    return absl::InvalidArgumentError("not a stallscope capture (.raw)");
  }
  if (bytes.size() < kCaptureHeaderSize) {
    return absl::InvalidArgumentError(
        fmt::format("cut at byte {}, inside the header: nothing can be read", bytes.size()));
  }
  if (CaptureCrc(bytes.substr(0, kCaptureHeaderSize - 4)) !=
      Fixed32(bytes, kCaptureHeaderSize - 4)) {
    return absl::InvalidArgumentError("the header of the capture is damaged");
  }
  const uint32_t version = Fixed32(bytes, kCaptureMagic.size());
  if (version > kCaptureVersion) {
    return absl::InvalidArgumentError(
        fmt::format("the capture has version {}, this build reads up to {}: use a newer stallscope",
                    version, kCaptureVersion));
  }
  if (version == 0) return absl::InvalidArgumentError("the header of the capture is damaged");
  return Reader(bytes, memory_limit).Read(Fixed64(bytes, kCaptureMagic.size() + 4));
}

}  // namespace stallscope
