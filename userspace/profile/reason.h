// SPDX-License-Identifier: Apache-2.0
//
// The name of a thread's wait, from the raw facts of the kernel and the names on its stack. The
// table is closed (docs/capture.md keeps the raw facts, `stallscope list` the words); the first row
// that matches wins.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "userspace/profile/recording.h"

namespace stallscope {

// What the name of one frame says about the wait, as bits; a stack's evidence is the union of its
// frames'.
using Evidence = uint32_t;

// `name` as the symbolizer gives it ("runtime.futex.abi0" is runtime.futex). Kernel and user names
// are told apart, so that a user function called handle_mm_fault proves nothing.
Evidence UserEvidence(std::string_view name);
Evidence KernelEvidence(std::string_view name);

// Evidence of the stack's shape rather than of a name.
inline constexpr Evidence kGoProgram = 1u << 0;  // the user part runs in a Go program
inline constexpr Evidence kHasGoroutine =
    1u << 1;  // a goroutine segment, or runtime.goexit as the root
inline constexpr Evidence kKernelNamed = 1u << 2;  // at least one kernel frame has a name

// Without brackets: "futex", "idle M", "syscall 462". `names_known` is false when the recording was
// made on a machine with another system call table than ours; then every system call is "syscall
// N".
std::string NameReason(const RawReason& raw, Evidence evidence, bool names_known = true);

// Name of a system call in the table of the machine this was built for; nullopt when the number is
// newer than it.
std::optional<std::string_view> SyscallName(int32_t number);

// The machine of SyscallName(), as uname(2) writes it: "x86_64", "aarch64".
std::string_view SyscallMachine();

// What a connection came to, from Linux's errno: "refused", "timed out"; 0: "abandoned".
std::string ErrorWord(int32_t error);
// The words of a connection that failed, from Linux's errno: "connect refused", "connect timed
// out". 0: its program closed the socket while it was trying, "connect abandoned".
std::string ConnectFailure(int32_t error);
// Of a connection that ended before anybody accepted it: "accept queue reset".
std::string AcceptFailure(int32_t error);

// The words of an event that was still in flight at the end, or already at the start: "connect
// (unfinished)".
std::string Unfinished(std::string_view words);
bool IsUnfinished(std::string_view words);

// The words of a reason with the peer in them: "IO wait 10.0.0.5:443"; those of an event have it
// after their first word: "connect 10.0.0.5:443 refused".
std::string WithPeer(std::string_view words, std::string_view peer);

// Whether `reason` names a thread of the Go scheduler itself: "idle M", "netpoll", "sysmon",
// "runtime lock".
bool IsGoSchedulerReason(std::string_view reason);

}  // namespace stallscope
