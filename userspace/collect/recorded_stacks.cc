// SPDX-License-Identifier: Apache-2.0
#include "userspace/collect/recorded_stacks.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "symbolizer/text_tables.h"
#include "userspace/collect/walk_end.h"
#include "userspace/process/proc_files.h"

namespace stallscope {
namespace {

// Two collectors may have the same to say.
void AddNote(std::string note, Recording* recording) {
  std::vector<std::string>& notes = recording->notes;
  if (std::find(notes.begin(), notes.end(), note) == notes.end()) notes.push_back(std::move(note));
}

symbolizer::KernelSymbols ReadKernelSymbols(Recording* recording) {
  symbolizer::KernelSymbols kernel = symbolizer::KernelSymbols::Parse("");
  if (auto text = ReadProcFile("/proc/kallsyms"); text.ok())
    kernel = symbolizer::KernelSymbols::Parse(*text);
  if (kernel.hidden()) {
    std::string level = ReadProcFile("/proc/sys/kernel/kptr_restrict").value_or("?");
    if (!level.empty() && level.back() == '\n') level.pop_back();
    AddNote(fmt::format("kernel symbols are hidden (kptr_restrict={})", level), recording);
  }
  return kernel;
}

}  // namespace

WalkedStack Unpack(const stack& raw) {
  WalkedStack walked;
  if (raw.count == 0) return walked;
  walked.addresses.assign(raw.addresses, raw.addresses + raw.count);
  walked.leaf_word = (raw.flags & STACK_LEAF_WORD) && raw.chain_at == 2;
  walked.steps = raw.chain_at == 1 + raw.steps ? raw.steps : 0;
  walked.steps_check = raw.steps_check;
  walked.goroutine_at = raw.goroutine_at;
  walked.no_goroutine = raw.flags & STACK_GO_NO_G;
  walked.end = EndOf(raw);
  return walked;
}

void BoundStack(stack* raw) {
  raw->count = std::min<uint8_t>(raw->count, STACK_MAX_ADDRESSES);
  raw->goroutine_at = std::min(raw->goroutine_at, raw->count);
  raw->chain_at = std::min(raw->chain_at, raw->count);
  raw->steps = std::min<uint8_t>(raw->steps, STACK_MAX_STEPS);
}

Stack UnjudgedStack(const WalkedStack& walked, SpaceIndex space) {
  Stack stack;
  stack.end = walked.end;
  Segment segment;
  segment.space = space;
  for (size_t i = 0; i < walked.addresses.size(); ++i) {
    if (i == 1 && walked.leaf_word) continue;
    segment.addresses.push_back({walked.addresses[i], i > 0, i > 0});
  }
  if (!segment.addresses.empty()) stack.segments.push_back(std::move(segment));
  return stack;
}

Stack MarkerStack(std::string_view marker, StackEnd end) {
  Stack stack;
  stack.end = end;
  Segment segment;
  segment.kind = SegmentKind::kMarker;
  segment.marker = std::string(marker);
  stack.segments.push_back(std::move(segment));
  return stack;
}

std::string GoProblem(const Space& space) {
  return fmt::format("{}: goroutines below C code are not followed ({}, pid {})", space.go_problem,
                     space.comm, space.pid);
}

void AddSpaces(const SpaceTable& spaces, Recording* recording) {
  for (SpaceIndex i = 0; i < spaces.size(); ++i) {
    const Space& from = spaces.at(i);
    AddressSpace space = from.live ? from.live->Describe() : AddressSpace();
    space.tgid = from.pid ? from.pid : from.key.tgid;
    space.start_boot_ns = from.key.start_boot_ns;
    space.exec_id = from.key.exec_id;
    space.comm = from.comm.empty() ? fmt::format("pid {}", space.tgid) : from.comm;
    if (!from.go_problem.empty() && !from.previous) AddNote(GoProblem(from), recording);
    recording->spaces.push_back(std::move(space));
  }
}

absl::Status NameAddresses(const SpaceTable& spaces, SpaceIndex base, size_t first_stack,
                           Recording* recording, const std::function<bool()>& interrupted) {
  std::set<NamedAddress> addresses;
  bool any_kernel = false;
  for (size_t i = first_stack; i < recording->stacks.size(); ++i) {
    for (const Segment& segment : recording->stacks[i].segments) {
      any_kernel |= segment.kind == SegmentKind::kKernel;
      for (const StackAddress& address : segment.addresses) {
        addresses.insert({segment.space, address.value, address.is_return});
      }
    }
  }
  const symbolizer::KernelSymbols kernel =
      any_kernel ? ReadKernelSymbols(recording) : symbolizer::KernelSymbols::Parse("");
  size_t done = 0;
  for (const NamedAddress& address : addresses) {
    if (++done % 256 == 0 && interrupted && interrupted())
      return absl::CancelledError("interrupted");
    std::vector<symbolizer::Frame> frames;
    if (address.space == kKernelSpace) {
      if (auto frame = kernel.Lookup(address.is_return ? address.address - 1 : address.address)) {
        frames.push_back(*std::move(frame));
      }
    } else if (const Space& space = spaces.at(address.space - base); space.live) {
      frames = space.live->Lookup(address.address, address.is_return);
    }
    if (!frames.empty())
      recording->names.emplace_hint(recording->names.end(), address, std::move(frames));
  }
  return absl::OkStatus();
}

}  // namespace stallscope
