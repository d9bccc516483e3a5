// SPDX-License-Identifier: Apache-2.0
#include "userspace/go/runtime.h"

#include <absl/status/status.h>
#include <errno.h>
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "symbolizer/go_image.h"
#include "userspace/go/code.h"
#include "userspace/go/globals.h"
#include "userspace/go/self_check.h"

namespace stallscope {
namespace {

using GoModule = LiveSpace::GoModule;

struct NamedCode {
  std::string_view name;
  CodeFacts GoRuntimeCode::*facts;
};
constexpr NamedCode kCode[] = {
    {"runtime.allgadd", &GoRuntimeCode::allgadd},
    {"runtime.forEachGRace", &GoRuntimeCode::for_each_g},
    {"runtime.newproc1", &GoRuntimeCode::new_goroutine},
    {"runtime.schedinit", &GoRuntimeCode::schedinit},
    {"runtime.waitReason.String", &GoRuntimeCode::wait_reason},
    {"runtime.casgstatus", &GoRuntimeCode::casgstatus},
    {"runtime.gopark", &GoRuntimeCode::gopark},
    {"runtime.mcall", &GoRuntimeCode::mcall},
};

GoRuntimeCode ReadRuntimeCode(const GoModule& module) {
  std::vector<std::string_view> names;
  for (const NamedCode& code : kCode) names.push_back(code.name);
  GoRuntimeCode result;
  // A name can have two bodies: assembly is called through a short one.
  for (const symbolizer::GoFunction& function : module.tables->FunctionsNamed(names)) {
    const auto named = std::find_if(std::begin(kCode), std::end(kCode), [&](const NamedCode& code) {
      return code.name == function.name;
    });
    if (named == std::end(kCode) || function.end <= function.entry) continue;
    const std::string_view bytes =
        module.module->CodeAt(function.entry, function.end - function.entry);
    (result.*named->facts).Add(ReadCode(bytes, function.entry + module.load_bias));
  }
  return result;
}

// Without a place that the kernel emulates it is the entry, where the arguments always are.
GoTransitionSite FindTransitionSite(const GoModule& module) {
  GoTransitionSite found;
  constexpr int kArguments = 3;
  const auto functions = module.tables->FunctionsNamed({"runtime.casgstatus"});
  if (functions.size() != 1 || functions[0].end <= functions[0].entry) return found;
  const uint64_t entry = functions[0].entry;
  const std::string_view code = module.module->CodeAt(entry, functions[0].end - entry);
  const auto file_offset = module.module->AddressToFileOffset(entry);
  if (code.empty() || !file_offset) return found;
  const auto site = CheapProbeSite(code, kArguments);
  found.emulated = site.has_value();
  if (site) {
    found.offset = site->offset;
    found.after_stack_check = site->after_stack_check;
  }
  found.address = entry + module.load_bias + found.offset;
  found.file_offset = *file_offset + found.offset;
  return found;
}

GoRuntimeSymbols ReadSymbols(const GoModule& module) {
  const auto addresses = module.module->SymbolAddresses(
      {"runtime.allgs", "runtime.allgptr", "runtime.allglen", "runtime.sched"});
  const auto in_process = [&](const char* name) {
    const auto found = addresses.find(name);
    return found == addresses.end() || found->second == 0 ? 0 : found->second + module.load_bias;
  };
  GoRuntimeSymbols symbols;
  symbols.allgs = in_process("runtime.allgs");
  symbols.allgptr = in_process("runtime.allgptr");
  symbols.allglen = in_process("runtime.allglen");
  symbols.sched = in_process("runtime.sched");
  return symbols;
}

// What is to be read with, and the word for where it is from.
struct Believed {
  GoOffsets offsets;
  std::string from;
};

// The table by version; the program's own debug information where the table has nothing, or
// something that the program's code contradicts (a release that moved fields).
absl::StatusOr<Believed> BelievedOffsets(const GoModule& module, const GoRuntimeCode& code) {
  const std::string& version = module.tables->version();
  const auto minor = symbolizer::GoMinorVersion(version);
  const GoOffsets* known = minor ? KnownGoOffsets(*minor) : nullptr;
  absl::Status why =
      known ? CheckOffsets(*known, code) : absl::UnimplementedError(UnknownGoVersion(version));
  if (why.ok()) return Believed{*known, fmt::format("the table for go1.{}", *minor)};
  const auto own = GoOffsetsFromDwarf(*module.module);
  if (!own.ok()) {
    return absl::Status(
        why.code(), fmt::format("{}, and the program does not say it itself ({})",
                                std::string(why.message()), std::string(own.status().message())));
  }
  if (absl::Status status = CheckOffsets(*own, code); !status.ok()) return status;
  return Believed{*own, "the program's debug information"};
}

// What goes wrong here goes wrong for all of the process.
absl::Status CheckReadable(const GoModule& module, const Memory& memory) {
  uint8_t byte;
  const MemoryRange range = {module.code, &byte, sizeof(byte)};
  const Memory::RangesRead read = memory.ReadRanges({&range, 1});
  if (read.whole == 1) return absl::OkStatus();
  if (read.error == ESRCH) return absl::UnavailableError("the process has ended");
  return absl::PermissionDeniedError("cannot read the target's memory (process_vm_readv)");
}

absl::Status InModule(const GoModule& module, const absl::Status& status) {
  const std::string& version = module.tables ? module.tables->version() : std::string();
  const std::string message(status.message());
  // Messages about the version name it themselves.
  if (version.empty() || message.find(version) != std::string::npos)
    return absl::Status(status.code(), message);
  return absl::Status(status.code(), fmt::format("{}: {}", version, message));
}

absl::StatusOr<GoRuntime> Find(const GoModule& module, const Memory& memory,
                               const GoOffsets* offsets) {
  const GoRuntimeCode code = ReadRuntimeCode(module);
  GoRuntime runtime;
  if (offsets) {
    if (absl::Status status = CheckOffsets(*offsets, code); !status.ok()) return status;
    runtime.offsets = *offsets;
    runtime.offsets_from = "the caller";
  } else {
    auto believed = BelievedOffsets(module, code);
    if (!believed.ok()) return believed.status();
    runtime.offsets = believed->offsets;
    runtime.offsets_from = believed->from;
  }
  runtime.path = module.path;
  runtime.version = module.tables->version();
  runtime.minor = symbolizer::GoMinorVersion(runtime.version).value_or(0);
  runtime.load_bias = module.load_bias;
  runtime.tables = module.tables;
  constexpr int kFirstWithLabelList = 24;
  runtime.labels_are_slice = runtime.minor >= kFirstWithLabelList;

  const IsVariable is_variable = [&](uint64_t address, uint64_t size) {
    return module.module->IsWritableRange(address - module.load_bias, size);
  };
  const GoRuntimeSymbols symbols = ReadSymbols(module);
  const auto list = FindGoroutineList(code, symbols, memory, is_variable);
  if (!list.ok()) return list.status();
  runtime.allglen = list->allglen;
  runtime.allgptr = list->allgptr;
  runtime.sched = FindSched(code, symbols, runtime.offsets, is_variable);
  runtime.transitions = FindTransitionSite(module);
  auto reasons = ReadWaitReasons(code, memory, is_variable);
  if (!reasons.ok()) return reasons.status();
  runtime.wait_reasons = *std::move(reasons);

  const FunctionEntry function_entry = [&](uint64_t address) -> std::optional<uint64_t> {
    const auto function = module.tables->FunctionAt(address - module.load_bias);
    return function ? std::optional(function->entry + module.load_bias) : std::nullopt;
  };
  if (absl::Status status = CheckGoroutines(runtime, memory, function_entry); !status.ok())
    return status;
  return runtime;
}

}  // namespace

absl::StatusOr<GoOffsets> GoOffsetsFromDwarf(const symbolizer::Module& module) {
  const auto structures = module.StructLayouts(GoOffsetStructures());
  if (!structures.ok()) return structures.status();
  return GoOffsetsFrom(*structures);
}

absl::StatusOr<GoRuntime> FindGoRuntime(const GoModule& module, const Memory& memory,
                                        const GoOffsets* offsets) {
  if (!module.tables) return absl::UnimplementedError(module.problem);
  if (absl::Status status = CheckReadable(module, memory); !status.ok()) return status;
  auto runtime = Find(module, memory, offsets);
  if (!runtime.ok()) return InModule(module, runtime.status());
  return runtime;
}

absl::StatusOr<std::vector<GoRuntime>> FindGoRuntimes(const LiveSpace& space,
                                                      std::vector<RefusedGoModule>* refused) {
  std::vector<GoRuntime> runtimes;
  absl::Status first = absl::NotFoundError("not a Go program");
  for (const GoModule& module : space.GoModules()) {
    auto runtime = FindGoRuntime(module, space.memory());
    if (runtime.ok()) {
      runtimes.push_back(*std::move(runtime));
      continue;
    }
    if (absl::IsNotFound(first)) first = runtime.status();
    if (refused) refused->push_back({module.path, runtime.status()});
  }
  if (runtimes.empty()) return first;
  return runtimes;
}

}  // namespace stallscope
