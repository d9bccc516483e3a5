// SPDX-License-Identifier: Apache-2.0
#include "userspace/go/peers.h"

#include <fmt/format.h>
#include <string.h>
#include <sys/socket.h>

#include <algorithm>
#include <iterator>

#include "userspace/go/values.h"

namespace stallscope {
namespace {

// How far above sp the pointers are looked for: the frames of the runtime and of internal/poll.
constexpr uint64_t kScanBytes = 2048;
// In vain on one stack: then no more, so that a stack without such a pointer costs nothing.
constexpr uint32_t kMostVainScans = 64;
constexpr uint64_t kLowestPointer = 4096;
constexpr uint64_t kHighestPointer = uint64_t{1} << 47;
constexpr uint64_t kHighestFd = uint64_t{1} << 31;
constexpr size_t kLargestRecord = 1024;
constexpr uint64_t kLongestPath = 108;  // sockaddr_un
constexpr uint64_t kLongestZone = 16;
constexpr int kFirstWithSemaphoreInG = 26;  // g.waiting: before, of channels alone

// Where the semaphore lies in what these functions wait for (fields of sync's types that no version
// from 1.19 on has moved; tests/system/peers.py holds it against each).
struct SemaphoreUser {
  std::string_view function;
  uint64_t semaphore_at;
};
constexpr SemaphoreUser kSemaphoreUsers[] = {
    {"sync.(*Mutex).lockSlow", 4}, {"internal/sync.(*Mutex).lockSlow", 4},
    {"sync.(*RWMutex).RLock", 12}, {"sync.(*RWMutex).Lock", 8},
    {"sync.(*WaitGroup).Wait", 8}, {"sync.(*Cond).Wait", 16},
};

// net.TCPAddr and net.UDPAddr, whose fields are part of Go's interface.
struct IpAddress {
  GoSlice ip;
  uint64_t port = 0;
  GoString zone;
};
static_assert(sizeof(IpAddress) == 48);

struct Interface {
  uint64_t type = 0, data = 0;
};

bool StartsWith(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

bool IsPlausiblePointer(uint64_t word) {
  return word % 8 == 0 && word >= kLowestPointer && word < kHighestPointer;
}

template <typename T>
void AddFact(uint64_t address, const T& value, PeerReader::Claim* claim) {
  claim->facts.push_back({address, std::string(reinterpret_cast<const char*>(&value), sizeof(T))});
}

std::string AddressText(uint64_t address) { return fmt::format("{:#x}", address); }

bool IsZone(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '_';
  });
}

}  // namespace

GoPeerIndex GoPeerTable::Intern(std::string_view peer) {
  std::string key(peer);
  if (const auto at = index_.find(key); at != index_.end()) return at->second;
  if (texts_.size() >= kMostPeers) return kNoGoPeer;
  const auto index = static_cast<GoPeerIndex>(texts_.size());
  texts_.push_back(key);
  index_.emplace(std::move(key), index);
  return index;
}

PeerReader::PeerReader(const Memory* memory, const GoRuntime& runtime, Sockets* sockets)
    : memory_(memory), runtime_(runtime), sockets_(sockets) {
  const GoOffsets& offsets = runtime.offsets;
  const bool has_both = offsets.sudog_c_vu != GoOffsets::kNoField;
  sudog_elem_ = has_both ? offsets.sudog_elem_vu : offsets.sudog_elem;
  sudog_c_ = has_both ? offsets.sudog_c_vu : offsets.sudog_c;
  record_bytes_ = std::max({offsets.sudog_g, sudog_elem_, sudog_c_, offsets.sudog_is_select}) +
                  sizeof(uint64_t);
  const bool has_record = record_bytes_ <= kLargestRecord;
  const bool has_poller =
      offsets.poll_desc_fd != GoOffsets::kNoField && offsets.poll_desc_rg != GoOffsets::kNoField &&
      offsets.poll_desc_wg != GoOffsets::kNoField && offsets.poll_desc_self != GoOffsets::kNoField;
  for (const std::string& words : runtime.wait_reasons) {
    Kind kind = Kind::kNone;
    if (words == "chan receive" || words == "chan send") kind = Kind::kChannel;
    if (words == "semacquire" || words == "sync.Mutex.Lock" || words == "sync.RWMutex.RLock" ||
        words == "sync.RWMutex.Lock" || words == "sync.WaitGroup.Wait") {
      kind = Kind::kSemaphore;
    }
    // Before, nothing in memory leads from the goroutine to the condition.
    if (words == "sync.Cond.Wait" && runtime.minor >= kFirstWithSemaphoreInG)
      kind = Kind::kSemaphore;
    if (!has_record) kind = Kind::kNone;
    if (words == "IO wait" && has_poller) kind = Kind::kSocket;
    kinds_.push_back(kind);
  }
}

PeerReader::Answer PeerReader::Propose(const Wait& wait, Claim* claim) {
  claim->peer.clear();
  claim->facts.clear();
  if (!MayHave(wait.reason)) return Answer::kUnknown;
  switch (kinds_[wait.reason]) {
    case Kind::kChannel:
    case Kind::kSemaphore:
      return ProposeBySudog(wait, claim);
    case Kind::kSocket:
      return ProposeSocket(wait, claim);
    case Kind::kNone:
      break;
  }
  return Answer::kUnknown;
}

PeerReader::Site& PeerReader::SiteOf(const Wait& wait) {
  const auto [it, added] = sites_.try_emplace(wait.stack);
  Site& site = it->second;
  if (!added) return site;
  // Innermost first: the runtime, the package that called it, and then whoever uses that.
  bool in_poll = false;
  for (const StackAddress& address : wait.frames->addresses) {
    const auto frames =
        runtime_.tables->Lookup(address.value - runtime_.load_bias - address.is_return);
    for (const symbolizer::Frame& frame : frames) {
      const std::string_view name = frame.function;
      if (StartsWith(name, "runtime.") || name.find(".runtime_") != std::string_view::npos)
        continue;
      if (StartsWith(name, "internal/poll.")) {
        in_poll = true;
        site.accepts |= name == "internal/poll.(*FD).Accept";
        continue;
      }
      site.is_net = in_poll && StartsWith(name, "net.");
      const auto user =
          std::find_if(std::begin(kSemaphoreUsers), std::end(kSemaphoreUsers),
                       [&](const SemaphoreUser& one) { return one.function == name; });
      if (user != std::end(kSemaphoreUsers)) site.semaphore_at = user->semaphore_at;
      return site;
    }
  }
  return site;
}

template <typename IsIt>
bool PeerReader::FindInFrames(const Wait& wait, Site& site, std::optional<uint64_t>* slot,
                              const IsIt& is_it) {
  const auto word_at = [&](uint64_t above_sp) -> std::optional<uint64_t> {
    const uint64_t address = wait.sp + above_sp;
    if (address < wait.bytes.address || address + 8 > wait.bytes.end()) return std::nullopt;
    uint64_t word;
    memcpy(&word, wait.bytes.bytes + (address - wait.bytes.address), sizeof(word));
    if (!IsPlausiblePointer(word)) return std::nullopt;
    // What lies on the stack itself is not what is looked for.
    if (word >= wait.bytes.address && word < wait.bytes.end()) return std::nullopt;
    return word;
  };
  if (*slot) {
    if (const auto word = word_at(**slot); word && is_it(*word)) return true;
  }
  if (site.vain_scans >= kMostVainScans) return false;
  std::vector<uint64_t> tried;
  for (uint64_t above_sp = 0; above_sp < kScanBytes; above_sp += 8) {
    const auto word = word_at(above_sp);
    if (!word || std::find(tried.begin(), tried.end(), *word) != tried.end()) continue;
    if (is_it(*word)) {
      *slot = above_sp;
      return true;
    }
    tried.push_back(*word);
  }
  ++site.vain_scans;
  return false;
}

// ---- channels and semaphores ----

std::optional<PeerReader::Sudog> PeerReader::SudogIn(const Wait& wait, uint64_t address,
                                                     const char* record) const {
  Sudog sudog;
  sudog.address = address;
  uint64_t g;
  memcpy(&g, record + runtime_.offsets.sudog_g, sizeof(g));
  memcpy(&sudog.element, record + sudog_elem_, sizeof(sudog.element));
  memcpy(&sudog.channel, record + sudog_c_, sizeof(sudog.channel));
  const auto is_select = static_cast<uint8_t>(record[runtime_.offsets.sudog_is_select]);
  if (g != wait.g || is_select > 1) return std::nullopt;
  sudog.is_select = is_select != 0;
  return sudog;
}

std::optional<PeerReader::Sudog> PeerReader::ReadSudog(const Wait& wait, uint64_t address) const {
  char record[kLargestRecord];
  const MemoryRange range = {address, record, record_bytes_};
  if (memory_->ReadRanges({&range, 1}).error != 0) return std::nullopt;
  return SudogIn(wait, address, record);
}

void PeerReader::AddFacts(const Wait& wait, const Sudog& sudog, Claim* claim) const {
  AddFact(sudog.address + runtime_.offsets.sudog_g, wait.g, claim);
  AddFact(sudog.address + sudog_c_, sudog.channel, claim);
  // Of a receiver on a channel the element is where the value goes: it says nothing of the wait.
  if (sudog.channel == 0) AddFact(sudog.address + sudog_elem_, sudog.element, claim);
}

std::optional<std::string> PeerReader::PeerOf(const Wait& wait, const Sudog& sudog) {
  if (sudog.is_select) return std::nullopt;
  if (kinds_[wait.reason] == Kind::kChannel) {
    if (!IsPlausiblePointer(sudog.channel)) return std::nullopt;
    return AddressText(sudog.channel);
  }
  if (sudog.channel != 0 || sudog.element < kLowestPointer || sudog.element >= kHighestPointer)
    return std::nullopt;
  return AddressText(sudog.element - SiteOf(wait).semaphore_at);
}

uint64_t PeerReader::RecordOf(uint8_t wait_reason, uint64_t waiting) const {
  if (!MayHave(wait_reason) || !IsPlausiblePointer(waiting)) return 0;  // as of a nil channel
  const Kind kind = kinds_[wait_reason];
  const bool has = kind == Kind::kChannel ||
                   (kind == Kind::kSemaphore && runtime_.minor >= kFirstWithSemaphoreInG);
  return has ? waiting : 0;
}

std::optional<std::string> PeerReader::PeerByRecord(const Wait& wait, const char* record) {
  const auto sudog = SudogIn(wait, wait.waiting, record);
  return sudog ? PeerOf(wait, *sudog) : std::nullopt;
}

PeerReader::Answer PeerReader::ProposeBySudog(const Wait& wait, Claim* claim) {
  const auto is_it = [&](uint64_t address) {
    const auto sudog = ReadSudog(wait, address);
    auto peer = sudog ? PeerOf(wait, *sudog) : std::nullopt;
    if (!peer) return false;
    claim->peer = *std::move(peer);
    AddFacts(wait, *sudog, claim);
    return true;
  };
  if (const uint64_t record = RecordOf(wait.reason, wait.waiting))
    return is_it(record) ? Answer::kClaim : Answer::kUnknown;
  if (kinds_[wait.reason] == Kind::kChannel || runtime_.minor >= kFirstWithSemaphoreInG)
    return Answer::kUnknown;
  Site& site = SiteOf(wait);
  return FindInFrames(wait, site, &site.owner_slot, is_it) ? Answer::kClaim : Answer::kUnknown;
}

// ---- sockets ----

std::optional<PeerReader::PollDesc> PeerReader::ReadPollDesc(const Wait& wait, uint64_t address,
                                                             Claim* claim) const {
  const GoOffsets& offsets = runtime_.offsets;
  PollDesc desc;
  desc.address = address;
  uint64_t reader = 0, writer = 0, self = 0;
  const MemoryRange ranges[] = {
      {address + offsets.poll_desc_fd, &desc.fd, 8},
      {address + offsets.poll_desc_rg, &reader, 8},
      {address + offsets.poll_desc_wg, &writer, 8},
      {address + offsets.poll_desc_self, &self, 8},
  };
  if (memory_->ReadRanges(ranges).error != 0) return std::nullopt;
  if (self != address || desc.fd >= kHighestFd || (reader != wait.g && writer != wait.g))
    return std::nullopt;
  AddFact(address + offsets.poll_desc_fd, desc.fd, claim);
  AddFact(address + offsets.poll_desc_self, self, claim);
  AddFact(address + (reader == wait.g ? offsets.poll_desc_rg : offsets.poll_desc_wg), wait.g,
          claim);
  return desc;
}

bool PeerReader::IsPollFd(uint64_t address, const PollDesc& desc, Claim* claim) const {
  const GoOffsets& offsets = runtime_.offsets;
  uint64_t fd = 0, owner = 0;
  const MemoryRange ranges[] = {{address + offsets.poll_fd_sysfd, &fd, 8},
                                {address + offsets.poll_fd_pd, &owner, 8}};
  if (memory_->ReadRanges(ranges).error != 0 || owner != desc.address || fd != desc.fd)
    return false;
  AddFact(address + offsets.poll_fd_sysfd, fd, claim);
  AddFact(address + offsets.poll_fd_pd, owner, claim);
  return true;
}

std::optional<Endpoint> PeerReader::ReadEndpoint(uint64_t address, std::string* zone,
                                                 Claim* claim) const {
  const auto value = memory_->ReadValue<IpAddress>(address);
  if (!value || value->port > 0xffff || value->zone.size > kLongestZone) return std::nullopt;
  if (value->ip.length != 4 && value->ip.length != 16) return std::nullopt;
  uint8_t ip[16] = {};
  if (!memory_->Read(value->ip.data, ip, value->ip.length)) return std::nullopt;
  zone->resize(value->zone.size);
  if (!zone->empty() && !memory_->Read(value->zone.data, zone->data(), zone->size()))
    return std::nullopt;
  if (!IsZone(*zone)) return std::nullopt;
  AddFact(address, *value, claim);
  claim->facts.push_back(
      {value->ip.data, std::string(reinterpret_cast<const char*>(ip), value->ip.length)});
  const auto port = static_cast<uint16_t>(value->port);
  return value->ip.length == 4 ? Endpoint::V4(ip, port) : Endpoint::V6(ip, port);
}

std::optional<std::string> PeerReader::ReadUnixPath(uint64_t address, Claim* claim) const {
  const auto name = memory_->ReadValue<GoString>(address);
  if (!name || name->size > kLongestPath) return std::nullopt;
  std::string path(name->size, '\0');
  if (!path.empty() && !memory_->Read(name->data, path.data(), path.size())) return std::nullopt;
  AddFact(address, *name, claim);
  claim->facts.push_back({name->data, path});
  return path;
}

// False: the addresses are there and are not understood.
bool PeerReader::ReadAddresses(uint64_t net_fd, Addresses* addresses, Claim* claim) const {
  const GoOffsets& offsets = runtime_.offsets;
  uint64_t family = 0, type = 0;
  Interface local, remote;
  const MemoryRange ranges[] = {{net_fd + offsets.net_fd_family, &family, 8},
                                {net_fd + offsets.net_fd_sotype, &type, 8},
                                {net_fd + offsets.net_fd_laddr, &local, sizeof(local)},
                                {net_fd + offsets.net_fd_raddr, &remote, sizeof(remote)}};
  if (memory_->ReadRanges(ranges).error != 0) return false;
  AddFact(net_fd + offsets.net_fd_family, family, claim);
  AddFact(net_fd + offsets.net_fd_sotype, type, claim);
  AddFact(net_fd + offsets.net_fd_laddr, local, claim);
  AddFact(net_fd + offsets.net_fd_raddr, remote, claim);
  if (local.data == 0 && remote.data == 0) return true;  // while it connects
  if (family == AF_UNIX) {
    addresses->is_unix = true;
    for (const uint64_t address : {remote.data, local.data}) {
      if (address == 0 || !addresses->path.empty()) continue;
      const auto path = ReadUnixPath(address, claim);
      if (!path) return false;
      addresses->path = *path == "@" ? "" : *path;
    }
    return true;
  }
  if ((family != AF_INET && family != AF_INET6) || (type != SOCK_STREAM && type != SOCK_DGRAM))
    return false;
  std::string local_zone;
  if (local.data != 0) {
    addresses->local = ReadEndpoint(local.data, &local_zone, claim);
    if (!addresses->local) return false;
  }
  addresses->zone = local_zone;
  if (remote.data != 0) {
    addresses->remote = ReadEndpoint(remote.data, &addresses->zone, claim);
    if (!addresses->remote) return false;
  }
  return true;
}

// The addresses in memory are those that the socket was made with. They name the peer when the
// descriptor is still that socket: a program can close a descriptor behind the runtime's back.
PeerReader::Answer PeerReader::Believe(const Site& site, const Addresses& addresses, uint64_t fd,
                                       Claim* claim) {
  const auto agree = [&](const Socket& socket) {
    return (!addresses.local || *addresses.local == socket.local) &&
           (!addresses.known() || addresses.remote == socket.remote);
  };
  Socket socket;
  Sockets::Answer answer = sockets_->Find(fd, /*fresh=*/false, &socket);
  if (answer == Sockets::Answer::kSocket && !agree(socket))
    answer = sockets_->Find(fd, /*fresh=*/true, &socket);
  if (answer == Sockets::Answer::kNotNow) return Answer::kLater;
  const bool is_ip = answer == Sockets::Answer::kSocket && !addresses.is_unix && agree(socket);
  const bool is_unix = answer == Sockets::Answer::kUnix && addresses.is_unix;
  const bool is_only_in_memory = answer == Sockets::Answer::kForbidden && addresses.known();
  if (!is_ip && !is_unix && !is_only_in_memory) return Answer::kUnknown;

  if (addresses.is_unix) {
    if (addresses.path.empty()) return Answer::kUnknown;
    claim->peer = (site.accepts ? "listen " : "") + addresses.path;
    return Answer::kClaim;
  }
  const auto remote = is_ip ? socket.remote : addresses.remote;
  const auto local = is_ip ? std::optional(socket.local) : addresses.local;
  if (!remote && !local) return Answer::kUnknown;
  const bool listens = site.accepts || (is_ip && socket.listens);
  claim->peer = remote ? EndpointText(*remote, addresses.zone)
                       : (listens ? "listen " : "local ") + EndpointText(*local, addresses.zone);
  return Answer::kClaim;
}

PeerReader::Answer PeerReader::ProposeSocket(const Wait& wait, Claim* claim) {
  Site& site = SiteOf(wait);
  std::optional<PollDesc> desc;
  const bool found = FindInFrames(wait, site, &site.owner_slot, [&](uint64_t address) {
    desc = ReadPollDesc(wait, address, claim);
    return desc.has_value();
  });
  if (!found) return Answer::kUnknown;

  const GoOffsets& offsets = runtime_.offsets;
  const auto fields = {offsets.poll_fd_sysfd, offsets.poll_fd_pd,    offsets.net_fd_pfd,
                       offsets.net_fd_family, offsets.net_fd_sotype, offsets.net_fd_laddr,
                       offsets.net_fd_raddr};
  const bool has_net = std::find(fields.begin(), fields.end(), GoOffsets::kNoField) == fields.end();
  Addresses addresses;
  if (site.is_net) {
    if (!has_net) return Answer::kUnknown;
    uint64_t poll_fd = 0;
    const bool has_fd = FindInFrames(wait, site, &site.fd_slot, [&](uint64_t address) {
      poll_fd = address;
      return IsPollFd(address, *desc, claim);
    });
    // Without the addresses in memory a descriptor that was closed and opened again behind the
    // runtime's back would pass for the socket that is waited on.
    if (!has_fd || !ReadAddresses(poll_fd - offsets.net_fd_pfd, &addresses, claim))
      return Answer::kUnknown;
  }
  return Believe(site, addresses, desc->fd, claim);
}

}  // namespace stallscope
