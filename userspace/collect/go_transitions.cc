// SPDX-License-Identifier: Apache-2.0
#include "userspace/collect/go_transitions.h"

#include <absl/status/status.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fmt/format.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "bpf/wire.h"
#include "gosched.skel.h"
#include "userspace/collect/bpf_object.h"
#include "userspace/collect/losses.h"
#include "userspace/collect/status.h"
#include "userspace/collect/walk_end.h"
#include "userspace/go/unwind.h"
#include "userspace/process/clock.h"

namespace stallscope {
namespace {

// A hit at an instruction that the kernel emulates, with its share of walked stacks; and at one
// that it steps through.
constexpr uint64_t kEmulatedHitNs = 1'500, kSteppedHitNs = 9'500;
constexpr size_t kFewestGoroutines = 65536;
constexpr size_t kRoomToGrow = 4;

// Of linux/bpf.h since 6.6, which Debian 12's headers and libbpf do not have.
constexpr int kAttachUprobeMulti = 48;  // BPF_TRACE_UPROBE_MULTI
struct UprobeMultiAttr {
  uint32_t program = 0, target = 0, attach_type = kAttachUprobeMulti, flags = 0;
  uint64_t path = 0, offsets = 0, ref_ctr_offsets = 0, cookies = 0;
  uint32_t count = 0, multi_flags = 0, pid = 0, pad = 0;
};

struct DestroyGosched {
  void operator()(gosched_bpf* skeleton) const { gosched_bpf__destroy(skeleton); }
};
using GoschedSkeleton = std::unique_ptr<gosched_bpf, DestroyGosched>;

// The file that the runtime is in, as it is mapped: its name may be another container's, or gone.
std::string FileOf(const LiveSpace& space, const GoRuntime& runtime) {
  const uint64_t address = runtime.transitions.address;
  for (const Mapping& mapping : space.Mappings()) {
    if (address < mapping.start || address >= mapping.end) continue;
    std::string file =
        fmt::format("/proc/{}/map_files/{:x}-{:x}", space.pid(), mapping.start, mapping.end);
    if (access(file.c_str(), R_OK) == 0) return file;
  }
  if (runtime.path == space.exe()) return fmt::format("/proc/{}/exe", space.pid());
  return fmt::format("/proc/{}/root{}", space.pid(), runtime.path);
}

uint32_t ReasonNumber(const GoRuntime& runtime, std::string_view words) {
  const auto& reasons = runtime.wait_reasons;
  const auto at = std::find(reasons.begin(), reasons.end(), words);
  return at == reasons.end() ? ~0u : static_cast<uint32_t>(at - reasons.begin());
}

absl::StatusOr<GoschedSkeleton> LoadGosched(const GoRuntime& runtime,
                                            const GoTransitionsOptions& options, bool multi) {
  GoschedSkeleton skeleton(gosched_bpf__open());
  if (!skeleton) return BpfError(errno, "cannot open the program for goroutines");
  if (multi) {
    bpf_program__set_expected_attach_type(skeleton->progs.casgstatus,
                                          static_cast<bpf_attach_type>(kAttachUprobeMulti));
  }
  bpf_map__set_max_entries(skeleton->maps.stacks, options.stack_entries);
  bpf_map__set_max_entries(skeleton->maps.sums, 4 * options.stack_entries);
  bpf_map__set_max_entries(skeleton->maps.goroutines,
                           std::max<size_t>(kFewestGoroutines, kRoomToGrow * options.goroutines));
  auto* knobs = skeleton->rodata;
  const GoOffsets& offsets = runtime.offsets;
  knobs->g_waitreason = offsets.g_waitreason;
  knobs->g_gopc = offsets.g_gopc;
  knobs->g_syscallpc = offsets.g_syscallpc;
  knobs->after_stack_check = runtime.transitions.after_stack_check;
  knobs->syscalls_come_by = options.syscalls_come_by;
  knobs->reason_coroutine = ReasonNumber(runtime, GoroutineWaits::kCoroutine);
  knobs->reason_preempted = ReasonNumber(runtime, GoroutineWaits::kPreempted);
  knobs->hash_seed = HashSeed();
  go_layout& layout = skeleton->bss->layout;
  layout.enabled = 1;
  layout.g_sched_sp = offsets.g_sched_sp;
  layout.g_sched_bp = offsets.g_sched_bp;
  if (const auto function = runtime.tables->FunctionNamed("runtime.systemstack_switch")) {
    layout.switch_start = function->entry + runtime.load_bias;
    layout.switch_end = function->end + runtime.load_bias;
  }
  if (const int error = gosched_bpf__load(skeleton.get()))
    return BpfError(error, "cannot load the program for goroutines");
  return skeleton;
}

// A link's descriptor; closing it detaches. Negative: -errno.
int AttachMulti(int program, const std::string& file, uint64_t offset, uint32_t pid) {
  UprobeMultiAttr attr;
  attr.program = program;
  attr.path = reinterpret_cast<uint64_t>(file.c_str());
  attr.offsets = reinterpret_cast<uint64_t>(&offset);
  attr.count = 1;
  attr.pid = pid;
  const long fd = syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof(attr));
  return fd < 0 ? -errno : static_cast<int>(fd);
}

bool IsOff(uint32_t status) {
  return status == GOROUTINE_WAITING || status == GOROUTINE_RUNNABLE || status == GOROUTINE_SYSCALL;
}

}  // namespace

struct GoTransitions::Impl {
  GoschedSkeleton skeleton;
  int multi_link = -1;
  bpf_link* link = nullptr;
  const GoRuntime* runtime = nullptr;
  GoTransitionsOptions options;
  std::vector<GoStackIndex> promised;  // stacks, by promise
  uint64_t start_ns = 0, stop_ns = 0;
  std::vector<uint64_t> counters;

  ~Impl() { Detach(); }

  void Detach() {
    if (multi_link >= 0) close(std::exchange(multi_link, -1));
    if (link) bpf_link__destroy(std::exchange(link, nullptr));
  }

  std::vector<uint64_t> Counters() const {
    return SumOverCpus(bpf_map__fd(skeleton->maps.counters), GOSCHED_COUNTERS);
  }

  void PutStack(uint64_t id, GoUnwinder* unwinder, MeasuredWaits* waits) const {
    if (id & STACK_PROMISE) {
      const uint64_t number = id & ~STACK_PROMISE;
      waits->census_stack = number < promised.size() ? promised[number] : kNoGoStack;
      waits->no_stack = waits->census_stack == kNoGoStack;
      return;
    }
    stack walked;
    if (id < STACK_ID_FIRST ||
        bpf_map_lookup_elem(bpf_map__fd(skeleton->maps.stacks), &id, &walked)) {
      waits->no_stack = true;
      return;
    }
    const size_t count = std::min<size_t>(walked.count, STACK_MAX_ADDRESSES);
    waits->stack.end = unwinder->Adopt({walked.addresses, walked.addresses + count},
                                       (walked.flags & STACK_LEAF_WORD) != 0, EndOf(walked),
                                       &waits->stack.addresses);
  }
};

GoTransitions::GoTransitions(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GoTransitions::~GoTransitions() = default;

absl::StatusOr<std::unique_ptr<GoTransitions>> GoTransitions::Attach(
    const LiveSpace& space, const GoRuntime& runtime, const GoTransitionsOptions& options) {
  const GoTransitionSite& site = runtime.transitions;
  if (!site.address)
    return absl::UnimplementedError(
        fmt::format("{}: runtime.casgstatus was not found", runtime.version));
  auto impl = std::make_unique<Impl>();
  impl->runtime = &runtime;
  impl->options = options;
  const std::string file = FileOf(space, runtime);
  bool multi = false;
  if (auto skeleton = LoadGosched(runtime, options, true); skeleton.ok()) {
    impl->multi_link = AttachMulti(bpf_program__fd((*skeleton)->progs.casgstatus), file,
                                   site.file_offset, space.pid());
    multi = impl->multi_link >= 0;
    if (multi) impl->skeleton = *std::move(skeleton);
  }
  if (!multi) {
    auto skeleton = LoadGosched(runtime, options, false);
    if (!skeleton.ok()) return skeleton.status();
    impl->skeleton = *std::move(skeleton);
    impl->link =
        bpf_program__attach_uprobe(impl->skeleton->progs.casgstatus, false,
                                   static_cast<pid_t>(space.pid()), file.c_str(), site.file_offset);
    if (!impl->link)
      return BpfError(errno, fmt::format("cannot put a probe on runtime.casgstatus in {}", file));
  }
  std::unique_ptr<GoTransitions> self(new GoTransitions(std::move(impl)));
  self->mechanism_ = fmt::format("{} on runtime.casgstatus+{}{}", multi ? "uprobe_multi" : "uprobe",
                                 site.offset, site.emulated ? "" : " (single-stepped)");
  return self;
}

void GoTransitions::Open(const Snapshot& snapshot) {
  const int map = bpf_map__fd(impl_->skeleton->maps.goroutines);
  const uint32_t coroutine = impl_->skeleton->rodata->reason_coroutine;
  const uint64_t now = ClockNs(CLOCK_MONOTONIC);
  absl::flat_hash_map<GoStackIndex, uint64_t> promise_of;
  for (const Goroutine& goroutine : snapshot.goroutines) {
    goroutine_state state = {};
    state.since = now;
    state.created_at = goroutine.created_at;
    state.status = goroutine.status == kGoLeaked ? uint32_t{GOROUTINE_WAITING} : goroutine.status;
    if (state.status == GOROUTINE_WAITING) state.reason = goroutine.wait_reason;
    if (!IsOff(state.status)) continue;
    if (state.status == GOROUTINE_SYSCALL && !impl_->options.syscalls_come_by) continue;
    if (state.status == GOROUTINE_WAITING && state.reason == coroutine)
      state.status = GOROUTINE_UNSEEN;
    const auto [it, added] = promise_of.try_emplace(goroutine.stack, impl_->promised.size());
    if (added) impl_->promised.push_back(goroutine.stack);
    state.stack = STACK_PROMISE | it->second;
    // What has changed state since the snapshot is there already, and knows better.
    bpf_map_update_elem(map, &goroutine.g, &state, BPF_NOEXIST);
  }
}

uint64_t GoTransitions::Start() {
  auto& skeleton = *impl_->skeleton;
  __atomic_store_n(&skeleton.data->start_ns, ~uint64_t{0}, __ATOMIC_SEQ_CST);
  const int sums = bpf_map__fd(skeleton.maps.sums);
  for (const auto& [key, sum] : Entries<goroutine_key, goroutine_sum>(sums))
    bpf_map_delete_elem(sums, &key);
  impl_->start_ns = ClockNs(CLOCK_MONOTONIC);
  __atomic_store_n(&skeleton.data->start_ns, impl_->start_ns, __ATOMIC_SEQ_CST);
  return impl_->start_ns;
}

uint64_t GoTransitions::transitions() const { return impl_->Counters()[GOSCHED_TRANSITIONS]; }

void GoTransitions::Stop(uint64_t stop_ns) {
  impl_->stop_ns = stop_ns;
  __atomic_store_n(&impl_->skeleton->data->stop_ns, stop_ns, __ATOMIC_SEQ_CST);
  impl_->Detach();  // and waits until no hit is on its way
  impl_->counters = impl_->Counters();
}

std::vector<MeasuredWaits> GoTransitions::Waits() const {
  std::vector<MeasuredWaits> waits;
  GoUnwinder unwinder(impl_->runtime->tables, impl_->runtime->load_bias);
  const auto add = [&](uint64_t stack, uint64_t created_at, uint32_t status, uint32_t reason,
                       uint64_t time_ns, uint64_t count, bool never_ran) {
    MeasuredWaits& added = waits.emplace_back();
    impl_->PutStack(stack, &unwinder, &added);
    added.created_at = created_at;
    added.status = status;
    added.wait_reason = reason;
    added.time_ns = time_ns;
    added.count = count;
    added.never_ran = never_ran;
  };
  ForEach<goroutine_key, goroutine_sum>(bpf_map__fd(impl_->skeleton->maps.sums),
                                        [&](const goroutine_key& key, const goroutine_sum& sum) {
                                          add(key.stack, key.created_at, key.status, key.reason,
                                              sum.time_ns, sum.count, false);
                                        });
  // What goes on at the end.
  ForEach<uint64_t, goroutine_state>(
      bpf_map__fd(impl_->skeleton->maps.goroutines), [&](uint64_t g, const goroutine_state& state) {
        if (!IsOff(state.status) || state.since >= impl_->stop_ns) return;
        const uint64_t since = std::max<uint64_t>(state.since, impl_->start_ns);
        const bool whole = state.since <= impl_->start_ns;
        add(state.stack, state.created_at, state.status, state.reason, impl_->stop_ns - since, 1,
            whole && state.status == GOROUTINE_WAITING);
        if (whole && state.status == GOROUTINE_SYSCALL) waits.back().in_one_call = g;
      });
  return waits;
}

void GoTransitions::AddLosses(Recording* recording) const {
  const auto& counters = impl_->counters;
  if (counters.empty()) return;
  Losses losses("goroutine", recording);
  const std::string more = fmt::format("--stacks {}", 4 * impl_->options.stack_entries);
  losses.Add("stack map full", counters[GOSCHED_STACK_MAP_FULL], more, false);
  losses.Add("stack not read", counters[GOSCHED_NO_STACK], "", false);
  losses.Add("sample map full", counters[GOSCHED_SUM_MAP_FULL], more, true,
             counters[GOSCHED_SUM_MAP_FULL_NS]);
  losses.Add("goroutine map full", counters[GOSCHED_GOROUTINE_MAP_FULL], "", true);
  losses.Add("start unknown", counters[GOSCHED_START_UNKNOWN], "", true);
  losses.Add("end unknown", counters[GOSCHED_END_UNKNOWN], "", true,
             counters[GOSCHED_END_UNKNOWN_NS]);
}

std::vector<int> GoTransitions::ProgramFds() const {
  return FdsOf({impl_->skeleton->progs.casgstatus});
}

std::vector<int> GoTransitions::MapFds() const { return MapFdsOf(impl_->skeleton->obj); }

uint64_t TransitionCostNs(const GoTransitionSite& site) {
  return site.emulated ? kEmulatedHitNs : kSteppedHitNs;
}

}  // namespace stallscope
