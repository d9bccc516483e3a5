// SPDX-License-Identifier: Apache-2.0
//
// Blocks are written in the order of their worth after a cut: what the recording was and what it
// lost first, then slices of the stacks, each followed by the samples that stand on it, so that any
// prefix is a smaller recording.
#include <absl/container/flat_hash_set.h>
#include <zlib.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "userspace/profile/capture.h"
#include "userspace/profile/capture_format.h"

namespace stallscope {
namespace {

// Blocks of about this size cost a cut little and compress well.
constexpr size_t kBlockTarget = 64 << 10;

void PutFixed32(std::string& out, uint32_t value) {
  for (int shift = 0; shift < 32; shift += 8) out.push_back(static_cast<char>(value >> shift));
}

void PutFixed64(std::string& out, uint64_t value) {
  PutFixed32(out, static_cast<uint32_t>(value));
  PutFixed32(out, static_cast<uint32_t>(value >> 32));
}

std::string Deflate(std::string_view raw) {
  uLongf length = compressBound(raw.size());
  std::string stored(length, '\0');
  compress2(reinterpret_cast<Bytef*>(stored.data()), &length,
            reinterpret_cast<const Bytef*>(raw.data()), raw.size(), Z_DEFAULT_COMPRESSION);
  stored.resize(length);
  return stored;
}

// The payload of one block while it grows.
class Payload {
 public:
  void U(uint64_t value) {
    while (value >= 0x80) {
      bytes_.push_back(static_cast<char>(value | 0x80));
      value >>= 7;
    }
    bytes_.push_back(static_cast<char>(value));
  }
  void I(int64_t value) {  // zigzag: small negative numbers stay short
    U((static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63));
  }
  void Bool(bool value) { U(value ? 1 : 0); }
  void Text(std::string_view text) {
    U(text.size());
    bytes_.append(text);
  }
  void Optional(const std::optional<uint64_t>& value) {
    Bool(value.has_value());
    if (value) U(*value);
  }

  bool empty() const { return bytes_.empty(); }
  bool full() const { return bytes_.size() >= kBlockTarget; }
  std::string_view bytes() const { return bytes_; }
  void Clear() { bytes_.clear(); }

 private:
  std::string bytes_;
};

void PutReason(Payload& out, const RawReason& reason) {
  out.I(reason.syscall);
  out.U(reason.task_state);
  out.Bool(reason.in_iowait);
  out.Bool(reason.kernel_thread);
  out.U(static_cast<uint64_t>(reason.file));
}

void PutSpace(Payload& out, const AddressSpace& space) {
  out.U(space.tgid);
  out.U(space.start_boot_ns);
  out.U(space.exec_id);
  out.Text(space.comm);
  out.Text(space.exe);
  out.Text(space.go_version);
  out.U(space.mappings.size());
  for (const Mapping& mapping : space.mappings) {
    out.U(mapping.start);
    out.U(mapping.end);
    out.U(mapping.file_offset);
    out.Text(mapping.path);
    out.Text(mapping.build_id);
  }
}

void PutStack(Payload& out, const Stack& stack) {
  out.U(static_cast<uint64_t>(stack.end));
  out.U(stack.segments.size());
  for (const Segment& segment : stack.segments) {
    out.U(static_cast<uint64_t>(segment.kind));
    out.U(segment.space);
    out.Text(segment.marker);
    out.U(segment.addresses.size());
    uint64_t previous = 0;
    for (const StackAddress& address : segment.addresses) {
      out.I(static_cast<int64_t>(address.value - previous));
      out.U((address.is_return ? 1 : 0) | (address.guessed ? 2 : 0));
      previous = address.value;
    }
  }
}

void PutName(Payload& out, const NamedAddress& address,
             const std::vector<symbolizer::Frame>& frames) {
  out.U(address.space);
  out.U(address.address);
  out.Bool(address.is_return);
  out.U(frames.size());
  for (const symbolizer::Frame& frame : frames) {
    out.Text(frame.function);
    out.Text(frame.file);
    out.U(frame.line);
    out.U(static_cast<uint64_t>(frame.kind));
    out.U((frame.inlined ? 1 : 0) | (frame.wrapper ? 2 : 0));
  }
}

void PutSample(Payload& out, const Sample& sample) {
  out.U(sample.space);
  out.U(sample.tid);
  out.Text(sample.thread_name);
  out.U(sample.stack);
  PutReason(out, sample.reason);
  out.U(sample.values.size());
  for (const std::optional<int64_t>& value : sample.values) {
    out.Bool(value.has_value());
    if (value) out.I(*value);
  }
}

bool HasDetails(const Sample& sample) {
  return sample.never_ran || !sample.labels.empty() || !sample.reason.words.empty() ||
         !sample.reason.peer.empty();
}

void PutDetails(Payload& out, const Sample& sample) {
  out.Text(sample.reason.words);
  out.Text(sample.reason.peer);
  out.Bool(sample.never_ran);
  out.U(sample.labels.size());
  for (const auto& [key, value] : sample.labels) {
    out.Text(key);
    out.Text(value);
  }
}

void PutCensus(Payload& out, const Census& census) {
  out.U(census.space);
  for (const uint64_t number :
       {census.ticks, census.tick_cpu_ns, census.setup_cpu_ns, census.budget_ppm, census.period_ns,
        census.share_ppm, census.fewest, census.most, census.looks, census.stacks_read, census.torn,
        census.unread}) {
    out.U(number);
  }
  out.U(census.reasons.size());
  for (const Estimate& reason : census.reasons) {
    out.Text(reason.words);
    out.U(reason.time_ns);
    out.U(reason.margin_ns);
  }
}

void PutHistogram(Payload& out, const RuntimeHistogram& histogram) {
  out.U(histogram.space);
  out.Text(histogram.name);
  for (const uint64_t number : {histogram.count, histogram.total_ns, histogram.p50_ns,
                                histogram.p99_ns, histogram.max_ns}) {
    out.U(number);
  }
}

class Writer {
 public:
  explicit Writer(const Recording& recording) : recording_(recording) {}

  std::string Write() {
    file_.assign(kCaptureHeaderSize, '\0');
    WriteFacts();
    WriteSpaces();
    WriteEvents();
    WriteStacksAndSamples();
    WriteRemainingNames();
    WriteEnd();
    WriteHeader();
    return std::move(file_);
  }

 private:
  void WriteHeader() {
    std::string header(kCaptureMagic);
    PutFixed32(header, kCaptureVersion);
    PutFixed64(header, file_.size());
    PutFixed32(header, CaptureCrc(header));
    file_.replace(0, kCaptureHeaderSize, header);
  }

  // Ends a block; an empty one is not written.
  void Flush(BlockType type, Payload& payload) {
    if (payload.empty()) return;
    const std::string stored = Deflate(payload.bytes());
    std::string header;
    PutFixed32(header, static_cast<uint32_t>(type));
    PutFixed32(header, static_cast<uint32_t>(stored.size()));
    PutFixed32(header, static_cast<uint32_t>(payload.bytes().size()));
    PutFixed32(header, CaptureCrc(header, stored));
    file_ += header;
    file_ += stored;
    ++blocks_;
    payload.Clear();
  }

  void FlushIfFull(BlockType type, Payload& payload) {
    if (payload.full()) Flush(type, payload);
  }

  void WriteFacts() {
    Payload out;
    out.Text(recording_.tool_version);
    out.Text(recording_.target);
    out.Text(recording_.machine);
    out.U(recording_.start_mono_ns);
    out.I(recording_.start_unix_ns);
    out.U(recording_.duration_ns);
    out.Bool(recording_.per_thread);
    out.U(SampleCount());
    Flush(BlockType::kMeta, out);
    for (const std::string& note : recording_.notes) {
      out.Text(note);
      FlushIfFull(BlockType::kNotes, out);
    }
    Flush(BlockType::kNotes, out);
    WriteLosses();
    WriteFiltered();
    WriteTotals();
    WriteCost();
    WriteHung();
    WriteCensuses();
  }

  uint64_t SampleCount() const {
    uint64_t count = 0;
    for (const RecordedEvent& event : recording_.events) count += event.samples.size();
    return count;
  }

  void WriteLosses() {
    Payload out;
    for (const Loss& loss : recording_.losses) {
      out.Text(loss.event);
      out.Text(loss.name);
      out.U(loss.count);
      out.Optional(loss.time_ns);
      out.Text(loss.remedy);
      out.Bool(loss.dropped);
      FlushIfFull(BlockType::kLosses, out);
    }
    Flush(BlockType::kLosses, out);
  }

  void WriteFiltered() {
    Payload out;
    for (const Hidden& hidden : recording_.filtered) {
      out.Text(hidden.event);
      out.Text(hidden.why);
      out.U(hidden.count);
      out.U(hidden.time_ns);
      FlushIfFull(BlockType::kFiltered, out);
    }
    Flush(BlockType::kFiltered, out);
  }

  void WriteTotals() {
    Payload out;
    for (const ProcessTotals& totals : recording_.totals) {
      out.U(totals.space);
      out.U(totals.running_ns);
      out.U(totals.runnable_ns);
      out.U(totals.blocked_ns);
      out.U(totals.unknown_ns);
      out.U(totals.switches);
      FlushIfFull(BlockType::kTotals, out);
    }
    Flush(BlockType::kTotals, out);
  }

  void WriteCost() {
    Payload out;
    out.U(recording_.cost.own_cpu_ns);
    out.Optional(recording_.cost.kernel_ns);
    out.U(recording_.cost.kernel_runs);
    out.U(recording_.cost.map_bytes);
    out.U(recording_.cost.rss_bytes);
    Flush(BlockType::kCost, out);
  }

  void WriteHung() {
    Payload out;
    for (const HungThread& thread : recording_.hung) {
      out.U(thread.space);
      out.U(thread.tid);
      out.Text(thread.name);
      out.U(thread.stack);
      PutReason(out, thread.reason);
      FlushIfFull(BlockType::kHung, out);
    }
    Flush(BlockType::kHung, out);
  }

  void WriteCensuses() {
    Payload out;
    for (const Census& census : recording_.censuses) {
      PutCensus(out, census);
      FlushIfFull(BlockType::kCensuses, out);
    }
    Flush(BlockType::kCensuses, out);
    for (const RuntimeHistogram& histogram : recording_.histograms) {
      PutHistogram(out, histogram);
      FlushIfFull(BlockType::kHistograms, out);
    }
    Flush(BlockType::kHistograms, out);
  }

  void WriteSpaces() {
    Payload out;
    for (const AddressSpace& space : recording_.spaces) {
      PutSpace(out, space);
      FlushIfFull(BlockType::kSpaces, out);
    }
    Flush(BlockType::kSpaces, out);
  }

  void WriteEvents() {
    Payload out;
    for (const RecordedEvent& event : recording_.events) {
      out.Text(event.name);
      out.Text(event.mechanism);
      out.U(event.columns.size());
      for (const Column& column : event.columns) {
        out.Text(column.name);
        out.Text(column.unit);
      }
      FlushIfFull(BlockType::kEvents, out);
    }
    Flush(BlockType::kEvents, out);
  }

  void WriteStacksAndSamples() {
    const std::vector<SamplesByStack> samples = SortSamples();
    std::vector<size_t> done(samples.size(), 0);
    Payload stacks;
    Payload names;
    for (size_t i = 0; i < recording_.stacks.size(); ++i) {
      PutStack(stacks, recording_.stacks[i]);
      PutNamesOf(names, recording_.stacks[i]);
      if (!stacks.full() && i + 1 < recording_.stacks.size()) continue;
      Flush(BlockType::kNames, names);
      Flush(BlockType::kStacks, stacks);
      WriteSamples(samples, done, i);
    }
    WriteSamples(samples, done, UINT32_MAX);  // those that stand on no stack
  }

  // Of one event: (stack, index of the sample), sorted.
  using SamplesByStack = std::vector<std::pair<uint32_t, size_t>>;

  std::vector<SamplesByStack> SortSamples() const {
    std::vector<SamplesByStack> all;
    for (const RecordedEvent& event : recording_.events) {
      SamplesByStack& sorted = all.emplace_back();
      for (size_t i = 0; i < event.samples.size(); ++i) {
        sorted.emplace_back(event.samples[i].stack, i);
      }
      std::sort(sorted.begin(), sorted.end());
    }
    return all;
  }

  // The samples of every event on stacks up to `last_stack` that were not written before.
  void WriteSamples(const std::vector<SamplesByStack>& samples, std::vector<size_t>& done,
                    uint64_t last_stack) {
    Payload out, details;
    for (size_t event = 0; event < samples.size(); ++event) {
      const size_t first = done[event];
      size_t end = first;
      while (end < samples[event].size() && samples[event][end].first <= last_stack) ++end;
      for (size_t next = first; next < end; ++next) {
        const size_t index = samples[event][next].second;
        const Sample& sample = recording_.events[event].samples[index];
        if (!HasDetails(sample)) continue;
        if (details.empty()) details.U(event);
        details.U(index);
        PutDetails(details, sample);
        FlushIfFull(BlockType::kSampleDetails, details);
      }
      Flush(BlockType::kSampleDetails, details);
      for (size_t next = first; next < end; ++next) {
        const size_t index = samples[event][next].second;
        if (out.empty()) out.U(event);
        out.U(index);
        PutSample(out, recording_.events[event].samples[index]);
        FlushIfFull(BlockType::kSamples, out);
      }
      Flush(BlockType::kSamples, out);
      done[event] = end;
    }
  }

  void PutNamesOf(Payload& out, const Stack& stack) {
    for (const Segment& segment : stack.segments) {
      const bool kernel = segment.kind == SegmentKind::kKernel;
      for (const StackAddress& address : segment.addresses) {
        const SpaceIndex space = kernel ? kKernelSpace : segment.space;
        if (!seen_.insert({space, address.value, address.is_return}).second) continue;
        const auto found = recording_.names.find({space, address.value, address.is_return});
        if (found == recording_.names.end()) continue;
        PutName(out, found->first, found->second);
        FlushIfFull(BlockType::kNames, out);
      }
    }
  }

  void WriteRemainingNames() {
    Payload out;
    for (const auto& [address, frames] : recording_.names) {
      if (seen_.contains({address.space, address.address, address.is_return})) continue;
      PutName(out, address, frames);
      FlushIfFull(BlockType::kNames, out);
    }
    Flush(BlockType::kNames, out);
  }

  void WriteEnd() {
    Payload out;
    out.U(blocks_);
    Flush(BlockType::kEnd, out);
  }

  const Recording& recording_;
  std::string file_;
  uint64_t blocks_ = 0;
  absl::flat_hash_set<std::tuple<SpaceIndex, uint64_t, bool>>
      seen_;  // addresses whose names are written
};

}  // namespace

std::string WriteCapture(const Recording& recording) { return Writer(recording).Write(); }

}  // namespace stallscope
