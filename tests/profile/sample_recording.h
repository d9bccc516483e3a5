// SPDX-License-Identifier: Apache-2.0
//
// Small recordings for tests: a Go server and a C program, with every kind of segment.
#pragma once

#include <sys/syscall.h>

#include <string>
#include <utility>
#include <vector>

#include "userspace/profile/recording.h"

namespace stallscope {

inline RawReason InSyscall(int32_t number) {
  RawReason reason;
  reason.syscall = number;
  reason.task_state = 1;
  return reason;
}

// A name for `address`, which a stack may then hold.
inline StackAddress AddName(Recording& recording, SpaceIndex space, uint64_t address,
                            std::string function,
                            symbolizer::FrameKind kind = symbolizer::FrameKind::kNative,
                            bool is_return = true) {
  symbolizer::Frame frame;
  frame.function = std::move(function);
  frame.kind = kind;
  recording.names[{space, address, is_return}] = {frame};
  return {address, is_return, false};
}

inline Segment MakeSegment(SegmentKind kind, SpaceIndex space,
                           std::vector<StackAddress> addresses) {
  Segment segment;
  segment.kind = kind;
  segment.space = space;
  segment.addresses = std::move(addresses);
  return segment;
}

inline Segment MakeMarker(std::string text) {
  Segment segment;
  segment.kind = SegmentKind::kMarker;
  segment.marker = std::move(text);
  return segment;
}

inline uint32_t AddStack(Recording& recording, std::vector<Segment> segments,
                         StackEnd end = StackEnd::kComplete) {
  Stack stack;
  stack.segments = std::move(segments);
  stack.end = end;
  recording.stacks.push_back(std::move(stack));
  return static_cast<uint32_t>(recording.stacks.size() - 1);
}

inline Sample MakeSample(SpaceIndex space, uint32_t stack, RawReason reason,
                         std::vector<std::optional<int64_t>> values) {
  Sample sample;
  sample.space = space;
  sample.stack = stack;
  sample.reason = reason;
  sample.values = std::move(values);
  return sample;
}

// Space 0 is the Go program "server" (pid 100), space 1 the C program "worker" (pid 200); one event
// "offcpu" with columns time, runq, count and no samples.
inline Recording EmptyRecording() {
  Recording recording;
  recording.tool_version = "0.1.0";
  recording.target = "-p 100 (server)";
  recording.duration_ns = 10'000'000'000;
  AddressSpace go;
  go.tgid = 100;
  go.comm = "server";
  go.exe = "/usr/bin/server";
  go.go_version = "go1.22.3";
  go.mappings = {{0x400000, 0x800000, 0, "/usr/bin/server", "abcd"}};
  AddressSpace c;
  c.tgid = 200;
  c.comm = "worker";
  c.exe = "/usr/bin/worker";
  c.mappings = {{0x1000, 0x2000, 0x1000, "/usr/bin/worker", "ef01"},
                {0x7f0000001000, 0x7f0000100000, 0x28000, "/usr/lib/libc.so.6", "beef"},
                {0x7f0000200000, 0x7f0000300000, 0, "/opt/libfoo.so.1 (deleted)", ""},
                {0x7f0000400000, 0x7f0000500000, 0, "", ""},
                {0x7fff00000000, 0x7fff00001000, 0, "[vdso]", ""}};
  recording.spaces = {go, c};
  RecordedEvent event;
  event.name = "offcpu";
  event.columns = {{"time", "ns"}, {"runq", "ns"}, {"count", "count"}};
  event.mechanism = "tp_btf sched_switch";
  recording.events = {event};
  return recording;
}

}  // namespace stallscope
