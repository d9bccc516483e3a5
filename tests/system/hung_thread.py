#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""No blind spot for the thread that hangs: blocked 5 s before attach until 5 s after detach it is in the profile, with
its user stack and the whole recording as its time, and the summary names it. A site that was blocked before attach and
blocks again later is one line."""
import pathlib
import re
import time

import harness as h

BEFORE_S = 5
RECORD_S = 4
AFTER_S = 5
UNKNOWN = r"\[caller unknown\]"
READ = r"(__)?(GI___)?(libc_)?read"
# libc's debug file tells an inlined half of it.
READS = [READ, (READ, "?"), (h.INSIDE_LIBC, "*")]
LIBC_ROOT = r"(start_thread|_*(GI_+)?clone3?|\[libc\.so\.6\+0x[0-9a-f]+\])"
GO_SYSCALLS = [r"syscall\.Syscall", r"syscall\.RawSyscall6", r".*syscall(/linux)?\.Syscall6"]
GO_CHAIN = [r"main\.hangOuter", r"main\.hangMiddle", r"main\.hangInner", r"main\.hang"]


def fits(names, wanted):
    """Whether names (root first) are the wanted regular expressions; `wanted` may hold a tuple (pattern, "?") for an
    optional frame and (pattern, "*") for any number."""
    if not wanted:
        return not names
    pattern, times = wanted[0] if isinstance(wanted[0], tuple) else (wanted[0], "1")
    first = bool(names) and re.fullmatch(pattern, names[0]) is not None
    if times == "1":
        return first and fits(names[1:], wanted[1:])
    if fits(names, wanted[1:]):
        return True
    return first and fits(names[1:], wanted if times == "*" else wanted[1:])


def blocked_thread(pid, syscall=0, since=None):
    """The thread of a process that is in that system call (read), other than on its stdin."""
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        fields = (task / "syscall").read_text().split()
        if fields[0] == str(syscall) and int(fields[1], 16) > 2:
            return int(task.name)
    h.fail(f"no thread of {pid} is blocked in a read")


def hang_and_record(programs):
    """Starts all of {what: (command, wanted frames)}, and records them one after the other while they all stay blocked."""
    running = {what: h.Program(*command).ready() for what, (command, _) in programs.items()}
    time.sleep(BEFORE_S)
    tids = {what: blocked_thread(program.pid) for what, program in running.items()}
    wrong = []
    for what, (_, wanted) in programs.items():
        out = h.scratch() / "out.json"
        recorder = h.record("-p", running[what].pid, "-e", "offcpu", "--idle", "-d", f"{RECORD_S}s", "-o", out)
        result = h.Result(out)
        h.print_losses(result)
        duration_ns = result.raw["duration_ns"]
        h.check(h.within(duration_ns, RECORD_S * 1e9, 0.02, "duration of the recording"), "recorded for another time")
        wrong += [f"{what}: {problem}" for problem in
                  check_hung(what, result, running[what].pid, tids[what], wanted, duration_ns, recorder)]
    time.sleep(AFTER_S)
    for what, program in running.items():
        h.check(program.alive() and blocked_thread(program.pid) == tids[what], f"{what} did not stay blocked")
    h.check(not wrong, "\n  " + "\n  ".join(wrong))


def check_hung(what, result, pid, tid, wanted, duration_ns, recorder):
    samples = [s for s in result.samples if s.pid == pid and s.reason == "pipe" and "hang" in ";".join(s.user_names).lower()]
    if not samples:
        others = "\n    ".join(str(s) for s in result.samples if s.pid == pid)
        return [f"not in the profile; what is:\n    {others}"]
    problems = []
    longest = max(samples, key=lambda s: s.time)
    print(f"  {what}: {' ; '.join(longest.user_names)}")
    if len(samples) != 1:
        problems.append(f"{len(samples)} lines for one wait")
    if not fits(longest.user_names, wanted):
        problems.append(f"frames {longest.user_names} are not {wanted}")
    if not h.within(longest.time, duration_ns, 0.01, f"{what}: time"):
        problems.append("not the whole recording")
    if not re.search(rf"\b{tid}\b", recorder.stderr_text):
        problems.append(f"the summary does not name thread {tid}:\n{recorder.stderr_text}")
    return problems


def native():
    wanted = [(LIBC_ROOT, "*"), "hang_thread", "hang_outer", "hang_middle", f"hang_inner|{UNKNOWN}", *READS]
    hang_and_record({"libc read() with threads": ([h.testprog("hung_read")], wanted)})


def go():
    programs = {}
    for version, root in h.go_roots():
        goexit = (r"runtime\.goexit(\.abi0)?", "?")
        static = [goexit, *GO_CHAIN, r"syscall\.Read", r"syscall\.read", *GO_SYSCALLS]
        programs[f"static Go {version}"] = ([h.build_go("gohang", version, root)], static)
        in_go = [goexit, *GO_CHAIN, r"main\._Cfunc_hang_outer_in_c", (r"runtime\..*", "*")]
        # Exported by the dynamic linker or not, a stripped program's C functions may have no name.
        c_frame = r"hang_\w+_in_c|_cgo_\w+|\[gohang\+0x[0-9a-f]+\]"
        with_fp = [*in_go, c_frame, c_frame, f"{c_frame}|{UNKNOWN}", *READS]
        without_fp = [*in_go, (f"{c_frame}|{UNKNOWN}", "*"), *READS]
        programs[f"cgo {version}, frame pointers in C"] = (
            [h.build_go("gohang", version, root, cgo=True, cflags="-fno-omit-frame-pointer")], with_fp)
        programs[f"cgo {version}, none in C"] = (
            [h.build_go("gohang", version, root, cgo=True, cflags="-fomit-frame-pointer")], without_fp)
    hang_and_record(programs)


def ended():
    """Blocked before attach and until its process ends, which is before the recording would: the summary says so."""
    program = h.Program(h.testprog("hung_read")).ready()
    time.sleep(1)
    recorder = h.Recorder("-p", program.pid, "-e", "offcpu", "-d", "30s", "-o", h.scratch() / "out.json").wait_began()
    time.sleep(2)
    program.stop()
    text = recorder.expect(0, 30).stderr_text
    h.check(re.search(r"all the time until it ended: 1 thread \[pipe\]  hang_inner", text), text)


def site_again(kind, program="same_site"):
    """Blocked before attach, released twice while recording, blocked at the end: three waits, one line, and in it the
    function that waits right above the library's."""
    folder = h.scratch()
    program = h.Program(h.testprog(program), kind).ready()
    time.sleep(1)
    recorder = h.Recorder("-p", program.pid, "-e", "offcpu", "-d", f"{RECORD_S}s", "-o", folder / "out.json", "-o",
                          folder / "out.folded").wait_began()
    for _ in range(2):
        time.sleep(1.2)
        program.tell()
    recorder.expect(0)
    program.stop()
    result = h.Result(folder / "out.json")
    samples = [s for s in result.samples if "site_thread" in s.user_names]
    for sample in samples:
        print(f"  {sample}")
    lines = [row for row in h.read_folded(folder / "out.folded") if "site_thread" in row[0]]
    h.check(len(lines) == 1 and len(samples) == 1, f"{len(lines)} folded lines for one site")
    h.check(samples[0].count == 3, f"{samples[0].count} waits, 3 were made")
    names = list(samples[0].user_names)
    h.check(f"site_{kind}" in names[names.index("site_thread"):], "the function that waits is missing")
    whole = result.raw["duration_ns"]
    h.check(h.within(samples[0].time + samples[0].runq, whole, 0.01, "time of the site"), "not the whole recording")


def site_again_inline():
    site_again("inline")


def site_again_libc():
    site_again("libc")


def site_again_in_the_library():
    for program in ("same_site", "same_site_nofp"):
        for kind in ("mutex", "cond", "sem"):
            print(f" {program}, {kind}")
            site_again(kind, program)


if __name__ == "__main__":
    h.main(native, go, ended, site_again_inline, site_again_libc, site_again_in_the_library)
