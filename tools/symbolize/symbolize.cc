// SPDX-License-Identifier: Apache-2.0
//
// symbolize FILE: names the ELF addresses that it reads, one a line in hexadecimal, from standard
// input. The symbolizer library on a command line, for tests, benchmarks and the curious.
#include <fmt/format.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "symbolizer/module.h"

namespace stallscope::symbolizer {
namespace {

constexpr int kExitUsage = 2;
constexpr int kExitUnreadable = 4;

struct Options {
  std::string file;
  std::string debug_root;
  bool names_only = false;
  bool outermost = false;
  bool is_return = false;
  bool time = false;
};

using Clock = std::chrono::steady_clock;

double Milliseconds(Clock::duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

std::optional<uint64_t> ParseAddress(std::string_view text) {
  if (text.substr(0, 2) == "0x") text.remove_prefix(2);
  uint64_t address = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), address, 16);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size()) return std::nullopt;
  return address;
}

// Names come from the file: what would break the line or the terminal is shown as "?".
std::string Printable(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return out;
}

std::string Describe(const Frame& frame, const Options& options) {
  std::string text = Printable(frame.function.empty() ? "??" : frame.function);
  if (options.names_only || options.outermost) return text;
  if (!frame.file.empty()) text += fmt::format(" {}:{}", Printable(frame.file), frame.line);
  if (frame.inlined) text += " (inlined)";
  return text;
}

std::string Describe(const std::vector<Frame>& frames, const Options& options) {
  if (frames.empty()) return "??";
  if (options.outermost) return Describe(frames.back(), options);
  std::string line;
  for (const Frame& frame : frames) {
    if (!line.empty()) line += " <- ";
    line += Describe(frame, options);
  }
  return line;
}

std::vector<Frame> LookupAddress(const Module& module, uint64_t address, bool is_return) {
  // The place after a function's last call may lie outside the segment, so what is converted lies
  // inside it.
  const uint64_t inside = is_return ? address - 1 : address;
  const std::optional<uint64_t> offset = module.AddressToFileOffset(inside);
  if (!offset) return {};
  return module.Lookup(is_return ? *offset + 1 : *offset, is_return);
}

int Run(const Options& options) {
  const Clock::time_point start = Clock::now();
  const ModuleSource source = {options.file, options.file, options.debug_root};
  const absl::StatusOr<std::shared_ptr<const Module>> module = Module::Open(source);
  if (!module.ok()) {
    fmt::print(stderr, "error: cannot symbolize {}: {}\n", options.file,
               std::string(module.status().message()));
    fmt::print(stderr, "  give an ELF file that you may read: an executable or a shared library\n");
    return kExitUnreadable;
  }
  const Clock::time_point opened = Clock::now();
  Clock::time_point first_done = opened;
  uint64_t count = 0;
  std::string line;
  while (std::getline(std::cin, line)) {
    const std::optional<uint64_t> address = ParseAddress(line);
    if (!address) {
      fmt::print(stderr, "error: line {} is not a hexadecimal address: '{}'\n", count + 1,
                 Printable(std::string_view(line).substr(0, 80)));
      fmt::print(stderr, "  give one ELF address a line, as in 0x401136\n");
      return kExitUsage;
    }
    fmt::print("{}\n", Describe(LookupAddress(**module, *address, options.is_return), options));
    if (count++ == 0) first_done = Clock::now();
  }
  if (std::fflush(stdout) != 0) return 1;
  if (options.time) {
    struct rusage usage = {};
    getrusage(RUSAGE_SELF, &usage);
    fmt::print(
        stderr,
        "open {:.2f} ms, first {:.2f} ms, {} addresses {:.2f} ms, peak RSS {} KiB, held {} KiB\n",
        Milliseconds(opened - start), Milliseconds(first_done - opened), count,
        Milliseconds(Clock::now() - opened), usage.ru_maxrss, (*module)->memory_bytes() / 1024);
  }
  return 0;
}

}  // namespace
}  // namespace stallscope::symbolizer

int main(int argc, char** argv) {
  stallscope::symbolizer::Options options;
  CLI::App app{"Names the ELF addresses on standard input, one a line in hexadecimal."};
  app.add_option("file", options.file, "an ELF executable or shared library")->required();
  app.add_flag("-n,--names", options.names_only, "function names only, no files and lines");
  app.add_flag("--outermost", options.outermost,
               "only the name of the outermost frame, inlined ones left out");
  app.add_flag("--return", options.is_return,
               "the addresses are return addresses: name the call before each");
  app.add_flag("--time", options.time, "print to stderr how long it took, and the memory");
  app.add_option("--debug-root", options.debug_root,
                 "look for separate debug files below this directory");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : stallscope::symbolizer::kExitUsage;
  }
  std::ios::sync_with_stdio(false);
  return stallscope::symbolizer::Run(options);
}
