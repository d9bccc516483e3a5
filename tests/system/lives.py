#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whose wait is it: processes that become other programs, fork, die and leave their pid to others, or join while they
are blocked; threads by the thousand; stacks and addresses that several processes share; system calls under another
number. Every wait has the names of the program that waited, and none is missing."""
import collections
import json
import os
import pathlib
import re
import shutil
import signal
import time

import callers
import errors
import harness as h

CHAIN = "abc"
LONG = {letter: 0.4 for letter in CHAIN}
SHORT = {"a": 0.004, "b": 0.012, "c": 0.020}
THREADS = 1000
COMPAT_SYNC = "syscall sync"  # what nanosleep's 32-bit number is among the 64-bit calls


def programs_named(frames):
    """Of which of the programs built from one source with names of their own (..._in_a, ..._in_b) these frames are."""
    return {match[1] for frame in frames if (match := re.search(r"_in_([abc])$", frame))}


def lines_until_end(program, seconds=30):
    """{name: [ns, ...]} of the log lines "NAME NUMBER" that a chain of programs prints until it ends."""
    log = collections.defaultdict(list)
    for line in program.popen.stdout:
        name, number = line.split()
        log[name].append(int(number))
    h.check(program.popen.wait(seconds) == 0, f"the chain failed: {dict(log)}")
    return log


def record_chain(*words, options=()):
    """Runs a chain of programs to its end under the recorder. Returns (folded rows, JSON result, the programs' log)."""
    folder = h.scratch()
    chain = h.Program(*words).ready()
    recorder = h.Recorder("-p", chain.pid, "-e", "offcpu", "-d", "60s", *options, "-o", folder / "out.json", "-o",
                          folder / "out.folded").wait_began()
    chain.tell()
    log = lines_until_end(chain)
    recorder.expect(0)
    result = h.Result(folder / "out.json")
    h.print_losses(result)
    return h.read_folded(folder / "out.folded"), result, log


def check_owners(rows, comm_prefix):
    """No line has a function of another program than its comm says."""
    for frames, value in rows:
        own = {frames[0].removeprefix(comm_prefix)}
        h.check(programs_named(frames) <= own, f"names of another program: {';'.join(frames)} {value}")


def check_times(log, result, share):
    """Each logged wait is there, as long as the program found it."""
    ok = True
    for name, logged_ns in sorted(log.items()):
        got = sum(s.time + s.runq for s in result.through(name))
        ok &= h.within(got, sum(logged_ns), share, name)
    return ok


def check_short_waits(log, result):
    """Each wait is there. Not all have names, but those that have one are as long as the program found waits of that
    name: with lengths of their own a wait with the name of another would show."""
    made = [ns for logged_ns in log.values() for ns in logged_ns]
    sleeps = [s for s in result.samples if s.reason == "sleep"]
    h.check(sum(s.count for s in sleeps) == len(made), f"{sum(s.count for s in sleeps)} naps of {len(made)}")
    for name, logged_ns in sorted(log.items()):
        named = result.through(name)
        count, time_ns = sum(s.count for s in named), sum(s.time + s.runq for s in named)
        shortest, longest = (sum(sorted(logged_ns, reverse=most)[:count]) for most in (False, True))
        print(f"  {count} of {len(logged_ns)} called {name}: {time_ns / 1e6:.3f} ms, {shortest / 1e6:.3f} to "
              f"{longest / 1e6:.3f} ms are possible")
        h.check(count <= len(logged_ns), "more than there were")
        h.check(shortest * 0.95 <= time_ns <= longest, "other waits than those of that name")
    return h.within(sum(s.time + s.runq for s in sleeps), sum(made), 0.03, "all naps")


def chain_words(seconds, programs, how=()):
    """The words of a command: the first program of the chain waits for a line, then all do what they do in turn, each for
    its {letter: seconds}."""
    words = [h.testprog(f"wait_chain_{programs[0]}"), "-w", seconds[programs[0]]]
    for program in programs[1:]:
        words += [*how, h.testprog(f"wait_chain_{program}"), seconds[program]]
    return words


def chained_execs():
    """Three programs in one process, one after the other: each wait has its own program's names and comm, and its own
    length. They lie at the same addresses, so a name from another one would be found."""
    def attempt():
        rows, result, log = record_chain(*chain_words(LONG, CHAIN))
        check_owners(rows, "wait_chain_")
        h.check(set(log) == {f"wait_in_{letter}" for letter in CHAIN}, f"log {log}")
        return check_times(log, result, 0.01)
    h.up_to_three_times(attempt)


def forks_and_execs():
    """Each program starts the next as a child, which waits in the parent's code before it execs."""
    def attempt():
        rows, result, log = record_chain(*chain_words(LONG, CHAIN, ["fork"]), options=["--children"])
        check_owners(rows, "wait_chain_")
        h.check({f"wait_in_{letter}" for letter in CHAIN} < set(log) and "wait_as_child_in_a" in log, f"log {log}")
        return check_times(log, result, 0.01)
    h.up_to_three_times(attempt)


def quick_execs():
    """Sixty programs in less than a second, so that several come between two looks of the recorder: one that was gone
    before it could be read has no names. Never those of the one that came after it."""
    def attempt():
        rows, result, log = record_chain(*chain_words(SHORT, CHAIN * 20))
        check_owners(rows, "wait_chain_")
        for sample in result.samples:
            own = sample.labels["comm"].removeprefix("wait_chain_")
            h.check(programs_named(sample.user_names) <= {own}, f"names of another program: {sample}")
        return check_short_waits(log, result)
    h.up_to_three_times(attempt)


def quick_forks():
    """Short-lived children, several between two looks of the recorder: what a child waits in its parent's code, before
    its exec, has the parent's names, though it is another program by the time it is looked at."""
    def attempt():
        rows, result, log = record_chain(*chain_words(SHORT, CHAIN * 10, ["fork"]), options=["--children"])
        check_owners(rows, "wait_chain_")
        return check_short_waits(log, result)
    h.up_to_three_times(attempt)


def waits_inside_exec():
    """In an execve the registers are the old program's while the memory may be the new one's: no user stack at all.
    Threads that must die first, and a file that is not cached, make it wait on both sides of that change."""
    folder = h.scratch()
    places = []
    for letter in "ab":
        places.append(folder / f"cold_exec_{letter}")
        shutil.copy(h.testprog(places[-1].name), places[-1])
    os.sync()  # a dirty page cannot be dropped from the cache
    rows, result, _ = record_chain(h.testprog("wait_chain_c"), "-w", "0.1", places[0], 20, places[1], places[0])
    inside = [s for s in result.samples if s.reason == "syscall execve" or any("execve" in name for name in kernel_names(s))]
    # Only a memory that is the new program's is mapped and cleared by the loader.
    after = [s for s in inside if any(name.startswith(("load_elf_binary", "clear_user")) for name in kernel_names(s))
             and not any(name.startswith("begin_new_exec") for name in kernel_names(s))]
    print(f"  {sum(s.count for s in inside)} waits inside execve, {sum(s.count for s in after)} of them in the new memory")
    for sample in inside:
        print(f"    {sample.count} x {' ; '.join(kernel_names(sample)[-6:])} [{sample.reason}]")
        h.check(not sample.user_names, f"a user stack inside execve: {sample}")
    check_owners([row for row in rows if row[0][0].startswith("cold_exec_")], "cold_exec_")
    h.check(inside, "no wait inside execve: the test shows nothing")
    if not after:
        h.skip("the program's pages came without a wait: not shown for the new memory")


def kernel_names(sample):
    return [frame["name"].removesuffix("_[k]") for frame in sample.frames if frame["kind"] == "kernel"]


def record_hung_threads(*options):
    """A thousand threads blocked from before attach to after detach. Returns (result, pid, tids, duration)."""
    target = h.Program(h.testprog("hung_threads"), THREADS).ready()
    time.sleep(0.5)
    tids = {int(task.name) for task in pathlib.Path(f"/proc/{target.pid}/task").iterdir()}
    h.check(len(tids) == THREADS + 1, f"{len(tids)} threads")
    out = h.scratch() / "out.json"
    h.record("-p", target.pid, "-e", "offcpu", "-d", "3s", *options, "-o", out)
    result = h.Result(out)
    h.print_losses(result)
    h.check(not result.losses, "something was lost")
    return result, target.pid, tids, result.raw["duration_ns"]


def thousand_hung_threads():
    """More threads than one buffer of the kernel's iterator holds: each is told as hung once, with its stack, and the
    time of all is there."""
    result, pid, tids, duration_ns = record_hung_threads()
    hung = collections.Counter(int(thread["tid"]) for thread in result.raw["hung"])
    print(f"  {len(hung)} threads told as hung, {sum(hung.values())} times")
    h.check(set(hung) == tids and set(hung.values()) == {1}, f"hung but not told: {tids - set(hung)}")
    all_ns = len(tids) * duration_ns
    h.check(h.within(result.total(pid, "blocked_ns"), all_ns, 0.001, "blocked in the totals"), "time is missing")
    h.check(h.within(sum(s.time for s in result.samples), all_ns, 0.001, "blocked in samples"), "time is missing")
    samples = result.through("hang_inner")
    h.check(len(samples) == 1 and samples[0].count == THREADS, f"samples {[str(s) for s in samples]}")
    names = samples[0].user_names
    h.check(names[-3:] == ["hang_thread", "hang_outer", "hang_inner"], f"stack {names}")


def thousand_hung_threads_apart():
    """With --threads each has a line of its own, of the whole recording."""
    result, _, tids, duration_ns = record_hung_threads("--threads")
    samples = result.through("hang_inner")
    main = result.through("hang_main")
    h.check(len(samples) == THREADS and len(main) == 1, f"{len(samples)} threads and {len(main)} main thread")
    h.check({int(s.labels["tid"]) for s in samples + main} == tids, "other threads")
    for sample in samples:
        h.check(sample.user_names[-3:] == ["hang_thread", "hang_outer", "hang_inner"], f"stack {sample}")
        h.check(abs(sample.time - duration_ns) <= 0.001 * duration_ns, f"not the whole {duration_ns} ns: {sample}")


def one_address_in_two_programs():
    """What was learnt about a place in one process must not name the caller in another, where other code is there."""
    targets = {kind: h.Program(h.testprog(f"same_address_{kind}"), 60).ready() for kind in ("narrow", "wide")}
    out = h.scratch() / "out.json"
    h.record("-p", ",".join(str(t.pid) for t in targets.values()), "-e", "offcpu", "-d", "3s", "-o", out)
    result = h.Result(out)
    for kind, target in targets.items():
        above = collections.Counter()
        for sample in result.through("fixed_wait", target.pid):
            h.check(sample.user_names[-1] == "fixed_wait", f"not the leaf: {sample}")
            above[sample.user_names[-2]] += sample.count
        print(f"  {kind}: above the wait {dict(above)}")
        h.check(sum(above.values()) > 500, "waits are missing")
        h.check(set(above) <= {"true_caller", callers.UNKNOWN}, "a caller that never was")


def callers_in_two_processes():
    """The test of callers.py for two programs that are recorded together."""
    rounds = 10_000
    targets = {variant: h.Program(h.testprog(variant), rounds).ready() for variant in ("callers_fp", "callers_nofp")}
    out = h.scratch() / "out.json"
    recorder = h.Recorder("-p", ",".join(str(t.pid) for t in targets.values()), "-e", "offcpu", "-d", "0", "-o", out)
    recorder.wait_began()
    for target in targets.values():
        target.tell()
    logs = {variant: json.loads(target.line(120)) for variant, target in targets.items()}
    recorder.interrupt()
    recorder.expect(0)
    result = h.Result(out)
    h.print_losses(result)
    for variant, target in targets.items():
        above = collections.Counter()
        for sample in result.samples:
            if sample.pid == target.pid and (pair := callers.leaf_and_caller(sample)):
                above[pair] += sample.count
        print(f"  {variant}: {logs[variant]['switches']} switches")
        for (function, caller), waits in sorted(above.items()):
            print(f"    {function} <- {caller}: {waits} waits")
        h.check({function for function, _ in above} == set(callers.CALLERS), "not all of read, poll and pause were seen")
        wrong = {key: n for key, n in above.items() if key[1] not in (callers.CALLERS[key[0]], callers.UNKNOWN)}
        h.check(not wrong, f"wrong callers: {wrong}")
        h.check(sum(above.values()) >= 0.8 * logs[variant]["switches"], "too few waits end in libc")


def compat_call():
    """A 32-bit call of a 64-bit program has a number of its own table: 162 is nanosleep there and sync here."""
    target = h.Program(h.testprog("compat_call"))
    if (said := target.line()) != "ready":
        h.skip(said)

    def attempt():
        running = h.Program(h.testprog("compat_call")).ready()
        out = h.scratch() / "out.json"
        recorder = h.Recorder("-p", running.pid, "-e", "offcpu", "-d", "0", "-o", out).wait_began()
        running.tell()
        log = json.loads(running.line())
        recorder.interrupt()
        recorder.expect(0)
        result = h.Result(out)
        compat, native = result.through("sleep_by_compat_call"), result.through("sleep_by_native_call")
        print(f"  compat [{compat[0].reason}], native [{native[0].reason}]")
        h.check({s.reason for s in native} == {"sleep"}, "the 64-bit call is no sleep")
        h.check({s.reason for s in compat} <= {"sleep", "syscall 162 i386"}, f"not {COMPAT_SYNC} and not another one")
        h.check(sum(s.count for s in compat) == log["times"], f"{sum(s.count for s in compat)} waits")
        return all([h.within(sum(s.time + s.runq for s in compat), log["compat_ns"], 0.01, "32-bit calls"),
                    h.within(sum(s.time + s.runq for s in native), log["native_ns"], 0.01, "64-bit calls")])
    h.up_to_three_times(attempt)


def stopped_wait(kind, reason):
    """A wait of 3 s that is stopped for 1 s in its middle: before and after that it is the same kind of wait, though the
    kernel goes on with it under another number."""
    def attempt():
        target = h.Program(h.testprog("one_wait"), kind).ready()
        out = h.scratch() / "out.json"
        recorder = h.Recorder("-p", target.pid, "-e", "offcpu", "-d", "0", "-o", out).wait_began()
        target.tell()
        time.sleep(0.7)
        target.popen.send_signal(signal.SIGSTOP)
        stopped_at = time.monotonic_ns()
        time.sleep(1)
        target.popen.send_signal(signal.SIGCONT)
        stopped_ns = time.monotonic_ns() - stopped_at
        log = json.loads(target.line())
        recorder.interrupt()
        recorder.expect(0)
        samples = h.Result(out).through(f"wait_by_{kind}")
        for sample in samples:
            print(f"  [{sample.reason}] {sample.time / 1e6:.3f} ms, {sample.count} waits")
        h.check({s.reason for s in samples} == {reason, "stopped"}, "other reasons")
        waiting = sum(s.time + s.runq for s in samples if s.reason == reason)
        h.check(sum(s.count for s in samples if s.reason == reason) == 2, "not one wait before the stop and one after it")
        return all([h.within(sum(s.time + s.runq for s in samples), log["waited_ns"], 0.01, "all of it"),
                    h.within(sum(s.time for s in samples if s.reason == "stopped"), stopped_ns, 0.01, "stopped"),
                    h.within(waiting, log["waited_ns"] - stopped_ns, 0.01, reason)])
    h.up_to_three_times(attempt)


def stopped_sleep():
    stopped_wait("sleep", "sleep")


def stopped_poll():
    stopped_wait("poll", "poll")


def stopped_futex():
    stopped_wait("futex", "futex")


def twins():
    """Two processes with the same stacks, and room for so few that it is made again and again: what one of them brought
    the other still has."""
    holders, room = 64, 4096

    def attempt():
        target = h.Program(h.testprog("twin_stacks"), 60000, holders)
        twin = int(target.line().removeprefix("ready "))
        out = h.scratch() / "out.json"
        recorder = h.Recorder("-p", f"{target.pid},{twin}", "-e", "offcpu", "-d", "0", "--stacks", room, "-o", out)
        recorder.wait_began()
        target.tell()
        logs = [json.loads(target.line(60)) for _ in range(2)]
        recorder.interrupt()
        recorder.expect(0)
        result = h.Result(out)
        h.print_losses(result)
        distinct = len({tuple(s.user_names) for s in result.samples})
        h.check(distinct > 3 * room, f"{distinct} stacks: room was hardly made")
        return all([check_twin(result, log, holders) for log in logs])
    h.up_to_three_times(attempt)


def check_twin(result, log, holders):
    """One process of the twins: every wait of its log, on as many stacks as its holders had, none without a name beyond
    what the losses count."""
    pid = log["pid"]
    mine = [s for s in result.samples if s.pid == pid]
    held = [s for s in mine if "hold" in s.user_names]
    lost = sum(s.count for s in mine if any("lost" in name or "not read" in name for name in s.names))
    counted = sum(loss["count"] for loss in result.losses if "stack" in loss["name"])
    dropped = sum(loss["count"] for loss in result.dropped())
    turns = {tuple(n for n in s.user_names if n.startswith("turn_")) for s in held}
    print(f"  pid {pid}: {len(mine)} samples, {sum(s.count for s in held)} waits of holders on {len(turns)} stacks, "
          f"{lost} waits without a stack; counted: {counted} stacks and {dropped} waits")
    h.check(lost <= counted, "stacks were lost that the losses do not count")
    h.check(lost > 0 or len(turns) == 5 * holders, "stacks are missing")
    h.check(log["held"] - lost - dropped <= sum(s.count for s in held) <= log["held"], f"{log['held']} waits were made")
    h.check(h.within(sum(s.time for s in mine), result.total(pid, "blocked_ns"), 0.0001, "samples against totals"),
            "not whole")
    return h.within(sum(s.time + s.runq for s in held), log["held_ns"], 0.01, "waits of holders") or lost > 0


def cgroup_root():
    """The mount of cgroup v2."""
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, kind = line.partition(" - ")
        if kind.startswith("cgroup2 "):
            return pathlib.Path(fields.split()[4])
    return h.skip("cgroup v2 is not mounted")


def joins_while_blocked():
    """Processes that join a recorded cgroup while they are blocked are there with their wait and its stack: one that is
    woken later, and one that never is."""
    group = cgroup_root() / f"stallscope-lives-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        h.skip(f"cannot make a cgroup: {error}")
    member, woken, hung = (h.Program(h.testprog("block_once")).ready() for _ in range(3))
    time.sleep(0.2)
    try:
        joined = {}
        (group / "cgroup.procs").write_text(str(member.pid))
        out = h.scratch() / "out.json"
        recorder = h.Recorder("--cgroup", group, "-e", "offcpu", "-d", "7s", "-o", out).wait_began()
        for program in (woken, hung):
            time.sleep(0.3)
            (group / "cgroup.procs").write_text(str(program.pid))
            joined[program.pid] = time.monotonic_ns()
        time.sleep(3)
        woken.tell()
        woken_at = int(woken.line())
        recorder.expect(0)
        check_joined(h.Result(out), member.pid, woken.pid, hung.pid, joined, woken_at)
    finally:
        for program in (member, woken, hung):
            program.stop()
        group.rmdir()


def check_joined(result, member, woken, hung, joined, woken_at):
    """The recorder looks for new members once a second and then reads them: a wait counts from then on."""
    for pid, until in ((member, None), (woken, woken_at), (hung, None)):
        samples = result.through("block_inner", pid)
        h.check(len(samples) == 1 and samples[0].count == 1,
                f"pid {pid}: {[str(s) for s in result.samples if s.pid == pid]}")
        h.check(samples[0].user_names[-3:] == ["main", "block_outer", "block_inner"], f"stack {samples[0]}")
        print(f"  pid {pid}: {samples[0].time / 1e9:.3f} s in block_inner")
        if pid == member:
            h.check(h.within(samples[0].time, result.raw["duration_ns"], 0.001, "the first member"), "not the whole time")
        elif until:
            longest = until - joined[pid]
            h.check(longest - 2e9 <= samples[0].time <= longest, f"{longest / 1e9:.3f} s after it joined")
    h.check({int(t["pid"]) for t in result.raw["hung"]} >= {member}, f"hung {result.raw['hung']}")
    hung_time = result.through("block_inner", hung)[0].time
    h.check(2e9 < hung_time < result.raw["duration_ns"], f"{hung_time / 1e9:.3f} s of the one that was never woken")


def pid_of_a_dead_child(pause):
    """A child of the target is dead and its pid somebody else's: that one is not recorded."""
    folder = h.scratch()
    parent = h.Program(h.testprog("short_lives")).ready()
    recorder = h.Recorder("-p", parent.pid, "--children", "-e", "offcpu", "-d", "0", "-o", folder / "out.json").wait_began()
    parent.tell("child")
    child = int(parent.line())
    time.sleep(pause)
    stranger = h.Program(h.testprog("take_pid"), child, h.testprog("impostor"), 1.5)
    said = {stranger.line(), stranger.line()}  # in either order: the stranger's "ready", and this one's word
    if "taken" not in said:
        recorder.interrupt()
        recorder.wait()
        h.skip(f"a pid cannot be reused here: {said}")
    stranger.popen.wait(20)
    recorder.interrupt()
    recorder.expect(0)
    result = h.Result(folder / "out.json")
    own = [s for s in result.samples if s.pid == child]
    waited = sum(s.time for s in own)
    print(f"  pid {child}: {waited / 1e6:.3f} ms in {sorted({s.labels['comm'] for s in own})}")
    h.check(result.through("first_child_wait", child), "the child is missing")
    h.check(all(s.labels["comm"] != "impostor" and "impostor_nap" not in s.names for s in result.samples),
            "a stranger is recorded")
    h.check(waited < 0.4e9, "more than the child's own wait")
    h.check(result.total(child, "blocked_ns") < 0.4e9, "the totals have the stranger's time")


def pid_taken_at_once():
    pid_of_a_dead_child(0)


def pid_taken_later():
    pid_of_a_dead_child(0.5)


def pid_taken_by_a_sibling():
    """With --children the one that gets a dead child's pid may be a child as well: then both are recorded."""
    folder = h.scratch()
    parent = h.Program(h.testprog("short_lives")).ready()
    recorder = h.Recorder("-p", parent.pid, "--children", "-e", "offcpu", "-d", "0", "-o", folder / "out.json").wait_began()
    parent.tell("heirs")
    said = parent.line()
    recorder.interrupt()
    recorder.expect(0)
    if said == "not reused":
        h.skip("a pid cannot be reused here")
    result = h.Result(folder / "out.json")
    h.print_losses(result)
    for function in ("first_child_wait", "second_child_wait"):
        samples = result.through(function, int(said))
        print(f"  {function}: {[str(s) for s in samples]}")
        h.check(h.within(sum(s.time for s in samples), 0.3e9, 0.02, function), f"{function} is not whole")


def ended_target():
    """A zombie has a pid and is no process any more."""
    target = h.Program("true")
    status = pathlib.Path(f"/proc/{target.pid}/status")
    end = time.monotonic() + 10
    while "State:\tZ" not in status.read_text():
        h.check(time.monotonic() < end, "it does not end")
        time.sleep(0.05)
    errors.refused("-p", target.pid, "-e", "offcpu", code=4, says=rf"no process {target.pid}\b", remedy=r"pgrep -a")


def ended_leader():
    """The main thread may end before the others: then /proc shows the process as a zombie without memory, and it is
    none."""
    target = h.Program(h.testprog("ended_leader")).ready()
    time.sleep(0.2)
    h.check("State:\tZ" in pathlib.Path(f"/proc/{target.pid}/status").read_text(), "the main thread has not ended")
    out = h.scratch() / "out.json"
    h.record("-p", target.pid, "-e", "offcpu", "-d", "1s", "-o", out)
    result = h.Result(out)
    print(f"  {[str(s) for s in result.samples]}")
    h.check(sum(s.count for s in result.through("nap_without_leader")) > 50, "the naps have no names")


if __name__ == "__main__":
    h.main(chained_execs, forks_and_execs, quick_execs, quick_forks, waits_inside_exec, thousand_hung_threads,
           thousand_hung_threads_apart, one_address_in_two_programs, callers_in_two_processes, compat_call, stopped_sleep,
           stopped_poll, stopped_futex, twins, joins_while_blocked, pid_taken_at_once, pid_taken_later,
           pid_taken_by_a_sibling, ended_target, ended_leader)
