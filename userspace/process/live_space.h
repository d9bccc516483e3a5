// SPDX-License-Identifier: Apache-2.0
//
// The address space of a process while it lives: which file is mapped where, with the files held
// open, so that what is deleted, replaced or unloaded later keeps its names.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "symbolizer/module.h"
#include "symbolizer/module_cache.h"
#include "symbolizer/text_tables.h"
#include "userspace/process/memory.h"
#include "userspace/profile/recording.h"

namespace stallscope {

class LiveSpace {
 public:
  // `pid` is the number in our own pid namespace, for /proc and process_vm_readv. Fails when
  // /proc/PID/maps cannot be read (the process is gone, or the rights are missing).
  static absl::StatusOr<std::unique_ptr<LiveSpace>> Open(uint32_t pid,
                                                         symbolizer::ModuleCache* modules);

  // Reads the maps again and adds what is new. Mappings that went away stay, so that old stacks
  // keep their names; where two overlap the newest wins.
  absl::Status Refresh();

  // True when `address` lies in a known executable mapping.
  bool IsExecutable(uint64_t address) const { return Find(address) != nullptr; }
  // Reads the maps again, once an address, when `address` is in no known mapping.
  void Learn(uint64_t address);

  // What the code around an address says, remembered.
  struct AddressFacts {
    bool follows_call = false;
    bool keeps_frame_pointer =
        false;           // from here the frame pointer chain leads to the caller itself
    bool is_go = false;  // Go code, which always keeps frame pointers
  };
  const AddressFacts& FactsAt(uint64_t address, bool is_return) const;

  // Frames at an address, innermost first; empty when it has no name.
  std::vector<symbolizer::Frame> Lookup(uint64_t address, bool is_return) const;
  // True when a call instruction ends at `address`; also for executable memory without a file,
  // whose bytes are read.
  bool FollowsCall(uint64_t address) const;
  std::optional<symbolizer::FrameRule> RuleAt(uint64_t address, bool is_return) const;
  // The address belongs to Go code (and so keeps frame pointers).
  bool IsGo(uint64_t address) const;
  // Return addresses in the code that starts threads and programs: nothing of the program lies
  // above them. Learned from stacks that unwind tables followed to their end.
  void RememberStart(uint64_t address) { starts_.insert(address); }
  bool IsStart(uint64_t address) const { return starts_.contains(address); }
  // Index of the mapping, to tell whether two addresses are of one file.
  std::optional<size_t> MappingAt(uint64_t address) const;

  // The Go tables of the executable; nullptr when it is not a Go program. `load_bias` is what to
  // add to ELF addresses.
  const symbolizer::GoBinary* go(uint64_t* load_bias) const;
  // Why the executable's Go tables could not be used; empty when they could or when it is not Go.
  std::string go_problem() const;

  const Memory& memory() const { return memory_; }
  uint32_t pid() const { return pid_; }
  const std::string& exe() const { return exe_; }
  bool is_x86_64() const { return is_x86_64_; }
  // The places right after the system call instructions of the C library and the dynamic loader.
  std::vector<uint64_t> SystemCallReturns() const;
  // The executable mappings, for the recording.
  std::vector<Mapping> Mappings() const;

 private:
  struct OpenMapping {
    uint64_t start = 0, end = 0, file_offset = 0;
    uint64_t device = 0, inode = 0;
    std::string path;
    std::shared_ptr<const symbolizer::Module>
        module;  // null for anonymous memory, or when it cannot be read
  };

  explicit LiveSpace(uint32_t pid, symbolizer::ModuleCache* modules)
      : pid_(pid), modules_(modules), memory_(pid) {}
  const OpenMapping* Find(uint64_t address) const;
  std::shared_ptr<const symbolizer::Module> OpenModule(const OpenMapping& mapping);
  void ReadPerfMap() const;

  uint32_t pid_;
  symbolizer::ModuleCache* modules_;
  ProcessMemory memory_;
  std::string exe_;
  bool is_x86_64_ = true;
  std::vector<OpenMapping> mappings_;  // oldest first
  size_t refreshes_ = 0;
  mutable absl::flat_hash_map<std::pair<uint64_t, bool>, AddressFacts> facts_;
  absl::flat_hash_set<uint64_t> starts_;
  mutable std::optional<symbolizer::PerfMap>
      perf_map_;  // read when an address without a file first asks for a name
};

}  // namespace stallscope
