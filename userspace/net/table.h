// SPDX-License-Identifier: Apache-2.0
//
// The table that `net` prints: connections summed by whom they go to, which way, and on which code
// path; and the event loops that serve them. Plain values: a format needs nothing else.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "userspace/net/histogram.h"
#include "userspace/profile/recording.h"

namespace stallscope {

enum class ConnectionRole { kUnknown, kOpened, kAccepted, kListener };

// What is summed over the connections of one row. Histograms are of nanoseconds. A value that the
// kernel here cannot give is absent, not 0.
struct ConnectionSums {
  uint64_t attempts = 0;  // opened: connect() calls that tried; accepted: connections established
  uint64_t established = 0;  // of them, during the recording
  uint64_t open = 0;         // still there at the end
  uint64_t before_attach = 0;
  std::map<std::string, uint64_t> failures;  // "refused", "timed out", ...; superseded is none
  uint64_t superseded = 0;
  Histogram connect;                    // SYN_SENT to ESTABLISHED
  Histogram accept_queue;               // ESTABLISHED to accept()'s return
  std::optional<Histogram> first_byte;  // last byte of a request to the first byte of its answer
  uint64_t multiplexed = 0;             // connections left out of first_byte: several at once
  Histogram lifetime;                   // of those that were opened and closed in the recording
  Histogram idle_before_close;          // last byte either way to the close
  uint64_t bytes_sent = 0, bytes_received = 0;
  uint64_t data_segments = 0, retransmitted = 0, retransmitted_bytes = 0;
  uint64_t syn_retransmits = 0, timeout_retransmits = 0, fast_retransmits = 0;
  uint64_t tail_loss_probes = 0;  // inferred
  uint64_t failed_sends = 0;      // retransmits that the kernel could not send
  uint64_t resets_sent = 0, resets_received = 0;
  uint64_t resets_after_idle = 0;    // of those received: nothing had passed for a second
  uint64_t receiver_limited_ns = 0;  // time in which the peer's window was shut or too small
  std::optional<uint64_t> turns;     // a send then a receive (opened), or the other way
  uint64_t turns_connections = 0;    // of how many connections
  std::map<std::string, uint64_t> closed_by;  // "us", "peer", "reset by us", "reset by peer"
  Histogram srtt;                             // smoothed round trip at the close
  uint64_t time_wait = 0;                     // sockets of this peer in TIME_WAIT at the end
  std::map<std::string, uint64_t> holders;    // "name (pid)" where it is not the opener
};

// Connections of one role, program, code path and peer, summed. A listener is one too.
struct ConnectionGroup {
  ConnectionRole role = ConnectionRole::kUnknown;
  SpaceIndex space = 0;  // of the Recording that was filled with it
  uint32_t stack = 0;    // in its `stacks`: who opened, accepted, or called listen
  std::string peer;      // "10.0.0.5:443"; accepted: the remote address; listener: ":8080"
  ConnectionSums sums;
};

// Groups of one role, process, path and peer by name.
struct NetPeer {
  std::string peer;  // "10.0.0.5:443"; accepted: the remote address; listener: ":8080"
  ConnectionRole role = ConnectionRole::kUnknown;
  std::string process;  // "nginx (812)"
  // The site that opened it: "main.fetchOrder"; "[opened before attach]"; empty where its stack has
  // no name. Without stacks the process.
  std::string path;
  std::vector<std::string> frames;  // the whole stack, root first: of the part that weighs most
  ConnectionSums sums;
};

// One eventpoll object of one process, over all threads that wait on it; or the poll() and select()
// calls of one stack, which have neither busy times nor a lag. How long the loop itself was away is
// told by `longest_unattended_ns`: in Go, whose threads take turns, one thread's absence means
// nothing. Loops that were made one after the other in the same memory count as one.
struct NetLoop {
  std::string process;
  std::string name;  // "epoll fd 5", "poll"
  std::string path;  // the site that waits most
  uint32_t threads = 0;
  uint64_t calls = 0, polls = 0;        // polls: of the calls, those with a time-out of 0
  uint64_t events = 0;                  // that were handed out
  uint64_t empty = 0, empty_polls = 0;  // calls that handed out none
  uint64_t waiting_ns = 0;              // sum over threads of time in calls that may wait
  std::optional<double> waiting_share;  // of the time of the threads that wait on it
  uint64_t longest_busy_ns = 0;         // outside the call, one thread
  uint64_t longest_unattended_ns = 0;   // no thread in a call
  std::optional<Histogram> lag;         // from ready to handed out; absent: this kernel cannot tell
  uint64_t longest_lag_ns = 0;
  uint64_t without_lag = 0;  // events of timers, pipes, eventfds; of room to send; handed out again
};

// A loop without its process and path, which are not named yet.
struct EventLoop {
  SpaceIndex space = 0;           // of the Recording that was filled with it
  std::optional<uint32_t> stack;  // in its `stacks`: the one that waits most
  NetLoop row;
};

// What a rule says of connections or of a loop, in plain words.
struct NetFinding {
  std::string rule;     // "not reused"
  std::string process;  // whose: "api (4242)"
  std::string peer;     // "10.0.0.5:443"; "3 peers" where it is said of several; empty: of a loop
  std::string path;
  std::string text;  // a sentence that names them all
};

struct NetTable {
  std::vector<NetPeer> peers;  // what weighs most first
  // Absent: event loops were not measured.
  std::optional<std::vector<NetLoop>> loops;
  bool with_stacks = true;  // else `path` is the process
};

// Adds all of `from`.
void MergeSums(const ConnectionSums& from, ConnectionSums* into);

// Connections that were tried and neither came about nor failed while it was looked.
uint64_t InFlight(const ConnectionSums& sums);
uint64_t Failed(const ConnectionSums& sums);

std::string_view RoleName(ConnectionRole role);

}  // namespace stallscope
