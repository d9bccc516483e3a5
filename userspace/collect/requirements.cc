// SPDX-License-Identifier: Apache-2.0
#include "userspace/collect/requirements.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fmt/format.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "userspace/collect/pid_namespace.h"
#include "userspace/collect/tracepoint.h"
#include "userspace/process/proc_files.h"

namespace stallscope {
namespace {

constexpr uint64_t kInitialUserNamespace = 4026531837;  // PROC_USER_INIT_INO

// Debian 12's headers know all of these; the numbers never change.
struct Capability {
  int number;
  const char* name;
};
constexpr Capability kBpf = {39, "CAP_BPF"};
constexpr Capability kPerfmon = {38, "CAP_PERFMON"};
constexpr Capability kSysPtrace = {CAP_SYS_PTRACE, "CAP_SYS_PTRACE"};
constexpr Capability kDacReadSearch = {CAP_DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"};
constexpr Capability kCheckpointRestore = {40, "CAP_CHECKPOINT_RESTORE"};
constexpr Capability kSyslog = {CAP_SYSLOG, "CAP_SYSLOG"};
constexpr Capability kSysAdmin = {CAP_SYS_ADMIN, "CAP_SYS_ADMIN"};

constexpr std::string_view kAllCapabilities =
    "cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search,cap_checkpoint_restore,cap_syslog";

// --- reading
// ---------------------------------------------------------------------------------------------------------

std::string FirstLine(const std::string& path) {
  const auto text = ReadProcFile(path, 4096);
  return text.ok() ? text->substr(0, text->find('\n')) : "";
}

std::optional<uint64_t> Number(std::string_view text, int base) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string LinkTarget(const std::string& path) {
  char target[4096];
  const ssize_t size = readlink(path.c_str(), target, sizeof(target));
  return size > 0 ? std::string(target, size) : "";
}

// "pid:[4026531836]" of a link in /proc/PID/ns. Where it cannot be read the namespace is taken for
// the initial one: no advice is better than wrong advice.
bool IsNamespace(const std::string& link, uint64_t inode) {
  const std::string target = LinkTarget(link);
  const size_t open = target.find('[');
  if (open == std::string::npos || target.back() != ']') return true;
  return Number(std::string_view(target).substr(open + 1, target.size() - open - 2), 10) == inode;
}

// "none [integrity] confidentiality": the word in brackets.
std::string BracketedWord(const std::string& text) {
  const size_t open = text.find('[');
  const size_t close = text.find(']', open == std::string::npos ? 0 : open);
  if (open == std::string::npos || close == std::string::npos) return "";
  return text.substr(open + 1, close - open - 1);
}

std::vector<std::string> WordsOf(const std::string& nul_separated) {
  std::vector<std::string> words;
  size_t start = 0;
  while (start < nul_separated.size()) {
    const size_t end = nul_separated.find('\0', start);
    words.push_back(nul_separated.substr(start, end - start));
    if (end == std::string::npos) break;
    start = end + 1;
  }
  return words;
}

// The errno of reading memory as that of a target is read; 0 where it works.
int TryReadingMemory() {
  char from = 1, to = 0;
  const iovec local = {&to, sizeof(to)}, remote = {&from, sizeof(from)};
  return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == 1 ? 0 : errno;
}

// --- asking the kernel
// -----------------------------------------------------------------------------------------------

// Closes itself; negative is none.
class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }
  bool ok() const { return fd_ >= 0; }
  int error() const { return fd_ < 0 ? -fd_ : 0; }  // libbpf's calls answer with -errno

 private:
  int fd_;
};

constexpr bpf_insn Move(int to, int value) {
  return {.code = BPF_ALU64 | BPF_MOV | BPF_K,
          .dst_reg = static_cast<__u8>(to),
          .src_reg = 0,
          .off = 0,
          .imm = value};
}
constexpr bpf_insn Copy(int to, int from) {
  return {.code = BPF_ALU64 | BPF_MOV | BPF_X,
          .dst_reg = static_cast<__u8>(to),
          .src_reg = static_cast<__u8>(from),
          .off = 0,
          .imm = 0};
}
constexpr bpf_insn Load64(int to, int from, int offset) {
  return {.code = BPF_LDX | BPF_MEM | BPF_DW,
          .dst_reg = static_cast<__u8>(to),
          .src_reg = static_cast<__u8>(from),
          .off = static_cast<__s16>(offset),
          .imm = 0};
}
constexpr bpf_insn Call(int helper) {
  return {.code = BPF_JMP | BPF_CALL, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = helper};
}
constexpr bpf_insn Exit() {
  return {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0};
}

// Returns 0 or the errno.
int LoadOnSchedSwitch(int btf_id, const std::vector<bpf_insn>& code) {
  LIBBPF_OPTS(bpf_prog_load_opts, options);
  options.expected_attach_type = BPF_TRACE_RAW_TP;
  options.attach_btf_id = btf_id;
  return Fd(bpf_prog_load(BPF_PROG_TYPE_TRACING, "probe", "GPL", code.data(), code.size(),
                          &options))
      .error();
}

// A map with a value of 8 bytes in each thread; it needs a BTF object that says so. Negative errno
// when it cannot be.
int MakeTaskStorage() {
  btf* types = btf__new_empty();
  if (!types) return -errno;
  const int key = btf__add_int(types, "int", 4, BTF_INT_SIGNED);
  const int value = btf__add_int(types, "long", 8, BTF_INT_SIGNED);
  int fd = btf__load_into_kernel(types);
  if (fd == 0) {
    LIBBPF_OPTS(bpf_map_create_opts, options);
    options.btf_fd = btf__fd(types);
    options.btf_key_type_id = key;
    options.btf_value_type_id = value;
    options.map_flags = BPF_F_NO_PREALLOC;
    fd = bpf_map_create(BPF_MAP_TYPE_TASK_STORAGE, "probe", 4, 8, 0, &options);
  }
  btf__free(types);
  return fd;
}

int ProbeTaskStorage(int btf_id) {
  const Fd map(MakeTaskStorage());
  if (!map.ok()) return map.error();
  return LoadOnSchedSwitch(btf_id, {Load64(BPF_REG_2, BPF_REG_1, 8),  // prev
                                    {.code = BPF_LD | BPF_DW | BPF_IMM,
                                     .dst_reg = BPF_REG_1,
                                     .src_reg = BPF_PSEUDO_MAP_FD,
                                     .off = 0,
                                     .imm = map.get()},
                                    {},
                                    Move(BPF_REG_3, 0),
                                    Move(BPF_REG_4, 0),
                                    Call(BPF_FUNC_task_storage_get),
                                    Move(BPF_REG_0, 0),
                                    Exit()});
}

// --- judging
// ---------------------------------------------------------------------------------------------------------

bool Holds(const MachineFacts& machine, Capability capability) {
  return machine.initial_user_namespace && (machine.capabilities >> capability.number & 1);
}
bool HoldsOrAdmin(const MachineFacts& machine, Capability capability) {
  return Holds(machine, capability) || Holds(machine, kSysAdmin);
}

// This very command, as root.
std::string SudoLine(const MachineFacts& machine) {
  std::string line = "sudo " + ShellQuoted(machine.executable);
  for (size_t i = 1; i < machine.command_line.size(); ++i)
    line += " " + ShellQuoted(machine.command_line[i]);
  return line;
}

std::string SetcapLine(const MachineFacts& machine) {
  return fmt::format("sudo setcap {}+ep {}", kAllCapabilities, ShellQuoted(machine.executable));
}

std::string RightsRemedy(const MachineFacts& machine) {
  if (!machine.initial_user_namespace) {
    return "run it outside of this user namespace (for a container: not rootless, --privileged or "
           "--cap-add BPF,PERFMON,SYS_PTRACE)";
  }
  return fmt::format("run it as root: {}  or give it the rights once: {}", SudoLine(machine),
                     SetcapLine(machine));
}

std::string NoBtf(const MachineFacts& machine) {
  return fmt::format("this kernel has no BTF ({})", machine.btf_path);
}
constexpr std::string_view kBtfRemedy =
    "install a kernel with CONFIG_DEBUG_INFO_BTF=y, as Debian 12, Ubuntu 22.04 and RHEL 9 have it "
    "(apt install linux-image-amd64), and reboot";

bool Refused(int error) { return error == EPERM || error == EACCES; }

// Which of the two refuses bpf(), when the rights are there; "" when neither explains it.
std::string SeccompOrLockdown(const MachineFacts& machine, const BpfFacts& bpf) {
  if (machine.lockdown == "confidentiality")
    return "kernel lockdown (confidentiality) refuses bpf()";
  if (machine.seccomp_mode.value_or(0) != 0 && Refused(bpf.map)) {
    return fmt::format("seccomp refuses bpf() (Seccomp: {} in {})", *machine.seccomp_mode,
                       "/proc/self/status");
  }
  return "";
}
std::string SeccompOrLockdownRemedy(const MachineFacts& machine) {
  if (machine.lockdown == "confidentiality") {
    return "boot with lockdown=integrity or lockdown=none on the kernel's command line "
           "(/sys/kernel/security/lockdown)";
  }
  return "allow bpf() in the profile: seccompProfile RuntimeDefault with CAP_BPF added, or docker "
         "run --security-opt seccomp=unconfined";
}

Requirement Ok(std::string name, std::string found) {
  return {std::move(name), RequirementState::kOk, std::move(found), "", ""};
}

Requirement Btf(const MachineFacts& machine) {
  if (machine.has_btf) return Ok("kernel BTF", machine.btf_path);
  return {"kernel BTF", RequirementState::kMissing, NoBtf(machine),
          "no kernel program can be loaded", std::string(kBtfRemedy)};
}

Requirement Rights(const MachineFacts& machine) {
  const auto missing = MissingCapabilities(machine);
  if (missing.empty())
    return Ok("rights to load programs",
              Holds(machine, kBpf) ? "CAP_BPF, CAP_PERFMON" : "CAP_SYS_ADMIN");
  return {"rights to load programs", RequirementState::kMissing,
          fmt::format("missing {}{}", fmt::join(missing, ", "),
                      machine.initial_user_namespace ? "" : " outside of this user namespace"),
          "nothing can be attached", RightsRemedy(machine)};
}

Requirement BpfCall(const MachineFacts& machine, const BpfFacts& bpf) {
  const std::string name = "bpf()";
  if (bpf.map == 0 && bpf.program == 0) return Ok(name, "maps and programs can be made");
  const std::string who = SeccompOrLockdown(machine, bpf);
  const int error = bpf.map ? bpf.map : bpf.program;
  if (!who.empty())
    return {name, RequirementState::kMissing, who, "nothing can be attached",
            SeccompOrLockdownRemedy(machine)};
  const bool rights = !MissingCapabilities(machine).empty();
  return {name, RequirementState::kMissing,
          fmt::format("the kernel refuses it: {}", strerror(error)), "nothing can be attached",
          rights ? "see the rights above" : "look at dmesg and at the kernel's security modules"};
}

// What a feature test says, once programs can be loaded at all.
Requirement Feature(std::string name, std::string found, const MachineFacts& machine,
                    const BpfFacts& bpf, int error, std::string since) {
  if (error == 0) return Ok(std::move(name), std::move(found));
  if (bpf.map || bpf.program || !machine.has_btf) {
    return {std::move(name), RequirementState::kMissing, "not known: no program can be loaded here",
            "nothing can be attached", "see above"};
  }
  return {std::move(name), RequirementState::kMissing,
          fmt::format("{}: {}", machine.kernel_release, strerror(error)),
          "offcpu cannot be recorded", fmt::format("use Linux {} or newer", since)};
}

Requirement OtherUsers(const MachineFacts& machine) {
  std::vector<std::string> missing;
  for (const Capability& capability : {kSysPtrace, kDacReadSearch}) {
    if (!Holds(machine, capability)) missing.push_back(capability.name);
  }
  const std::string name = "other users' processes";
  if (missing.empty()) return Ok(name, "CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH");
  return {
      name, RequirementState::kDegraded, fmt::format("missing {}", fmt::join(missing, ", ")),
      "processes of other users: no names in user stacks, no stacks of threads that waited before",
      RightsRemedy(machine)};
}

Requirement DeletedFiles(const MachineFacts& machine) {
  const std::string name = "replaced and deleted files";
  if (HoldsOrAdmin(machine, kCheckpointRestore))
    return Ok(name, "/proc/PID/map_files can be opened");
  return {name, RequirementState::kDegraded, "missing CAP_CHECKPOINT_RESTORE",
          "a program or library that was replaced on disk since it started has no names",
          RightsRemedy(machine)};
}

Requirement KernelSymbols(const MachineFacts& machine) {
  const std::string name = "kernel symbols";
  const int restrict_level = machine.kptr_restrict.value_or(0);
  if (restrict_level >= 2) {
    return {name, RequirementState::kDegraded,
            fmt::format("kernel symbols are hidden (kptr_restrict={})", restrict_level),
            "kernel frames are addresses", "sudo sysctl kernel.kptr_restrict=1"};
  }
  if (!Holds(machine, kSyslog) && !Holds(machine, kSysAdmin)) {
    return {name, RequirementState::kDegraded, "missing CAP_SYSLOG", "kernel frames are addresses",
            RightsRemedy(machine)};
  }
  return Ok(name, fmt::format("kptr_restrict={}", restrict_level));
}

Requirement PidNamespaceFact(const MachineFacts& machine) {
  const std::string name = "pid namespace";
  if (machine.initial_pid_namespace) return Ok(name, "the host's");
  return {name, RequirementState::kDegraded, "our own",
          "only processes of this pid namespace can be recorded",
          "hostPID: true in the pod, or docker run --pid host"};
}

Requirement Statistics(const BpfFacts& bpf) {
  const std::string name = "cost figures";
  if (bpf.statistics == 0) return Ok(name, "the kernel measures the time of programs");
  return {name, RequirementState::kDegraded,
          fmt::format("BPF run-time statistics cannot be had: {}", strerror(bpf.statistics)),
          "the summary does not say what the kernel side cost",
          "run as root (CAP_SYS_ADMIN), or sudo sysctl kernel.bpf_stats_enabled=1"};
}

Requirement SyscallTracepoints(const BpfFacts& bpf) {
  const std::string name = "system call tracepoints";
  if (bpf.syscall_tracepoints == 0) return Ok(name, "tracefs can be opened");
  return {name, RequirementState::kDegraded,
          fmt::format("no tracefs: {}", strerror(bpf.syscall_tracepoints)),
          "tcp, retrans and epoll: a program at every system call of the machine",
          "run as root, or mount tracefs: mount -t tracefs tracefs /sys/kernel/tracing"};
}

Requirement EventLoopLag(const BpfFacts& bpf) {
  const std::string name = "lag of event loops";
  if (bpf.data_ready == 0) return Ok(name, "sk_data_ready");
  return {name, RequirementState::kDegraded, "no tracepoint sk_data_ready",
          "epoll: how late event loops take their events is not known", "Linux 6.3 or later"};
}

// 0, or the errno.
int ProbeSyscallTracepoints() {
  const auto tracefs = OpenTracefs();
  if (!tracefs.ok()) return errno ? errno : ENOENT;
  close(*tracefs);
  return 0;
}

// "6.1.0-50" is newer than or equal to 5.11.
bool KernelAtLeast(const std::string& release, unsigned wanted_major, unsigned wanted_minor) {
  unsigned major = 0, minor = 0;
  if (sscanf(release.c_str(), "%u.%u", &major, &minor) != 2) return true;
  return std::pair(major, minor) >= std::pair(wanted_major, wanted_minor);
}

Requirement LockedMemory(const MachineFacts& machine) {
  const std::string name = "locked memory";
  if (KernelAtLeast(machine.kernel_release, 5, 11))
    return Ok(name, "not limited by ulimit -l on this kernel");
  if (!machine.memlock_bytes || Holds(machine, {CAP_SYS_RESOURCE, "CAP_SYS_RESOURCE"}))
    return Ok(name, "unlimited");
  return {name, RequirementState::kDegraded,
          fmt::format("ulimit -l is {} KiB", *machine.memlock_bytes / 1024),
          "maps of a larger size cannot be made", "ulimit -l unlimited"};
}

}  // namespace

MachineFacts ReadMachineFacts(const MachinePaths& paths) {
  MachineFacts facts;
  facts.kernel_release = FirstLine(paths.proc + "/sys/kernel/osrelease");
  if (const auto status = ReadProcFile(paths.proc + "/self/status"); status.ok()) {
    facts.capabilities = Number(StatusField(*status, "CapEff").value_or(""), 16).value_or(0);
    facts.seccomp_mode = Number(StatusField(*status, "Seccomp").value_or(""), 10);
  }
  facts.lockdown = BracketedWord(FirstLine(paths.sys + "/kernel/security/lockdown"));
  facts.kptr_restrict = Number(FirstLine(paths.proc + "/sys/kernel/kptr_restrict"), 10);
  facts.ptrace_scope = Number(FirstLine(paths.proc + "/sys/kernel/yama/ptrace_scope"), 10);
  facts.read_memory = TryReadingMemory();
  facts.btf_path = paths.sys + "/kernel/btf/vmlinux";
  facts.has_btf = access(facts.btf_path.c_str(), R_OK) == 0;
  facts.initial_pid_namespace = IsNamespace(paths.proc + "/self/ns/pid", kInitialPidNamespace);
  facts.initial_user_namespace = IsNamespace(paths.proc + "/self/ns/user", kInitialUserNamespace);
  facts.executable = LinkTarget(paths.proc + "/self/exe");
  if (facts.executable.empty()) facts.executable = "stallscope";
  if (const auto line = ReadProcFile(paths.proc + "/self/cmdline", 1u << 20); line.ok())
    facts.command_line = WordsOf(*line);
  rlimit limit;
  if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
    facts.memlock_bytes = limit.rlim_cur;
  return facts;
}

BpfFacts ProbeBpf() {
  // What is refused here is the answer, not something for libbpf to print.
  const libbpf_print_fn_t print = libbpf_set_print(nullptr);
  BpfFacts facts;
  facts.map = Fd(bpf_map_create(BPF_MAP_TYPE_ARRAY, "probe", 4, 4, 1, nullptr)).error();
  const std::vector<bpf_insn> nothing = {Move(BPF_REG_0, 0), Exit()};
  facts.program = Fd(bpf_prog_load(BPF_PROG_TYPE_RAW_TRACEPOINT, "probe", "GPL", nothing.data(),
                                   nothing.size(), nullptr))
                      .error();
  const int btf_id = libbpf_find_vmlinux_btf_id("sched_switch", BPF_TRACE_RAW_TP);
  if (btf_id < 0) {
    facts.tp_btf = facts.task_storage = facts.user_stack = -btf_id;
  } else {
    facts.tp_btf = LoadOnSchedSwitch(btf_id, nothing);
    facts.task_storage = ProbeTaskStorage(btf_id);
    facts.user_stack =
        LoadOnSchedSwitch(btf_id, {Load64(BPF_REG_6, BPF_REG_1, 8), Copy(BPF_REG_1, BPF_REG_6),
                                   Call(BPF_FUNC_task_pt_regs), Move(BPF_REG_0, 0), Exit()});
  }
  facts.statistics = Fd(bpf_enable_stats(BPF_STATS_RUN_TIME)).error();
  facts.data_ready = std::max(0, -libbpf_find_vmlinux_btf_id("sk_data_ready", BPF_TRACE_RAW_TP));
  facts.syscall_tracepoints = ProbeSyscallTracepoints();
  libbpf_set_print(print);
  return facts;
}

std::vector<std::string> MissingCapabilities(const MachineFacts& machine) {
  std::vector<std::string> missing;
  for (const Capability& capability : {kBpf, kPerfmon}) {
    if (!HoldsOrAdmin(machine, capability)) missing.push_back(capability.name);
  }
  return missing;
}

std::vector<Requirement> CheckRequirements(const MachineFacts& machine, const BpfFacts& bpf) {
  return {Btf(machine),
          Rights(machine),
          BpfCall(machine, bpf),
          Feature("sched tracepoints", "tp_btf", machine, bpf, bpf.tp_btf, "5.5"),
          Feature("per-thread storage", "task storage in tracing programs", machine, bpf,
                  bpf.task_storage, "5.11"),
          Feature("user stacks", "bpf_task_pt_regs", machine, bpf, bpf.user_stack, "5.15"),
          OtherUsers(machine),
          GoroutineRights(machine),
          DeletedFiles(machine),
          KernelSymbols(machine),
          PidNamespaceFact(machine),
          Statistics(bpf),
          SyscallTracepoints(bpf),
          EventLoopLag(bpf),
          LockedMemory(machine)};
}

Requirement GoroutineRights(const MachineFacts& machine) {
  const std::string name = "goroutines of Go programs";
  const auto degraded = [&](std::string found, std::string cost, std::string remedy) {
    return Requirement{name, RequirementState::kDegraded, std::move(found), std::move(cost),
                       std::move(remedy)};
  };
  constexpr const char* kNone = "goroutines can be neither recorded nor dumped";
  if (machine.read_memory != 0) {
    return degraded(
        fmt::format("process_vm_readv is refused: {}", strerror(machine.read_memory)), kNone,
        "allow process_vm_readv in the seccomp profile: RuntimeDefault with CAP_SYS_PTRACE "
        "added, or docker run --security-opt seccomp=unconfined");
  }
  const int scope = machine.ptrace_scope.value_or(0);
  constexpr int kNobody = 3;  // not root either, and not to be taken back before a reboot
  if (scope >= kNobody) {
    return degraded(fmt::format("kernel.yama.ptrace_scope={}: nobody reads another process", scope),
                    kNone, "set kernel.yama.ptrace_scope=2 in /etc/sysctl.d, and reboot");
  }
  if (Holds(machine, kSysPtrace)) return Ok(name, "process_vm_readv, CAP_SYS_PTRACE");
  return degraded(
      fmt::format("missing CAP_SYS_PTRACE{}",
                  scope > 0 ? fmt::format(" (kernel.yama.ptrace_scope={})", scope) : ""),
      scope > 1    ? kNone
      : scope == 1 ? "goroutines can be read of commands that we start (--) alone"
                   : "goroutines of other users' programs cannot be read",
      RightsRemedy(machine));
}

bool CanRecord(const std::vector<Requirement>& requirements) {
  for (const Requirement& requirement : requirements) {
    if (requirement.state == RequirementState::kMissing) return false;
  }
  return true;
}

absl::Status ExplainLoadFailure(const absl::Status& failure, const MachineFacts& machine,
                                const BpfFacts& bpf) {
  const auto lines = [](std::string_view what, std::string_view remedy) {
    return absl::FailedPreconditionError(fmt::format("{}\n{}", what, remedy));
  };
  if (const auto missing = MissingCapabilities(machine); !missing.empty()) {
    return lines(
        fmt::format("missing {}{}", fmt::join(missing, ", "),
                    machine.initial_user_namespace ? "" : " outside of this user namespace"),
        RightsRemedy(machine));
  }
  if (!machine.has_btf) return lines(NoBtf(machine), kBtfRemedy);
  if (const std::string who = SeccompOrLockdown(machine, bpf); !who.empty())
    return lines(who, SeccompOrLockdownRemedy(machine));
  for (const Requirement& requirement : CheckRequirements(machine, bpf)) {
    if (requirement.state == RequirementState::kMissing) {
      return lines(fmt::format("{}: {}", requirement.name, requirement.found), requirement.remedy);
    }
  }
  // Everything that we know of is there.
  std::string why(failure.message());
  for (char& c : why) {
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  }
  if (failure.code() == absl::StatusCode::kResourceExhausted)
    return lines(why, "there is not enough memory for the kernel maps: a smaller --stacks");
  return lines(why, "run it again with -v, which shows what the kernel said");
}

absl::Status ExplainLoadFailure(const absl::Status& failure) {
  return ExplainLoadFailure(failure, ReadMachineFacts(), ProbeBpf());
}

std::string ShellQuoted(std::string_view word) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:,=+@%";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string_view::npos) {
    return std::string(word);
  }
  std::string quoted = "'";
  for (const char c : word) {
    if (c == '\'') {
      quoted += "'\\''";
    } else {
      quoted += static_cast<unsigned char>(c) < 0x20 ? '?' : c;
    }
  }
  return quoted + "'";
}

std::string LibbpfVersion() {
  return fmt::format("{}.{}", libbpf_major_version(), libbpf_minor_version());
}

}  // namespace stallscope
