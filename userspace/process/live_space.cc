// SPDX-License-Identifier: Apache-2.0
#include "userspace/process/live_space.h"

#include <absl/hash/hash.h>
#include <absl/status/status.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "symbolizer/file_bytes.h"
#include "symbolizer/go_binary.h"

namespace stallscope {
namespace {

using Clock = std::chrono::steady_clock;

// A program that runs through unknown code all the time must not make us read its maps all the
// time: at most once in this time, and for a hundredth of the time. It is less than the time
// between two drains, whose samples are all older than what is read.
constexpr auto kLearnInterval = std::chrono::milliseconds(50);
constexpr int kLearnShare = 100;
constexpr size_t kMaxMappings = 8192;
constexpr size_t kMaxPerfMapBytes = 64u << 20;
constexpr size_t kMaxVdsoBytes = 1u << 20;

std::string ReadLink(const std::string& path) {
  char buffer[4096];
  const ssize_t n = readlink(path.c_str(), buffer, sizeof(buffer));
  return n > 0 ? std::string(buffer, n) : std::string();
}

// A thread through which the memory of process `pid` can be read: its first one has none any more
// when it has ended before the others.
uint32_t ReadableTask(uint32_t pid) {
  if (!ReadLink(fmt::format("/proc/{}/exe", pid)).empty()) return pid;
  for (const uint32_t task : ThreadIds(fmt::format("/proc/{}", pid))) {
    if (!ReadLink(fmt::format("/proc/{}/exe", task)).empty()) return task;
  }
  return pid;
}

}  // namespace

absl::StatusOr<std::unique_ptr<LiveSpace>> LiveSpace::Open(uint32_t pid,
                                                           symbolizer::ModuleCache* modules) {
  pid = ReadableTask(pid);
  std::unique_ptr<LiveSpace> space(new LiveSpace(pid, modules));
  space->exe_ = ReadLink(fmt::format("/proc/{}/exe", pid));
  constexpr std::string_view kDeleted = " (deleted)";
  if (space->exe_.ends_with(kDeleted)) space->exe_.resize(space->exe_.size() - kDeleted.size());
  struct stat exe = {};
  if (stat(fmt::format("/proc/{}/exe", pid).c_str(), &exe) == 0) {
    space->exe_device_ = exe.st_dev;
    space->exe_inode_ = exe.st_ino;
  }
  auto layout = ReadLayout(pid);
  if (!layout.ok()) return layout.status();
  for (const MapsLine& line : layout->lines) space->Open(line);
  for (const OpenMapping& mapping : space->mappings_) {
    if (mapping.path == space->exe_ && mapping.module)
      space->is_x86_64_ = mapping.module->is_x86_64();
  }
  return space;
}

absl::StatusOr<LiveSpace::Layout> LiveSpace::ReadLayout(uint32_t pid, uint64_t known) {
  auto text = ReadProcFile(fmt::format("/proc/{}/maps", ReadableTask(pid)));
  if (!text.ok()) return text.status();
  // Most lines are not executable, and most of the time nothing has changed: pick them out before
  // they are parsed.
  std::string executable;
  for (std::string_view rest = *text; !rest.empty();) {
    const size_t end = std::min(rest.find('\n'), rest.size() - 1) + 1;
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end);
    const size_t rights = line.find(' ');
    if (rights != std::string_view::npos && line.substr(rights).size() > 4 &&
        line[rights + 3] == 'x') {
      executable += line;
    }
  }
  Layout layout;
  layout.digest = absl::HashOf(executable);
  if (layout.digest == known) return layout;
  layout.lines = ParseMaps(executable);
  std::erase_if(layout.lines, [](const MapsLine& line) { return line.path == "[vsyscall]"; });
  return layout;
}

// Anonymous memory, and files without code that we can read, have names by address only, if any.
bool LiveSpace::Contradicts(const OpenMapping& known, const MapsLine& line) {
  if (known.is_blank || line.start >= known.end || line.end <= known.start) return false;
  if (known.inode != line.inode || known.device != line.device) return true;
  return known.module && known.start - known.file_offset != line.start - line.file_offset;
}

bool LiveSpace::IsKnown(const MapsLine& line) const {
  return std::any_of(mappings_.begin(), mappings_.end(), [&](const OpenMapping& m) {
    return m.start == line.start && m.end == line.end && m.file_offset == line.file_offset &&
           m.inode == line.inode && m.device == line.device;
  });
}

bool LiveSpace::Has(const std::vector<MapsLine>& lines) const {
  return std::all_of(lines.begin(), lines.end(),
                     [&](const MapsLine& line) { return IsKnown(line); });
}

void LiveSpace::Open(const MapsLine& line) {
  const auto blanked = [&](const Range& range) {
    return line.start < range.end && line.end > range.start;
  };
  if (IsKnown(line) || std::any_of(blank_.begin(), blank_.end(), blanked)) return;
  OpenMapping mapping;
  mapping.start = line.start;
  mapping.end = line.end;
  mapping.file_offset = line.file_offset;
  mapping.device = line.device;
  mapping.inode = line.inode;
  mapping.path = line.path;
  mapping.module = OpenModule(mapping);
  if (!mapping.module) ForgetAnonymous(mapping);
  mappings_.push_back(std::move(mapping));
  facts_.clear();  // what was in no mapping may be in this one
}

// A JIT grows its memory and maps more of it without end.
void LiveSpace::ForgetAnonymous(const OpenMapping& next) {
  const auto anonymous = [](const OpenMapping& m) { return !m.module && !m.is_blank; };
  std::erase_if(mappings_, [&](const OpenMapping& m) {
    return anonymous(m) && m.inode == next.inode && m.start >= next.start && m.end <= next.end;
  });
  if (mappings_.size() < kMaxMappings) return;
  const auto oldest = std::find_if(mappings_.begin(), mappings_.end(), anonymous);
  if (oldest != mappings_.end()) mappings_.erase(oldest);
}

std::vector<LiveSpace::Range> LiveSpace::Contradicted(const std::vector<MapsLine>& lines) const {
  std::vector<Range> contradicted;
  for (const MapsLine& line : lines) {
    const size_t before = contradicted.size();
    for (const OpenMapping& known : mappings_) {
      if (Contradicts(known, line)) contradicted.push_back({known.start, known.end});
    }
    if (contradicted.size() > before) contradicted.push_back({line.start, line.end});
  }
  return contradicted;
}

std::vector<LiveSpace::Range> LiveSpace::Add(const std::vector<MapsLine>& lines) {
  std::vector<Range> contradicted;
  for (const MapsLine& line : lines) {
    const std::vector<Range> ranges = Contradicted({line});
    if (ranges.empty()) Open(line);
    contradicted.insert(contradicted.end(), ranges.begin(), ranges.end());
  }
  return contradicted;
}

std::unique_ptr<LiveSpace> LiveSpace::CopyFor(uint32_t pid) const {
  std::unique_ptr<LiveSpace> copy(new LiveSpace(pid, modules_));
  copy->exe_ = exe_;
  copy->is_x86_64_ = is_x86_64_;
  copy->exe_device_ = exe_device_;
  copy->exe_inode_ = exe_inode_;
  copy->mappings_ = mappings_;
  copy->blank_ = blank_;
  copy->starts_ = starts_;
  return copy;
}

std::unique_ptr<LiveSpace> LiveSpace::Successor(const std::vector<MapsLine>& lines) const {
  auto next = CopyFor(pid_);
  std::erase_if(next->mappings_, [&](const OpenMapping& known) {
    return std::any_of(lines.begin(), lines.end(),
                       [&](const MapsLine& line) { return Contradicts(known, line); });
  });
  for (const MapsLine& line : lines) next->Open(line);
  absl::erase_if(next->starts_, [&](uint64_t address) {
    const OpenMapping* before = Find(address - 1);
    const OpenMapping* now = next->Find(address - 1);
    return !before || !now || before->module != now->module;
  });
  return next;
}

void LiveSpace::Blank(const std::vector<Range>& ranges) {
  for (const Range& range : ranges) {
    std::erase_if(mappings_, [&](const OpenMapping& known) {
      return known.start < range.end && known.end > range.start && known.start >= range.start &&
             known.end <= range.end;
    });
    OpenMapping mapping;
    mapping.start = range.start;
    mapping.end = range.end;
    mapping.is_blank = true;
    mappings_.push_back(std::move(mapping));
    blank_.push_back(range);
  }
  facts_.clear();
}

bool LiveSpace::IsProgramOf(uint32_t pid) const {
  struct stat exe;
  return stat(fmt::format("/proc/{}/exe", pid).c_str(), &exe) == 0 && exe.st_dev == exe_device_ &&
         exe.st_ino == exe_inode_;
}

// map_files reaches the file that is really mapped, deleted or replaced ones too, and cannot be a
// FIFO or a device of the target's making; without the right to it (CAP_CHECKPOINT_RESTORE) the
// path below the target's root must do, and then only if it is the same file.
std::shared_ptr<const symbolizer::Module> LiveSpace::OpenModule(const OpenMapping& mapping) {
  if (mapping.path == "[vdso]") {
    const uint64_t size = mapping.end - mapping.start;
    if (size > kMaxVdsoBytes) return nullptr;
    std::string bytes(size, '\0');
    if (!memory_.Read(mapping.start, bytes.data(), size)) return nullptr;
    auto module = symbolizer::Module::FromBytes(std::move(bytes), {"", "[vdso]", ""});
    return module.ok() ? *module : nullptr;
  }
  if (mapping.inode == 0 || mapping.path.empty() || mapping.path[0] != '/') return nullptr;
  const std::string root = fmt::format("/proc/{}/root", pid_);
  symbolizer::ModuleSource source;
  source.name = mapping.path;
  source.debug_root = root;
  struct stat ours, theirs;
  if (stat("/", &ours) == 0 && stat((root + "/").c_str(), &theirs) == 0 &&
      ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino) {
    source.debug_root = "";
  }
  source.path = fmt::format("/proc/{}/map_files/{:x}-{:x}", pid_, mapping.start, mapping.end);
  auto module = modules_->Get(source);
  if (module.ok()) return *module;
  auto file = symbolizer::RegularFile::Open(source.debug_root, mapping.path);
  if (!file.ok() || file->status().st_ino != mapping.inode) return nullptr;
  module = symbolizer::Module::FromFile(*file, source);
  return module.ok() ? *module : nullptr;
}

const LiveSpace::OpenMapping* LiveSpace::Find(uint64_t address) const {
  for (auto it = mappings_.rbegin(); it != mappings_.rend(); ++it) {
    if (address >= it->start && address < it->end) return &*it;
  }
  return nullptr;
}

void LiveSpace::Learn(uint64_t address) {
  if (Find(address)) return;
  const auto start = Clock::now();
  if (start < next_learn_) return;
  // Gone: the address stays without a name, and the caller counts that.
  if (auto layout = ReadLayout(pid_); layout.ok()) Add(layout->lines);
  const auto end = Clock::now();
  next_learn_ = end + std::max<Clock::duration>(kLearnInterval, (end - start) * kLearnShare);
}

const LiveSpace::AddressFacts& LiveSpace::FactsAt(uint64_t address, bool is_return) const {
  auto [it, is_new] = facts_.try_emplace({address, is_return});
  AddressFacts& facts = it->second;
  if (!is_new) return facts;
  facts.is_go = IsGo(is_return ? address - 1 : address);
  if (is_return) facts.follows_call = FollowsCall(address);
  facts.keeps_frame_pointer = facts.is_go;
  if (!facts.is_go) {
    const auto rule = RuleAt(address, is_return);
    facts.keeps_frame_pointer =
        rule && rule->cfa_register == symbolizer::FrameRule::kRbp && !rule->cfa_deref;
  }
  return facts;
}

std::vector<symbolizer::Frame> LiveSpace::Lookup(uint64_t address, bool is_return) const {
  const uint64_t place = is_return ? address - 1 : address;
  const OpenMapping* mapping = Find(place);
  if (!mapping || mapping->is_blank) return {};
  if (mapping->module) {
    return mapping->module->Lookup(address - mapping->start + mapping->file_offset, is_return);
  }
  if (!perf_map_) ReadPerfMap();
  if (auto frame = perf_map_->Lookup(place)) return {*std::move(frame)};
  return {};
}

// A JIT names its code in /tmp/perf-PID.map of its own mount namespace, with the pid that it sees
// itself.
void LiveSpace::ReadPerfMap() const {
  perf_map_ = symbolizer::PerfMap::Parse("");
  auto status = ReadProcFile(fmt::format("/proc/{}/status", pid_));
  if (!status.ok()) return;
  std::string inner = fmt::format("{}", pid_);
  if (auto pids = StatusField(*status, "NSpid"))
    inner = pids->substr(pids->find_last_of(" \t") + 1);
  const int root =
      open(fmt::format("/proc/{}/root", pid_).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (root < 0) return;
  const int tmp = openat(root, "tmp", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  close(root);
  if (tmp < 0) return;
  const int fd = openat(tmp, fmt::format("perf-{}.map", inner).c_str(),
                        O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  close(tmp);
  if (fd < 0) return;
  struct stat file;
  if (fstat(fd, &file) == 0 && S_ISREG(file.st_mode)) {
    auto text = ReadProcFile(fmt::format("/proc/self/fd/{}", fd), kMaxPerfMapBytes);
    if (text.ok()) perf_map_ = symbolizer::PerfMap::Parse(*text);
  }
  close(fd);
}

bool LiveSpace::FollowsCall(uint64_t address) const {
  if (address == 0) return false;
  const OpenMapping* mapping = Find(address - 1);
  if (!mapping) return false;
  if (mapping->module)
    return mapping->module->FollowsCall(address - mapping->start + mapping->file_offset);
  return true;  // executable memory without a file (a JIT's): nothing to hold it against
}

std::optional<symbolizer::FrameRule> LiveSpace::RuleAt(uint64_t address, bool is_return) const {
  const OpenMapping* mapping = Find(is_return ? address - 1 : address);
  if (!mapping || !mapping->module) return std::nullopt;
  return mapping->module->RuleAt(address - mapping->start + mapping->file_offset, is_return);
}

bool LiveSpace::IsGo(uint64_t address) const {
  const OpenMapping* mapping = Find(address);
  if (!mapping || !mapping->module || !mapping->module->go()) return false;
  const auto place =
      mapping->module->FileOffsetToAddress(address - mapping->start + mapping->file_offset);
  return place && mapping->module->go()->FunctionAt(*place).has_value();
}

std::string_view LiveSpace::PathAt(uint64_t address) const {
  const OpenMapping* mapping = Find(address);
  return mapping ? std::string_view(mapping->path) : std::string_view();
}

std::vector<LiveSpace::GoModule> LiveSpace::GoModules() const {
  std::vector<GoModule> modules;
  absl::flat_hash_set<const symbolizer::Module*> seen;
  for (const OpenMapping& mapping : mappings_) {
    if (!mapping.module || mapping.is_blank || !seen.insert(mapping.module.get()).second) continue;
    GoModule found;
    found.path = mapping.path;
    found.module = mapping.module.get();
    found.tables = mapping.module->go();
    found.problem = mapping.module->go_problem();
    if (!found.tables && found.problem.empty()) continue;
    const auto address = mapping.module->FileOffsetToAddress(mapping.file_offset);
    if (!address) continue;
    found.load_bias = mapping.start - *address;
    found.code = mapping.start;
    modules.push_back(std::move(found));
  }
  std::stable_partition(modules.begin(), modules.end(),
                        [&](const GoModule& m) { return m.path == exe_; });
  return modules;
}

const symbolizer::GoBinary* LiveSpace::go(uint64_t* load_bias) const {
  for (const OpenMapping& mapping : mappings_) {
    if (mapping.path != exe_ || !mapping.module || !mapping.module->go()) continue;
    const auto address = mapping.module->FileOffsetToAddress(mapping.file_offset);
    if (!address) continue;
    if (load_bias) *load_bias = mapping.start - *address;
    return mapping.module->go();
  }
  return nullptr;
}

std::string LiveSpace::go_problem() const {
  for (const OpenMapping& mapping : mappings_) {
    if (mapping.path == exe_ && mapping.module) return mapping.module->go_problem();
  }
  return "";
}

std::optional<uint64_t> LiveSpace::FunctionStart(uint64_t address) const {
  const OpenMapping* mapping = Find(address);
  if (!mapping || !mapping->module) return std::nullopt;
  const uint64_t bias = mapping->start - mapping->file_offset;
  const auto start = mapping->module->FunctionStart(address - bias);
  return start ? std::optional(*start + bias) : std::nullopt;
}

std::vector<Mapping> LiveSpace::Mappings() const {
  std::vector<Mapping> result;
  for (const OpenMapping& m : mappings_) {
    Mapping mapping;
    mapping.start = m.start;
    mapping.end = m.end;
    mapping.file_offset = m.file_offset;
    mapping.path = m.path;
    if (m.module) mapping.build_id = m.module->build_id();
    result.push_back(std::move(mapping));
  }
  return result;
}

AddressSpace LiveSpace::Describe() const {
  AddressSpace space;
  space.exe = exe_;
  space.mappings = Mappings();
  if (const auto* tables = go(nullptr)) space.go_version = tables->version();
  return space;
}

}  // namespace stallscope
