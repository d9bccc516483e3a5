// SPDX-License-Identifier: Apache-2.0
//
// A Profile is finished: names, reasons, columns. Formats read it and nothing else.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "userspace/profile/recording.h"

namespace stallscope {

enum class ProfileFrameKind : uint8_t { kNative, kGo, kRuntime, kKernel, kMarker };

inline constexpr uint32_t kNoMapping = 0xffffffff;

// A frame as it is shown. Equal frames are stored once, in Profile::frames.
struct ProfileFrame {
  std::string name;  // not yet escaped for any format: may hold any bytes. Markers come with their
                     // brackets.
  std::string file;  // empty when unknown
  uint32_t line = 0;
  ProfileFrameKind kind = ProfileFrameKind::kNative;
  bool inlined = false;  // into the frame outside it
  bool guessed = false;
  bool unnamed = false;  // the name is "[module+0xoffset]" or "[unknown]"
  bool system = false;   // code of the C library, its loader or the vDSO: never the site of a wait
  // Where its code is: only with ProfileOptions::by_address, where frames of two addresses are two
  // frames, and only of user code. The address lies in the mapping, of a caller inside its call.
  uint64_t address = 0;
  uint32_t mapping = kNoMapping;  // index into Profile::mappings
  auto operator<=>(const ProfileFrame&) const = default;
};

// A part of a file that holds code, at the address where a process had it mapped. Where several
// processes had it, at the lowest, and all addresses in it are given as if it had been there.
struct ProfileMapping {
  uint64_t start = 0;        // first address
  uint64_t end = 0;          // one past the last
  uint64_t file_offset = 0;  // of `start`
  std::string path;          // may hold any bytes; "[vdso]" and "" (anonymous) occur
  std::string build_id;      // lower-case hex; empty when the file has none
};

struct ProfileSample {
  std::string comm;  // first frame of a folded line
  std::vector<uint32_t>
      frames;          // indices into Profile::frames, root first; user frames, then kernel frames
  std::string reason;  // without brackets: "futex", "IO wait", with --peers "IO wait 10.0.0.5:443"
  std::string peer;    // with --peers: what of `reason` is the peer
  // "pid", "tid", "thread", and a goroutine's own, whose keys never are one of these.
  std::map<std::string, std::string> labels;
  std::vector<std::optional<int64_t>> values;  // parallel to the columns
  // Where the waiter's own stack begins in `frames`. Before it: its thread (--threads), "[never
  // ran]", and with --created-by what created it, up to "[created by]".
  uint32_t own_from = 0;
  // With --created-by: the frame of the go statement.
  std::optional<uint32_t> creator;
  bool never_ran = false;  // a goroutine that waited in one wait for all of the recording
  std::string idle;        // with --idle: the rule by which a goroutine is idle by design
};

struct EventProfile {
  std::string name;
  std::vector<Column> columns;
  std::vector<ProfileSample>
      samples;  // sorted by (comm, frame names, reason, labels): two conversions are the same bytes
  std::string mechanism;
};

// The ledger's own totals of one process (one life of one program in it), to hold the samples
// against.
struct ProfileTotals {
  uint32_t pid = 0;  // 0 when the recording does not say
  std::string comm;  // of the process
  uint64_t running_ns = 0;
  uint64_t runnable_ns = 0;
  uint64_t blocked_ns = 0;
  uint64_t unknown_ns = 0;
  uint64_t switches = 0;
  bool operator==(const ProfileTotals&) const = default;
};

// A thread that was blocked for the whole recording, or from its begin until its process ended.
struct ProfileHungThread {
  std::string comm;  // of the process
  uint32_t pid = 0;
  uint32_t tid = 0;              // 0: of a process that has ended
  std::string name;              // of the thread; empty likewise
  std::string reason;            // without brackets
  std::vector<uint32_t> frames;  // as in ProfileSample, never filtered
  bool go_scheduler = false;     // a thread of the Go scheduler: idle by design
};

// How the sums of one process's goroutines were come by.
struct ProfileCensus {
  uint32_t pid = 0;  // 0 when the recording does not say
  std::string comm;  // of the process
  Census census;
};

// What the Go runtime of one process counted by itself.
struct ProfileHistogram {
  uint32_t pid = 0;
  std::string comm;
  RuntimeHistogram histogram;
};

// How good the recording's distinct stacks are. Frames are counted once a stack, however often that
// stack was seen; what -I, -X, --kernel, --user and --idle hide is counted too.
struct StackCounts {
  uint64_t stacks = 0;                       // distinct
  uint64_t with_user = 0;                    // those with a user part
  std::map<StackEnd, uint64_t> ended_early;  // by why; kComplete and kNone do not occur
  uint64_t user_frames = 0;
  uint64_t user_unnamed = 0;
  uint64_t user_guessed = 0;
  uint64_t go_frames = 0;  // user frames in Go programs
  uint64_t go_unnamed = 0;
  uint64_t kernel_frames = 0;
  uint64_t kernel_unnamed = 0;
  uint64_t native_stacks = 0;   // with a user part, not of Go programs
  uint64_t native_shallow = 0;  // those of at most two user frames: built without frame pointers?
};

struct Profile {
  std::string tool_version;
  std::string target;
  int64_t start_unix_ns = 0;
  uint64_t duration_ns = 0;
  bool reason_root =
      false;  // --reason-root: formats put the reason after comm instead of at the leaf
  std::vector<ProfileFrame> frames;
  // Of user code, used or not, the main binary first where it is known; empty without
  // ProfileOptions::by_address.
  std::vector<ProfileMapping> mappings;
  std::vector<EventProfile> events;
  std::vector<Loss> losses;
  std::vector<Hidden> hidden;
  std::vector<ProfileTotals> totals;  // in the order of the recording
  std::vector<std::string> notes;
  Cost cost;
  std::vector<ProfileHungThread> hung;  // sorted by (comm, pid, tid)
  StackCounts stack_counts;
  std::vector<ProfileCensus> censuses;  // in the order of the recording, as the next
  std::vector<ProfileHistogram> histograms;
};

}  // namespace stallscope
