#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Go runtimes found in live processes, against what the programs know of themselves: where their list of goroutines
lies, each goroutine's number, state and parent. Every way to link and strip a Go program, with and without a section
table. STALLSCOPE_ALL_GO=1: every version."""
import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys

import goroutines as g
import harness as h

GORUNTIME = os.environ.get("GORUNTIME", str(pathlib.Path(h.STALLSCOPE).parent / "goruntime"))

PIE = ("-buildmode=pie",)
EXTERNAL = "-linkmode=external"
# name: (options of build_go, stripped afterwards)
KINDS = {
    "static": ({"ldflags": ""}, False),
    "static -s -w": ({"ldflags": "-s -w"}, False),
    "static strip": ({"ldflags": ""}, True),
    "PIE": ({"ldflags": "", "flags": PIE}, False),
    "PIE -s -w": ({"ldflags": "-s -w", "flags": PIE}, False),
    "cgo": ({"ldflags": "", "cgo": True}, False),
    "cgo -s -w": ({"ldflags": "-s -w", "cgo": True}, False),
    "cgo external": ({"ldflags": EXTERNAL, "cgo": True}, False),
    "cgo external PIE": ({"ldflags": EXTERNAL, "cgo": True, "flags": PIE}, False),
    "cgo external PIE -s -w": ({"ldflags": "-s -w " + EXTERNAL, "cgo": True, "flags": PIE}, False),
    "cgo external PIE strip": ({"ldflags": EXTERNAL, "cgo": True, "flags": PIE}, True),
    "cgo static": ({"ldflags": EXTERNAL + " -extldflags=-static", "cgo": True}, False),
}
# STALLSCOPE_SHORT=1: one of each way to find things.
CHOSEN = (("static strip", "PIE -s -w", "cgo external PIE strip", "cgo static")
          if os.environ.get("STALLSCOPE_SHORT") == "1" else tuple(KINDS))
HAVE_DWARF = ("static", "PIE", "cgo", "cgo external", "cgo external PIE", "cgo static")

STATUS = {1: "runnable", 2: "running", 3: "syscall", 9: "preempted", 10: "leaked"}
WAITING = 4


def build(version, root, kind):
    """The test program reads variables of its runtime, which Go's linker refuses from 1.23 on unless told."""
    options, strip = KINDS[kind]
    options = dict(options)
    if int(version.split(".")[1]) >= 23:
        options["ldflags"] += " -checklinkname=0"
    program = h.build_go("own_runtime", version, root, **options)
    return g.stripped(program) if strip else program


def without_sections(program):
    """A copy whose headers name no section table."""
    copy = pathlib.Path(program + ".nosections")
    data = bytearray(pathlib.Path(program).read_bytes())
    struct.pack_into("<Q", data, 0x28, 0)  # e_shoff
    struct.pack_into("<HH", data, 0x3c, 0, 0)  # e_shnum, e_shstrndx
    copy.unlink(missing_ok=True)
    copy.write_bytes(data)
    shutil.copymode(program, copy)
    return str(copy)


def found(pid, *options):
    said = subprocess.run([GORUNTIME, *options, str(pid)], capture_output=True, text=True)
    h.check(said.returncode == 0, f"goruntime: exit {said.returncode}: {said.stderr}")
    return json.loads(said.stdout)


DUMPED = re.compile(r"^goroutine (\d+)(?: gp=\S+ m=\S+(?: mp=\S+)?)? \[([^\],]*)")
PARENT = re.compile(r"^created by .* in goroutine (\d+)", re.M)


def dumped(text):
    """{number: (state, parent or None)} of Go's own dump."""
    rows = {}
    for block in text.strip().split("\n\n"):
        number, state = DUMPED.match(block).groups()
        parent = PARENT.search(block)
        rows[int(number)] = (state.removesuffix(" (scan)"), int(parent[1]) if parent else None)
    return rows


def state_of(row, reasons):
    return reasons[row["reason"]] if row["status"] == WAITING else STATUS.get(row["status"], f"status {row['status']}")


def differences(runtime, own):
    """Problems as text: goroutines that differ from Go's own dump. Go leaves those of the runtime out of it."""
    problems = []
    rows = {row["id"]: row for row in runtime["goroutines"]}
    for number, (state, parent) in own.items():
        row = rows.pop(number, None)
        if row is None:
            problems.append(f"goroutine {number} [{state}] was not found")
            continue
        seen = state_of(row, runtime["wait_reasons"])
        if seen != state and number != 1:  # the first one is on its way from the read to the dump
            problems.append(f"goroutine {number} is {state}, found {seen}")
        if parent is not None and row["parent"] != parent:
            problems.append(f"goroutine {number} was made by {parent}, found {row['parent']}")
    for number, row in rows.items():
        if not row["start"].startswith("runtime."):
            problems.append(f"goroutine {number} of {row['start']} is not one of Go's dump")
    return problems


def check_runtime(result, addresses, own, version, dwarf):
    if result["problem"] or len(result["runtimes"]) != 1:
        return [f"{len(result['runtimes'])} runtimes: {result['problem']} {result['refused']}"]
    runtime = result["runtimes"][0]
    problems = differences(runtime, own)
    for name in ("allglen", "allgptr"):
        if runtime[name] != addresses[name.capitalize()]:
            problems.append(f"{name} is at {addresses[name.capitalize()]:#x}, found {runtime[name]:#x}")
    if not runtime["version"].startswith(f"go{version}"):
        problems.append(f"the version is {version}, found {runtime['version']}")
    if runtime["offsets_from"] != f"the table for go{version}":
        problems.append(f"offsets from {runtime['offsets_from']}")
    if runtime["casgstatus_probe"] is None:
        problems.append("no place for a cheap probe on runtime.casgstatus")
    if not runtime["sched"]:
        problems.append("runtime.sched was not found")
    if dwarf and runtime["dwarf"] != "equal":
        problems.append(f"offsets by its debug information: {runtime['dwarf']}")
    return problems


def check_program(program, version, dwarf):
    """(problems, milliseconds of CPU for the finding)"""
    target = h.Program(program)
    addresses = json.loads(target.line())
    result = found(target.pid, *(["--dwarf"] if dwarf else []))
    target.tell()
    own = dumped(json.loads(target.line()))
    h.check(len(own) > 60, f"the program dumped {len(own)} goroutines")
    problems = check_runtime(result, addresses, own, version, dwarf)
    target.stop()
    return problems, result["open_ms"] + result["find_ms"]


def link_kinds():
    problems, costs, tried = [], [], 0
    right = 0
    for version, root in g.toolchains():
        for kind in CHOSEN:
            program = build(version, root, kind)
            for cut in (False, True):
                tried += 1
                what = f"Go {version}, {kind}{', no sections' if cut else ''}"
                wrong, cost = check_program(without_sections(program) if cut else program, version,
                                            kind in HAVE_DWARF and not cut)
                costs.append((cost, what))
                right += not wrong
                problems += [f"{what}: {p}" for p in wrong]
        print(f"  Go {version}: {right} of {tried} programs right so far", flush=True)
    costs.sort()
    print(f"  {right} of {tried} programs; CPU to find a runtime: median {costs[len(costs) // 2][0]:.1f} ms, most "
          f"{costs[-1][0]:.1f} ms ({costs[-1][1]})", flush=True)
    h.check(not problems, f"{len(problems)} differences:\n  " + "\n  ".join(problems[:40]))


def renamed(program, version, to):
    """A copy that says that another Go made it: the version of the same length is put in its place."""
    full = (re.search(rb"go%s\.\d+" % re.escape(version.encode()), pathlib.Path(program).read_bytes()))[0]
    other = to.encode() + b"." + b"1" * (len(full) - len(to) - 1)
    copy = pathlib.Path(f"{program}.{to}")
    copy.unlink(missing_ok=True)
    copy.write_bytes(pathlib.Path(program).read_bytes().replace(full, other))
    shutil.copymode(program, copy)
    return str(copy)


def unknown_versions():
    """A version that this build does not know: by the program's own debug information, else refused in words."""
    for version, root in g.toolchains():
        target = h.Program(renamed(build(version, root, "PIE"), version, "go1.99"))
        addresses = json.loads(target.line())
        result = found(target.pid)
        target.stop()
        h.check(not result["problem"], f"Go {version} as go1.99, with debug information: {result['problem']}")
        runtime = result["runtimes"][0]
        h.check(runtime["offsets_from"] == "the program's debug information" and runtime["version"].startswith("go1.99")
                and runtime["allglen"] == addresses["Allglen"], f"Go {version} as go1.99: {runtime}")
        for name, words in (("go1.99", "is newer than this build knows"), ("go1.20", "is not in this build's table")):
            target = h.Program(renamed(build(version, root, "static -s -w"), version, name))
            target.line()
            result = found(target.pid)
            target.stop()
            h.check(not result["runtimes"] and words in result["problem"], f"Go {version} as {name}: {result}")
        print(f"  Go {version}: {result['problem']}", flush=True)


def wrong_layouts():
    """A program whose code contradicts the table of the version that it claims."""
    for version, root in g.toolchains():
        other = "go1.23" if version < "1.23" else "go1.22"
        target = h.Program(renamed(build(version, root, "static -s -w"), version, other))
        target.line()
        result = found(target.pid)
        target.stop()
        print(f"  Go {version} as {other}: {result['problem']}", flush=True)
        h.check(not result["runtimes"] and "the self-check failed" in result["problem"] and
                re.search(r"at [\d, ]+ expected, runtime\.\w+ works on \d+", result["problem"]), f"{result}")


def waiters(runtime):
    """Goroutines of runtime_host and shared_runtime, which wait in functions that package main started."""
    return sum(row["start"].startswith(("main.waitIn", "main.shared_start.")) for row in runtime["goroutines"])


def several_runtimes():
    """A Go library in a Go program, and two Go libraries of different versions in a program that is not Go."""
    libraries = {version: h.build_go("shared_runtime", version, root, cgo=True, flags=("-buildmode=c-shared",))
                 for version, root in g.toolchains()}
    for version, root in g.toolchains():
        host = h.Program(h.build_go("runtime_host", version, root, cgo=True), libraries[version], 5).ready()
        result = found(host.pid)
        host.stop()
        counts = [waiters(runtime) for runtime in result["runtimes"]]
        h.check(counts == [5, 5], f"Go {version}: {counts}, 5 in each runtime are right: {result['refused']}")
    versions = sorted(libraries)[::len(libraries) - 1 or 1]
    host = h.Program(sys.executable, "-c", "import ctypes, sys\n"
                     "for path in sys.argv[1:]: assert ctypes.CDLL(path).shared_start(7) == 7\n"
                     "print('ready', flush=True)\nsys.stdin.read()", *(libraries[v] for v in versions)).ready()
    result = found(host.pid)
    host.stop()
    seen = [(re.match(r"go1\.\d+", runtime["version"])[0][2:],
             waiters(runtime))
            for runtime in result["runtimes"]]
    print(f"  libraries of Go {' and '.join(versions)} in {pathlib.Path(sys.executable).name}: {seen}", flush=True)
    h.check(sorted(seen) == [(v, 7) for v in versions], f"{seen}, refused {result['refused']} {result['problem']}")


def not_go():
    target = h.Program("/bin/cat")
    result = found(target.pid)
    h.check(result["problem"] == "not a Go program" and not result["runtimes"], f"of cat: {result}")


def offsets_table():
    """The committed table is the one that the toolchains at hand give."""
    versions = [version for version, _ in g.toolchains()]
    done = subprocess.run([str(h.REPO / "tools/gooffsets"), "--check", *versions], capture_output=True, text=True)
    h.check(done.returncode == 0, done.stderr)
    print(f"  rows of {', '.join(versions)} are right", flush=True)


if __name__ == "__main__":
    h.main(link_kinds, unknown_versions, wrong_layouts, several_runtimes, not_go, offsets_table)
