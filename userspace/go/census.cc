// SPDX-License-Identifier: Apache-2.0
#include "userspace/go/census.h"

#include <errno.h>
#include <fmt/format.h>
#include <string.h>

#include <algorithm>
#include <cmath>

#include "userspace/process/clock.h"

namespace stallscope {
namespace {

// Structures closer than this are read as one run: cheaper than another range.
constexpr uint64_t kLargestGap = 1024;
constexpr size_t kLongestRun = 32 << 10;
// What is read before it is looked at: it stays in the cache, and a goroutine that turns out to
// have moved is read again soon, which keeps it from moving once more in between.
constexpr size_t kItemBytes = 96 << 10;
constexpr size_t kStackBatchBytes = 256 << 10;
constexpr size_t kMostReadingsInBatch = 128;

// Of a stack whose sp is known. Nearly all need no more.
constexpr uint64_t kFirstWindow = 4 << 10;
constexpr uint64_t kSecondWindow = 32 << 10;
// Of an active goroutine's stack: what lies below the lowest place where it was seen, and the most
// that is read in advance.
constexpr uint64_t kActiveMargin = 1 << 10;
constexpr uint64_t kActiveWindow = 12 << 10;
constexpr uint8_t kActiveLooks = 8;

constexpr size_t kLargestG = 4096;

// At telling whom a goroutine waits for, in one wait: it may have begun to wait without having said
// so everywhere yet.
constexpr uint8_t kPeerAttempts = 3;
// Of a stack that is compared while a peer is read: the innermost.
constexpr uint64_t kPeerStackBytes = 32 << 10;

template <typename T>
T At(const char* g, uint16_t offset) {
  T value;
  memcpy(&value, g + offset, sizeof(value));
  return value;
}

template <typename T>
T AtIfKnown(const char* g, uint16_t offset) {
  return offset == GoOffsets::kNoField ? T{} : At<T>(g, offset);
}

// Bytes from the start of a g to the end of the last field that is wanted; 0 when an offset cannot
// be.
size_t BytesNeeded(const GoOffsets& offsets) {
  size_t end = 0;
  for (const uint16_t field :
       {offsets.g_stack_lo, offsets.g_stack_hi, offsets.g_sched_sp, offsets.g_sched_pc,
        offsets.g_syscallsp, offsets.g_syscallpc, offsets.g_atomicstatus, offsets.g_goid,
        offsets.g_waitreason, offsets.g_tracking_seq, offsets.g_gopc, offsets.g_startpc,
        offsets.g_waiting}) {
    if (field == GoOffsets::kNoField || field + 8u > kLargestG) return 0;
    end = std::max<size_t>(end, field + 8u);
  }
  for (const uint16_t field : {offsets.g_lockedm, offsets.g_parent_goid, offsets.g_labels}) {
    if (field == GoOffsets::kNoField) continue;
    if (field + 8u > kLargestG) return 0;
    end = std::max<size_t>(end, field + 8u);
  }
  return end;
}

// Statuses at rest, whose stack is as sched says. kGoLeaked: waiting for what nobody else can
// reach.
bool IsParked(uint32_t status) {
  return status == kGoWaiting || status == kGoRunnable || status == kGoPreempted ||
         status == kGoLeaked;
}

}  // namespace

bool GoroutineCensus::State::IsAlive() const {
  return IsParked(status) || status == kGoSyscall || status == kGoRunning || status == kGoCopyStack;
}

bool GoroutineCensus::State::HasStack() const { return IsParked(status) || status == kGoSyscall; }

absl::StatusOr<std::unique_ptr<GoroutineCensus>> GoroutineCensus::Create(
    const Memory* memory, const GoRuntime& runtime, const CensusOptions& options) {
  const size_t g_bytes = BytesNeeded(runtime.offsets);
  if (g_bytes == 0 || runtime.tables == nullptr || runtime.allglen == 0 || runtime.allgptr == 0) {
    return absl::InvalidArgumentError(
        fmt::format("{}: where its goroutines lie is not known", runtime.version));
  }
  const uint64_t seed = options.seed != 0 ? options.seed : std::random_device()();
  return std::unique_ptr<GoroutineCensus>(
      new GoroutineCensus(memory, runtime, options, g_bytes, seed));
}

GoroutineCensus::GoroutineCensus(const Memory* memory, const GoRuntime& runtime,
                                 const CensusOptions& options, size_t g_bytes, uint64_t seed)
    : memory_(memory),
      runtime_(runtime),
      options_(options),
      g_bytes_(g_bytes),
      seq_counts_syscalls_(runtime.minor < 26),
      list_(runtime.allglen, runtime.allgptr, g_bytes, options.max_goroutines),
      unwinder_(runtime.tables, runtime.load_bias),
      stacks_(options.max_stacks, options.max_stack_addresses, seed),
      random_(seed) {
  if (options.sockets) peers_ = std::make_unique<PeerReader>(memory, runtime_, options.sockets);
  // Full, and then a run that is still growing and a unit more.
  buffer_.resize(kItemBytes + kLongestRun + kUnit * (g_bytes_ + kLargestGap));
}

absl::Status GoroutineCensus::Take(double share, Snapshot* out) {
  if (absl::Status status = list_.Update(*memory_); !status.ok()) return status;
  slots_.resize(list_.size());
  if (peers_) peer_slots_.resize(list_.size());
  counters_.refused = list_.refused();
  ++counters_.takes;
  items_.clear();
  runs_.clear();
  pending_.clear();
  labelled_.clear();
  used_ = 0;
  deep_bytes_left_ = options_.deep_bytes_per_take;

  out->goroutines.clear();
  out->listed = list_.size();
  ChooseUnits(share, out);
  out->time_ns = ClockNs(CLOCK_MONOTONIC);
  for (uint32_t number = 0; number < chosen_.size(); ++number) {
    AddUnit(chosen_[number], number);
    if (used_ < kItemBytes) continue;
    if (absl::Status status = LookAtItems(out); !status.ok()) return status;
  }
  return LookAtItems(out);
}

// Draws without replacement, each unit with the same probability (selection sampling: one pass, in
// order).
void GoroutineCensus::ChooseUnits(double share, Snapshot* out) {
  const size_t units = (list_.places().size() + kUnit - 1) / kUnit;
  size_t wanted = units;
  if (share < 1) {
    const double exact = std::max(share, 0.0) * static_cast<double>(units);
    wanted = std::clamp<size_t>(static_cast<size_t>(std::lround(exact)), std::min<size_t>(1, units),
                                units);
  }
  out->units = static_cast<uint32_t>(units);
  out->units_taken = static_cast<uint32_t>(wanted);
  out->weight = wanted == 0 ? 1 : static_cast<double>(units) / static_cast<double>(wanted);

  chosen_.clear();
  for (size_t unit = 0; unit < units && wanted > 0; ++unit) {
    const size_t left = units - unit;
    if (wanted < left && std::uniform_int_distribution<size_t>(0, left - 1)(random_) >= wanted) {
      continue;
    }
    chosen_.push_back(static_cast<uint32_t>(unit));
    --wanted;
  }
}

void GoroutineCensus::AddUnit(uint32_t unit, uint32_t number) {
  const std::vector<GoroutineList::Place>& places = list_.places();
  const size_t last = std::min((size_t{unit} + 1) * kUnit, places.size());
  for (size_t at = size_t{unit} * kUnit; at < last; ++at) {
    const GoroutineList::Place& place = places[at];
    Run* run = runs_.empty() ? nullptr : &runs_.back();
    const bool joins = run != nullptr && place.address <= run->address + run->size + kLargestGap &&
                       place.address + g_bytes_ - run->address <= kLongestRun;
    if (!joins) {
      used_ += run != nullptr ? run->size : 0;
      runs_.push_back({place.address, used_, 0, items_.size(), 0});
      run = &runs_.back();
    }
    const size_t offset = place.address - run->address;
    run->size = offset + g_bytes_;
    items_.push_back({place, number, static_cast<uint32_t>(run->offset + offset), true});
    run->last_item = items_.size();
  }
}

absl::Status GoroutineCensus::LookAtItems(Snapshot* out) {
  if (absl::Status status = ReadRuns(); !status.ok()) return status;
  const size_t first = out->goroutines.size();
  for (size_t i = 0; i < items_.size(); ++i) {
    constexpr size_t kAhead = 8;
    if (i + kAhead < items_.size()) __builtin_prefetch(&slots_[items_[i + kAhead].place.number], 1);
    if (items_[i].readable) {
      JudgeItem(items_[i], out);
    } else {
      ++counters_.unreadable;
    }
  }
  items_.clear();
  runs_.clear();
  used_ = 0;
  const bool any_pending = !pending_.empty();
  if (absl::Status status = ReadPending(out); !status.ok()) return status;
  if (absl::Status status = ReadLabels(out); !status.ok()) return status;
  if (any_pending) {
    // Those that turned out not to be alive left their entry empty.
    const auto begin = out->goroutines.begin() + static_cast<ptrdiff_t>(first);
    out->goroutines.erase(
        std::remove_if(begin, out->goroutines.end(), [](const Goroutine& g) { return g.g == 0; }),
        out->goroutines.end());
  }
  counters_.looks += out->goroutines.size() - first;
  return absl::OkStatus();
}

absl::Status GoroutineCensus::ReadRuns() {
  ranges_.clear();
  for (const Run& run : runs_) {
    ranges_.push_back({run.address, buffer_.data() + run.offset, run.size});
  }
  for (size_t done = 0; done < ranges_.size();) {
    const Memory::RangesRead read =
        memory_->ReadRanges(std::span<const MemoryRange>(ranges_).subspan(done));
    done += read.whole;
    if (read.error == 0) continue;
    if (read.error != EFAULT) return ReadFailure(read.error, "a goroutine");
    if (absl::Status status = ReadSingly(runs_[done]); !status.ok()) return status;
    ++done;
  }
  return absl::OkStatus();
}

absl::Status GoroutineCensus::ReadSingly(const Run& run) {
  for (size_t i = run.first_item; i < run.last_item; ++i) {
    const MemoryRange range = {items_[i].place.address, buffer_.data() + items_[i].offset,
                               g_bytes_};
    const Memory::RangesRead read = memory_->ReadRanges({&range, 1});
    if (read.error != 0 && read.error != EFAULT) return ReadFailure(read.error, "a goroutine");
    items_[i].readable = read.error == 0;
  }
  return absl::OkStatus();
}

// Which goroutines are looked at once more, together with their stacks? Those that moved since the
// last look, of course. But the time until then is enough for some to go on, and only for those
// that were found waiting: were that all, short waits would be counted too rarely. So a goroutine
// that was active lately is always looked at again, whatever it was found doing: then the choice
// says nothing about the moment that counts. For the others the error is some 100 us in waits
// longer than kActiveLooks snapshots.
void GoroutineCensus::JudgeItem(const Item& item, Snapshot* out) {
  const char* g = buffer_.data() + item.offset;
  const State state = Decode(g);
  Slot& slot = slots_[item.place.number];
  if (slot.active > 0) return Defer(item, state, out);
  if (!state.IsAlive()) return Remember(&slot, state, kNoGoStack, false);
  const bool needs_stack = state.HasStack() && !StackUnchanged(slot, state);
  if (needs_stack || WantsPeer(item.place.number, state)) return Defer(item, state, out);

  Goroutine& goroutine = out->goroutines.emplace_back();
  Fill(g, state, &goroutine);
  goroutine.g = item.place.address;
  goroutine.unit = item.unit;
  if (state.HasStack()) goroutine.stack = slot.stack;
  goroutine.same_wait = WaitUnchanged(slot, state);
  if (!goroutine.same_wait) Remember(&slot, state, goroutine.stack, false);
  goroutine.since_first_take = slot.since_first_take;
  if (peers_ && state.status == kGoWaiting) {
    if (goroutine.same_wait) goroutine.peer = peer_slots_[item.place.number].peer;
    CountPeer(goroutine);
  }
  if (goroutine.labels != 0) NoteLabels(item.place, out->goroutines.size() - 1, out);
}

void GoroutineCensus::Defer(const Item& item, const State& seen, Snapshot* out) {
  Reading reading;
  reading.place = item.place;
  reading.goroutine = out->goroutines.size();
  out->goroutines.emplace_back().unit = item.unit;

  const Slot& slot = slots_[item.place.number];
  const bool has_range = seen.lo < seen.hi;
  const bool has_sp = seen.HasStack() && has_range && seen.sp >= seen.lo && seen.sp < seen.hi;
  if (slot.active > 0 && has_range) {
    uint64_t window = slot.window;
    if (has_sp) window = std::max(window, seen.depth());
    window = std::min({window + kActiveMargin, kActiveWindow, seen.hi - seen.lo});
    reading.to = seen.hi;
    reading.from = seen.hi - window;
  }
  if (has_sp && (seen.sp < reading.from || reading.to == 0)) {
    reading.from = seen.sp;
    reading.to = seen.sp + std::min(seen.hi - seen.sp, kFirstWindow);
  }
  reading.twice = seen.status == kGoSyscall && !seq_counts_syscalls_;
  if (peers_ && seen.status == kGoWaiting) {
    const char* g = buffer_.data() + item.offset;
    reading.record =
        peers_->RecordOf(seen.wait_reason, At<uint64_t>(g, runtime_.offsets.g_waiting));
  }
  pending_.push_back(reading);
}

absl::Status GoroutineCensus::ReadPending(Snapshot* out) {
  while (!pending_.empty()) {
    again_.clear();
    for (size_t first = 0; first < pending_.size();) {
      const size_t last = LayOut(first);
      if (absl::Status status = ReadBatch(first, last); !status.ok()) {
        pending_.clear();
        return status;
      }
      for (size_t i = first; i < last; ++i) JudgeReading(&pending_[i], out);
      first = last;
    }
    std::swap(pending_, again_);
  }
  return absl::OkStatus();
}

// Gives the next readings their place in the buffer; returns one past the last of them.
size_t GoroutineCensus::LayOut(size_t first) {
  size_t used = 0, last = first;
  ranges_.clear();
  range_owner_.clear();
  for (; last < pending_.size() && last - first < kMostReadingsInBatch; ++last) {
    Reading& reading = pending_[last];
    const size_t bytes = 2 * g_bytes_ + reading.stacks_bytes() + RecordBytes(reading);
    if (last > first && used + bytes > kStackBatchBytes) break;
    reading.offset = used;
    used += bytes;
  }
  if (stack_buffer_.size() < used) stack_buffer_.resize(used);
  for (size_t i = first; i < last; ++i) {
    const Reading& reading = pending_[i];
    char* at = stack_buffer_.data() + reading.offset;
    const auto add = [&](uint64_t address, size_t size) {
      if (size == 0) return;
      ranges_.push_back({address, at, size});
      range_owner_.push_back(static_cast<uint32_t>(i));
      at += size;
    };
    add(reading.place.address, g_bytes_);
    add(reading.from, reading.stack_bytes());
    if (reading.twice) add(reading.from, reading.stack_bytes());
    add(reading.record, RecordBytes(reading));
    add(reading.place.address, g_bytes_);
  }
  return last;
}

absl::Status GoroutineCensus::ReadBatch(size_t first, size_t last) {
  for (size_t i = first; i < last; ++i) pending_[i].readable = true;
  for (size_t done = 0; done < ranges_.size();) {
    const Memory::RangesRead read =
        memory_->ReadRanges(std::span<const MemoryRange>(ranges_).subspan(done));
    done += read.whole;
    if (read.error == 0) continue;
    if (read.error != EFAULT) return ReadFailure(read.error, "a goroutine");
    const uint32_t owner = range_owner_[done];
    pending_[owner].readable = false;
    while (done < ranges_.size() && range_owner_[done] == owner) ++done;
  }
  return absl::OkStatus();
}

void GoroutineCensus::JudgeReading(Reading* reading, Snapshot* out) {
  const char* before = stack_buffer_.data() + reading->offset;
  if (!reading->readable) {
    // Its stack is gone, or it never was one. The g alone, then, and from there once more.
    const MemoryRange alone = {reading->place.address, stack_buffer_.data() + reading->offset,
                               g_bytes_};
    if (memory_->ReadRanges({&alone, 1}).error != 0) {
      ++counters_.unreadable;
      return;
    }
    return Again(reading, before, Decode(before), kFirstWindow, out);
  }
  const char* after = before + g_bytes_ + reading->stacks_bytes() + RecordBytes(*reading);
  const State state = Decode(after);
  if (Decode(before) != state) {
    ++counters_.torn;
    return Again(reading, after, state, kFirstWindow, out);
  }
  if (!state.HasStack()) return Settle(*reading, after, state, kNoGoStack, false, out);
  const bool must_be_twice = state.status == kGoSyscall && !seq_counts_syscalls_;
  const bool covered = state.sp >= reading->from && state.sp < reading->to;
  if (!covered || (must_be_twice && !reading->twice)) {
    return Again(reading, after, state, kFirstWindow, out);
  }
  UnwindReading(reading, after, state, out);
}

void GoroutineCensus::UnwindReading(Reading* reading, const char* g, const State& state,
                                    Snapshot* out) {
  const char* bytes = stack_buffer_.data() + reading->offset + g_bytes_;
  StackBytes copy = {reading->from, bytes, reading->stack_bytes()};
  scratch_.end =
      unwinder_.Unwind(state.pc, state.sp, copy, options_.max_frames, &scratch_.addresses);
  if (reading->twice) {
    copy.bytes += copy.size;
    second_scratch_.end =
        unwinder_.Unwind(state.pc, state.sp, copy, options_.max_frames, &second_scratch_.addresses);
    if (!(scratch_ == second_scratch_)) {
      ++counters_.torn;
      return Again(reading, g, state, kFirstWindow, out);
    }
  }
  if (scratch_.end == StackEnd::kUnreadable) {
    const uint64_t have = reading->to - state.sp;
    const uint64_t wanted = std::min<uint64_t>(
        have < kSecondWindow ? kSecondWindow : options_.max_stack_bytes, options_.max_stack_bytes);
    if (reading->to < state.hi && have < wanted && deep_bytes_left_ >= wanted) {
      deep_bytes_left_ -= wanted;
      --reading->attempts;  // it did not move: this is not another attempt at the same
      return Again(reading, g, state, wanted, out);
    }
    scratch_.end = reading->to < state.hi ? StackEnd::kFull : StackEnd::kLeftStack;
  }
  const bool misled = scratch_.end == StackEnd::kNotACall || scratch_.end == StackEnd::kLeftStack;
  if (misled && reading->attempts + 1 < options_.max_attempts) {
    return Again(reading, g, state, reading->to - state.sp, out);
  }
  const GoStackIndex stack = Keep(scratch_);
  const GoPeerIndex peer = stack == kNoGoStack ? kNoGoPeer : ReadPeer(*reading, g, state, stack);
  Settle(*reading, g, state, stack, false, out, peer);
}

// Asks for another reading, of `bytes` of the stack from where the goroutine is now; after too many
// attempts what is known without the stack must do.
void GoroutineCensus::Again(Reading* reading, const char* g, const State& state, uint64_t bytes,
                            Snapshot* out) {
  if (++reading->attempts >= options_.max_attempts) {
    if (state.HasStack()) ++counters_.unread;
    return Settle(*reading, g, state, kNoGoStack, state.HasStack(), out);
  }
  reading->from = reading->to = reading->record = 0;
  if (state.HasStack() && state.sp >= state.lo && state.sp < state.hi) {
    reading->from = state.sp;
    reading->to = state.sp + std::min(state.hi - state.sp, bytes);
  }
  reading->twice = state.status == kGoSyscall && !seq_counts_syscalls_;
  again_.push_back(*reading);
}

GoStackIndex GoroutineCensus::Keep(const GoStack& stack) {
  ++counters_.stacks_read;
  if (stack.end != StackEnd::kComplete) ++counters_.incomplete;
  const GoStackIndex index = stacks_.Intern(stack);
  if (index == kNoGoStack) ++counters_.stacks_lost;
  return index;
}

void GoroutineCensus::Settle(const Reading& reading, const char* g, const State& state,
                             GoStackIndex stack, bool unread, Snapshot* out, GoPeerIndex peer) {
  Slot& slot = slots_[reading.place.number];
  if (peers_) peer_slots_[reading.place.number].peer = peer;
  const bool same_wait = !unread && WaitUnchanged(slot, state);
  Remember(&slot, state, stack, same_wait);
  if (unread) slot.known = false;  // to be read at the next look
  if (!state.IsAlive()) return;
  Goroutine& goroutine = out->goroutines[reading.goroutine];
  Fill(g, state, &goroutine);
  goroutine.g = reading.place.address;
  goroutine.stack = stack;
  goroutine.unread = unread;
  goroutine.same_wait = same_wait;
  goroutine.since_first_take = slots_[reading.place.number].since_first_take;
  if (peers_) {
    goroutine.peer = peer;
    CountPeer(goroutine);
  }
  if (goroutine.labels != 0) NoteLabels(reading.place, reading.goroutine, out);
}

// Of a goroutine whose stack is known: it is to be read once more, for whom it waits for alone.
bool GoroutineCensus::WantsPeer(uint32_t number, const State& state) const {
  if (!peers_ || state.status != kGoWaiting || !peers_->MayHave(state.wait_reason)) return false;
  const PeerSlot& slot = peer_slots_[number];
  return slot.peer == kNoGoPeer && slot.attempts < kPeerAttempts;
}

size_t GoroutineCensus::RecordBytes(const Reading& reading) const {
  return reading.record ? peers_->record_bytes() : 0;
}

// Right after the stack was read, which still lies in the buffer.
GoPeerIndex GoroutineCensus::ReadPeer(const Reading& reading, const char* g, const State& state,
                                      GoStackIndex stack) {
  if (!peers_) return kNoGoPeer;
  PeerSlot& slot = peer_slots_[reading.place.number];
  if (!WaitUnchanged(slots_[reading.place.number], state)) slot = PeerSlot();
  slot.peer = kNoGoPeer;
  if (state.status != kGoWaiting || !peers_->MayHave(state.wait_reason)) return kNoGoPeer;
  PeerReader::Wait wait;
  wait.g = reading.place.address;
  wait.waiting = At<uint64_t>(g, runtime_.offsets.g_waiting);
  wait.sp = state.sp;
  wait.reason = state.wait_reason;
  wait.stack = stack;
  wait.frames = &stacks_[stack];
  wait.bytes = {reading.from, stack_buffer_.data() + reading.offset + g_bytes_,
                reading.stack_bytes()};
  const char* before = stack_buffer_.data() + reading.offset;
  if (reading.record != 0 && reading.record == wait.waiting &&
      reading.record == At<uint64_t>(before, runtime_.offsets.g_waiting)) {
    const auto peer = peers_->PeerByRecord(wait, before + g_bytes_ + reading.stacks_bytes());
    if (peer) {
      slot.peer = peer_texts_.Intern(*peer);
      return slot.peer;
    }
  }
  const PeerReader::Answer answer = peers_->Propose(wait, &claim_);
  if (answer == PeerReader::Answer::kClaim && Holds(reading, state, wait.waiting, claim_)) {
    slot.peer = peer_texts_.Intern(claim_.peer);
  } else if (answer != PeerReader::Answer::kLater) {
    slot.attempts = static_cast<uint8_t>(std::min<int>(slot.attempts + 1, kPeerAttempts));
  }
  return slot.peer;
}

// What is claimed was read piece by piece. It is read again in one call, between two readings of
// the goroutine, with the stack that it was found by: the stack and the peer are of one moment.
bool GoroutineCensus::Holds(const Reading& reading, const State& state, uint64_t waiting,
                            const PeerReader::Claim& claim) {
  const uint64_t stack_bytes = std::min(reading.to - state.sp, kPeerStackBytes);
  size_t size = 2 * g_bytes_ + stack_bytes;
  for (const PeerReader::Fact& fact : claim.facts) size += fact.bytes.size();
  if (peer_buffer_.size() < size) peer_buffer_.resize(size);
  std::vector<MemoryRange> ranges;
  char* at = peer_buffer_.data();
  const auto add = [&](uint64_t address, size_t bytes) {
    if (bytes > 0) ranges.push_back({address, at, bytes});
    at += bytes;
  };
  add(reading.place.address, g_bytes_);
  add(state.sp, stack_bytes);
  for (const PeerReader::Fact& fact : claim.facts) add(fact.address, fact.bytes.size());
  add(reading.place.address, g_bytes_);
  if (memory_->ReadRanges(ranges).error != 0) return false;

  at = peer_buffer_.data();
  const auto same = [&](const char* bytes, size_t count) {
    const bool equal = memcmp(at, bytes, count) == 0;
    at += count;
    return equal;
  };
  const auto same_goroutine = [&] {
    const bool equal =
        Decode(at) == state && At<uint64_t>(at, runtime_.offsets.g_waiting) == waiting;
    at += g_bytes_;
    return equal;
  };
  const char* stack = stack_buffer_.data() + reading.offset + g_bytes_ + (state.sp - reading.from);
  if (!same_goroutine() || !same(stack, stack_bytes)) return false;
  for (const PeerReader::Fact& fact : claim.facts) {
    if (!same(fact.bytes.data(), fact.bytes.size())) return false;
  }
  return same_goroutine();
}

void GoroutineCensus::CountPeer(const Goroutine& goroutine) {
  if (goroutine.status != kGoWaiting || !peers_->MayHave(goroutine.wait_reason)) return;
  ++(goroutine.peer == kNoGoPeer ? counters_.peers_unknown : counters_.peers);
}

// Only a goroutine itself changes what labels it has: in one and the same wait they are the same.
void GoroutineCensus::NoteLabels(const GoroutineList::Place& place, size_t goroutine,
                                 Snapshot* out) {
  Goroutine& labelled = out->goroutines[goroutine];
  const Slot& slot = slots_[place.number];
  if (labelled.same_wait && slot.labels == labelled.labels && slot.label_set != kNoGoLabels) {
    labelled.label_set = slot.label_set;
  } else {
    labelled_.push_back({place, goroutine});
  }
}

// Many goroutines share one set, and those that lie side by side more than others. A set is
// believed when its goroutine still has it afterwards: then it was not freed meanwhile.
absl::Status GoroutineCensus::ReadLabels(Snapshot* out) {
  if (labelled_.empty()) return absl::OkStatus();
  labels_here_.clear();
  for (const auto& [place, index] : labelled_) {
    const uint64_t address = out->goroutines[index].labels;
    const auto [at, is_new] = labels_here_.emplace(address, kNoGoLabels);
    if (!is_new) continue;
    const auto labels = ReadGoLabels(*memory_, address, runtime_.labels_are_slice);
    if (labels) at->second = labels_.Intern(*labels);
  }
  ranges_.clear();
  std::vector<std::pair<uint64_t, uint64_t>> now(labelled_.size());  // id and labels
  for (size_t i = 0; i < labelled_.size(); ++i) {
    const uint64_t g = labelled_[i].first.address;
    ranges_.push_back({g + runtime_.offsets.g_goid, &now[i].first, sizeof(uint64_t)});
    ranges_.push_back({g + runtime_.offsets.g_labels, &now[i].second, sizeof(uint64_t)});
  }
  const Memory::RangesRead read = memory_->ReadRanges(ranges_);
  if (read.error != 0 && read.error != EFAULT) return ReadFailure(read.error, "a goroutine");
  for (size_t i = 0; i < labelled_.size(); ++i) {
    const auto& [place, index] = labelled_[i];
    Goroutine& goroutine = out->goroutines[index];
    Slot& slot = slots_[place.number];
    slot.labels = goroutine.labels;
    slot.label_set = kNoGoLabels;
    if (now[i] == std::pair(goroutine.id, goroutine.labels)) {
      slot.label_set = labels_here_[goroutine.labels];
    }
    goroutine.label_set = slot.label_set;
    if (goroutine.label_set == kNoGoLabels) ++counters_.labels_unread;
  }
  labelled_.clear();
  return absl::OkStatus();
}

GoroutineCensus::State GoroutineCensus::Decode(const char* g) const {
  const GoOffsets& offsets = runtime_.offsets;
  State state;
  state.lo = At<uint64_t>(g, offsets.g_stack_lo);
  state.hi = At<uint64_t>(g, offsets.g_stack_hi);
  state.id = At<uint64_t>(g, offsets.g_goid);
  state.status = At<uint32_t>(g, offsets.g_atomicstatus) & ~uint32_t{kGoScanBit};
  state.seq = At<uint8_t>(g, offsets.g_tracking_seq);
  if (state.status == kGoSyscall) {
    state.sp = At<uint64_t>(g, offsets.g_syscallsp);
    state.pc = At<uint64_t>(g, offsets.g_syscallpc);
  } else if (IsParked(state.status)) {
    state.sp = At<uint64_t>(g, offsets.g_sched_sp);
    state.pc = At<uint64_t>(g, offsets.g_sched_pc);
    if (state.status != kGoRunnable) state.wait_reason = At<uint8_t>(g, offsets.g_waitreason);
  }
  return state;
}

void GoroutineCensus::Fill(const char* g, const State& state, Goroutine* out) const {
  const GoOffsets& offsets = runtime_.offsets;
  out->id = state.id;
  out->parent_id = AtIfKnown<uint64_t>(g, offsets.g_parent_goid);
  out->status = state.status;
  out->wait_reason = state.wait_reason;
  out->tracking_seq = state.seq;
  out->sp = state.sp;
  out->pc = state.pc;
  out->wait_since = At<uint64_t>(g, offsets.g_waitsince);
  // The first is the runtime's own start, whatever its gopc says.
  out->created_at = state.id == 1 ? 0 : At<uint64_t>(g, offsets.g_gopc);
  out->start = At<uint64_t>(g, offsets.g_startpc);
  out->labels = AtIfKnown<uint64_t>(g, offsets.g_labels);
  out->locked_thread = AtIfKnown<uint64_t>(g, offsets.g_lockedm);
}

// Between two moments with the same trackingSeq (which counts each time that a goroutine stops
// running, modulo 256) it did not run, and so its stack is the same, woken or not.
bool GoroutineCensus::StackUnchanged(const Slot& slot, const State& state) const {
  if (!slot.known || slot.id != state.id || slot.seq != state.seq || slot.pc != state.pc ||
      slot.depth != state.depth()) {
    return false;
  }
  if (state.status == kGoSyscall) return slot.status == kGoSyscall && seq_counts_syscalls_;
  return IsParked(slot.status);
}

bool GoroutineCensus::WaitUnchanged(const Slot& slot, const State& state) const {
  return state.HasStack() && slot.status == state.status && slot.wait_reason == state.wait_reason &&
         StackUnchanged(slot, state);
}

void GoroutineCensus::Remember(Slot* slot, const State& state, GoStackIndex stack,
                               bool same_wait) const {
  const bool still_dead =
      slot->known && !state.IsAlive() && slot->status == state.status && slot->id == state.id;
  if (same_wait || still_dead) {
    if (slot->active > 0) --slot->active;
  } else if (slot->known) {
    slot->active = kActiveLooks;
  }
  if (slot->active == 0) {
    slot->window = 0;
  } else if (state.HasStack() && state.sp >= state.lo && state.sp < state.hi) {
    slot->window = static_cast<uint32_t>(
        std::max<uint64_t>(slot->window, std::min(state.depth(), kActiveWindow)));
  }
  slot->known = true;
  slot->since_first_take = counters_.takes == 1 || (same_wait && slot->since_first_take);
  slot->id = state.id;
  slot->pc = state.pc;
  slot->depth = state.depth();
  slot->status = state.status;
  slot->wait_reason = state.wait_reason;
  slot->seq = state.seq;
  slot->stack = stack;
}

}  // namespace stallscope
