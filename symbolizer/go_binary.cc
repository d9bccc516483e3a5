// SPDX-License-Identifier: Apache-2.0
#include "symbolizer/go_binary.h"

#include <absl/container/flat_hash_set.h>

#include <utility>

#include "symbolizer/go_image.h"
#include "symbolizer/go_table.h"

namespace stallscope::symbolizer {
namespace {

// Real chains of inlined calls are some ten deep; a damaged tree could go round in circles.
constexpr size_t kDeepestGoInlining = 256;
// For all tables of one address. The largest functions that Go's compiler makes need some 100,000.
constexpr int64_t kStepsPerLookup = 1 << 21;

// `name` as Go prints it: from Go 1.21 on the table holds a generic function's type arguments in
// full, and traces show
// "[...]" for them (before, the table itself did). Everything between the first '[' and the last
// ']' goes, as there.
std::string PrintedName(std::string_view name, bool abbreviate) {
  const size_t open = name.find('[');
  const size_t close = name.rfind(']');
  if (!abbreviate || open == std::string_view::npos || close == std::string_view::npos ||
      close < open) {
    return std::string(name);
  }
  std::string printed(name.substr(0, open));
  printed += "[...]";
  printed += name.substr(close + 1);
  return printed;
}

FrameKind KindOf(std::string_view name, bool assembly) {
  for (const std::string_view package : {"runtime.", "runtime/", "internal/runtime/"}) {
    if (name.starts_with(package)) return FrameKind::kRuntime;
  }
  if (name.find('.') != std::string_view::npos) return FrameKind::kGo;
  // Names without a package: assembly of the runtime (memeqbody), or C that Go's linker took in.
  return assembly ? FrameKind::kRuntime : FrameKind::kNative;
}

}  // namespace

struct GoBinary::Impl {
  GoImage image;
  bool abbreviate_generics = true;

  std::optional<GoFunctionRecord> RecordAt(uint64_t address) const {
    if (address < image.text) return std::nullopt;
    return image.table.FunctionAt(address - image.text);
  }

  uint32_t PcIn(const GoFunctionRecord& function, uint64_t address) const {
    return static_cast<uint32_t>(address - image.text - function.entry);
  }

  bool IsWrapper(uint8_t id) const { return image.wrapper_id != 0 && id == image.wrapper_id; }

  // cgocallback writes to the stack pointer too, but so that its frame is right on both stacks:
  // Go's own unwinder goes through it.
  bool ChangesStacks(const GoFunctionRecord& record) const {
    return (record.flags & GoFunctionRecord::kWritesSp) != 0 &&
           image.table.Name(record.name) != "runtime.cgocallback";
  }

  GoFunction Describe(const GoFunctionRecord& record) const {
    GoFunction function;
    function.entry = image.text + record.entry;
    function.end = image.text + record.end;
    function.name = PrintedName(image.table.Name(record.name), abbreviate_generics);
    function.wrapper = IsWrapper(record.id);
    function.top_frame = (record.flags & GoFunctionRecord::kTopFrame) != 0;
    function.writes_sp = ChangesStacks(record);
    return function;
  }

  Frame FrameOf(std::string_view name, const GoFunctionRecord& function) const {
    Frame frame;
    frame.function = PrintedName(name, abbreviate_generics);
    frame.kind = KindOf(name, (function.flags & GoFunctionRecord::kAssembly) != 0);
    return frame;
  }

  void SetLine(const GoFunctionRecord& function, uint32_t pc, StepBudget& budget,
               Frame& frame) const {
    const int32_t file = image.table.PcValue(function.pcfile, pc, budget).value_or(-1);
    if (file < 0) return;
    const int32_t line = image.table.PcValue(function.pcline, pc, budget).value_or(-1);
    if (line < 0) return;
    frame.file = image.table.File(function.unit, static_cast<uint32_t>(file));
    if (!frame.file.empty()) frame.line = static_cast<uint32_t>(line);
  }

  // The inlined call that an instruction belongs to.
  std::optional<GoInlinedCall> InlinedCallAt(const GoFunctionRecord& function, uint32_t pc,
                                             StepBudget& budget) const {
    if (image.inline_trees.empty()) return std::nullopt;
    const auto tree = image.table.FuncData(function, GoTable::kInlineTree);
    const uint32_t indices = image.table.PcData(function, GoTable::kInlineIndexTable);
    if (!tree || indices == 0) return std::nullopt;
    const int32_t index = image.table.PcValue(indices, pc, budget).value_or(-1);
    if (index < 0) return std::nullopt;
    return image.inline_trees.Call(*tree, static_cast<uint32_t>(index));
  }

  // Frames of the inlined calls around `pc`, innermost first. Leaves `pc` in the function itself.
  // False: damaged.
  bool ExpandInlined(const GoFunctionRecord& function, uint32_t& pc, StepBudget& budget,
                     std::vector<Frame>& frames) const {
    for (size_t depth = 0; depth < kDeepestGoInlining; ++depth) {
      const auto call = InlinedCallAt(function, pc, budget);
      if (!call) return true;
      const std::string_view name = image.table.Name(call->name);
      if (name.empty() || call->parent_pc >= function.end - function.entry) return false;
      const bool wrapper = IsWrapper(call->id);
      if (!wrapper || depth == 0) {
        Frame frame = FrameOf(name, function);
        frame.inlined = true;
        frame.wrapper = wrapper;
        SetLine(function, pc, budget, frame);
        frames.push_back(std::move(frame));
      }
      pc = call->parent_pc;
    }
    return false;
  }
};

absl::StatusOr<std::unique_ptr<GoBinary>> GoBinary::Find(const ElfView& elf) {
  absl::StatusOr<std::optional<GoImage>> image = FindGoImage(elf);
  if (!image.ok()) return image.status();
  if (!image->has_value()) return nullptr;
  constexpr int kFirstWithFullNames = 21;
  const bool abbreviate = GoMinorVersion((*image)->version).value_or(99) >= kFirstWithFullNames;
  auto impl = std::make_unique<Impl>(Impl{std::move(**image), abbreviate});
  return std::unique_ptr<GoBinary>(new GoBinary(std::move(impl)));
}

std::vector<Frame> GoBinary::Lookup(uint64_t address) const {
  std::vector<Frame> frames;
  const std::optional<GoFunctionRecord> function = impl_->RecordAt(address);
  if (!function) return frames;
  const std::string_view name = impl_->image.table.Name(function->name);
  if (name.empty()) return frames;

  StepBudget budget(kStepsPerLookup);
  uint32_t pc = impl_->PcIn(*function, address);
  const bool sound = impl_->ExpandInlined(*function, pc, budget, frames);
  if (!sound) frames.clear();  // the function itself is still known, the place in it is not
  const bool wrapper = impl_->IsWrapper(function->id);
  if (wrapper && !frames.empty()) return frames;
  Frame outermost = impl_->FrameOf(name, *function);
  outermost.wrapper = wrapper;
  if (sound) impl_->SetLine(*function, pc, budget, outermost);
  frames.push_back(std::move(outermost));
  return frames;
}

std::optional<GoFunction> GoBinary::FunctionAt(uint64_t address) const {
  const std::optional<GoFunctionRecord> record = impl_->RecordAt(address);
  if (!record) return std::nullopt;
  GoFunction function = impl_->Describe(*record);
  if (function.name.empty()) return std::nullopt;
  return function;
}

std::optional<GoFunction> GoBinary::FunctionNamed(std::string_view name) const {
  const GoTable& table = impl_->image.table;
  const std::string_view plain = name.substr(0, name.find('['));
  if (plain.empty()) return std::nullopt;
  for (uint64_t index = 0; index < table.function_count(); ++index) {
    const std::optional<GoFunctionRecord> record = table.Function(index);
    if (!record || !table.Name(record->name).starts_with(plain)) continue;
    GoFunction function = impl_->Describe(*record);
    if (function.name == name) return function;
  }
  return std::nullopt;
}

std::vector<GoFunction> GoBinary::FunctionsNamed(const std::vector<std::string_view>& names) const {
  const absl::flat_hash_set<std::string> wanted(names.begin(), names.end());
  const GoTable& table = impl_->image.table;
  std::vector<GoFunction> found;
  for (uint64_t index = 0; index < table.function_count(); ++index) {
    const std::optional<GoFunctionRecord> record = table.Function(index);
    if (!record) continue;
    const std::string_view name = table.Name(record->name);
    if (wanted.contains({name.data(), name.size()})) found.push_back(impl_->Describe(*record));
  }
  return found;
}

std::optional<int64_t> GoBinary::StackDepth(uint64_t address) const {
  const std::optional<GoFunctionRecord> function = impl_->RecordAt(address);
  if (!function || impl_->ChangesStacks(*function)) return std::nullopt;
  StepBudget budget(kStepsPerLookup);
  const auto depth =
      impl_->image.table.PcValue(function->pcsp, impl_->PcIn(*function, address), budget);
  if (!depth || *depth < 0) return std::nullopt;
  return *depth;
}

const std::string& GoBinary::version() const { return impl_->image.version; }

uint64_t GoBinary::function_count() const { return impl_->image.table.function_count(); }

GoBinary::GoBinary(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GoBinary::~GoBinary() = default;

bool GoShowsWrapper(const Frame* callee) {
  if (callee == nullptr) return false;
  return callee->function == "runtime.gopanic" || callee->function == "runtime.sigpanic" ||
         callee->function == "runtime.panicwrap";
}

}  // namespace stallscope::symbolizer
