// SPDX-License-Identifier: Apache-2.0
#include "tests/format/demo_profile.h"

#include <fmt/format.h>

#include <string_view>
#include <utility>

namespace stallscope {
namespace {

ProfileFrameKind KindOf(std::string_view word) {
  if (word == "go") return ProfileFrameKind::kGo;
  if (word == "runtime") return ProfileFrameKind::kRuntime;
  if (word == "kernel") return ProfileFrameKind::kKernel;
  if (word == "marker") return ProfileFrameKind::kMarker;
  return ProfileFrameKind::kNative;
}

constexpr int64_t kMs = 1'000'000;

using Frames = std::vector<std::string>;

Frames operator+(Frames a, const Frames& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

const Frames kHandler = {
    "go:net/http.(*conn).serve@/usr/lib/go/src/net/http/server.go:1995",
    "go:net/http.serverHandler.ServeHTTP@/usr/lib/go/src/net/http/server.go:2936",
    "go:net/http.(*ServeMux).ServeHTTP@/usr/lib/go/src/net/http/server.go:2475",
    "go:github.com/example/orders/api.(*Server).withTracing.func1@/src/orders/api/trace.go:44",
    "go:github.com/example/orders/api.(*Server).withAuth.func1@/src/orders/api/auth.go:71",
};

const Frames kNetRead = {
    "go:net.(*conn).Read@/usr/lib/go/src/net/net.go:179",
    "go:net.(*netFD).Read@/usr/lib/go/src/net/fd_posix.go:55",
    "go:internal/poll.(*FD).Read@/usr/lib/go/src/internal/poll/fd_unix.go:167",
    "go:internal/poll.(*pollDesc).waitRead@/usr/lib/go/src/internal/poll/fd_poll_runtime.go:89",
    "runtime:internal/poll.runtime_pollWait@/usr/lib/go/src/runtime/netpoll.go:306",
};

const Frames kQuery = {
    "go:database/sql.(*DB).QueryContext@/usr/lib/go/src/database/sql/sql.go:1744",
    "go:database/sql.(*DB).query@/usr/lib/go/src/database/sql/sql.go:1762",
    "go:github.com/lib/pq.(*conn).QueryContext@/src/pq/conn_go18.go:21",
    "go:github.com/lib/pq.(*conn).recv1Buf@/src/pq/conn.go:1060",
    "go:bufio.(*Reader).Read@/usr/lib/go/src/bufio/bufio.go:244",
};

const Frames kMutex = {
    "go:sync.(*Mutex).Lock@/usr/lib/go/src/sync/mutex.go:90",
    "runtime:sync.runtime_SemacquireMutex@/usr/lib/go/src/runtime/sema.go:77",
};

void AddGoroutines(ProfileBuilder& b) {
  b.Event("goroutine", {{"time", "ns"}, {"count", "count"}});
  b.profile.events.back().mechanism = "census, 99 a second";
  const std::string comm = "orders";
  const auto handler = [](const std::string& name) {
    return kHandler + Frames{"go:github.com/example/orders/api.(*Server)." + name +
                             "@/src/orders/api/orders.go:118"};
  };
  b.Sample(comm,
           handler("listOrders") +
               Frames{"go:github.com/example/orders/store.(*Postgres).Orders@/src/orders/store/"
                      "postgres.go:62"} +
               kQuery + kNetRead,
           "IO wait", {31'200 * kMs, 1911});
  b.Sample(comm,
           handler("createOrder") +
               Frames{"go:github.com/example/orders/store.(*Postgres).Insert@/src/orders/store/"
                      "postgres.go:97"} +
               kQuery + kNetRead,
           "IO wait", {11'800 * kMs, 702});
  b.Sample(
      comm,
      handler("createOrder") +
          Frames{
              "go:github.com/example/orders/stock.(*Cache).Reserve@/src/orders/stock/cache.go:53"} +
          kMutex,
      "sync.Mutex.Lock", {18'450 * kMs, 702});
  b.Sample(
      comm,
      handler("listOrders") +
          Frames{
              "go:github.com/example/orders/stock.(*Cache).Lookup@/src/orders/stock/cache.go:31"} +
          kMutex,
      "sync.Mutex.Lock", {6'020 * kMs, 1400});
  b.Sample(
      comm,
      handler("createOrder") +
          Frames{"go:github.com/example/orders/payment.(*Client).Charge@/src/orders/payment/"
                 "client.go:88",
                 "go:net/http.(*Client).Do@/usr/lib/go/src/net/http/client.go:581",
                 "go:net/http.(*Transport).roundTrip@/usr/lib/go/src/net/http/transport.go:603",
                 "go:net/http.(*persistConn).roundTrip@/usr/lib/go/src/net/http/transport.go:2638"},
      "select", {14'900 * kMs, 702});
  b.Sample(comm,
           Frames{"go:net/http.(*persistConn).dialConn@/usr/lib/go/src/net/http/transport.go:1750",
                  "go:crypto/tls.(*Conn).HandshakeContext@/usr/lib/go/src/crypto/tls/conn.go:1441",
                  "go:crypto/tls.(*Conn).clientHandshake@/usr/lib/go/src/crypto/tls/"
                  "handshake_client.go:224",
                  "go:crypto/tls.(*Conn).readRecordOrCCS@/usr/lib/go/src/crypto/tls/conn.go:626",
                  "go:io.ReadAtLeast@/usr/lib/go/src/io/io.go:332"} +
               kNetRead,
           "IO wait", {7'700 * kMs, 175});
  b.Sample(comm,
           {"go:main.main@/src/orders/main.go:40",
            "go:github.com/example/orders/worker.(*Pool).run[go.shape.struct { ID int; Name string "
            "}]@/src/orders/worker/pool.go:77"},
           "chan receive", {9'980 * kMs, 412});
  b.Sample(comm,
           {"go:github.com/example/orders/worker.(*Pool).retry@/src/orders/worker/pool.go:130",
            "runtime:time.Sleep@/usr/lib/go/src/runtime/time.go:195"},
           "sleep", {4'100 * kMs, 41});
  b.Sample(comm,
           {"go:github.com/example/orders/worker.(*Pool).publish@/src/orders/worker/pool.go:155"},
           "chan send", {1'350 * kMs, 96});
  for (int i = 0; i < 40; ++i) {
    b.Sample(
        comm,
        handler("listOrders") +
            Frames{
                fmt::format("go:github.com/example/orders/render.(*Template).field{}@/src/orders/"
                            "render/template.go:{}",
                            i, 20 + i),
                "go:encoding/json.(*Encoder).Encode@/usr/lib/go/src/encoding/json/stream.go:231"},
        i % 3 == 0 ? "GC assist wait" : "runnable", {(3 + i * i % 17) * 9 * kMs, 3 + i});
  }
}

void AddThreads(ProfileBuilder& b) {
  b.Event("offcpu", {{"time", "ns"}, {"runq", "ns"}, {"count", "count"}});
  b.profile.events.back().mechanism = "tp_btf sched_switch, sched_waking";
  const Frames syscall = {"go:syscall.Syscall@/usr/lib/go/src/syscall/syscall_linux.go:69",
                          "go:syscall.RawSyscall6"};
  const Frames wait = {"kernel:entry_SYSCALL_64_after_hwframe", "kernel:do_syscall_64"};
  const Frames park = {"kernel:__x64_sys_futex", "kernel:do_futex", "kernel:futex_wait",
                       "kernel:futex_wait_queue", "kernel:schedule"};
  b.Sample("orders",
           Frames{"go:github.com/example/orders/store.(*WAL).append@/src/orders/store/wal.go:210",
                  "go:os.(*File).Sync@/usr/lib/go/src/os/file_posix.go:168",
                  "go:internal/poll.(*FD).Fsync"} +
               syscall + wait +
               Frames{"kernel:__x64_sys_fsync", "kernel:ext4_sync_file",
                      "kernel:jbd2_log_wait_commit", "kernel:schedule"},
           "disk", {5'310 * kMs, 12 * kMs, 610});
  b.Sample(
      "orders",
      Frames{"go:github.com/example/orders/events.(*Fifo).next@/src/orders/events/fifo.go:38"} +
          syscall + wait +
          Frames{"kernel:__x64_sys_read", "kernel:vfs_read", "kernel:pipe_read", "kernel:schedule"},
      "pipe", {8'840 * kMs, 3 * kMs, 95});
  b.Sample("orders",
           Frames{"go:github.com/example/orders/image.resize@/src/orders/image/cgo.go:19",
                  "runtime:runtime.cgocall@/usr/lib/go/src/runtime/cgocall.go:157",
                  "native:vips_thumbnail_image", "native:vips_sink_disc", "native:g_cond_wait",
                  "native:pthread_cond_wait"} +
               wait + park,
           "futex", {6'120 * kMs, 41 * kMs, 1200});
  b.Sample("orders", Frames{"marker:[idle M]"}, "idle M", {2'000 * kMs, 71 * kMs, 21'000});
  b.Sample("orders",
           Frames{"native:[libcuda.so.1+0x2b7f1c]", "marker:[caller unknown]", "native:poll"} +
               wait + Frames{"kernel:do_sys_poll", "kernel:schedule_hrtimeout_range"},
           "poll", {3'300 * kMs, std::nullopt, 33});
  b.Sample("postgres",
           Frames{"native:main", "native:PostmasterMain", "native:ServerLoop",
                  "native:BackendStartup", "native:PostgresMain", "native:ReadCommand",
                  "native:secure_read", "native:WaitEventSetWait", "native:epoll_wait"} +
               wait + Frames{"kernel:do_epoll_wait", "kernel:schedule_hrtimeout_range"},
           "poll", {7'450 * kMs, 9 * kMs, 2613});
  b.Sample("postgres",
           Frames{"native:main", "native:PostmasterMain", "native:ServerLoop",
                  "native:BackendStartup", "native:PostgresMain", "native:exec_simple_query",
                  "native:CommitTransaction", "native:XLogFlush", "native:LWLockAcquireOrWait",
                  "native:PGSemaphoreLock", "native:do_futex_wait"} +
               wait + park,
           "futex", {4'020 * kMs, 17 * kMs, 870});
}

}  // namespace

uint32_t ProfileBuilder::Frame(const std::string& text) {
  ProfileFrame frame;
  const size_t colon = text.find(':');
  frame.kind = KindOf(text.substr(0, colon));
  std::string rest = text.substr(colon + 1);
  const size_t at = rest.rfind("@/");
  if (at != std::string::npos) {
    const std::string place = rest.substr(at + 1);
    const size_t line = place.rfind(':');
    frame.file = place.substr(0, line);
    if (line != std::string::npos)
      frame.line = static_cast<uint32_t>(std::stoul(place.substr(line + 1)));
    rest.resize(at);
  }
  frame.name = rest;
  for (uint32_t i = 0; i < profile.frames.size(); ++i) {
    if (profile.frames[i] == frame) return i;
  }
  profile.frames.push_back(frame);
  return static_cast<uint32_t>(profile.frames.size()) - 1;
}

void ProfileBuilder::Event(const std::string& name, std::vector<Column> columns) {
  profile.events.push_back({name, std::move(columns), {}, ""});
}

void ProfileBuilder::Sample(const std::string& comm, const std::vector<std::string>& frames,
                            const std::string& reason, std::vector<std::optional<int64_t>> values) {
  ProfileSample sample;
  sample.comm = comm;
  for (const std::string& frame : frames) sample.frames.push_back(Frame(frame));
  sample.reason = reason;
  sample.labels = {{"pid", "4242"}};
  sample.values = std::move(values);
  profile.events.back().samples.push_back(std::move(sample));
}

Profile ServiceProfile() {
  ProfileBuilder b;
  b.profile.tool_version = "0.1.0";
  b.profile.target = "-p 4242 (orders), 977 (postgres)";
  b.profile.start_unix_ns = 1'763'715'611'000'000'000;
  b.profile.duration_ns = 10'004 * static_cast<uint64_t>(kMs);
  AddGoroutines(b);
  AddThreads(b);
  b.profile.losses = {{"offcpu", "start unknown", 12, 1'240'000, "", true},
                      {"offcpu", "stack map full", 33, std::nullopt, "--stacks 65536", false}};
  b.profile.hidden = {{"goroutine", "idle by design", 311, 183'000 * static_cast<uint64_t>(kMs)}};
  b.profile.notes = {"8 % of native frames were reached by guess (no frame pointers)"};
  b.profile.totals = {{4242, "orders", 1'000'000, 2'000'000, 3'000'000, 42}};
  b.profile.cost = {31'000'000, 12'000'000, 90'000, 18 << 20, 61 << 20};
  return b.profile;
}

Profile ManyStacksProfile(size_t count, size_t depth) {
  Profile profile;
  profile.tool_version = "0.1.0";
  profile.target = "-p 77 (many)";
  profile.duration_ns = 30'000 * static_cast<uint64_t>(kMs);
  for (int i = 0; i < 4096; ++i) {
    ProfileFrame frame;
    frame.name =
        fmt::format("github.com/example/many/package{}.(*Type{}).Method{}", i % 61, i % 17, i);
    frame.file = fmt::format("/src/many/package{}/file.go", i % 61);
    frame.line = static_cast<uint32_t>(i + 1);
    frame.kind = i % 9 == 0 ? ProfileFrameKind::kRuntime : ProfileFrameKind::kGo;
    profile.frames.push_back(frame);
  }
  EventProfile event;
  event.name = "offcpu";
  event.columns = {{"time", "ns"}, {"runq", "ns"}, {"count", "count"}};
  uint64_t state = 1;
  for (size_t i = 0; i < count; ++i) {
    ProfileSample sample;
    sample.comm = "many";
    // The digits of the stack's number, so that all differ and callers are shared as in a real
    // program.
    for (size_t d = 0, rest = i; d < depth; ++d, rest /= 7) {
      sample.frames.push_back(
          static_cast<uint32_t>((d * 131 + rest % 7 * 17) % profile.frames.size()));
    }
    state = state * 6364136223846793005u + 1442695040888963407u;
    sample.reason = state >> 62 == 0 ? "futex" : "IO wait";
    sample.values = {1000 + static_cast<int64_t>(state >> 40), static_cast<int64_t>(state >> 50),
                     1 + static_cast<int64_t>(state >> 61)};
    event.samples.push_back(std::move(sample));
  }
  profile.events.push_back(std::move(event));
  return profile;
}

Profile DeepProfile() {
  ProfileBuilder b;
  b.profile.tool_version = "0.1.0";
  b.profile.target = "-p 31337 (solver)";
  b.profile.duration_ns = 10'000 * static_cast<uint64_t>(kMs);
  b.Event("offcpu", {{"time", "ns"}, {"count", "count"}});
  Frames deep = {"native:main"};
  for (int i = 1; i < 127; ++i)
    deep.push_back(fmt::format("native:solver::Node::visit(solver::Context&, int) level {}", i));
  b.Sample("solver", deep + Frames{"kernel:do_syscall_64", "kernel:futex_wait", "kernel:schedule"},
           "futex", {900 * kMs, 12});
  b.Sample("solver",
           {"native:main",
            "native:std::__detail::_Executor<__gnu_cxx::__normal_iterator<char const*, "
            "std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> > >, "
            "std::allocator<std::__cxx11::sub_match<__gnu_cxx::__normal_iterator<char const*, "
            "std::__cxx11::basic_string<char> > > >, std::__cxx11::regex_traits<char>, "
            "true>::_M_dfs(std::__detail::_Executor<char const*>::_Match_mode, long)",
            "native:boost::asio::detail::scheduler::do_run_one(boost::asio::detail::conditionally_"
            "enabled_mutex::scoped_lock&, boost::asio::detail::scheduler_thread_info&, "
            "boost::system::error_code const&)",
            "kernel:do_epoll_wait"},
           "poll", {2'100 * kMs, 44});
  return b.profile;
}

Profile HostileProfile() {
  ProfileBuilder b;
  b.profile.tool_version = "0.1.0";
  b.profile.target = "-p 666 (<img src=x onerror=alert(1)>)";
  b.profile.duration_ns = 1'000 * static_cast<uint64_t>(kMs);
  b.Event("offcpu", {{"time", "ns"}, {"count", "count"}});
  const std::string long_name(1 << 20, 'x');
  b.Sample(
      "a;b c\n<b>",
      {"native:</script><script>document.title='broken'</script>", "native:two;frames",
       "native:line\nbreak\x01\x7f", "native:\xff\xfe bytes \xc3", "native:<!--<script>",
       "native:{{DATA}}{{TITLE}}", "native:\xe2\x80\xa8line separator\xe2\x80\xae right to left",
       "native:quote\"back\\slash'&amp;", "native:", "native:" + long_name},
      "futex\"><i>", {700 * kMs, 7});
  b.Sample("other", {"native:ends in 12"}, "", {300 * kMs, 3});
  b.Sample("other", {"native:__proto__", "native:constructor"}, "pipe", {100 * kMs, 3});
  b.profile.notes = {"<script>document.title='broken'</script>"};
  return b.profile;
}

}  // namespace stallscope
