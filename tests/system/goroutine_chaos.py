#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Targets of `dump` and `record -e goroutine` that end, stand still, live in a root of their own, lost their executable,
grow from 10 goroutines to 100,000, have two Go runtimes or none, or lie about their goroutines: right words, in bounded
time and memory, no crash, no harm to the target."""
import contextlib
import json
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import struct
import subprocess
import tempfile
import time

import goroutines as g
import harness as h

SHORT = os.environ.get("STALLSCOPE_SHORT") == "1"
SECONDS = 30          # no dump takes longer
MOST_RSS = 1 << 30    # bytes
GONE = 4              # exit code: the target is gone or does not fit


def need_commands():
    g.need_command("dump")
    g.need_event("goroutine")


def many(count, ldflags="-s -w"):
    version, root = g.newest_toolchain()
    target = h.Program(h.build_go("many", version, root, ldflags=ldflags)).ready()
    ask(target, f"grow {count}")
    return target


def ask(target, command):
    target.tell(command)
    h.check(target.line(120) == "done", command)


def run(*command, seconds=SECONDS):
    """(exit code, text, most RSS) of a run of ours that must end in time, by itself."""
    with tempfile.TemporaryFile("w+") as text:
        process = subprocess.Popen([h.STALLSCOPE, *map(str, command)], stdin=subprocess.DEVNULL, stdout=text,
                                   stderr=subprocess.STDOUT)
        end = time.monotonic() + seconds
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > end:
                process.kill()
                os.wait4(process.pid, 0)
                h.fail(f"still running after {seconds} s: {' '.join(map(str, command))}")
            time.sleep(0.01)
        process.returncode = os.waitstatus_to_exitcode(status)
        text.seek(0)
        output = text.read()
    h.check(process.returncode >= 0 and process.returncode not in (134, 139),
            f"died of signal {-process.returncode}: {' '.join(map(str, command))}\n{output}")
    h.check(usage.ru_maxrss * 1024 < MOST_RSS, f"{usage.ru_maxrss} KiB of memory: {' '.join(map(str, command))}")
    return process.returncode, output, usage.ru_maxrss


def record_arguments(pid, out, seconds=3, *more):
    return ("record", "-p", pid, "-e", "goroutine", "--idle", "-d", f"{seconds}s", *more, "-o", out)


def names_in(path):
    raw = json.loads(pathlib.Path(path).read_text())
    lists = [one["frames"] for one in raw.get("goroutines") or raw.get("threads") or []]
    lists += [s["frames"] for event in raw.get("events", {}).values() for s in event["samples"]]
    return {frame["name"] for frames in lists for frame in frames}


def parked(dump):
    """How many of its goroutines `grow` made."""
    return sum(bool({"main.shallow", "main.deep"} & set(g.names_of(one))) for one in dump.goroutines.values())


# ---- targets that end or stand still ----

def target_exits():
    need_commands()
    folder, target = h.scratch(), many(200)
    recorder = h.Recorder(*record_arguments(target.pid, folder / "out.json", 30)[1:]).wait_began()
    time.sleep(2)
    started = time.monotonic()
    target.tell("exit")
    recorder.expect(0, 30)
    h.check(time.monotonic() - started < 10, "the recording did not end with its target")
    h.check(re.search(rf"pid {target.pid} ended after \d", recorder.stderr_text), f"does not say so:\n{recorder.stderr_text}")
    h.check("main.receive" in names_in(folder / "out.json"), "what was recorded until then is missing")
    code, text, _ = run("dump", "-p", target.pid, "-o", folder / "gone.json")
    h.check(code == GONE and str(target.pid) in text and not (folder / "gone.json").exists(), f"exit {code}: {text}")


def target_exits_at_any_moment():
    need_commands()
    folder, dice = h.scratch(), random.Random(4)
    for number in range(12):
        target = many(3000)
        process = subprocess.Popen([h.STALLSCOPE, "dump", "-p", str(target.pid), "--all", "-o", str(folder / f"{number}.json")],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        time.sleep(dice.uniform(0, 0.4))
        os.kill(target.pid, signal.SIGKILL)
        _, text = process.communicate(timeout=SECONDS)
        h.check(process.returncode in (0, GONE), f"exit {process.returncode}: {text}")
        whole = (folder / f"{number}.json").exists()
        h.check(whole == (process.returncode == 0), f"exit {process.returncode}, but file: {whole}\n{text}")
        if whole:
            json.loads((folder / f"{number}.json").read_text())
        else:
            h.check(text.strip(), "failed without a word")
        target.stop()


def stopped():
    """SIGSTOP: memory can be read all the same. Afterwards it goes on as it was."""
    need_commands()
    folder, target = h.scratch(), many(500)
    ask(target, "churn 20")
    os.kill(target.pid, signal.SIGSTOP)
    time.sleep(0.2)
    dump, _ = g.dump(target.pid, "--all", "--idle", out=folder / "dump.json")
    h.check(parked(dump) == 500, f"{parked(dump)} of 500 goroutines")
    words = rf"{target.pid} \(many\) is stopped: nothing in it runs until kill -CONT {target.pid}"
    notes = json.loads((folder / "dump.json").read_text())["notes"]
    h.check(any(re.fullmatch(words, note) for note in notes), f"dump does not say that it is stopped: {notes}")
    code, text, _ = run(*record_arguments(target.pid, folder / "out.json"))
    h.check(code == 0 and "main.receive" in names_in(folder / "out.json"), f"exit {code}: {text}")
    h.check(len(re.findall(words, text.split("\n\n")[0])) >= 1, f"record does not say that it is stopped:\n{text}")
    code, text, _ = run("top", "-p", target.pid, "-d", "2s")
    h.check(code == 0 and re.search(words, text), f"top does not say that it is stopped:\n{text}")
    state = pathlib.Path(f"/proc/{target.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    h.check(state == "T", f"it does not stand still any more: {state}")
    os.kill(target.pid, signal.SIGCONT)
    ask(target, "grow 600")
    dump, _ = g.dump(target.pid, "--all", "--idle", out=folder / "again.json")
    h.check(parked(dump) == 600, "not as it was")


def frozen():
    """A frozen control group: its threads look asleep, and only the group says why."""
    need_commands()
    root = next((p for p in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup") if os.path.exists(p + "/cgroup.controllers")), None)
    if not root:
        h.skip("no cgroup2 file system is mounted")
    folder, target = h.scratch(), many(50)
    group = pathlib.Path(f"{root}/stallscope-frozen-{os.getpid()}")
    group.mkdir()
    try:
        (group / "cgroup.procs").write_text(str(target.pid))
        (group / "cgroup.freeze").write_text("1")
        time.sleep(0.3)
        code, text, _ = run("dump", "-p", target.pid)
        h.check(code == 0 and f"{target.pid} (many) is frozen (cgroup /{group.name})" in text, f"exit {code}: {text[:2000]}")
        (group / "cgroup.freeze").write_text("0")
        time.sleep(0.3)
        code, text, _ = run("dump", "-p", target.pid)
        h.check(code == 0 and "frozen" not in text, f"exit {code}: {text[:2000]}")
    finally:
        (group / "cgroup.freeze").write_text("0")
        target.stop()
        time.sleep(0.2)
        group.rmdir()


def never_ran_until_it_ended():
    """What stood in one wait from the first snapshot to the last before the target's end never ran, and it is said that
    the end was not seen."""
    need_commands()
    folder, target = h.scratch(), many(200)
    recorder = h.Recorder(*record_arguments(target.pid, folder / "out.json", 30)[1:]).wait_began()
    time.sleep(2)
    os.kill(target.pid, signal.SIGKILL)
    recorder.expect(0, 30)
    text = recorder.stderr_text
    print(f"  {text}")
    h.check(re.search(r"goroutines never ran: \[chan receive\]", re.sub(r"\s+", " ", text)), "those that never ran are lost")
    h.check(re.search(rf"pid {target.pid}: never ran: seen until \d+ ms before its end", text),
            "does not say what it knows it from")
    samples = json.loads((folder / "out.json").read_text())["events"]["goroutine"]["samples"]
    hung = [s for s in samples if s["frames"][0]["name"] == "[never ran]"]
    count = sum(s["values"][1] for s in hung)
    h.check(200 <= count <= 210, f"{count} never ran, the 200 that wait are right")


def joins_those_that_never_ran():
    """A leak: goroutines that come to stand where others stand that never ran. Their time is their own, and counted."""
    version, root = g.newest_toolchain()
    target = h.Program(h.build_go("many", version, root)).ready()

    def grow(count):
        target.tell(f"grow {count}")
        h.check(target.line(60) == "done", f"grow {count}")
    grow(200)
    out = h.scratch() / "out.json"
    recorder = h.Recorder("-p", target.pid, "-e", "goroutine", "--budget", "30%", "-d", "0", "-o", out).wait_began()
    born = []
    for count in (220, 240, 260, 280, 300):
        time.sleep(0.4)
        born.append(time.monotonic())
        grow(count)
    time.sleep(0.4)
    ended = time.monotonic()
    recorder.interrupt()
    recorder.expect(0)
    target.stop()
    result = h.Result(out, "goroutine")
    parked = [s for s in result.samples if {"main.shallow", "main.deep"} & set(s.names)]
    hung = [s for s in parked if "[never ran]" in s.names]
    came = [s for s in parked if "[never ran]" not in s.names]
    h.check(h.within(sum(s.time for s in hung), 200 * result.raw["duration_ns"], 0.01, "those that never ran"), "never ran")
    wanted = sum(20 * (ended - moment) for moment in born)
    h.check(h.within(sum(s.time for s in came), wanted * 1e9, 0.05, "those that came"), "newcomers' time")
    counts = [sum(s.count for s in part) for part in (hung, came)]
    h.check(counts == [200, 100], f"{counts} waits, not 200 and 100")


def hung_in_a_system_call():
    """A goroutine that hangs in a system call, or in C, never ran: its thread was not switched. One that is released
    meanwhile did."""
    need_commands()
    for version, root in ([g.newest_toolchain()] if SHORT else h.go_roots()):
        for cgo in (False, True):
            target = h.Program(h.build_go("gohang", version, root, cgo=cgo)).ready()
            folder = h.scratch()
            code, text, _ = run("record", "-p", target.pid, "-d", "2s", "-o", folder / "out.json")
            flat = re.sub(r"\s+", " ", text)
            h.check(code == 0 and re.search(r"goroutines? never ran: \[syscall\] at main\.", flat), f"Go {version}, cgo {cgo}: {text}")
            event = json.loads((folder / "out.json").read_text())["events"]["goroutine"]
            hung = [s for s in event["samples"] if any(f["name"] == "main.hangInner" for f in s["frames"])]
            h.check(len(hung) == 1 and hung[0]["frames"][0]["name"] == "[never ran]" and hung[0]["values"][1] == 1,
                    f"Go {version}, cgo {cgo}: {hung}")
            target.stop()


# ---- where it lives ----

def root_of_its_own():
    """In a mount and pid namespace, with a root that holds its executable and nothing else."""
    need_commands()
    version, root = g.newest_toolchain()
    folder = h.scratch()
    inside = folder / "root"
    inside.mkdir()
    shutil.copy(h.build_go("many", version, root), inside / "server")
    # unshare's own root cannot be the new one: chroot comes last and becomes the program.
    target = h.Program(h.need_tool("unshare"), "--mount", "--pid", "--fork", "--kill-child", h.need_tool("chroot"), inside,
                       "/server").ready()
    ask(target, "grow 300")
    pid = int(pathlib.Path(f"/proc/{target.pid}/task/{target.pid}/children").read_text().split()[0])
    h.check(os.path.samefile(f"/proc/{pid}/root", inside), "it does not live in a root of its own")
    check_many(pid, 300, folder)


def executable_gone():
    need_commands()
    version, root = g.newest_toolchain()
    folder = h.scratch()
    shutil.copy(h.build_go("many", version, root), folder / "server")
    target = h.Program(folder / "server").ready()
    ask(target, "grow 300")
    (folder / "server").unlink()
    check_many(target.pid, 300, folder)


def check_many(pid, count, folder):
    dump, _ = g.dump(pid, "--all", "--idle", out=folder / "dump.json")
    h.check(parked(dump) == count, f"{parked(dump)} of {count} goroutines have their names")
    code, text, _ = run(*record_arguments(pid, folder / "out.json"))
    h.check(code == 0 and {"main.shallow", "main.deep"} <= names_in(folder / "out.json"), f"exit {code}: {text}")


# ---- growth ----

def grows():
    """From 10 to 100,000 goroutines while it is recorded: the ticks stay within the budget, the sum is right."""
    need_commands()
    folder, target = h.scratch(), many(10)
    recorder = h.Recorder(*record_arguments(target.pid, folder / "out.json", 20)[1:]).wait_began()
    time.sleep(5)
    ask(target, "grow 100000")
    grown = time.time_ns()
    recorder.expect(0, 60)
    result = h.Result(folder / "out.json", "goroutine")
    census = g.census_of(result)
    end = result.raw["start_unix_ns"] + result.raw["duration_ns"]
    got = sum(s.time for s in result.samples if s.names and ("main.shallow" in s.names or "main.deep" in s.names))
    least, most = 100_000 * (end - grown), 100_000 * (end - grown + 1.5e9) + 10 * result.raw["duration_ns"]
    print(f"  {census}")
    print(f"  {got / 1e9:.0f} s of goroutines, {least / 1e9:.0f} to {most / 1e9:.0f} are right")
    h.check(census["most"] >= 100_000, f"saw at most {census['most']} goroutines")
    h.check(0.9 * least <= got <= 1.1 * most, "the sum is wrong")
    share = census["cpu_ns"] / result.raw["duration_ns"]
    h.check(share < 0.03, f"the ticks took {share:.1%} of a core; the budget is 1 %")


# ---- two runtimes, none ----

def two_runtimes():
    need_commands()
    for version, root in ([g.newest_toolchain()] if SHORT else g.toolchains()):
        library = h.build_go("shared_runtime", version, root, cgo=True, flags=("-buildmode=c-shared",))
        host = h.Program(h.build_go("runtime_host", version, root, cgo=True), library, 5).ready()
        folder = h.scratch()
        code, text, _ = run("dump", "-p", host.pid, "--all", "--idle", "-o", folder / "dump.json")
        h.check(code == 0, f"Go {version}: exit {code}: {text}")
        raw = json.loads((folder / "dump.json").read_text())
        counts = {name: sum(any(f["name"] == name for f in one["frames"]) for one in raw["goroutines"])
                  for name in ("main.waitInProgram", "main.waitInLibrary")}
        h.check(set(counts.values()) == {5}, f"Go {version}: {counts}, 5 each are right\n{text}")
        code, text, _ = run(*record_arguments(host.pid, folder / "out.json"))
        h.check(code == 0 and set(counts) <= names_in(folder / "out.json"), f"Go {version}: exit {code}: {text}")
        # Both are measured: a probe each.
        code, text, _ = run(*record_arguments(host.pid, folder / "exact.json", 2, "--exact", "--budget", "100%"))
        h.check(code == 0, f"Go {version}: exit {code}: {text}")
        result = h.Result(folder / "exact.json", "goroutine")
        for name in counts:
            got = sum(sample.time for sample in result.samples if name in sample.names) / result.raw["duration_ns"]
            h.check(abs(got - 5) < 0.01, f"Go {version}: {got:.3f} goroutines in {name}, 5 are right")
        host.stop()


def go_library_in_another_program():
    need_commands()
    version, root = g.newest_toolchain()
    library = h.build_go("shared_runtime", version, root, cgo=True, flags=("-buildmode=c-shared",))
    host = h.Program("/usr/bin/python3", "-c", "import ctypes, sys; print('ready' if ctypes.CDLL(sys.argv[1]).shared_start(7) == 7 "
                     "else 'no', flush=True); sys.stdin.read()", library).ready()
    folder = h.scratch()
    code, text, _ = run("dump", "-p", host.pid, "--all", "--idle", "-o", folder / "dump.json")
    h.check(code == 0, f"exit {code}: {text}")
    raw = json.loads((folder / "dump.json").read_text())
    count = sum(any(f["name"] == "main.waitInLibrary" for f in one["frames"]) for one in raw.get("goroutines") or [])
    h.check(count == 7, f"{count} of 7 goroutines of the library\n{text}")


def not_go():
    need_commands()
    folder, target = h.scratch(), h.Program(h.testprog("hung_read")).ready()
    code, text, _ = run("dump", "-p", target.pid, "--idle", "-o", folder / "dump.json")
    h.check(code == 0 and "hang_inner" in names_in(folder / "dump.json"), f"its threads are not there: exit {code}: {text}")
    code, text, _ = run(*record_arguments(target.pid, folder / "out.json"))
    h.check(code == GONE and "is not a Go program" in text and "-e offcpu" in text, f"exit {code}: {text}")
    h.check(not (folder / "out.json").exists(), "it wrote a file all the same")


def threads_that_ran():
    """A thread that runs now and then is shown with the wait that it is in, not as one that runs."""
    target, states = h.Program(h.testprog("waiter"), 60).ready(), []
    for _ in range(6):
        out = h.scratch() / "dump.json"
        code, text, _ = run("dump", "-p", target.pid, "-o", out)
        h.check(code == 0, text)
        threads = json.loads(out.read_text())["threads"]
        states += [(one["state"], one.get("reason"), "waiter_nap" in [f["name"] for f in one["frames"]]) for one in threads]
    print(f"  {states}")
    h.check(states.count(("blocked", "sleep", True)) >= 5, f"it naps nearly all the time: {states}")


def sleep_after_a_stop():
    """A sleep that was stopped and went on is a sleep, though the kernel has another number for it by then."""
    target = h.Program("/usr/bin/sleep", 60)
    time.sleep(0.3)
    os.kill(target.pid, signal.SIGSTOP)
    time.sleep(0.3)
    os.kill(target.pid, signal.SIGCONT)
    time.sleep(0.3)
    number = int(pathlib.Path(f"/proc/{target.pid}/syscall").read_text().split()[0])
    print(f"  system call {number}")
    folder = h.scratch()
    code, text, _ = run("dump", "-p", target.pid, "-o", folder / "dump.json")
    reasons = [one["reason"] for one in json.loads((folder / "dump.json").read_text())["threads"]]
    h.check(code == 0 and reasons == ["sleep"], f"{reasons}")
    h.record("-p", target.pid, "-d", "1s", "-o", folder / "out.json")
    reasons = [s.reason for s in h.Result(folder / "out.json").samples]
    h.check(reasons == ["sleep"], f"{reasons}")


def spinner():
    """The opposite: a thread that spins is one that runs."""
    target, out = h.Program(h.testprog("spinner"), 0, 5, 1).ready(), h.scratch() / "dump.json"
    target.tell()
    time.sleep(0.5)
    code, text, _ = run("dump", "-p", target.pid, "-o", out)
    h.check(code == 0, text)
    states = [one["state"] for one in json.loads(out.read_text())["threads"]]
    h.check("running" in states, f"{states}")


# ---- liars ----

class Liar:
    """A stopped Go program whose memory the test writes to, at the addresses that its symbol table gives."""

    def __init__(self, count=200):
        self.target = many(count, ldflags="")
        self.pid = self.target.pid
        os.kill(self.pid, signal.SIGSTOP)
        time.sleep(0.1)
        listed = subprocess.run([h.need_tool("nm"), f"/proc/{self.pid}/exe"], capture_output=True, text=True, check=True)
        self.symbols = {words[2]: int(words[0], 16) for words in map(str.split, listed.stdout.splitlines()) if len(words) == 3}
        self.memory = open(f"/proc/{self.pid}/mem", "r+b", buffering=0)
        self.kept = {}

    def read(self, address, words=1):
        self.memory.seek(address)
        return struct.unpack(f"<{words}Q", self.memory.read(8 * words))

    def write(self, address, *words):
        self.kept.setdefault(address, self.read(address, len(words)))
        self.memory.seek(address)
        self.memory.write(struct.pack(f"<{len(words)}Q", *(word & (1 << 64) - 1 for word in words)))

    def restore(self):
        for address, words in reversed(list(self.kept.items())):
            self.memory.seek(address)
            self.memory.write(struct.pack(f"<{len(words)}Q", *words))
        self.kept = {}

    def list(self):
        """(address of the array, the goroutines' addresses)"""
        array, = self.read(self.symbols["runtime.allgptr"])
        count, = self.read(self.symbols["runtime.allglen"])
        return array, self.read(array, count)

    def lie_about_length(self, length):
        self.write(self.symbols["runtime.allglen"], length)

    def lie_about_array(self, address):
        self.write(self.symbols["runtime.allgptr"], address)

    def stack(self, goroutine):
        return self.read(goroutine, 2)

    def saved(self, goroutine):
        """(sp, pc), at the same place in every version."""
        return self.read(goroutine + 56, 2)

    def stop(self):
        self.memory.close()
        self.target.stop()


def lies(liar):
    """{what: how it is told}"""
    array, gs = liar.list()
    names = liar.symbols

    def each(change):
        return lambda: [change(one) for one in gs[len(gs) // 2:]]

    def endless(one):
        """Return addresses of one function all the way up: a recursion without end."""
        sp, pc = liar.saved(one)
        _, hi = liar.stack(one)
        liar.write(sp, *[names["main.descend"] + 40] * ((hi - sp) // 8))

    return {
        "length 0": lambda: liar.lie_about_length(0),
        "length of 2^32": lambda: liar.lie_about_length(1 << 32),
        "length of 2^62": lambda: liar.lie_about_length(1 << 62),
        "length of -1": lambda: liar.lie_about_length(-1),
        "no array": lambda: liar.lie_about_array(0),
        "array in unmapped memory": lambda: liar.lie_about_array(0x7000_0000_0000),
        "array in the kernel's half": lambda: liar.lie_about_array(0xffff_8000_0000_0000),
        "array that is not aligned": lambda: liar.lie_about_array(array + 3),
        "array of code": lambda: liar.lie_about_array(names["main.main"]),
        "array of itself": lambda: liar.write(array, *[array] * len(gs)),
        "one goroutine again and again": lambda: liar.write(array, *[gs[3]] * len(gs)),
        "goroutines backwards": lambda: liar.write(array, *reversed(gs)),
        "goroutines one word off": lambda: liar.write(array, *[one + 8 for one in gs]),
        "no goroutines": lambda: liar.write(array, *[0] * len(gs)),
        "goroutines at the end of memory": lambda: liar.write(array, *[(1 << 64) - 8] * len(gs)),
        "stacks without end": each(lambda one: liar.write(one, 0, (1 << 64) - 1)),
        "stacks upside down": each(lambda one: liar.write(one, *reversed(liar.stack(one)))),
        "stacks of terabytes": each(lambda one: liar.write(one + 8, liar.stack(one)[0] + (1 << 40))),
        "stack pointers below the stack": each(lambda one: liar.write(one + 56, liar.stack(one)[0] - 8)),
        "stack pointers at the top": each(lambda one: liar.write(one + 56, liar.stack(one)[1])),
        "stack pointers to nowhere": each(lambda one: liar.write(one + 56, 0x7000_0000_0000)),
        "code that is none": each(lambda one: liar.write(one + 64, names["runtime.allglen"])),
        "recursion without end": each(endless),
    }


def check_liar(liar, what, folder):
    """Whether goroutines are shown (else: its threads, or nothing, and why)."""
    (folder / "dump.json").unlink(missing_ok=True)
    started = time.monotonic()
    code, text, rss = run("dump", "-p", liar.pid, "--all", "--idle", "-o", folder / "dump.json")
    took = time.monotonic() - started
    h.check(code in (0, GONE), f"{what}: exit {code}\n{text}")
    raw = json.loads((folder / "dump.json").read_text()) if code == 0 else {}
    words = text.strip().splitlines() + raw.get("notes", [])
    shown = raw.get("goroutines")
    frames = [frame for one in shown or raw.get("threads") or [] for frame in one["frames"] if frame["kind"] in ("go", "runtime")]
    # Names come from the line table alone: whatever was read, no name can be one that the program does not have.
    odd = {frame["name"] for frame in frames if "." not in frame["name"]}
    record, record_text, _ = run(*record_arguments(liar.pid, folder / "out.json", 1))
    print(f"    {what}: dump {code}, {len(shown) if shown is not None else 'no'} goroutines, {took:.1f} s, {rss >> 10} MiB;"
          f" record {record}: {'; '.join(words)[:200] or 'no word'}", flush=True)
    h.check(not odd, f"{what}: names out of nothing: {sorted(odd)[:5]}")
    h.check(shown is not None or words, f"{what}: no goroutines, and not a word why")
    h.check(record in (0, 1, GONE) and (record == 0 or record_text.strip()), f"{what}: record: exit {record}\n{record_text}")
    return shown is not None


def liars():
    need_commands()
    folder, liar = h.scratch(), Liar()
    h.check(check_liar(liar, "the truth", folder), "the honest program is refused")
    for what, tell in lies(liar).items():
        tell()
        check_liar(liar, what, folder)
        liar.restore()
    h.check(check_liar(liar, "the truth again", folder), "the honest program is refused")
    os.kill(liar.pid, signal.SIGCONT)
    ask(liar.target, "grow 210")
    liar.stop()


def random_words():
    """Random words in the goroutines' structures and on their stacks."""
    need_commands()
    folder, liar, dice = h.scratch(), Liar(), random.Random(1)
    _, gs = liar.list()
    words = [0, 1, 0xff, 1 << 31, 1 << 47, (1 << 64) - 1, 0x7000_0000_0000]
    for number in range(25):
        for one in dice.sample(gs, 100):
            for _ in range(3):
                liar.write(one + 8 * dice.randrange(2, 48), dice.choice([*words, one, dice.getrandbits(64), dice.choice(gs)]))
            sp, hi = liar.saved(one)[0], liar.stack(one)[1]
            if one not in liar.kept and 0 < hi - sp < 1 << 16:
                liar.write(sp + 8 * dice.randrange((hi - sp) // 8), dice.choice([*words, dice.getrandbits(64)]))
        check_liar(liar, f"random words {number}", folder)
        liar.restore()
    liar.stop()


def memory_can_be_written():
    """The test's own test: a lie is in the target's memory, and gone after it is taken back."""
    liar = Liar(50)
    array, gs = liar.list()
    h.check(50 <= len(gs) < 200 and len(set(gs)) == len(gs), f"{len(gs)} goroutines in its list")
    for what, tell in lies(liar).items():
        before = liar.list(), [liar.read(one, 40) for one in gs], [liar.read(*(lambda s: (s[0], 4))(liar.saved(one))) for one in gs]
        tell()
        with contextlib.suppress(OSError, OverflowError, ValueError, MemoryError, struct.error):
            now = liar.list(), [liar.read(one, 40) for one in gs], [liar.read(*(lambda s: (s[0], 4))(liar.saved(one))) for one in gs]
            h.check(now != before, f"nothing changed: {what}")
        liar.restore()
        after = liar.list(), [liar.read(one, 40) for one in gs], [liar.read(*(lambda s: (s[0], 4))(liar.saved(one))) for one in gs]
        h.check(after == before, f"not taken back: {what}")
    os.kill(liar.pid, signal.SIGCONT)
    ask(liar.target, "grow 60")
    liar.stop()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    h.main(memory_can_be_written, target_exits, target_exits_at_any_moment, stopped, frozen,
           never_ran_until_it_ended, joins_those_that_never_ran, hung_in_a_system_call, root_of_its_own, executable_gone, grows,
           two_runtimes, go_library_in_another_program, not_go, threads_that_ran, sleep_after_a_stop,
           spinner, liars, random_words)
