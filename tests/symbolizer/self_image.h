// SPDX-License-Identifier: Apache-2.0
//
// The test's own process as a target: its own mappings say which file offset an address of ours is.
#pragma once

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

namespace stallscope::symbolizer {

struct Place {
  std::string path;
  uint64_t file_offset = 0;
};

inline Place PlaceOf(uintptr_t address) {
  std::ifstream maps("/proc/self/maps");
  std::string line;
  while (std::getline(maps, line)) {
    unsigned long start = 0, end = 0, offset = 0;
    int path_at = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx %*s %lx %*s %*s %n", &start, &end, &offset, &path_at) <
        3)
      continue;
    if (address >= start && address < end) return {line.substr(path_at), address - start + offset};
  }
  return {};
}

template <typename T>
Place PlaceOf(T* function) {
  return PlaceOf(reinterpret_cast<uintptr_t>(function));
}

inline std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string((std::istreambuf_iterator<char>(file)), {});
}

// The same file as sstrip leaves it: the header names no section table.
inline std::string WithoutSectionTable(std::string elf) {
  elf.replace(0x28, 8, 8, '\0');  // e_shoff
  elf.replace(0x3c, 4, 4, '\0');  // e_shnum, e_shstrndx
  return elf;
}

}  // namespace stallscope::symbolizer
