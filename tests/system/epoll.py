#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Calls that wait for events, and event loops: against the books that a loop keeps itself, and against strace on the
same run of redis, nginx, a Go server and that loop."""
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import harness as h

SHORT = os.environ.get("STALLSCOPE_SHORT") == "1"
CALLS = ("epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll", "select", "pselect6")
UNITS = {"us": 1e3, "ms": 1e6, "s": 1e9}
COUNTS_NOTE = re.compile(r"^(epoll fd \d+) of (\d+): (\d+) calls, (\d+) events, (\d+) empty; away (\S+ \w+)$")
LAG_NOTE = re.compile(r"^(epoll fd \d+) of (\d+): lag p50 (\S+ \w+), p99 (\S+ \w+), max (\S+ \w+)$")


def ns(text):
    value, unit = text.split()
    return float(value) * UNITS[unit]


class Loop:
    """What the summary says of a loop."""

    def __init__(self, counts, lag):
        self.name, self.pid = counts[1], int(counts[2])
        self.calls, self.events, self.empty = (int(counts[i]) for i in (3, 4, 5))
        self.away = ns(counts[6])
        self.p50, self.p99, self.max = (ns(lag[i]) if lag else None for i in (3, 4, 5))


def loops_of(notes):
    lags = {match.group(1, 2): match for note in notes if (match := LAG_NOTE.match(note))}
    return [Loop(match, lags.get(match.group(1, 2))) for note in notes if (match := COUNTS_NOTE.match(note))]


class Waits:
    """A recording of epoll."""

    def __init__(self, path):
        result = h.Result(path, "epoll")
        self.samples, self.losses = result.samples, result.losses
        self.loops = loops_of(result.raw["notes"])
        self.notes = result.raw["notes"]

    def sum(self, column, reason=None, pid=None):
        return sum(s.values[column] for s in self.samples if (reason is None or s.reason == reason) and
                   (pid is None or s.pid == pid))

    def lines(self):
        return "\n".join(f"    {s} {s.values}" for s in self.samples) + "\n" + "\n".join(self.notes)


@contextlib.contextmanager
def recording(*pids, more=()):
    """Records while the body runs. Its value gets `.result` afterwards."""
    path = h.scratch() / "out.json"
    recorder = h.Recorder("-p", ",".join(str(pid) for pid in pids), "-e", "epoll", "-d", "0", "-o", path,
                          *more).wait_began()
    class Box:
        pass
    box = Box()
    yield box
    recorder.interrupt()
    recorder.expect(0)
    box.result = Waits(path)


def order(program, line, seconds=60):
    program.tell(line)
    return json.loads(program.line(seconds))


def loop_program():
    return h.Program(h.testprog("event_loop")).ready()


def no_loss(result):
    h.check(not result.losses, f"something was lost: {result.losses}")


def close_to(ours, theirs, bound_ns, what):
    ok = abs(ours - theirs) <= bound_ns
    print(f"  {'ok ' if ok else 'OFF'} {what}: {ours / 1e3:.1f} us against {theirs / 1e3:.1f} us", flush=True)
    return ok


# ---- the loop's own books ----

def lag_is_the_loops_own():
    """Of a loop that stalls itself by known amounts: calls and events to one, lag within 100 us."""
    seconds = 1.5 if SHORT else 4
    for kind, trigger in (("unix", "level"), ("tcp", "edge")):
        def attempt():
            program = loop_program()
            with recording(program.pid) as box:
                own = order(program, f"run {kind} {trigger} {seconds} 1000")
            result = box.result
            program.stop()
            no_loss(result)
            h.check(len(result.loops) == 1, f"not one loop\n{result.lines()}")
            loop = result.loops[0]
            for column in ("calls", "events", "empty"):
                h.check(getattr(loop, column) == own[column], f"{column}: {getattr(loop, column)}, its own {own[column]}")
            h.check(result.sum("count", "epoll_wait") == own["calls"], f"calls differ: {own}\n{result.lines()}")
            h.check(result.sum("events") == own["events"] and result.sum("empty") == own["empty"], f"{own}\n{result.lines()}")
            h.check(all("wait_for_events" in s.user_names and "run_loop" in s.user_names for s in result.samples),
                    f"another stack\n{result.lines()}")
            h.check(own["lags"] > 500 and own["p50"] > 300e3, f"there was too little lag to tell: {own}")
            print(f"  {kind}, {trigger}: {own}", flush=True)
            return all([close_to(loop.p50, own["p50"], 100e3, "lag p50"),
                        close_to(loop.max, own["max"], 100e3 + 0.01 * own["max"], "longest lag"),
                        close_to(loop.away, own["longest_away_ns"], 100e3 + 0.01 * own["longest_away_ns"], "away"),
                        close_to(result.sum("time") / own["calls"], own["waiting_ns"] / own["calls"], 40e3,
                                 "time in a call")])
        h.up_to_three_times(attempt)


def lag_of_a_listener():
    """A connection that waits to be accepted is data too."""
    def attempt():
        program = loop_program()
        with recording(program.pid) as box:
            own = order(program, f"accept {100 if SHORT else 400} 2000")
        program.stop()
        no_loss(box.result)
        loop = box.result.loops[0]
        h.check(loop.calls == own["calls"] and loop.events == own["events"], f"{own}\n{box.result.lines()}")
        print(f"  {own}", flush=True)
        return close_to(loop.p50, own["p50"], 100e3, "lag p50")  # its own begins before the handshake
    h.up_to_three_times(attempt)


def others_have_no_lag():
    """eventfds, pipes and timers are counted, and nothing is said of their lag."""
    program = loop_program()
    with recording(program.pid) as box:
        own = order(program, "others 100")
    program.stop()
    no_loss(box.result)
    loop = box.result.loops[0]
    h.check(loop.events == own["events"] == 300 and loop.p50 is None, f"{own}\n{box.result.lines()}")


def each_call_is_counted():
    """All seven of them: how often, what they returned, how often nothing."""
    count = 50
    program = loop_program()
    with recording(program.pid) as box:
        order(program, f"calls {count}")
    program.stop()
    no_loss(box.result)
    for call in CALLS:
        got = [box.result.sum(column, call) for column in ("count", "events", "empty")]
        h.check(got == [3 * count, count, 2 * count], f"{call}: {got}\n{box.result.lines()}")
        time_ns = box.result.sum("time", call)
        h.check(count * 1e6 <= time_ns, f"{call}: {time_ns} ns in {count} waits of 1 ms")


def calls_without_end():
    """A call that is in progress all the time is there, with its stack and the time so far."""
    program = loop_program()
    order(program, "block")
    with recording(program.pid) as box:
        time.sleep(1.5)
    program.stop()
    no_loss(box.result)
    for call, function in (("epoll_wait", "wait_without_end"), ("poll", "poll_without_end")):
        samples = [s for s in box.result.samples if s.reason == f"{call} (unfinished)"]
        h.check(len(samples) == 1 and samples[0].count == 1, f"{call} is not there\n{box.result.lines()}")
        h.check(function in samples[0].user_names, f"another stack: {samples[0]}")
        h.check(1.4e9 < samples[0].time < 4e9, f"for {samples[0].time} ns")
    main = [s for s in box.result.samples if "unfinished" not in s.reason]
    h.check(not main, f"something ended\n{box.result.lines()}")


# ---- strace ----

STRACE_LINE = re.compile(r"^\d+ +(\d+\.\d+) (<\.\.\. )?(\w+)(?:\(| resumed).*\) += (-?\d+).*<(\d+\.\d+)>$")


class Strace:
    """Which calls strace sees end in a process, while the block runs: {call: [(time, result)]} in `calls`."""

    def __init__(self, pid):
        self.path = h.scratch() / "strace"
        self.popen = subprocess.Popen([h.need_tool("strace"), "-f", "-ttt", "-T", "-e", "trace=" + ",".join(CALLS), "-o",
                                       str(self.path), "-p", str(pid)], stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        line = self.popen.stderr.readline()
        h.check("attached" in line, f"strace said {line!r}")
        time.sleep(0.3)  # the other threads
        return self

    def __exit__(self, *_):
        self.popen.send_signal(signal.SIGINT)
        self.popen.wait(20)
        self.popen.stderr.close()
        self.calls = {}
        for line in self.path.read_text().splitlines():
            if match := STRACE_LINE.match(line):
                # The time is of the line's begin, which is the end of a call where the line goes on with it.
                end = float(match[1]) + (0 if match[2] else float(match[5]))
                self.calls.setdefault(match[3], []).append((end, int(match[4])))


def same_as_strace(name, pid, drive, idle_calls=0):
    """strace is there for all of the recording, and the load comes within it: so events are equal, and calls but for those
    of the process at rest before and after it (`idle_calls` a second) and those in progress at each end."""
    with Strace(pid) as strace:
        before = time.time()
        with recording(pid) as box:
            began = time.time()
            drive()
            time.sleep(0.3)
            ended = time.time()
        after = time.time()
        time.sleep(0.2)
    result = box.result
    no_loss(result)
    edges = 2 + idle_calls * (began - before + after - ended + 2)
    total = 0
    for call in sorted({*strace.calls, *(s.reason.split()[0] for s in result.samples)}):
        seen = [(at, got) for at, got in strace.calls.get(call, []) if before <= at <= after]
        theirs = len(seen), sum(got for _, got in seen if got > 0)
        ours = [sum(s.values[column] for s in result.samples if s.reason.split()[0] == call) for column in ("count", "events")]
        print(f"  {name}: {call}: calls {ours[0]}, strace {theirs[0]}; events {ours[1]}, strace {theirs[1]}", flush=True)
        h.check(ours[1] == theirs[1], f"events differ\n{result.lines()}")
        h.check(abs(ours[0] - theirs[0]) <= edges, f"calls differ by more than {edges:.0f}\n{result.lines()}")
        total += ours[0]
    h.check(total > 100, f"only {total} calls: there was too little to tell")


def requests(port, text, end, count, connections=4):
    """So many requests, in turns, on some connections; each answer is read up to `end`."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(connections)]
        for number in range(count):
            one = sockets[number % connections]
            one.sendall(text)
            answer = b""
            while not answer.endswith(end):
                got = one.recv(65536)
                h.check(got, f"it closed the connection after {answer!r}")
                answer += got


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.1)
    h.fail(f"nothing listens on port {port}")


COUNT = 400 if SHORT else 2000
HTTP = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def strace_of_a_c_loop():
    program = loop_program()
    def drive():
        print(f"  its own: {order(program, f'run tcp level {1 if SHORT else 3} 1000')}", flush=True)
    same_as_strace("C loop", program.pid, drive)
    program.stop()


def strace_of_a_go_server():
    for version, root in h.go_roots()[-1:] if SHORT else h.go_roots():
        server = h.Program(h.build_go("http_server", version, root))
        port = int(server.line().rpartition(":")[2])
        same_as_strace(f"Go {version}", server.pid, lambda: requests(port, HTTP, b"hello\n", COUNT))
        server.stop()


def strace_of_nginx():
    program = h.debian_program("nginx", "usr/sbin/nginx")
    folder, port = h.scratch(), free_port()
    (folder / "index.html").write_text("hello\n")
    (folder / "nginx.conf").write_text(f"""
daemon off; master_process off; user root; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off; keepalive_requests 100000; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{port}; root {folder}; }}
}}
""")
    server = h.Program(program, "-c", folder / "nginx.conf", "-e", folder / "error.log")
    wait_for(port)
    same_as_strace("nginx", server.pid, lambda: requests(port, HTTP, b"hello\n", COUNT))
    server.stop()


def redis_server():
    """The command that starts Debian's redis, installed or unpacked. Its program tells by its name what it is to be."""
    installed = shutil.which("redis-server")
    if installed:
        return [installed], {}
    program = h.debian_program("redis-tools", "usr/bin/redis-check-rdb")
    libraries = []
    for package in ("libjemalloc2", "liblzf1"):
        fetched = subprocess.run([str(h.REPO / "tools/fetch-package"), package], capture_output=True, text=True)
        libraries.append(f"{fetched.stdout.strip()}/usr/lib/x86_64-linux-gnu")
    link = h.scratch() / "redis-server"
    link.symlink_to(program)
    return [str(link)], {"LD_LIBRARY_PATH": ":".join(libraries)}


def strace_of_redis():
    command, more = redis_server()
    port, folder = free_port(), h.scratch()
    server = h.Program(*command, "--port", port, "--bind", "127.0.0.1", "--save", "", "--hz", 10, "--dir", folder,
                       env={**os.environ, **more})
    wait_for(port)
    same_as_strace("redis", server.pid, lambda: requests(port, b"INCR n\r\n", b"\r\n", COUNT), idle_calls=11)
    server.stop()


if __name__ == "__main__":
    h.main(lag_is_the_loops_own, lag_of_a_listener, others_have_no_lag, each_call_is_counted, calls_without_end,
           strace_of_a_c_loop, strace_of_a_go_server, strace_of_nginx, strace_of_redis)
