#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Connections and segments sent again, against what the programs and the kernel count themselves, in network namespaces
with exact loss at the receiver's ingress: a packet that the sender itself drops is no loss to TCP."""
import contextlib
import json
import os
import pathlib
import re
import socket
import subprocess
import time

import harness as h

SHORT = os.environ.get("STALLSCOPE_SHORT") == "1"
CLIENT4, SERVER4 = "10.99.77.1", "10.99.77.2"
CLIENT6, SERVER6 = "2001:db8:77::1", "2001:db8:77::2"
NOBODY4, NOBODY6 = "10.99.77.99", "2001:db8:77::99"
PORT = 7700


def run(*words, check=True, text=None):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, input=text)
    if check and done.returncode:
        h.fail(f"{' '.join(map(str, words))}: {done.stderr.strip()}")
    return done.stdout


class Link:
    """Two network namespaces with a veth pair between them."""

    def __init__(self):
        for tool in ("ip", "nft"):
            h.need_tool(tool)
        tag = f"ss{os.getpid() % 100000}"
        self.client, self.server = f"{tag}c", f"{tag}s"
        self.hosts = {}

    def __enter__(self):
        for name in (self.client, self.server):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", self.client, "link", "add", "v0", "type", "veth", "peer", "name", "v1", "netns", self.server)
        for name, device, v4, v6 in ((self.client, "v0", CLIENT4, CLIENT6), (self.server, "v1", SERVER4, SERVER6)):
            run("ip", "-n", name, "address", "add", f"{v4}/24", "dev", device)
            run("ip", "-n", name, "address", "add", f"{v6}/64", "dev", device, "nodad")
            run("ip", "-n", name, "link", "set", device, "up")
        return self

    def __exit__(self, *_):
        for name in (self.client, self.server):
            run("ip", "netns", "delete", name, check=False)
            with contextlib.suppress(OSError):
                pathlib.Path(f"/etc/netns/{name}/hosts").unlink()
                pathlib.Path(f"/etc/netns/{name}").rmdir()

    def inside(self, name, *words, check=False):
        return run("ip", "netns", "exec", name, *words, check=check)

    def start(self, name, *words):
        return h.Program("ip", "netns", "exec", name, *words).ready()

    def segments_by_one(self):
        """GSO off: one packet is one segment."""
        for name, device in ((self.client, "v0"), (self.server, "v1")):
            run("ip", "-n", name, "link", "set", device, "gso_max_segs", 1)

    def drop(self, name, *rules):
        """What is dropped as it arrives in a namespace; nothing without rules."""
        lines = ["type filter hook input priority 0", *rules]
        run("ip", "netns", "exec", name, "nft", "-f", "-",
            text="flush ruleset\ntable inet loss {\n chain input {\n" + "".join(f"  {line};\n" for line in lines) + " }\n}\n")

    def resent(self, name):
        """The kernel's own count of segments sent again in a namespace."""
        names, values = [line.split() for line in self.inside(name, "cat", "/proc/net/snmp").splitlines()
                         if line.startswith("Tcp:")]
        return int(values[names.index("RetransSegs")])

    def host(self, name, host, *addresses):
        """Gives `host` these addresses for programs that start in the namespace from now on."""
        folder = pathlib.Path(f"/etc/netns/{name}")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "hosts").write_text("".join(f"{address} {host}\n" for address in addresses))


class Both:
    """A recording with both events."""

    def __init__(self, path):
        self.tcp, self.retrans = h.Result(path, "tcp"), h.Result(path, "retrans")
        self.losses = self.tcp.losses

    def count(self, reason=None, pid=None, path=None):
        return sum(s.count for s in self.tcp.samples if (reason is None or s.reason == reason) and
                   (pid is None or s.pid == pid) and (path is None or path in s.user_names))

    def segments(self, pid=None, path=None, kind=None):
        """`kind`: a part of the reason."""
        return sum(s.values["segments"] for s in self.retrans.samples if (pid is None or s.pid == pid) and
                   (path is None or path in s.user_names) and (kind is None or kind in s.reason) and
                   s.reason != "retransmit not sent")

    def lines(self):
        return "\n".join(f"    {s} {s.values}" for s in self.tcp.samples + self.retrans.samples)


@contextlib.contextmanager
def recording(*pids, more=(), wrap=()):
    """Records both events while the body runs. Its value gets `.result` afterwards."""
    path = h.scratch() / "out.json"
    recorder = h.Recorder("-p", ",".join(str(pid) for pid in pids), "-e", "tcp,retrans", "-d", "0", "-o", path,
                          *more, wrap=wrap).wait_began()
    class Box:
        pass
    box = Box()
    box.recorder = recorder
    yield box
    recorder.interrupt()
    recorder.expect(0)
    box.result = Both(path)


def order(program, line, seconds=60):
    program.tell(line)
    return json.loads(program.line(seconds))


def no_loss(result):
    h.check(not result.losses, f"something was lost: {result.losses}")


# ---- 1. segments sent again ----

def retransmits_are_the_kernels():
    """Sums over connections and listeners = RetransSegs, each way, with and without GSO."""
    for gso in (True, False):
        with Link() as link:
            if not gso:
                link.segments_by_one()
            server = link.start(link.server, h.testprog("connections"))
            client = link.start(link.client, h.testprog("connections"))
            link.drop(link.server, f"tcp dport {PORT} meta length > 100 numgen inc mod 20 == 10 counter drop",
                      f"tcp dport {PORT} tcp flags syn / syn,ack numgen inc mod 3 == 0 drop")
            link.drop(link.client, f"tcp sport {PORT} tcp flags syn,ack / syn,ack numgen inc mod 3 == 0 drop")
            before = link.resent(link.client), link.resent(link.server)
            with recording(client.pid, server.pid) as box:
                order(server, f"listen {PORT}")
                for host in (SERVER4, SERVER6):
                    answer = order(client, f"hold a {host} {PORT}")
                    h.check(answer["error"] == 0, f"{host}: {answer}")
                    order(client, f"send a {1_000_000 if SHORT else 4_000_000}", 120)
                order(client, "close")
                order(client, f"connect b block {SERVER4} {PORT} 3 0")
                time.sleep(0.5)
                after = link.resent(link.client), link.resent(link.server)
            result = box.result
            kernel = [b - a for a, b in zip(before, after)]
            ours = [result.segments(client.pid), result.segments(server.pid)]
            print(f"  GSO {'on' if gso else 'off'}: kernel {kernel}, ours {ours}", flush=True)
            h.check(ours == kernel, f"{ours} instead of {kernel}\n{result.lines()}")
            h.check(kernel[0] > 20 and kernel[1] > 0, "there was too little loss to tell")
            reasons = {s.reason for s in result.retrans.samples}
            h.check({"retransmit fast", "retransmit SYN", "retransmit SYN-ACK"} <= reasons, f"reasons {reasons}")
            synacks = [s for s in result.retrans.samples if s.reason == "retransmit SYN-ACK"]
            h.check(all("begin_listening" in s.user_names for s in synacks), f"not on listen's stack\n{result.lines()}")
            no_loss(result)
            client.stop()
            server.stop()


def kinds_are_the_kernels():
    """Why segments were sent again: fast, for the tail's loss, by time-out, as the kernel counts these."""
    def counts(link):
        names, values = [line.split() for line in link.inside(link.client, "cat", "/proc/net/netstat").splitlines()
                         if line.startswith("TcpExt:")]
        return dict(zip(names[1:], map(int, values[1:])))
    with Link() as link:
        link.segments_by_one()
        server = link.start(link.server, h.testprog("connections"))
        client = link.start(link.client, h.testprog("connections"))
        order(server, f"listen {PORT}")
        # Every 20th of many; one that nothing follows; three of four in a row.
        for loss, sends in (("numgen inc mod 20 == 10", [1_000_000]), ("numgen inc mod 1000 == 3", [500] * 6),
                            ("numgen inc mod 4 != 0", [500] * 3)):
            link.drop(link.server, f"tcp dport {PORT} meta length > 100 {loss} counter drop")
            before = counts(link), link.resent(link.client)
            with recording(client.pid) as box:
                h.check(order(client, f"hold a {SERVER4} {PORT}")["error"] == 0, "no connection")
                for size in sends:
                    order(client, f"send a {size}", 60)
                after = counts(link), link.resent(link.client)
                order(client, "close")
                time.sleep(0.2)
            kernel = {name: after[0][name] - before[0][name]
                      for name in ("TCPFastRetrans", "TCPTimeouts", "TCPLossProbes", "TCPSlowStartRetrans")}
            ours = {kind: box.result.segments(client.pid, kind=kind) for kind in ("fast", "timeout", "tail loss probe")}
            print(f"  {loss}: kernel {kernel}, ours {ours}", flush=True)
            h.check(ours["fast"] == kernel["TCPFastRetrans"] and ours["tail loss probe"] == kernel["TCPLossProbes"] and
                    ours["timeout"] == kernel["TCPTimeouts"] + kernel["TCPSlowStartRetrans"] and
                    box.result.segments(client.pid) == after[1] - before[1], f"\n{box.result.lines()}")
        client.stop()
        server.stop()


# ---- 2. counts ----

def every_connect_is_counted():
    """opened = accepted = reported, and nothing lost, at the rate that this machine makes."""
    count = 2000 if SHORT else 10000
    with Link() as link:
        for number in range(1, 5):
            run("ip", "-n", link.client, "address", "add", f"2001:db8:78::{number}/128", "dev", "lo", "nodad")
        server = link.start(link.client, h.testprog("connections"))
        client = link.start(link.client, h.testprog("connections"))
        order(server, f"listen {PORT}")
        hosts = [f"127.0.0.{n}" for n in range(1, 5)] + [f"2001:db8:78::{n}" for n in range(1, 5)]
        with recording(client.pid, server.pid) as box:
            opened, took = 0, 0
            for host in hosts:
                answer = order(client, f"connect a block {host} {PORT} {count} 0", 120)
                h.check(answer["errors"] == {"0": count}, f"{host}: {answer}")
                opened += count
                took += answer["elapsed_ns"]
            time.sleep(0.3)
        result = box.result
        print(f"  {opened} connects at {opened / took * 1e9:.0f}/s: {result.count('connect', client.pid)} opened,"
              f" {result.count('accept queue', server.pid)} accepted", flush=True)
        h.check(result.count("connect", client.pid, "path_a") == opened, f"connects differ\n{result.lines()}")
        h.check(result.count("accept queue", server.pid, "accept_one") == opened, f"accepts differ\n{result.lines()}")
        h.check(result.count() == 2 * opened, f"something else was counted\n{result.lines()}")
        no_loss(result)
        client.stop()
        server.stop()


# ---- 3. failures ----

def failing_link(link):
    """Ports and hosts of the server that fail, each in its way: {reason: (host, port, errno)}."""
    link.drop(link.server, "tcp dport 7801 drop", "tcp dport 7802 reject with icmpx host-unreachable")
    # One SYN is sent again, one ARP request is sent: time-outs after 3 s, no such host after 1 s.
    link.inside(link.client, "sysctl", "-qw", "net.ipv4.tcp_syn_retries=1", "net.ipv4.neigh.v0.mcast_solicit=1", check=True)
    link.inside(link.server, "sysctl", "-qw", "net.ipv4.icmp_ratelimit=0", check=True)
    return {"refused": (SERVER4, 7800, 111), "timed out": (SERVER4, 7801, 110),
            "unreachable": ("192.0.2.1", 7800, 101)}


def expect_failures(result, pid, path, wanted):
    for reason, count in wanted.items():
        got = result.count(f"connect {reason}", pid, path)
        h.check(got == count, f"{path}: [connect {reason}] {got} times, expected {count}\n{result.lines()}")
    got = result.count(None, pid, path)
    h.check(got == sum(wanted.values()), f"{path}: {got} in all, expected {sum(wanted.values())}\n{result.lines()}")


def failures_in_c():
    with Link() as link:
        failing = failing_link(link)
        client = link.start(link.client, h.testprog("connections"))
        with recording(client.pid) as box:
            for path, how in (("a", "block"), ("b", "poll")):
                for reason, (host, port, errno) in failing.items():
                    answer = order(client, f"connect {path} {how} {host} {port} 2 20000")
                    h.check(answer["errors"] == {str(errno): 2}, f"{how} {reason}: {answer}")
                # ICMP and ARP: two more ways to be unreachable.
                for host, port in ((SERVER4, 7802), (NOBODY4, 7800)):
                    answer = order(client, f"connect {path} {how} {host} {port} 1 20000")
                    h.check(answer["errors"] == {"113": 1}, f"{how} {host}: {answer}")
            answer = order(client, f"connect b poll {SERVER4} 7801 3 100")
            h.check(answer["given_up"] == 3, f"{answer}")
            # The only port is taken by a connection to the same peer.
            server = link.start(link.server, h.testprog("connections"))
            order(server, f"listen {PORT}")
            link.inside(link.client, "sysctl", "-qw", "net.ipv4.ip_local_port_range=45000 45001", check=True)
            for held in "xyz":
                last = order(client, f"hold {held} {SERVER4} {PORT}")
            h.check(last["error"] == 99, f"ports were left: {last}")
            for path, how in (("a", "block"), ("b", "poll")):
                answer = order(client, f"connect {path} {how} {SERVER4} {PORT} 2 1000")
                h.check(answer["errors"] == {"99": 2}, f"{how}: {answer}")
        result = box.result
        expect_failures(result, client.pid, "path_a", {"refused": 2, "timed out": 2, "unreachable": 4, "no address": 2})
        # hold goes by path_b but for path a
        got = result.count("connect", client.pid, "path_b")
        h.check(got == 2, f"{got} connects that succeeded, expected 2\n{result.lines()}")
        for reason, count in {"refused": 2, "timed out": 2, "unreachable": 4, "no address": 3, "abandoned": 3}.items():
            got = result.count(f"connect {reason}", client.pid, "path_b")
            h.check(got == count, f"[connect {reason}] {got} times, expected {count}\n{result.lines()}")
        h.check(result.count(None, client.pid) == 10 + 2 + 14, f"counted twice?\n{result.lines()}")
        no_loss(result)
        client.stop()
        server.stop()


def failures_in_go():
    for version, root in h.go_roots():
        with Link() as link:
            failing = failing_link(link)
            link.host(link.client, "both", SERVER6, SERVER4)
            server = link.start(link.server, h.testprog("connections"))
            order(server, f"listen {PORT}")
            # Happy Eyeballs: no answer by IPv6, one by IPv4.
            link.drop(link.server, "tcp dport 7801 drop", f"ip6 daddr {SERVER6} tcp dport {PORT} drop")
            client = link.start(link.client, h.build_go("dialer", version, root))
            with recording(client.pid) as box:
                for reason, (host, port, errno) in failing.items():
                    answer = order(client, f"dial a {host}:{port} 2 20000")
                    h.check(answer["errors"] == {str(errno): 2}, f"{reason}: {answer}")
                answer = order(client, f"dial b {SERVER4}:7801 3 200")
                h.check(answer["given_up"] == 3, f"{answer}")
                answer = order(client, f"dial b both:{PORT} 4 5000")
                h.check(answer["errors"] == {"0": 4}, f"{answer}")
                time.sleep(0.3)
            result = box.result
            print(f"  {version}", flush=True)
            expect_failures(result, client.pid, "main.pathA", {"refused": 2, "timed out": 2, "unreachable": 2})
            h.check(result.count("connect abandoned", client.pid, "main.pathB") == 3, f"dial time-outs\n{result.lines()}")
            h.check(result.count("connect superseded", client.pid) == 4, f"Happy Eyeballs\n{result.lines()}")
            h.check(result.count("connect", client.pid) == 4, f"Happy Eyeballs\n{result.lines()}")
            h.check(result.count(None, client.pid) == 6 + 3 + 8, f"counted twice?\n{result.lines()}")
            no_loss(result)
            client.stop()
            server.stop()


def without_tracefs():
    """Where no tracefs can be had, one program at the end of all system calls does what the four would."""
    if "tracefs" in pathlib.Path("/proc/mounts").read_text():
        h.skip("tracefs is mounted here")
    with Link() as link:
        server = link.start(link.client, h.testprog("connections"))
        client = link.start(link.client, h.testprog("connections"))
        with recording(client.pid, server.pid,
                       wrap=(h.need_tool("setpriv"), "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin")) as box:
            order(server, f"listen {PORT}")
            order(client, f"connect a block 127.0.0.1 {PORT} 5 0")
            order(client, "connect a block 192.0.2.1 7800 2 0")
            time.sleep(0.2)
        result = box.result
        h.check("sys_exit of every call" in box.recorder.stderr_text, box.recorder.stderr_text)
        h.check(result.count("connect", client.pid, "path_a") == 5 and
                result.count("accept queue", server.pid, "accept_one") == 5 and
                result.count("connect unreachable", client.pid, "path_a") == 2 and result.count() == 12,
                f"\n{result.lines()}")
        no_loss(result)
        client.stop()
        server.stop()


# ---- 4. whose stack ----

def retransmits_are_on_the_openers_path():
    """Two paths to one peer; only what one of them sends is dropped. Another thread sends."""
    with Link() as link:
        server = link.start(link.server, h.testprog("connections"))
        client = link.start(link.client, h.testprog("connections"))
        order(server, f"listen {PORT}")
        with recording(client.pid) as box:
            for path in "ab":
                h.check(order(client, f"hold {path} {SERVER4} {PORT}")["error"] == 0, "no connection")
            ports = dict(re.findall(rf"{re.escape(CLIENT4)}:(\d+)\s+{re.escape(SERVER4)}:(\d+)",
                                    link.inside(link.client, "ss", "-tnH")))
            h.check(len(ports) == 2, f"{ports}")
            # Ports are given in no order: the path that suffers is found by its own traffic.
            order(client, "send a 100000")
            by_port = {line.split()[3].rsplit(":")[-1]: line for line in
                       link.inside(link.client, "ss", "-tniHO").splitlines()}
            victim = max(by_port, key=lambda port: int(re.search(r"bytes_acked:(\d+)", by_port[port] + " bytes_acked:0")[1]))
            link.drop(link.server, f"tcp sport {victim} meta length > 100 numgen inc mod 20 == 10 drop")
            before = link.resent(link.client)
            for path in "ab":
                order(client, f"send {path} 2000000", 120)
            after = link.resent(link.client)
            order(client, "close")
            time.sleep(0.2)
        result = box.result
        print(f"  kernel {after - before}, path_a {result.segments(client.pid, 'path_a')},"
              f" path_b {result.segments(client.pid, 'path_b')}", flush=True)
        h.check(after - before > 10, "there was too little loss to tell")
        # A late acknowledgement may draw a probe on a path that loses nothing.
        probes = result.segments(client.pid, "path_b", "tail loss probe")
        h.check(result.segments(client.pid, "path_a") + probes == after - before, f"path_a\n{result.lines()}")
        h.check(result.segments(client.pid, "path_b") == probes <= 3, f"path_b\n{result.lines()}")
        h.check(not any("send_all" in s.user_names for s in result.retrans.samples), f"on the sender\n{result.lines()}")
        client.stop()
        server.stop()


def nobody_who_was_interrupted_is_charged():
    """All CPUs are busy with another process when segments are sent again from timers and interrupts."""
    with Link() as link:
        server = link.start(link.server, h.testprog("connections"))
        client = link.start(link.client, h.testprog("connections"))
        order(server, f"listen {PORT}")
        busy = [h.Program("/usr/bin/python3", "-c", "print('ready', flush=True)\nwhile True: pass").ready()
                for _ in range(os.cpu_count() + 1)]
        link.drop(link.server, f"tcp dport {PORT} meta length > 100 numgen inc mod 10 == 5 drop")
        before = link.resent(link.client)
        with recording(client.pid, server.pid, *(one.pid for one in busy)) as box:
            h.check(order(client, f"hold b {SERVER4} {PORT}")["error"] == 0, "no connection")
            order(client, "send b 500000", 120)
            after = link.resent(link.client)
        ours = box.result.segments(client.pid, "path_b")
        print(f"  kernel {after - before}, ours on the opener's path {ours}", flush=True)
        h.check(after - before > 10, "there was too little loss to tell")
        h.check(ours == after - before and {s.pid for s in box.result.retrans.samples} == {client.pid},
                f"\n{box.result.lines()}")
        for program in (*busy, client, server):
            program.stop()


# ---- 5. in flight ----

def in_flight_at_both_ends():
    with Link() as link:
        link.drop(link.server, "tcp dport 7801 drop")
        client = link.start(link.client, h.testprog("connections"))
        order(client, f"begin a {SERVER4} 7801")
        time.sleep(1 if SHORT else 5)
        began = time.monotonic()
        with recording(client.pid, more=("--peers",)) as box:
            order(client, f"begin b {SERVER6} 7801")
            time.sleep(1.5)
            lasted = time.monotonic() - box.recorder.began_at
        lasted_at_most = time.monotonic() - began
        result = box.result
        old = [s for s in result.tcp.samples if s.reason == f"connect {SERVER4}:7801 (unfinished)"]
        new = [s for s in result.tcp.samples if s.reason == f"connect [{SERVER6}]:7801 (unfinished)"]
        h.check(len(old) == 1 and len(new) == 1 and len(result.tcp.samples) == 2, f"\n{result.lines()}")
        for sample in old + new:
            h.check(sample.labels.get("open") == "true" and sample.count == 1, f"{sample} {sample.labels}")
            h.check(lasted - 0.3 < sample.time / 1e9 < lasted_at_most, f"{sample}: recorded for {lasted:.3f} s")
        h.check("[opened before attach]" in old[0].names, f"{old[0]}")
        h.check("path_b" in new[0].user_names, f"{new[0]}")
        # The SYNs that were sent again meanwhile.
        h.check(result.segments(client.pid) > 0, f"no SYN was sent again\n{result.lines()}")
        client.stop()


def nobody_accepts():
    """What is established and still in the accept queue at the end is its listener's."""
    with Link() as link:
        server = link.start(link.server, h.testprog("connections"))
        client = link.start(link.client, h.testprog("connections"))
        with recording(server.pid) as box:
            order(server, f"queue {PORT}")
            for path in "abc":
                h.check(order(client, f"hold {path} {SERVER4} {PORT}")["error"] == 0, "no connection")
            time.sleep(0.3)
        samples = box.result.tcp.samples
        h.check(len(samples) == 1 and samples[0].count == 3 and samples[0].reason == "accept queue (unfinished)" and
                samples[0].labels.get("open") == "true" and "begin_listening" in samples[0].user_names and
                samples[0].time > 3 * 250_000_000, f"\n{box.result.lines()}")
        client.stop()
        server.stop()


def queued_before_attach():
    """What waited in the accept queue already is found inside its network namespace."""
    with Link() as link:
        server = link.start(link.server, h.testprog("connections"))
        client = link.start(link.client, h.testprog("connections"))
        order(server, f"queue {PORT}")
        for path in "abc":
            h.check(order(client, f"hold {path} {SERVER4} {PORT}")["error"] == 0, "no connection")
        with recording(server.pid) as box:
            time.sleep(0.5)
        samples = box.result.tcp.samples
        h.check(len(samples) == 1 and samples[0].count == 3 and samples[0].reason == "accept queue (unfinished)" and
                samples[0].time > 3 * 450_000_000, f"\n{box.result.lines()}")
        no_loss(box.result)
        client.stop()
        server.stop()


# ---- kinds of sockets ----

PRE_FORK = """
import os, socket, sys
listener = socket.create_server(("127.0.0.1", 0), backlog=200)
print(listener.getsockname()[1], flush=True)
for _ in range(2):
    if os.fork() == 0:
        while True:
            listener.accept()[0].close()
sys.stdin.readline()
"""


def forked_children_accept():
    """A pre-fork server: who accepts is charged, and all of them together have accepted what was opened."""
    server = h.Program("/usr/bin/python3", "-c", "import sys; sys.stdin.readline()\n" + PRE_FORK)
    with recording(server.pid, more=("--children",)) as box:
        server.tell()
        port = int(server.line())
        for _ in range(200):
            socket.create_connection(("127.0.0.1", port)).close()
        time.sleep(0.3)
    result = box.result
    by_pid = {pid: result.count("accept queue", pid) for pid in {s.pid for s in result.tcp.samples}}
    print(f"  {by_pid}", flush=True)
    h.check(sum(by_pid.values()) == 200 and result.count() == 200 and server.pid not in by_pid, f"\n{result.lines()}")
    no_loss(result)
    server.stop()


MULTIPATH = """
import socket, sys, time
sys.stdin.readline()
for listens, opens in ((262, 262), (262, 6), (6, 262)):
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, listens)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM, opens)
    opened.connect(listener.getsockname())
    accepted = listener.accept()[0]
    opened.send(b"x")
    accepted.recv(1)
    for each in (opened, accepted, listener):
        each.close()
print("done", flush=True)
sys.stdin.readline()
"""


def multipath_counts_once():
    """MPTCP's two sockets of one connection are one row, whichever side speaks it."""
    if not pathlib.Path("/proc/sys/net/mptcp/enabled").exists():
        h.skip("this kernel has no MPTCP")
    program = h.Program("/usr/bin/python3", "-c", MULTIPATH)
    with recording(program.pid) as box:
        program.tell()
        h.check(program.line() == "done", "the program failed")
        time.sleep(0.3)
    result = box.result
    h.check(result.count("connect") == 3 and result.count("accept queue") == 3 and result.count() == 6,
            f"\n{result.lines()}")
    no_loss(result)
    program.stop()


# ---- 6. time ----

def connect_latency_is_the_programs():
    """Against the program's own clock around connect(): within 50 us a connection on average, and with a SYN that is lost
    within 1 %."""
    count = 500

    def attempt():
        with Link() as link:
            server = link.start(link.server, h.testprog("connections"))
            client = link.start(link.client, h.testprog("connections"))
            order(server, f"listen {PORT}")
            with recording(client.pid) as box:
                quick = order(client, f"connect a block {SERVER4} {PORT} {count} 0")
                link.drop(link.server, f"tcp dport {PORT} tcp flags syn / syn,ack numgen inc mod 2 == 0 drop")
                slow = order(client, f"connect b block {SERVER4} {PORT} 3 0")
            result = box.result
            ours = {path: sum(s.time for s in result.tcp.through(path)) for path in ("path_a", "path_b")}
            off_us = (quick["took_ns"] - ours["path_a"]) / count / 1000
            print(f"  connect() took {quick['took_ns'] / count / 1000:.1f} us on average, ours is {off_us:.1f} us less", flush=True)
            ok = h.within(ours["path_b"], slow["took_ns"], 0.01, "with a lost SYN each")
            client.stop()
            server.stop()
            return ok and 0 <= off_us <= 50

    h.up_to_three_times(attempt)


# Prints, for each peer's address, the time from its first SYN to the SYN-ACK, as the packets on lo were stamped.
PACKETS = r"""
import json, socket, struct, sys, threading
port = int(sys.argv[1])
trace = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
trace.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
trace.setsockopt(socket.SOL_SOCKET, 35, 1)  # SO_TIMESTAMPNS
trace.bind(("lo", 0x0800))
trace.settimeout(0.3)
print("ready", flush=True)
syns, took = {}, {}
done = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), done.set()), daemon=True).start()
while True:
    try:
        packet, extra, _, _ = trace.recvmsg(200, 200)
    except TimeoutError:
        if done.is_set():
            break
        continue
    at = 20
    if packet[9] != 6 or len(packet) < at + 14:
        continue
    source, target, flags = *struct.unpack("!HH", packet[at:at + 4]), packet[at + 13]
    seconds, rest = struct.unpack("qq", extra[0][2])
    if target == port and flags & 0x12 == 0x02:
        syns.setdefault(packet[16:20], seconds * 10**9 + rest)
    elif source == port and flags & 0x12 == 0x12 and packet[12:16] in syns:
        took.setdefault(socket.inet_ntoa(packet[12:16]), seconds * 10**9 + rest - syns[packet[12:16]])
print(json.dumps(took), flush=True)
sys.stdin.readline()
"""


def connect_latency_is_the_packets():
    """Against the time stamps of the SYN and the SYN-ACK of the same connections: within 50 us in the median. Each goes
    to an address of its own, so that each is told."""
    count = 100

    def attempt():
        with Link() as link:
            server = link.start(link.client, h.testprog("connections"))
            client = link.start(link.client, h.testprog("connections"))
            order(server, f"listen {PORT}")
            trace = link.start(link.client, "/usr/bin/python3", "-c", PACKETS, PORT)
            with recording(client.pid, more=("--peers",)) as box:
                for number in range(1, count + 1):
                    order(client, f"connect a block 127.0.7.{number} {PORT} 1 0")
            trace.tell()
            packets = json.loads(trace.line())
            ours = {re.match(r"connect ([\d.]+):", s.reason)[1]: s.time for s in box.result.tcp.samples}
            h.check(len(ours) == count and set(ours) == set(packets), f"{len(ours)} of ours, {len(packets)} of the trace's")
            apart = sorted(abs(ours[peer] - packets[peer]) / 1000 for peer in ours)
            print(f"  {apart[count // 2]:.1f} us apart in the median of {count}, at most {apart[-1]:.1f}", flush=True)
            for program in (trace, client, server):
                program.stop()
            return apart[count // 2] <= 50

    h.up_to_three_times(attempt)


if __name__ == "__main__":
    h.main(retransmits_are_the_kernels, kinds_are_the_kernels, every_connect_is_counted, failures_in_c, failures_in_go,
           without_tracefs, retransmits_are_on_the_openers_path, nobody_who_was_interrupted_is_charged,
           in_flight_at_both_ends, nobody_accepts, queued_before_attach, forked_children_accept, multipath_counts_once,
           connect_latency_is_the_programs, connect_latency_is_the_packets)
