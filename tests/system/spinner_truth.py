#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Threads that spin on one CPU for 10 s: the ledger's CPU against their own CPU clocks, and its run queue against
/proc/TID/schedstat, each within 1 % of the wall clock."""
import json
import os

import harness as h

SECONDS = 10
BOUND_NS = SECONDS * 1e9 * 0.01


def close(ledger_ns, truth_ns, what):
    off_ns = ledger_ns - truth_ns
    ok = abs(off_ns) <= BOUND_NS
    print(f"  {'ok ' if ok else 'OFF'} {what}: ledger {ledger_ns / 1e6:.2f} ms, truth {truth_ns / 1e6:.2f} ms, "
          f"{off_ns / (SECONDS * 1e9):+.3%} of the wall clock", flush=True)
    return ok


def spin(threads_of_each):
    cpu = max(os.sched_getaffinity(0))
    folder = h.scratch()

    def attempt():
        programs = [h.Program(h.testprog("spinner"), cpu, SECONDS, threads).ready() for threads in threads_of_each]
        pids = ",".join(str(program.pid) for program in programs)
        recorder = h.Recorder("-p", pids, "-e", "offcpu", "-d", "0", "-o", folder / "out.json").wait_began()
        for program in programs:
            program.tell()
        logs = [json.loads(program.line(SECONDS * 10)) for program in programs]
        recorder.interrupt()
        recorder.expect(0)
        result = h.Result(folder / "out.json")
        h.print_losses(result)
        ok = True
        for program, log in zip(programs, logs):
            name = f"{log['threads']} thread(s) of {sum(threads_of_each)} on CPU {cpu}"
            ok &= close(result.total(program.pid, "running_ns"), log["cpu_ns"], f"{name}: CPU")
            ok &= close(result.total(program.pid, "runnable_ns"), log["runq_ns"], f"{name}: run queue")
            program.stop()
        return ok

    h.up_to_three_times(attempt)


def two_processes():
    spin([1, 1])


def threads_and_processes():
    spin([2, 1])


if __name__ == "__main__":
    h.main(two_processes, threads_and_processes)
