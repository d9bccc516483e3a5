// SPDX-License-Identifier: Apache-2.0
#include "userspace/go/goroutine_list.h"

#include <errno.h>
#include <fmt/format.h>

#include <algorithm>

namespace stallscope {
namespace {

constexpr size_t kSpotChecks = 32;

bool ByAddress(const GoroutineList::Place& a, const GoroutineList::Place& b) {
  return a.address != b.address ? a.address < b.address : a.number < b.number;
}

}  // namespace

absl::Status ReadFailure(int error, const char* what) {
  if (error == ESRCH) return absl::NotFoundError("the process has ended");
  if (error == EPERM) {
    return absl::PermissionDeniedError("cannot read the target's memory (process_vm_readv)");
  }
  return absl::FailedPreconditionError(
      fmt::format("{} cannot be read: this memory is not, or no longer, of this Go runtime", what));
}

absl::Status GoroutineList::Update(const Memory& memory) {
  // The length before the array, as the runtime's own readers do: then the array has at least as
  // many.
  uint64_t length = 0, array = 0;
  const MemoryRange both[] = {{length_address_, &length, sizeof(length)},
                              {array_address_, &array, sizeof(array)}};
  const Memory::RangesRead read = memory.ReadRanges(both);
  if (read.error != 0) return ReadFailure(read.error, "the list of goroutines");
  if (length > max_goroutines_) {
    return absl::ResourceExhaustedError(
        fmt::format("the runtime says it has {} goroutines: more than {} are not looked at", length,
                    max_goroutines_));
  }
  if (length < listed_.size()) {
    return absl::FailedPreconditionError(
        fmt::format("the runtime's list of goroutines shrank from {} to {}, which it never does",
                    listed_.size(), length));
  }
  if (array != array_) {
    if (absl::Status status = Check(memory, array); !status.ok()) return status;
    array_ = array;
  }
  if (length == listed_.size()) return absl::OkStatus();
  return ReadTail(memory, array, length);
}

absl::Status GoroutineList::Check(const Memory& memory, uint64_t array) const {
  if (listed_.empty()) return absl::OkStatus();
  const size_t step = std::max<size_t>(listed_.size() / kSpotChecks, 1);
  std::vector<size_t> numbers = {listed_.size() - 1};
  for (size_t number = 0; number < listed_.size(); number += step) numbers.push_back(number);
  std::vector<uint64_t> found(numbers.size());
  std::vector<MemoryRange> ranges;
  for (size_t i = 0; i < numbers.size(); ++i) {
    ranges.push_back({array + numbers[i] * sizeof(uint64_t), &found[i], sizeof(uint64_t)});
  }
  const Memory::RangesRead read = memory.ReadRanges(ranges);
  if (read.error != 0) return ReadFailure(read.error, "the list of goroutines");
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (found[i] != listed_[numbers[i]]) {
      return absl::FailedPreconditionError(
          "the runtime's list of goroutines is another one than before");
    }
  }
  return absl::OkStatus();
}

absl::Status GoroutineList::ReadTail(const Memory& memory, uint64_t array, size_t length) {
  const size_t first = listed_.size();
  listed_.resize(length);
  const MemoryRange tail = {array + first * sizeof(uint64_t), &listed_[first],
                            (length - first) * sizeof(uint64_t)};
  const Memory::RangesRead read = memory.ReadRanges({&tail, 1});
  if (read.error != 0) {
    listed_.resize(first);
    return ReadFailure(read.error, "the list of goroutines");
  }
  AddPlaces(first);
  return absl::OkStatus();
}

void GoroutineList::AddPlaces(size_t first) {
  const size_t known = places_.size();
  for (size_t number = first; number < listed_.size(); ++number) {
    const uint64_t address = listed_[number];
    if (address == 0 || address % 8 != 0 || address + g_bytes_ < address) {
      ++refused_;
    } else {
      places_.push_back({address, static_cast<uint32_t>(number)});
    }
  }
  const auto middle = places_.begin() + static_cast<ptrdiff_t>(known);
  std::sort(middle, places_.end(), ByAddress);
  std::inplace_merge(places_.begin(), middle, places_.end(), ByAddress);
  const auto end = std::unique(
      places_.begin(), places_.end(),
      [](const Place& kept, const Place& next) { return kept.address == next.address; });
  refused_ += static_cast<size_t>(places_.end() - end);
  places_.erase(end, places_.end());
}

}  // namespace stallscope
