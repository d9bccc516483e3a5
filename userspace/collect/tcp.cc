// SPDX-License-Identifier: Apache-2.0
#include "userspace/collect/tcp.h"

#include <absl/container/flat_hash_set.h>
#include <absl/status/status.h>
#include <arpa/inet.h>
#include <fmt/format.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "userspace/collect/losses.h"
#include "userspace/collect/probe_targets.h"
#include "userspace/collect/recorded_stacks.h"
#include "userspace/process/clock.h"
#include "userspace/profile/reason.h"

namespace stallscope {
namespace {

// Beyond so many samples, peers are not told apart.
constexpr size_t kMostSums = 1 << 18;
// Attempts that are kept until it is known whether they lost a race.
constexpr size_t kMostGivenUp = 1 << 16;
constexpr size_t kMostSucceeded = 64;  // of one process and port, the latest
// Who wins a race ends the others at once, and they began not long before or after it.
constexpr uint64_t kRaceEndNs = 100'000'000;
constexpr uint64_t kRaceStartNs = 3'000'000'000;

constexpr size_t kMostNamespaces = 64;
constexpr size_t kMostInNamespace = 64;
constexpr size_t kMostHeld = 1 << 16;  // connections with another holder, at the end

constexpr char kBeforeAttach[] = "opened before attach";

std::array<uint8_t, 16> RemoteOf(const tcp_row& row) {
  std::array<uint8_t, 16> remote;
  memcpy(remote.data(), row.remote, remote.size());
  return remote;
}

std::string AddressText(const tcp_row& row) {
  char text[INET6_ADDRSTRLEN] = "?";
  in6_addr address;
  memcpy(&address, row.remote, sizeof(address));
  if (row.family == AF_INET || IN6_IS_ADDR_V4MAPPED(&address)) {
    const uint8_t* v4 = row.family == AF_INET ? row.remote : row.remote + 12;
    inet_ntop(AF_INET, v4, text, sizeof(text));
    return text;
  }
  inet_ntop(AF_INET6, &address, text, sizeof(text));
  return fmt::format("[{}]", text);
}

// "10.0.0.5:443"; of an accepted connection the address alone: its port is of no meaning.
std::string PeerText(const tcp_row& row) {
  if (row.role == TCP_ROLE_LISTENER) return fmt::format(":{}", row.local_port);
  if (row.role == TCP_ROLE_OPENED) return fmt::format("{}:{}", AddressText(row), row.remote_port);
  return AddressText(row);
}

uint64_t Since(uint64_t from, uint64_t to) { return to > from ? to - from : 0; }

}  // namespace

absl::StatusOr<std::unique_ptr<Tcp>> Tcp::Start(const TcpOptions& options, PidNamespace* pids,
                                                symbolizer::ModuleCache* modules) {
  std::unique_ptr<Tcp> self(new Tcp(options, pids, modules));
  self->processes_.ReadNamed();
  TcpProbeOptions probe_options = options.probe;
  probe_options.turns = options.groups;
  auto probe = TcpProbe::Load(probe_options);
  if (!probe.ok()) return probe.status();
  self->probe_ = *std::move(probe);
  if (auto status = self->processes_.Attach(&self->probe_->targets()); !status.ok()) return status;
  self->start_ns_ = ClockNs(CLOCK_MONOTONIC);
  if (auto status = self->probe_->Attach(); !status.ok()) return status;
  if (auto status = self->probe_->FindSockets(); !status.ok()) return status;
  self->FindQueued();
  return self;
}

std::vector<ProcessChange> Tcp::TakeProcessEvents() {
  return processes_.TakeEvents([this](const process_event& event, bool) {
    // Another program may have other code at the same addresses.
    if (event.kind == PROCESS_EXEC) processes_.teacher().Forget();
  });
}

absl::Status Tcp::AddTarget(uint32_t kernel_tgid) {
  if (auto status = processes_.AddTarget(kernel_tgid); !status.ok()) return status;
  return probe_->FindSockets();
}

// --- Connections.

std::vector<ProcessChange> Tcp::Drain() {
  // The records first: an exec that comes after them is then known before their program is read.
  const TcpProbe::Records records = probe_->Drain();
  std::vector<ProcessChange> changes = TakeProcessEvents();
  Take(records);
  return changes;
}

absl::StatusOr<std::vector<ProcessChange>> Tcp::Stop() {
  std::vector<ProcessChange> changes = Drain();
  stop_ns_ = ClockNs(CLOCK_MONOTONIC);
  // What ends between this reading and the last drain is in both: it is told by its id.
  auto alive = probe_->Rows();
  if (!alive.ok()) return alive.status();
  if (options_.groups) FindHolders();
  probe_->Detach();
  const std::vector<TcpProbe::TurnTimes> turns = probe_->Turns();
  TcpProbe::Records rest = probe_->Drain();
  absl::flat_hash_set<uint64_t> seen;
  for (const tcp_row& row : *alive) seen.insert(row.id);
  // What began after the end was seen by some of the programs alone: they are detached one by one.
  const auto is_late = [&](const tcp_row& row) { return row.open_ns >= stop_ns_; };
  alive->erase(std::remove_if(alive->begin(), alive->end(), is_late), alive->end());
  rest.rows.erase(
      std::remove_if(rest.rows.begin(), rest.rows.end(),
                     [&](const tcp_row& row) { return seen.contains(row.id) || is_late(row); }),
      rest.rows.end());
  for (ProcessChange& change : TakeProcessEvents()) changes.push_back(std::move(change));
  processes_.Detach();
  Take(rest);
  for (const tcp_row& row : *alive) TakeRow(row);
  if (options_.groups) {
    for (const auto& [key, times] : turns) groups_.AddTurns(key, times);
    FindTimeWaits();
  }
  for (auto& [port, attempts] : given_up_) {
    for (Attempt& attempt : attempts) BookGivenUp(std::move(attempt), false);
  }
  given_up_.clear();
  return changes;
}

void Tcp::Take(const TcpProbe::Records& records) {
  for (const stack_record& record : records.stacks) stacks_.Take(record);
  for (const tcp_row& row : records.rows) TakeRow(row);
  connections_ += records.rows.size();
}

void Tcp::TakeRow(const tcp_row& row) {
  if (row.space.tgid == 0) {
    ++ownerless_;
    return;
  }
  if (processes_.IsForeign(row.space)) return;
  ConnectionSums* sums = nullptr;
  if (options_.groups) {
    sums = groups_.Of({RoleOf(row), processes_.FindAndTeach(row.space), row.stack, PeerText(row)});
    AddToGroup(row, sums);
  }
  if (row.role == TCP_ROLE_OPENED) TakeOpened(row, sums);
  if (row.role == TCP_ROLE_ACCEPTED) TakeAccepted(row, sums);
  if (options_.retransmits) TakeRetransmits(row);
}

std::string Tcp::ProcessName(const char (&comm)[16], uint32_t kernel_tgid) const {
  return fmt::format("{} ({})", std::string(comm, strnlen(comm, sizeof(comm))),
                     pids_->FromKernel(kernel_tgid).value_or(kernel_tgid));
}

void Tcp::AddToGroup(const tcp_row& row, ConnectionSums* sums) {
  RowFacts facts;
  facts.tick_ns = TcpProbe::TickNs();
  facts.turns = probe_->turns();
  if (const auto found = holders_.find(row.id); found != holders_.end())
    facts.holders = found->second;
  if (row.holder_tgid) facts.holders.insert(ProcessName(row.holder_comm, row.holder_tgid));
  groups_.Add(row, facts, sums);
  if (row.end != TCP_END_FIN_SENT ||
      (namespaces_.size() >= kMostNamespaces && !namespaces_.contains(row.netns)))
    return;
  std::set<uint32_t>& inside = namespaces_[row.netns];
  if (inside.size() < kMostInNamespace) inside.insert(row.space.tgid);
}

void Tcp::FindHolders() {
  auto holders = probe_->Holders();
  if (!holders.ok()) return;  // old kernels: nothing is said of holders
  for (const tcp_holder& holder : *holders) {
    if (holders_.size() >= kMostHeld) return;
    holders_[holder.id].insert(ProcessName(holder.comm, holder.tgid));
  }
}

// Connections that a target has not accepted yet.
void Tcp::FindQueued() {
  const auto rows = probe_->Rows();
  if (!rows.ok()) return;
  std::map<uint32_t, uint32_t> listening;  // network namespaces, each with a process in it
  for (const tcp_row& row : *rows) {
    if (row.role == TCP_ROLE_LISTENER && listening.size() < kMostNamespaces)
      listening[row.netns] = row.space.tgid;
  }
  for (const auto& [netns, tgid] : listening) {
    const auto pid = pids_->FromKernel(tgid);
    if (!pid || !probe_->FindUnowned(*pid).ok()) ++namespaces_not_read_;
  }
}

void Tcp::FindTimeWaits() {
  struct stat ours = {};
  stat("/proc/self/ns/net", &ours);
  for (const auto& [netns, inside] : namespaces_) {
    absl::StatusOr<std::vector<tcp_time_wait>> waits = absl::NotFoundError("");
    if (netns == ours.st_ino) waits = probe_->FindUnowned(static_cast<uint32_t>(getpid()));
    for (auto tgid = inside.begin(); !waits.ok() && tgid != inside.end(); ++tgid) {
      if (const auto pid = pids_->FromKernel(*tgid)) waits = probe_->FindUnowned(*pid);
    }
    if (!waits.ok()) {
      ++namespaces_not_read_;
      continue;
    }
    for (const tcp_time_wait& socket : *waits) groups_.AddTimeWait(socket);
  }
}

void Tcp::TakeOpened(const tcp_row& row, ConnectionSums* sums) {
  const bool in_flight_at_start = row.flags & TCP_BEFORE_ATTACH;
  const auto key = [&](std::string words, bool unfinished) {
    return KeyOf(kSetUp, row, unfinished ? Unfinished(words) : std::move(words));
  };
  if (sums) ++sums->attempts;
  if (row.established_ns) {
    const uint64_t took_ns = Since(row.open_ns, row.established_ns);
    if (sums) ++sums->established;
    if (sums && !in_flight_at_start) sums->connect.Add(took_ns);
    Succeeded(row);
    BookSetUp(key("connect", in_flight_at_start), took_ns);
  } else if (!row.closed_ns) {
    BookSetUp(key("connect", true), Since(row.open_ns, stop_ns_));
  } else if (row.error) {
    if (sums) ++sums->failures[ErrorWord(row.error)];
    const bool tried = !(row.flags & TCP_NO_ATTEMPT);
    BookSetUp(key(ConnectFailure(row.error), in_flight_at_start),
              tried ? std::optional(Since(row.open_ns, row.closed_ns)) : std::nullopt);
  } else {
    GivenUp(row, key("", false), sums);
  }
}

void Tcp::TakeAccepted(const tcp_row& row, ConnectionSums* sums) {
  const bool queued_before = row.flags & TCP_QUEUED_BEFORE;
  if ((row.flags & TCP_BEFORE_ATTACH) && !queued_before) return;
  if (sums && !queued_before) {
    ++sums->attempts;
    ++sums->established;
  }
  const uint64_t until = row.accepted_ns ? row.accepted_ns
                         : row.closed_ns ? row.closed_ns
                                         : stop_ns_;
  const uint64_t waited_ns = Since(row.established_ns, until);
  if (row.flags & TCP_START_UNKNOWN) {
    BookSetUp(KeyOf(kSetUp, row, Unfinished("accept queue")), std::nullopt);
  } else if (queued_before || (!row.accepted_ns && !row.closed_ns)) {
    BookSetUp(KeyOf(kSetUp, row, Unfinished("accept queue")), waited_ns);
  } else if (row.accepted_ns) {
    if (sums) sums->accept_queue.Add(waited_ns);
    BookSetUp(KeyOf(kSetUp, row, "accept queue"), waited_ns);
  } else {
    if (sums) ++sums->failures[ErrorWord(row.error)];
    BookSetUp(KeyOf(kSetUp, row, AcceptFailure(row.error)), waited_ns);
  }
}

void Tcp::TakeRetransmits(const tcp_row& row) {
  if (row.role == TCP_ROLE_LISTENER) {
    BookRetransmits(row, "retransmit SYN-ACK", row.synack_retrans, 0);
    return;
  }
  const uint64_t all = Since(row.baseline.retrans, row.last.retrans);
  uint64_t syn = 0;
  if (row.role == TCP_ROLE_OPENED)
    syn = row.established_ns ? std::min(all, Since(row.baseline.retrans, row.established_retrans))
                             : all;
  BookRetransmits(row, "retransmit SYN", syn, 0);
  BookRetransmits(row, "retransmit not sent", row.unsent, 0);
  uint64_t rest = all - syn;
  uint64_t rest_bytes = Since(row.baseline.bytes_retrans, row.last.bytes_retrans);
  constexpr std::pair<tcp_resent_kind, const char*> kKinds[] = {
      {TCP_RESENT_TIMEOUT, "retransmit timeout"},
      {TCP_RESENT_FAST, "retransmit fast"},
      {TCP_RESENT_PROBE, "retransmit tail loss probe (inferred)"}};
  for (const auto& [kind, words] : kKinds) {
    const uint64_t segments = std::min<uint64_t>(rest, row.resent[kind]);
    const uint64_t bytes = std::min<uint64_t>(rest_bytes, row.resent_bytes[kind]);
    BookRetransmits(row, words, segments, bytes);
    rest -= segments;
    rest_bytes -= bytes;
  }
  BookRetransmits(row, "retransmit", rest, rest_bytes);
}

Tcp::SumKey Tcp::KeyOf(Event event, const tcp_row& row, std::string words) {
  if (event == kSetUp && !options_.set_up) return {};
  SumKey key(event, processes_.FindAndTeach(row.space), row.stack, std::move(words), PeerText(row),
             0, "");
  if (options_.per_thread) {
    std::get<5>(key) = row.tid;
    std::get<6>(key) = std::string(row.comm, strnlen(row.comm, sizeof(row.comm)));
  }
  if (sums_.size() >= kMostSums && !sums_.contains(key)) {
    ++peers_not_kept_;
    std::get<4>(key).clear();
  }
  return key;
}

void Tcp::BookSetUp(SumKey key, std::optional<uint64_t> time_ns) {
  if (!options_.set_up) return;
  if (time_ns && (*time_ns < options_.min_ns || *time_ns > options_.max_ns)) {
    Hidden& hidden = *time_ns < options_.min_ns ? below_min_ : above_max_;
    ++hidden.count;
    hidden.time_ns += *time_ns;
    return;
  }
  Sum& sum = sums_[std::move(key)];
  if (time_ns) sum.first = sum.first.value_or(0) + static_cast<int64_t>(*time_ns);
  ++sum.second;
}

void Tcp::BookRetransmits(const tcp_row& row, std::string words, uint64_t segments,
                          uint64_t bytes) {
  if (segments == 0) return;
  Sum& sum = sums_[KeyOf(kRetransmits, row, std::move(words))];
  sum.first = sum.first.value_or(0) + static_cast<int64_t>(segments);
  sum.second += static_cast<int64_t>(bytes);
}

// --- Races.

namespace {

// Whether the attempt that was given up ended because the other succeeded: another address of the
// same service, tried at the same time.
template <typename Attempt>
bool LostTo(const Attempt& loser, const Attempt& winner) {
  const uint64_t apart =
      std::max(loser.open_ns, winner.open_ns) - std::min(loser.open_ns, winner.open_ns);
  return loser.remote != winner.remote && apart <= kRaceStartNs && winner.end_ns >= loser.open_ns &&
         winner.end_ns <= loser.end_ns && loser.end_ns - winner.end_ns <= kRaceEndNs;
}

}  // namespace

void Tcp::Succeeded(const tcp_row& row) {
  const PortOfProcess port(row.space.tgid, row.remote_port);
  Attempt winner{row.open_ns, row.established_ns, RemoteOf(row), false, {}, nullptr};
  if (const auto found = given_up_.find(port); found != given_up_.end()) {
    std::vector<Attempt>& losers = found->second;
    const auto lost = std::stable_partition(
        losers.begin(), losers.end(), [&](const Attempt& one) { return !LostTo(one, winner); });
    given_up_count_ -= losers.end() - lost;
    for (auto it = lost; it != losers.end(); ++it) BookGivenUp(std::move(*it), true);
    losers.erase(lost, losers.end());
  }
  std::deque<Attempt>& latest = succeeded_[port];
  latest.push_back(std::move(winner));
  if (latest.size() > kMostSucceeded) latest.pop_front();
}

void Tcp::GivenUp(const tcp_row& row, SumKey key, ConnectionSums* sums) {
  const PortOfProcess port(row.space.tgid, row.remote_port);
  const bool since_before = row.flags & TCP_BEFORE_ATTACH;
  Attempt loser{row.open_ns, row.closed_ns, RemoteOf(row), since_before, std::move(key), sums};
  bool lost = false;
  if (const auto found = succeeded_.find(port); found != succeeded_.end()) {
    lost = std::any_of(found->second.begin(), found->second.end(),
                       [&](const Attempt& winner) { return LostTo(loser, winner); });
  }
  // The winner is told when its connection ends, which may be much later.
  if (lost || given_up_count_ >= kMostGivenUp) {
    BookGivenUp(std::move(loser), lost);
    return;
  }
  ++given_up_count_;
  given_up_[port].push_back(std::move(loser));
}

void Tcp::BookGivenUp(Attempt attempt, bool superseded) {
  if (attempt.sums && superseded) ++attempt.sums->superseded;
  if (attempt.sums && !superseded) ++attempt.sums->failures[ErrorWord(0)];
  const std::string words = superseded ? "connect superseded" : ConnectFailure(0);
  std::get<3>(attempt.key) = attempt.since_before ? Unfinished(words) : words;
  BookSetUp(std::move(attempt.key), Since(attempt.open_ns, attempt.end_ns));
}

// --- The recording.

uint32_t Tcp::AddStack(uint64_t id, SpaceIndex base, StackIndex* index,
                       Recording* recording) const {
  Stack stack = id == STACK_MISSED ? MarkerStack(kBeforeAttach, StackEnd::kNone) : stacks_.Find(id);
  for (Segment& segment : stack.segments) {
    if (segment.kind != SegmentKind::kMarker) segment.space += base;
  }
  const auto [place, fresh] = index->try_emplace(stack, recording->stacks.size());
  if (fresh) recording->stacks.push_back(std::move(stack));
  return place->second;
}

absl::Status Tcp::Fill(Recording* recording, const std::function<bool()>& interrupted,
                       std::vector<ConnectionGroup>* groups) const {
  const SpaceIndex base = recording->spaces.size();
  const size_t first_stack = recording->stacks.size();
  RecordedEvent events[2];
  events[kSetUp].name = "tcp";
  events[kSetUp].columns = {{"time", "ns"}, {"count", "count"}};
  events[kRetransmits].name = "retrans";
  events[kRetransmits].columns = {{"segments", "segments"}, {"bytes", "bytes"}};
  StackIndex index;
  for (const auto& [key, sum] : sums_) {
    const auto& [event, space, id, words, peer, tid, thread] = key;
    Sample sample;
    sample.space = base + space;
    sample.stack = AddStack(id, base, &index, recording);
    sample.reason.words = words;
    sample.reason.peer = peer;
    if (options_.per_thread) {
      sample.tid = pids_->FromKernel(tid).value_or(tid);
      sample.thread_name = thread;
    }
    sample.values = {sum.first, sum.second};
    events[event].samples.push_back(std::move(sample));
  }
  for (const auto& [key, sums] : groups_.all()) {
    if (!groups) break;
    const auto& [role, space, id, peer] = key;
    groups->push_back({role, base + space, AddStack(id, base, &index, recording), peer, sums});
  }
  recording->per_thread |= options_.per_thread;
  for (const Event event : {kSetUp, kRetransmits}) {
    if (event == kSetUp ? !options_.set_up : !options_.retransmits) continue;
    events[event].mechanism = probe_->mechanism();
    recording->events.push_back(std::move(events[event]));
  }
  AddLosses(recording);
  AddSpaces(processes_.spaces(), recording);
  return NameAddresses(processes_.spaces(), base, first_stack, recording, interrupted);
}

void Tcp::AddLosses(Recording* recording) const {
  const std::vector<uint64_t> counters = probe_->Counters();
  Losses losses(options_.set_up ? "tcp" : options_.retransmits ? "retrans" : "net", recording);
  const std::string more_stacks =
      fmt::format("--stacks {}", uint64_t{options_.probe.stack_entries} * 4);
  losses.Add("connection map full", counters[TCP_ROW_MAP_FULL], "", true);
  losses.Add("ring of connections full", counters[TCP_RING_FULL], "", true);
  losses.Add("changes of state missed", probe_->Missed(), "", true);
  losses.Add("accept queue of an unknown listener", ownerless_, "", true);
  losses.Add("stack map full", counters[TCP_STACK_MAP_FULL], more_stacks, false);
  losses.Add("ring of stacks full", counters[TCP_STACK_RING_FULL], "", false);
  losses.Add("listeners not followed", counters[TCP_LISTENER_MAP_FULL], "", false);
  losses.Add("peers not told apart", peers_not_kept_, "", false);
  losses.Add("paths of connections not told apart", groups_.without_path(), "", false);
  losses.Add("peers of connections not told apart", groups_.without_peer(), "", false);
  losses.Add("times of questions and answers: map full", counters[TCP_TURN_MAP_FULL], "", false);
  losses.Add("times of questions and answers of lost connections", groups_.turns_of_nobody(), "",
             false);
  losses.Add("ended connections that may be in TIME_WAIT", groups_.ends_not_kept(), "", false);
  losses.Add("network namespaces not looked through", namespaces_not_read_, "", false);
  losses.Add("questions and answers missed", probe_->MissedTurns(), "", false);
  losses.Add("process gone before it could be read", stacks_.gone(), "", false);
  losses.Add("process events lost", processes_.events_lost(), "", false);
  Losses filtered("tcp", recording);
  filtered.Hide("--min", below_min_.count, below_min_.time_ns);
  filtered.Hide("--max", above_max_.count, above_max_.time_ns);
}

std::vector<int> Tcp::ProgramFds() const {
  std::vector<int> fds = probe_->ProgramFds();
  for (const int fd : processes_.ProgramFds()) fds.push_back(fd);
  return fds;
}

std::vector<int> Tcp::MapFds() const {
  std::vector<int> fds = probe_->MapFds();
  for (const int fd : processes_.MapFds()) fds.push_back(fd);
  return fds;
}

}  // namespace stallscope
