#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Targets that end, become another program, are replaced, or spawn threads in a storm; recorders that are killed or
interrupted at any moment; places that cannot be written. Right exit code, a valid file where one is promised, nothing
left attached, no crash."""
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import time

import harness as h

SIGNALS = 40


def names_in(result):
    return {name for sample in result.samples for name in sample.user_names}


def leftovers(folder, *expected):
    """Files in the folder that nobody asked for: a temporary file must not stay."""
    return sorted(path.name for path in folder.iterdir() if path.name not in expected)


# ---- targets ----

def target_exits():
    folder = h.scratch()
    target = h.Program(h.testprog("waiter"), 2).ready()
    started = time.monotonic()
    recorder = h.record("-p", target.pid, "-e", "offcpu", "-d", "30s", "-o", folder / "out.json", "-o", folder / "out.folded")
    h.check(time.monotonic() - started < 15, "the recording did not end with its target")
    h.check(re.search(rf"pid {target.pid} ended after \d", recorder.stderr_text), f"does not say so:\n{recorder.stderr_text}")
    result = h.Result(folder / "out.json")
    naps = sum(s.count for s in result.through("waiter_nap"))
    h.check(naps > 100, f"{naps} naps recorded")
    h.check(h.read_folded(folder / "out.folded"), "the folded file is empty")


def target_execs():
    folder = h.scratch()
    target = h.Program(h.testprog("exec_later"), 2, h.testprog("waiter"), 60).ready()
    recorder = h.record("-p", target.pid, "-e", "offcpu", "-d", "5s", "-o", folder / "out.json")
    lines = [l for l in recorder.stderr_text.splitlines() if f"pid {target.pid} became another program" in l]
    h.check(len(lines) >= 1 and re.search(r"\(exec_later -> waiter\) after \d", lines[0]),
            f"the exec is not told:\n{recorder.stderr_text}")
    result = h.Result(folder / "out.json")
    before = sum(s.time for s in result.through("nap_before_exec"))
    after = sum(s.time for s in result.through("waiter_nap"))
    print(f"  before the exec {before / 1e9:.2f} s, after it {after / 1e9:.2f} s")
    h.check(before > 0.5e9 and after > 1.5e9, "a part is missing")
    h.check(before + after < 5.3e9, "more than the recording")


def command_execs():
    """`-- sh -c 'exec app'` records app, and the exit code is the command's own."""
    folder = h.scratch()
    h.record("-e", "offcpu", "-d", "30s", "-o", folder / "out.json", "--", "sh", "-c",
             f"exec {h.testprog('waiter')} 1 7", code=7)
    result = h.Result(folder / "out.json")
    naps = result.through("waiter_nap")
    h.check(sum(s.count for s in naps) > 50, "the program was not recorded")
    h.check({s.labels["comm"] for s in naps} == {"waiter"}, f"comm {set(s.labels['comm'] for s in naps)}")
    h.record("-e", "offcpu", "-d", "30s", "-o", folder / "two.json", "--", h.testprog("waiter"), "1", code=0)


def command_not_found():
    folder = h.scratch()
    recorder = h.Recorder("-e", "offcpu", "-d", "5s", "-o", folder / "out.json", "--", "/nonexistent/program")
    code = recorder.wait()
    h.check(code not in (0, 139, 134, -6, -11), f"exit {code}")
    h.check("/nonexistent/program" in recorder.stderr_text, f"does not name it:\n{recorder.stderr_text}")


def thread_storm():
    folder = h.scratch()
    target = h.Program(h.testprog("thread_storm"), 1000, 5).ready()
    recorder = h.Recorder("-p", target.pid, "-e", "offcpu", "-d", "0", "-o", folder / "out.json").wait_began()
    target.tell()
    log = json.loads(target.line(60))
    recorder.interrupt()
    recorder.expect(0)
    result = h.Result(folder / "out.json")
    h.print_losses(result)
    naps = result.through("storm_nap")
    count, waited = sum(s.count for s in naps), sum(s.time + s.runq for s in naps)
    print(f"  {count} naps recorded of {log['threads']}, {log['threads'] / (log['elapsed_ns'] / 1e9):.0f} threads a second")
    h.check(abs(count - log["threads"]) <= log["threads"] * 0.002, "naps are missing")
    h.check(h.within(waited, log["napped_ns"], 0.02, "time of the naps"), "time is missing")


def pid_reuse():
    folder = h.scratch()
    target = h.Program(h.testprog("reuse_pid"), h.testprog("waiter"), 3, h.testprog("impostor"), 20)
    lines = {target.line(), target.line()}  # in either order: the pid, and the first program's "ready"
    pid = int(next(line for line in lines if line.startswith("pid ")).split()[1])
    recorder = h.Recorder("-p", pid, "-e", "offcpu", "-d", "8s", "-o", folder / "out.json").wait_began()
    said = target.line(20)
    if not said.startswith("reused"):
        recorder.interrupt()
        recorder.wait()
        h.skip(f"a pid cannot be reused here: {said}")
    recorder.expect(0)
    os.kill(pid, signal.SIGKILL)
    h.check(re.search(rf"pid {pid} ended after \d", recorder.stderr_text), f"does not say so:\n{recorder.stderr_text}")
    names = names_in(h.Result(folder / "out.json"))
    h.check("waiter_nap" in names, f"what was recorded until then is missing: {names}")
    h.check("impostor_nap" not in names, "the second life of the pid was recorded")


def thread_born_after_attach_and_fork():
    """Without --children a child is not recorded; with it, it is."""
    folder = h.scratch()
    for arguments, wanted in (((), False), (("--children",), True)):
        shell = h.Program("sh", "-c", f"echo ready; read line; {h.testprog('waiter')} 1; read line; true").ready()
        recorder = h.Recorder("-p", shell.pid, "-e", "offcpu", "-d", "4s", *arguments, "-o", folder / "out.json").wait_began()
        shell.tell()
        recorder.expect(0)
        found = "waiter_nap" in names_in(h.Result(folder / "out.json"))
        shell.stop()
        h.check(found == wanted, f"{arguments or 'without --children'}: child recorded: {found}")


# ---- recorders ----

def nothing_attached(held, seconds=10):
    """Waits until none of the programs and links that a recorder held is in the kernel any more."""
    programs, links = held
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        left = (programs & h.bpf_ids("prog"), links & h.bpf_ids("link"))
        if not left[0] and not left[1]:
            return
        time.sleep(0.2)
    h.fail(f"still in the kernel: programs {left[0]}, links {left[1]}")


def killed():
    folder = h.scratch()
    target = h.Program(h.testprog("waiter"), 60).ready()
    recorder = h.Recorder("-p", target.pid, "-e", "offcpu", "-d", "30s", "-o", folder / "out.json").wait_began()
    time.sleep(1)
    held = h.attached_to(recorder.pid)
    print(f"  held {len(held[0])} programs and {len(held[1])} links")
    h.check(held[1] or held[0], "nothing was attached: the check would prove nothing")
    recorder.interrupt(signal.SIGKILL)
    recorder.wait()
    nothing_attached(held)
    h.check(not (folder / "out.json").exists(), "a killed recorder left a result")
    h.check(target.alive(), "the target died")


def interrupted_at_any_moment():
    target = h.Program(h.testprog("waiter"), 300).ready()
    dice = random.Random(3)
    seen = {}
    for number in range(SIGNALS):
        folder = h.scratch()
        recorder = h.Recorder("-p", target.pid, "-e", "offcpu", "-d", "1s", "-o", folder / "out.json", "-o",
                              folder / "out.html")
        delay = dice.uniform(0, 0.4) if number % 2 else dice.uniform(0.2, 2.2)
        time.sleep(delay)
        if recorder.popen.poll() is None:
            recorder.interrupt(signal.SIGTERM if number % 5 == 0 else signal.SIGINT)
        code = recorder.wait(60)
        began = recorder.began.is_set()
        files = sorted(path.name for path in folder.iterdir())
        seen[code, began] = seen.get((code, began), 0) + 1
        what = f"signal after {delay:.3f} s: exit {code}, recording began: {began}, files {files}\n{recorder.stderr_text}"
        h.check(code in ((0,) if began else (0, 130, 143, -signal.SIGINT, -signal.SIGTERM)), what)
        if code == 0:
            h.check(files == ["out.html", "out.json"], what)
            h.Result(folder / "out.json")
            h.check("</html>" in (folder / "out.html").read_text(), what)
        else:
            h.check(not files, what)
    h.check(target.alive(), "the target died")
    print(f"  (exit code, recording had begun): times {seen}")


def interrupted_twice():
    """The second signal abandons: 130. A target with many stacks makes the end long enough to hit."""
    seen = []
    target = h.Program(h.testprog("many_stacks"), 30000, 17).ready()
    recorder = None
    for delay_ms in (60, 150, 300):  # two at once are one: the kernel merges pending signals
        folder = h.scratch()
        recorder = h.Recorder("-p", target.pid, "-e", "offcpu", "-d", "0", "--stacks", 65536, "-o", folder / "out.json",
                              "-o", folder / "out.html").wait_began()
        target.tell()
        json.loads(target.line(120))
        recorder.interrupt()
        time.sleep(delay_ms / 1000)
        if recorder.popen.poll() is None:
            recorder.interrupt()
        code = recorder.wait(60)
        seen.append(code)
        if code == 130:
            h.check(not leftovers(folder, "out.json", "out.html"), f"left behind: {leftovers(folder)}")
        target.stop()
        target = h.Program(h.testprog("many_stacks"), 30000, 17).ready()
    print(f"  exit codes {seen}")
    h.check(set(seen) <= {0, 130} and 130 in seen, f"exit codes {seen}")


# ---- places that cannot be written ----

def in_mount(commands):
    """A command prefix: run in a mount namespace of its own, after the shell commands."""
    return [h.need_tool("unshare"), "--mount", "--propagation", "private", "sh", "-c", f"{commands}; exec \"$@\"", "sh"]


def read_only_directory():
    folder = h.scratch()
    place = folder / "ro"
    place.mkdir()
    target = h.Program(h.testprog("waiter"), 60).ready()
    started = time.monotonic()
    recorder = h.record("-p", target.pid, "-e", "offcpu", "-d", "20s", "-o", place / "out.json", code=1,
                        wrap=in_mount(f"mount -t tmpfs -o ro none {place}"))
    h.check(time.monotonic() - started < 10, "found out only at the end")
    h.check(not recorder.began.is_set(), "recording began")
    h.check(str(place) in recorder.stderr_text and "Read-only file system" in recorder.stderr_text,
            f"not the path and the reason:\n{recorder.stderr_text}")


def missing_directory():
    folder = h.scratch()
    target = h.Program(h.testprog("waiter"), 60).ready()
    recorder = h.record("-p", target.pid, "-e", "offcpu", "-d", "20s", "-o", folder / "no/such/out.json", code=1)
    h.check("no/such" in recorder.stderr_text and "No such file or directory" in recorder.stderr_text,
            f"not the path and the reason:\n{recorder.stderr_text}")


def disk_full(tmpdir_full):
    folder = h.scratch()
    place, spare, shm = folder / "full", folder / "spare", folder / "shm"
    for path in (place, spare, shm):
        path.mkdir()
    # /dev/shm is a folder of ours in that namespace, so that what lands there can be looked at.
    mounts = f"mount -t tmpfs -o size=64k none {place}; mount --bind {shm} /dev/shm"
    if tmpdir_full:
        mounts += f"; mount -t tmpfs -o size=64k none {spare}"
    target = h.Program(h.testprog("many_stacks"), 3000, 17).ready()
    recorder = h.Recorder("-p", target.pid, "-e", "offcpu", "-d", "0", "-o", place / "out.json",
                          wrap=in_mount(mounts), env=dict(os.environ, TMPDIR=str(spare))).wait_began()
    target.tell()
    target.line(60)
    recorder.interrupt()
    recorder.expect(1)
    h.check(str(place / "out.json") in recorder.stderr_text and "No space left on device" in recorder.stderr_text,
            f"not the path and the reason:\n{recorder.stderr_text}")
    refuge = shm if tmpdir_full else spare
    files = list(refuge.iterdir())
    h.check(len(files) == 1, f"{files} in {refuge}:\n{recorder.stderr_text}")
    told = "/dev/shm/" + files[0].name if tmpdir_full else str(files[0])
    h.check(told in recorder.stderr_text, f"{told} is not named:\n{recorder.stderr_text}")
    h.check(len(h.Result(files[0]).samples) > 1000, "the saved result is not whole")


def disk_full_saves_to_tmpdir():
    disk_full(tmpdir_full=False)


def disk_full_saves_to_shm():
    disk_full(tmpdir_full=True)


if __name__ == "__main__":
    h.main(target_exits, target_execs, command_execs, command_not_found, thread_storm, pid_reuse,
           thread_born_after_attach_and_fork, killed, interrupted_at_any_moment, interrupted_twice, read_only_directory,
           missing_directory, disk_full_saves_to_tmpdir, disk_full_saves_to_shm)
