// SPDX-License-Identifier: Apache-2.0
//
// Linker names to source names, for C++ (Itanium ABI) and Rust (legacy and v0).
#pragma once

#include <string>
#include <string_view>

namespace stallscope::symbolizer {

// The name as its language prints it, Rust without its hash; the name itself when it is in neither
// scheme, is damaged, is longer than 4 KiB, or would grow beyond 16 KiB.
std::string Demangle(std::string_view name);

}  // namespace stallscope::symbolizer
