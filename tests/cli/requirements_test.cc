// SPDX-License-Identifier: Apache-2.0
#include "userspace/collect/requirements.h"

#include <errno.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cli/scratch_directory.h"
#include "userspace/cli/words.h"

namespace stallscope {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

constexpr uint64_t kAll = 0x1ffffffffff;
constexpr uint64_t Bit(int number) { return uint64_t{1} << number; }
constexpr int kBpf = 39, kPerfmon = 38, kSysAdmin = 21, kPtrace = 19, kSyslog = 34;

MachineFacts GoodMachine() {
  return {.kernel_release = "6.1.0-50-amd64",
          .capabilities = kAll,
          .seccomp_mode = 0,
          .lockdown = "integrity",
          .kptr_restrict = 1,
          .has_btf = true,
          .btf_path = "/sys/kernel/btf/vmlinux",
          .executable = "/opt/stall scope",
          .command_line = {"stallscope", "record", "-p", "42", "-X", "a b"}};
}

std::string Lines(const absl::Status& status) {
  EXPECT_EQ(ExitCodeOf(status), kExitMachine);
  return std::string(status.message());
}
const absl::Status kRefused = absl::PermissionDeniedError("cannot load the ledger");

RequirementState StateOf(const std::vector<Requirement>& requirements, const std::string& name) {
  for (const Requirement& requirement : requirements) {
    if (requirement.name == name) return requirement.state;
  }
  ADD_FAILURE() << "no requirement " << name;
  return RequirementState::kOk;
}

TEST(Requirements, AGoodMachine) {
  for (const Requirement& requirement : CheckRequirements(GoodMachine(), BpfFacts{})) {
    EXPECT_EQ(requirement.state, RequirementState::kOk) << requirement.name;
    EXPECT_THAT(requirement.cost, IsEmpty());
    EXPECT_THAT(requirement.remedy, IsEmpty());
  }
}

TEST(Requirements, WhatIsNotOkSaysItsCostAndRemedy) {
  MachineFacts machine = GoodMachine();
  machine.capabilities = 0;
  machine.has_btf = false;
  machine.kptr_restrict = 2;
  machine.initial_pid_namespace = false;
  machine.kernel_release = "5.10.0-32-amd64";
  machine.memlock_bytes = 65536;
  const auto requirements = CheckRequirements(machine, {.map = EPERM,
                                                        .program = EPERM,
                                                        .tp_btf = EPERM,
                                                        .task_storage = EPERM,
                                                        .user_stack = EPERM,
                                                        .statistics = EPERM,
                                                        .data_ready = ENOENT,
                                                        .syscall_tracepoints = EPERM});
  EXPECT_FALSE(CanRecord(requirements));
  for (const Requirement& requirement : requirements) {
    EXPECT_NE(requirement.state, RequirementState::kOk) << requirement.name;
    EXPECT_FALSE(requirement.cost.empty()) << requirement.name;
    EXPECT_FALSE(requirement.remedy.empty()) << requirement.name;
  }
}

TEST(Requirements, DegradedIsNotMissing) {
  MachineFacts machine = GoodMachine();
  machine.capabilities = Bit(kBpf) | Bit(kPerfmon);
  machine.kptr_restrict = 2;
  const auto requirements = CheckRequirements(machine, {.statistics = EPERM});
  EXPECT_TRUE(CanRecord(requirements));
  EXPECT_EQ(StateOf(requirements, "other users' processes"), RequirementState::kDegraded);
  EXPECT_EQ(StateOf(requirements, "kernel symbols"), RequirementState::kDegraded);
  EXPECT_EQ(StateOf(requirements, "cost figures"), RequirementState::kDegraded);
}

TEST(Requirements, AdminStandsForBpfAndPerfmon) {
  MachineFacts machine = GoodMachine();
  machine.capabilities = Bit(kSysAdmin);
  EXPECT_THAT(MissingCapabilities(machine), IsEmpty());
  machine.capabilities = Bit(kPerfmon) | Bit(kPtrace) | Bit(kSyslog);
  EXPECT_THAT(MissingCapabilities(machine), ElementsAre("CAP_BPF"));
  machine.capabilities = kAll;
  machine.initial_user_namespace = false;
  EXPECT_THAT(MissingCapabilities(machine), ElementsAre("CAP_BPF", "CAP_PERFMON"));
}

TEST(Requirements, WhetherGoroutinesCanBeRead) {
  MachineFacts machine = GoodMachine();
  EXPECT_EQ(GoroutineRights(machine).found, "process_vm_readv, CAP_SYS_PTRACE");
  machine.ptrace_scope = 2;
  EXPECT_EQ(GoroutineRights(machine).state, RequirementState::kOk) << "we have the right";
  machine.ptrace_scope = 3;
  EXPECT_THAT(GoroutineRights(machine).found, HasSubstr("ptrace_scope=3"));
  EXPECT_THAT(GoroutineRights(machine).cost, HasSubstr("neither recorded nor dumped"));

  machine.capabilities = kAll & ~Bit(kPtrace);
  machine.ptrace_scope = std::nullopt;
  const Requirement without = GoroutineRights(machine);
  EXPECT_EQ(without.state, RequirementState::kDegraded);
  EXPECT_EQ(without.found, "missing CAP_SYS_PTRACE");
  EXPECT_THAT(without.cost, HasSubstr("of other users"));
  EXPECT_THAT(without.remedy, HasSubstr("sudo"));
  machine.ptrace_scope = 1;
  EXPECT_EQ(GoroutineRights(machine).found, "missing CAP_SYS_PTRACE (kernel.yama.ptrace_scope=1)");
  EXPECT_THAT(GoroutineRights(machine).cost, HasSubstr("that we start"));

  machine = GoodMachine();
  machine.read_memory = EPERM;
  EXPECT_THAT(GoroutineRights(machine).found, HasSubstr("process_vm_readv is refused"));
  EXPECT_THAT(GoroutineRights(machine).remedy, HasSubstr("seccomp"));
}

TEST(Requirements, ExplainsMissingRights) {
  MachineFacts machine = GoodMachine();
  machine.capabilities = 0;
  const std::string text = Lines(ExplainLoadFailure(kRefused, machine, {.map = EPERM}));
  EXPECT_THAT(text, StartsWith("missing CAP_BPF, CAP_PERFMON\n"));
  EXPECT_THAT(text, HasSubstr("sudo '/opt/stall scope' record -p 42 -X 'a b'"));
  EXPECT_THAT(text, HasSubstr("sudo setcap cap_bpf,cap_perfmon,cap_sys_ptrace"));
}

TEST(Requirements, ExplainsNoBtf) {
  MachineFacts machine = GoodMachine();
  machine.has_btf = false;
  EXPECT_THAT(Lines(ExplainLoadFailure(kRefused, machine, {})),
              StartsWith("this kernel has no BTF (/sys/kernel/btf/vmlinux)\ninstall "));
}

TEST(Requirements, TellsSeccompFromLockdown) {
  MachineFacts machine = GoodMachine();
  machine.seccomp_mode = 2;
  EXPECT_THAT(Lines(ExplainLoadFailure(kRefused, machine, {.map = EPERM, .program = EPERM})),
              StartsWith("seccomp refuses bpf()"));
  // A filter that lets bpf() through is not to blame.
  EXPECT_THAT(Lines(ExplainLoadFailure(kRefused, machine, {})),
              StartsWith("cannot load the ledger"));
  machine.seccomp_mode = 0;
  machine.lockdown = "confidentiality";
  const std::string lockdown = Lines(ExplainLoadFailure(kRefused, machine, {.tp_btf = EINVAL}));
  EXPECT_THAT(lockdown, StartsWith("kernel lockdown (confidentiality) refuses bpf()\n"));
  EXPECT_THAT(lockdown, HasSubstr("lockdown=integrity"));
}

TEST(Requirements, ExplainsAnOldKernel) {
  MachineFacts machine = GoodMachine();
  machine.kernel_release = "5.10.0";
  const std::string text = Lines(ExplainLoadFailure(
      absl::InvalidArgumentError("x"), machine, {.task_storage = EINVAL, .user_stack = EINVAL}));
  EXPECT_THAT(text, StartsWith("per-thread storage: 5.10.0: Invalid argument\n"));
  EXPECT_THAT(text, HasSubstr("5.11"));
}

TEST(Requirements, AnythingElseIsOneLineAndARemedy) {
  const std::string text =
      Lines(ExplainLoadFailure(absl::InvalidArgumentError("line\nline"), GoodMachine(), {}));
  EXPECT_THAT(text, StartsWith("line line\n"));
  EXPECT_THAT(text, HasSubstr("-v"));
}

TEST(Requirements, ReadsAMachineFromItsFiles) {
  ScratchDirectory dir;
  dir.Put("proc/sys/kernel/osrelease", "6.1.0-50-amd64\n");
  dir.Put("proc/sys/kernel/kptr_restrict", "2\n");
  dir.Put("proc/sys/kernel/yama/ptrace_scope", "1\n");
  dir.Put("proc/self/status", "Name:\tx\nCapEff:\t000000c000000000\nSeccomp:\t2\n");
  dir.Put("proc/self/cmdline", std::string("stallscope\0record\0-a\0", 21));
  dir.Link("proc/self/ns/pid", "pid:[4026532999]");
  dir.Link("proc/self/ns/user", "user:[4026531837]");
  dir.Link("proc/self/exe", "/opt/stallscope");
  dir.Put("sys/kernel/btf/vmlinux", "x");
  dir.Put("sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
  const MachineFacts facts = ReadMachineFacts({dir / "proc", dir / "sys"});
  EXPECT_EQ(facts.kernel_release, "6.1.0-50-amd64");
  EXPECT_EQ(facts.capabilities, Bit(kBpf) | Bit(kPerfmon));
  EXPECT_EQ(facts.seccomp_mode, 2u);
  EXPECT_EQ(facts.lockdown, "integrity");
  EXPECT_EQ(facts.kptr_restrict, 2);
  EXPECT_EQ(facts.ptrace_scope, 1);
  EXPECT_TRUE(facts.has_btf);
  EXPECT_FALSE(facts.initial_pid_namespace);
  EXPECT_TRUE(facts.initial_user_namespace);
  EXPECT_EQ(facts.executable, "/opt/stallscope");
  EXPECT_THAT(facts.command_line, ElementsAre("stallscope", "record", "-a"));
}

TEST(Requirements, ReadsNothingFromNothing) {
  ScratchDirectory dir;
  const MachineFacts facts = ReadMachineFacts({dir / "proc", dir / "sys"});
  EXPECT_EQ(facts.capabilities, 0u);
  EXPECT_EQ(facts.seccomp_mode, std::nullopt);
  EXPECT_EQ(facts.kptr_restrict, std::nullopt);
  EXPECT_EQ(facts.ptrace_scope, std::nullopt);
  EXPECT_FALSE(facts.has_btf);
}

TEST(Requirements, ShellQuoting) {
  EXPECT_EQ(ShellQuoted("/usr/bin/x-1"), "/usr/bin/x-1");
  EXPECT_EQ(ShellQuoted("a b"), "'a b'");
  EXPECT_EQ(ShellQuoted("it's"), "'it'\\''s'");
  EXPECT_EQ(ShellQuoted(""), "''");
  EXPECT_EQ(ShellQuoted("a\nb"), "'a?b'");
}

// Where this test may load programs, the probes agree with the rights; where it may not, they
// refuse.
TEST(Requirements, ProbesAgreeWithRights) {
  const MachineFacts machine = ReadMachineFacts();
  const BpfFacts bpf = ProbeBpf();
  if (MissingCapabilities(machine).empty()) {
    EXPECT_EQ(bpf.map, 0);
    EXPECT_EQ(bpf.program, 0);
  } else {
    EXPECT_NE(bpf.program, 0);
  }
}

}  // namespace
}  // namespace stallscope
