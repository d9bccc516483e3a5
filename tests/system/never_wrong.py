#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A stack that never was is never shown. In the target (group_names) goroutine i runs functions of group i alone, with
the depth of the recursion in their names, and all switch as fast as Go can, on stacks that move, in structures that pass
from one group to another. Over a million goroutines are looked at; in what is recorded and dumped

  - every frame of a stack is of one group, and the depths go 0, 1, 2... without a gap to the one where the goroutine acts;
  - the sum of all is the clock times the goroutines, less what ran, and each depth has its share of the time, within
    0.5 %: readings that were torn are made again, not dropped.

`STALLSCOPE_SHORT=1` (CI) looks at a tenth of that, and the shares by depth are held within 2 %."""
import collections
import json
import os
import re

import goroutines as g
import harness as h

SHORT = os.environ.get("STALLSCOPE_SHORT") == "1"
GROUPS, DEPTHS = 1024, 8
SECONDS = 7 if SHORT else 60
LOOKS = 100_000 if SHORT else 1_000_000
OF_A_GROUP = re.compile(r"^main\.g(\d{4})_(start|d\d)(?:\.func1)?$")
# What may stand below the deepest function of a group, and above its first.
BELOW = ("main.act", "main.yield", "main.exchange", "main.waitForTimer", "main.growAndYield", "time.Sleep")


def groups_go():
    """The functions of all groups. Frames are of many sizes, so that a stack unwound with another's sizes goes wrong."""
    lines = ["package main", "", "var starts []func(*player)", "", "func init() {", "\tstarts = []func(*player){"]
    lines += [f"\tg{i:04d}_start," for i in range(GROUPS)] + ["\t}", "}", ""]
    for i in range(GROUPS):
        lines += ["//go:noinline", f"func g{i:04d}_start(p *player) {{ play({i}, p, g{i:04d}_d0) }}", ""]
        for d in range(DEPTHS):
            room = 16 * (1 + (i * 7 + d * 13) % 11)
            deeper = f"g{i:04d}_d{d + 1}(p)" if d + 1 < DEPTHS else "panic(p.depth)"
            lines += ["//go:noinline", f"func g{i:04d}_d{d}(p *player) {{", f"\tvar room [{room}]byte",
                      f"\troom[p.turn%{room}] = {d + 1}", f"\tif p.depth == {d} {{", "\t\tact(p)", "\t} else {", f"\t\t{deeper}",
                      "\t}", f"\tp.sum += int(room[p.turn%{room}])", "}", ""]
    return "\n".join(lines)


def problem_of(names):
    """What is impossible about a stack (names, root first), or None; and the depth at which it acts."""
    names = [name for name in names if not name.startswith("runtime.")]
    groups = [(at, OF_A_GROUP.match(name)) for at, name in enumerate(names)]
    groups = [(at, match[1], match[2]) for at, match in groups if match]
    if not groups:
        return (None if not any(n in BELOW[:5] or n == "main.play" for n in names) else "no group at all"), None
    if len({group for _, group, _ in groups}) != 1:
        return f"groups {sorted({group for _, group, _ in groups})} on one stack", None
    whats = [what for _, _, what in groups]
    wanted = ["start"] + [f"d{depth}" for depth in range(len(whats) - 1)]
    if whats != wanted:
        return f"{whats} one below the other", None
    if groups[0][0] != 0 or (len(groups) > 1 and names[1] != "main.play"):
        return f"begins with {names[:2]}", None
    if len(groups) == 1:  # between two turns
        return (None if names[1:] in ([], ["main.play"]) else f"{names[1:]} below play"), None
    if [at for at, _, _ in groups[1:]] != list(range(2, len(groups) + 1)):
        return "something stands between two depths", None
    below = names[groups[-1][0] + 1:]
    if below and (below[0] != "main.act" or any(name not in BELOW for name in below)):
        return f"below the deepest: {below}", None
    return None, len(whats) - 2 if below else None


def build(version, root):
    return h.build_go("group_names", version, root, generated={"groups.go": groups_go()})


def state(target):
    target.tell("state")
    return json.loads(target.line(30))


def start(version, root, turns=200):
    # The order in which the scheduler serves them is fair with one CPU; with two, they would run on two and steal.
    return g.start_with_stderr(build(version, root), turns, GOMAXPROCS="1").ready(60)


def wrong_stacks(samples):
    return [f"{problem}: {sample}" for sample in samples for problem, _ in [problem_of(sample.names)] if problem]


def by_depth(samples):
    sums = collections.Counter()
    for sample in samples:
        _, depth = problem_of(sample.names)
        if depth is not None:
            sums[depth] += sample.time
    return sums


def record(target):
    out = h.scratch() / "out.json"
    recorder = h.Recorder("-p", target.pid, "-e", "goroutine", "--idle", "--budget", "100%", "-d", f"{SECONDS}s", "-o",
                          out).wait_began()
    before = state(target)
    recorder.expect(0, SECONDS + 120)
    after = state(target)
    return h.Result(out, "goroutine"), before, after


def check_bias(result, before, after):
    players = [s for s in result.samples if any(OF_A_GROUP.match(name) for name in s.names)]
    wall = result.raw["duration_ns"]
    ran = (after["running"] - before["running"]) * wall / (after["now"] - before["now"])
    ok = h.within(sum(s.time for s in players), GROUPS * wall - ran, 0.005, "all goroutines' time away from the CPU")
    away = [b - a for a, b in zip(before["away"], after["away"])]
    got, scale = by_depth(players), wall / (after["now"] - before["now"])
    for depth in range(DEPTHS):
        ok &= h.within(got[depth], away[depth] * scale, 0.02 if SHORT else 0.005, f"at depth {depth}")
    return ok


def check_version(version, root):
    target = start(version, root)
    result, before, after = record(target)
    dumps = [g.dump(target.pid, "--all", "--idle")[0] for _ in range(5)]
    target.stop()
    wrong = wrong_stacks(result.samples)
    h.check(not wrong, f"{len(wrong)} impossible stacks:\n  " + "\n  ".join(wrong[:20]))
    biased = not check_bias(result, before, after)
    census = g.census_of(result)
    turns = (after["turns"] - before["turns"]) / ((after["now"] - before["now"]) / 1e9)
    print(f"  Go {version}: {census['looks']} looks at {census['most']} goroutines in {census['snapshots']} snapshots,"
          f" {turns:.0f} turns/s; torn {census['torn']} ({census['torn'] / census['looks']:.4%}), unread {census['unread']}")
    h.print_losses(result)
    for dump in dumps:
        wrong = [(number, problem) for number, one in dump.goroutines.items() for problem, _ in [problem_of(g.names_of(one))] if problem]
        h.check(not wrong, f"impossible stacks in a dump: {wrong[:10]}")
        h.check(len(dump.goroutines) >= GROUPS - 8, f"{len(dump.goroutines)} goroutines in a dump of {GROUPS}")
    h.check(census["looks"] >= LOOKS, f"only {census['looks']} looks")
    return not biased


def never_wrong():
    g.need_event("goroutine")
    for version, root in ([g.newest_toolchain()] if SHORT else g.toolchains()):
        h.up_to_three_times(lambda: check_version(version, root))


def impossible_stacks_are_seen():
    """The rule against Go's own profiles of the same program: every stack in them is possible. And made-up impossible
    ones are seen."""
    version, root = g.newest_toolchain()
    target = start(version, root)
    before = state(target)
    printed = g.profile_by_signal(target)  # ends it
    print(f"  Go {version}: {before['turns']} turns so far; {len(printed)} goroutines")
    h.check(len(printed) >= GROUPS - 8, f"{len(printed)} goroutines")
    depths = collections.Counter()
    for one in printed.values():
        problem, depth = problem_of(g.names_of(one))
        h.check(not problem or one.state == "running", f"Go itself shows: {problem}: {g.names_of(one)}")
        depths[depth] += 1
    h.check(all(depths[d] > GROUPS / DEPTHS / 3 for d in range(DEPTHS)), f"depths are not even: {depths}")
    right = ["main.g0003_start", "main.play", "main.g0003_d0", "main.g0003_d1", "main.act", "main.yield"]
    h.check(problem_of(right) == (None, 1), f"a right stack: {problem_of(right)}")
    wrong = [right[:3] + ["main.g0004_d1"] + right[4:], right[:2] + right[3:], right[:3] + right[4:5] + right[3:4],
             right[1:], ["main.g0004_start"] + right[1:], right[4:], right[:1] + right[2:], right[:4] + ["main.makeGarbage"],
             right[:4] + right[3:], right[:2] + ["main.g0003_d0", "main.g0003_d2"] + right[4:], right[:2] + right[4:]]
    for names in wrong:
        h.check(problem_of(names)[0], f"not seen: {names}")


if __name__ == "__main__":
    h.main(impossible_stacks_are_seen, never_wrong)
