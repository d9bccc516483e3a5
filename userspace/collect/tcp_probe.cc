// SPDX-License-Identifier: Apache-2.0
#include "userspace/collect/tcp_probe.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fmt/format.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include <tuple>
#include <utility>

#include "tcp.skel.h"
#include "userspace/collect/iterator.h"
#include "userspace/collect/recorded_stacks.h"
#include "userspace/collect/status.h"
#include "userspace/collect/tracepoint.h"

namespace stallscope {

struct TcpProbe::Impl {
  tcp_bpf* skeleton = nullptr;
  ring_buffer* ring = nullptr;
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
  if (options.mode == TARGET_ONE) bpf_map__set_max_entries(s.maps.targets, 1);  // not asked
  auto* knobs = s.rodata;
  knobs->target_mode = options.mode;
  knobs->target_tgid = options.mode == TARGET_ONE && !options.tgids.empty() ? options.tgids[0] : 0;
  knobs->own_tgid = options.own_tgid;
  knobs->walk_stacks = options.stacks;
  if (getrandom(&knobs->hash_seed, sizeof(knobs->hash_seed), 0) < 0) knobs->hash_seed = getpid();
  if (const int error = tcp_bpf__load(&s))
    return BpfError(error, "cannot load the programs for connections");
  impl->ring = ring_buffer__new(
      bpf_map__fd(s.maps.events),
      [](void* context, void* data, size_t size) {
        return static_cast<Impl*>(context)->TakeRecord(data, size);
      },
      impl.get(), nullptr);
  if (!impl->ring) return BpfError(errno, "cannot map the ring of connections");
  std::unique_ptr<TcpProbe> probe(new TcpProbe(std::move(impl)));
  if (options.mode == TARGET_SET) {
    for (uint32_t tgid : options.tgids) {
      if (auto status = probe->AddTarget(tgid); !status.ok()) return status;
    }
  }
  return probe;
}

absl::Status TcpProbe::Attach() {
  auto& s = *impl_->skeleton;
  for (auto [program, slot] : {std::pair(s.progs.tcp_opened, &s.links.tcp_opened),
                               std::pair(s.progs.tcp_changed, &s.links.tcp_changed),
                               std::pair(s.progs.tcp_destroyed, &s.links.tcp_destroyed),
                               std::pair(s.progs.tcp_synack_again, &s.links.tcp_synack_again)}) {
    *slot = bpf_program__attach(program);
    if (!*slot) return BpfError(errno, fmt::format("cannot attach {}", bpf_program__name(program)));
  }
  if (impl_->AttachToSyscalls().ok()) return absl::OkStatus();
  impl_->DetachFromSyscalls();
  impl_->each_syscall = false;
  s.links.exit_any = bpf_program__attach(s.progs.exit_any);
  if (!s.links.exit_any) return BpfError(errno, "cannot attach to sys_exit");
  return absl::OkStatus();
}

absl::Status TcpProbe::FindSockets() {
  return ReadIterator<char>(impl_->skeleton->progs.find_sockets).status();
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

void TcpProbe::Detach() { tcp_bpf__detach(impl_->skeleton); }

void TcpProbe::SetGoLayout(uint32_t tgid, const std::optional<GoLayout>& layout) {
  auto& s = *impl_->skeleton;
  const go_layout value = RawGoLayout(layout);
  if (s.rodata->target_mode == TARGET_ONE) {
    PutGoLayout(value, &s.bss->one_go);
    return;
  }
  const int map = bpf_map__fd(s.maps.go_layouts);
  if (layout) {
    bpf_map_update_elem(map, &tgid, &value, BPF_ANY);
  } else {
    bpf_map_delete_elem(map, &tgid);
  }
}

void TcpProbe::SetFrameStep(uint64_t address, const frame_step& step) {
  auto& s = *impl_->skeleton;
  if (bpf_map_update_elem(bpf_map__fd(s.maps.frame_steps), &address, &step, BPF_ANY) == 0)
    s.bss->frame_steps_used = 1;
}

absl::Status TcpProbe::AddTarget(uint32_t tgid) {
  const uint8_t one = 1;
  if (bpf_map_update_elem(targets_fd(), &tgid, &one, BPF_ANY))
    return BpfError(errno, "too many target processes");
  return absl::OkStatus();
}

void TcpProbe::RemoveTarget(uint32_t tgid) {
  bpf_map_delete_elem(targets_fd(), &tgid);
  bpf_map_delete_elem(bpf_map__fd(impl_->skeleton->maps.go_layouts), &tgid);
}

std::vector<uint64_t> TcpProbe::Counters() const {
  const int cpus = libbpf_num_possible_cpus();
  std::vector<uint64_t> sums(TCP_COUNTERS);
  if (cpus <= 0) return sums;
  std::vector<uint64_t> values(cpus);
  for (uint32_t counter = 0; counter < TCP_COUNTERS; ++counter) {
    if (bpf_map_lookup_elem(bpf_map__fd(impl_->skeleton->maps.counters), &counter, values.data()))
      continue;
    for (uint64_t value : values) sums[counter] += value;
  }
  return sums;
}

uint64_t TcpProbe::Missed() const {
  uint64_t missed = 0;
  for (const int fd : ProgramFds()) {
    bpf_prog_info info = {};
    uint32_t length = sizeof(info);
    if (bpf_obj_get_info_by_fd(fd, &info, &length) == 0) missed += info.recursion_misses;
  }
  return missed;
}

std::string TcpProbe::mechanism() const {
  return fmt::format("tp_btf inet_sock_set_state, tcp_destroy_sock; {}",
                     impl_->each_syscall ? "sys_exit of 4 calls" : "sys_exit of every call");
}

int TcpProbe::targets_fd() const { return bpf_map__fd(impl_->skeleton->maps.targets); }

std::vector<int> TcpProbe::ProgramFds() const {
  auto& p = impl_->skeleton->progs;
  std::vector<int> fds = {bpf_program__fd(p.tcp_opened), bpf_program__fd(p.tcp_changed),
                          bpf_program__fd(p.tcp_destroyed), bpf_program__fd(p.tcp_synack_again)};
  if (!impl_->each_syscall) {
    fds.push_back(bpf_program__fd(p.exit_any));
    return fds;
  }
  for (const bpf_program* program :
       {p.exit_connect, p.exit_accept, p.exit_accept4, p.exit_getsockopt}) {
    fds.push_back(bpf_program__fd(program));
  }
  return fds;
}

std::vector<int> TcpProbe::MapFds() const {
  std::vector<int> fds;
  const bpf_map* map;
  bpf_object__for_each_map(map, impl_->skeleton->obj) {
    if (bpf_map__fd(map) >= 0) fds.push_back(bpf_map__fd(map));
  }
  return fds;
}

}  // namespace stallscope
