// SPDX-License-Identifier: Apache-2.0
#include "userspace/collect/code_mappings.h"

#include <absl/status/status.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>

namespace stallscope {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kDataBytes = 16 * kPage;  // a power of two

// PERF_RECORD_MMAP2 up to the file's name.
struct MmapRecord {
  perf_event_header header;
  uint32_t pid, tid;
  uint64_t address, length, page_offset;
  uint32_t major, minor;
  uint64_t inode, inode_generation;
  uint32_t protection, flags;
};

struct LostRecord {
  perf_event_header header;
  uint64_t id, lost;
};

// Copies from the ring, which may wrap in the middle.
void CopyOut(const char* data, uint64_t at, void* out, size_t size) {
  const size_t begin = at % kDataBytes, first = std::min(size, kDataBytes - begin);
  memcpy(out, data + begin, first);
  memcpy(static_cast<char*>(out) + first, data, size - first);
}

}  // namespace

absl::StatusOr<std::unique_ptr<CodeMappings>> CodeMappings::Open() {
  std::unique_ptr<CodeMappings> self(new CodeMappings());
  perf_event_attr attributes = {};
  attributes.size = sizeof(attributes);
  attributes.type = PERF_TYPE_SOFTWARE;
  attributes.config = PERF_COUNT_SW_DUMMY;
  attributes.mmap = attributes.mmap2 = 1;
  const long cpus = sysconf(_SC_NPROCESSORS_CONF);
  for (int cpu = 0; cpu < cpus; ++cpu) {
    Ring ring;
    ring.fd = static_cast<int>(
        syscall(SYS_perf_event_open, &attributes, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC));
    if (ring.fd < 0 && errno == ENODEV) continue;  // offline
    if (ring.fd < 0) return absl::ErrnoToStatus(errno, "cannot watch mappings");
    ring.memory = mmap(nullptr, kPage + kDataBytes, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, 0);
    if (ring.memory == MAP_FAILED) {
      const int error = errno;
      close(ring.fd);
      return absl::ErrnoToStatus(error, "cannot watch mappings");
    }
    self->rings_.push_back(ring);
  }
  return self;
}

CodeMappings::~CodeMappings() {
  for (const Ring& ring : rings_) {
    munmap(ring.memory, kPage + kDataBytes);
    close(ring.fd);
  }
}

std::vector<std::pair<uint32_t, MapsLine>> CodeMappings::Drain() {
  std::vector<std::pair<uint32_t, MapsLine>> mappings;
  for (const Ring& ring : rings_) DrainRing(ring, &mappings);
  return mappings;
}

uint64_t CodeMappings::bytes() const { return rings_.size() * (kPage + kDataBytes); }

void CodeMappings::DrainRing(const Ring& ring, std::vector<std::pair<uint32_t, MapsLine>>* out) {
  auto* page = static_cast<perf_event_mmap_page*>(ring.memory);
  const char* data = static_cast<const char*>(ring.memory) + kPage;
  const uint64_t head = __atomic_load_n(&page->data_head, __ATOMIC_ACQUIRE);
  uint64_t tail = page->data_tail;
  while (tail < head) {
    perf_event_header header;
    CopyOut(data, tail, &header, sizeof(header));
    if (header.size < sizeof(header)) break;
    if (header.type == PERF_RECORD_MMAP2 && header.size >= sizeof(MmapRecord)) {
      MmapRecord record;
      CopyOut(data, tail, &record, sizeof(record));
      MapsLine line;
      line.start = record.address;
      line.end = record.address + record.length;
      line.file_offset = record.page_offset;
      line.executable = true;
      line.device = makedev(record.major, record.minor);
      line.inode = record.inode;
      out->emplace_back(record.pid, std::move(line));
    } else if (header.type == PERF_RECORD_LOST && header.size >= sizeof(LostRecord)) {
      LostRecord record;
      CopyOut(data, tail, &record, sizeof(record));
      lost_ += record.lost;
    }
    tail += header.size;
  }
  __atomic_store_n(&page->data_tail, head, __ATOMIC_RELEASE);
}

}  // namespace stallscope
