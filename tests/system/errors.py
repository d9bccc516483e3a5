#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The error table of the command line: one line of what and why, one line of what to do, the right exit code, and never
a raw libbpf log."""
import os
import pathlib
import re
import shutil
import subprocess
import time

import harness as h

MISSING_PID = 4194303  # the highest possible; the kernel hands out pids from below


def refused(*arguments, code, says, remedy=None, wrap=(), executable=None):
    """Runs `record`; checks exit code, words, and that nothing began and nothing was left."""
    folder = h.scratch()
    if "-o" not in arguments:
        arguments = ["-o", folder / "out.json", *arguments]
    recorder = h.Recorder(*arguments, wrap=wrap, executable=executable)
    got = recorder.wait(60)
    text = recorder.stderr_text
    h.check(got == code, f"exit {got}, expected {code}: {arguments}\n{text}")
    h.check(re.search(says, text), f"does not say /{says}/:\n{text}")
    h.check(remedy is None or re.search(remedy, text), f"does not name the remedy /{remedy}/:\n{text}")
    h.check("libbpf:" not in text, f"a raw libbpf log:\n{text}")
    h.check(not recorder.began.is_set(), "recording began")
    h.check(not list(folder.iterdir()), f"left behind: {list(folder.iterdir())}")
    h.check(2 <= len(text.strip().splitlines()) <= 4, f"not one line of what and one of what to do:\n{text}")
    print("  " + " | ".join(text.strip().splitlines()), flush=True)
    return text


def goes_on(*arguments, says, seconds=2, wrap=(), code=0):
    """Runs `record` to its end; it says the words and writes its result."""
    folder = h.scratch()
    recorder = h.record("-e", "offcpu", "-d", f"{seconds}s", "-o", folder / "out.json", *arguments, wrap=wrap, code=code)
    h.check(re.search(says, recorder.stderr_text), f"does not say /{says}/:\n{recorder.stderr_text}")
    print("  " + next(l for l in recorder.stderr_text.splitlines() if re.search(says, l)), flush=True)
    return h.Result(folder / "out.json"), recorder


def sleeper():
    return h.Program(h.testprog("waiter"), 120).ready()


# ---- the target ----

def no_such_process():
    refused("-p", MISSING_PID, "-e", "offcpu", code=4, says=rf"no process {MISSING_PID}\b", remedy=r"pgrep -a")


def thread_id():
    target = h.Program(h.testprog("hung_read")).ready()
    tid = next(int(t.name) for t in pathlib.Path(f"/proc/{target.pid}/task").iterdir() if int(t.name) != target.pid)
    result, _ = goes_on("-p", tid, says=rf"{tid} is a thread of {target.pid} \(hung_read\): profiling the process")
    h.check({s.pid for s in result.samples} == {target.pid}, "not the process")


def invisible_pid():
    """A pid of the outer namespace is not visible in a private one; one that is visible is translated."""
    outside = sleeper()
    unshare = [h.need_tool("unshare"), "--pid", "--fork", "--mount-proc"]
    refused("-p", outside.pid, "-e", "offcpu", code=4, wrap=unshare,
            says=rf"pid {outside.pid} is not visible from here \(own pid namespace\)", remedy=r"hostPID: true|--pid host")


def translated_pid():
    folder = h.scratch()
    script = (f"{h.testprog('waiter')} 30 > /dev/null & sleep 0.5; echo inside=$!; "
              f"{h.STALLSCOPE} record -p $! -e offcpu -d 2s -o {folder}/out.json; echo code=$?; kill $!")
    run = subprocess.run([h.need_tool("unshare"), "--pid", "--fork", "--mount-proc", "sh", "-c", script],
                         capture_output=True, text=True, timeout=60)
    h.check("code=0" in run.stdout, f"{run.stdout}\n{run.stderr}")
    inside = int(re.search(r"inside=(\d+)", run.stdout)[1])
    result = h.Result(folder / "out.json")
    naps = result.through("waiter_nap")
    h.check(sum(s.count for s in naps) > 50, f"the visible pid {inside} was not translated: {len(result.samples)} samples")
    h.check({s.pid for s in naps} == {inside}, f"pids {set(s.pid for s in naps)}, {inside} is what the user sees")


# ---- this machine ----

def copy_for_others():
    """The executable at a place that any user can reach."""
    folder = h.scratch()
    for path in (folder, *folder.parents):
        if not os.stat(path).st_mode & 0o005 == 0o005:
            folder = pathlib.Path(subprocess.run(["mktemp", "-d", "/tmp/stallscope-test.XXXXXX"], capture_output=True,
                                                 text=True, check=True).stdout.strip())
            h._scratch.append(folder)
            break
    shutil.copy(h.STALLSCOPE, folder / "stallscope")
    os.chmod(folder, 0o777)
    return folder


def no_rights():
    target = sleeper()
    folder = copy_for_others()
    setpriv = h.need_tool("setpriv")
    wrap = [setpriv, "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]
    refused("-p", target.pid, "-e", "offcpu", "-o", folder / "x.json", code=3, wrap=wrap,
            executable=str(folder / "stallscope"), says=r"missing CAP_BPF, CAP_PERFMON", remedy=r"(?s)sudo .*setcap|setcap.*sudo")


def root_without_rights():
    target = sleeper()
    wrap = [h.need_tool("setpriv"), "--bounding-set=-sys_admin,-bpf,-perfmon"]
    refused("-p", target.pid, "-e", "offcpu", code=3, wrap=wrap, says=r"missing CAP_BPF, CAP_PERFMON", remedy=r"setcap")


def no_btf():
    target = sleeper()
    empty = h.scratch()
    wrap = [h.need_tool("unshare"), "--mount", "--propagation", "private", "sh", "-c",
            f"mount --bind {empty} /sys/kernel/btf; exec \"$@\"", "sh"]
    refused("-p", target.pid, "-e", "offcpu", code=3, wrap=wrap,
            says=r"this kernel has no BTF \(/sys/kernel/btf/vmlinux\)")


def seccomp_refuses():
    target = sleeper()
    refused("-p", target.pid, "-e", "offcpu", code=3, wrap=[h.testprog("deny_bpf")], says=r"(?i)seccomp")


def hidden_kernel_symbols():
    """Goes on with addresses. The setting of the machine is put back."""
    knob = pathlib.Path("/proc/sys/kernel/kptr_restrict")
    before = knob.read_text()
    target = sleeper()
    try:
        knob.write_text("2")
        result, _ = goes_on("-p", target.pid, says=r"kernel symbols are hidden \(kptr_restrict=2\)")
    finally:
        knob.write_text(before)
    kernel = [frame["name"] for s in result.samples for frame in s.frames if frame["kind"] == "kernel"]
    h.check(kernel and all(re.match(r"\[.*\]$", name) for name in kernel), f"kernel frames: {sorted(set(kernel))[:5]}")
    h.check(result.through("waiter_nap"), "user frames are gone as well")


# ---- what was recorded ----

def no_frame_pointers():
    target = h.Program(h.testprog("callers_nofp"), 1000000).ready()
    folder = h.scratch()
    recorder = h.Recorder("-p", target.pid, "-e", "offcpu", "-d", "2s", "-o", folder / "out.json").wait_began()
    target.tell()
    recorder.expect(0)
    said = recorder.stderr_text.count("most user stacks are one or two frames deep: built without frame pointers?")
    h.check(said == 1, f"said {said} times:\n{recorder.stderr_text}")


def output_is_a_directory():
    target = sleeper()
    folder = h.scratch()
    (folder / "out.json").mkdir()
    refused("-p", target.pid, "-e", "offcpu", "-o", folder / "out.json", code=1, says=re.escape(str(folder / "out.json")))


# ---- words ----

def wrong_words():
    target = sleeper()
    pid = str(target.pid)
    for arguments, says, remedy in (
            (["-p", pid, "-e", "ofcpu"], r"ofcpu", r"\boffcpu\b"),
            (["-p", pid, "-e", "offcpu", "-d", "3x"], r"3x", None),
            (["-p", pid, "-e", "offcpu", "-d", "-5s"], r"-5s", None),
            (["-p", pid, "-e", "offcpu", "-d", "99999999999999999999s"], r"9999", None),
            (["-p", pid, "-e", "offcpu", "--min", "abc"], r"abc", None),
            (["-p", pid, "-e", "offcpu", "-I", "("], r"\(", None),
            (["-p", pid, "-e", "offcpu", "-X", "[a"], r"\[a", None),
            (["-p", "12x", "-e", "offcpu"], r"12x", None),
            (["-p", "0", "-e", "offcpu"], r"\b0\b", None),
            (["-p", "-4", "-e", "offcpu"], r"-4", None)):
        refused(*arguments, code=2, says=says, remedy=remedy)


def wrong_formats():
    target = sleeper()
    folder = h.scratch()
    for name, nearest in (("x.foldde", r"\.folded"), ("x.jsn", r"\.json"), ("x.htm", r"\.html"), ("noending", None)):
        refused("-p", target.pid, "-e", "offcpu", "-o", folder / name, code=2, says=re.escape(name.split(".")[-1]),
                remedy=nearest)


def later_events():
    """An event of the contract that this build does not have is refused, not ignored."""
    target = sleeper()
    for event in ("goroutine", "wall", "tcp"):
        refused("-p", target.pid, "-e", event, code=2, says=event)


def no_target_and_two_targets():
    target = sleeper()
    refused("-e", "offcpu", code=2, says=r"-p")
    refused("-e", "offcpu", "-p", target.pid, "-a", code=2, says=r"-a|--all|-p")
    refused("-e", "offcpu", "-p", target.pid, "-o", "-", "--json", code=2, says=r"--json")


def wrong_commands():
    for arguments, code in ((["--version"], 0), (["--help"], 0), (["record", "--help"], 0), (["recrod"], 2), (["--nosuch"], 2)):
        run = subprocess.run([h.STALLSCOPE, *arguments], capture_output=True, text=True, timeout=30)
        h.check(run.returncode == code, f"{arguments}: exit {run.returncode}\n{run.stderr}")
    help_text = subprocess.run([h.STALLSCOPE, "record", "--help"], capture_output=True, text=True).stdout
    for option in ("--pid", "--comm", "--cgroup", "--all", "--threads", "--idle", "--stacks", "--strict"):
        h.check(option in help_text or f"-{option[2]}" in help_text, f"{option} is not in --help")


def wrong_captures():
    """convert of what is no capture: one line of why, and no file."""
    folder = h.scratch()
    cases = {"empty.raw": b"", "text.raw": b"hello\n" * 100, "zeros.raw": bytes(4096)}
    for name, content in cases.items():
        (folder / name).write_bytes(content)
        run = subprocess.run([h.STALLSCOPE, "convert", folder / name, "-o", folder / "out.json"], capture_output=True,
                             text=True, timeout=30)
        h.check(run.returncode in (1, 2), f"{name}: exit {run.returncode}\n{run.stderr}")
        h.check(run.stderr.strip() and not (folder / "out.json").exists(), f"{name}: {run.stderr}")


def capture_round_trip():
    """The same result from .raw as directly, twice the same bytes, and from a cut file what stands before the cut."""
    folder = h.scratch()
    target = sleeper()
    h.record("-p", target.pid, "-e", "offcpu", "-d", "2s", "-o", folder / "a.raw", "-o", folder / "a.folded")
    target.stop()
    for name in ("b", "c"):
        subprocess.run([h.STALLSCOPE, "convert", folder / "a.raw", "-o", folder / f"{name}.folded"], check=True,
                       capture_output=True, timeout=60)
    direct, first, second = ((folder / f"{n}.folded").read_bytes() for n in "abc")
    h.check(first == second, "two conversions differ")
    h.check(first == direct, "the capture gives another result than the recording")
    whole = (folder / "a.raw").read_bytes()
    for cut in (len(whole) // 3, len(whole) - 3):
        (folder / "cut.raw").write_bytes(whole[:cut])
        run = subprocess.run([h.STALLSCOPE, "convert", folder / "cut.raw", "-o", folder / "cut.folded"],
                             capture_output=True, text=True, timeout=60)
        h.check(run.returncode in (0, 1) and run.stderr.strip(), f"cut at {cut}: exit {run.returncode}, says nothing")


def quiet_and_min():
    """--min drops short waits, counts them, and the sums still agree."""
    target = sleeper()
    folder = h.scratch()
    h.record("-p", target.pid, "-e", "offcpu", "-d", "2s", "--min", "1s", "-q", "-o", folder / "out.json")
    result = h.Result(folder / "out.json")
    h.check(not result.through("waiter_nap"), "naps of 10 ms are shown with --min 1s")
    dropped = [row for row in result.raw["hidden"] + result.losses if row.get("count", 0) > 50]
    h.check(dropped, f"what --min dropped is not counted: {result.raw['hidden']} {result.losses}")


def newer_go():
    """A Go version newer than the tables: said in one line with what is off; stacks and names go on."""
    version, root = h.go_roots()[-1]
    program = pathlib.Path(h.build_go("gohang", version, root))
    exact = (pathlib.Path(root) / "VERSION").read_text().split()[0]
    fake = "go1.9" + "9" * (len(exact) - len("go1.9"))  # of the same length, newer than any table
    newer = h.scratch() / "newer"
    newer.write_bytes(program.read_bytes().replace(exact.encode(), fake.encode()))
    newer.chmod(0o755)
    target = h.Program(str(newer)).ready()
    out = h.scratch() / "out.json"
    recorder = h.record("-p", target.pid, "-e", "offcpu", "--idle", "-d", "1s", "-o", out)
    h.check(f"{fake} is newer than this build knows" in recorder.stderr_text, recorder.stderr_text)
    h.check(h.Result(out).through("main.hangOuter"), "Go stacks did not go on")


def lists_and_doctor():
    for arguments in (["list"], ["list", "--json"], ["doctor"], ["doctor", "--json"], ["doctor", "-p", str(os.getpid())]):
        run = subprocess.run([h.STALLSCOPE, *arguments], capture_output=True, text=True, timeout=60)
        h.check(run.returncode in (0, 3) and run.stdout.strip(), f"{arguments}: exit {run.returncode}\n{run.stderr}")
        h.check("offcpu" in run.stdout or arguments[0] == "doctor", f"{arguments}: {run.stdout}")


if __name__ == "__main__":
    h.main(no_such_process, thread_id, invisible_pid, translated_pid, no_rights, root_without_rights, no_btf,
           seccomp_refuses, hidden_kernel_symbols, no_frame_pointers, output_is_a_directory, wrong_words, wrong_formats,
           later_events, no_target_and_two_targets, wrong_commands, wrong_captures, capture_round_trip, quiet_and_min,
           newer_go, lists_and_doctor)
