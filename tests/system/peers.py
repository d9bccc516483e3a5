#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whom a goroutine waits for is who it is, or not told: never somebody else.

  still    goroutines in every kind of wait for a connection, a channel or a lock, which say whom they wait for: what
           `dump` says of each is the same; what it does not know is counted by kind, and only those kinds that nothing
           in memory leads to may lack it. One descriptor has become another connection behind the runtime's back.
  moving   goroutines that change what they wait for as fast as they can, on connections that are closed and made again
           all the time; the depth of the recursion says whom for. In recordings and in dumps not one peer is wrong.
  cost     a census with peers keeps to its budget.

`STALLSCOPE_SHORT=1` (CI) makes the recordings shorter."""
import collections
import json
import os

import goroutines as g
import harness as h

SHORT = os.environ.get("STALLSCOPE_SHORT") == "1"
COPIES = 5
SECONDS = 8 if SHORT else 30
DUMPS = 10 if SHORT else 60
# The reasons of waits that have a peer, as the runtimes of all versions name them.
WORDS = ("IO wait", "chan receive", "chan send", "semacquire", "sync.Mutex.Lock", "sync.RWMutex.RLock",
         "sync.RWMutex.Lock", "sync.WaitGroup.Wait")
FIRST_WITH_CONDITIONS = 26
# How much of the time that has a peer may be without one, where all change as fast as they can: waits are then as short
# as it takes to read whom they are for, and one that ends meanwhile is left without.
MOST_UNKNOWN = 0.7


def minor(version):
    return int(version.split(".")[1])


def start(mode, count, version, root, kind="static"):
    program = h.Program(g.build("peers", version, root, kind), mode, count)
    return program, json.loads(program.line(60))


def check_still(version, root, kind):
    program, facts = start("still", COPIES, version, root, kind)
    dump, _ = g.dump(program.pid, "--all", "--idle")
    program.stop()
    wrong, known, unknown = [], collections.Counter(), collections.Counter()
    for number, fact in facts.items():
        goroutine = dump.goroutines.get(int(number))
        h.check(goroutine, f"goroutine {number} ({fact['kind']}) is not in the dump")
        peer = goroutine.raw.get("peer", "")
        if peer == fact["peer"]:
            known[fact["kind"]] += 1
        elif peer:
            wrong.append(f"goroutine {number} ({fact['kind']}): {peer!r}, it waits for {fact['peer']!r}")
        else:
            unknown[fact["kind"]] += 1
    print(f"  Go {version}, {kind}: {sum(known.values())} right, {len(wrong)} wrong, unknown: {dict(unknown)}", flush=True)
    h.check(not wrong, "\n  ".join(wrong))
    may_lack = {"stolen"} | ({"Cond"} if minor(version) < FIRST_WITH_CONDITIONS else set())
    lacking = {kind: count for kind, count in unknown.items() if kind not in may_lack}
    h.check(not lacking, f"not known: {lacking}")
    h.check(unknown["stolen"] == COPIES, "what a descriptor that was stolen waits for is believed")


def still():
    for version, root in g.toolchains():
        check_still(version, root, "static")


def stripped_and_linked_in_other_ways():
    for version, root in g.toolchains():
        for kind in ("static strip", "PIE", "cgo strip"):
            check_still(version, root, kind)


class Moving:
    """What was said of goroutines that move, held against the depth of their stacks."""

    def __init__(self, truth):
        self.truth = truth
        self.right, self.unknown, self.wrong = collections.Counter(), collections.Counter(), []

    def add(self, reason, peer, names, weight):
        calls = names.count("main.down")
        if calls == 0 or reason not in WORDS:
            return
        if not peer:
            self.unknown[reason] += weight
        elif self.truth.get(peer) != calls - 1:
            self.wrong.append(f"[{reason} {peer}]: {peer} is number {self.truth.get(peer)}, below {calls} calls")
        else:
            self.right[reason] += weight

    def report(self, what, most_unknown=MOST_UNKNOWN):
        right, unknown = sum(self.right.values()), sum(self.unknown.values())
        h.check(right, f"{what}: no peer at all")
        by_reason = ", ".join(f"{reason} {self.unknown[reason] / (self.unknown[reason] + self.right[reason]):.1%}"
                              for reason in sorted(set(self.right) | set(self.unknown)))
        print(f"  {what}: {len(self.wrong)} wrong, {unknown / (right + unknown):.2%} not known ({by_reason})", flush=True)
        h.check(not self.wrong, f"{len(self.wrong)} wrong:\n  " + "\n  ".join(self.wrong[:20]))
        h.check(unknown <= most_unknown * (right + unknown), f"{what}: not known in {unknown / (right + unknown):.0%}")


def split(reason):
    """(words, peer) of "chan receive 0xc000012340"."""
    words = next((words for words in WORDS if reason == words or reason.startswith(words + " ")), None)
    return (words, reason[len(words) + 1:]) if words else (reason, "")


def moving():
    g.need_option("record", "--peers")
    for version, root in g.toolchains():
        program, truth = start("moving", 4, version, root)
        out = h.scratch() / "x.json"
        h.record("-p", program.pid, "-e", "goroutine", "--peers", "--idle", "--budget", "30%", "-d", SECONDS, "-o", out)
        result = h.Result(out, "goroutine")
        recorded = Moving(truth)
        for sample in result.samples:
            recorded.add(*split(sample.reason), sample.names, sample.time)
        census = g.census_of(result)
        recorded.report(f"Go {version}: {census['snapshots']} snapshots, {census['looks']} looks")
        dumped = Moving(truth)
        for _ in range(DUMPS):
            dump, _ = g.dump(program.pid, "--all", "--idle")
            for goroutine in dump.goroutines.values():
                dumped.add(goroutine.state, goroutine.raw.get("peer"), g.names_of(goroutine), 1)
        # Each is a first look at every goroutine, which takes longer than one stands still.
        dumped.report(f"Go {version}: {DUMPS} dumps", most_unknown=1)
        program.stop()


def cost():
    g.need_option("record", "--peers")
    version, root = g.newest_toolchain()
    program, _ = start("moving", 4, version, root)
    out = h.scratch() / "x.json"
    h.record("-p", program.pid, "-e", "goroutine", "--peers", "--budget", "2%", "-d", SECONDS, "-o", out)
    program.stop()
    census = g.census_of(h.Result(out, "goroutine"))
    share = census["cpu_ns"] / (SECONDS * 1e9)
    print(f"  {census['snapshots']} snapshots, {share:.2%} of a core; the budget was {census['budget']:.2%}", flush=True)
    h.check(share <= census["budget"] * 1.25, f"{share:.2%} of a core, the budget was {census['budget']:.2%}")


if __name__ == "__main__":
    h.main(still, stripped_and_linked_in_other_ways, moving, cost)
