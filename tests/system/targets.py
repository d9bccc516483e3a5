#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Each way to choose what is recorded: by pid, by comm, everything, and thread by thread; and what is printed where."""
import json
import os

import goroutines as g
import harness as h


def naps_of(result, pid):
    return sum(s.count for s in result.through("waiter_nap", pid))


def by_comm():
    """All processes of that name, and no other."""
    first, second = (h.Program(h.testprog("waiter"), 60).ready() for _ in range(2))
    other = h.Program(h.testprog("impostor"), 60).ready()
    out = h.scratch() / "out.json"
    h.record("--comm", "waiter", "-e", "offcpu", "-d", "2s", "-o", out)
    result = h.Result(out)
    h.check(naps_of(result, first.pid) > 100 and naps_of(result, second.pid) > 100, "not both processes of that name")
    h.check(not [s for s in result.samples if s.pid == other.pid], "a process of another name")


def everything():
    """-a sees processes that nobody named, and leaves itself out."""
    programs = [h.Program(h.testprog(name), 60).ready() for name in ("waiter", "impostor")]
    out = h.scratch() / "out.json"
    recorder = h.record("-a", "-d", "2s", "-o", out)
    result = h.Result(out)
    h.check(naps_of(result, programs[0].pid) > 100, "waiter is missing")
    h.check(result.through("impostor_nap", programs[1].pid), "impostor is missing")
    h.check(not [s for s in result.samples if s.pid == recorder.pid], "it recorded itself")


def one_of_many():
    """-p of one process holds nothing of any other."""
    programs = [h.Program(h.testprog("waiter"), 60).ready() for _ in range(3)]
    out = h.scratch() / "out.json"
    h.record("-p", programs[1].pid, "-e", "offcpu", "-d", "1s", "-o", out)
    h.check({s.pid for s in h.Result(out).samples} == {programs[1].pid}, "other processes")


def by_cgroup():
    """Every process of a control group, one that joins later too, and no other."""
    root = next((p for p in ("/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified", "/sys/fs/cgroup")
                 if os.path.exists(p + "/cgroup.procs")), None)
    if not root:
        h.skip("no cgroup file system is mounted")
    group = f"{root}/stallscope-test-{os.getpid()}"
    os.mkdir(group)
    programs = [h.Program(h.testprog("waiter"), 60).ready() for _ in range(3)]

    def join(program):
        with open(group + "/cgroup.procs", "w") as procs:
            procs.write(str(program.pid))

    try:
        join(programs[0])
        out = h.scratch() / "out.json"
        recorder = h.Recorder("--cgroup", group, "-e", "offcpu", "-d", "4s", "-o", out).wait_began()
        join(programs[1])
        recorder.expect(0)
        result = h.Result(out)
        h.check(naps_of(result, programs[0].pid) > 100, "the member is missing")
        h.check(naps_of(result, programs[1].pid) > 50, "the one that joined later is missing")
        h.check(not [s for s in result.samples if s.pid == programs[2].pid], "a process of another group")
    finally:
        for program in programs:
            program.stop()
        os.rmdir(group)


def by_thread():
    """--threads keeps threads apart, with tid and name."""
    target = h.Program(h.testprog("hung_read")).ready()
    out = h.scratch() / "out.json"
    h.record("-p", target.pid, "-e", "offcpu", "--threads", "-d", "1s", "-o", out)
    labels = [s.labels for s in h.Result(out).samples]
    h.check({l["thread"] for l in labels} == {"hung_read", "hung-reader"}, f"threads {labels}")
    wanted = {int(t) for t in os.listdir(f"/proc/{target.pid}/task")}
    h.check({int(l["tid"]) for l in labels} == wanted, f"tids {labels}")


def summary_as_json():
    """--json: one object on stdout, the result in the file."""
    target = h.Program(h.testprog("waiter"), 60).ready()
    out = h.scratch() / "out.json"
    recorder = h.record("-p", target.pid, "-e", "offcpu", "-d", "1s", "--json", "-o", out)
    h.check(isinstance(json.loads(recorder.stdout_text), dict), "not one object")
    h.check(naps_of(h.Result(out), target.pid) > 50, "the file is empty")


def folded_on_stdout():
    target = h.Program(h.testprog("waiter"), 60).ready()
    recorder = h.record("-p", target.pid, "-e", "offcpu", "-d", "1s", "-o", "-")
    lines = recorder.stdout_text.splitlines()
    h.check(lines and all(h.FOLDED_LINE.match(line) for line in lines), f"not folded: {lines[:3]}")
    h.check(any("waiter_nap" in line for line in lines), "the nap is missing")


def go_command():
    """A command that is a Go program has its goroutines recorded without being asked for; any other its threads."""
    version, root = g.newest_toolchain()
    folder = h.scratch()
    recorder = h.record("-d", "2s", "-o", folder / "go.json", "--", h.build_go("gohang", version, root))
    h.check("recording goroutine (where goroutines wait)" in recorder.stderr_text and ", a Go program," in recorder.stderr_text,
            recorder.stderr_text)
    names = {name for s in h.Result(folder / "go.json", "goroutine").samples for name in s.names}
    h.check("main.hangInner" in names, f"{names}")
    path = dict(os.environ, PATH=f"{os.path.dirname(h.build_go('gohang', version, root))}:{os.environ['PATH']}")
    found = h.record("-d", "1s", "-o", folder / "path.json", "--", "gohang", env=path)
    h.check("recording goroutine" in found.stderr_text, found.stderr_text)
    other = h.record("-o", folder / "other.json", "--", "sleep", "0.5")
    h.check("recording offcpu" in other.stderr_text and "for a Go program add -e goroutine" in other.stderr_text,
            other.stderr_text)


if __name__ == "__main__":
    h.main(by_comm, everything, one_of_many, by_cgroup, by_thread, summary_as_json, folded_on_stdout, go_command)
