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


if __name__ == "__main__":
    h.main(deleted_program, replaced_program, other_mount_namespace, other_root, code_made_at_run_time,
           perf_map_that_is_a_fifo)
