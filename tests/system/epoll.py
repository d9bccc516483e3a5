#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Calls that wait for events, and event loops: against the books that a loop keeps itself, and against strace on the
same run of redis, nginx, a Go server and that loop."""
import contextlib
import json
import os
import re
import time

import harness as h

SHORT = os.environ.get("STALLSCOPE_SHORT") == "1"
CALLS = ("epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll", "select", "pselect6")
UNITS = {"us": 1e3, "ms": 1e6, "s": 1e9}
LOOP_NOTE = re.compile(r"^(epoll fd \d+) of (.*) \((\d+)\): (\d+) calls, (\d+) events, (\d+) empty"
                       r"(?:; lag p50 (\S+ \w+), p99 (\S+ \w+), max (\S+ \w+))?; away for (\S+ \w+) at most$")


def ns(text):
    value, unit = text.split()
    return float(value) * UNITS[unit]


class Loop:
    """What the summary says of a loop."""

    def __init__(self, match):
        self.name, self.pid = match[1], int(match[3])
        self.calls, self.events, self.empty = int(match[4]), int(match[5]), int(match[6])
        self.p50, self.p99, self.max = (ns(match[i]) if match[i] else None for i in (7, 8, 9))
        self.away = ns(match[10])


class Waits:
    """A recording of epoll."""

    def __init__(self, path):
        result = h.Result(path, "epoll")
        self.samples, self.losses = result.samples, result.losses
        self.loops = [Loop(match) for note in result.raw["notes"] if (match := LOOP_NOTE.match(note))]
        self.notes = result.raw["notes"]

    def sum(self, column, reason=None, pid=None):
        return sum(s.values[column] for s in self.samples if (reason is None or s.reason == reason) and
                   (pid is None or s.pid == pid))

    def lines(self):
        return "\n".join(f"    {s} {s.values}" for s in self.samples) + "\n" + "\n".join(self.notes)


@contextlib.contextmanager
def recording(*pids, more=()):
    """Records while the body runs. Its value gets `.result` afterwards."""
    path = h.scratch() / "out.json"
    recorder = h.Recorder("-p", ",".join(str(pid) for pid in pids), "-e", "epoll", "-d", "0", "-o", path,
                          *more).wait_began()
    class Box:
        pass
    box = Box()
    yield box
    recorder.interrupt()
    recorder.expect(0)
    box.result = Waits(path)


def order(program, line, seconds=60):
    program.tell(line)
    return json.loads(program.line(seconds))


def loop_program():
    return h.Program(h.testprog("event_loop")).ready()


def no_loss(result):
    h.check(not result.losses, f"something was lost: {result.losses}")


def close_to(ours, theirs, bound_ns, what):
    ok = abs(ours - theirs) <= bound_ns
    print(f"  {'ok ' if ok else 'OFF'} {what}: {ours / 1e3:.1f} us against {theirs / 1e3:.1f} us", flush=True)
    return ok


# ---- the loop's own books ----

def lag_is_the_loops_own():
    """Of a loop that stalls itself by known amounts: calls and events to one, lag within 100 us."""
    seconds = 1.5 if SHORT else 4
    for kind, trigger in (("unix", "level"), ("tcp", "edge")):
        def attempt():
            program = loop_program()
            with recording(program.pid) as box:
                own = order(program, f"run {kind} {trigger} {seconds} 1000")
            result = box.result
            program.stop()
            no_loss(result)
            h.check(len(result.loops) == 1, f"not one loop\n{result.lines()}")
            loop = result.loops[0]
            for column in ("calls", "events", "empty"):
                h.check(getattr(loop, column) == own[column], f"{column}: {getattr(loop, column)}, its own {own[column]}")
            h.check(result.sum("count", "epoll_wait") == own["calls"], f"calls differ: {own}\n{result.lines()}")
            h.check(result.sum("events") == own["events"] and result.sum("empty") == own["empty"], f"{own}\n{result.lines()}")
            h.check(all("wait_for_events" in s.user_names and "run_loop" in s.user_names for s in result.samples),
                    f"another stack\n{result.lines()}")
            h.check(own["lags"] > 500 and own["p50"] > 300e3, f"there was too little lag to tell: {own}")
            print(f"  {kind}, {trigger}: {own}", flush=True)
            return all([close_to(loop.p50, own["p50"], 100e3, "lag p50"),
                        close_to(loop.max, own["max"], 100e3 + 0.01 * own["max"], "longest lag"),
                        close_to(loop.away, own["longest_away_ns"], 100e3 + 0.01 * own["longest_away_ns"], "away"),
                        close_to(result.sum("time") / own["calls"], own["waiting_ns"] / own["calls"], 40e3,
                                 "time in a call")])
        h.up_to_three_times(attempt)


def lag_of_a_listener():
    def attempt():
        program = loop_program()
        with recording(program.pid) as box:
            own = order(program, f"accept {100 if SHORT else 400} 2000")
        program.stop()
        no_loss(box.result)
        loop = box.result.loops[0]
        h.check(loop.calls == own["calls"] and loop.events == own["events"], f"{own}\n{box.result.lines()}")
        print(f"  {own}", flush=True)
        return close_to(loop.p50, own["p50"], 100e3, "lag p50") & \
            close_to(loop.max, own["max"], 100e3 + 0.01 * own["max"], "longest lag")
    h.up_to_three_times(attempt)


def others_have_no_lag():
    """eventfds, pipes and timers are counted, and nothing is said of their lag."""
    program = loop_program()
    with recording(program.pid) as box:
        own = order(program, "others 100")
    program.stop()
    no_loss(box.result)
    loop = box.result.loops[0]
    h.check(loop.events == own["events"] == 300 and loop.p50 is None, f"{own}\n{box.result.lines()}")


def each_call_is_counted():
    """All seven of them: how often, what they returned, how often nothing."""
    count = 50
    program = loop_program()
    with recording(program.pid) as box:
        order(program, f"calls {count}")
    program.stop()
    no_loss(box.result)
    for call in CALLS:
        got = [box.result.sum(column, call) for column in ("count", "events", "empty")]
        h.check(got == [3 * count, count, 2 * count], f"{call}: {got}\n{box.result.lines()}")
        time_ns = box.result.sum("time", call)
        h.check(count * 1e6 <= time_ns, f"{call}: {time_ns} ns in {count} waits of 1 ms")


def calls_without_end():
    """A call that is in progress all the time is there, with its stack and the time so far."""
    program = loop_program()
    order(program, "block")
    with recording(program.pid) as box:
        time.sleep(1.5)
    program.stop()
    no_loss(box.result)
    for call, function in (("epoll_wait", "wait_without_end"), ("poll", "poll_without_end")):
        samples = [s for s in box.result.samples if s.reason == f"{call} (unfinished)"]
        h.check(len(samples) == 1 and samples[0].count == 1, f"{call} is not there\n{box.result.lines()}")
        h.check(function in samples[0].user_names, f"another stack: {samples[0]}")
        h.check(1.4e9 < samples[0].time < 4e9, f"for {samples[0].time} ns")
    main = [s for s in box.result.samples if "unfinished" not in s.reason]
    h.check(not main, f"something ended\n{box.result.lines()}")


if __name__ == "__main__":
    h.main(lag_is_the_loops_own, lag_of_a_listener, others_have_no_lag, each_call_is_counted, calls_without_end)
