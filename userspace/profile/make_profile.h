// SPDX-License-Identifier: Apache-2.0
//
// Recording -> Profile: names, reasons, what is shown and what is hidden.
#pragma once

#include <absl/status/statusor.h>

#include <optional>
#include <string>
#include <vector>

#include "userspace/profile/profile.h"
#include "userspace/profile/recording.h"

namespace stallscope {

struct ProfileOptions {
  // --idle: show Go's idle threads whole instead of one line a group, and goroutines that are idle
  // by design (idle.rules).
  bool idle = false;
  bool reason_root = false;  // --reason-root
  bool kernel_only = false;  // --kernel
  bool user_only = false;    // --user
  bool peers = false;        // --peers: goroutines that wait for different peers stay apart
  bool created_by = false;   // --created-by: the go statement as root frames of a goroutine
  // For formats that tell addresses: frames carry theirs, so that samples whose stacks differ in
  // addresses alone stay apart.
  bool by_address = false;
  std::vector<std::string> include;  // -I: keep stacks with a frame that matches one of these
  std::vector<std::string> exclude;  // -X: drop stacks with a frame that matches one of these
};

// Fails with InvalidArgument when a regular expression does not compile; the message names it.
absl::StatusOr<Profile> MakeProfile(const Recording& recording, const ProfileOptions& options);

}  // namespace stallscope
