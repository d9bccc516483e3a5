// SPDX-License-Identifier: Apache-2.0
#include "userspace/collect/process_events.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>

#include "process.skel.h"
#include "userspace/collect/bpf_object.h"
#include "userspace/collect/status.h"

namespace stallscope {

struct ProcessEvents::Impl {
  process_bpf* skeleton = nullptr;
  ring_buffer* ring = nullptr;
  std::vector<process_event> pending;

  ~Impl() {
    ring_buffer__free(ring);
    process_bpf__destroy(skeleton);
  }
};

ProcessEvents::ProcessEvents(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ProcessEvents::~ProcessEvents() = default;

absl::StatusOr<std::unique_ptr<ProcessEvents>> ProcessEvents::Attach(
    const ProcessEventsOptions& options) {
  auto impl = std::make_unique<Impl>();
  impl->skeleton = process_bpf__open();
  if (!impl->skeleton) return BpfError(errno, "cannot open the process programs");
  auto& s = *impl->skeleton;
  s.rodata->target_mode = options.mode;
  s.rodata->target_tgid = options.tgid;
  s.rodata->own_tgid = options.own_tgid;
  s.rodata->follow_children = options.follow_children;
  memcpy(const_cast<char*>(reinterpret_cast<const volatile char*>(s.rodata->wanted_comm)),
         options.wanted_comm.data(),
         std::min<size_t>(options.wanted_comm.size(), sizeof(s.rodata->wanted_comm) - 1));
  if (const int error = bpf_map__reuse_fd(s.maps.targets, options.targets_fd)) {
    return BpfError(error, "cannot share the set of targets");
  }
  if (const int error = process_bpf__load(&s))
    return BpfError(error, "cannot load the process programs");
  if (const int error = process_bpf__attach(&s))
    return BpfError(error, "cannot attach the process programs");
  impl->ring = ring_buffer__new(
      bpf_map__fd(s.maps.events),
      [](void* context, void* data, size_t size) {
        if (size >= sizeof(process_event)) {
          process_event event;
          memcpy(&event, data, sizeof(event));
          static_cast<Impl*>(context)->pending.push_back(event);
        }
        return 0;
      },
      impl.get(), nullptr);
  if (!impl->ring) return BpfError(errno, "cannot map the ring of process events");
  return std::unique_ptr<ProcessEvents>(new ProcessEvents(std::move(impl)));
}

std::vector<process_event> ProcessEvents::Drain() {
  ring_buffer__consume(impl_->ring);
  return std::exchange(impl_->pending, {});
}

uint64_t ProcessEvents::lost() const {
  return impl_->skeleton->bss->events_lost + impl_->skeleton->bss->targets_lost;
}

std::vector<int> ProcessEvents::ProgramFds() const {
  auto& p = impl_->skeleton->progs;
  return FdsOf({p.process_fork, p.process_exec, p.process_exit});
}

std::vector<int> ProcessEvents::MapFds() const {
  return MapFdsOf(impl_->skeleton->obj, impl_->skeleton->maps.targets);
}

void ProcessEvents::Detach() { process_bpf__detach(impl_->skeleton); }

}  // namespace stallscope
