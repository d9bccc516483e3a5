// SPDX-License-Identifier: Apache-2.0
#include "userspace/collect/epoll_probe.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fmt/format.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>

#include "epoll.skel.h"
#include "userspace/collect/bpf_object.h"
#include "userspace/collect/iterator.h"
#include "userspace/collect/recorded_stacks.h"
#include "userspace/collect/status.h"
#include "userspace/collect/tracepoint.h"

namespace stallscope {
namespace {

// epoll_pwait2 is of 5.11.
constexpr const char* kCalls[] = {"epoll_wait", "epoll_pwait", "epoll_pwait2", "poll",
                                  "ppoll",      "select",      "pselect6"};

// Whether hooks can be put on single system calls.
bool HasSyscallTracepoints() {
  const auto tracefs = OpenTracefs();
  if (!tracefs.ok()) return false;
  const auto event = OpenTracepoint(*tracefs, "syscalls/sys_exit_epoll_wait");
  close(*tracefs);
  if (event.ok()) close(*event);
  return event.ok();
}

}  // namespace

struct EpollProbe::Impl {
  epoll_bpf* skeleton = nullptr;
  ProbeTargets targets;
  ring_buffer* ring = nullptr;
  std::vector<bpf_link*> links;  // on the tracepoints of the system calls
  bool each_syscall = true;      // a hook for each of them; else one for all
  bool with_lag = false;
  int barrier_map = -1;  // an inner map for the barrier
  Records pending;

  ~Impl() {
    DetachFromSyscalls();
    ring_buffer__free(ring);
    epoll_bpf__destroy(skeleton);
    if (barrier_map >= 0) close(barrier_map);
  }

  absl::Status AttachToSyscall(int tracefs, const std::string& name, const bpf_program* program) {
    auto event = OpenTracepoint(tracefs, name);
    if (!event.ok()) return event.status();
    bpf_link* link = bpf_program__attach_perf_event(program, *event);
    if (!link) {
      const int error = errno;
      close(*event);
      return BpfError(error, fmt::format("cannot attach {}", name));
    }
    links.push_back(link);
    return absl::OkStatus();
  }

  // The ends first: one whose begin was not seen is one that had begun before.
  absl::Status AttachToSyscalls() {
    auto tracefs = OpenTracefs();
    if (!tracefs.ok()) return tracefs.status();
    absl::Status status;
    for (const bool end : {true, false}) {
      for (const char* call : kCalls) {
        const std::string name = fmt::format("syscalls/sys_{}_{}", end ? "exit" : "enter", call);
        const bpf_program* program = end ? skeleton->progs.call_ends : skeleton->progs.call_begins;
        const absl::Status attached = AttachToSyscall(*tracefs, name, program);
        const bool absent = absl::IsUnavailable(attached) && call == std::string_view(kCalls[2]);
        if (status.ok() && !absent) status = attached;
      }
    }
    close(*tracefs);
    return status;
  }

  void DetachFromSyscalls() {
    for (bpf_link* link : links) bpf_link__destroy(link);
    links.clear();
  }

  // Returns after every program that was running has ended.
  absl::Status Barrier() {
    const uint32_t zero = 0;
    const uint32_t fd = barrier_map;
    if (bpf_map_update_elem(bpf_map__fd(skeleton->maps.barrier), &zero, &fd, BPF_ANY))
      return BpfError(errno, "cannot wait for running programs");
    return absl::OkStatus();
  }

  // Marks of items that are gone pile up where connections are read without being handed out.
  absl::Status SweepReadyItems() {
    bpf_iter_link_info over = {};
    over.map.map_fd = bpf_map__fd(skeleton->maps.ready_items);
    bpf_iter_attach_opts options = {};
    options.sz = sizeof(options);
    options.link_info = &over;
    options.link_info_len = sizeof(over);
    auto stale = ReadIterator<ready_key>(skeleton->progs.report_stale, &options);
    if (!stale.ok()) return stale.status();
    for (const ready_key& key : *stale) {
      if (bpf_map_delete_elem(bpf_map__fd(skeleton->maps.ready_items), &key) == 0) ++swept;
    }
    return absl::OkStatus();
  }
  uint64_t swept = 0;

  int TakeRecord(const void* data, size_t size) {
    uint32_t kind = 0;
    if (size >= sizeof(kind)) memcpy(&kind, data, sizeof(kind));
    if (kind == EPOLL_RECORD_THREAD && size >= sizeof(loop_thread_record)) {
      loop_thread_record record;
      memcpy(&record, data, sizeof(record));
      pending.threads.push_back(record);
    } else if (kind == EPOLL_RECORD_STACK && size >= sizeof(stack_record)) {
      stack_record record;
      memcpy(&record, data, sizeof(record));
      BoundStack(&record.stack);
      pending.stacks.push_back(record);
    }
    return 0;
  }
};

EpollProbe::EpollProbe(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
EpollProbe::~EpollProbe() = default;

absl::StatusOr<std::unique_ptr<EpollProbe>> EpollProbe::Load(const EpollProbeOptions& options) {
  auto impl = std::make_unique<Impl>();
  impl->skeleton = epoll_bpf__open();
  if (!impl->skeleton) return BpfError(errno, "cannot open the programs for epoll");
  auto& s = *impl->skeleton;
  bpf_map__set_max_entries(s.maps.known_stacks, options.stack_entries);
  bpf_map__set_max_entries(s.maps.samples_0, options.sample_entries);
  bpf_map__set_max_entries(s.maps.samples_1, options.sample_entries);
  ProbeTargets::Prepare(options, &s);
  impl->with_lag = libbpf_find_vmlinux_btf_id("sk_data_ready", BPF_TRACE_RAW_TP) > 0;
  bpf_program__set_autoload(s.progs.data_ready, impl->with_lag);
  bpf_program__set_autoload(s.progs.report_stale, impl->with_lag);
  impl->each_syscall = HasSyscallTracepoints();
  bpf_program__set_autoload(s.progs.call_begins, impl->each_syscall);
  bpf_program__set_autoload(s.progs.call_ends, impl->each_syscall);
  bpf_program__set_autoload(s.progs.any_begins, !impl->each_syscall);
  bpf_program__set_autoload(s.progs.any_ends, !impl->each_syscall);
  auto* knobs = s.rodata;
  knobs->per_thread = options.per_thread;
  knobs->with_lag = impl->with_lag;
  knobs->min_ns = options.min_ns;
  knobs->max_ns = options.max_ns;
  if (const int error = epoll_bpf__load(&s))
    return BpfError(error, "cannot load the programs for epoll");
  impl->barrier_map = bpf_map_create(BPF_MAP_TYPE_ARRAY, "barrier_inner", 4, 4, 1, nullptr);
  if (impl->barrier_map < 0) return BpfError(errno, "cannot create a map");
  impl->ring = ring_buffer__new(
      bpf_map__fd(s.maps.events),
      [](void* context, void* data, size_t size) {
        return static_cast<Impl*>(context)->TakeRecord(data, size);
      },
      impl.get(), nullptr);
  if (!impl->ring) return BpfError(errno, "cannot map the ring of stacks");
  impl->targets = ProbeTargets::Of(s);
  if (auto status = impl->targets.AddAll(options); !status.ok()) return status;
  return std::unique_ptr<EpollProbe>(new EpollProbe(std::move(impl)));
}

absl::Status EpollProbe::Attach() {
  auto& s = *impl_->skeleton;
  if (auto status = AttachAll({{s.progs.thread_ends, &s.links.thread_ends}}); !status.ok())
    return status;
  if (impl_->with_lag) {
    auto status = AttachAll({{s.progs.data_ready, &s.links.data_ready}});
    if (!status.ok()) return status;
  }
  if (impl_->each_syscall) return impl_->AttachToSyscalls();
  return AttachAll(
      {{s.progs.any_ends, &s.links.any_ends}, {s.progs.any_begins, &s.links.any_begins}});
}

void EpollProbe::Start(uint64_t mono_ns) {
  impl_->skeleton->bss->begun_ns = mono_ns;
  impl_->skeleton->data->start_ns = mono_ns;
}

absl::Status EpollProbe::FindCalls(uint64_t mono_ns) {
  impl_->skeleton->bss->begun_ns = mono_ns;
  return ReadIterator<epoll_call>(impl_->skeleton->progs.iterate_threads).status();
}

absl::StatusOr<EpollProbe::Records> EpollProbe::Drain() {
  auto& s = *impl_->skeleton;
  const uint32_t old = s.bss->generation;
  s.bss->generation = !old;
  if (auto status = impl_->Barrier(); !status.ok()) return status;
  // No program writes to this map any more, so it can be read and emptied in two steps. What its
  // sums stand on is in the ring by now.
  const int map = bpf_map__fd(old ? s.maps.samples_1 : s.maps.samples_0);
  ring_buffer__consume(impl_->ring);
  Records records = std::exchange(impl_->pending, {});
  records.sums = Entries<epoll_key, epoll_sum>(map);
  for (const auto& sum : records.sums) bpf_map_delete_elem(map, &sum.first);

  if (impl_->with_lag) {
    const std::vector<uint64_t> counters = Counters();
    const uint64_t taken = counters[EPOLL_READY_TAKEN] + impl_->swept;
    if (counters[EPOLL_READY_KEPT] > taken + bpf_map__max_entries(s.maps.ready_items) / 2) {
      if (auto status = impl_->SweepReadyItems(); !status.ok()) return status;
    }
  }
  return records;
}

absl::Status EpollProbe::Stop(uint64_t mono_ns) {
  impl_->skeleton->data->stop_ns = mono_ns;
  impl_->skeleton->bss->closing = 1;
  return impl_->Barrier();
}

absl::StatusOr<std::vector<epoll_call>> EpollProbe::OpenCalls() {
  return ReadIterator<epoll_call>(impl_->skeleton->progs.iterate_threads);
}

void EpollProbe::Detach() {
  impl_->DetachFromSyscalls();
  epoll_bpf__detach(impl_->skeleton);
}

absl::StatusOr<std::vector<loop_key>> EpollProbe::OpenLoops() {
  return ReadIterator<loop_key>(impl_->skeleton->progs.find_loops);
}

std::optional<loop_row> EpollProbe::Loop(const loop_key& key) const {
  loop_row row;
  if (bpf_map_lookup_elem(bpf_map__fd(impl_->skeleton->maps.loops), &key, &row))
    return std::nullopt;
  return row;
}

std::vector<std::pair<loop_key, loop_row>> EpollProbe::Loops() const {
  return Entries<loop_key, loop_row>(bpf_map__fd(impl_->skeleton->maps.loops));
}

std::vector<std::pair<loop_thread_key, loop_thread>> EpollProbe::LoopThreads() const {
  return Entries<loop_thread_key, loop_thread>(bpf_map__fd(impl_->skeleton->maps.loop_threads));
}

std::vector<std::pair<lag_key, uint64_t>> EpollProbe::Lags() const {
  return Entries<lag_key, uint64_t>(bpf_map__fd(impl_->skeleton->maps.lags));
}

bool EpollProbe::has_lag() const { return impl_->with_lag; }

ProbeTargets& EpollProbe::targets() { return impl_->targets; }

std::vector<uint64_t> EpollProbe::Counters() const {
  return SumOverCpus(bpf_map__fd(impl_->skeleton->maps.counters), EPOLL_COUNTERS);
}

uint64_t EpollProbe::MissedCalls() const {
  auto& p = impl_->skeleton->progs;
  return MissedRuns(FdsOf({p.call_begins, p.call_ends, p.any_begins, p.any_ends}));
}

uint64_t EpollProbe::MissedArrivals() const {
  return MissedRuns(FdsOf({impl_->skeleton->progs.data_ready}));
}

std::string EpollProbe::mechanism() const {
  return fmt::format("{}{}",
                     impl_->each_syscall ? "sys_enter and sys_exit of 7 calls"
                                         : "tp_btf sys_enter and sys_exit of every call",
                     impl_->with_lag ? ", tp_btf sk_data_ready" : "");
}

std::vector<int> EpollProbe::ProgramFds() const {
  auto& p = impl_->skeleton->progs;
  return FdsOf({p.thread_ends, p.data_ready, p.call_begins, p.call_ends, p.any_begins, p.any_ends});
}

std::vector<int> EpollProbe::MapFds() const { return MapFdsOf(impl_->skeleton->obj); }

}  // namespace stallscope
