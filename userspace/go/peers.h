// SPDX-License-Identifier: Apache-2.0
//
// Whom or what a goroutine waits for: the other end of a socket, the address of a channel, a mutex,
// a wait group.
//
// The runtime keeps it where it has no promise to: in a structure that only the waiting goroutine's
// own stack points to. So every word of the innermost frames may be that pointer, and one is taken
// for it when what it points to points back to this goroutine (runtime.sudog.g, pollDesc.rg and wg)
// or to itself (pollDesc.self). Where in the frames it was found is remembered by stack, as a place
// to look first and no more.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "userspace/go/runtime.h"
#include "userspace/go/stack_table.h"
#include "userspace/go/unwind.h"
#include "userspace/process/memory.h"
#include "userspace/process/sockets.h"

namespace stallscope {

// Index into the peers of a census.
using GoPeerIndex = uint32_t;
inline constexpr GoPeerIndex kNoGoPeer = 0xffffffff;

// Distinct peers as text, each kept once.
class GoPeerTable {
 public:
  // kNoGoPeer: it is new and there is no room for it.
  GoPeerIndex Intern(std::string_view peer);
  const std::string& operator[](GoPeerIndex index) const { return texts_[index]; }
  size_t size() const { return texts_.size(); }

 private:
  static constexpr size_t kMostPeers = 1 << 20;
  std::deque<std::string> texts_;
  absl::flat_hash_map<std::string, GoPeerIndex> index_;
};

class PeerReader {
 public:
  // All must outlive it. `sockets`: of the process.
  PeerReader(const Memory* memory, const GoRuntime& runtime, Sockets* sockets);

  // Whether a wait for this reason is one for somebody or something that can be told.
  bool MayHave(uint8_t wait_reason) const {
    return wait_reason < kinds_.size() && kinds_[wait_reason] != Kind::kNone;
  }

  // A goroutine that was found waiting.
  struct Wait {
    uint64_t g = 0;        // address of its structure
    uint64_t waiting = 0;  // g.waiting
    uint64_t sp = 0;
    uint8_t reason = 0;
    GoStackIndex stack = kNoGoStack;
    const GoStack* frames = nullptr;  // of `stack`
    StackBytes bytes;                 // of its stack, `sp` among them
  };

  // What has to be in memory at one and the same moment, together with the goroutine as it was
  // found, for a peer to be its peer.
  struct Fact {
    uint64_t address = 0;
    std::string bytes;
  };
  struct Claim {
    std::string peer;  // "10.0.0.5:443", "0xc000012340"
    std::vector<Fact> facts;
  };
  enum class Answer {
    kClaim,
    kUnknown,
    kLater,  // the kernel's tables are too dear to read just now
  };
  // Reads what the goroutine waits for, from memory that changes meanwhile: the claim is to be
  // believed when its facts hold.
  Answer Propose(const Wait& wait, Claim* claim);

  // Most waits are recorded where g.waiting points to: the address of the record, 0 where there is
  // none that says it all. `record_bytes()` from there on, read between two looks at the goroutine
  // that agree, need no facts.
  uint64_t RecordOf(uint8_t wait_reason, uint64_t waiting) const;
  size_t record_bytes() const { return record_bytes_; }
  // nullopt: it is not known, or that is no record of this goroutine.
  std::optional<std::string> PeerByRecord(const Wait& wait, const char* record);

 private:
  enum class Kind : uint8_t { kNone, kChannel, kSemaphore, kSocket };
  // What the functions of a stack say, and where in its frames the pointers were found.
  struct Site {
    uint64_t semaphore_at = 0;                    // in what it belongs to
    bool is_net = false;                          // the poll.FD is that of a net.netFD
    bool accepts = false;                         // new connections
    std::optional<uint64_t> owner_slot, fd_slot;  // bytes above sp
    uint32_t vain_scans = 0;
  };
  struct Sudog {
    uint64_t address = 0, element = 0, channel = 0;
    bool is_select = false;
  };
  struct PollDesc {
    uint64_t address = 0, fd = 0;
  };
  // What net.netFD has of its addresses.
  struct Addresses {
    std::optional<Endpoint> local, remote;
    std::string zone;
    std::string path;  // of a unix socket
    bool is_unix = false;
    bool known() const { return local || remote || is_unix; }
  };

  Site& SiteOf(const Wait& wait);
  Answer ProposeBySudog(const Wait& wait, Claim* claim);
  Answer ProposeSocket(const Wait& wait, Claim* claim);
  std::optional<Sudog> ReadSudog(const Wait& wait, uint64_t address) const;
  std::optional<Sudog> SudogIn(const Wait& wait, uint64_t address, const char* record) const;
  std::optional<std::string> PeerOf(const Wait& wait, const Sudog& sudog);
  void AddFacts(const Wait& wait, const Sudog& sudog, Claim* claim) const;
  std::optional<PollDesc> ReadPollDesc(const Wait& wait, uint64_t address, Claim* claim) const;
  bool IsPollFd(uint64_t address, const PollDesc& desc, Claim* claim) const;
  bool ReadAddresses(uint64_t net_fd, Addresses* addresses, Claim* claim) const;
  std::optional<Endpoint> ReadEndpoint(uint64_t address, std::string* zone, Claim* claim) const;
  std::optional<std::string> ReadUnixPath(uint64_t address, Claim* claim) const;
  Answer Believe(const Site& site, const Addresses& addresses, uint64_t fd, Claim* claim);
  // Calls `is_it` with the words of the innermost frames, that of `slot` first, until it says yes.
  template <typename IsIt>
  bool FindInFrames(const Wait& wait, Site& site, std::optional<uint64_t>* slot, const IsIt& is_it);

  const Memory* memory_;
  const GoRuntime& runtime_;
  Sockets* sockets_;
  uint16_t sudog_elem_, sudog_c_;  // where they are in it
  size_t record_bytes_;
  std::vector<Kind> kinds_;  // by wait reason
  absl::flat_hash_map<GoStackIndex, Site> sites_;
};

}  // namespace stallscope
