// SPDX-License-Identifier: Apache-2.0
//
// The format of pprof: a message of profile.proto (package perftools.profiles), gzipped.
//
// Its readers take much on trust: `go tool pprof` refuses ids of 0 or given twice and samples with
// too few values, and it falls over a build id of one digit. Where a mapping does not say that it
// has names, it looks for the binary, or asks the network. So every mapping says so: an address
// without a name was looked up here, where the program was, and its own name says what is known.
#include <absl/container/flat_hash_map.h>
#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <deque>
#include <limits>
#include <protozero/pbf_builder.hpp>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "userspace/format/format.h"
#include "userspace/format/text.h"
#include "userspace/format/value.h"

namespace stallscope {
namespace {

// --- field numbers of profile.proto

enum class ProfileField : protozero::pbf_tag_type {
  kSampleType = 1,
  kSample = 2,
  kMapping = 3,
  kLocation = 4,
  kFunction = 5,
  kStringTable = 6,
  kTimeNanos = 9,
  kDurationNanos = 10,
  kPeriodType = 11,
  kPeriod = 12,
  kComment = 13,
  kDefaultSampleType = 14,
};
enum class ValueTypeField : protozero::pbf_tag_type { kType = 1, kUnit = 2 };
enum class SampleField : protozero::pbf_tag_type { kLocationId = 1, kValue = 2, kLabel = 3 };
enum class LabelField : protozero::pbf_tag_type { kKey = 1, kString = 2 };
enum class MappingField : protozero::pbf_tag_type {
  kId = 1,
  kMemoryStart = 2,
  kMemoryLimit = 3,
  kFileOffset = 4,
  kFilename = 5,
  kBuildId = 6,
  kHasFunctions = 7,
  kHasFilenames = 8,
  kHasLineNumbers = 9,
  kHasInlineFrames = 10,
};
enum class LocationField : protozero::pbf_tag_type {
  kId = 1,
  kMappingId = 2,
  kAddress = 3,
  kLine = 4,
};
enum class LineField : protozero::pbf_tag_type { kFunctionId = 1, kLine = 2 };
enum class FunctionField : protozero::pbf_tag_type { kId = 1, kName = 2, kFilename = 4 };

template <typename Field>
using Message = protozero::pbf_builder<Field>;

constexpr std::string_view kUnknown = "[unknown]";
constexpr std::string_view kKernelFile = "[kernel.kallsyms]";

// --- what the columns are called

// Of a sample type: what it is called, and the column that it comes from.
struct SampleType {
  std::string name;
  std::string unit;
  size_t column = 0;
};

struct SampleTypes {
  std::vector<SampleType> types;
  std::string standard;  // the one that readers show first
};

std::string UnitName(const std::string& unit) {
  return unit == "ns" ? "nanoseconds" : PrintableName(unit);
}

// Threads and goroutines that wait. To pprof they are what Go's own profiles of blocking are, by
// whose names its options -contentions, -total_delay and -mean_delay go; the last divides by the
// first type, so the count comes first.
bool IsOfWaits(const EventProfile& event) {
  return event.name == "offcpu" || event.name == "goroutine";
}

std::optional<size_t> ColumnOf(const EventProfile& event, std::string_view name,
                               std::string_view unit) {
  for (size_t i = 0; i < event.columns.size(); ++i) {
    if (event.columns[i].name == name && event.columns[i].unit == unit) return i;
  }
  return std::nullopt;
}

SampleTypes TypesOf(const EventProfile& event) {
  SampleTypes result;
  std::optional<size_t> count, time;
  if (IsOfWaits(event)) {
    count = ColumnOf(event, "count", "count");
    time = ColumnOf(event, "time", "ns");
  }
  if (count && time) {
    result.types = {{"contentions", "count", *count}, {"delay", "nanoseconds", *time}};
    result.standard = "delay";
  }
  for (size_t i = 0; i < event.columns.size(); ++i) {
    if (count && time && (i == *count || i == *time)) continue;
    const Column& column = event.columns[i];
    result.types.push_back({PrintableName(column.name), UnitName(column.unit), i});
  }
  // Without any, which only a damaged capture can hold, `go tool pprof` would refuse the file.
  if (result.types.empty()) result.types.push_back({"samples", "count", event.columns.size()});
  if (result.standard.empty()) result.standard = result.types[0].name;
  return result;
}

// --- tables

// Each string once; the first is empty, as the format wants it.
class StringTable {
 public:
  StringTable() { Number(""); }

  int64_t Number(std::string_view text) {
    const auto found = numbers_.find(text);
    if (found != numbers_.end()) return found->second;
    const int64_t number = static_cast<int64_t>(strings_.size());
    // The keys are views: a deque leaves its strings where they are.
    numbers_.emplace(strings_.emplace_back(text), number);
    return number;
  }

  const std::deque<std::string>& strings() const { return strings_; }

 private:
  struct Hash {
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  std::deque<std::string> strings_;
  absl::flat_hash_map<std::string_view, int64_t, Hash> numbers_;
};

// A build id that is not one is no use to a reader; see the top of this file.
bool IsBuildId(std::string_view id) {
  return id.size() >= 2 && id.size() <= 128 &&
         id.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// --- the message

class Encoder {
 public:
  Encoder(const Profile& profile, const EventProfile& event)
      : profile_(profile), event_(event), types_(TypesOf(event)) {}

  std::string Encode() {
    AddTypes();
    for (const ProfileSample& sample : event_.samples) AddSample(sample);
    AddLocations();
    AddMappings();
    AddFunctions();
    AddFacts();
    for (const std::string& text : strings_.strings()) {
      out_.add_bytes(ProfileField::kStringTable, text.data(), text.size());
    }
    return std::move(bytes_);
  }

 private:
  // Frames outwards that make one location: those inlined, then the function that they are in.
  // Indices as FrameAt() takes them.
  using Lines = std::vector<uint32_t>;

  // What the lines of a mapping's locations know.
  struct Known {
    bool used = false;
    bool files = false;
    bool lines = false;
    bool inlined = false;
  };

  // The numbers from profile_.frames.size() on are frames of our own.
  const ProfileFrame& FrameAt(uint32_t index) const {
    const size_t frames = profile_.frames.size();
    return index < frames ? profile_.frames[index] : own_frames_[index - frames];
  }

  uint32_t OwnFrame(const std::string& name) {
    const uint32_t next = static_cast<uint32_t>(profile_.frames.size() + own_frames_.size());
    const auto [it, added] = own_frame_of_.try_emplace(name, next);
    if (added) {
      ProfileFrame& frame = own_frames_.emplace_back();
      frame.name = name;
      frame.kind = ProfileFrameKind::kMarker;
    }
    return it->second;
  }

  uint32_t Unknown() { return OwnFrame(std::string(kUnknown)); }

  void AddValueType(ProfileField field, std::string_view name, std::string_view unit) {
    const int64_t name_number = strings_.Number(name), unit_number = strings_.Number(unit);
    Message<ValueTypeField> type(out_, field);
    type.add_int64(ValueTypeField::kType, name_number);
    type.add_int64(ValueTypeField::kUnit, unit_number);
  }

  void AddTypes() {
    for (const SampleType& type : types_.types) {
      AddValueType(ProfileField::kSampleType, type.name, type.unit);
    }
  }

  // --- samples

  void AddSample(const ProfileSample& sample) {
    std::vector<int64_t> values;
    bool any = false;
    for (const SampleType& type : types_.types) {
      values.push_back(std::max<int64_t>(0, ValueAt(sample, type.column).value_or(0)));
      any |= values.back() > 0;
    }
    if (!any) return;
    const std::vector<uint64_t> locations = LocationsOf(sample);
    const std::vector<std::pair<int64_t, int64_t>> labels = LabelsOf(sample);
    Message<SampleField> out(out_, ProfileField::kSample);
    out.add_packed_uint64(SampleField::kLocationId, locations.begin(), locations.end());
    out.add_packed_int64(SampleField::kValue, values.begin(), values.end());
    for (const auto& [key, value] : labels) {
      Message<LabelField> label(out, SampleField::kLabel);
      label.add_int64(LabelField::kKey, key);
      label.add_int64(LabelField::kString, value);
    }
  }

  // Leaf first. The reason is a label: it is a frame only where it is asked for, and where there is
  // no other (a sample without any would be in no picture).
  std::vector<uint64_t> LocationsOf(const ProfileSample& sample) {
    std::vector<uint64_t> ids;
    Lines lines;
    for (auto frame = sample.frames.rbegin(); frame != sample.frames.rend(); ++frame) {
      lines.push_back(*frame < profile_.frames.size() ? *frame : Unknown());
      const bool last = frame + 1 == sample.frames.rend();
      if (!last && IsInlinedInto(lines.back(), *(frame + 1))) continue;
      ids.push_back(LocationOf(std::exchange(lines, {})));
    }
    if (profile_.reason_root || ids.empty()) {
      const bool none = sample.reason.empty();
      if (!none) ids.push_back(LocationOf({OwnFrame("[" + sample.reason + "]")}));
      if (none && ids.empty()) ids.push_back(LocationOf({Unknown()}));
    }
    return ids;
  }

  bool IsInlinedInto(uint32_t frame, uint32_t outside) const {
    if (outside >= profile_.frames.size()) return false;
    const ProfileFrame& inner = FrameAt(frame);
    const ProfileFrame& outer = FrameAt(outside);
    const bool same_code = inner.address == outer.address && inner.mapping == outer.mapping;
    return inner.inlined && same_code &&
           (inner.kind == ProfileFrameKind::kKernel) == (outer.kind == ProfileFrameKind::kKernel);
  }

  uint64_t LocationOf(Lines lines) {
    const uint64_t next = locations_.size() + 1;
    const bool one = lines.size() == 1;
    if (one) {
      // Most have one line: these need no hash of a list.
      const uint32_t frame = lines[0];
      if (frame >= location_of_frame_.size()) location_of_frame_.resize(frame + 1);
      uint64_t& id = location_of_frame_[frame];
      if (id != 0) return id;
      id = next;
    } else {
      const auto [it, added] = location_of_lines_.try_emplace(lines, next);
      if (!added) return it->second;
    }
    locations_.push_back(std::move(lines));
    return next;
  }

  // Keys and values; no key twice, which readers take for an error or show as a list. A label of
  // the program's own whose key is one of ours, or is reserved, is "label.KEY".
  std::vector<std::pair<int64_t, int64_t>> LabelsOf(const ProfileSample& sample) {
    std::vector<std::pair<int64_t, int64_t>> labels;
    std::set<std::string> keys;
    const auto add = [&](std::string key, std::string_view value) {
      // To the format, a label with an empty string is one without a value.
      if (value.empty()) return;
      while (key.empty() || key.compare(0, 7, "pprof::") == 0 || keys.count(key) > 0) {
        key = "label." + key;
      }
      labels.emplace_back(strings_.Number(key), strings_.Number(PrintableName(value)));
      keys.insert(std::move(key));
    };
    add("reason", sample.reason);
    add("comm", sample.comm);
    for (const auto& [key, value] : sample.labels) add(PrintableName(key), value);
    return labels;
  }

  // --- tables that samples refer to

  void AddLocations() {
    known_.resize(profile_.mappings.size());
    // Readers take the first mapping for the program, whether or not a frame of it was seen.
    if (!known_.empty()) known_[0].used = true;
    for (const Lines& lines : locations_) {
      for (const uint32_t frame : lines) Learn(FrameAt(frame), lines.size() > 1);
    }
    NumberMappings();
    for (size_t i = 0; i < locations_.size(); ++i) AddLocation(i + 1, locations_[i]);
  }

  Known* KnownOf(const ProfileFrame& frame) {
    if (frame.kind == ProfileFrameKind::kKernel) return &kernel_;
    return frame.mapping < known_.size() ? &known_[frame.mapping] : nullptr;
  }

  void Learn(const ProfileFrame& frame, bool inlined) {
    Known* known = KnownOf(frame);
    if (known == nullptr) return;
    known->used = true;
    known->files |= !frame.file.empty();
    known->lines |= frame.line != 0;
    known->inlined |= inlined;
  }

  void NumberMappings() {
    for (const Known& known : known_) {
      mapping_ids_.push_back(known.used ? ++mappings_ : 0);
    }
    if (kernel_.used) kernel_id_ = ++mappings_;
  }

  uint64_t MappingIdOf(const ProfileFrame& frame) const {
    if (frame.kind == ProfileFrameKind::kKernel) return kernel_id_;
    return frame.mapping < mapping_ids_.size() ? mapping_ids_[frame.mapping] : 0;
  }

  void AddLocation(uint64_t id, const Lines& lines) {
    const ProfileFrame& innermost = FrameAt(lines[0]);
    Message<LocationField> out(out_, ProfileField::kLocation);
    out.add_uint64(LocationField::kId, id);
    if (const uint64_t mapping = MappingIdOf(innermost)) {
      out.add_uint64(LocationField::kMappingId, mapping);
    }
    if (innermost.address != 0) out.add_uint64(LocationField::kAddress, innermost.address);
    for (const uint32_t frame : lines) {
      const uint64_t function = FunctionOf(frame);
      Message<LineField> line(out, LocationField::kLine);
      line.add_uint64(LineField::kFunctionId, function);
      if (const uint32_t number = FrameAt(frame).line) line.add_int64(LineField::kLine, number);
    }
  }

  // Without any mapping, `go tool pprof` would make one up, and look for its names.
  void AddMappings() {
    for (size_t i = 0; i < mapping_ids_.size(); ++i) {
      if (mapping_ids_[i] != 0) AddMapping(mapping_ids_[i], profile_.mappings[i], known_[i]);
    }
    if (kernel_id_ != 0 || mappings_ == 0) {
      ProfileMapping kernel;
      if (kernel_id_ != 0) kernel.path = kKernelFile;
      AddMapping(std::max<uint64_t>(kernel_id_, 1), kernel, kernel_);
    }
  }

  void AddMapping(uint64_t id, const ProfileMapping& mapping, const Known& known) {
    const int64_t file = strings_.Number(PrintableName(mapping.path));
    const int64_t build_id =
        strings_.Number(IsBuildId(mapping.build_id) ? mapping.build_id : std::string());
    Message<MappingField> out(out_, ProfileField::kMapping);
    out.add_uint64(MappingField::kId, id);
    if (mapping.start != 0) out.add_uint64(MappingField::kMemoryStart, mapping.start);
    if (mapping.end != 0) out.add_uint64(MappingField::kMemoryLimit, mapping.end);
    if (mapping.file_offset != 0) out.add_uint64(MappingField::kFileOffset, mapping.file_offset);
    if (file != 0) out.add_int64(MappingField::kFilename, file);
    if (build_id != 0) out.add_int64(MappingField::kBuildId, build_id);
    out.add_bool(MappingField::kHasFunctions, true);
    if (known.files) out.add_bool(MappingField::kHasFilenames, true);
    if (known.lines) out.add_bool(MappingField::kHasLineNumbers, true);
    if (known.inlined) out.add_bool(MappingField::kHasInlineFrames, true);
  }

  // The id of a frame's function: one of its name and its file.
  uint64_t FunctionOf(uint32_t frame) {
    if (frame >= function_of_frame_.size()) function_of_frame_.resize(frame + 1);
    uint64_t& id = function_of_frame_[frame];
    if (id != 0) return id;
    const ProfileFrame& of = FrameAt(frame);
    const std::string name = PrintableName(of.name);
    const std::pair<int64_t, int64_t> key = {strings_.Number(name.empty() ? kUnknown : name),
                                             strings_.Number(PrintableName(of.file))};
    const auto [it, added] = function_ids_.try_emplace(key, functions_.size() + 1);
    if (added) functions_.push_back(key);
    return id = it->second;
  }

  // Without the system's own name for them: where it equals the name, `go tool pprof` demangles
  // again and takes away what is in brackets.
  void AddFunctions() {
    for (size_t i = 0; i < functions_.size(); ++i) {
      const auto& [name, file] = functions_[i];
      Message<FunctionField> out(out_, ProfileField::kFunction);
      out.add_uint64(FunctionField::kId, i + 1);
      out.add_int64(FunctionField::kName, name);
      if (file != 0) out.add_int64(FunctionField::kFilename, file);
    }
  }

  // --- facts

  void AddFacts() {
    if (profile_.start_unix_ns > 0)
      out_.add_int64(ProfileField::kTimeNanos, profile_.start_unix_ns);
    constexpr uint64_t kLargest = std::numeric_limits<int64_t>::max();
    out_.add_int64(ProfileField::kDurationNanos,
                   static_cast<int64_t>(std::min(profile_.duration_ns, kLargest)));
    AddPeriod();
    std::vector<int64_t> comments;
    for (const std::string& comment : Comments()) {
      comments.push_back(strings_.Number(PrintableName(comment)));
    }
    out_.add_packed_int64(ProfileField::kComment, comments.begin(), comments.end());
    out_.add_int64(ProfileField::kDefaultSampleType, strings_.Number(types_.standard));
  }

  // Of what is estimated from snapshots: the time between two. Of all else one event a period: each
  // is counted.
  void AddPeriod() {
    if (const int64_t period_ns = CensusPeriodNs(); period_ns > 0) {
      AddValueType(ProfileField::kPeriodType, "wallclock", "nanoseconds");
      out_.add_int64(ProfileField::kPeriod, period_ns);
      return;
    }
    AddValueType(ProfileField::kPeriodType,
                 types_.standard == "delay" ? "contentions" : PrintableName(event_.name), "count");
    out_.add_int64(ProfileField::kPeriod, 1);
  }

  // Between two snapshots on average, over all processes; 0 where the event is not of snapshots.
  int64_t CensusPeriodNs() const {
    if (event_.name != "goroutine") return 0;
    double covered_ns = 0, ticks = 0;
    for (const ProfileCensus& of : profile_.censuses) {
      covered_ns += static_cast<double>(of.census.period_ns) * static_cast<double>(of.census.ticks);
      ticks += static_cast<double>(of.census.ticks);
    }
    constexpr double kLongestNs = 1e18;  // a damaged capture may hold anything
    return ticks > 0 ? static_cast<int64_t>(std::min(covered_ns / ticks, kLongestNs)) : 0;
  }

  // What `go tool pprof -comments` prints: where the file comes from, and what is not in it.
  std::vector<std::string> Comments() const {
    std::vector<std::string> comments = {
        fmt::format("stallscope {}", profile_.tool_version),
        fmt::format("target: {}", profile_.target),
        fmt::format("event: {}{}{}", event_.name, event_.mechanism.empty() ? "" : ", by ",
                    event_.mechanism)};
    for (const Hidden& hidden : profile_.hidden) {
      if (hidden.event != event_.name) continue;
      comments.push_back(fmt::format("hidden: {} ({}), {}", Show(hidden.count, "count"),
                                     Show(hidden.time_ns, "ns"), hidden.why));
    }
    for (const Loss& loss : profile_.losses) {
      if (loss.event != event_.name) continue;
      comments.push_back(fmt::format("{}: {}, {}{}", loss.dropped ? "lost" : "touched", loss.name,
                                     Show(loss.count, "count"),
                                     loss.time_ns ? ", " + Show(*loss.time_ns, "ns") : ""));
    }
    // `go tool pprof -top` prints all of them above its table.
    constexpr size_t kMostNotes = 10;
    const size_t notes = std::min(profile_.notes.size(), kMostNotes);
    for (size_t i = 0; i < notes; ++i) comments.push_back("note: " + profile_.notes[i]);
    if (notes < profile_.notes.size()) {
      comments.push_back(fmt::format("note: and {} more", profile_.notes.size() - notes));
    }
    return comments;
  }

  static std::string Show(uint64_t value, std::string_view unit) {
    constexpr uint64_t kLargest = std::numeric_limits<int64_t>::max();
    return ShowValue(static_cast<int64_t>(std::min(value, kLargest)), unit);
  }

  const Profile& profile_;
  const EventProfile& event_;
  const SampleTypes types_;
  std::string bytes_;
  Message<ProfileField> out_{bytes_};
  StringTable strings_;

  std::deque<ProfileFrame> own_frames_;
  absl::flat_hash_map<std::string, uint32_t> own_frame_of_;

  std::vector<Lines> locations_;             // of id 1 and on
  std::vector<uint64_t> location_of_frame_;  // those of one line; 0: none yet
  absl::flat_hash_map<Lines, uint64_t> location_of_lines_;

  std::vector<Known> known_;  // parallel to Profile::mappings
  Known kernel_;
  std::vector<uint64_t> mapping_ids_;  // parallel to Profile::mappings; 0: not used
  uint64_t kernel_id_ = 0;
  uint64_t mappings_ = 0;

  std::vector<uint64_t> function_of_frame_;             // 0: none yet
  std::vector<std::pair<int64_t, int64_t>> functions_;  // name and file, of id 1 and on
  absl::flat_hash_map<std::pair<int64_t, int64_t>, uint64_t> function_ids_;
};

// Readers take a file that is not compressed as well: that is what is left without memory for zlib.
std::string Gzip(std::string bytes) {
  z_stream stream = {};
  constexpr int kGzipWindow = 15 + 16;
  constexpr int kMemoryLevel = 8;
  if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, kGzipWindow, kMemoryLevel,
                   Z_DEFAULT_STRATEGY) != Z_OK) {
    return bytes;
  }
  std::string out;
  std::vector<Bytef> buffer(1u << 18);
  size_t done = 0;
  int result = Z_OK;
  while (result == Z_OK) {
    const size_t part = std::min<size_t>(bytes.size() - done, 1u << 30);
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data() + done));
    stream.avail_in = static_cast<uInt>(part);
    stream.next_out = buffer.data();
    stream.avail_out = static_cast<uInt>(buffer.size());
    result = deflate(&stream, done + part == bytes.size() ? Z_FINISH : Z_NO_FLUSH);
    done += part - stream.avail_in;
    out.append(reinterpret_cast<char*>(buffer.data()), buffer.size() - stream.avail_out);
  }
  deflateEnd(&stream);
  return out;
}

}  // namespace

std::string Pprof(const Profile& profile, const EventProfile& event) {
  return Gzip(Encoder(profile, event).Encode());
}

}  // namespace stallscope
