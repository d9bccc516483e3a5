// SPDX-License-Identifier: Apache-2.0
//
// An ELF file made of unwind tables that a test chose.
#pragma once

#include <elf.h>

#include <cstdint>
#include <cstring>
#include <string>

namespace stallscope::symbolizer {

constexpr uint64_t kBase = 0x400000;       // ELF address of the file's first byte
constexpr uint64_t kCode = kBase + 0x200;  // the one function
constexpr uint64_t kCodeSize = 0x100;
constexpr uint64_t kTablesOffset = 0x400;  // in the file: .eh_frame_hdr, then .eh_frame
constexpr uint64_t kHeaderSize = 64;
constexpr uint64_t kHeader = kBase + kTablesOffset;
constexpr uint64_t kEhFrame = kHeader + kHeaderSize;

template <typename T>
inline std::string Raw(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}

// No sections: one segment holds it all, another is .eh_frame_hdr. `header` has at most kHeaderSize
// bytes.
inline std::string ElfWithTables(const std::string& header, const std::string& eh_frame) {
  std::string file(kTablesOffset, '\0');
  Elf64_Ehdr ehdr = {};
  std::memcpy(ehdr.e_ident, ELFMAG "\x02\x01\x01", 7);
  ehdr.e_type = ET_EXEC;
  ehdr.e_machine = EM_X86_64;
  ehdr.e_version = 1;
  ehdr.e_phoff = sizeof(ehdr);
  ehdr.e_ehsize = sizeof(ehdr);
  ehdr.e_phentsize = sizeof(Elf64_Phdr);
  ehdr.e_phnum = 2;
  Elf64_Phdr load = {};
  load.p_type = PT_LOAD;
  load.p_flags = PF_R | PF_X;
  load.p_vaddr = kBase;
  load.p_filesz = load.p_memsz = kTablesOffset + kHeaderSize + eh_frame.size();
  Elf64_Phdr tables = {};
  tables.p_type = PT_GNU_EH_FRAME;
  tables.p_flags = PF_R;
  tables.p_offset = kTablesOffset;
  tables.p_vaddr = kHeader;
  tables.p_filesz = tables.p_memsz = header.size();
  file.replace(0, sizeof(ehdr), Raw(ehdr));
  file.replace(sizeof(ehdr), sizeof(load), Raw(load));
  file.replace(sizeof(ehdr) + sizeof(load), sizeof(tables), Raw(tables));
  return file + header + std::string(kHeaderSize - header.size(), '\0') + eh_frame;
}

}  // namespace stallscope::symbolizer
