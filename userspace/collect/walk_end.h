// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "bpf/wire.h"
#include "userspace/profile/recording.h"

namespace stallscope {

// Why the kernel's walk of this stack ended.
inline StackEnd EndOf(const stack& raw) {
  switch (raw.end) {
    case WALK_COMPLETE:
      return StackEnd::kComplete;
    case WALK_NONE:
      return StackEnd::kNone;
    case WALK_FULL:
      return StackEnd::kFull;
    case WALK_UNREADABLE:
      return StackEnd::kUnreadable;
    default:
      return StackEnd::kLeftStack;
  }
}

}  // namespace stallscope
