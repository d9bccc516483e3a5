// SPDX-License-Identifier: Apache-2.0
//
// A Module is one ELF file, opened and parsed once, lazily, however many processes map it. It
// answers three questions about a place in the file: what is it called, is the instruction before
// it a call, and where is the caller's frame.
//
// Places are file offsets (mapping offset + address - mapping start): they are the same in every
// process and need no load bias. All bytes are hostile: damage gives fewer names.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "symbolizer/frame.h"
#include "symbolizer/struct_layout.h"

namespace stallscope::symbolizer {

class GoBinary;
class RegularFile;

struct ModuleSource {
  std::string path;  // what we open: "/proc/7/map_files/55d0c000-55d0d000", "/usr/bin/x"
  std::string name;  // as the target calls it: "/usr/lib/libc.so.6"
  std::string
      debug_root;  // where separate debug files are looked up: "/proc/7/root" or "" for ours
};

// How to step from a frame to its caller at one instruction, for x86-64 (System V) code.
//   CFA = (cfa_register == kRsp ? rsp : rbp) + cfa_offset, or *(that) when `cfa_deref`;
//   the return address lies at CFA - 8; the caller's rsp is CFA;
//   the caller's rbp is *(CFA + rbp_offset) when rbp_offset is set, else unchanged;
//   with rbp_saved_at_rbp it is *(rbp + rbp_offset) (functions that realign their stack, which also
//   have cfa_deref).
struct FrameRule {
  enum Register : uint8_t { kRsp, kRbp } cfa_register = kRsp;
  int64_t cfa_offset = 8;
  bool cfa_deref = false;
  std::optional<int64_t> rbp_offset;
  bool rbp_saved_at_rbp = false;
  bool outermost = false;  // the tables say that there is no caller (_start, clone's child, goexit)
  bool operator==(const FrameRule&) const = default;
};

class Module {
 public:
  // Fails when the file cannot be read or is not ELF. Reads no more of the file than the headers.
  static absl::StatusOr<std::shared_ptr<const Module>> Open(const ModuleSource& source);
  static absl::StatusOr<std::shared_ptr<const Module>> FromBytes(std::string bytes,
                                                                 const ModuleSource& source);
  static absl::StatusOr<std::shared_ptr<const Module>> FromFile(const RegularFile& file,
                                                                const ModuleSource& source);
  ~Module();

  const std::string& name() const;
  const std::string& build_id() const;  // lower-case hex, "" when there is none
  bool is_x86_64() const;

  std::optional<uint64_t> FileOffsetToAddress(uint64_t file_offset) const;
  std::optional<uint64_t> AddressToFileOffset(uint64_t elf_address) const;

  // Source-level frames at `file_offset`, innermost (inlined) first. `is_return`: the place is a
  // return address, so the call before it is looked up. Empty: no name (absence is no error).
  std::vector<Frame> Lookup(uint64_t file_offset, bool is_return) const;

  // True when `file_offset` lies in executable bytes right after a call instruction.
  bool FollowsCall(uint64_t file_offset) const;

  // The unwind rule at exactly this instruction, from .eh_frame, or pclntab's pcsp for Go. nullopt:
  // no table covers it.
  std::optional<FrameRule> RuleAt(uint64_t file_offset, bool is_return) const;

  // File offset of the start of the native function (or of that part of one) that its unwind table
  // says `file_offset` to be in.
  std::optional<uint64_t> FunctionStart(uint64_t file_offset) const;

  // Up to `size` bytes of code as the file has it, at an ELF address: shorter where the segment
  // ends. What a debugger or a probe has put over it in a process is not in it.
  std::string_view CodeAt(uint64_t elf_address, uint64_t size) const;
  // All of [elf_address, elf_address + size) is writable when loaded: data and bss.
  bool IsWritableRange(uint64_t elf_address, uint64_t size) const;
  // ELF addresses of the symbols of these names that the file's own tables define.
  absl::flat_hash_map<std::string, uint64_t> SymbolAddresses(
      const std::vector<std::string_view>& names) const;
  // Structures of these names, from the DWARF of the file or of its separate debug file; those
  // that it lacks are left out. NotFound: there is none, or it lacks all of them.
  absl::StatusOr<absl::flat_hash_map<std::string, StructLayout>> StructLayouts(
      const std::vector<std::string_view>& names) const;

  // The Go tables of the file; nullptr when it is not a Go program or they are too old or damaged
  // (why says).
  const GoBinary* go() const;
  const std::string& go_problem() const;

  // Bytes of memory held now: indexes, parsed tables, owned bytes. File pages are not counted.
  // Grows with use.
  uint64_t memory_bytes() const;

 private:
  struct Impl;
  explicit Module(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace stallscope::symbolizer
