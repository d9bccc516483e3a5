// SPDX-License-Identifier: Apache-2.0
#include "userspace/collect/walk_teacher.h"

#include "userspace/process/user_stack.h"
#include "userspace/process/wait_places.h"

namespace stallscope {
namespace {

// Each C library has some 2,000 places, the kernel's table of them 16,384.
constexpr int kMostLibraries = 4;

}  // namespace

void WalkTeacher::TeachProcess(uint32_t kernel_tgid, const Space& space) {
  probe_->SetGoLayout(kernel_tgid, space.go);
  // The C library's system call wrappers, and what calls them inside it, are where most native
  // threads wait: their tables are read ahead, for as many processes as there is room; elsewhere
  // the first wait of a site teaches it.
  if (!space.live || ++libraries_ > kMostLibraries) return;
  for (const WaitPlace& place : CLibraryWaitPlaces(*space.live))
    TeachStep(place.address, place.is_return, *space.live);
}

void WalkTeacher::TeachStep(uint64_t address, bool is_return, const LiveSpace& space) {
  if (!taught_.insert(address).second) return;
  if (const auto step = FrameStepAt(address, is_return, space))
    probe_->SetFrameStep(address, *step);
}

void WalkTeacher::TeachStack(const Stack& stack, const LiveSpace& space) {
  for (const Segment& segment : stack.segments) {
    if (segment.kind != SegmentKind::kUser) continue;
    for (const StackAddress& address : segment.addresses) {
      if (space.FactsAt(address.value, address.is_return).keeps_frame_pointer) return;
      TeachStep(address.value, address.is_return, space);
    }
  }
}

}  // namespace stallscope
