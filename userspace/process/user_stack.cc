// SPDX-License-Identifier: Apache-2.0
#include "userspace/process/user_stack.h"

#include <algorithm>
#include <string_view>

#include "symbolizer/go_binary.h"

namespace stallscope {
namespace {

using symbolizer::FrameRule;

constexpr uint64_t kStackReach = 64ull << 20;  // as bpf/walk.h
constexpr int64_t kMaxFrame = 32768;           // a frame step's fields have 16 bits

std::string FunctionAt(uint64_t address, bool is_return, const LiveSpace& space) {
  auto frames = space.Lookup(address, is_return);
  if (frames.empty()) return "";
  std::string name = std::move(frames.back().function);
  constexpr std::string_view kAbi0 = ".abi0";
  if (name.ends_with(kAbi0)) name.resize(name.size() - kAbi0.size());
  return name;
}

// Functions of the Go runtime at which a system (g0) stack begins: what the frame pointer says
// below them belongs to whatever ran before.
bool IsGoStackRoot(std::string_view function) {
  static constexpr std::string_view kRoots[] = {
      "runtime.mcall",       "runtime.mstart",
      "runtime.systemstack", "runtime.morestack",
      "runtime.asmcgocall",  "runtime.rt0_go",
      "runtime.sigtramp",    "runtime.sigreturn__sigaction"};
  return std::find(std::begin(kRoots), std::end(kRoots), function) != std::end(kRoots);
}

// goexit is what Go pushes below a goroutine's first function: no frame of the program.
bool IsGoexit(const StackAddress& address, const LiveSpace& space) {
  return space.FactsAt(address.value, address.is_return).is_go &&
         FunctionAt(address.value, address.is_return, space) == "runtime.goexit";
}

// The runtime's signal handler made it look as if the interrupted instruction had called this
// function.
bool WasInjected(const StackAddress& address, const LiveSpace& space) {
  if (!space.FactsAt(address.value, address.is_return).is_go) return false;
  const std::string function = FunctionAt(address.value, address.is_return, space);
  return function == "runtime.asyncPreempt" || function == "runtime.sigpanic";
}

struct LeafVerdict {
  bool keep_word = false;  // addresses[1] is the caller
  bool caller_unknown =
      false;  // there is a caller between the leaf and the chain, and nothing tells which
  bool chain_guessed = false;  // the frame pointer may be anything
};

LeafVerdict JudgeLeaf(const WalkedStack& walked, const LiveSpace& space) {
  const uint64_t ip = walked.addresses[0];
  LeafVerdict verdict;
  const auto rule = space.RuleAt(ip, /*is_return=*/false);
  if (!rule) {
    // No table covers the leaf. A word that follows a call may still be stale, so it is not taken.
    verdict.chain_guessed = !space.IsGo(ip);
    return verdict;
  }
  if (rule->outermost || rule->cfa_register == FrameRule::kRbp || rule->cfa_deref) return verdict;
  if (rule->cfa_offset == 8) {
    verdict.keep_word = walked.leaf_word;
    verdict.caller_unknown = !verdict.keep_word;
    return verdict;
  }
  if (space.IsGo(ip)) return verdict;  // a Go function with a frame has saved the frame pointer
  verdict.caller_unknown = true;
  verdict.chain_guessed = rule->rbp_offset.has_value();
  return verdict;
}

// Were the steps that the walker used this process's own? It shares them between processes, by
// address.
bool StepsHold(const WalkedStack& walked, const LiveSpace& space) {
  uint16_t check = 0;
  for (size_t i = 0; i < walked.steps; ++i) {
    const auto step = FrameStepAt(walked.addresses[i], /*is_return=*/i > 0, space);
    if (!step || !space.FactsAt(walked.addresses[i + 1], /*is_return=*/true).follows_call)
      return false;
    check = frame_step_check(check, *step);
  }
  return check == walked.steps_check;
}

// Appends the chain addresses[from, to) to `out` as callers, until one cannot be. `previous` is the
// place that the first of them should be the caller of.
StackEnd AppendChain(const WalkedStack& walked, size_t from, size_t to, StackAddress previous,
                     bool guessed, LiveSpace& space, std::vector<StackAddress>* out) {
  for (size_t i = from; i < to; ++i) {
    const uint64_t address = walked.addresses[i];
    space.Learn(address - 1);
    StackAddress next;
    next.value = address;
    next.is_return = true;
    if (!space.FactsAt(address, /*is_return=*/true).follows_call) {
      // Two places of Go's are returned to without a call: the end of a goroutine, and where a
      // signal cut it short.
      if (IsGoexit(next, space)) return StackEnd::kComplete;
      if (!WasInjected(previous, space)) return StackEnd::kNotACall;
      next.is_return = false;
    }
    next.guessed =
        guessed || !space.FactsAt(previous.value, previous.is_return).keeps_frame_pointer;
    out->push_back(next);
    if (space.IsStart(address)) return StackEnd::kComplete;
    previous = next;
    guessed = false;
  }
  return walked.end;
}

void AddSegment(SegmentKind kind, SpaceIndex index, std::vector<StackAddress> addresses,
                Stack* stack) {
  if (addresses.empty()) return;
  Segment segment;
  segment.kind = kind;
  segment.space = index;
  segment.addresses = std::move(addresses);
  stack->segments.push_back(std::move(segment));
}

void AddMarker(std::string_view marker, Stack* stack) {
  Segment segment;
  segment.kind = SegmentKind::kMarker;
  segment.marker = std::string(marker);
  stack->segments.push_back(std::move(segment));
}

// The same walk as bpf/walk.h, over `memory`.
WalkedStack WalkFromOutside(const Registers& registers, const GoLayout* go,
                            const LiveSpace& space) {
  const Memory& memory = space.memory();
  WalkedStack walked;
  uint64_t low = registers.sp, limit = registers.sp + kStackReach, bp = registers.bp, goroutine = 0;
  std::optional<size_t> goroutine_at;
  walked.addresses.push_back(registers.ip);
  if (go) {
    const auto g = memory.ReadValue<uint64_t>(registers.fsbase + go->g_tls);
    const auto m = g ? memory.ReadValue<uint64_t>(*g + go->g_m) : std::nullopt;
    const auto stack_low = g ? memory.ReadValue<uint64_t>(*g) : std::nullopt;
    const auto stack_high = g ? memory.ReadValue<uint64_t>(*g + 8) : std::nullopt;
    const auto curg = m && *m ? memory.ReadValue<uint64_t>(*m + go->m_curg) : std::nullopt;
    if (curg && stack_low && stack_high) {
      if (registers.sp >= *stack_low && registers.sp < *stack_high) limit = *stack_high;
      const auto gsignal = memory.ReadValue<uint64_t>(*m + go->m_gsignal);
      if (!*curg) {
        walked.no_goroutine = true;
      } else if (*curg == *g) {
        goroutine_at = 0;
      } else if (gsignal && *gsignal != *g) {
        goroutine = *curg;
      }
    }
  }
  while (walked.steps < STACK_MAX_STEPS) {
    const auto step = FrameStepAt(walked.addresses.back(), walked.steps > 0, space);
    const auto caller =
        step ? memory.ReadValue<uint64_t>(low + step->return_address) : std::nullopt;
    if (!caller) break;
    if (step->saved_bp != FRAME_BP_KEPT) {
      const auto saved = memory.ReadValue<uint64_t>(low + step->saved_bp);
      if (!saved) break;
      bp = *saved;
    }
    walked.steps_check = frame_step_check(walked.steps_check, *step);
    walked.addresses.push_back(*caller);
    ++walked.steps;
    low += step->return_address + sizeof(*caller);
  }
  const auto word = memory.ReadValue<uint64_t>(registers.sp);
  if (walked.steps == 0 && word && space.FollowsCall(*word)) {
    walked.addresses.push_back(*word);
    walked.leaf_word = true;
  }
  walked.end = StackEnd::kFull;
  while (walked.addresses.size() < STACK_MAX_ADDRESSES) {
    uint64_t address = 0;
    if (bp < low || bp + 16 > limit || (bp & 7)) {
      walked.end = bp ? StackEnd::kLeftStack : StackEnd::kComplete;
      if (!goroutine) break;
      const auto sp = memory.ReadValue<uint64_t>(goroutine + go->g_sched_sp);
      const auto pc = memory.ReadValue<uint64_t>(goroutine + go->g_sched_sp + 8);
      const auto saved_bp = memory.ReadValue<uint64_t>(goroutine + go->g_sched_bp);
      const auto high = memory.ReadValue<uint64_t>(goroutine + 8);
      goroutine = 0;
      if (sp && pc && saved_bp && high) {
        low = *sp;
        limit = *high;
        bp = *saved_bp;
        address = *pc;
        if (*pc >= go->switch_start && *pc < go->switch_end) {
          // The return address of asmcgocall or systemstack: above the frame pointer where they
          // save it (Go 1.21).
          const bool has_frame = bp == low;
          address = memory.ReadValue<uint64_t>(has_frame ? bp + 8 : low).value_or(0);
          if (has_frame) {
            bp = memory.ReadValue<uint64_t>(bp).value_or(0);
            low += 16;
          }
        }
      }
      if (!address) {
        walked.end = StackEnd::kUnreadable;
        break;
      }
      goroutine_at = walked.addresses.size();
    } else {
      const auto next = memory.ReadValue<uint64_t>(bp);
      const auto caller = memory.ReadValue<uint64_t>(bp + 8);
      if (!next || !caller) {
        walked.end = StackEnd::kUnreadable;
        break;
      }
      low = bp + 16;
      bp = *next;
      address = *caller;
      if (!address) {
        walked.end = StackEnd::kComplete;
        break;
      }
    }
    walked.addresses.push_back(address);
  }
  walked.goroutine_at = goroutine_at.value_or(walked.addresses.size());
  return walked;
}

struct TableUnwind {
  std::vector<StackAddress> addresses;
  bool complete = false;  // the tables themselves say that the last one has no caller
};

// The system stack by unwind tables, until they end or Go code begins.
TableUnwind UnwindByTables(const Registers& registers, LiveSpace& space) {
  TableUnwind result;
  StackAddress place;
  place.value = registers.ip;
  uint64_t sp = registers.sp, bp = registers.bp;
  while (result.addresses.size() < STACK_MAX_ADDRESSES) {
    const auto rule = space.RuleAt(place.value, place.is_return);
    // The outermost frame of the C library (clone's child, _start) is none of the program's.
    if (rule && rule->outermost) {
      result.complete = true;
      break;
    }
    result.addresses.push_back(place);
    if (!rule || space.IsGo(place.is_return ? place.value - 1 : place.value)) break;
    uint64_t cfa = (rule->cfa_register == FrameRule::kRsp ? sp : bp) + rule->cfa_offset;
    if (rule->cfa_deref) cfa = space.memory().ReadValue<uint64_t>(cfa).value_or(0);
    if (cfa <= sp || cfa - sp > kStackReach) break;
    const auto caller = space.memory().ReadValue<uint64_t>(cfa - 8);
    if (!caller || !*caller) break;
    if (rule->rbp_offset) {
      const auto saved = space.memory().ReadValue<uint64_t>((rule->rbp_saved_at_rbp ? bp : cfa) +
                                                            *rule->rbp_offset);
      if (!saved) break;
      bp = *saved;
    }
    space.Learn(*caller - 1);
    if (!space.FollowsCall(*caller)) break;
    place.value = *caller;
    place.is_return = true;
    sp = cfa;
  }
  return result;
}

bool IsCLibrary(std::string_view path) {
  const std::string_view name = path.substr(path.find_last_of('/') + 1);
  return name.starts_with("libc.so") || name.starts_with("libc-") || name.starts_with("libpthread");
}

// Frame pointers end in the code that starts a thread or a program. Both ways of reading a stack
// end at its innermost frame, so that one stop has one stack.
void CutStartCode(TableUnwind* unwind, LiveSpace& space) {
  if (!unwind->complete) return;
  const auto in_c_library = [&](const StackAddress& a) {
    return IsCLibrary(space.PathAt(a.is_return ? a.value - 1 : a.value));
  };
  size_t start = unwind->addresses.size();
  while (start > 0 && in_c_library(unwind->addresses[start - 1])) --start;
  // All of it in the C library: a thread of its own making, without a start to tell apart.
  if (start == 0 || start == unwind->addresses.size()) return;
  space.RememberStart(unwind->addresses[start].value);
  unwind->addresses.resize(start + 1);
}

}  // namespace

std::optional<frame_step> FrameStepAt(uint64_t address, bool is_return, const LiveSpace& space) {
  if (space.IsGo(is_return ? address - 1 : address)) return std::nullopt;
  const auto rule = space.RuleAt(address, is_return);
  if (!rule || rule->outermost || rule->cfa_deref || rule->cfa_register != FrameRule::kRsp ||
      rule->cfa_offset < 8 || rule->cfa_offset > kMaxFrame) {
    return std::nullopt;
  }
  frame_step step = {static_cast<uint16_t>(rule->cfa_offset - 8), FRAME_BP_KEPT};
  if (rule->rbp_offset) {
    const int64_t saved = rule->cfa_offset + *rule->rbp_offset;
    if (rule->rbp_saved_at_rbp || saved < 0 || saved > rule->cfa_offset - 16) return std::nullopt;
    step.saved_bp = static_cast<uint16_t>(saved);
  }
  return step;
}

Stack JudgeUserStack(const WalkedStack& walked, LiveSpace& space, SpaceIndex index) {
  Stack stack;
  stack.end = walked.end;
  if (walked.addresses.empty()) {
    stack.end = StackEnd::kNone;
    return stack;
  }
  const size_t chain = 1 + (walked.leaf_word ? 1 : walked.steps);
  for (size_t i = 0; i < chain; ++i) space.Learn(walked.addresses[i] - (i > 0));

  const bool all_goroutine = walked.goroutine_at == 0;
  const size_t system_end = all_goroutine ? walked.addresses.size() : walked.goroutine_at;
  const SegmentKind kind = all_goroutine ? SegmentKind::kGoroutine : SegmentKind::kUser;

  std::vector<StackAddress> part = {{walked.addresses[0], false, false}};
  LeafVerdict verdict;
  bool at_start = false;
  if (walked.steps == 0) {
    verdict = JudgeLeaf(walked, space);
    if (verdict.keep_word && space.FollowsCall(walked.addresses[1]))
      part.push_back({walked.addresses[1], true, false});
  } else if (StepsHold(walked, space)) {
    for (size_t i = 1; i <= walked.steps && !at_start; ++i) {
      part.push_back({walked.addresses[i], true, false});
      at_start = space.IsStart(walked.addresses[i]);
    }
  } else {
    // The frame pointer may have been taken from anywhere, too.
    verdict.caller_unknown = true;
  }
  const StackAddress previous = part.back();
  if (verdict.caller_unknown) {
    AddSegment(kind, index, std::move(part), &stack);
    AddMarker(kCallerUnknown, &stack);
    part.clear();
  }
  // Behind an unknown caller the chain may have skipped more than one.
  const bool guessed = verdict.chain_guessed || verdict.caller_unknown;
  stack.end = at_start ? StackEnd::kComplete
                       : AppendChain(walked, chain, system_end, previous, guessed, space, &part);
  if (walked.no_goroutine && !part.empty() && stack.end == StackEnd::kLeftStack) {
    const StackAddress outermost = part.back();
    if (space.IsGo(outermost.value - 1) &&
        IsGoStackRoot(FunctionAt(outermost.value, outermost.is_return, space))) {
      stack.end = StackEnd::kComplete;
    }
  }
  AddSegment(kind, index, std::move(part), &stack);

  if (!all_goroutine && walked.goroutine_at < walked.addresses.size()) {
    std::vector<StackAddress> goroutine;
    goroutine.push_back({walked.addresses[walked.goroutine_at], true, false});
    stack.end = AppendChain(walked, walked.goroutine_at + 1, walked.addresses.size(),
                            goroutine.back(), false, space, &goroutine);
    AddSegment(SegmentKind::kGoroutine, index, std::move(goroutine), &stack);
  }
  return stack;
}

Stack UnwindFromOutside(const Registers& registers, const GoLayout* go, LiveSpace& space,
                        SpaceIndex index) {
  space.Learn(registers.ip);
  TableUnwind by_tables;
  if (!space.IsGo(registers.ip)) {  // Go keeps frame pointers and has no .eh_frame
    by_tables = UnwindByTables(registers, space);
    CutStartCode(&by_tables, space);
  }
  const WalkedStack walked = WalkFromOutside(registers, go, space);
  Stack stack = JudgeUserStack(walked, space, index);

  std::vector<StackAddress> by_chain;
  size_t system_segments = 0;
  for (const Segment& segment : stack.segments) {
    if (segment.kind == SegmentKind::kGoroutine) break;
    by_chain.insert(by_chain.end(), segment.addresses.begin(), segment.addresses.end());
    ++system_segments;
  }
  const bool guessed =
      system_segments > 1 || std::any_of(by_chain.begin(), by_chain.end(),
                                         [](const StackAddress& a) { return a.guessed; });
  // The tables' answer where frame pointers lost frames, the walk's own otherwise: it is what the
  // same stop gives later.
  const size_t found = by_tables.addresses.size();
  if (by_chain.empty() || found < by_chain.size() || (found == by_chain.size() && !guessed))
    return stack;
  Stack result;
  const bool goroutine_below = system_segments < stack.segments.size();
  result.end = by_tables.complete && !goroutine_below ? StackEnd::kComplete : stack.end;
  AddSegment(SegmentKind::kUser, index, std::move(by_tables.addresses), &result);
  for (size_t i = system_segments; i < stack.segments.size(); ++i)
    result.segments.push_back(stack.segments[i]);
  return result;
}

}  // namespace stallscope
