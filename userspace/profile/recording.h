// SPDX-License-Identifier: Apache-2.0
//
// A Recording is what one run of `stallscope record` measured, before names are chosen: raw stacks,
// raw reasons, sums, the address spaces they belong to, and the names of every address that occurs.
// It is a plain value: the collectors fill it, capture.h writes and reads it as a .raw file, and
// make_profile.h turns it into a Profile. Nothing in it needs the kernel, root, or a live process.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "symbolizer/frame.h"

namespace stallscope {

// Index into Recording::spaces. The kernel is a space of its own.
using SpaceIndex = uint32_t;
inline constexpr SpaceIndex kKernelSpace = 0xffffffff;

// One file mapping of an address space, executable ones only.
struct Mapping {
  uint64_t start = 0;        // first address
  uint64_t end = 0;          // one past the last
  uint64_t file_offset = 0;  // of `start`
  std::string path;          // as the target sees it; "[vdso]" and "" (anonymous) occur
  std::string build_id;      // lower-case hex; empty when the file has none
  bool operator==(const Mapping&) const = default;
};

// One life of one program in one process: (tgid, start time, exec count).
struct AddressSpace {
  uint32_t tgid = 0;           // as the user sees it (translated to our own pid namespace)
  uint64_t start_boot_ns = 0;  // process start, CLOCK_BOOTTIME
  uint32_t exec_id = 0;        // counts execs
  std::string comm;            // of the process (thread group leader)
  std::string exe;             // path of the executable as the target sees it
  std::string go_version;      // "go1.22.3"; empty when not a Go program
  std::vector<Mapping> mappings;
  bool operator==(const AddressSpace&) const = default;
};

// kCreator: the go statement that started the goroutine, and where its creator still stands in the
// function with it, or in one that called that, the creator's stack from there on outwards. Always
// the last segment; shown with --created-by alone.
enum class SegmentKind : uint8_t {
  kKernel = 0,
  kUser = 1,
  kGoroutine = 2,
  kMarker = 3,
  kCreator = 4,
};

struct StackAddress {
  uint64_t value = 0;
  bool is_return =
      false;  // a return address: the call is before it, so names are looked up at value - 1
  bool guessed = false;  // reached by a rule that cannot be proven (a frame pointer below code that
                         // keeps none)
  auto operator<=>(const StackAddress&) const = default;
};

// A run of addresses of one kind, innermost first.
struct Segment {
  SegmentKind kind = SegmentKind::kUser;
  SpaceIndex space = 0;  // kKernelSpace for kKernel; not used by kMarker
  std::vector<StackAddress> addresses;
  std::string marker;  // kMarker only, printed in brackets: "caller unknown", "stack lost"
  auto operator<=>(const Segment&) const = default;
};

// Why a user walk ended. kComplete: at the outermost frame. The rest end early and are counted in
// the summary.
enum class StackEnd : uint8_t {
  kComplete = 0,    // frame pointer 0, goexit, or another proven root
  kNone = 1,        // no user part at all (kernel thread, --kernel)
  kFull = 2,        // more frames than the walker keeps (127)
  kUnreadable = 3,  // the target's memory could not be read (paged out, or not a stack)
  kLeftStack = 4,   // the next frame pointer does not lie above this one on the same stack
  kNotACall = 5,    // the word taken for a return address does not follow a call instruction
  kLost = 6,        // the stack map was full
  kMoved = 7,       // the thread ran while its stack was being read from outside
};

// Segments innermost first: kernel, then user (C), then goroutine, then its creator.
struct Stack {
  std::vector<Segment> segments;
  StackEnd end = StackEnd::kComplete;
  auto operator<=>(const Stack&) const = default;
};

// What a file descriptor of a blocked read, write, send or receive was.
enum class FileType : uint8_t { kUnknown = 0, kPipe, kSocket, kTty, kRegular, kOther };

// Added to the number of a system call of the 32-bit table (i386).
inline constexpr int32_t kCompatSyscall = 1 << 28;

// What the kernel said about a wait; user space names the reason (reason.h).
struct RawReason {
  int32_t syscall =
      -1;  // number in the table of the machine (x86-64, arm64), -1 outside a system call
  uint32_t task_state = 0;  // TASK_* bits of the switch-out, TASK_FREEZABLE masked
  bool in_iowait = false;
  bool kernel_thread = false;
  FileType file = FileType::kUnknown;
  // A goroutine's: the runtime's own words ("chan receive"), or "runnable", "syscall". Nothing of
  // the above applies then. Empty: a thread's.
  std::string words;
  // What it waits for, where that is known: "10.0.0.5:443", "mutex 0xc000123450".
  std::string peer;
  auto operator<=>(const RawReason&) const = default;
};

// A sum of equal waits. `values` run parallel to the columns of the event it belongs to.
struct Sample {
  SpaceIndex space = 0;
  uint32_t tid = 0;         // 0 unless recorded with --threads
  std::string thread_name;  // empty unless recorded with --threads
  uint32_t stack = 0;       // index into Recording::stacks
  RawReason reason;
  std::vector<std::optional<int64_t>> values;
  bool never_ran = false;  // a goroutine that waited in one wait for all of the recording
  std::map<std::string, std::string> labels;  // pprof labels of a goroutine
  bool operator==(const Sample&) const = default;
};

// A sum that was estimated, with the range that holds the truth 95 times in 100.
struct Estimate {
  std::string words;  // as in RawReason
  uint64_t time_ns = 0;
  uint64_t margin_ns = 0;  // +-
  bool operator==(const Estimate&) const = default;
};

// How a census of goroutines came to its sums.
struct Census {
  SpaceIndex space = 0;
  uint64_t ticks = 0;         // snapshots
  uint64_t tick_cpu_ns = 0;   // our CPU in them
  uint64_t setup_cpu_ns = 0;  // our CPU before the first: finding the runtime, checking its layout
  uint64_t budget_ppm = 0;    // of one core, what the ticks may take; parts in a million
  uint64_t period_ns = 0;     // between two snapshots, on average
  uint64_t share_ppm = 0;     // of the goroutines looked at in a snapshot, on average
  uint64_t fewest = 0, most = 0;  // goroutines that were alive in a snapshot
  uint64_t looks = 0;             // goroutines looked at, over all snapshots
  uint64_t stacks_read = 0;       // of them: those whose stack had to be read
  uint64_t torn = 0;              // readings that the goroutine moved under, and were made again
  uint64_t unread = 0;            // goroutines whose stack could not be read in one piece
  std::vector<Estimate> reasons;
  bool operator==(const Census&) const = default;
};

// What the Go runtime counted by itself in the time of the recording: waits for a CPU, for a
// runtime lock, stops of the world.
struct RuntimeHistogram {
  SpaceIndex space = 0;
  std::string name;                             // "scheduler latency", "stop the world (GC)"
  uint64_t count = 0;                           // 0 where the runtime keeps a sum alone
  uint64_t total_ns = 0;                        // 0 where it keeps buckets alone
  uint64_t p50_ns = 0, p99_ns = 0, max_ns = 0;  // upper ends of the buckets they fall in
  bool operator==(const RuntimeHistogram&) const = default;
};

struct Column {
  std::string name;  // "time", "runq", "count"
  std::string unit;  // "ns", "count", "bytes", "segments"
  bool operator==(const Column&) const = default;
};

struct RecordedEvent {
  std::string name;  // "offcpu"
  std::vector<Column> columns;
  std::vector<Sample> samples;
  std::string mechanism;  // "tp_btf sched_switch, sched_waking"
  bool operator==(const RecordedEvent&) const = default;
};

// One kind of loss: named, counted, with the knob that mends it. Only losses with count > 0 are
// kept.
struct Loss {
  std::string event;                // "offcpu"
  std::string name;                 // "stack map full", "start unknown", "process gone"
  uint64_t count = 0;               // waits (or samples) touched
  std::optional<uint64_t> time_ns;  // their time, where it is known
  std::string remedy;               // "--stacks 65536"; may be empty
  bool dropped =
      false;  // true: the time is missing from the samples; false: only a name or a stack is
  bool operator==(const Loss&) const = default;
};

// A thread that was blocked for the whole recording, or from its begin until its process ended.
struct HungThread {
  SpaceIndex space = 0;
  uint32_t tid = 0;  // 0: one whose process has ended; then without a name too
  std::string name;
  uint32_t stack = 0;
  RawReason reason;
  bool operator==(const HungThread&) const = default;
};

// The ledger's own totals of one process, to hold the samples against.
struct ProcessTotals {
  SpaceIndex space = 0;
  uint64_t running_ns = 0;
  uint64_t runnable_ns = 0;
  uint64_t blocked_ns = 0;
  uint64_t unknown_ns = 0;  // between two switches of which one was never seen: none of the three
  uint64_t switches = 0;
  bool operator==(const ProcessTotals&) const = default;
};

struct Cost {
  uint64_t own_cpu_ns = 0;  // CPU of this process, recording and writing
  std::optional<uint64_t>
      kernel_ns;  // CPU inside our kernel programs, when BPF statistics could be had
  uint64_t kernel_runs = 0;
  uint64_t map_bytes = 0;  // memory of the kernel maps and rings
  uint64_t rss_bytes = 0;  // our peak resident set
  bool operator==(const Cost&) const = default;
};

// Time that was measured but is not shown, and why: "idle by design", "--max".
struct Hidden {
  std::string event;
  std::string why;
  uint64_t count = 0;
  uint64_t time_ns = 0;
  std::string rule;  // of idle.rules, where that is why; not in captures, which hide nothing
  bool operator==(const Hidden&) const = default;
};

// Key of the name table.
struct NamedAddress {
  SpaceIndex space = 0;
  uint64_t address = 0;
  bool is_return = false;
  auto operator<=>(const NamedAddress&) const = default;
};

struct Recording {
  std::string tool_version;
  std::string target;  // "-p 4242 (etcd)", as the summary prints it
  std::string
      machine;  // of uname(2): which table system call numbers are of. Empty: this machine's
  uint64_t start_mono_ns = 0;  // CLOCK_MONOTONIC
  int64_t start_unix_ns = 0;   // CLOCK_REALTIME
  uint64_t duration_ns = 0;
  bool per_thread = false;
  std::vector<AddressSpace> spaces;
  std::vector<Stack> stacks;  // distinct
  std::vector<RecordedEvent> events;
  std::vector<Loss> losses;
  std::vector<Hidden> filtered;  // what --min and --max left out while recording
  std::vector<HungThread> hung;
  std::vector<ProcessTotals> totals;
  std::vector<Census> censuses;
  std::vector<RuntimeHistogram> histograms;
  std::vector<std::string> notes;  // lines the summary repeats: an exec, an exit, a repaired count
  Cost cost;
  // Names of every address that occurs in `stacks`, innermost (inlined) first. An address without a
  // name is absent.
  std::map<NamedAddress, std::vector<symbolizer::Frame>> names;
  bool operator==(const Recording&) const = default;
};

}  // namespace stallscope
