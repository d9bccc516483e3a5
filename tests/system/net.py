#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`stallscope net`: the table by peer and path, its findings, its JSON and its exit codes, against what programs did."""
import json
import os
import pathlib
import re
import subprocess
import time

import harness as h
import tcp

SHORT = os.environ.get("STALLSCOPE_SHORT") == "1"

# cli.md's words, and what docs/json.md adds.
PEER_KEYS = {"peer", "role", "path", "connects", "failures", "dns", "connect", "accept", "tls", "first_byte", "retrans",
             "segments", "turns", "closed_by", "process", "frames", "established", "superseded", "in_flight", "open",
             "before_attach", "time_wait", "multiplexed", "retrans_bytes", "retrans_kinds", "failed_sends", "bytes_sent",
             "bytes_received", "turns_connections", "lifetime", "idle_before_close", "srtt", "resets",
             "receiver_limited_ns", "holders"}
TOP_KEYS = {"version", "target", "start_unix_ns", "duration_ns", "stacks", "mechanisms", "quantile_error", "peers", "loops", "findings",
            "not_judged", "losses", "notes", "cost"}


class Net:
    """One run of `stallscope net --json` around a body."""

    def __init__(self, *arguments):
        self.recorder = h.Recorder(*arguments, "--json", verb="net").wait_began()

    def end(self):
        self.recorder.interrupt()
        return self.take()

    def take(self, code=0):
        self.recorder.expect(code)
        self.raw = json.loads(self.recorder.stdout_text)
        self.peers, self.findings = self.raw["peers"], self.raw["findings"]
        return self

    def rows(self, role=None, path=None, peer=None, process=None):
        return [row for row in self.peers if (role is None or row["role"] == role) and
                (path is None or row["path"] == path) and (peer is None or row["peer"] == peer) and
                (process is None or process in row["process"])]

    def row(self, **wanted):
        rows = self.rows(**wanted)
        h.check(len(rows) == 1, f"{len(rows)} rows of {wanted}\n{self.lines()}")
        return rows[0]

    def lines(self):
        return "\n".join(f"    {row['role']} {row['peer']} {row['path']} {row['process']} connects={row['connects']}"
                         f" failures={row['failures']}" for row in self.peers) + \
               "".join(f"\n    ! {finding}" for finding in self.findings)


def text_of(*arguments):
    """What a person sees."""
    recorder = h.Recorder(*arguments, verb="net").expect(0)
    return recorder.stdout_text


# ---- findings ----

def reuse_is_told_apart():
    """One client reads its answers to the end, the other closes them half read: only the second cannot use its
    connections again, and the finding says on which path."""
    for version, root in h.go_roots():
        program = h.build_go("reuse", version, root)
        server = h.Program(program, "serve")
        address = server.line()
        client = h.Program(program, "ask", address, "25").ready()
        net = Net("-p", str(client.pid), "-d", "0")
        client.tell()
        time.sleep(3 if SHORT else 6)
        client.tell("stop")
        count = json.loads(client.line())["closed"]
        net.end()
        print(f"  {version}: {count} requests each way", flush=True)
        for finding in net.findings:
            print(f"    {finding['text']}", flush=True)
        closed, drained = net.row(path="main.dialClosed"), net.row(path="main.dialDrained")
        h.check(closed["connects"] >= count - 2 and closed["peer"] == address, f"{closed}")
        h.check(drained["connects"] <= 2, f"{drained}")
        reuse = [finding for finding in net.findings if finding["rule"] == "not reused"]
        h.check([finding["path"] for finding in reuse] == ["main.dialClosed"], f"\n{net.lines()}")
        h.check(address in reuse[0]["text"] and "main.dialClosed" in reuse[0]["text"] and
                "keep-alive is not working" in reuse[0]["text"], reuse[0]["text"])
        client.stop()
        server.stop()


# ---- the table ----

def failures_by_reason():
    with tcp.Link() as link:
        failing = tcp.failing_link(link)
        server = link.start(link.server, h.testprog("connections"))
        client = link.start(link.client, h.testprog("connections"))
        tcp.order(server, f"listen {tcp.PORT}")
        net = Net("-p", f"{client.pid},{server.pid}", "-d", "0")
        for reason, (host, port, _) in failing.items():
            tcp.order(client, f"connect a block {host} {port} 2 20000")
        tcp.order(client, f"connect a block {tcp.SERVER4} {tcp.PORT} 30 0")
        tcp.order(client, f"connect b block {tcp.SERVER4} {tcp.PORT} 7 0")
        time.sleep(0.3)
        net.end()
        for reason, (host, port, _) in failing.items():
            row = net.row(role="opened", peer=f"{host}:{port}")
            h.check(row["failures"] == {reason: 2} and row["connects"] == 2 and
                    row["path"] == "connect_blocking from path_a", f"{row}")
        a, b = (net.row(path=f"connect_blocking from {path}", peer=f"{tcp.SERVER4}:{tcp.PORT}") for path in ("path_a", "path_b"))
        h.check((a["connects"], b["connects"]) == (30, 7) and a["connect"]["count"] == 30 and not a["failures"], f"{a} {b}")
        h.check(0 < a["connect"]["p50"] <= a["connect"]["p99"] <= a["connect"]["max"] < 1e9, f"{a['connect']}")
        accepted = net.row(role="accepted")
        h.check(accepted["connects"] == 37 and accepted["peer"] == tcp.CLIENT4 and accepted["accept"]["count"] == 37 and
                accepted["path"] == "accept_one", f"{accepted}")
        rules = {finding["rule"] for finding in net.findings}
        h.check("failures" in rules, f"\n{net.lines()}")
        timed_out = net.row(peer=f"{tcp.SERVER4}:7801")
        h.check(timed_out["retrans_kinds"]["syn"] == timed_out["retrans"] >= 2, f"{timed_out}")
        h.check(not net.raw["losses"], f"{net.raw['losses']}")
        client.stop()
        server.stop()


def everything_without_stacks():
    """-a: by process, no stack is walked, and what runs beside is there too."""
    server = h.Program(h.testprog("connections")).ready()
    client = h.Program(h.testprog("connections")).ready()
    tcp.order(server, f"listen {tcp.PORT}")
    net = Net("-a", "-d", "0")
    tcp.order(client, f"connect a block 127.0.0.1 {tcp.PORT} 40 0")
    tcp.order(client, f"connect b block 127.0.0.1 {tcp.PORT} 2 0")
    time.sleep(0.3)
    net.end()
    opened = net.row(role="opened", process=f"({client.pid})")
    h.check(opened["connects"] == 42 and opened["path"] == opened["process"] == f"connections ({client.pid})" and
            not opened["frames"], f"{opened}")
    accepted = net.row(role="accepted", process=f"({server.pid})")
    h.check(accepted["connects"] == 42, f"{accepted}")
    h.check(net.raw["stacks"] is False, "stacks were walked")
    client.stop()
    server.stop()


def json_is_as_documented():
    client = h.Program(h.testprog("connections")).ready()
    tcp.order(client, f"listen {tcp.PORT}")
    net = Net("-p", str(client.pid), "-d", "0")
    tcp.order(client, f"connect a block 127.0.0.1 {tcp.PORT} 3 0")
    time.sleep(0.2)
    net.end()
    h.check(set(net.raw) == TOP_KEYS, f"{set(net.raw) ^ TOP_KEYS}")
    for row in net.peers:
        h.check(set(row) == PEER_KEYS, f"{set(row) ^ PEER_KEYS}")
    documented = (h.REPO / "docs/json.md").read_text()
    section = documented[documented.index("## Connections by peer"):]
    for key in PEER_KEYS | TOP_KEYS:
        h.check(f"`{key}`" in section, f"docs/json.md says nothing of {key}")
    text = text_of("-p", str(client.pid), "-d", "500ms")
    h.check("findings  none" in text and "lost" in text and "cost" in text, text)
    h.check(all(len(line) <= 100 for line in text.splitlines()), text)
    client.stop()


# ---- real servers, under loss ----

CLIENT = """
import http.client, json, sys
host, port, path, connections, requests = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
print("ready", flush=True)
sys.stdin.readline()
held, received = [], 0
for _ in range(connections):
    held.append(http.client.HTTPConnection(host, port, timeout=60))
for _ in range(requests):
    for connection in held:
        connection.request("GET", path)
        received += len(connection.getresponse().read())
print(json.dumps({"connections": connections, "requests": requests * connections, "received": received}), flush=True)
sys.stdin.readline()
"""


def sums_of_ss(link, name, peer, port):
    """What `ss -tin` says of the open connections between a peer and a port: {field: sum}."""
    text = link.inside(name, "ss", "-tinHO", "state", "established", f"( sport = :{port} or dport = :{port} ) and dst {peer}",
                       check=True)
    sums = {"connections": len(text.splitlines())}
    for field in ("bytes_sent", "bytes_acked", "bytes_received", "bytes_retrans", "data_segs_out"):
        sums[field] = sum(int(number) for number in re.findall(rf"\b{field}:(\d+)", text))
    sums["retrans"] = sum(int(number) for number in re.findall(r"\bretrans:\d+/(\d+)", text))
    return sums


def nstat(link, name, counter):
    text = link.inside(name, "nstat", "-asz", counter, check=True)
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith(counter)))


def under_loss(start, port, path):
    """A server of Debian's with a client in another namespace, which hears all but each 25th large packet: what `net`
    says of both against the kernel's own counters and against `ss -tin` of the same sockets."""
    connections, requests = (6, 10) if SHORT else (20, 40)
    with tcp.Link() as link:
        server = start(link)
        client = link.start(link.client, "/usr/bin/python3", "-c", CLIENT, tcp.SERVER4, port, path, connections, requests)
        # Processes of the server: all that were started with it.
        pids = [server.pid, *children_of(server.pid)]
        link.drop(link.client, f"tcp sport {port} meta length > 500 numgen inc mod 25 == 7 drop")
        before = nstat(link, link.server, "TcpRetransSegs"), nstat(link, link.client, "TcpRetransSegs")
        net = Net("-p", ",".join(map(str, [client.pid, *pids])), "-d", "0")
        client.tell()
        told = json.loads(client.line(120))
        time.sleep(0.5)
        theirs = sums_of_ss(link, link.server, tcp.CLIENT4, port)
        ours = sums_of_ss(link, link.client, tcp.SERVER4, port)
        after = nstat(link, link.server, "TcpRetransSegs"), nstat(link, link.client, "TcpRetransSegs")
        net.end()
        client.tell("stop")
        accepted, opened = net.rows(role="accepted"), net.rows(role="opened", peer=f"{tcp.SERVER4}:{port}")
        def total(rows, key):
            return sum(row[key] for row in rows)
        print(f"  {told}\n  ss of the server {theirs}\n  ss of the client {ours}\n  nstat {before} -> {after}", flush=True)
        for row in accepted + opened:
            print("  " + ", ".join(f"{key} {row[key]}" for key in ("role", "peer", "path", "process", "connects", "retrans",
                                   "segments", "retrans_bytes", "bytes_sent", "bytes_received", "turns")), flush=True)
        h.check(total(opened, "connects") == total(opened, "open") == told["connections"], f"\n{net.lines()}")
        h.check(total(accepted, "connects") == told["connections"] == theirs["connections"], f"\n{net.lines()}")
        sent_again = total(accepted, "retrans"), total(opened, "retrans")
        h.check(sent_again == tuple(b - a for a, b in zip(before, after)), f"{sent_again} instead of nstat's")
        h.check(sent_again[0] > 5, "there was too little loss to tell")
        h.check(sent_again == (theirs["retrans"], ours["retrans"]), f"{sent_again} instead of ss's")
        for rows, kernel in ((accepted, theirs), (opened, ours)):
            h.check(total(rows, "segments") == kernel["data_segs_out"], f"segments: {kernel}")
            h.check(total(rows, "retrans_bytes") == kernel["bytes_retrans"], f"bytes sent again: {kernel}")
            h.check(total(rows, "bytes_received") == kernel["bytes_received"], f"bytes received: {kernel}")
        h.check(any(finding["rule"] == "loss" and finding["process"] == accepted[0]["process"] for finding in net.findings),
                f"\n{net.lines()}")
        turns = total(opened, "turns") if opened[0]["turns"] is not None else None
        h.check(turns is None or turns == told["requests"], f"{turns} turns, {told['requests']} requests")
        h.check(not net.raw["losses"], f"{net.raw['losses']}")
        client.stop()
        server.stop()


def children_of(pid):
    return [int(child) for child in
            pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for(link, port):
    for _ in range(200):
        if link.inside(link.server, "ss", "-tlnH", f"sport = :{port}").strip():
            time.sleep(0.2)
            return
        time.sleep(0.1)
    h.fail(f"nobody listens on {port}")


def nginx_under_loss():
    program = h.debian_program("nginx", "usr/sbin/nginx")
    port = 8180
    folder = h.scratch()
    (folder / "www").mkdir()
    (folder / "www/page").write_bytes(os.urandom(120_000))
    (folder / "nginx.conf").write_text(f"""
daemon off; user root; worker_processes 2; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{ access_log off; keepalive_requests 100000; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
        fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
        server {{ listen {port}; root {folder}/www; }} }}
""")

    def start(link):
        server = h.Program("ip", "netns", "exec", link.server, program, "-c", folder / "nginx.conf", "-e",
                           folder / "error.log")
        wait_for(link, port)
        return server
    under_loss(start, port, "/page")


def go_server_under_loss():
    program = h.debian_program("etcd-server", "usr/bin/etcd")
    port = 8181
    folder = h.scratch()

    def start(link):
        url, peers = f"http://{tcp.SERVER4}:{port}", f"http://127.0.0.1:{port + 1}"
        server = h.Program("ip", "netns", "exec", link.server, "sh", "-c", f'exec "$@" 2>{folder}/log', "sh", program,
                           "--data-dir", folder / "data", "--listen-client-urls", url, "--advertise-client-urls", url,
                           "--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster",
                           f"default={peers}")
        wait_for(link, port)
        return server
    under_loss(start, port, "/metrics")


# ---- ends, errors, exit codes ----

def ends_and_exit_codes():
    client = h.Program(h.testprog("connections")).ready()
    # The time is over; Ctrl-C; the target ends.
    h.Recorder("-p", str(client.pid), "-d", "300ms", verb="net").expect(0)
    recorder = h.Recorder("-p", str(client.pid), "-d", "0", verb="net").wait_began()
    recorder.interrupt()
    recorder.expect(0)
    h.check("no connection was opened" in recorder.stdout_text, recorder.stdout_text)
    recorder = h.Recorder("-p", str(client.pid), "-d", "0", "--json", verb="net").wait_began()
    client.stop()
    recorder.expect(0)
    h.check(f"pid {client.pid} ended after" in recorder.stderr_text, recorder.stderr_text)
    h.check(any("ended after" in note for note in json.loads(recorder.stdout_text)["notes"]), recorder.stdout_text)
    for arguments, code, says in ((("-p", "999999999"), 4, "no process 999999999"), ((), 2, "net of what?"),
                                  (("-p", "1", "-d", "1x"), 2, "is not a duration"),
                                  (("-a", "-p", "1"), 2, "exclude each other"),
                                  (("-p", "x"), 2, "is not a process id")):
        recorder = h.Recorder(*arguments, verb="net").expect(code)
        h.check(says in recorder.stderr_text and len(recorder.stderr_text.splitlines()) == 2, recorder.stderr_text)
    listed = subprocess.run([h.STALLSCOPE, "--help"], capture_output=True, text=True).stdout
    h.check("stallscope net" in listed, listed)
    h.check(not h.attached_to(recorder.pid)[0], "something is attached")


if __name__ == "__main__":
    h.main(reuse_is_told_apart, failures_by_reason, everything_without_stacks, json_is_as_documented, nginx_under_loss,
           go_server_under_loss, ends_and_exit_codes)
