// SPDX-License-Identifier: Apache-2.0
#include "userspace/collect/tcp_probe.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <thread>
#include <tuple>
#include <utility>

#include "tcp.skel.h"
#include "userspace/collect/bpf_object.h"
#include "userspace/collect/iterator.h"
#include "userspace/collect/probe_targets.h"
#include "userspace/collect/recorded_stacks.h"
#include "userspace/collect/status.h"
#include "userspace/collect/tracepoint.h"

namespace stallscope {
namespace {

bool KernelHasTracepoint(const char* name) {
  return libbpf_find_vmlinux_btf_id(name, BPF_TRACE_RAW_TP) > 0;
}

}  // namespace

struct TcpProbe::Impl {
  tcp_bpf* skeleton = nullptr;
  ProbeTargets targets;
  ring_buffer* ring = nullptr;
  bool turns = false;
  bool each_syscall = true;  // a hook for each of the system calls; else one for all
  Records pending;

  ~Impl() {
    ring_buffer__free(ring);
    tcp_bpf__destroy(skeleton);
  }

  // Their hooks, on the tracepoints of these system calls alone.
  absl::Status AttachToSyscalls() {
    auto tracefs = OpenTracefs();
    if (!tracefs.ok()) return tracefs.status();
    auto& s = *skeleton;
    absl::Status status;
    for (auto [name, program, slot] :
         {std::tuple("syscalls/sys_exit_connect", s.progs.exit_connect, &s.links.exit_connect),
          std::tuple("syscalls/sys_exit_accept", s.progs.exit_accept, &s.links.exit_accept),
          std::tuple("syscalls/sys_exit_accept4", s.progs.exit_accept4, &s.links.exit_accept4),
          std::tuple("syscalls/sys_exit_getsockopt", s.progs.exit_getsockopt,
                     &s.links.exit_getsockopt)}) {
      auto event = OpenTracepoint(*tracefs, name);
      if (!event.ok()) {
        status = event.status();
        break;
      }
      *slot = bpf_program__attach_perf_event(program, *event);
      if (*slot) continue;
      status = BpfError(errno, fmt::format("cannot attach {}", name));
      close(*event);
      break;
    }
    close(*tracefs);
    return status;
  }

  void DetachFromSyscalls() {
    auto& links = skeleton->links;
    for (bpf_link** slot :
         {&links.exit_connect, &links.exit_accept, &links.exit_accept4, &links.exit_getsockopt}) {
      bpf_link__destroy(*slot);
      *slot = nullptr;
    }
  }

  int TakeRecord(const void* data, size_t size) {
    uint32_t kind = 0;
    if (size >= sizeof(kind)) memcpy(&kind, data, sizeof(kind));
    if (kind == TCP_RECORD_ROW && size >= sizeof(tcp_row_record)) {
      tcp_row_record record;
      memcpy(&record, data, sizeof(record));
      pending.rows.push_back(record.row);
    } else if (kind == TCP_RECORD_STACK && size >= sizeof(stack_record)) {
      stack_record record;
      memcpy(&record, data, sizeof(record));
      BoundStack(&record.stack);
      pending.stacks.push_back(record);
    }
    return 0;
  }
};

TcpProbe::TcpProbe(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TcpProbe::~TcpProbe() = default;

absl::StatusOr<std::unique_ptr<TcpProbe>> TcpProbe::Load(const TcpProbeOptions& options) {
  auto impl = std::make_unique<Impl>();
  impl->skeleton = tcp_bpf__open();
  if (!impl->skeleton) return BpfError(errno, "cannot open the programs for connections");
  auto& s = *impl->skeleton;
  bpf_map__set_max_entries(s.maps.known_stacks, options.stack_entries);
  ProbeTargets::Prepare(options, &s);
  auto* knobs = s.rodata;
  knobs->walk_stacks = options.stacks;
  knobs->ticks_a_second = 1'000'000'000 / TickNs();
  impl->turns = options.turns && KernelHasTracepoint("sock_send_length") &&
                KernelHasTracepoint("sk_data_ready");
  knobs->follow_turns = impl->turns;
  bpf_program__set_autoload(s.progs.tcp_sent, impl->turns);
  bpf_program__set_autoload(s.progs.tcp_arrived, impl->turns);
  if (!impl->turns) bpf_map__set_max_entries(s.maps.turn_times, 1);
  if (const int error = tcp_bpf__load(&s))
    return BpfError(error, "cannot load the programs for connections");
  impl->ring = ring_buffer__new(
      bpf_map__fd(s.maps.events),
      [](void* context, void* data, size_t size) {
        return static_cast<Impl*>(context)->TakeRecord(data, size);
      },
      impl.get(), nullptr);
  if (!impl->ring) return BpfError(errno, "cannot map the ring of connections");
  impl->targets = ProbeTargets::Of(s);
  if (auto status = impl->targets.AddAll(options); !status.ok()) return status;
  return std::unique_ptr<TcpProbe>(new TcpProbe(std::move(impl)));
}

absl::Status TcpProbe::Attach() {
  auto& s = *impl_->skeleton;
  auto status = AttachAll({{s.progs.tcp_opened, &s.links.tcp_opened},
                           {s.progs.tcp_changed, &s.links.tcp_changed},
                           {s.progs.tcp_destroyed, &s.links.tcp_destroyed},
                           {s.progs.tcp_synack_again, &s.links.tcp_synack_again},
                           {s.progs.tcp_sent_again, &s.links.tcp_sent_again},
                           {s.progs.tcp_reset_sent, &s.links.tcp_reset_sent},
                           {s.progs.tcp_reset_received, &s.links.tcp_reset_received}});
  if (status.ok() && impl_->turns) {
    status = AttachAll(
        {{s.progs.tcp_sent, &s.links.tcp_sent}, {s.progs.tcp_arrived, &s.links.tcp_arrived}});
  }
  if (!status.ok()) return status;
  if (impl_->AttachToSyscalls().ok()) return absl::OkStatus();
  impl_->DetachFromSyscalls();
  impl_->each_syscall = false;
  s.links.exit_any = bpf_program__attach(s.progs.exit_any);
  if (!s.links.exit_any) return BpfError(errno, "cannot attach to sys_exit");
  return absl::OkStatus();
}

absl::Status TcpProbe::FindSockets() {
  const bpf_program* program = impl_->skeleton->progs.find_sockets;
  if (auto status = ReadIterator<char>(program).status(); !status.ok()) return status;
  return ReadIterator<char>(program).status();
}

absl::StatusOr<std::vector<tcp_time_wait>> TcpProbe::FindUnowned(uint32_t pid) {
  absl::StatusOr<std::vector<tcp_time_wait>> found = absl::UnknownError("");
  // The iterator shows the network namespace of the thread that opens it.
  std::thread([&] {
    const int space = open(fmt::format("/proc/{}/ns/net", pid).c_str(), O_RDONLY | O_CLOEXEC);
    const bool inside = space >= 0 && setns(space, CLONE_NEWNET) == 0;
    const int error = errno;
    if (space >= 0) close(space);
    if (inside)
      found = ReadIterator<tcp_time_wait>(impl_->skeleton->progs.find_unowned);
    else
      found = absl::ErrnoToStatus(error, "cannot enter a network namespace");
  }).join();
  return found;
}

absl::StatusOr<std::vector<tcp_holder>> TcpProbe::Holders() {
  return ReadIterator<tcp_holder>(impl_->skeleton->progs.find_holders);
}

TcpProbe::Records TcpProbe::Drain() {
  ring_buffer__consume(impl_->ring);
  return std::exchange(impl_->pending, {});
}

absl::StatusOr<std::vector<tcp_row>> TcpProbe::Rows() {
  bpf_iter_link_info over = {};
  over.map.map_fd = bpf_map__fd(impl_->skeleton->maps.rows);
  bpf_iter_attach_opts options = {};
  options.sz = sizeof(options);
  options.link_info = &over;
  options.link_info_len = sizeof(over);
  return ReadIterator<tcp_row>(impl_->skeleton->progs.report_rows, &options);
}

bool TcpProbe::turns() const { return impl_->turns; }

std::vector<TcpProbe::TurnTimes> TcpProbe::Turns() const {
  std::vector<TurnTimes> all;
  const int map = bpf_map__fd(impl_->skeleton->maps.turn_times);
  TurnTimes one = {};
  const tcp_turn_key* last = nullptr;
  tcp_turn_key before;
  while (bpf_map_get_next_key(map, last, &one.key) == 0) {
    if (bpf_map_lookup_elem(map, &one.key, &one.times) == 0) all.push_back(one);
    before = one.key;
    last = &before;
  }
  return all;
}

uint64_t TcpProbe::TickNs() {
  timespec tick = {};
  clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
  return tick.tv_nsec > 0 ? tick.tv_nsec : 4'000'000;
}

void TcpProbe::Detach() { tcp_bpf__detach(impl_->skeleton); }

ProbeTargets& TcpProbe::targets() { return impl_->targets; }

std::vector<uint64_t> TcpProbe::Counters() const {
  return SumOverCpus(bpf_map__fd(impl_->skeleton->maps.counters), TCP_COUNTERS);
}

uint64_t TcpProbe::Missed() const { return MissedRuns(ProgramFds()) - MissedTurns(); }

uint64_t TcpProbe::MissedTurns() const {
  const auto& p = impl_->skeleton->progs;
  return MissedRuns(FdsOf({p.tcp_sent, p.tcp_arrived}));
}

std::string TcpProbe::mechanism() const {
  return fmt::format("tp_btf inet_sock_set_state, tcp_destroy_sock, tcp_retransmit_skb; {}",
                     impl_->each_syscall ? "sys_exit of 4 calls" : "sys_exit of every call");
}

std::vector<int> TcpProbe::ProgramFds() const {
  auto& p = impl_->skeleton->progs;
  std::vector<int> fds =
      FdsOf({p.tcp_opened, p.tcp_changed, p.tcp_destroyed, p.tcp_synack_again, p.tcp_sent_again,
             p.tcp_reset_sent, p.tcp_reset_received, p.tcp_sent, p.tcp_arrived});
  const std::vector<int> calls =
      impl_->each_syscall
          ? FdsOf({p.exit_connect, p.exit_accept, p.exit_accept4, p.exit_getsockopt})
          : FdsOf({p.exit_any});
  fds.insert(fds.end(), calls.begin(), calls.end());
  return fds;
}

std::vector<int> TcpProbe::MapFds() const { return MapFdsOf(impl_->skeleton->obj); }

}  // namespace stallscope
