// SPDX-License-Identifier: Apache-2.0
//
// What an ELF file's own headers say (libelf reads them), with every offset and size checked
// against the file.
#pragma once

#include <absl/status/statusor.h>
#include <libelf.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "symbolizer/file_bytes.h"
#include "symbolizer/go_binary.h"

namespace stallscope::symbolizer {

struct ElfSegment {
  uint32_t type = 0;  // PT_LOAD, ...
  bool writable = false, executable = false;
  uint64_t address = 0, file_offset = 0,
           file_size = 0;    // file_offset + file_size lies within the file
  uint64_t memory_size = 0;  // p_memsz: what follows file_size bytes is zeroed at start (bss)
};

struct ElfSection {
  std::string_view name;
  uint32_t type = 0;  // SHT_PROGBITS, ...
  uint64_t flags = 0;
  uint64_t address = 0, file_offset = 0, size = 0;
  uint32_t link = 0;
  Elf_Scn* scn = nullptr;
};

// The entries of PT_DYNAMIC that lead to symbols and relocations; addresses are ELF addresses, 0
// when absent.
struct ElfDynamic {
  uint64_t symbols = 0, names = 0, names_size = 0, hash = 0, gnu_hash = 0;
  uint64_t plt_relocations = 0, plt_relocations_size = 0;
  uint64_t relocations = 0, relocations_size = 0;                    // Rela
  uint64_t relative_relocations = 0, relative_relocations_size = 0;  // Relr
};

class ElfFile {
 public:
  // InvalidArgument: not an ELF file of this byte order, or its headers make no sense.
  static absl::StatusOr<std::unique_ptr<ElfFile>> Parse(FileBytes bytes);
  ~ElfFile();
  ElfFile(const ElfFile&) = delete;
  ElfFile& operator=(const ElfFile&) = delete;

  Elf* elf() const { return elf_; }
  std::string_view bytes() const { return bytes_.view(); }
  uint64_t heap_bytes() const { return bytes_.heap_bytes(); }
  bool is_x86_64() const { return is_x86_64_; }
  const std::string& build_id() const { return build_id_; }
  const std::vector<ElfSegment>& segments() const { return segments_; }
  const std::vector<ElfSection>& sections() const {
    return sections_;
  }  // [0] is the null section; empty when gone
  const ElfSection* SectionNamed(std::string_view name) const;
  const ElfSection* SectionOfType(uint32_t type) const;

  std::optional<uint64_t> FileOffsetToAddress(uint64_t file_offset) const;
  std::optional<uint64_t> AddressToFileOffset(uint64_t address) const;
  bool IsExecutableAddress(uint64_t address) const;
  // All of [address, address + size) is writable when loaded: data and bss.
  bool IsWritableRange(uint64_t address, uint64_t size) const;

  // File bytes of the section's or segment's content; empty when there are none.
  std::string_view ContentOf(const ElfSection& section) const;
  // Up to `size` bytes of the loaded image at `address`: less where the segment's file content
  // ends.
  std::string_view BytesAt(uint64_t address, uint64_t size) const;

  ElfDynamic Dynamic() const;

  // What the compressed debug sections take in memory when libdw opens them; nullopt when that is
  // beyond 256 MiB or their headers make no sense. Ask before libdw opens them.
  std::optional<uint64_t> DecompressedBytes() const;

  // False for a file whose section names show that it has no Go tables; true when it has, or when
  // they cannot tell.
  bool MayBeGo() const;
  ElfView GoView() const;

 private:
  explicit ElfFile(FileBytes bytes) : bytes_(std::move(bytes)) {}
  absl::Status ReadHeaders();
  absl::Status ReadSections();
  void ReadSegments(size_t count);
  std::string FindBuildId() const;

  FileBytes bytes_;
  Elf* elf_ = nullptr;
  bool is_x86_64_ = false;
  std::string build_id_;
  std::vector<ElfSegment> segments_;
  std::vector<ElfSection> sections_;
};

}  // namespace stallscope::symbolizer
