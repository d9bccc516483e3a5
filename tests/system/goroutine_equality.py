#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The goroutines of an idle Go program, as `stallscope dump` reads them from outside, equal what the program itself
prints (debug=2): the same goroutines in the same state, each function, file and line, inlined frames, creation site,
thread lock, labels: 0 differences. The goroutine that prints the profile is excepted.

Compared twice: with the profile, and with what the program prints when SIGQUIT ends it under GOTRACEBACK=system, the
runtime's own goroutines and frames included."""
import copy
import dataclasses
import json

import goroutines as g
import harness as h

COPIES = 12
PRINTS_THE_PROFILE = (1,)


class Target:
    def __init__(self, program):
        self.folder = h.scratch()
        self.program = g.start_with_stderr(program, COPIES).ready(120)
        self.pid = self.program.pid

    def ask(self, command):
        self.program.tell(command)
        return self.program.line(60)

    def profile(self):
        path = self.folder / "profile"
        h.check(self.ask(f"dump {path}") == "done", "no profile")
        return g.parse_debug2(path.read_text())

    def quit(self):
        """What it prints of all goroutines when SIGQUIT ends it."""
        return g.profile_by_signal(self.program)

    def facts(self):
        facts = json.loads(self.ask("facts"))
        return {int(k): v for k, v in facts["labels"].items()}, {int(k): v for k, v in facts["peers"].items()}


def compare_labels(facts, dump):
    labels, _ = facts
    problems = []
    for number, goroutine in dump.goroutines.items():
        wanted = labels.get(number, {})
        if goroutine.raw["labels"] != wanted:
            problems.append(f"goroutine {number}: labels {goroutine.raw['labels']}, set were {wanted}")
    missing = set(labels) - set(dump.goroutines)
    return problems + [f"labelled goroutine {number} is missing" for number in sorted(missing)]


def compare_peers(facts, dump):
    """A peer, where one is given, is the right one."""
    _, peers = facts
    problems = []
    for number, goroutine in dump.goroutines.items():
        peer = goroutine.raw.get("peer") or ""
        if number in peers and peer and goroutine.state == "IO wait":
            local, remote = peers[number]
            if (remote or local) not in peer:
                problems.append(f"goroutine {number}: peer {peer!r}, connected {local} to {remote}")
    return problems


def dump_while_idle(target):
    """A dump between two equal profiles. The runtime's own goroutines may move once in a while, hence several tries."""
    for _ in range(5):
        before = target.profile()
        dump, _ = g.dump(target.pid, "--all", "--idle")
        after = target.profile()
        moved = g.compare(before, after, PRINTS_THE_PROFILE)
        if not moved:
            return before, dump, after
        print(f"  not idle: {moved[:2]}", flush=True)
    h.fail("the target was never idle")


def run(program, what):
    target = Target(program)
    before, dump, after = dump_while_idle(target)
    facts = target.facts()
    problems = compare_labels(facts, dump) + compare_peers(facts, dump)
    h.check(target.ask("finalize") == "done", "no finalizer ran")
    with_finalizer, after_finalizer = g.dump(target.pid, "--all", "--idle")[0], target.profile()
    everything = target.quit()
    target.program.stop()
    system = set(everything) - set(after_finalizer)
    problems += g.compare(after, without(dump.goroutines, system | (set(after_finalizer) - set(after))), PRINTS_THE_PROFILE)
    problems += ["finalizer: " + p for p in
                 g.compare(after_finalizer, without(with_finalizer.goroutines, system), PRINTS_THE_PROFILE)]
    # The scavenger of memory wakes up now and then, in an idle program too.
    scavenger = tuple(number for number, one in everything.items() if g.names_of(one)[:1] == ["runtime.bgscavenge"])
    problems += ["all frames: " + p for p in
                 g.compare(everything, with_finalizer.goroutines, PRINTS_THE_PROFILE + scavenger, all_frames=True)]
    frames = sum(len(one.frames) for one in everything.values())
    print(f"  {what}: {len(everything)} goroutines ({len(system)} of the runtime), {frames} frames,"
          f" {len({one.state for one in everything.values()})} states, {len(problems)} differences", flush=True)
    return [f"{what}: {problem}" for problem in problems]


def without(goroutines, numbers):
    return {number: one for number, one in goroutines.items() if number not in numbers}


def check_kinds(kinds):
    problems = []
    for version, root in g.toolchains():
        for kind in kinds:
            problems += run(g.build("goroutine_kinds", version, root, kind), f"Go {version}, {kind}")
    h.check(not problems, f"{len(problems)} differences:\n  " + "\n  ".join(problems[:60]))


def static():
    g.need_command("dump")
    check_kinds(["static", "static -s -w", "static strip"])


def position_independent():
    g.need_command("dump")
    check_kinds(["PIE", "PIE strip"])


def with_c():
    g.need_command("dump")
    check_kinds(["cgo", "cgo PIE -s -w", "cgo strip"])


def the_comparison_sees_errors():
    """What follows rests on compare(): each single error put into a right profile is found, and nothing else is."""
    version, root = g.newest_toolchain()
    target = Target(g.build("goroutine_kinds", version, root, "static"))
    first, second = target.profile(), target.profile()
    target.program.stop()
    h.check(len({one.state for one in first.values()}) >= 12, f"too few kinds of waits: { {one.state for one in first.values()} }")
    h.check(g.compare(first, second, PRINTS_THE_PROFILE) == [], "two profiles of an idle program differ")
    victim = next(n for n, one in second.items() if g.names_of(one)[-1:] == ["main.inlinedLeaf"] and one.parent)

    def alter(change):
        changed = copy.deepcopy(second)
        change(changed, changed[victim])
        return g.compare(first, changed, PRINTS_THE_PROFILE)

    def frame(at, **new):
        return lambda _, one: one.frames.__setitem__(at, dataclasses.replace(one.frames[at], **new))

    errors = {
        "a line": frame(0, line=1), "a line of an inlined frame": frame(-1, line=1), "a file": frame(0, file="/x.go"),
        "a name": frame(-1, name="main.x"), "inlined or not": frame(-1, inlined=False),
        "a frame too few": lambda _, one: one.frames.pop(), "the root too few": lambda _, one: one.frames.pop(0),
        "a frame too many": lambda _, one: one.frames.append(one.frames[-1]),
        "a state": lambda _, one: setattr(one, "state", "select"), "a thread lock": lambda _, one: setattr(one, "locked", True),
        "a creation site": lambda _, one: setattr(one, "created_by", ("main.main", "/x.go", 1)),
        "a parent": lambda _, one: setattr(one, "parent", -1),
        "a goroutine too few": lambda every, _: every.pop(victim),
        "a goroutine too many": lambda every, one: every.__setitem__(10**9, dataclasses.replace(one, id=10**9)),
    }
    for what, change in errors.items():
        found = alter(change)
        h.check(len(found) == 1, f"{what}: {len(found)} differences found instead of 1: {found[:3]}")
    print(f"  {len(first)} goroutines; {len(errors)} errors put in, {len(errors)} found")
    deep = next(one for one in first.values() if g.ELIDED in one.frames)
    whole = [f for f in deep.frames if f is not g.ELIDED]
    h.check(not g.fits(deep.frames, whole[1:]) and not g.fits(deep.frames, whole), "frames that are left out are not looked for")


if __name__ == "__main__":
    h.main(the_comparison_sees_errors, static, position_independent, with_c)
