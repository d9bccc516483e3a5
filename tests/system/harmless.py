#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`record -e goroutine --exact` puts a breakpoint into the target. Attached and detached a hundred times (CI: ten) under
load, for each toolchain: the program goes on giving right answers, does not crash, and its code is afterwards, byte by
byte, what its file holds. The census, which only reads, is put to the same test."""
import json
import os
import pathlib
import re
import time

import goroutines as g
import harness as h

TIMES = 10 if os.environ.get("STALLSCOPE_SHORT") == "1" else 100


def answers(target):
    target.tell("answers")
    return json.loads(target.line(30))


def code_that_differs(pid):
    """Bytes of the executable's code in memory that are not those of its file: [(address, in memory, in the file)]."""
    found = []
    for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
        match = re.match(r"([0-9a-f]+)-([0-9a-f]+) r-x. ([0-9a-f]+) \S+ (\d+) +(/.*)", line)
        if not match:
            continue
        start, end, offset = (int(match[i], 16) for i in (1, 2, 3))
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory, \
                open(f"/proc/{pid}/map_files/{start:x}-{end:x}", "rb") as file:
            memory.seek(start)
            file.seek(offset)
            here, there = memory.read(end - start), file.read(end - start)
        there = there.ljust(len(here), b"\0")
        if here != there:
            found += [(start + i, a, b) for i, (a, b) in enumerate(zip(here, there)) if a != b]
    return found


def again_and_again(what, *arguments):
    for version, root in g.toolchains():
        for kind in ("static -s -w", "cgo PIE -s -w"):
            target = h.Program(g.build("answers", version, root, kind), 8, 2000).ready()
            h.check(not code_that_differs(target.pid), "its code is not its file's before anything was attached")
            before, out, exits = answers(target), h.scratch() / "out.json", []
            for _ in range(TIMES):
                recorder = h.Recorder("-p", target.pid, "-e", "goroutine", "-d", "0.1s", *arguments, "-o", out)
                exits.append(recorder.wait(60))
                h.check(exits[-1] == 0, f"exit {exits[-1]}:\n{recorder.stderr_text}")
                h.check(target.alive(), f"Go {version}, {kind}: it crashed")
            result = h.Result(out, "goroutine")
            after = answers(target)
            time.sleep(0.5)
            later = answers(target)
            print(f"  Go {version}, {kind}: {what} {TIMES} times; {after['right'] - before['right']} right answers, "
                  f"{later['wrong']} wrong; mechanism: {result.raw['events']['goroutine']['mechanism']}", flush=True)
            h.check(later["wrong"] == 0, "wrong answers")
            h.check(before["right"] < after["right"] < later["right"], "it does not answer any more")
            left = code_that_differs(target.pid)
            h.check(not left, f"{len(left)} bytes of its code differ from its file: {left[:4]}")
            target.stop()


def exact():
    g.need_event("goroutine")
    g.need_option("record", "--exact")
    again_and_again("measured", "--exact", "--budget", "100%")


def census():
    g.need_event("goroutine")
    again_and_again("counted")


def damage_is_seen():
    """A breakpoint that is left behind is found; so is a program that stands still."""
    target = h.Program(h.build_go("answers", *g.newest_toolchain()), 4, 2000).ready()
    first = answers(target)
    time.sleep(0.3)
    second = answers(target)
    h.check(first["right"] < second["right"] and second["wrong"] == 0, f"{first}, {second}")
    text = next(line for line in pathlib.Path(f"/proc/{target.pid}/maps").read_text().splitlines() if " r-xp " in line)
    address = int(text.split("-")[0], 16)  # padding or a function that is never called: it does not matter, it is put back
    with open(f"/proc/{target.pid}/mem", "r+b", buffering=0) as memory:
        memory.seek(address)
        byte = memory.read(1)
        memory.seek(address)
        memory.write(bytes([byte[0] ^ 0xff]))
        h.check([row[0] for row in code_that_differs(target.pid)] == [address], "a changed byte is not seen")
        memory.seek(address)
        memory.write(byte)
    h.check(not code_that_differs(target.pid), "a byte that was put back is seen")
    target.stop()


if __name__ == "__main__":
    h.main(damage_is_seen, census, exact)
