// SPDX-License-Identifier: Apache-2.0
#include "symbolizer/mapping_guard.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>

namespace stallscope::symbolizer {
namespace {

// Signal handlers are the process's, so this is one of the few things that cannot belong to an
// object. A slot is written under no lock that the handler would need: `start` is published last
// and cleared first.
struct Range {
  std::atomic<uintptr_t> start{0};
  std::atomic<uintptr_t> end{0};
};

std::array<Range, 4096> guarded_ranges;
std::mutex guarded_ranges_mutex;
struct sigaction previous_action;
uintptr_t page_size;

bool IsGuarded(uintptr_t address) {
  for (const Range& range : guarded_ranges) {
    const uintptr_t start = range.start.load(std::memory_order_acquire);
    if (start != 0 && address >= start && address < range.end.load(std::memory_order_relaxed))
      return true;
  }
  return false;
}

void OnBusError(int signal, siginfo_t* info, void* context) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(info->si_addr);
  if (info->si_code == BUS_ADRERR && IsGuarded(address)) {
    void* page = reinterpret_cast<void*>(address & ~(page_size - 1));
    if (mmap(page, page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
             0) == page)
      return;
  }
  if ((previous_action.sa_flags & SA_SIGINFO) != 0 && previous_action.sa_sigaction != nullptr) {
    previous_action.sa_sigaction(signal, info, context);
    return;
  }
  if (previous_action.sa_handler != SIG_DFL && previous_action.sa_handler != SIG_IGN) {
    previous_action.sa_handler(signal);
    return;
  }
  sigaction(SIGBUS, &previous_action, nullptr);  // the fault repeats and does what it always did
}

void InstallHandler() {
  page_size = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  struct sigaction action = {};
  action.sa_sigaction = OnBusError;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, &previous_action);
}

}  // namespace

void GuardMapping(void* start, size_t size) {
  static std::once_flag installed;
  std::call_once(installed, InstallHandler);
  const std::lock_guard<std::mutex> lock(guarded_ranges_mutex);
  for (Range& range : guarded_ranges) {
    if (range.start.load(std::memory_order_relaxed) != 0) continue;
    range.end.store(reinterpret_cast<uintptr_t>(start) + size, std::memory_order_relaxed);
    range.start.store(reinterpret_cast<uintptr_t>(start), std::memory_order_release);
    return;
  }
}

void UnguardMapping(void* start) {
  const std::lock_guard<std::mutex> lock(guarded_ranges_mutex);
  for (Range& range : guarded_ranges) {
    if (range.start.load(std::memory_order_relaxed) == reinterpret_cast<uintptr_t>(start)) {
      range.start.store(0, std::memory_order_release);
      return;
    }
  }
}

}  // namespace stallscope::symbolizer
