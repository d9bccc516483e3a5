// SPDX-License-Identifier: Apache-2.0
#include "symbolizer/debug_file.h"

#include <fmt/format.h>
#include <zlib.h>

#include <cstdint>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

namespace stallscope::symbolizer {
namespace {

// A checksum reads the whole file: 1 GiB takes about a second.
constexpr uint64_t kLargestChecksummed = uint64_t{1} << 30;

struct DebugLink {
  std::string file_name;
  uint32_t checksum = 0;
};

std::optional<DebugLink> ReadDebugLink(const ElfFile& file) {
  const ElfSection* section = file.SectionNamed(".gnu_debuglink");
  if (section == nullptr) return std::nullopt;
  const std::string_view content = file.ContentOf(*section);
  const size_t end = content.substr(0, 256).find('\0');
  if (end == std::string_view::npos || end == 0) return std::nullopt;
  const size_t checksum_at = (end + 4) & ~size_t{3};
  if (checksum_at + 4 > content.size()) return std::nullopt;
  DebugLink link;
  link.file_name = content.substr(0, end);
  if (link.file_name.find('/') != std::string::npos || link.file_name == "..") return std::nullopt;
  std::memcpy(&link.checksum, content.data() + checksum_at, 4);
  return link;
}

std::unique_ptr<ElfFile> OpenElf(const std::string& root, const std::string& path) {
  absl::StatusOr<RegularFile> file = RegularFile::Open(root, path);
  if (!file.ok()) return nullptr;
  absl::StatusOr<FileBytes> bytes = FileBytes::Map(*file);
  if (!bytes.ok()) return nullptr;
  absl::StatusOr<std::unique_ptr<ElfFile>> elf = ElfFile::Parse(*std::move(bytes));
  return elf.ok() ? *std::move(elf) : nullptr;
}

bool ChecksumIs(std::string_view bytes, uint32_t expected) {
  if (bytes.size() > kLargestChecksummed) return false;
  return crc32(crc32(0, nullptr, 0), reinterpret_cast<const Bytef*>(bytes.data()),
               static_cast<uInt>(bytes.size())) == expected;
}

bool Matches(const ElfFile& file, const ElfFile& debug, uint32_t checksum) {
  if (!file.build_id().empty() && !debug.build_id().empty())
    return file.build_id() == debug.build_id();
  return ChecksumIs(debug.bytes(), checksum);
}

}  // namespace

std::unique_ptr<ElfFile> FindDebugFileByBuildId(const std::string& build_id,
                                                const std::string& debug_root) {
  if (build_id.size() < 4) return nullptr;
  const std::string path = fmt::format("/usr/lib/debug/.build-id/{}/{}.debug",
                                       build_id.substr(0, 2), build_id.substr(2));
  std::vector<std::string> roots = {debug_root};
  if (!debug_root.empty()) roots.emplace_back();
  for (const std::string& root : roots) {
    std::unique_ptr<ElfFile> debug = OpenElf(root, path);
    if (debug != nullptr && debug->build_id() == build_id) return debug;
  }
  return nullptr;
}

std::unique_ptr<ElfFile> FindDebugFile(const ElfFile& file, const std::string& debug_root,
                                       std::string_view name) {
  if (std::unique_ptr<ElfFile> debug = FindDebugFileByBuildId(file.build_id(), debug_root))
    return debug;
  const std::optional<DebugLink> link = ReadDebugLink(file);
  const size_t slash = name.rfind('/');
  if (!link || name.empty() || name[0] != '/' || slash == std::string_view::npos) return nullptr;
  const std::string directory(name.substr(0, slash));
  for (const std::string& path : {fmt::format("{}/{}", directory, link->file_name),
                                  fmt::format("{}/.debug/{}", directory, link->file_name),
                                  fmt::format("/usr/lib/debug{}/{}", directory, link->file_name)}) {
    std::unique_ptr<ElfFile> debug = OpenElf(debug_root, path);
    if (debug != nullptr && Matches(file, *debug, link->checksum)) return debug;
  }
  return nullptr;
}

}  // namespace stallscope::symbolizer
