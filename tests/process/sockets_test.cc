// SPDX-License-Identifier: Apache-2.0
#include "userspace/process/sockets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace stallscope {
namespace {

using ::testing::SizeIs;
using Answer = Sockets::Answer;

constexpr char kHeading[] =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout "
    "inode\n";
constexpr char kTcp[] =
    "   0: 0100007F:A71F 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 "
    "2241303 2 0 100 0 0 10 0\n"
    "   1: 0100007F:8BCC 0500000A:01BB 01 00000000:00000000 02:00000577 00000000     0        0 "
    "2241305 3 0 20 4 0 10 -1\n"
    "   2: 020200C0:9DA8 507100CB:0050 06 00000000:00000000 03:00001712 00000000     0        0 0 "
    "3 0\n";
constexpr char kTcp6[] =
    "   0: 00000000000000000000000001000000:1F90 B80D0120000000000000000001000000:0050 01 "
    "00000000:00000000 00:00000000 00000000     0        0 77 1 0 20 4 30 10 -1\n"
    "   1: 0000000000000000FFFF00000100007F:1F90 0000000000000000FFFF00000500000A:0050 01 "
    "00000000:00000000 00:00000000 00000000     0        0 78 1 0 20 4 30 10 -1\n";

TEST(ParseSockets, ConnectionsAndListeners) {
  absl::flat_hash_map<uint64_t, Socket> sockets;
  ParseSockets(std::string(kHeading) + kTcp, &sockets);
  ASSERT_THAT(sockets, SizeIs(2)) << "what no descriptor has any more is no socket of a process";
  EXPECT_TRUE(sockets[2241303].listens);
  EXPECT_FALSE(sockets[2241303].remote);
  EXPECT_EQ(EndpointText(sockets[2241303].local), "127.0.0.1:42783");
  EXPECT_FALSE(sockets[2241305].listens);
  ASSERT_TRUE(sockets[2241305].remote);
  EXPECT_EQ(EndpointText(*sockets[2241305].remote), "10.0.0.5:443");
}

TEST(ParseSockets, V6AndWhatIsV4InIt) {
  absl::flat_hash_map<uint64_t, Socket> sockets;
  ParseSockets(std::string(kHeading) + kTcp6, &sockets);
  ASSERT_THAT(sockets, SizeIs(2));
  EXPECT_EQ(EndpointText(sockets[77].local), "[::1]:8080");
  EXPECT_EQ(EndpointText(*sockets[77].remote), "[2001:db8::1]:80");
  EXPECT_EQ(EndpointText(*sockets[77].remote, "eth0"), "[2001:db8::1%eth0]:80");
  EXPECT_EQ(EndpointText(*sockets[78].remote), "10.0.0.5:80");
  const uint8_t v4[] = {10, 0, 0, 5};
  EXPECT_EQ(*sockets[78].remote, Endpoint::V4(v4, 80));
}

TEST(ParseSockets, WhatIsNoTable) {
  absl::flat_hash_map<uint64_t, Socket> sockets;
  for (const std::string text : {"", "x", "\n\n\n", "h\n0: 1 2 3", "h\n   0: 0100007F:A71F"}) {
    ParseSockets(text, &sockets);
    EXPECT_TRUE(sockets.empty()) << text;
  }
  const std::string row = std::string(kTcp).substr(0, std::string(kTcp).find('\n') + 1);
  for (size_t size = 0; size < row.find("2241303"); ++size) {
    ParseSockets("h\n" + row.substr(0, size), &sockets);
    EXPECT_TRUE(sockets.empty()) << size;
  }
}

constexpr char kUnix[] =
    "Num       RefCount Protocol Flags    Type St Inode Path\n"
    "00000000723b2da2: 00000003 00000000 00000000 0001 03  1660\n"
    "0000000083151f7a: 00000002 00000000 00010000 0001 01 81151 /run/a b\n"
    "00000000fa151f7a: 00000002 00000000 00010000 0001 01     0 @x\n"
    "cut: 0 0\n";

TEST(ParseUnixSockets, Inodes) {
  absl::flat_hash_set<uint64_t> inodes;
  ParseUnixSockets(kUnix, &inodes);
  EXPECT_THAT(inodes, ::testing::UnorderedElementsAre(1660, 81151));
}

class ProcessSocketsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/sockets_test.XXXXXX";
    ASSERT_NE(mkdtemp(pattern), nullptr);
    folder_ = pattern;
    std::filesystem::create_directories(folder_ + "/fd");
    std::filesystem::create_directories(folder_ + "/net");
    Write("tcp", std::string(kHeading) + kTcp);
    Write("tcp6", std::string(kHeading) + kTcp6);
    Write("unix", kUnix);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  void Write(const std::string& table, const std::string& text) {
    std::ofstream(folder_ + "/net/" + table) << text;
  }
  void Link(int fd, const std::string& to) {
    const std::string path = folder_ + "/fd/" + std::to_string(fd);
    unlink(path.c_str());
    ASSERT_EQ(symlink(to.c_str(), path.c_str()), 0);
  }
  std::string folder_;
};

TEST_F(ProcessSocketsTest, WhatADescriptorIs) {
  Link(3, "socket:[2241305]");
  Link(4, "pipe:[2241305]");
  Link(5, "socket:[999]");
  ProcessSockets sockets(folder_);
  Socket socket;
  ASSERT_EQ(sockets.Find(3, false, &socket), Answer::kSocket);
  EXPECT_EQ(EndpointText(*socket.remote), "10.0.0.5:443");
  EXPECT_EQ(sockets.Find(4, false, &socket), Answer::kNoSocket);
  EXPECT_EQ(sockets.Find(5, false, &socket), Answer::kOther);
  EXPECT_EQ(sockets.Find(6, false, &socket), Answer::kNoSocket);
  Link(7, "socket:[81151]");
  EXPECT_EQ(sockets.Find(7, false, &socket), Answer::kUnix);
  Link(3, "socket:[78]");
  ASSERT_EQ(sockets.Find(3, false, &socket), Answer::kSocket);
  EXPECT_EQ(EndpointText(*socket.remote), "10.0.0.5:80") << "it is another socket now";
}

TEST_F(ProcessSocketsTest, FreshIsRead) {
  Link(3, "socket:[78]");
  ProcessSockets sockets(folder_);
  Socket socket;
  ASSERT_EQ(sockets.Find(3, false, &socket), Answer::kSocket);
  Write("tcp6", kHeading);
  EXPECT_EQ(sockets.Find(3, false, &socket), Answer::kSocket) << "as it was";
  EXPECT_EQ(sockets.Find(3, true, &socket), Answer::kOther);
}

TEST_F(ProcessSocketsTest, TablesThatAreTooDear) {
  std::string rows(kHeading);
  for (int i = 0; i < 200'000; ++i) rows += kTcp6;
  Write("tcp", rows);
  Link(3, "socket:[78]");
  Link(4, "socket:[999]");
  ProcessSockets sockets(folder_, /*cpu_share=*/1e-9);
  Socket socket;
  EXPECT_EQ(sockets.Find(3, false, &socket), Answer::kSocket) << "once they may be read";
  EXPECT_EQ(sockets.Find(4, false, &socket), Answer::kNotNow);
  Link(5, "socket:[1660]");
  EXPECT_EQ(sockets.Find(5, false, &socket), Answer::kUnix) << "which is known, too";
  EXPECT_EQ(sockets.Find(3, false, &socket), Answer::kSocket) << "which is known";
}

}  // namespace
}  // namespace stallscope
