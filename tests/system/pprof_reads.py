#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`go tool pprof` reads each event's .pb.gz, from `record` and from `convert`: -top, -traces and -raw without a word of
complaint, totals as in the folded file (which rounds each line to a microsecond), the same stacks; and its browser view
(-http) shows the same tree, for a server as Debian ships it."""
import collections
import contextlib
import http.client
import json
import os
import re
import subprocess
import time

import goroutines as g
import harness as h
import services
import tcp

SECONDS = 4


def go_tool(*arguments):
    """go tool pprof of the newest toolchain; nothing on stderr."""
    root = dict(g.toolchains())[g.newest_toolchain()[0]]
    # It would look for binaries and addresses of a home folder; it needs none.
    env = dict(os.environ, GOROOT=root, GOTOOLCHAIN="local", HOME=str(h.TMP_ROOT), PPROF_TMPDIR=str(h.TMP_ROOT),
               PPROF_BINARY_PATH="/nonexistent", GOCACHE=os.environ.get("GOCACHE", str(h.TMP_ROOT / "gocache")))
    return [f"{root}/bin/go", "tool", "pprof", *map(str, arguments)], env


def read(*arguments):
    command, env = go_tool(*arguments)
    # Long: Go builds its pprof when it is first asked for.
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    h.check(done.returncode == 0, f"{' '.join(command)}: exit {done.returncode}\n{done.stderr}")
    h.check(not done.stderr.strip(), f"{' '.join(command)} complains:\n{done.stderr}")
    return done.stdout


class Raw:
    """What -raw prints: sample types, and the samples as (values, stack root first)."""

    def __init__(self, text):
        types = re.search(r"^Samples:\n(.*)$", text, re.M)
        h.check(types, f"no samples:\n{text[:500]}")
        self.types = [word.split("/")[0] for word in types[1].split()]
        self.default = next((word.split("/")[0] for word in types[1].split() if word.endswith("[dflt]")), self.types[-1])
        body, places = text[types.end():].split("\nLocations\n", 1)
        locations = {}
        current = None
        for line in places.split("\nMappings\n")[0].splitlines():
            match = re.match(r"\s*(\d+): 0x[0-9a-f]+ (?:M=\d+ )?(.*)$", line)
            if match:
                current, text_of = int(match[1]), match[2]
                locations[current] = []
            else:
                text_of = line.strip()
            # name file:line:column s=start(name in the file)
            name = re.match(r"(.*) (\S*):(\d+):\d+ s=-?\d+(?:\(.*\))?$", text_of)
            h.check(current is not None and text_of, f"what is this? {line!r}")
            locations[current].append(name[1] if name else text_of)
        self.samples = []
        for line in body.splitlines():
            match = re.match(r"^\s*((?:-?\d+\s+)*-?\d+): ((?:\d+ ?)*)$", line)
            if match:
                stack = [name for number in match[2].split() for name in locations[int(number)]]
                self.samples.append((tuple(map(int, match[1].split())), tuple(stack[::-1])))

    def total(self, kind):
        at = self.types.index(kind)
        return sum(values[at] for values, _ in self.samples)

    def by_stack(self, kind):
        at = self.types.index(kind)
        sums = collections.Counter()
        for values, stack in self.samples:
            sums[stack] += values[at]
        return sums


def frames_of_folded(frames):
    """comm first, the reason last; kernel and inlined frames marked at their ends."""
    return tuple(re.sub(r"_\[[ki]\]$", "", frame) for frame in frames[1:-1])


def close(got, wanted, room, what):
    ok = abs(got - wanted) <= room
    print(f"  {'ok ' if ok else 'OFF'} {what}: {got} against {wanted} (+-{room})", flush=True)
    return ok


def compare(profile, folded, types=("contentions", "delay"), main="delay", fewest=5):
    """Totals and stacks of the main value; of what is recorded, and of what `convert` made of it."""
    rows = h.read_folded(folded)
    h.check(len(rows) >= fewest, f"only {len(rows)} folded lines")
    raw = Raw(read("-raw", profile))
    h.check(raw.types[:len(types)] == list(types) and raw.default == main, f"sample types {raw.types}, {raw.default} first")
    scale, unit = (1e3, "us") if main in ("delay", "time") else (1, "count")
    total = sum(value for _, value in rows)
    h.check(close(raw.total(main) / scale, total, 0.5 * len(rows) + 1 if scale > 1 else 0, f"{main} in {unit}"), "totals differ")
    theirs, ours = raw.by_stack(main), collections.Counter()
    for frames, value in rows:
        ours[frames_of_folded(frames)] += value
    lines = collections.Counter(frames_of_folded(frames) for frames, _ in rows)
    wrong = [(stack, theirs[stack] / scale, ours[stack]) for stack in set(theirs) | set(ours)
             if abs(theirs[stack] / scale - ours[stack]) > (0.5 * lines[stack] + 1 if scale > 1 else 0)]
    h.check(not wrong, f"{len(wrong)} stacks differ: {wrong[:5]}")
    top = read("-top", "-nodecount=0", "-nodefraction=0", "-edgefraction=0", profile)
    h.check(f"Type: {main}" in top and "Showing nodes accounting for" in top, f"-top says:\n{top[:500]}")
    traces = read("-traces", profile)
    leaves = {stack[-1] for stack in theirs if stack}
    missing = [leaf for leaf in leaves if leaf not in traces or leaf not in top]
    h.check(not missing, f"not in -traces or -top: {missing[:5]}")
    print(f"  {len(raw.samples)} samples, {len(theirs)} stacks; -top, -traces and -raw are content", flush=True)
    return raw


def check_event(pid, event, *arguments):
    folder = h.scratch()
    h.record("-p", pid, "-e", event, "--idle", "-d", f"{SECONDS}s", *arguments, "-o", folder / "x.pb.gz", "-o",
             folder / "x.folded", "-o", folder / "x.raw")
    raw = compare(folder / "x.pb.gz", folder / "x.folded")
    subprocess.run([h.STALLSCOPE, "convert", folder / "x.raw", "--idle", "-o", folder / "y.pb.gz", "-o", folder / "y.folded"], check=True,
                   stderr=subprocess.DEVNULL)
    converted = compare(folder / "y.pb.gz", folder / "y.folded")
    h.check(sorted(raw.samples) == sorted(converted.samples), "record and convert write different samples")
    return folder / "x.pb.gz"


def labels_and_mappings():
    """Of a C program: the sums of each reason are those of the folded file; the program is the first mapping, with its
    build id; each user frame has an address inside its mapping, no kernel frame has one."""
    need_pprof()
    program = h.testprog("waiter")
    target = h.Program(program, 60).ready()
    folder = h.scratch()
    h.record("-p", target.pid, "-e", "offcpu", "-d", "2s", "--threads", "-o", folder / "x.pb.gz", "-o", folder / "x.folded")
    target.stop()
    text = read("-raw", folder / "x.pb.gz")

    delay_of, lines_of, wanted = collections.Counter(), collections.Counter(), collections.Counter()
    for delay, labels in re.findall(r"^ +\d+ +(\d+) .*: .*\n +(\w+:\[.*)$", text, re.M):
        found = dict(re.findall(r"(\w+):\[(.*?)\](?: |$)", labels))
        h.check(set(found) == {"reason", "comm", "pid", "tid", "thread"}, f"labels {labels}")
        h.check(found["comm"] == "waiter" and found["pid"] == str(target.pid), f"labels {labels}")
        delay_of[found["reason"]] += int(delay)
    for frames, us in h.read_folded(folder / "x.folded"):
        wanted[frames[-1].strip("[]")] += us
        lines_of[frames[-1].strip("[]")] += 1
    h.check(set(wanted) <= set(delay_of) and sum(delay_of.values()) > 1e9, f"reasons {delay_of}, folded {wanted}")
    for reason, us in sorted(wanted.items()):
        h.check(close(delay_of[reason] / 1e3, us, 0.5 * lines_of[reason] + 1, f"[{reason}] in us"), "sums of a reason differ")

    mappings = {int(number): (int(start, 16), int(end, 16), file, build_id) for number, start, end, file, build_id in re.findall(
        r"^(\d+): 0x([0-9a-f]+)/0x([0-9a-f]+)/0x[0-9a-f]+ (\S+) (\S*) \[FN\]", text, re.M)}
    notes = subprocess.run([h.need_tool("readelf"), "-n", program], capture_output=True, text=True).stdout
    build_id = re.search(r"Build ID: (\w+)", notes)
    h.check(mappings[1][2:] == (os.path.realpath(program), build_id[1] if build_id else ""), f"first mapping {mappings[1]}")
    kernel = next(number for number, mapping in mappings.items() if mapping[2] == "[kernel.kallsyms]")
    places = re.findall(r"^ +\d+: 0x([0-9a-f]+) M=(\d+) ", text, re.M)
    h.check(len(places) > 5, f"only {len(places)} places")
    for address, number in places:
        start, end = mappings[int(number)][:2]
        inside = int(address, 16) == 0 if int(number) == kernel else start <= int(address, 16) < end
        h.check(inside, f"address {address} is not in mapping {number}: {mappings}")


def need_pprof():
    with contextlib.suppress(OSError):
        text = subprocess.run([h.STALLSCOPE, "record", "--help"], capture_output=True, text=True)
        if ".pb.gz" in text.stdout + text.stderr:
            return
    h.skip("this build writes no .pb.gz yet")


def threads():
    need_pprof()
    for version, root in (g.toolchains()[0], g.toolchains()[-1]):
        target = h.Program(h.build_go("wait_log", version, root), 5, 1, 90, 15).ready()
        check_event(target.pid, "offcpu")
        target.stop()
    target = h.Program(h.testprog("waiter"), 60).ready()
    folder = h.scratch()
    h.record("-p", target.pid, "-e", "offcpu", "-d", "2s", "-o", folder / "x.pb.gz")
    h.check("waiter_nap" in read("-top", folder / "x.pb.gz"), "a C program's functions are not there")


def goroutines():
    need_pprof()
    g.need_event("goroutine")
    for version, root in (g.toolchains()[0], g.toolchains()[-1]):
        target = h.Program(h.build_go("goroutine_kinds", version, root), 2).ready(60)
        check_event(target.pid, "goroutine", "--budget", "30%")
        target.stop()


def sockets():
    """Connections, what they send again, and event loops: one recording, a file each."""
    need_pprof()
    for event in ("tcp", "retrans", "epoll"):
        g.need_event(event)
    with tcp.Link() as link:
        server, client = (link.start(name, h.testprog("connections")) for name in (link.server, link.client))
        loop = h.Program(h.testprog("event_loop")).ready()
        tcp.order(server, f"listen {tcp.PORT}")
        folder = h.scratch()
        recorder = h.Recorder("-p", f"{client.pid},{loop.pid}", "-e", "tcp,retrans,epoll", "-d", "0", "-o", folder / "x.pb.gz",
                              "-o", folder / "x.folded").wait_began()
        for path in "ab":
            h.check(tcp.order(client, f"hold {path} {tcp.SERVER4} {tcp.PORT}")["error"] == 0, "no connection")
        link.drop(link.server, f"tcp dport {tcp.PORT} meta length > 100 numgen inc mod 20 == 10 drop")
        for path in "ab":
            tcp.order(client, f"send {path} 2000000", 120)
        tcp.order(client, "close")
        tcp.order(loop, "calls 20")
        time.sleep(0.2)
        recorder.interrupt()
        recorder.expect(0)
        for program in (client, server, loop):
            program.stop()
    compare(folder / "x.tcp.pb.gz", folder / "x.tcp.folded", ("time", "count"), "time", fewest=2)
    compare(folder / "x.retrans.pb.gz", folder / "x.retrans.folded", ("segments", "bytes"), "segments", fewest=2)
    compare(folder / "x.epoll.pb.gz", folder / "x.epoll.folded", ("time", "count", "events", "empty"), "time")


# ---- the browser ----

def tree_of_browser(profile):
    """{stack, root first: value} of pprof's flame graph."""
    port = services.free_port()
    command, env = go_tool(f"-http=127.0.0.1:{port}", "-no_browser", "-nodefraction=0", "-edgefraction=0", profile)
    server = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        end = time.monotonic() + 120
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                status, page = services.get(port, "/ui/flamegraph?si=delay")
                if status == 200:
                    break
            h.check(time.monotonic() < end and server.poll() is None, "pprof serves no flame graph")
            time.sleep(0.2)
        top = services.get(port, "/ui/top?si=delay")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, 15)
        server.wait(30)
    h.check(top[0] == 200, f"its table: {top[0]}")
    data, _ = json.JSONDecoder().raw_decode(page[re.search(r"stackViewer\((?=\{)", page).end():])
    names = [source["FullName"] for source in data["Sources"]]
    sums = collections.Counter()
    for stack in data["Stacks"]:
        sums[tuple(names[number] for number in stack["Sources"][1:])] += stack["Value"]
    return sums


def plain(stack):
    """pprof shortens names with type parameters: both sides without."""
    return tuple(re.sub(r"\[.*\]", "", name) for name in stack)


def check_browser(profile, folded):
    wanted = collections.Counter()
    lines = collections.Counter()
    for frames, us in h.read_folded(folded):
        wanted[plain(frames_of_folded(frames))] += us
        lines[plain(frames_of_folded(frames))] += 1
    got = collections.Counter()
    for stack, ns in tree_of_browser(profile).items():
        got[plain(stack)] += ns
    wrong = [(stack, got[stack] / 1e3, wanted[stack]) for stack in set(got) | set(wanted)
             if abs(got[stack] / 1e3 - wanted[stack]) > 0.5 * lines[stack] + 1]
    print(f"  {len(got)} stacks in pprof's flame graph, {len(wrong)} differ from the folded file", flush=True)
    h.check(got and not wrong, f"{len(wrong)} stacks differ: {wrong[:4]}")


def in_the_browser():
    need_pprof()
    event = "offcpu"
    with contextlib.suppress(SystemExit):
        g.need_event("goroutine")
        event = "goroutine"
    port, command = services.etcd()
    folder = h.scratch()
    with services.server(port, *command) as pid:
        h.record("-p", pid, "-e", event, "--idle", "-d", f"{SECONDS}s", "-o", folder / "x.pb.gz", "-o", folder / "x.folded")
    check_browser(folder / "x.pb.gz", folder / "x.folded")


if __name__ == "__main__":
    h.main(threads, labels_and_mappings, goroutines, sockets, in_the_browser)
