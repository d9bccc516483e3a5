// SPDX-License-Identifier: Apache-2.0
#include "symbolizer/module.h"

#include <absl/container/flat_hash_map.h>
#include <fmt/format.h>

#include <mutex>
#include <utility>

#include "symbolizer/call_site.h"
#include "symbolizer/debug_file.h"
#include "symbolizer/demangle.h"
#include "symbolizer/elf_file.h"
#include "symbolizer/elf_symbols.h"
#include "symbolizer/file_bytes.h"
#include "symbolizer/frame_rules.h"
#include "symbolizer/go_binary.h"
#include "symbolizer/go_rules.h"
#include "symbolizer/native_lines.h"
#include "symbolizer/plt.h"

namespace stallscope::symbolizer {
namespace {

constexpr size_t kMostDemangledNames = 4096;

}  // namespace

// Everything after `file` is read when it is first asked for. One lock guards it all: lookups are
// short, and libdw's tables must not be used by two threads at once.
struct Module::Impl {
  Impl(ModuleSource source_in, std::unique_ptr<ElfFile> file_in)
      : source(std::move(source_in)), file(std::move(file_in)), rules(*file) {}

  void LoadGo();
  void LoadSymbols();
  std::vector<Frame> NativeFrames(uint64_t address);
  const std::string& SourceName(uint32_t symbol);
  uint64_t MemoryBytes() const;

  const ModuleSource source;
  const std::unique_ptr<ElfFile> file;

  std::mutex mutex;
  bool go_loaded = false;
  std::unique_ptr<GoBinary> go;
  std::string go_problem;

  bool symbols_loaded = false;
  std::unique_ptr<ElfFile> debug_file;
  ElfSymbols symbols;
  std::unique_ptr<PltStubs> plt;
  std::unique_ptr<NativeLines> lines;
  absl::flat_hash_map<uint32_t, std::string> demangled;
  uint64_t demangled_bytes = 0;

  FrameRules rules;
};

void Module::Impl::LoadGo() {
  if (go_loaded) return;
  go_loaded = true;
  if (!file->MayBeGo()) return;
  absl::StatusOr<std::unique_ptr<GoBinary>> found = GoBinary::Find(file->GoView());
  if (found.ok()) {
    go = *std::move(found);
  } else {
    go_problem = std::string(found.status().message());
  }
}

void Module::Impl::LoadSymbols() {
  if (symbols_loaded) return;
  symbols_loaded = true;
  symbols.AddTablesOf(*file);
  plt = std::make_unique<PltStubs>(*file, symbols);
  debug_file = FindDebugFile(*file, source.debug_root, source.name);
  if (debug_file != nullptr && !symbols.has_full_table()) symbols.AddTablesOf(*debug_file);
  symbols.BuildIndex(*file);
  const bool own_dwarf =
      file->SectionNamed(".debug_info") != nullptr || file->SectionNamed(".zdebug_info") != nullptr;
  lines = std::make_unique<NativeLines>(own_dwarf || debug_file == nullptr ? *file : *debug_file,
                                        source.debug_root);
}

const std::string& Module::Impl::SourceName(uint32_t symbol) {
  const auto known = demangled.find(symbol);
  if (known != demangled.end()) return known->second;
  if (demangled.size() >= kMostDemangledNames) {
    demangled.clear();
    demangled_bytes = 0;
  }
  std::string name = Demangle(symbols.Get(symbol).value_or(ElfSymbols::Symbol()).name);
  demangled_bytes += name.capacity() + sizeof(std::pair<uint32_t, std::string>);
  return demangled.emplace(symbol, std::move(name)).first->second;
}

std::vector<Frame> Module::Impl::NativeFrames(uint64_t address) {
  LoadSymbols();
  std::vector<Frame> frames = lines->Lookup(address);
  std::string name;
  if (const std::optional<uint32_t> symbol = symbols.Find(address)) {
    name = SourceName(*symbol);
  } else if (frames.empty()) {
    name = plt->NameAt(address);
  }
  if (frames.empty()) frames.emplace_back();
  // The symbol table knows compilers' clones (f.cold, f.part.0) by name, so it names the outermost
  // frame.
  if (!name.empty()) frames.back().function = std::move(name);
  return frames.back().function.empty() ? std::vector<Frame>() : frames;
}

uint64_t Module::Impl::MemoryBytes() const {
  uint64_t bytes = sizeof(Impl) + file->heap_bytes() + symbols.heap_bytes() + demangled_bytes +
                   rules.heap_bytes();
  bytes += (file->sections().size() + (debug_file ? debug_file->sections().size() : 0)) *
           512;  // libelf's and ours
  if (plt != nullptr) bytes += plt->heap_bytes();
  if (lines != nullptr) bytes += lines->heap_bytes();
  if (go != nullptr) bytes += 4096;  // GoBinary reads the mapped file in place
  return bytes;
}

absl::StatusOr<std::shared_ptr<const Module>> Module::Open(const ModuleSource& source) {
  absl::StatusOr<RegularFile> file = RegularFile::Open("", source.path);
  if (!file.ok()) return file.status();
  return FromFile(*file, source);
}

namespace {

absl::StatusOr<std::unique_ptr<ElfFile>> ParseNamed(FileBytes bytes, const ModuleSource& source) {
  absl::StatusOr<std::unique_ptr<ElfFile>> elf = ElfFile::Parse(std::move(bytes));
  if (elf.ok()) return elf;
  return absl::Status(elf.status().code(),
                      fmt::format("{}: {}", source.path.empty() ? source.name : source.path,
                                  std::string(elf.status().message())));
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Module>> Module::FromFile(const RegularFile& file,
                                                               const ModuleSource& source) {
  absl::StatusOr<FileBytes> bytes = FileBytes::Map(file);
  if (!bytes.ok()) return bytes.status();
  absl::StatusOr<std::unique_ptr<ElfFile>> elf = ParseNamed(*std::move(bytes), source);
  if (!elf.ok()) return elf.status();
  return std::shared_ptr<const Module>(new Module(std::make_unique<Impl>(source, *std::move(elf))));
}

absl::StatusOr<std::shared_ptr<const Module>> Module::FromBytes(std::string bytes,
                                                                const ModuleSource& source) {
  absl::StatusOr<std::unique_ptr<ElfFile>> elf =
      ParseNamed(FileBytes::Own(std::move(bytes)), source);
  if (!elf.ok()) return elf.status();
  return std::shared_ptr<const Module>(new Module(std::make_unique<Impl>(source, *std::move(elf))));
}

Module::Module(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Module::~Module() = default;

const std::string& Module::name() const { return impl_->source.name; }
const std::string& Module::build_id() const { return impl_->file->build_id(); }
bool Module::is_x86_64() const { return impl_->file->is_x86_64(); }

std::optional<uint64_t> Module::FileOffsetToAddress(uint64_t file_offset) const {
  return impl_->file->FileOffsetToAddress(file_offset);
}

std::optional<uint64_t> Module::AddressToFileOffset(uint64_t elf_address) const {
  return impl_->file->AddressToFileOffset(elf_address);
}

std::vector<Frame> Module::Lookup(uint64_t file_offset, bool is_return) const {
  if (is_return && file_offset == 0) return {};
  const std::optional<uint64_t> address =
      impl_->file->FileOffsetToAddress(is_return ? file_offset - 1 : file_offset);
  if (!address) return {};
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  impl_->LoadGo();
  if (impl_->go != nullptr && impl_->go->FunctionAt(*address)) return impl_->go->Lookup(*address);
  return impl_->NativeFrames(*address);
}

bool Module::FollowsCall(uint64_t file_offset) const {
  if (file_offset == 0) return false;
  // The call may be the segment's last instruction, so its own last byte is asked about.
  const std::optional<uint64_t> last = impl_->file->FileOffsetToAddress(file_offset - 1);
  if (!last || !impl_->file->IsExecutableAddress(*last)) return false;
  const std::string_view bytes = impl_->file->bytes();
  const uint64_t begin = file_offset > 8 ? file_offset - 8 : 0;
  return EndsWithCall(bytes.substr(begin, file_offset - begin));
}

std::optional<FrameRule> Module::RuleAt(uint64_t file_offset, bool is_return) const {
  if (is_return && file_offset == 0) return std::nullopt;
  const std::optional<uint64_t> lookup =
      impl_->file->FileOffsetToAddress(is_return ? file_offset - 1 : file_offset);
  if (!lookup || !impl_->file->IsExecutableAddress(*lookup)) return std::nullopt;
  const uint64_t address = is_return ? *lookup + 1 : *lookup;
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  impl_->LoadGo();
  if (impl_->go != nullptr) {
    if (impl_->go->FunctionAt(*lookup))
      return GoRuleAt(*impl_->go, *impl_->file, address, is_return);
  }
  return impl_->rules.At(address, is_return);
}

std::optional<uint64_t> Module::FunctionStart(uint64_t file_offset) const {
  const std::optional<uint64_t> address = impl_->file->FileOffsetToAddress(file_offset);
  if (!address) return std::nullopt;
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  const std::optional<uint64_t> start = impl_->rules.FunctionStart(*address);
  return start ? impl_->file->AddressToFileOffset(*start) : std::nullopt;
}

std::string_view Module::CodeAt(uint64_t elf_address, uint64_t size) const {
  if (!impl_->file->IsExecutableAddress(elf_address)) return {};
  return impl_->file->BytesAt(elf_address, size);
}

bool Module::IsWritableRange(uint64_t elf_address, uint64_t size) const {
  return impl_->file->IsWritableRange(elf_address, size);
}

absl::flat_hash_map<std::string, uint64_t> Module::SymbolAddresses(
    const std::vector<std::string_view>& names) const {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  ElfSymbols symbols;
  symbols.AddTablesOf(*impl_->file);
  absl::flat_hash_map<std::string, uint64_t> addresses;
  for (const auto& [name, symbol] : symbols.Named(names)) addresses[name] = symbol.address;
  return addresses;
}

absl::StatusOr<absl::flat_hash_map<std::string, StructLayout>> Module::StructLayouts(
    const std::vector<std::string_view>& names) const {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  impl_->LoadSymbols();
  return impl_->lines->StructLayouts(names);
}

const GoBinary* Module::go() const {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  impl_->LoadGo();
  return impl_->go.get();
}

const std::string& Module::go_problem() const {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  impl_->LoadGo();
  return impl_->go_problem;
}

uint64_t Module::memory_bytes() const {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  return impl_->MemoryBytes();
}

}  // namespace stallscope::symbolizer
