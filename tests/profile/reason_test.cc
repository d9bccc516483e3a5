// SPDX-License-Identifier: Apache-2.0
//
// The closed table of reasons, row by row, in its order.
#include "userspace/profile/reason.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>

#include <string>
#include <vector>

namespace stallscope {
namespace {

RawReason In(int32_t syscall, FileType file = FileType::kUnknown) {
  RawReason raw;
  raw.syscall = syscall;
  raw.task_state = 1;
  raw.file = file;
  return raw;
}

// The stack of a thread in a Go program that carries no goroutine.
Evidence GoThread(const std::vector<std::string>& functions) {
  Evidence evidence = kGoProgram;
  for (const std::string& function : functions) evidence |= UserEvidence(function);
  return evidence;
}

// As Go 1.19 and 1.26 print them, innermost first.
Evidence StopM() {
  return GoThread({"runtime.futex.abi0", "runtime.futexsleep", "runtime.notesleep", "runtime.mPark",
                   "runtime.stopm", "runtime.findRunnable", "runtime.schedule", "runtime.park_m",
                   "runtime.mcall.abi0"});
}

TEST(Reason, StatesComeFirst) {
  RawReason raw = In(SYS_futex);
  raw.task_state = 0x4;
  EXPECT_EQ(NameReason(raw, StopM()), "stopped");
  raw.task_state = 0x100 | 0x8;
  EXPECT_EQ(NameReason(raw, StopM()), "ptrace");
  raw.task_state = 0x8000;
  EXPECT_EQ(NameReason(raw, StopM()), "frozen");
  raw.task_state = 1;
  EXPECT_EQ(NameReason(raw, KernelEvidence("do_freezer_trap")), "frozen");
  EXPECT_EQ(NameReason(raw, KernelEvidence("__refrigerator")), "frozen");
  EXPECT_EQ(NameReason(raw, UserEvidence("do_freezer_trap")), "futex");
}

TEST(Reason, GoThreadsWithoutAGoroutine) {
  EXPECT_EQ(NameReason(In(SYS_futex), StopM()), "idle M");
  EXPECT_EQ(NameReason(In(SYS_futex),
                       GoThread({"runtime.futex", "runtime.futexsleep", "runtime.notesleep",
                                 "runtime.templateThread", "runtime.mstart1", "runtime.mstart"})),
            "idle M");
  EXPECT_EQ(NameReason(In(SYS_futex),
                       GoThread({"runtime.futex", "runtime.futexsleep", "runtime.notesleep",
                                 "runtime.mPark", "runtime.stoplockedm", "runtime.schedule"})),
            "idle M");
  const Evidence netpoll = GoThread({"runtime.epollwait", "runtime.netpoll", "runtime.findrunnable",
                                     "runtime.schedule", "runtime.mcall"});
  EXPECT_EQ(NameReason(In(SYS_epoll_pwait), netpoll), "netpoll");
  EXPECT_EQ(NameReason(In(SYS_nanosleep), GoThread({"runtime.usleep", "runtime.sysmon",
                                                    "runtime.mstart1", "runtime.mstart"})),
            "sysmon");
  EXPECT_EQ(NameReason(In(SYS_futex), GoThread({"runtime.futex", "runtime.futexsleep",
                                                "runtime.notetsleep_internal", "runtime.notetsleep",
                                                "runtime.sysmon"})),
            "sysmon");
  EXPECT_EQ(NameReason(In(SYS_futex),
                       GoThread({"runtime.futex.abi0", "runtime.futexsleep", "runtime.lock2",
                                 "runtime.lockWithRank", "runtime.lock", "runtime.schedule"})),
            "runtime lock");
  EXPECT_EQ(NameReason(In(SYS_futex),
                       GoThread({"runtime.futex", "runtime.futexsleep", "runtime.notesleep",
                                 "runtime.(*rwmutex).rlock.func1", "runtime.systemstack"})),
            "runtime lock");
}

TEST(Reason, AGoThreadWaitsForALockOnItsWayToSleep) {
  EXPECT_EQ(NameReason(In(SYS_futex), GoThread({"runtime.futex", "runtime.futexsleep",
                                                "runtime.lock2", "runtime.stopm"})),
            "runtime lock");
}

TEST(Reason, GoroutinesAreNotSchedulerThreads) {
  EXPECT_EQ(NameReason(In(SYS_futex), StopM() | kHasGoroutine), "futex");
  EXPECT_EQ(NameReason(In(SYS_futex), StopM() | UserEvidence("runtime.goexit.abi0")), "futex");
  EXPECT_EQ(NameReason(In(SYS_futex), StopM() & ~kGoProgram), "futex");
  EXPECT_EQ(NameReason(In(SYS_nanosleep), StopM()), "sleep");
  EXPECT_EQ(NameReason(In(SYS_epoll_pwait), GoThread({"main.netpoll"})), "poll");
  EXPECT_EQ(NameReason(In(SYS_futex), GoThread({"runtime.stopmost", "runtime.notesleep"})),
            "futex");
}

TEST(Reason, PageFaultThenDisk) {
  RawReason raw = In(-1);
  EXPECT_EQ(NameReason(raw, 0), "page fault");
  raw.in_iowait = true;
  EXPECT_EQ(NameReason(raw, 0), "page fault");
  EXPECT_EQ(NameReason(raw, KernelEvidence("io_schedule") | KernelEvidence("asm_exc_page_fault")),
            "page fault");
  EXPECT_EQ(NameReason(raw, KernelEvidence("io_schedule") | KernelEvidence("task_work_run")),
            "disk");
  raw.in_iowait = false;
  EXPECT_EQ(NameReason(raw, KernelEvidence("task_work_run")), "kernel");
  raw = In(SYS_read, FileType::kRegular);
  raw.in_iowait = true;
  EXPECT_EQ(NameReason(raw, 0), "disk");
}

TEST(Reason, KernelThreads) {
  RawReason raw = In(-1);
  raw.kernel_thread = true;
  EXPECT_EQ(NameReason(raw, 0), "kernel");
  EXPECT_EQ(NameReason(raw, KernelEvidence("handle_mm_fault")), "kernel");
  raw.in_iowait = true;
  EXPECT_EQ(NameReason(raw, 0), "disk");
}

TEST(Reason, SystemCallFamilies) {
  const std::pair<int32_t, const char*> rows[] = {
      {SYS_futex, "futex"},
      {449, "futex"},
      {455, "futex"},
      {SYS_nanosleep, "sleep"},
      {SYS_clock_nanosleep, "sleep"},
      {SYS_epoll_pwait, "poll"},
      {SYS_epoll_pwait2, "poll"},
      {SYS_ppoll, "poll"},
      {SYS_pselect6, "poll"},
      {SYS_wait4, "child"},
      {SYS_waitid, "child"},
      {SYS_rt_sigtimedwait, "signal"},
      {SYS_rt_sigsuspend, "signal"},
      {SYS_connect, "connect"},
      {SYS_accept, "accept"},
      {SYS_accept4, "accept"},
      {SYS_recvfrom, "socket"},
      {SYS_sendmmsg, "socket"},
      {SYS_flock, "file lock"},
      {SYS_fcntl, "file lock"},
      {SYS_io_uring_enter, "io_uring"},
      {SYS_fsync, "syscall fsync"},
      {SYS_semtimedop, "syscall semtimedop"},
      {SYS_read, "syscall read"},
      {999, "syscall 999"},
#ifdef SYS_poll  // x86-64 has the old forms, too
      {SYS_epoll_wait, "poll"},
      {SYS_poll, "poll"},
      {SYS_select, "poll"},
      {SYS_pause, "signal"},
#endif
  };
  for (const auto& [number, reason] : rows) EXPECT_EQ(NameReason(In(number), 0), reason) << number;
}

TEST(Reason, DescriptorsByTheirType) {
  for (int32_t call : {SYS_read, SYS_write, SYS_pread64, SYS_pwrite64, SYS_readv, SYS_writev,
                       SYS_preadv2, SYS_pwritev2, SYS_sendfile, SYS_splice}) {
    EXPECT_EQ(NameReason(In(call, FileType::kPipe), 0), "pipe");
    EXPECT_EQ(NameReason(In(call, FileType::kSocket), 0), "socket");
    EXPECT_EQ(NameReason(In(call, FileType::kTty), 0), "tty");
    EXPECT_EQ(NameReason(In(call, FileType::kRegular), 0), "file");
    EXPECT_EQ(NameReason(In(call, FileType::kOther), 0), "file");
  }
  EXPECT_EQ(NameReason(In(SYS_recvmsg, FileType::kUnknown), 0), "socket");
}

TEST(Reason, NumbersOfAnotherMachineStayNumbers) {
  EXPECT_EQ(NameReason(In(SYS_futex), StopM(), /*names_known=*/false),
            "syscall " + std::to_string(SYS_futex));
}

TEST(Reason, ConnectionsThatFail) {
  EXPECT_EQ(ConnectFailure(0), "connect abandoned");
  EXPECT_EQ(ConnectFailure(ECONNREFUSED), "connect refused");
  EXPECT_EQ(ConnectFailure(ETIMEDOUT), "connect timed out");
  EXPECT_EQ(ConnectFailure(ECONNRESET), "connect reset");
  EXPECT_EQ(ConnectFailure(EADDRNOTAVAIL), "connect no address");
  for (const int error : {ENETUNREACH, EHOSTUNREACH, ENETDOWN, EACCES, EPERM}) {
    EXPECT_EQ(ConnectFailure(error), "connect unreachable");
  }
  EXPECT_EQ(ConnectFailure(EPROTO), "connect error " + std::to_string(EPROTO));
  EXPECT_EQ(AcceptFailure(ECONNRESET), "accept queue reset");
  EXPECT_EQ(AcceptFailure(0), "accept queue abandoned");
}

TEST(Reason, PeersComeAfterTheFirstWordOfAnEvent) {
  EXPECT_EQ(WithPeer("connect", "10.0.0.5:443"), "connect 10.0.0.5:443");
  EXPECT_EQ(WithPeer("connect timed out", "10.0.0.5:443"), "connect 10.0.0.5:443 timed out");
  EXPECT_EQ(WithPeer(Unfinished("connect"), "[::1]:443"), "connect [::1]:443 (unfinished)");
  EXPECT_EQ(WithPeer("retransmit SYN", "10.0.0.5:443"), "retransmit 10.0.0.5:443 SYN");
  EXPECT_EQ(WithPeer("accept queue", "10.0.0.5"), "accept queue 10.0.0.5");
  EXPECT_EQ(WithPeer("IO wait", "10.0.0.5:443"), "IO wait 10.0.0.5:443");
}

TEST(Reason, Unfinished) {
  EXPECT_EQ(Unfinished("accept queue"), "accept queue (unfinished)");
  EXPECT_TRUE(IsUnfinished(Unfinished("connect")));
  EXPECT_FALSE(IsUnfinished("connect refused"));
}

TEST(Reason, TheTableIsThisMachines) {
  EXPECT_EQ(SyscallName(SYS_read), "read");
  EXPECT_EQ(SyscallName(SYS_exit_group), "exit_group");
  EXPECT_EQ(SyscallName(SYS_io_uring_enter), "io_uring_enter");
  EXPECT_EQ(SyscallName(-1), std::nullopt);
  EXPECT_EQ(SyscallName(100000), std::nullopt);
}

}  // namespace
}  // namespace stallscope
