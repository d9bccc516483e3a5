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
        for kind in KINDS:
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
    h.main(link_kinds, not_go, offsets_table)
