// SPDX-License-Identifier: Apache-2.0
#include "userspace/go/layout.h"

#include <absl/status/status.h>
#include <fmt/format.h>
#include <string.h>

#include "symbolizer/go_binary.h"
#include "symbolizer/go_image.h"
#include "userspace/go/offsets.h"

namespace stallscope {
namespace {

int32_t SignedAt(std::string_view code, size_t at) {
  int32_t value;
  memcpy(&value, code.data() + at, sizeof(value));
  return value;
}

}  // namespace

std::optional<int32_t> DecodeGSlot(std::string_view code, uint64_t code_address,
                                   const Memory& memory) {
  const auto plausible = [](int64_t offset) { return offset < 0 && offset >= -65536; };
  const auto bytes_at = [&](size_t at, std::string_view bytes) {
    return code.substr(at, bytes.size()) == bytes;
  };
  using namespace std::string_view_literals;
  for (size_t at = 0; at + 9 <= code.size(); ++at) {
    // mov %fs:DISP32,%rax (any destination register)
    if ((bytes_at(at, "\x64\x48\x8b"sv) || bytes_at(at, "\x64\x4c\x8b"sv)) &&
        (static_cast<uint8_t>(code[at + 3]) & 0xc7) == 0x04 && code[at + 4] == 0x25) {
      const int32_t offset = SignedAt(code, at + 5);
      if (plausible(offset)) return offset;
    }
    // mov $DISP32,%rcx; mov %fs:(%rcx),...
    if (at + 11 <= code.size() && bytes_at(at, "\x48\xc7\xc1"sv) &&
        bytes_at(at + 7, "\x64\x48\x8b"sv)) {
      const int32_t offset = SignedAt(code, at + 3);
      if (plausible(offset)) return offset;
    }
    // mov GOT(%rip),%rcx; mov %fs:(%rcx),...: the slot is written by the dynamic linker
    if (at + 11 <= code.size() && bytes_at(at, "\x48\x8b\x0d"sv) &&
        bytes_at(at + 7, "\x64\x48\x8b"sv)) {
      const auto offset = memory.ReadValue<int64_t>(code_address + at + 7 + SignedAt(code, at + 3));
      if (offset && plausible(*offset)) return static_cast<int32_t>(*offset);
    }
  }
  return std::nullopt;
}

absl::StatusOr<GoLayout> FindGoLayout(const LiveSpace& space) {
  uint64_t bias = 0;
  const symbolizer::GoBinary* go = space.go(&bias);
  if (!go) {
    if (!space.go_problem().empty()) return absl::UnimplementedError(space.go_problem());
    return absl::NotFoundError("not a Go program");
  }
  const auto minor = symbolizer::GoMinorVersion(go->version());
  const GoOffsets* offsets = minor ? KnownGoOffsets(*minor) : nullptr;
  if (!offsets) return absl::UnimplementedError(UnknownGoVersion(go->version()));

  GoLayout layout;
  layout.g_m = offsets->g_m;
  layout.g_sched_sp = offsets->g_sched_sp;
  layout.g_sched_bp = offsets->g_sched_bp;
  layout.m_gsignal = offsets->m_gsignal;
  layout.m_curg = offsets->m_curg;
  if (const auto function = go->FunctionNamed("runtime.systemstack_switch")) {
    layout.switch_start = function->entry + bias;
    layout.switch_end = function->end + bias;
  }
  const auto stackcheck = go->FunctionNamed("runtime.stackcheck");
  if (!stackcheck || stackcheck->end <= stackcheck->entry) {
    return absl::UnimplementedError(fmt::format("{}: runtime.stackcheck not found", go->version()));
  }
  std::string code(std::min<uint64_t>(stackcheck->end - stackcheck->entry, 256), '\0');
  if (!space.memory().Read(stackcheck->entry + bias, code.data(), code.size())) {
    return absl::PermissionDeniedError("cannot read the target's memory (process_vm_readv)");
  }
  const auto slot = DecodeGSlot(code, stackcheck->entry + bias, space.memory());
  if (!slot)
    return absl::UnimplementedError(
        fmt::format("{}: runtime.stackcheck is not as expected", go->version()));
  layout.g_tls = *slot;
  return layout;
}

}  // namespace stallscope
