// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/convert.h"

#include <absl/container/flat_hash_set.h>
#include <fmt/format.h>
#include <stdio.h>

#include <algorithm>
#include <map>
#include <memory>
#include <tuple>
#include <utility>

#include "symbolizer/module.h"
#include "userspace/cli/capture_input.h"
#include "userspace/cli/words.h"
#include "userspace/profile/make_profile.h"
#include "userspace/profile/summarize.h"

namespace stallscope {
namespace {

// The files of a capture, each opened once.
class LocalFiles {
 public:
  explicit LocalFiles(const std::string& root) : root_(root) {}

  // nullptr: none here, or another build.
  const symbolizer::Module* Find(const Mapping& mapping) {
    const auto [entry, is_new] = files_.try_emplace({mapping.path, mapping.build_id});
    if (is_new) entry->second = Open(mapping);
    return entry->second.get();
  }

  size_t matched() const { return matched_; }
  std::vector<std::string> mismatches() && { return std::move(mismatches_); }

 private:
  std::shared_ptr<const symbolizer::Module> Open(const Mapping& mapping) {
    if (mapping.path.empty() || mapping.path.front() != '/') return nullptr;
    if (mapping.build_id.empty()) return Refuse(mapping, "the capture has no build id of it");
    auto module = symbolizer::Module::Open({root_ + mapping.path, mapping.path, root_});
    if (!module.ok()) return Refuse(mapping, "cannot be read here");
    if ((*module)->build_id() != mapping.build_id) return Refuse(mapping, "another build id here");
    ++matched_;
    return *module;
  }

  std::shared_ptr<const symbolizer::Module> Refuse(const Mapping& mapping, std::string_view why) {
    mismatches_.push_back(fmt::format("{}: {}", Printable(mapping.path), why));
    return nullptr;
  }

  std::string root_;
  std::map<std::pair<std::string, std::string>, std::shared_ptr<const symbolizer::Module>> files_;
  size_t matched_ = 0;
  std::vector<std::string> mismatches_;
};

// The mappings of each space, sorted by start.
std::vector<std::vector<const Mapping*>> SortedMappings(const Recording& recording) {
  std::vector<std::vector<const Mapping*>> sorted;
  for (const AddressSpace& space : recording.spaces) {
    std::vector<const Mapping*>& mappings = sorted.emplace_back();
    for (const Mapping& mapping : space.mappings) mappings.push_back(&mapping);
    std::stable_sort(mappings.begin(), mappings.end(),
                     [](const Mapping* a, const Mapping* b) { return a->start < b->start; });
  }
  return sorted;
}

const Mapping* MappingOf(const std::vector<const Mapping*>& sorted, uint64_t address) {
  const auto after =
      std::upper_bound(sorted.begin(), sorted.end(), address,
                       [](uint64_t a, const Mapping* mapping) { return a < mapping->start; });
  if (after == sorted.begin()) return nullptr;
  const Mapping* mapping = *(after - 1);
  return address < mapping->end ? mapping : nullptr;
}

// -q keeps errors only, and what says that a result is not whole.
void Say(const ConvertOptions& options, const std::string& line) {
  if (!options.quiet) PrintLine(stderr, line);
}

void SayResymbolized(const ConvertOptions& options, const ResymbolizeReport& report) {
  Say(options,
      fmt::format("{} file{} matched by build id: {} addresses looked up again",
                  report.files_matched, report.files_matched == 1 ? "" : "s", report.addresses));
  for (const std::string& mismatch : report.mismatches)
    Say(options, fmt::format("not used: {}", mismatch));
}

}  // namespace

ResymbolizeReport Resymbolize(Recording& recording, const std::string& root) {
  ResymbolizeReport report;
  LocalFiles files(root);
  const auto mappings = SortedMappings(recording);
  absl::flat_hash_set<std::tuple<SpaceIndex, uint64_t, bool>> done;
  for (const Stack& stack : recording.stacks) {
    for (const Segment& segment : stack.segments) {
      // A damaged capture may name a space that is not there.
      if (segment.kind == SegmentKind::kKernel || segment.kind == SegmentKind::kMarker ||
          segment.space >= mappings.size()) {
        continue;
      }
      for (const StackAddress& address : segment.addresses) {
        if (!done.emplace(segment.space, address.value, address.is_return).second) continue;
        const Mapping* mapping =
            MappingOf(mappings[segment.space], address.value - (address.is_return ? 1 : 0));
        const symbolizer::Module* module = mapping ? files.Find(*mapping) : nullptr;
        if (!module) continue;
        auto frames = module->Lookup(mapping->file_offset + (address.value - mapping->start),
                                     address.is_return);
        if (frames.empty()) continue;
        recording.names[{segment.space, address.value, address.is_return}] = std::move(frames);
        ++report.addresses;
      }
    }
  }
  report.files_matched = files.matched();
  report.mismatches = std::move(files).mismatches();
  return report;
}

int RunConvert(const ConvertOptions& options) {
  if (auto status = CheckWritable(options.outputs); !status.ok()) return ReportError(status);
  auto input = ReadCaptureFile(options.input);
  if (!input.ok()) return ReportError(input.status());
  Recording& recording = *input;
  if (options.resymbolize) SayResymbolized(options, Resymbolize(recording, ""));

  const auto profile = MakeProfile(recording, options.view);
  if (!profile.ok()) return ReportError(profile.status());
  std::vector<std::string> events;
  for (const RecordedEvent& event : recording.events) events.push_back(event.name);
  const std::vector<Output> outputs = PlanOutputs(options.outputs, events);
  if (auto status = CheckStdout(outputs); !status.ok()) return ReportError(status);
  const WriteReport report = WriteOutputs(recording, *profile, options.view, outputs);
  if (!options.quiet) fputs(FormatHiddenAndLost(*profile, !options.view.idle).c_str(), stderr);
  for (const std::string& path : report.paths)
    Say(options, fmt::format("wrote {}", Printable(path)));
  return report.status.ok() ? kExitDone : ReportError(report.status);
}

}  // namespace stallscope
