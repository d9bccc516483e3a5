// SPDX-License-Identifier: Apache-2.0
//
// The kernel programs see the initial pid namespace's numbers; users see their own. This translates
// both ways.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <optional>

namespace stallscope {

// The inode of /proc/PID/ns/pid there: PROC_PID_INIT_INO of the kernel.
constexpr uint32_t kInitialPidNamespace = 4026531836;

class PidNamespace {
 public:
  // Reads the table of all visible tasks when we are not in the initial namespace; costs nothing
  // otherwise.
  static absl::StatusOr<PidNamespace> Own();

  bool initial() const { return initial_; }
  // nullopt: not visible from here.
  std::optional<uint32_t> ToKernel(uint32_t own_id) const;
  std::optional<uint32_t> FromKernel(uint32_t kernel_id) const;
  // Reads the table again, for processes that came later.
  absl::Status Refresh();

 private:
  bool initial_ = true;
  uint32_t inum_ = 0;
  absl::flat_hash_map<uint32_t, uint32_t> to_kernel_, from_kernel_;
};

}  // namespace stallscope
