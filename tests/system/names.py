#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Names where the file is not where its path says: deleted, replaced, in another mount namespace, or made at run time;
and where the name means harm."""
import os
import pathlib
import shutil
import subprocess

import harness as h


def copied_waiter():
    place = h.scratch() / "moved"
    shutil.copy(h.testprog("waiter"), place)
    return place


def has_nap(target, name="waiter_nap"):
    out = h.scratch() / "out.json"
    h.record("-p", target.pid, "-e", "offcpu", "-d", "1s", "-o", out)
    samples = h.Result(out).through(name)
    h.check(sum(s.count for s in samples) > 50, f"{name} is missing")
    return samples


def deleted_program():
    """The file is gone from its directory."""
    place = copied_waiter()
    target = h.Program(place, 30).ready()
    place.unlink()
    has_nap(target)


def replaced_program():
    """Another program stands at the path by now: the names are those of the one that runs."""
    place = copied_waiter()
    target = h.Program(place, 30).ready()
    place.unlink()
    shutil.copy(h.testprog("impostor"), place)
    samples = has_nap(target)
    h.check(all("impostor_nap" not in s.user_names for s in samples), "names of the file that replaced it")


def other_mount_namespace():
    """The program lies on a file system that only the target sees."""
    place = h.scratch() / "hidden"
    place.mkdir()
    script = f"mount -t tmpfs none {place} && cp {h.testprog('waiter')} {place}/waiter && exec {place}/waiter 30"
    target = h.Program("unshare", "--mount", "--propagation", "private", "sh", "-c", script).ready()
    h.check(not list(place.iterdir()), "the file is visible here: the test shows nothing")
    has_nap(target)


def other_root():
    """The target lives in a root of its own, as in a container."""
    root = h.scratch() / "root"
    (root / "bin").mkdir(parents=True)
    static = root / "bin/waiter"
    source = h.REPO / "tests/testprogs/waiter.c"
    subprocess.run(["cc", "-O1", "-static", "-fno-omit-frame-pointer", "-DNAP_FUNCTION=waiter_nap", "-o", static,
                    source], check=True)
    has_nap(h.Program("chroot", root, "/bin/waiter", 30).ready())


def code_made_at_run_time():
    """A JIT's code has the name that its perf map gives, escaped in folded lines."""
    target = h.Program(h.testprog("jit"), 30).ready()
    try:
        samples = has_nap(target, "made;up")
        h.check(all("call_made_code" in s.user_names for s in samples), "its caller is missing")
        out = h.scratch() / "out.folded"
        h.record("-p", target.pid, "-e", "offcpu", "-d", "1s", "-o", out)
        h.check(any("made:up" in frames for frames, _ in h.read_folded(out)), pathlib.Path(out).read_text())
    finally:
        os.unlink(f"/tmp/perf-{target.pid}.map")


def perf_map_that_is_a_fifo():
    """A trap in place of the perf map is not opened."""
    target = h.Program(h.testprog("jit"), 30).ready()
    path = f"/tmp/perf-{target.pid}.map"
    os.unlink(path)
    os.mkfifo(path)
    try:
        out = h.scratch() / "out.json"
        h.record("-p", target.pid, "-e", "offcpu", "-d", "1s", "-o", out, seconds=30)
        h.check(h.Result(out).through("call_made_code"), "the caller is missing")
    finally:
        os.unlink(path)


def host_of_plugins(rounds, seconds, ends=False):
    """Records a program whose libraries take turns at one address: (result, its own log of the time in each)."""
    for _ in range(3):
        target = h.Program(h.testprog("plugin_host"), h.testprog("libplugin_a.so"), h.testprog("libplugin_b.so"), rounds,
                           seconds).ready()
        out = h.scratch() / "out.json"
        recorder = h.Recorder("-p", target.pid, "-e", "offcpu", "-o", out).wait_began()
        target.tell()
        places = [target.line(60).split() for _ in range(rounds)]
        done = target.line(60).split()
        h.check(done[0] == "done", done)
        if ends:
            target.tell()  # the recording ends with it
        else:
            recorder.interrupt()
        recorder.expect()
        if len({address for _, address in places}) == 1:
            return h.Result(out), target, {"a": int(done[1]), "b": int(done[2])}
        print(f"  the libraries were at different addresses, again: {places}", flush=True)
    h.skip("the libraries never came to the same address")


def check_owners(result):
    other = {"a": "b", "b": "a"}
    for letter in "ab":
        wrong = [s for s in result.through(f"turn_of_{letter}") if f"plugin_{other[letter]}_nap" in s.user_names]
        h.check(not wrong, "\n".join(["a name of the other library:", *map(str, wrong)]))


def libraries_that_change_quickly():
    """Several changes between two readings of the mappings, which may look as if there had been none."""
    result, _, waited = host_of_plugins(40, 0.3)
    check_owners(result)
    turns = [s for letter in "ab" for s in result.through(f"turn_of_{letter}")]
    # The program's clock runs on until it has a CPU again.
    shown = sum(s.time + s.runq for s in turns)
    h.check(shown >= sum(waited.values()) * 0.95, f"time is missing: {shown} of {waited} ns")


def libraries_of_a_program_that_ends():
    """The mappings cannot be read any more after the change."""
    result, _, _ = host_of_plugins(2, 0.4, ends=True)
    check_owners(result)


def library_in_place_of_another():
    """A library is unloaded and another one comes to its address: each stack has the names of its time or none."""
    result, target, waited = host_of_plugins(4, 6)
    check_owners(result)
    for letter in "ab":
        turns = result.through(f"turn_of_{letter}")
        named = sum(s.time for s in result.through(f"plugin_{letter}_nap"))
        print(f"  {letter}: {named / 1e9:.3f} s named of {waited[letter] / 1e9:.3f} s waited", flush=True)
        h.check(named <= waited[letter] * 1.01, f"{letter} has more time than it waited for")
        h.check(named >= waited[letter] * 0.6, f"too little of {letter} has a name")
        shown = sum(s.time + s.runq for s in turns)
        h.check(shown >= waited[letter] * 0.97, f"time of {letter} is missing: {shown} of {waited[letter]} ns")
    # What waited before the first change and after the last has one stack, read before all of them.
    waiting = result.through("wait_for_ever")
    h.check(len(waiting) == 1, "\n".join(["one wait, one line:", *map(str, waiting)]))
    h.check(waiting[0].time >= result.raw["duration_ns"] * 0.98, f"{waiting[0]} of {result.raw['duration_ns']} ns")
    totals = [row for row in result.raw["totals"] if row["pid"] == target.pid]
    h.check(len(totals) == 1, f"one process, one row of totals: {totals}")
    samples = sum(s.time for s in result.samples)
    h.check(h.within(samples, totals[0]["blocked_ns"], 0.001, "samples against the ledger's total"), "they differ")


if __name__ == "__main__":
    h.main(deleted_program, replaced_program, other_mount_namespace, other_root, code_made_at_run_time,
           perf_map_that_is_a_fifo, library_in_place_of_another, libraries_that_change_quickly,
           libraries_of_a_program_that_ends)
