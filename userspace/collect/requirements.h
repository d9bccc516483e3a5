// SPDX-License-Identifier: Apache-2.0
//
// What recording needs of a machine, and what this one offers. Reading (/proc, /sys, attempts at
// bpf(2)) gives facts; judging facts is pure, so that tests can be any machine.
#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace stallscope {

struct MachinePaths {
  std::string proc = "/proc";
  std::string sys = "/sys";
};

// What the files say. nullopt: the file could not be read.
struct MachineFacts {
  std::string kernel_release;            // "6.1.0-50-amd64"
  uint64_t capabilities = 0;             // CapEff of this process
  std::optional<uint32_t> seccomp_mode;  // 0 off, 1 strict, 2 filter
  std::string lockdown;  // "none", "integrity", "confidentiality"; "" where there is none
  std::optional<int> kptr_restrict;
  std::optional<int> ptrace_scope;        // Yama's; nullopt: a kernel without it
  int read_memory = 0;                    // errno of process_vm_readv(2) on ourselves; 0: it works
  std::optional<uint64_t> memlock_bytes;  // nullopt: unlimited
  bool has_btf = false;                   // sys/kernel/btf/vmlinux can be read
  bool initial_pid_namespace = true;
  bool initial_user_namespace = true;
  std::string btf_path;                   // what was looked for
  std::string executable;                 // of this process
  std::vector<std::string> command_line;  // of this process
};

MachineFacts ReadMachineFacts(const MachinePaths& paths = {});

// What the kernel answers when asked: 0, or the errno of the refusal.
struct BpfFacts {
  int map = 0;                  // a map can be made
  int program = 0;              // a program can be loaded
  int tp_btf = 0;               // a program on the sched_switch tracepoint with typed arguments
  int task_storage = 0;         // such a program may keep a value in each thread (kernel 5.11)
  int user_stack = 0;           // such a program may read a thread's user registers (kernel 5.15)
  int statistics = 0;           // the CPU time of programs can be measured
  int data_ready = 0;           // there is a tracepoint for data that arrives on a socket (6.3)
  int syscall_tracepoints = 0;  // single system calls can be traced: tracefs can be opened
};

BpfFacts ProbeBpf();

enum class RequirementState { kOk, kDegraded, kMissing };

struct Requirement {
  std::string name;
  RequirementState state = RequirementState::kOk;
  std::string found;   // what is there: "Linux 6.1.0-50-amd64"
  std::string cost;    // what will not work; empty when ok
  std::string remedy;  // how to mend it; empty when ok
};

std::vector<Requirement> CheckRequirements(const MachineFacts& machine, const BpfFacts& bpf);

// Whether goroutines can be read: what is asked of a process's memory, and its rights.
Requirement GoroutineRights(const MachineFacts& machine);

// True when no requirement is missing: offcpu can be recorded.
bool CanRecord(const std::vector<Requirement>& requirements);

// Those of CAP_BPF and CAP_PERFMON that this process does not have; CAP_SYS_ADMIN stands for both.
std::vector<std::string> MissingCapabilities(const MachineFacts& machine);

// Why the programs could not be loaded or attached, in two lines: what this machine lacks, and what
// to do. `failure` is the status of Ledger::Load or Attach. Always
// absl::StatusCode::kFailedPrecondition.
absl::Status ExplainLoadFailure(const absl::Status& failure, const MachineFacts& machine,
                                const BpfFacts& bpf);
absl::Status ExplainLoadFailure(const absl::Status& failure);  // on this machine

// `word` as a POSIX shell takes it, for the lines that a remedy says to type: quoted where that is
// needed, control bytes replaced.
std::string ShellQuoted(std::string_view word);

// "1.1"
std::string LibbpfVersion();

}  // namespace stallscope
