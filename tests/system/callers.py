#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Never a wrong caller: threads that wait in libc's read(), poll() and pause(), over 100,000 switches. What stands above
the libc function is the one function that calls it, or `[caller unknown]`."""
import collections
import json
import re

import harness as h

ROUNDS = 60_000
SWITCHES = 100_000
# What libc may call the function, and the only function that calls it.
CALLERS = {"read": "call_read", "poll": "call_poll", "pause": "call_pause"}
LIBC = re.compile(r"^(?:__)?(?:GI_)*(?:__)?(?:libc_)?(read|poll|pause)$")
UNKNOWN = "[caller unknown]"
# With frame pointers every named frame must be one of these, in this order from the root.
THREADS = {"reader_thread", "poller_thread", "pauser_thread", "signaller_thread"}
LIBC_ROOTS = re.compile(r"^(start_thread|clone3?|__clone3?|__GI___clone3?|\[libc\.so\.6\+0x[0-9a-f]+\])$")


def record_run(variant):
    folder = h.scratch()
    program = h.Program(h.testprog(variant), ROUNDS).ready()
    recorder = h.Recorder("-p", program.pid, "-e", "offcpu", "-d", "0", "-o", folder / "out.json").wait_began()
    program.tell()
    log = json.loads(program.line(240))
    recorder.interrupt()
    recorder.expect(0)
    program.stop()
    h.check(log["switches"] >= SWITCHES, f"the program made {log['switches']} switches only")
    return h.Result(folder / "out.json"), log


def leaf_and_caller(sample):
    """The libc function that a user stack ends in and the name above it, or None. With libc's debug file installed the
    function may be several inlined frames."""
    names = list(sample.user_names)
    function = None
    if any(LIBC.match(name) for name in names):
        while re.fullmatch(h.INSIDE_LIBC, names[-1]):
            names.pop()
    while names and (match := LIBC.match(names[-1])):
        function = match[1]
        names.pop()
    return (function, names[-1] if names else "(nothing)") if function else None


def callers_above_libc(result):
    """{(libc function, name above it): waits}, and the waits that do not end in libc."""
    above, elsewhere = collections.Counter(), 0
    for sample in result.samples:
        pair = leaf_and_caller(sample)
        if pair:
            above[pair] += sample.count
        else:
            elsewhere += sample.count
    return above, elsewhere


def check_variant(variant):
    result, log = record_run(variant)
    above, elsewhere = callers_above_libc(result)
    for (function, caller), waits in sorted(above.items()):
        print(f"  {function} <- {caller}: {waits} waits")
    print(f"  elsewhere: {elsewhere}; the program counted {log['switches']} switches")
    h.check(sum(above.values()) + elsewhere >= SWITCHES, "fewer waits recorded than switches made")
    h.check({function for function, _ in above} == set(CALLERS), "not all of read, poll and pause were seen")
    wrong = {key: n for key, n in above.items() if key[1] not in (CALLERS[key[0]], UNKNOWN)}
    h.check(not wrong, f"wrong callers: {wrong}")
    h.check(sum(above.values()) >= 0.8 * SWITCHES, "too few waits end in libc")
    return result


def with_frame_pointers():
    result = check_variant("callers_fp")
    for sample in result.samples:
        if not (pair := leaf_and_caller(sample)):
            continue
        known = (UNKNOWN, "[unknown]", CALLERS[pair[0]])
        rootward = [n for n in sample.user_names if n not in known and not LIBC.match(n)]
        strange = [n for n in rootward if n not in THREADS and not LIBC_ROOTS.match(n)]
        h.check(sum(n in THREADS for n in rootward) == 1, f"not one thread function: {sample}")
        h.check(not strange, f"frames that were never there: {strange} in {sample}")


def without_frame_pointers():
    check_variant("callers_nofp")


if __name__ == "__main__":
    h.main(with_frame_pointers, without_frame_pointers)
