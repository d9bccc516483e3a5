// SPDX-License-Identifier: Apache-2.0
#include "symbolizer/elf_file.h"

#include <elf.h>
#include <fmt/format.h>
#include <gelf.h>

#include <algorithm>
#include <cstring>
#include <utility>

#ifndef SHT_RELR
#define SHT_RELR 19
#endif
#ifndef DT_RELR
#define DT_RELRSZ 35
#define DT_RELR 36
#endif

namespace stallscope::symbolizer {
namespace {

// Linkers make some forty sections and a dozen segments; the bounds keep libelf's own tables small.
constexpr size_t kMostSections = 65536;
constexpr size_t kMostSegments = 512;
constexpr uint64_t kMostDynamicEntries = 4096;
constexpr uint64_t kMostRelocations = 16u << 20;
constexpr uint64_t kMostDecompressedBytes = 256u << 20;

template <typename T>
bool ReadAt(std::string_view bytes, uint64_t offset, T* value) {
  if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) return false;
  std::memcpy(value, bytes.data() + offset, sizeof(T));
  return true;
}

std::string_view Slice(std::string_view bytes, uint64_t offset, uint64_t size) {
  if (offset > bytes.size() || size > bytes.size() - offset) return {};
  return bytes.substr(offset, size);
}

// libelf sizes its section array by the header's word, so that is looked at first.
absl::Status CheckSectionCount(std::string_view bytes) {
  Elf64_Ehdr header;
  if (!ReadAt(bytes, 0, &header) || header.e_ident[EI_CLASS] != ELFCLASS64) return absl::OkStatus();
  Elf64_Shdr first;
  if (header.e_shnum == 0 && header.e_shoff != 0 && ReadAt(bytes, header.e_shoff, &first) &&
      first.sh_size > kMostSections) {
    return absl::InvalidArgumentError("damaged ELF file: more than 65,536 sections");
  }
  return absl::OkStatus();
}

std::string BuildIdFromNotes(std::string_view notes) {
  uint64_t at = 0;
  Elf64_Nhdr note;
  while (ReadAt(notes, at, &note)) {
    const uint64_t name_at = at + sizeof(note);
    const uint64_t content_at = name_at + ((uint64_t{note.n_namesz} + 3) & ~uint64_t{3});
    if (note.n_type == NT_GNU_BUILD_ID &&
        Slice(notes, name_at, note.n_namesz) == std::string_view("GNU\0", 4) &&
        note.n_descsz >= 2 && note.n_descsz <= 64) {
      std::string hex;
      for (const char c : Slice(notes, content_at, note.n_descsz))
        hex += fmt::format("{:02x}", static_cast<uint8_t>(c));
      return hex;
    }
    at = content_at + ((uint64_t{note.n_descsz} + 3) & ~uint64_t{3});
  }
  return "";
}

}  // namespace

absl::StatusOr<std::unique_ptr<ElfFile>> ElfFile::Parse(FileBytes bytes) {
  elf_version(EV_CURRENT);
  std::unique_ptr<ElfFile> file(new ElfFile(std::move(bytes)));
  if (absl::Status status = file->ReadHeaders(); !status.ok()) return status;
  return file;
}

ElfFile::~ElfFile() {
  if (elf_ != nullptr) elf_end(elf_);
}

absl::Status ElfFile::ReadHeaders() {
  if (bytes().substr(0, SELFMAG) != std::string_view(ELFMAG, SELFMAG))
    return absl::InvalidArgumentError("not an ELF file");
  if (absl::Status status = CheckSectionCount(bytes()); !status.ok()) return status;
  // elf_memory takes a char* but, opened for reading and of our byte order, writes nothing.
  elf_ = elf_memory(const_cast<char*>(bytes().data()), bytes().size());
  GElf_Ehdr header;
  if (elf_ == nullptr || elf_kind(elf_) != ELF_K_ELF || gelf_getehdr(elf_, &header) == nullptr) {
    return absl::InvalidArgumentError("damaged ELF file: no header");
  }
  if (header.e_ident[EI_DATA] != ELFDATA2LSB)
    return absl::InvalidArgumentError("a big-endian ELF file");
  is_x86_64_ = header.e_machine == EM_X86_64 && header.e_ident[EI_CLASS] == ELFCLASS64;
  size_t segment_count = 0;
  if (elf_getphdrnum(elf_, &segment_count) == 0) ReadSegments(segment_count);
  if (absl::Status status = ReadSections(); !status.ok()) return status;
  build_id_ = FindBuildId();
  return absl::OkStatus();
}

void ElfFile::ReadSegments(size_t count) {
  const uint64_t file_size = bytes().size();
  for (size_t i = 0; i < std::min(count, kMostSegments); ++i) {
    GElf_Phdr header;
    if (gelf_getphdr(elf_, static_cast<int>(i), &header) == nullptr) return;
    if (header.p_offset > file_size) continue;
    ElfSegment segment;
    segment.type = header.p_type;
    segment.writable = (header.p_flags & PF_W) != 0;
    segment.executable = (header.p_flags & PF_X) != 0;
    segment.address = header.p_vaddr;
    segment.file_offset = header.p_offset;
    segment.file_size = std::min(header.p_filesz, file_size - header.p_offset);
    segment.memory_size = std::max(header.p_memsz, segment.file_size);
    if (segment.address + segment.file_size < segment.address) continue;
    segments_.push_back(segment);
  }
}

absl::Status ElfFile::ReadSections() {
  size_t count = 0, names_index = 0;
  if (elf_getshdrnum(elf_, &count) != 0 || count == 0) return absl::OkStatus();
  if (count > kMostSections)
    return absl::InvalidArgumentError("damaged ELF file: more than 65,536 sections");
  if (elf_getshdrstrndx(elf_, &names_index) != 0) return absl::OkStatus();
  std::vector<ElfSection> sections;
  for (size_t i = 0; i < count; ++i) {
    Elf_Scn* scn = elf_getscn(elf_, i);
    GElf_Shdr header;
    if (scn == nullptr || gelf_getshdr(scn, &header) == nullptr) return absl::OkStatus();
    ElfSection section;
    const char* name = elf_strptr(elf_, names_index, header.sh_name);
    if (name != nullptr) section.name = name;
    section.type = header.sh_type;
    section.flags = header.sh_flags;
    section.address = header.sh_addr;
    section.file_offset = header.sh_offset;
    section.size = header.sh_size;
    section.link = header.sh_link;
    section.scn = scn;
    sections.push_back(section);
  }
  sections_ = std::move(sections);
  return absl::OkStatus();
}

std::string ElfFile::FindBuildId() const {
  for (const ElfSegment& segment : segments_) {
    if (segment.type != PT_NOTE) continue;
    std::string id = BuildIdFromNotes(Slice(bytes(), segment.file_offset, segment.file_size));
    if (!id.empty()) return id;
  }
  for (const ElfSection& section :
       sections_) {  // separate debug files have the section, their segment is empty
    if (section.type != SHT_NOTE) continue;
    std::string id = BuildIdFromNotes(ContentOf(section));
    if (!id.empty()) return id;
  }
  return "";
}

const ElfSection* ElfFile::SectionNamed(std::string_view name) const {
  for (const ElfSection& section : sections_) {
    if (section.name == name) return &section;
  }
  return nullptr;
}

const ElfSection* ElfFile::SectionOfType(uint32_t type) const {
  for (const ElfSection& section : sections_) {
    if (section.type == type) return &section;
  }
  return nullptr;
}

std::optional<uint64_t> ElfFile::FileOffsetToAddress(uint64_t file_offset) const {
  std::optional<uint64_t> found;
  for (const ElfSegment& segment : segments_) {
    if (segment.type != PT_LOAD || file_offset < segment.file_offset) continue;
    const uint64_t within = file_offset - segment.file_offset;
    if (within >= segment.file_size) continue;
    if (segment.executable) return segment.address + within;  // code is what we are asked about
    if (!found) found = segment.address + within;
  }
  return found;
}

std::optional<uint64_t> ElfFile::AddressToFileOffset(uint64_t address) const {
  for (const ElfSegment& segment : segments_) {
    if (segment.type == PT_LOAD && address >= segment.address &&
        address - segment.address < segment.file_size) {
      return segment.file_offset + (address - segment.address);
    }
  }
  return std::nullopt;
}

bool ElfFile::IsWritableRange(uint64_t address, uint64_t size) const {
  return std::any_of(segments_.begin(), segments_.end(), [&](const ElfSegment& segment) {
    const uint64_t offset = address - segment.address;
    return segment.type == PT_LOAD && segment.writable && address >= segment.address &&
           offset <= segment.memory_size && size <= segment.memory_size - offset;
  });
}

bool ElfFile::IsExecutableAddress(uint64_t address) const {
  for (const ElfSegment& segment : segments_) {
    if (segment.type == PT_LOAD && segment.executable && address >= segment.address &&
        address - segment.address < segment.file_size) {
      return true;
    }
  }
  return false;
}

std::string_view ElfFile::ContentOf(const ElfSection& section) const {
  if (section.type == SHT_NOBITS) return {};
  return Slice(bytes(), section.file_offset, section.size);
}

std::string_view ElfFile::BytesAt(uint64_t address, uint64_t size) const {
  for (const ElfSegment& segment : segments_) {
    if (segment.type != PT_LOAD || address < segment.address) continue;
    const uint64_t within = address - segment.address;
    if (within >= segment.file_size) continue;
    return bytes().substr(segment.file_offset + within, std::min(size, segment.file_size - within));
  }
  return {};
}

ElfDynamic ElfFile::Dynamic() const {
  ElfDynamic dynamic;
  if (!is_x86_64_) return dynamic;
  for (const ElfSegment& segment : segments_) {
    if (segment.type != PT_DYNAMIC) continue;
    for (uint64_t i = 0; i < std::min(segment.file_size / sizeof(Elf64_Dyn), kMostDynamicEntries);
         ++i) {
      Elf64_Dyn entry;
      if (!ReadAt(bytes(), segment.file_offset + i * sizeof(entry), &entry) ||
          entry.d_tag == DT_NULL)
        break;
      const uint64_t value = entry.d_un.d_val;
      switch (entry.d_tag) {
        case DT_SYMTAB:
          dynamic.symbols = value;
          break;
        case DT_STRTAB:
          dynamic.names = value;
          break;
        case DT_STRSZ:
          dynamic.names_size = value;
          break;
        case DT_HASH:
          dynamic.hash = value;
          break;
        case DT_GNU_HASH:
          dynamic.gnu_hash = value;
          break;
        case DT_JMPREL:
          dynamic.plt_relocations = value;
          break;
        case DT_PLTRELSZ:
          dynamic.plt_relocations_size = value;
          break;
        case DT_RELA:
          dynamic.relocations = value;
          break;
        case DT_RELASZ:
          dynamic.relocations_size = value;
          break;
        case DT_RELR:
          dynamic.relative_relocations = value;
          break;
        case DT_RELRSZ:
          dynamic.relative_relocations_size = value;
          break;
        default:
          break;
      }
    }
  }
  return dynamic;
}

std::optional<uint64_t> ElfFile::DecompressedBytes() const {
  uint64_t total = 0;
  for (const ElfSection& section : sections_) {
    uint64_t size = 0;
    if ((section.flags & SHF_COMPRESSED) != 0) {
      GElf_Chdr header;
      if (gelf_getchdr(section.scn, &header) == nullptr) return std::nullopt;
      size = header.ch_size;
    } else if (section.name.substr(0, 7) == ".zdebug") {  // "ZLIB" and the size, big-endian
      const std::string_view head = ContentOf(section).substr(0, 12);
      if (head.size() < 12) return std::nullopt;
      for (const char c : head.substr(4)) size = size << 8 | static_cast<uint8_t>(c);
    }
    if (size > kMostDecompressedBytes || size / 1100 > section.size)
      return std::nullopt;  // zlib shrinks 1,032 times at most
    total += size;
  }
  if (total > kMostDecompressedBytes) return std::nullopt;
  return total;
}

bool ElfFile::MayBeGo() const {
  if (!is_x86_64_) return false;
  if (sections_.empty()) return true;
  return std::any_of(sections_.begin(), sections_.end(), [](const ElfSection& section) {
    return section.name.find("gopclntab") != std::string_view::npos ||
           section.name == ".go.buildinfo" || section.name == ".note.go.buildid";
  });
}

namespace {

using RelativeRelocations = std::vector<std::pair<uint64_t, uint64_t>>;

void AddRela(std::string_view table, RelativeRelocations* out) {
  Elf64_Rela entry;
  for (uint64_t at = 0; ReadAt(table, at, &entry) && out->size() < kMostRelocations;
       at += sizeof(entry)) {
    if (ELF64_R_TYPE(entry.r_info) == R_X86_64_RELATIVE)
      out->emplace_back(entry.r_offset, entry.r_addend);
  }
}

// RELR: an even word is an address; an odd one is a bitmap of the 63 words after the last.
void AddRelr(const ElfFile& file, std::string_view table, RelativeRelocations* out) {
  const auto add = [&](uint64_t address) {
    uint64_t value;
    if (out->size() < kMostRelocations && ReadAt(file.BytesAt(address, 8), 0, &value))
      out->emplace_back(address, value);
  };
  uint64_t next = 0, word;
  for (uint64_t at = 0; ReadAt(table, at, &word); at += sizeof(word)) {
    if ((word & 1) == 0) {
      add(word);
      next = word + 8;
      continue;
    }
    for (int bit = 1; bit < 64; ++bit) {
      if ((word >> bit & 1) != 0) add(next + 8 * (bit - 1));
    }
    next += 8 * 63;
  }
}

}  // namespace

ElfView ElfFile::GoView() const {
  ElfView view;
  view.bytes = bytes();
  for (const ElfSegment& segment : segments_) {
    if (segment.type != PT_LOAD) continue;
    LoadSegment load;
    load.address = segment.address;
    load.file_offset = segment.file_offset;
    load.file_size = segment.file_size;
    load.writable = segment.writable;
    load.executable = segment.executable;
    view.segments.push_back(load);
  }
  for (const ElfSection& section : sections_) {
    if (section.type == SHT_NULL) continue;
    ElfView::Section out;
    out.name = std::string(section.name);
    out.address = section.address;
    out.file_offset = section.file_offset;
    out.size = section.size;
    view.sections.push_back(std::move(out));
  }
  const ElfDynamic dynamic = Dynamic();
  AddRela(BytesAt(dynamic.relocations, dynamic.relocations_size), &view.relative_relocations);
  AddRelr(*this, BytesAt(dynamic.relative_relocations, dynamic.relative_relocations_size),
          &view.relative_relocations);
  std::sort(view.relative_relocations.begin(), view.relative_relocations.end());
  return view;
}

}  // namespace stallscope::symbolizer
