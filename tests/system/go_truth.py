#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Stacks of stripped Go programs against what Go itself prints for the same stops: names, files and lines, inlined
frames included, from the outermost frame to the innermost that Go prints: 0 differences. The frames below (Go hides
them) equal a fixed list of the version: go_internals.json.

One line number is translated. Of a goroutine in a system call Go prints syscall.Syscall at the place where it told the
scheduler (the call of entersyscall); its thread stands at the call of RawSyscall6, some lines further down in the same
function. Both lines are fixed in go_internals.json ("lines": what Go prints, where the thread stands)."""
import json
import re

import harness as h

INTERNALS = json.loads((h.HERE / "go_internals.json").read_text())
# Go's dump does not print these two; CallersFrames prints the first.
ROOTS = ("runtime.goexit", "runtime.main")
C_FRAMES = re.compile(r"c_(inner|outer|block)|_cgo_\w+|\[gotruth\+0x[0-9a-f]+\]|\[caller unknown\]|(__)?(GI___)?(libc_)?read"
                      rf"|{h.INSIDE_LIBC}")


def parse_dump(text):
    """Stacks of the all-goroutine dump, root first: [[(function, file, line)]]."""
    stacks = []
    for block in text.strip().split("\n\n"):
        lines = block.splitlines()
        h.check("frames elided" not in block, "Go left frames out of its dump")
        stack = []
        for call, place in zip(lines[1::2], lines[2::2]):
            if call.startswith("created by "):
                break
            function = call[:call.rindex("(")]
            if function == "panic":  # the dump's word for it; CallersFrames says runtime.gopanic
                function = "runtime.gopanic"
            file, line = re.match(r"\t(.*):(\d+)", place).groups()
            stack.append((function, file, int(line)))
        stacks.append(stack[::-1])
    return stacks


def where_the_thread_stands(frame, version):
    function, file, line = frame
    printed, actual = INTERNALS[version]["lines"].get(function, (line, line))
    h.check(line == printed, f"Go {version} prints {function} at line {line}, go_internals.json says {printed}")
    return function, file, actual


def truth_stacks(log, version):
    """{stack: kind of the frames below}, of the sites only."""
    stacks = {}
    for stack in parse_dump(log["dump"]):
        if any(".site" in function for function, _, _ in stack):
            kind = "cgo" if "._Cfunc_" in stack[-1][0] else "syscall"
            stacks[(*stack[:-1], where_the_thread_stands(stack[-1], version))] = kind
    for frames in log["raw"].values():
        stack = tuple((f["func"], f["file"], f["line"]) for f in frames)
        stacks[strip_roots(stack)] = "raw"
    return stacks


def strip_roots(stack):
    while stack and stack[0][0] in ROOTS:
        stack = stack[1:]
    return tuple(stack)


def recorded_stacks(result):
    """User frames of the waits on the sites' pipes."""
    stacks = set()
    for sample in result.samples:
        if sample.reason == "pipe" and any(".site" in name for name in sample.user_names):
            stacks.add(strip_roots([(f["name"], f["file"], f["line"]) for f in sample.user]))
    return stacks


def below_is_right(names, kind, version):
    wanted = INTERNALS[version][kind]
    go_part, c_part = names[:len(wanted)], names[len(wanted):]
    right = go_part == wanted
    if kind != "cgo":
        return right and not c_part
    return right and len(c_part) >= 2 and all(C_FRAMES.fullmatch(n) for n in c_part)


def common(a, b):
    n = 0
    while n < min(len(a), len(b)) and a[n] == b[n]:
        n += 1
    return n


def compare(truth, recorded, version):
    """Problems as text; an empty list means 0 differences."""
    problems, seen, below = [], set(), set()
    for stack in recorded:
        # Of truths that are a prefix of the stack the longest is meant: one site may end where another goes on.
        matches = [t for t in truth if stack[:len(t)] == t]
        if not matches:
            near = max(truth, key=lambda t: common(t, stack))
            at = common(near, stack)
            problems.append(f"differs at frame {at} from the root: recorded {stack[at:at + 2]}, Go says {near[at:at + 2]}"
                            f" (in {[f[0] for f in stack]})")
            continue
        best = max(matches, key=len)
        seen.add(best)
        rest = tuple(f[0] for f in stack[len(best):])
        below.add((truth[best], rest))
        if not below_is_right(list(rest), truth[best], version):
            problems.append(f"below {best[-1][0]}: {rest}")
    for missing in set(truth) - seen:
        problems.append(f"not recorded: {[f[0] for f in missing]}")
    frames = sum(len(t) for t in seen)
    print(f"  {len(seen)} of {len(truth)} stacks, {frames} frames compared, {len(problems)} differences")
    for kind, rest in sorted(below):
        print(f"    below ({kind}): {' ; '.join(rest)}")
    return problems


def run(program, mode, version):
    folder = h.scratch()
    log_file, out = folder / "log.json", folder / "out.json"
    target = h.Program(program, mode, log_file).ready()
    if mode == "during":
        recorder = h.Recorder("-p", target.pid, "-e", "offcpu", "--idle", "-d", "0", "-o", out).wait_began()
        target.tell()
        h.check(target.line(60) == "done", "the program did not finish")
        recorder.interrupt()
        recorder.expect(0)
    else:
        h.record("-p", target.pid, "-e", "offcpu", "--idle", "-d", "2s", "-o", out)
        target.tell()
        h.check(target.line(60) == "done", "the program did not finish")
    target.stop()
    result = h.Result(out)
    h.print_losses(result)
    return compare(truth_stacks(json.loads(log_file.read_text()), version), recorded_stacks(result), version)


def check_all(builds):
    problems = []
    for version, root in h.go_roots():
        if version not in INTERNALS:
            print(f"MISSING: go_internals.json has no list for Go {version}: not tested", flush=True)
            continue
        for what, options in builds.items():
            program = h.build_go("gotruth", version, root, **options)
            for mode in ("during", "before"):
                print(f"-- Go {version}, {what}, blocked {mode}", flush=True)
                problems += [f"Go {version}, {what}, {mode}: {p}" for p in run(program, mode, version)]
    h.check(not problems, f"{len(problems)} differences:\n  " + "\n  ".join(problems[:40]))


def static():
    check_all({"static": {}})


def with_c():
    check_all({"cgo": {"cgo": True, "cflags": "-fno-omit-frame-pointer"}})


def position_independent():
    check_all({"PIE": {"flags": ("-buildmode=pie",)},
               "cgo PIE": {"cgo": True, "cflags": "-fno-omit-frame-pointer", "flags": ("-buildmode=pie",)}})


if __name__ == "__main__":
    h.main(static, with_c, position_independent)
