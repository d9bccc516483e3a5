// SPDX-License-Identifier: Apache-2.0
#include "userspace/collect/ledger.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fmt/format.h>
#include <unistd.h>

#include "sched.skel.h"
#include "userspace/collect/bpf_object.h"
#include "userspace/collect/iterator.h"
#include "userspace/collect/probe_targets.h"
#include "userspace/collect/recorded_stacks.h"
#include "userspace/collect/status.h"

namespace stallscope {
namespace {

// That one process may become by exec, before its totals find no room.
constexpr uint32_t kMostPrograms = 256;

struct Destroy {
  void operator()(sched_bpf* skeleton) const { sched_bpf__destroy(skeleton); }
};
using Skeleton = std::unique_ptr<sched_bpf, Destroy>;

// Opens and loads with one of the two flavours of the switch hook.
absl::StatusOr<Skeleton> LoadFlavour(const LedgerOptions& options, bool state_from_tracepoint) {
  Skeleton skeleton(sched_bpf__open());
  if (!skeleton) return BpfError(errno, "cannot open the ledger's programs");
  bpf_program__set_autoload(skeleton->progs.sched_switch, state_from_tracepoint);
  bpf_program__set_autoload(skeleton->progs.sched_switch_3, !state_from_tracepoint);
  bpf_program__set_autoload(skeleton->progs.translate_pids, false);
  bpf_map__set_max_entries(skeleton->maps.stacks, options.stack_entries);
  bpf_map__set_max_entries(skeleton->maps.samples_0, options.sample_entries);
  bpf_map__set_max_entries(skeleton->maps.samples_1, options.sample_entries);
  if (options.mode == TARGET_ONE) bpf_map__set_max_entries(skeleton->maps.totals, kMostPrograms);
  ProbeTargets::Prepare(options, skeleton.get());
  auto* knobs = skeleton->rodata;
  knobs->min_ns = options.min_ns;
  knobs->max_ns = options.max_ns;
  knobs->per_thread = options.per_thread;
  if (const int error = sched_bpf__load(skeleton.get()))
    return BpfError(error, "cannot load the ledger's programs");
  return skeleton;
}

}  // namespace

struct Ledger::Impl {
  Skeleton skeleton;
  ProbeTargets targets;
  bool state_from_tracepoint = true;
  int barrier_map = -1;  // an inner map for the barrier

  ~Impl() {
    if (barrier_map >= 0) close(barrier_map);
  }

  // Returns after every program that was running has ended.
  absl::Status Barrier() {
    const uint32_t zero = 0;
    const uint32_t fd = barrier_map;
    if (bpf_map_update_elem(bpf_map__fd(skeleton->maps.barrier), &zero, &fd, BPF_ANY)) {
      return BpfError(errno, "cannot wait for running programs");
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<thread_record>> Pass(pass which) {
    skeleton->bss->pass = which;
    return ReadIterator<thread_record>(skeleton->progs.iterate_threads);
  }
};

Ledger::Ledger(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Ledger::~Ledger() = default;

absl::StatusOr<std::unique_ptr<Ledger>> Ledger::Load(const LedgerOptions& options) {
  auto impl = std::make_unique<Impl>();
  auto skeleton = LoadFlavour(options, true);
  if (!skeleton.ok()) {
    const absl::Status first = skeleton.status();
    skeleton = LoadFlavour(options, false);
    if (!skeleton.ok()) return first;
    impl->state_from_tracepoint = false;
  }
  impl->skeleton = *std::move(skeleton);
  impl->barrier_map = bpf_map_create(BPF_MAP_TYPE_ARRAY, "barrier_inner", 4, 4, 1, nullptr);
  if (impl->barrier_map < 0) return BpfError(errno, "cannot create a map");
  impl->targets = ProbeTargets::Of(*impl->skeleton);
  if (auto status = impl->targets.AddAll(options); !status.ok()) return status;
  return std::unique_ptr<Ledger>(new Ledger(std::move(impl)));
}

absl::Status Ledger::Attach() {
  auto& s = *impl_->skeleton;
  const bpf_program* hook =
      impl_->state_from_tracepoint ? s.progs.sched_switch : s.progs.sched_switch_3;
  bpf_link* link = bpf_program__attach(hook);
  if (!link) return BpfError(errno, "cannot attach to sched_switch");
  (impl_->state_from_tracepoint ? s.links.sched_switch : s.links.sched_switch_3) = link;
  return AttachAll({{s.progs.ledger_fork, &s.links.ledger_fork},
                    {s.progs.ledger_exec, &s.links.ledger_exec},
                    {s.progs.sched_waking, &s.links.sched_waking},
                    {s.progs.sched_wakeup_new, &s.links.sched_wakeup_new}});
}

absl::StatusOr<std::vector<thread_record>> Ledger::OpenPass() { return impl_->Pass(PASS_OPEN); }
absl::StatusOr<std::vector<thread_record>> Ledger::VerifyPass() { return impl_->Pass(PASS_VERIFY); }

void Ledger::Start(uint64_t mono_ns) { impl_->skeleton->data->start_ns = mono_ns; }

absl::StatusOr<Ledger::Samples> Ledger::Drain() {
  auto& s = *impl_->skeleton;
  const uint32_t old = s.bss->generation;
  s.bss->generation = !old;
  if (auto status = impl_->Barrier(); !status.ok()) return status;
  const int map = bpf_map__fd(old ? s.maps.samples_1 : s.maps.samples_0);
  // No program writes to this map any more, so it can be read and emptied in two steps.
  Samples samples = Entries<sample_key, sample_value>(map);
  for (const auto& sample : samples) bpf_map_delete_elem(map, &sample.first);
  return samples;
}

absl::StatusOr<std::vector<thread_record>> Ledger::Close(uint64_t mono_ns) {
  auto& s = *impl_->skeleton;
  s.data->stop_ns = mono_ns;
  if (auto status = impl_->Barrier(); !status.ok()) return status;
  auto threads = impl_->Pass(PASS_CLOSE);
  sched_bpf__detach(&s);
  return threads;
}

std::optional<stack> Ledger::ReadStack(uint64_t id) const {
  stack value;
  if (bpf_map_lookup_elem(bpf_map__fd(impl_->skeleton->maps.stacks), &id, &value))
    return std::nullopt;
  BoundStack(&value);
  return value;
}

void Ledger::ForgetStacks(const std::vector<uint64_t>& ids) {
  const int map = bpf_map__fd(impl_->skeleton->maps.stacks);
  for (uint64_t id : ids) bpf_map_delete_elem(map, &id);
}

ProbeTargets& Ledger::targets() { return impl_->targets; }

std::vector<uint64_t> Ledger::Counters() const {
  return SumOverCpus(bpf_map__fd(impl_->skeleton->maps.counters), LEDGER_COUNTERS);
}

std::vector<std::pair<space_key, space_totals>> Ledger::Totals() const {
  return Entries<space_key, space_totals>(bpf_map__fd(impl_->skeleton->maps.totals));
}

std::string Ledger::mechanism() const {
  return fmt::format("tp_btf sched_switch{}, sched_waking, sched_wakeup_new",
                     impl_->state_from_tracepoint ? "" : " (without prev_state)");
}

std::vector<int> Ledger::ProgramFds() const {
  auto& p = impl_->skeleton->progs;
  return FdsOf({p.sched_switch, p.sched_switch_3, p.sched_waking, p.sched_wakeup_new, p.ledger_fork,
                p.ledger_exec});
}

std::vector<int> Ledger::MapFds() const { return MapFdsOf(impl_->skeleton->obj); }

}  // namespace stallscope
