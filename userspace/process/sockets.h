// SPDX-License-Identifier: Apache-2.0
//
// What the kernel says of the sockets of a process: which one a file descriptor is, and between
// which addresses. From /proc/PID/fd and the tables of its network namespace (/proc/PID/net).
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace stallscope {

// An IP address and a port. IPv4 addresses are held as IPv6 holds them (::ffff:a.b.c.d), so that a
// connection has one name, whichever kind of socket it was made with.
struct Endpoint {
  std::array<uint8_t, 16> address = {};
  uint16_t port = 0;

  static Endpoint V4(const uint8_t* bytes, uint16_t port);
  static Endpoint V6(const uint8_t* bytes, uint16_t port);
  bool IsV4() const;
  bool operator==(const Endpoint&) const = default;
};

// "10.0.0.5:443", "[2001:db8::1]:443", with a zone "[fe80::1%eth0]:443".
std::string EndpointText(const Endpoint& endpoint, std::string_view zone = {});

struct Socket {
  uint64_t inode = 0;
  Endpoint local;
  std::optional<Endpoint> remote;  // none: it is connected to nobody
  bool listens = false;
  bool operator==(const Socket&) const = default;
};

// The rows of /proc/PID/net/{tcp,tcp6,udp,udp6} by inode, added to `sockets`. Rows that do not
// parse, and those of sockets that no descriptor has any more, are left out.
void ParseSockets(std::string_view text, absl::flat_hash_map<uint64_t, Socket>* sockets);

// The inodes of /proc/PID/net/unix, likewise. A path may have line ends in it, and what stands
// behind one may look like a row.
void ParseUnixSockets(std::string_view text, absl::flat_hash_set<uint64_t>* inodes);

class Sockets {
 public:
  enum class Answer {
    kSocket,     // and here are its addresses
    kUnix,       // it is a unix socket
    kOther,      // it is a socket, but in none of the tables of TCP, UDP and unix sockets
    kNoSocket,   // there is no such descriptor, or it is something else
    kNotNow,     // the tables would have to be read, which is too dear at the moment
    kForbidden,  // the descriptors of the process cannot be looked at
  };
  virtual ~Sockets() = default;
  // What descriptor `fd` is now. `fresh`: by the tables as they are now, not as they were when the
  // socket was first seen.
  virtual Answer Find(uint64_t fd, bool fresh, Socket* out) = 0;
};

// Of a live process. The tables list every socket of the network namespace: they are read when a
// socket is asked for that is not known yet, and no more often than `cpu_share` of one core allows.
class ProcessSockets : public Sockets {
 public:
  explicit ProcessSockets(std::string proc_dir, double cpu_share = 1);
  Answer Find(uint64_t fd, bool fresh, Socket* out) override;

 private:
  bool MayRead() const;
  void ReadTables();

  std::string proc_dir_;
  double cpu_share_;
  uint64_t begun_ns_;
  uint64_t cpu_ns_ = 0;  // that the reading of tables took
  absl::flat_hash_map<uint64_t, Socket> sockets_;
  absl::flat_hash_set<uint64_t> unix_sockets_;
};

}  // namespace stallscope
