// SPDX-License-Identifier: Apache-2.0
//
// Separate debug files: where distributions put the symbols and DWARF that they strip from a file.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "symbolizer/elf_file.h"

namespace stallscope::symbolizer {

// The debug file of `file`, or nullptr. By build id in <root>/usr/lib/debug/.build-id, then in our
// own root; else by .gnu_debuglink beside the file, in .debug/ beside it, and under
// <root>/usr/lib/debug. A file whose build id (or, when it has none, checksum) differs is not
// taken. `name` is the file's path inside `debug_root`.
std::unique_ptr<ElfFile> FindDebugFile(const ElfFile& file, const std::string& debug_root,
                                       std::string_view name);

// The file with this build id (lower-case hex), or nullptr.
std::unique_ptr<ElfFile> FindDebugFileByBuildId(const std::string& build_id,
                                                const std::string& debug_root);

}  // namespace stallscope::symbolizer
