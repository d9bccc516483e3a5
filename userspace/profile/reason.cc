// SPDX-License-Identifier: Apache-2.0
#include "userspace/profile/reason.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "userspace/profile/syscall_table.h"

namespace stallscope {
namespace {

// Bits of a task's state, from the kernel's include/linux/sched.h. The first two have kept their
// values since 2.6; TASK_FROZEN came with 6.1 (older kernels freeze a task as TASK_UNINTERRUPTIBLE
// inside __refrigerator).
constexpr uint32_t kTaskStopped = 0x4;
constexpr uint32_t kTaskTraced = 0x8;
constexpr uint32_t kTaskFrozen = 0x8000;

// Evidence by name. Which function parks which thread: Go's src/runtime/proc.go, lock_futex.go,
// lock_spinbit.go, rwmutex.go and netpoll_epoll.go, read in 1.19 and 1.26.
constexpr Evidence kSysmon = 1u << 8;
constexpr Evidence kNetpoll = 1u << 9;
constexpr Evidence kNoteSleep = 1u << 10;   // notesleep: woken by another thread
constexpr Evidence kIdleParker = 1u << 11;  // a function that parks its thread until there is work
constexpr Evidence kRuntimeMutex = 1u << 12;    // lock2: a runtime mutex
constexpr Evidence kRuntimeRwMutex = 1u << 13;  // rwmutex parks by notesleep, without mPark
constexpr Evidence kGoexit = 1u << 14;
constexpr Evidence kFaultHandler = 1u << 16;
constexpr Evidence kFreezer = 1u << 17;
constexpr Evidence kKernelSleep = 1u << 18;
constexpr Evidence kKernelPoll = 1u << 19;
constexpr Evidence kKernelFutex = 1u << 20;

struct NamedEvidence {
  std::string_view name;
  Evidence evidence;
};

constexpr NamedEvidence kRuntimeFunctions[] = {
    {"sysmon", kSysmon},
    {"netpoll", kNetpoll},
    {"notesleep", kNoteSleep},
    {"mPark", kIdleParker},  // stopm, stoplockedm and, for a main thread that exits, mexit
    {"stopm", kIdleParker},
    {"stoplockedm", kIdleParker},
    {"mexit", kIdleParker},
    {"templateThread", kIdleParker},  // calls notesleep itself
    {"lock", kRuntimeMutex},
    {"lock2", kRuntimeMutex},
    {"lockWithRank", kRuntimeMutex},
    {"(*rwmutex).rlock", kRuntimeRwMutex},
    {"(*rwmutex).rlock.func1", kRuntimeRwMutex},
    {"(*rwmutex).lock", kRuntimeRwMutex},
    {"(*rwmutex).lock.func1", kRuntimeRwMutex},
    {"goexit", kGoexit},
};

enum class SyscallFamily : uint8_t {
  kOther,
  kFutex,
  kSleep,
  kPoll,
  kChild,
  kSignal,
  kConnect,
  kAccept,
  kFile,        // on a descriptor of any type
  kSocketFile,  // on a socket, whatever was found out about the descriptor
  kFileLock,
  kIoUring,
};

struct FamilyMember {
  std::string_view name;
  SyscallFamily family;
};

// By name, so that the numbers stay the build's business.
constexpr FamilyMember kFamilies[] = {
    {"futex", SyscallFamily::kFutex},
    {"futex_waitv", SyscallFamily::kFutex},
    {"futex_wait", SyscallFamily::kFutex},
    {"nanosleep", SyscallFamily::kSleep},
    {"clock_nanosleep", SyscallFamily::kSleep},
    {"epoll_wait", SyscallFamily::kPoll},
    {"epoll_pwait", SyscallFamily::kPoll},
    {"epoll_pwait2", SyscallFamily::kPoll},
    {"poll", SyscallFamily::kPoll},
    {"ppoll", SyscallFamily::kPoll},
    {"select", SyscallFamily::kPoll},
    {"pselect6", SyscallFamily::kPoll},
    {"wait4", SyscallFamily::kChild},
    {"waitid", SyscallFamily::kChild},
    {"rt_sigtimedwait", SyscallFamily::kSignal},
    {"rt_sigsuspend", SyscallFamily::kSignal},
    {"pause", SyscallFamily::kSignal},
    {"connect", SyscallFamily::kConnect},
    {"accept", SyscallFamily::kAccept},
    {"accept4", SyscallFamily::kAccept},
    {"read", SyscallFamily::kFile},
    {"write", SyscallFamily::kFile},
    {"pread64", SyscallFamily::kFile},
    {"pwrite64", SyscallFamily::kFile},
    {"readv", SyscallFamily::kFile},
    {"writev", SyscallFamily::kFile},
    {"preadv", SyscallFamily::kFile},
    {"pwritev", SyscallFamily::kFile},
    {"preadv2", SyscallFamily::kFile},
    {"pwritev2", SyscallFamily::kFile},
    {"sendfile", SyscallFamily::kFile},
    {"splice", SyscallFamily::kFile},
    {"tee", SyscallFamily::kFile},
    {"vmsplice", SyscallFamily::kFile},
    {"copy_file_range", SyscallFamily::kFile},
    {"recvfrom", SyscallFamily::kSocketFile},
    {"recvmsg", SyscallFamily::kSocketFile},
    {"recvmmsg", SyscallFamily::kSocketFile},
    {"sendto", SyscallFamily::kSocketFile},
    {"sendmsg", SyscallFamily::kSocketFile},
    {"sendmmsg", SyscallFamily::kSocketFile},
    {"flock", SyscallFamily::kFileLock},
    {"fcntl", SyscallFamily::kFileLock},  // of its commands only F_SETLKW and its kin block
    {"io_uring_enter", SyscallFamily::kIoUring},
};

SyscallFamily FamilyOf(std::string_view name) {
  for (const FamilyMember& member : kFamilies) {
    if (member.name == name) return member.family;
  }
  return SyscallFamily::kOther;
}

std::string_view FileWord(FileType type) {
  switch (type) {
    case FileType::kPipe:
      return "pipe";
    case FileType::kSocket:
      return "socket";
    case FileType::kTty:
      return "tty";
    case FileType::kRegular:
    case FileType::kOther:
      return "file";
    case FileType::kUnknown:
      break;
  }
  return "";
}

std::string_view StateWord(uint32_t state, Evidence evidence) {
  if (state & kTaskStopped) return "stopped";
  if (state & kTaskTraced) return "ptrace";
  // A cgroup's freezer (v2) leaves no bit: its sleepers stand in the kernel's own trap for it.
  if ((state & kTaskFrozen) || (evidence & kFreezer)) return "frozen";
  return "";
}

// A thread of a Go program that carries no goroutine. The rows exclude each other: sysmon's calls
// into other rows' functions are still sysmon's.
std::string_view GoSchedulerWord(SyscallFamily family, Evidence evidence) {
  if (!(evidence & kGoProgram) || (evidence & (kHasGoroutine | kGoexit))) return "";
  if (evidence & kSysmon) return "sysmon";
  const bool in_mutex = evidence & kRuntimeMutex;
  const bool in_note = evidence & kNoteSleep;
  if (family == SyscallFamily::kFutex && in_note && (evidence & kIdleParker) && !in_mutex) {
    return "idle M";
  }
  if (family == SyscallFamily::kPoll && (evidence & kNetpoll)) return "netpoll";
  if (family == SyscallFamily::kFutex && in_mutex) return "runtime lock";
  if (family == SyscallFamily::kFutex && in_note && (evidence & kRuntimeRwMutex)) {
    return "runtime lock";
  }
  return "";
}

bool IsUserPageFault(const RawReason& raw, Evidence evidence) {
  if (raw.syscall >= 0 || raw.kernel_thread) return false;
  // A thread can also block outside a system call on its way out of an interrupt (task work, a
  // signal's delivery). A named kernel stack says which it is; without one a fault is what is left.
  return !(evidence & kKernelNamed) || (evidence & kFaultHandler);
}

std::string SyscallReason(int32_t number, std::optional<std::string_view> name, FileType file) {
  if (number >= kCompatSyscall) return fmt::format("syscall {} i386", number - kCompatSyscall);
  if (!name) return fmt::format("syscall {}", number);
  switch (FamilyOf(*name)) {
    case SyscallFamily::kFutex:
      return "futex";
    case SyscallFamily::kSleep:
      return "sleep";
    case SyscallFamily::kPoll:
      return "poll";
    case SyscallFamily::kChild:
      return "child";
    case SyscallFamily::kSignal:
      return "signal";
    case SyscallFamily::kConnect:
      return "connect";
    case SyscallFamily::kAccept:
      return "accept";
    case SyscallFamily::kSocketFile:
      return "socket";
    case SyscallFamily::kFileLock:
      return "file lock";
    case SyscallFamily::kIoUring:
      return "io_uring";
    case SyscallFamily::kFile:
      if (!FileWord(file).empty()) return std::string(FileWord(file));
      break;
    case SyscallFamily::kOther:
      break;
  }
  return fmt::format("syscall {}", *name);
}

constexpr std::string_view kUnfinished = " (unfinished)";

}  // namespace

Evidence UserEvidence(std::string_view name) {
  constexpr std::string_view kPackage = "runtime.";
  constexpr std::string_view kAssembly = ".abi0";
  if (name.substr(0, kPackage.size()) != kPackage) return 0;
  name.remove_prefix(kPackage.size());
  if (name.size() > kAssembly.size() && name.substr(name.size() - kAssembly.size()) == kAssembly) {
    name.remove_suffix(kAssembly.size());
  }
  for (const NamedEvidence& known : kRuntimeFunctions) {
    if (known.name == name) return known.evidence;
  }
  return 0;
}

Evidence KernelEvidence(std::string_view name) {
  if (name == "do_freezer_trap" || name == "__refrigerator") return kKernelNamed | kFreezer;
  if (name.find("nanosleep") != std::string_view::npos) return kKernelNamed | kKernelSleep;
  if (name == "do_sys_poll" || name == "do_restart_poll") return kKernelNamed | kKernelPoll;
  if (name.substr(0, 10) == "futex_wait") return kKernelNamed | kKernelFutex;
  const bool fault = name.find("fault") != std::string_view::npos || name == "do_mem_abort";
  return fault ? kKernelNamed | kFaultHandler : kKernelNamed;
}

std::string NameReason(const RawReason& raw, Evidence evidence, bool names_known) {
  if (std::string_view word = StateWord(raw.task_state, evidence); !word.empty()) {
    return std::string(word);
  }
  std::optional<std::string_view> name;
  if (names_known && raw.syscall >= 0) name = SyscallName(raw.syscall);
  // A sleep, poll or futex wait that a stop or a tracer interrupted goes on under another number;
  // the kernel's own functions still say which it is.
  if (name == "restart_syscall") {
    if (evidence & kKernelSleep) name = "nanosleep";
    if (evidence & kKernelPoll) name = "poll";
    if (evidence & kKernelFutex) name = "futex";
  }
  const SyscallFamily family = name ? FamilyOf(*name) : SyscallFamily::kOther;
  if (std::string_view word = GoSchedulerWord(family, evidence); !word.empty()) {
    return std::string(word);
  }
  if (IsUserPageFault(raw, evidence)) return "page fault";
  if (raw.in_iowait) return "disk";
  if (raw.syscall < 0 || raw.kernel_thread) return "kernel";
  return SyscallReason(raw.syscall, name, raw.file);
}

std::optional<std::string_view> SyscallName(int32_t number) {
  const std::span<const SyscallEntry> table = SyscallTable();
  const auto found = std::lower_bound(
      table.begin(), table.end(), number,
      [](const SyscallEntry& entry, int32_t wanted) { return entry.number < wanted; });
  if (found == table.end() || found->number != number) return std::nullopt;
  return found->name;
}

std::string_view SyscallMachine() {
#if defined(__x86_64__)
  return "x86_64";
#elif defined(__aarch64__)
  return "aarch64";
#else
#error "Which machine's system calls are these?"
#endif
}

// Numbers of include/uapi/asm-generic/errno.h: of the recording's machine, which is Linux.
std::string ErrorWord(int32_t error) {
  switch (error) {
    case 0:
      return "abandoned";
    case 99:  // EADDRNOTAVAIL: no local address, or no port left
      return "no address";
    case 1:    // EPERM
    case 13:   // EACCES
    case 92:   // ENOPROTOOPT
    case 100:  // ENETDOWN
    case 101:  // ENETUNREACH
    case 112:  // EHOSTDOWN
    case 113:  // EHOSTUNREACH
      return "unreachable";
    case 32:   // EPIPE: reset after the other side had closed
    case 103:  // ECONNABORTED
    case 104:  // ECONNRESET
      return "reset";
    case 110:
      return "timed out";
    case 111:
      return "refused";
    default:
      return fmt::format("error {}", error);
  }
}

std::string ConnectFailure(int32_t error) { return fmt::format("connect {}", ErrorWord(error)); }

std::string AcceptFailure(int32_t error) {
  return fmt::format("accept queue {}", ErrorWord(error));
}

std::string Unfinished(std::string_view words) { return fmt::format("{}{}", words, kUnfinished); }

bool IsUnfinished(std::string_view words) { return words.ends_with(kUnfinished); }

std::string WithPeer(std::string_view words, std::string_view peer) {
  const size_t space = words.find(' ');
  const std::string_view first = words.substr(0, space);
  if (space == std::string_view::npos || (first != "connect" && first != "retransmit"))
    return fmt::format("{} {}", words, peer);
  return fmt::format("{} {}{}", first, peer, words.substr(space));
}

bool IsGoSchedulerReason(std::string_view reason) {
  return reason == "idle M" || reason == "netpoll" || reason == "sysmon" ||
         reason == "runtime lock";
}

}  // namespace stallscope
