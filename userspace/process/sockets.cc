// SPDX-License-Identifier: Apache-2.0
#include "userspace/process/sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fmt/format.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "userspace/process/clock.h"
#include "userspace/process/proc_files.h"

namespace stallscope {
namespace {

constexpr uint8_t kV4Prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
constexpr uint8_t kListen = 10;  // TCP_LISTEN of the kernel, which UDP never has
// Up to the inode.
constexpr size_t kColumns = 10;
constexpr size_t kUnixColumns = 7;
// What reading the tables may take at once, when they have not been read for a while.
constexpr uint64_t kFreeCpuNs = 20'000'000;

template <typename T>
std::optional<T> Number(std::string_view text, int base) {
  T value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// "0100007F:1F90": words of 32 bits in the byte order of the machine, then the port.
std::optional<Endpoint> ParseEndpoint(std::string_view text) {
  const size_t colon = text.find(':');
  if (colon != 8 && colon != 32) return std::nullopt;
  uint8_t bytes[16];
  for (size_t at = 0; at < colon; at += 8) {
    const auto word = Number<uint32_t>(text.substr(at, 8), 16);
    if (!word) return std::nullopt;
    memcpy(bytes + at / 2, &*word, sizeof(*word));
  }
  const auto port = Number<uint16_t>(text.substr(colon + 1), 16);
  if (!port) return std::nullopt;
  return colon == 8 ? Endpoint::V4(bytes, *port) : Endpoint::V6(bytes, *port);
}

// The first N columns; false: there are fewer.
template <size_t N>
bool Split(std::string_view line, std::array<std::string_view, N>* columns) {
  size_t at = 0;
  for (std::string_view& column : *columns) {
    at = line.find_first_not_of(' ', at);
    if (at == std::string_view::npos) return false;
    const size_t end = std::min(line.find(' ', at), line.size());
    column = line.substr(at, end - at);
    at = end;
  }
  return true;
}

// Calls `row` with each line but the first.
template <typename Row>
void ForEachRow(std::string_view text, const Row& row) {
  bool heading = true;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    if (!heading) row(text.substr(0, end));
    heading = false;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

void ParseRow(std::string_view line, absl::flat_hash_map<uint64_t, Socket>* sockets) {
  std::array<std::string_view, kColumns> columns;
  if (!Split(line, &columns)) return;
  const auto local = ParseEndpoint(columns[1]), remote = ParseEndpoint(columns[2]);
  const auto state = Number<uint8_t>(columns[3], 16);
  const auto inode = Number<uint64_t>(columns[9], 10);
  if (!local || !remote || !state || !inode || *inode == 0) return;
  Socket socket;
  socket.inode = *inode;
  socket.local = *local;
  if (remote->port != 0) socket.remote = *remote;
  socket.listens = *state == kListen;
  sockets->insert_or_assign(*inode, socket);
}

}  // namespace

Endpoint Endpoint::V4(const uint8_t* bytes, uint16_t port) {
  Endpoint endpoint;
  memcpy(endpoint.address.data(), kV4Prefix, sizeof(kV4Prefix));
  memcpy(endpoint.address.data() + sizeof(kV4Prefix), bytes, 4);
  endpoint.port = port;
  return endpoint;
}

Endpoint Endpoint::V6(const uint8_t* bytes, uint16_t port) {
  Endpoint endpoint;
  memcpy(endpoint.address.data(), bytes, endpoint.address.size());
  endpoint.port = port;
  return endpoint;
}

bool Endpoint::IsV4() const { return memcmp(address.data(), kV4Prefix, sizeof(kV4Prefix)) == 0; }

std::string EndpointText(const Endpoint& endpoint, std::string_view zone) {
  char text[INET6_ADDRSTRLEN] = "";
  if (endpoint.IsV4()) {
    inet_ntop(AF_INET, endpoint.address.data() + sizeof(kV4Prefix), text, sizeof(text));
    return fmt::format("{}:{}", text, endpoint.port);
  }
  inet_ntop(AF_INET6, endpoint.address.data(), text, sizeof(text));
  return fmt::format("[{}{}{}]:{}", text, zone.empty() ? "" : "%", zone, endpoint.port);
}

void ParseSockets(std::string_view text, absl::flat_hash_map<uint64_t, Socket>* sockets) {
  ForEachRow(text, [&](std::string_view line) { ParseRow(line, sockets); });
}

void ParseUnixSockets(std::string_view text, absl::flat_hash_set<uint64_t>* inodes) {
  ForEachRow(text, [&](std::string_view line) {
    std::array<std::string_view, kUnixColumns> columns;
    if (!Split(line, &columns)) return;
    const auto inode = Number<uint64_t>(columns.back(), 10);
    if (inode && *inode != 0) inodes->insert(*inode);
  });
}

ProcessSockets::ProcessSockets(std::string proc_dir, double cpu_share)
    : proc_dir_(std::move(proc_dir)), cpu_share_(cpu_share), begun_ns_(ClockNs(CLOCK_MONOTONIC)) {}

Sockets::Answer ProcessSockets::Find(uint64_t fd, bool fresh, Socket* out) {
  constexpr std::string_view kSocketLink = "socket:[";
  char link[64];
  const ssize_t size = readlink(fmt::format("{}/fd/{}", proc_dir_, fd).c_str(), link, sizeof(link));
  if (size < 0) return errno == EACCES || errno == EPERM ? Answer::kForbidden : Answer::kNoSocket;
  std::string_view text(link, static_cast<size_t>(size));
  if (text.substr(0, kSocketLink.size()) != kSocketLink || text.back() != ']')
    return Answer::kNoSocket;
  text = text.substr(kSocketLink.size(), text.size() - kSocketLink.size() - 1);
  const auto inode = Number<uint64_t>(text, 10);
  if (!inode) return Answer::kNoSocket;

  const auto is_known = [&] { return sockets_.contains(*inode) || unix_sockets_.contains(*inode); };
  if (fresh || !is_known()) {
    if (!MayRead()) return Answer::kNotNow;
    ReadTables();
  }
  const auto found = sockets_.find(*inode);
  if (found == sockets_.end()) return is_known() ? Answer::kUnix : Answer::kOther;
  *out = found->second;
  return Answer::kSocket;
}

bool ProcessSockets::MayRead() const {
  const auto elapsed_ns = static_cast<double>(ClockNs(CLOCK_MONOTONIC) - begun_ns_);
  return static_cast<double>(cpu_ns_) <= elapsed_ns * cpu_share_ + kFreeCpuNs;
}

void ProcessSockets::ReadTables() {
  const uint64_t before_ns = ClockNs(CLOCK_THREAD_CPUTIME_ID);
  sockets_.clear();
  unix_sockets_.clear();
  for (const char* table : {"tcp", "tcp6", "udp", "udp6"}) {
    if (auto text = ReadProcFile(fmt::format("{}/net/{}", proc_dir_, table)); text.ok())
      ParseSockets(*text, &sockets_);
  }
  if (auto text = ReadProcFile(proc_dir_ + "/net/unix"); text.ok())
    ParseUnixSockets(*text, &unix_sockets_);
  cpu_ns_ += ClockNs(CLOCK_THREAD_CPUTIME_ID) - before_ns;
}

}  // namespace stallscope
