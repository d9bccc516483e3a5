// SPDX-License-Identifier: Apache-2.0
//
// The address space of a process while it lives: which file is mapped where, with the files held
// open, so that what is deleted, replaced or unloaded later keeps its names. One object is one
// layout: where another file takes the place of a known one, a successor begins.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "symbolizer/module.h"
#include "symbolizer/module_cache.h"
#include "symbolizer/text_tables.h"
#include "userspace/process/memory.h"
#include "userspace/process/proc_files.h"
#include "userspace/profile/recording.h"

namespace stallscope {

class LiveSpace {
 public:
  // `pid` is the number in our own pid namespace, for /proc and process_vm_readv. Fails when
  // /proc/PID/maps cannot be read (the process is gone, or the rights are missing).
  static absl::StatusOr<std::unique_ptr<LiveSpace>> Open(uint32_t pid,
                                                         symbolizer::ModuleCache* modules);

  // Executable lines of /proc/PID/maps. `digest` is of their text: equal digests, equal lines.
  struct Layout {
    std::vector<MapsLine> lines;
    uint64_t digest = 0;
  };
  // `lines` stays empty when the digest is `known`.
  static absl::StatusOr<Layout> ReadLayout(uint32_t pid, uint64_t known = 0);

  struct Range {
    uint64_t start = 0, end = 0;
  };

  // Adds mappings where nothing is known, or where the known ones are of the same file at the same
  // place. Mappings that went away stay, so that old stacks keep their names. Returns the ranges
  // where `lines` say something else than what is known; those stay as they were.
  std::vector<Range> Add(const std::vector<MapsLine>& lines);
  // The same ranges, without adding anything.
  std::vector<Range> Contradicted(const std::vector<MapsLine>& lines) const;
  // Every one of `lines` is known: there is nothing to add.
  bool Has(const std::vector<MapsLine>& lines) const;
  // What holds from now on: the mappings of `lines` in place of those that they contradict.
  std::unique_ptr<LiveSpace> Successor(const std::vector<MapsLine>& lines) const;
  // The same for process `pid`, which has had the same layout so far.
  std::unique_ptr<LiveSpace> CopyFor(uint32_t pid) const;
  // Code in these ranges is executable and has no name, for ever.
  void Blank(const std::vector<Range>& ranges);
  // The blanked ranges.
  const std::vector<Range>& blank() const { return blank_; }
  // Process `pid` runs the executable that was read; false when it is gone.
  bool IsProgramOf(uint32_t pid) const;

  // True when `address` lies in a known executable mapping.
  bool IsExecutable(uint64_t address) const { return Find(address) != nullptr; }
  // Reads the maps again when `address` is in no known mapping, unless that was done just now.
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
  // Path of the file that is mapped there; empty for none.
  std::string_view PathAt(uint64_t address) const;

  // A mapped file with Go code.
  struct GoModule {
    std::string path;
    const symbolizer::Module* module = nullptr;
    const symbolizer::GoBinary* tables = nullptr;  // null: not usable, as `problem` says
    std::string problem;
    uint64_t load_bias = 0;  // to add to ELF addresses
    uint64_t code = 0;       // where its code is mapped
  };
  // Every file with Go code that is mapped, the executable first; c-shared libraries and plugins
  // are among them. What it points to is held by the LiveSpace.
  std::vector<GoModule> GoModules() const;

  // The Go tables of the executable; nullptr when it is not a Go program. `load_bias` is what to
  // add to ELF addresses.
  const symbolizer::GoBinary* go(uint64_t* load_bias) const;
  // Why the executable's Go tables could not be used; empty when they could or when it is not Go.
  std::string go_problem() const;

  const Memory& memory() const { return memory_; }
  uint32_t pid() const { return pid_; }
  const std::string& exe() const { return exe_; }
  bool is_x86_64() const { return is_x86_64_; }
  // Start of the native function (or of that part of one) around `address`.
  std::optional<uint64_t> FunctionStart(uint64_t address) const;
  // The executable mappings.
  std::vector<Mapping> Mappings() const;
  // They, the executable and its Go version, for the recording. Whose they are is the caller's
  // to add.
  AddressSpace Describe() const;

 private:
  struct OpenMapping {
    uint64_t start = 0, end = 0, file_offset = 0;
    uint64_t device = 0, inode = 0;
    std::string path;
    std::shared_ptr<const symbolizer::Module>
        module;  // null for anonymous memory, or when it cannot be read
    bool is_blank = false;
  };

  explicit LiveSpace(uint32_t pid, symbolizer::ModuleCache* modules)
      : pid_(pid), modules_(modules), memory_(pid) {}
  bool IsKnown(const MapsLine& line) const;
  static bool Contradicts(const OpenMapping& known, const MapsLine& line);
  void Open(const MapsLine& line);
  void ForgetAnonymous(const OpenMapping& next);
  const OpenMapping* Find(uint64_t address) const;
  std::shared_ptr<const symbolizer::Module> OpenModule(const OpenMapping& mapping);
  void ReadPerfMap() const;

  uint32_t pid_;
  symbolizer::ModuleCache* modules_;
  ProcessMemory memory_;
  std::string exe_;
  bool is_x86_64_ = true;
  uint64_t exe_device_ = 0, exe_inode_ = 0;
  std::vector<OpenMapping> mappings_;  // oldest first; where two overlap the newest wins
  std::vector<Range> blank_;
  std::chrono::steady_clock::time_point next_learn_;
  mutable absl::flat_hash_map<std::pair<uint64_t, bool>, AddressFacts> facts_;
  absl::flat_hash_set<uint64_t> starts_;
  mutable std::optional<symbolizer::PerfMap>
      perf_map_;  // read when an address without a file first asks for a name
};

}  // namespace stallscope
