// SPDX-License-Identifier: Apache-2.0
#include "userspace/go/peers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <functional>
#include <map>
#include <string>

#include "symbolizer/go_table.h"
#include "tests/go/fake_memory.h"
#include "tests/symbolizer/go_test_program.h"
#include "userspace/go/values.h"

namespace stallscope {
namespace {

using symbolizer::TestFunction;
using Answer = PeerReader::Answer;

constexpr uint64_t kBias = 0x5500'0000'0000;
constexpr uint64_t kG = 0x100000, kOtherG = 0x100400;
constexpr uint64_t kStack = 0x40000000, kSp = kStack + 0x200;
constexpr uint64_t kSudog = 0x3d0000001000, kChannel = 0x3d0000002000, kMutex = 0x3d0000003000;
constexpr uint64_t kPollDesc = 0x7f0000001000, kNetFd = 0x3d0000004000, kAddress = 0x3d0000005000;
constexpr uint64_t kFd = 7;

// Code, each function 64 bytes.
enum Function { kGopark, kLockSlow, kAcquire, kPollRead, kPollAccept, kNetRead, kFileRead, kMain };

const char* const kNames[] = {"runtime.gopark",
                              "sync.(*Mutex).lockSlow",
                              "sync.runtime_SemacquireMutex",
                              "internal/poll.(*FD).Read",
                              "internal/poll.(*FD).Accept",
                              "net.(*netFD).Read",
                              "os.(*File).Read",
                              "main.main"};

enum Reason : uint8_t { kReceive, kSelect, kMutexLock, kIoWait, kCondition };

class FakeSockets : public Sockets {
 public:
  Answer Find(uint64_t fd, bool fresh, Socket* out) override {
    EXPECT_EQ(fd, kFd);
    const auto& [answer, socket] = fresh && now ? *now : at_first;
    *out = socket;
    return answer;
  }
  std::pair<Answer, Socket> at_first = {Answer::kNoSocket, {}};
  std::optional<std::pair<Answer, Socket>> now;  // when asked for what is fresh
};

Endpoint Ip(uint8_t last, uint16_t port) {
  const uint8_t bytes[] = {10, 0, 0, last};
  return Endpoint::V4(bytes, port);
}

class PeersTest : public ::testing::Test {
 protected:
  void SetUp() override { Use(23); }

  void Use(int minor) {
    std::vector<TestFunction> functions;
    for (const char* name : kNames) functions.push_back({name, 64, {{64, 1}}, {{64, 16}}});
    program_ = symbolizer::BuildTestProgram(functions, {.minor = minor});
    auto tables = symbolizer::GoBinary::Find(program_.View());
    ASSERT_TRUE(tables.ok());
    tables_ = std::move(*tables);
    runtime_ = GoRuntime();
    runtime_.minor = minor;
    runtime_.offsets = *KnownGoOffsets(minor);
    runtime_.load_bias = kBias;
    runtime_.tables = tables_.get();
    runtime_.wait_reasons = {"chan receive", "select", "sync.Mutex.Lock", "IO wait",
                             "sync.Cond.Wait"};
    reader_.emplace(&memory_, runtime_, &sockets_);
    memory_.Put(kStack, uint64_t{0});
  }
  const GoOffsets& offsets() const { return runtime_.offsets; }

  void PutSudog(uint64_t address, uint64_t g, uint64_t element, uint64_t channel) {
    const bool both = offsets().sudog_c_vu != GoOffsets::kNoField;
    memory_.Put(address + offsets().sudog_g, g);
    memory_.Put(address + (both ? offsets().sudog_elem_vu : offsets().sudog_elem), element);
    memory_.Put(address + offsets().sudog_is_select, uint8_t{0});
    memory_.Put(address + (both ? offsets().sudog_c_vu : offsets().sudog_c), channel);
  }

  void PutPollDesc(uint64_t g) {
    memory_.Put(kPollDesc + offsets().poll_desc_fd, kFd);
    memory_.Put(kPollDesc + offsets().poll_desc_rg, g);
    memory_.Put(kPollDesc + offsets().poll_desc_wg, uint64_t{0});
    memory_.Put(kPollDesc + offsets().poll_desc_self, kPollDesc);
  }

  void PutIpAddress(uint64_t at, const Endpoint& endpoint) {
    memory_.Write(at + 64, endpoint.address.data(), 16);
    memory_.Put(at, GoSlice{at + 64, 16, 16});
    memory_.Put(at + 24, uint64_t{endpoint.port});
    memory_.Put(at + 32, GoString{});
  }

  void PutNetFd(std::optional<Endpoint> local, std::optional<Endpoint> remote) {
    memory_.Put(kNetFd + offsets().poll_fd_sysfd, kFd);
    memory_.Put(kNetFd + offsets().poll_fd_pd, kPollDesc);
    memory_.Put(kNetFd + offsets().net_fd_family, uint64_t{AF_INET});
    memory_.Put(kNetFd + offsets().net_fd_sotype, uint64_t{SOCK_STREAM});
    memory_.Put(kNetFd + offsets().net_fd_laddr + 8, local ? kAddress : 0);
    memory_.Put(kNetFd + offsets().net_fd_raddr + 8, remote ? kAddress + 256 : 0);
    if (local) PutIpAddress(kAddress, *local);
    if (remote) PutIpAddress(kAddress + 256, *remote);
  }

  // On the stack, at this distance from its end.
  void PutOnStack(uint64_t above_sp, uint64_t word) { memory_.Put(kSp + above_sp, word); }

  Answer Ask(Reason reason, uint64_t waiting, const std::vector<Function>& functions,
             GoStackIndex stack = 0) {
    frames_ = GoStack();
    for (const Function function : functions) {
      const uint64_t pc = kBias + symbolizer::TestProgram::kCode + uint64_t{function} * 64 + 16;
      frames_.addresses.push_back({pc, true, false});
    }
    copy_.assign(4096, '\0');
    memory_.Read(kSp, copy_.data(), 512);
    PeerReader::Wait wait;
    wait.g = kG;
    wait.waiting = waiting;
    wait.sp = kSp;
    wait.reason = reason;
    wait.stack = stack;
    wait.frames = &frames_;
    wait.bytes = {kSp, copy_.data(), copy_.size()};
    claim_ = PeerReader::Claim();
    const Answer answer = reader_->Propose(wait, &claim_);
    // What is claimed holds in memory that does not move.
    for (const PeerReader::Fact& fact : claim_.facts) {
      std::string now(fact.bytes.size(), '\0');
      if (answer == Answer::kClaim && !now.empty()) {
        EXPECT_TRUE(memory_.Read(fact.address, now.data(), now.size()));
        EXPECT_EQ(now, fact.bytes);
      }
    }
    return answer;
  }
  Answer AskSocket(Function outer = kNetRead, Function inner = kPollRead) {
    return Ask(kIoWait, 0, {kGopark, inner, outer, kMain}, static_cast<GoStackIndex>(outer));
  }

  symbolizer::TestProgram program_;
  std::unique_ptr<symbolizer::GoBinary> tables_;
  GoRuntime runtime_;
  FakeMemory memory_;
  FakeSockets sockets_;
  std::optional<PeerReader> reader_;
  GoStack frames_;
  std::vector<char> copy_;
  PeerReader::Claim claim_;
};

TEST_F(PeersTest, OfWhichReasons) {
  EXPECT_TRUE(reader_->MayHave(kReceive));
  EXPECT_TRUE(reader_->MayHave(kMutexLock));
  EXPECT_TRUE(reader_->MayHave(kIoWait));
  EXPECT_FALSE(reader_->MayHave(kSelect));
  EXPECT_FALSE(reader_->MayHave(kCondition)) << "before go1.26 nothing leads there";
  EXPECT_FALSE(reader_->MayHave(200));
  Use(26);
  EXPECT_TRUE(reader_->MayHave(kCondition));
}

TEST_F(PeersTest, Channel) {
  for (const int minor : {19, 23, 26, 27}) {
    Use(minor);
    PutSudog(kSudog, kG, 0, kChannel);
    ASSERT_EQ(Ask(kReceive, kSudog, {kGopark, kMain}), Answer::kClaim) << minor;
    EXPECT_EQ(claim_.peer, "0x3d0000002000");
    EXPECT_EQ(Ask(kReceive, 0, {kGopark, kMain}), Answer::kUnknown) << "a nil channel";
    PutSudog(kSudog, kOtherG, 0, kChannel);
    EXPECT_EQ(Ask(kReceive, kSudog, {kGopark, kMain}), Answer::kUnknown) << "somebody else's";
    PutSudog(kSudog, kG, 0, 0);
    EXPECT_EQ(Ask(kReceive, kSudog, {kGopark, kMain}), Answer::kUnknown) << "let go already";
    PutSudog(kSudog, kG, 0, kChannel);
    memory_.Put(kSudog + offsets().sudog_is_select, uint8_t{1});
    EXPECT_EQ(Ask(kReceive, kSudog, {kGopark, kMain}), Answer::kUnknown) << "of several";
    EXPECT_EQ(Ask(kReceive, 0x10, {kGopark, kMain}), Answer::kUnknown);
    EXPECT_EQ(Ask(kReceive, 0x666000, {kGopark, kMain}), Answer::kUnknown) << "not readable";
  }
}

TEST_F(PeersTest, MutexByWhatTheStackPointsTo) {
  PutSudog(kSudog, kG, kMutex + 4, 0);
  PutSudog(kSudog + 4096, kOtherG, kMutex + 64, 0);
  PutOnStack(8, kSudog + 4096);  // another's, further in
  const std::vector<Function> stack = {kGopark, kAcquire, kLockSlow, kMain};
  EXPECT_EQ(Ask(kMutexLock, 0, stack), Answer::kUnknown);
  PutOnStack(72, kSudog);
  ASSERT_EQ(Ask(kMutexLock, 0, stack), Answer::kClaim);
  EXPECT_EQ(claim_.peer, "0x3d0000003000");
  // The place is remembered, and no more than that: what is not there is looked for elsewhere.
  PutOnStack(72, 0);
  EXPECT_EQ(Ask(kMutexLock, 0, stack), Answer::kUnknown);
  PutOnStack(128, kSudog);
  ASSERT_EQ(Ask(kMutexLock, 0, stack), Answer::kClaim);
  EXPECT_EQ(claim_.peer, "0x3d0000003000");
  // A semaphore of something else is named by its own address.
  ASSERT_EQ(Ask(kMutexLock, 0, {kGopark, kAcquire, kMain}, 1), Answer::kClaim);
  EXPECT_EQ(claim_.peer, "0x3d0000003004");
}

TEST_F(PeersTest, StacksWithoutSuchAPointerCostNothingInTheEnd) {
  PutOnStack(8, kSudog);
  PutSudog(kSudog, kOtherG, kMutex + 4, 0);
  for (int i = 0; i < 200; ++i) Ask(kMutexLock, 0, {kGopark, kAcquire, kLockSlow, kMain});
  const uint64_t calls = memory_.calls;
  Ask(kMutexLock, 0, {kGopark, kAcquire, kLockSlow, kMain});
  EXPECT_EQ(memory_.calls, calls);
}

TEST_F(PeersTest, MutexFromGoroutine) {
  Use(26);
  PutSudog(kSudog, kG, kMutex + 4, 0);
  ASSERT_EQ(Ask(kMutexLock, kSudog, {kGopark, kAcquire, kLockSlow, kMain}), Answer::kClaim);
  EXPECT_EQ(claim_.peer, "0x3d0000003000");
}

TEST_F(PeersTest, Connection) {
  for (const int minor : {19, 23, 27}) {
    Use(minor);
    PutPollDesc(kG);
    PutNetFd(Ip(1, 5000), Ip(2, 443));
    PutOnStack(40, kPollDesc);
    PutOnStack(160, kNetFd);
    Socket socket;
    socket.local = Ip(1, 5000);
    socket.remote = Ip(2, 443);
    sockets_.at_first = {Sockets::Answer::kSocket, socket};
    ASSERT_EQ(AskSocket(), PeerReader::Answer::kClaim) << minor;
    EXPECT_EQ(claim_.peer, "10.0.0.2:443");
  }
}

TEST_F(PeersTest, ConnectionThatSomebodyElseWaitsFor) {
  PutPollDesc(kOtherG);
  PutNetFd(Ip(1, 5000), Ip(2, 443));
  PutOnStack(40, kPollDesc);
  PutOnStack(160, kNetFd);
  Socket socket;
  socket.local = Ip(1, 5000);
  socket.remote = Ip(2, 443);
  sockets_.at_first = {Sockets::Answer::kSocket, socket};
  EXPECT_EQ(AskSocket(), Answer::kUnknown);
  PutPollDesc(kG);
  memory_.Put(kPollDesc + offsets().poll_desc_self, kPollDesc + 8);
  EXPECT_EQ(AskSocket(), Answer::kUnknown) << "no pollDesc";
  PutPollDesc(kG);
  memory_.Put(kNetFd + offsets().poll_fd_sysfd, kFd + 1);
  EXPECT_EQ(AskSocket(), Answer::kUnknown) << "its netFD is not known";
  memory_.Put(kNetFd + offsets().poll_fd_sysfd, kFd);
  EXPECT_EQ(AskSocket(), Answer::kClaim);
}

TEST_F(PeersTest, DescriptorThatIsAnotherSocketNow) {
  PutPollDesc(kG);
  PutNetFd(Ip(1, 5000), Ip(2, 443));
  PutOnStack(40, kPollDesc);
  PutOnStack(160, kNetFd);
  Socket other;
  other.local = Ip(1, 6000);
  other.remote = Ip(3, 443);
  sockets_.at_first = {Sockets::Answer::kSocket, other};
  EXPECT_EQ(AskSocket(), Answer::kUnknown);
  for (const auto answer : {Sockets::Answer::kNoSocket, Sockets::Answer::kOther}) {
    sockets_.at_first = {answer, {}};
    EXPECT_EQ(AskSocket(), Answer::kUnknown);
  }
  sockets_.at_first = {Sockets::Answer::kNotNow, {}};
  EXPECT_EQ(AskSocket(), Answer::kLater);
  // It was known before it was connected.
  Socket now = other;
  now.local = Ip(1, 5000);
  now.remote = Ip(2, 443);
  sockets_.at_first = {Sockets::Answer::kSocket, other};
  sockets_.now = {Sockets::Answer::kSocket, now};
  EXPECT_EQ(AskSocket(), Answer::kClaim);
  // Where the kernel cannot be asked the memory must do.
  sockets_.now.reset();
  sockets_.at_first = {Sockets::Answer::kForbidden, {}};
  ASSERT_EQ(AskSocket(), Answer::kClaim);
  EXPECT_EQ(claim_.peer, "10.0.0.2:443");
}

TEST_F(PeersTest, ListenerAndWhatIsConnectedToNobody) {
  PutPollDesc(kG);
  PutNetFd(Ip(1, 8080), std::nullopt);
  PutOnStack(40, kPollDesc);
  PutOnStack(160, kNetFd);
  Socket socket;
  socket.local = Ip(1, 8080);
  socket.listens = true;
  sockets_.at_first = {Sockets::Answer::kSocket, socket};
  ASSERT_EQ(AskSocket(kNetRead, kPollAccept), Answer::kClaim);
  EXPECT_EQ(claim_.peer, "listen 10.0.0.1:8080");
  socket.listens = false;
  sockets_.at_first.second = socket;
  memory_.Put(kNetFd + offsets().net_fd_sotype, uint64_t{SOCK_DGRAM});
  ASSERT_EQ(Ask(kIoWait, 0, {kGopark, kPollRead, kNetRead, kMain}, 99), Answer::kClaim);
  EXPECT_EQ(claim_.peer, "local 10.0.0.1:8080");
}

TEST_F(PeersTest, WhileItConnectsTheKernelAloneKnows) {
  PutPollDesc(kG);
  PutNetFd(std::nullopt, std::nullopt);
  PutOnStack(40, kPollDesc);
  PutOnStack(160, kNetFd);
  Socket socket;
  socket.local = Ip(1, 5000);
  socket.remote = Ip(2, 443);
  sockets_.at_first = {Sockets::Answer::kSocket, socket};
  ASSERT_EQ(AskSocket(), Answer::kClaim);
  EXPECT_EQ(claim_.peer, "10.0.0.2:443");
}

TEST_F(PeersTest, FileThatIsNoSocket) {
  PutPollDesc(kG);
  PutOnStack(40, kPollDesc);
  sockets_.at_first = {Sockets::Answer::kNoSocket, {}};
  EXPECT_EQ(AskSocket(kFileRead), Answer::kUnknown);
}

TEST_F(PeersTest, UnixSocket) {
  PutPollDesc(kG);
  PutNetFd(Ip(1, 5000), Ip(2, 443));
  PutOnStack(40, kPollDesc);
  PutOnStack(160, kNetFd);
  memory_.Put(kNetFd + offsets().net_fd_family, uint64_t{AF_UNIX});
  const std::string path = "/run/x.sock";
  memory_.Put(kAddress + 256, GoString{kAddress + 512, path.size()});
  memory_.Write(kAddress + 512, path.data(), path.size());
  sockets_.at_first = {Sockets::Answer::kUnix, {}};
  ASSERT_EQ(AskSocket(), Answer::kClaim);
  EXPECT_EQ(claim_.peer, path);
  sockets_.at_first = {Sockets::Answer::kOther, {}};
  EXPECT_EQ(AskSocket(), Answer::kUnknown) << "a socket, but no unix socket";
  sockets_.at_first = {Sockets::Answer::kUnix, {}};
  memory_.Put(kAddress + 256, GoString{kAddress + 512, 109});
  EXPECT_EQ(AskSocket(), Answer::kUnknown) << "longer than a path can be";
}

TEST_F(PeersTest, AddressesThatCannotBe) {
  PutPollDesc(kG);
  PutOnStack(40, kPollDesc);
  PutOnStack(160, kNetFd);
  sockets_.at_first = {Sockets::Answer::kForbidden, {}};
  const auto spoil = [&](const std::function<void()>& how) {
    PutNetFd(Ip(1, 5000), Ip(2, 443));
    ASSERT_EQ(AskSocket(), Answer::kClaim);
    how();
    EXPECT_EQ(AskSocket(), Answer::kUnknown);
  };
  spoil([&] { memory_.Put(kAddress + 256 + 24, uint64_t{65536}); });
  spoil([&] { memory_.Put(kAddress + 256, GoSlice{kAddress + 256 + 64, 1 << 30, 1 << 30}); });
  spoil([&] { memory_.Put(kAddress + 256, GoSlice{0x666000, 16, 16}); });
  spoil([&] { memory_.Put(kAddress + 256 + 32, GoString{kAddress, 1 << 20}); });
  spoil([&] { memory_.Put(kNetFd + offsets().net_fd_raddr + 8, uint64_t{0x666000}); });
  spoil([&] { memory_.Put(kNetFd + offsets().net_fd_family, uint64_t{77}); });
}

TEST(GoPeerTable, EachOnce) {
  GoPeerTable table;
  EXPECT_EQ(table.Intern("a"), table.Intern("a"));
  EXPECT_NE(table.Intern("a"), table.Intern("b"));
  EXPECT_EQ(table[table.Intern("b")], "b");
  EXPECT_EQ(table.size(), 2u);
}

}  // namespace
}  // namespace stallscope
