#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The error table of the command line: one line of what and why, one line of what to do, the right exit code, and never
a raw libbpf log."""
import json
import os
import pathlib
import re
import shutil
import signal
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
    target = h.Program(h.testprog("callers_notables"), 1000000).ready()
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
            (["-p", "0", "-e", "offcpu"], r"-p: 0 is no process", r"pgrep -a"),
            (["-p", pid, "-d", "1s", "-d", "2s"], r"-d is given twice", r"leave out"),
            (["--", ""], r"the command after -- is the empty word", r"record -- CMD"),
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
    for event in ("wall", "tls", "dns"):
        refused("-p", target.pid, "-e", event, code=2, says=event)


def not_a_go_program():
    """Goroutines of a program that has none; without -e its threads are recorded."""
    target = sleeper()
    refused("-p", target.pid, "-e", "goroutine", code=4, says=rf"\({target.pid}\) is not a Go program", remedy="-e offcpu")
    recorder = h.record("-p", target.pid, "-d", "300ms", "-o", h.scratch() / "x.folded")
    h.check("recording offcpu" in recorder.stderr_text, recorder.stderr_text)


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


# ---- where the result goes ----

def output_to_a_link():
    """A link to a regular file is written through, and the file keeps its mode."""
    target = sleeper()
    folder = h.scratch()
    (folder / "kept").mkdir()
    real, link = folder / "kept" / "real.json", folder / "out.json"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    h.record("-p", target.pid, "-e", "offcpu", "-d", "1s", "-o", link)
    h.check(link.is_symlink(), "the link was replaced")
    h.check(h.Result(real).through("waiter_nap"), "the target of the link was not written")
    h.check(real.stat().st_mode & 0o7777 == 0o640, f"the mode is now {real.stat().st_mode:o}")
    h.check(len(list(folder.iterdir())) == 2 and len(list(real.parent.iterdir())) == 1, "something was left behind")


def shell(script, *words):
    """Runs the script by sh with the executable as $S and `words` as $1...; its exit code, stdout and stderr."""
    run = subprocess.run(["sh", "-c", script, "sh", *[str(word) for word in words]], capture_output=True, text=True,
                         timeout=60, env=dict(os.environ, S=h.STALLSCOPE))
    h.check(run.returncode < 128 or run.returncode == 130, f"{script}: crashed with {run.returncode}\n{run.stderr}")
    return run


def broken_streams():
    """Streams that are closed or full: no crash, the right exit code, and the file is valid."""
    target = sleeper()
    out = h.scratch() / "out.json"
    recording = f'"$S" record -p {target.pid} -e offcpu -d 1s -o "$1"'
    for redirect, code in (("2>&-", 0), ("2>/dev/full", 0), (">&-", 0), (">/dev/full", 0), ("<&- >&- 2>&-", 0),
                           ("--json >/dev/full", 1), ("--json >&-", 1), ("--json >/dev/full 2>/dev/full", 1),
                           ("--json >&- 2>&-", 1)):
        run = shell(f"{recording} {redirect}", out)
        h.check(run.returncode == code, f"{redirect}: exit {run.returncode}, expected {code}\n{run.stderr}")
        h.check(h.Result(out).through("waiter_nap"), f"{redirect}: the file holds no naps")
        said = run.stderr.count("cannot write to stdout")
        h.check(said == (1 if "--json" in redirect and "2>" not in redirect else 0), f"{redirect}: said {said} times\n{run.stderr}")
        out.unlink()
    for arguments in ("list", "doctor", "--help", "--version"):
        for redirect in (">/dev/full", ">&-"):
            run = shell(f'"$S" {arguments} {redirect}')
            h.check(run.returncode == 1 and "cannot write to stdout" in run.stderr,
                    f"{arguments} {redirect}: exit {run.returncode}\n{run.stderr}")
    run = shell('"$S" --version 2>&-')
    h.check(run.returncode == 0 and run.stdout.startswith("stallscope "), f"exit {run.returncode}: {run.stdout}")


def exit_code_on_a_broken_stdout():
    """Where stdout takes nothing, only success becomes 1; a code that says more stays."""
    out = h.scratch() / "out.json"
    for command, code in (("true", 1), ("sh -c 'exit 7'", 7), ("sh -c 'kill -9 $$'", 137)):
        for redirect in (">/dev/full", ">&-"):
            run = subprocess.run(["sh", "-c", f'"$S" record --json -o "$1" {redirect} -- {command}', "sh", str(out)],
                                 capture_output=True, text=True, timeout=60, env=dict(os.environ, S=h.STALLSCOPE))
            h.check(run.returncode == code, f"{command} {redirect}: exit {run.returncode}, expected {code}\n{run.stderr}")
            h.check(run.stderr.count("cannot write to stdout") == 1, f"{command} {redirect}:\n{run.stderr}")
    # --strict, and two signals.
    target = h.Program(h.testprog("many_stacks"), 20_000, 17).ready()
    recorder = h.Recorder("-p", target.pid, "-d", "0", "--stacks", "64", "--strict", "--json", "-o", out,
                          wrap=["sh", "-c", 'exec "$@" > /dev/full', "sh"]).wait_began()
    target.tell()
    target.line(100)
    recorder.interrupt()
    recorder.expect(5, seconds=60)
    h.check("cannot write to stdout" in recorder.stderr_text, recorder.stderr_text)
    for number in (signal.SIGSTOP, signal.SIGINT, signal.SIGTERM, signal.SIGCONT):  # both before it looks
        if number == signal.SIGSTOP:
            recorder = h.Recorder("-p", target.pid, "-d", "0", "--json", "-o", out,
                                  wrap=["sh", "-c", 'exec "$@" > /dev/full', "sh"]).wait_began()
        recorder.interrupt(number)
    recorder.expect(130, seconds=60)
    # A result that was to go to stdout and could not is no result.
    run = shell('"$S" record -o - -d 1s -- sleep 0.1 >/dev/full')
    h.check(run.returncode == 1 and "No space left" in run.stderr, f"-o -: exit {run.returncode}\n{run.stderr}")
    for rescued in re.findall(r"the result is in (\S+)", run.stderr):
        os.unlink(rescued)


# ---- signals ----

def signals_end_the_recording():
    """SIGINT, SIGTERM and SIGHUP end it as -d does: exit 0, and every file is whole."""
    target = sleeper()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        folder = h.scratch()
        outputs = [word for ending in ("json", "raw", "folded", "html") for word in ("-o", folder / f"out.{ending}")]
        recorder = h.Recorder("-p", target.pid, "-e", "offcpu", "-d", "0", *outputs,
                              wrap=["env", "--default-signal=HUP,INT"]).wait_began()
        time.sleep(1)
        recorder.interrupt(number)
        recorder.expect(0, seconds=30)
        h.check(h.Result(folder / "out.json").through("waiter_nap"), f"{number}: no naps")
        h.check(h.read_folded(folder / "out.folded"), f"{number}: nothing folded")
        h.check((folder / "out.html").read_text().rstrip().endswith("</html>"), f"{number}: the page is cut")
        run = shell('"$S" convert "$1" -o -', folder / "out.raw")
        h.check(run.returncode == 0 and not re.search(r"\b(cut|damaged) at byte", run.stderr), f"{number}: {run.stderr}")
        h.check(run.stdout == (folder / "out.folded").read_text(), f"{number}: the capture gives another result")
        h.check(len(list(folder.iterdir())) == 4, f"{number}: left behind: {list(folder.iterdir())}")
    h.check(target.alive(), "the target has ended")


def nohup():
    """A hangup that is ignored when the recording starts does not end it."""
    target = sleeper()
    out = h.scratch() / "out.json"
    recorder = h.Recorder("-p", target.pid, "-e", "offcpu", "-d", "2s", "-o", out,
                          wrap=["env", "--ignore-signal=HUP"]).wait_began()
    recorder.interrupt(signal.SIGHUP)
    recorder.expect(0, seconds=30)
    h.check(h.Result(out).raw["duration_ns"] >= 1.9e9, f"ended after {h.Result(out).raw['duration_ns'] / 1e9:.2f} s")


# ---- -- CMD ----

def command_goes_on():
    """When -d ends before the command, its pid is said and it is left alone."""
    folder = h.scratch()
    recorder = h.record("-d", "1s", "-o", folder / "out.json", "--", "sh", "-c", "exec sleep 100 > /dev/null 2>&1",
                        seconds=30)
    said = re.findall(r"^the command \(pid (\d+)\) still runs$", recorder.stderr_text, re.M)
    h.check(len(said) == 1, f"said {said}:\n{recorder.stderr_text}")
    pid = int(said[0])
    try:
        h.check(pathlib.Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x00100\x00", f"{pid} is not the command")
    finally:
        os.kill(pid, signal.SIGKILL)
    recorder = h.record("-d", "5s", "-o", folder / "out.json", "--", "sleep", "0.2", seconds=30)
    h.check("still runs" not in recorder.stderr_text, recorder.stderr_text)


def command_ends_the_recording():
    """The recording ends with the command, not at a tick after it: the ticks are 100 ms apart from its start on, so
    waiting for one would make it 0.4 s. The best of up to three runs: the machine is shared."""
    out = h.scratch() / "out.json"
    durations = []
    while len(durations) < 3 and not any(d < 0.38 for d in durations):
        h.record("-o", out, "--", "sleep", "0.34", seconds=30)
        durations.append(h.Result(out).raw["duration_ns"] / 1e9)
        h.check(durations[-1] >= 0.34, f"{durations[-1]:.3f} s are shorter than the command")
    print(f"  sleep 0.34: recorded {', '.join(f'{d:.3f}' for d in durations)} s", flush=True)
    h.check(any(d < 0.38 for d in durations), f"recorded {durations} s of 0.34 s")


def cut_captures():
    """A capture without one whole sample is refused; any other cut says how much was read. Never an empty success."""
    target = sleeper()
    folder = h.scratch()
    h.record("-p", target.pid, "-e", "offcpu", "-d", "1s", "-o", folder / "a.raw")
    whole = (folder / "a.raw").read_bytes()
    for cut in (10, 24, 30, 50, len(whole) // 10, len(whole) // 2, len(whole) - 3):
        (folder / "cut.raw").write_bytes(whole[:cut])
        run = shell('"$S" convert "$1" -o "$2"', folder / "cut.raw", folder / "cut.folded")
        h.check(run.stderr.count(f"cut at byte {cut}") == 1, f"cut at {cut}:\n{run.stderr}")
        if run.returncode == 0:
            h.check(re.search(r"WARNING .*: \d+ of \d+ samples read", run.stderr), f"cut at {cut}:\n{run.stderr}")
            h.check(h.read_folded(folder / "cut.folded"), f"cut at {cut}: empty output, exit 0")
            (folder / "cut.folded").unlink()
        else:
            h.check(run.returncode == 1 and len(run.stderr.splitlines()) == 2, f"cut at {cut}: {run.returncode}\n{run.stderr}")
            h.check(not (folder / "cut.folded").exists(), f"cut at {cut}: refused, but a file was written")
        print(f"  {cut}: exit {run.returncode}: {run.stderr.splitlines()[0].split(': ', 1)[1]}", flush=True)
    h.check(run.returncode == 0, "a cut of the last bytes loses all")


def convert_says_what_it_hid():
    target = sleeper()
    folder = h.scratch()
    h.record("-p", target.pid, "-e", "offcpu", "-d", "1s", "-o", folder / "a.raw")
    run = shell('"$S" convert "$1" -o "$2" -X "^waiter_nap$"', folder / "a.raw", folder / "a.folded")
    h.check(re.search(r"^hidden +\d.* in \d+ waits of offcpu: -X \^waiter_nap\$$", run.stderr, re.M), run.stderr)
    run = shell('"$S" convert "$1" -o "$2"', folder / "a.raw", folder / "a.folded")
    h.check("hidden" not in run.stderr, run.stderr)
    run = shell('"$S" convert -q "$1" -o "$2" -X "^waiter_nap$"', folder / "a.raw", folder / "a.folded")
    h.check(run.stderr == "", run.stderr)


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
    by_itself = h.record("-p", target.pid, "-d", "300ms", "-o", out)
    h.check(f"{fake} is newer than this build knows" in by_itself.stderr_text, by_itself.stderr_text)
    h.check("recording offcpu" in by_itself.stderr_text, "threads are not recorded in place of goroutines")
    refused("-p", target.pid, "-e", "goroutine", code=4, says=f"{fake} is newer than this build knows", remedy="-e offcpu")


def lists_and_doctor():
    for arguments in (["list"], ["list", "--json"], ["doctor"], ["doctor", "--json"], ["doctor", "-p", str(os.getpid())]):
        run = subprocess.run([h.STALLSCOPE, *arguments], capture_output=True, text=True, timeout=60)
        h.check(run.returncode in (0, 3) and run.stdout.strip(), f"{arguments}: exit {run.returncode}\n{run.stderr}")
        h.check("offcpu" in run.stdout or arguments[0] == "doctor", f"{arguments}: {run.stdout}")
        h.check("goroutines of Go programs" in run.stdout or arguments[0] == "list", f"{arguments}: {run.stdout}")


def what_has_no_goroutines():
    """`list -p` offers the event to nobody whom it does not serve."""
    native = sleeper()
    kernel_thread = next((int(p.name) for p in pathlib.Path("/proc").iterdir() if p.name.isdigit() and
                          (p / "comm").read_text().strip() == "kthreadd"), None)
    for pid, why in ((native.pid, "not a Go program"), (kernel_thread, "a kernel thread has no goroutines")):
        if pid is None:
            continue  # a pid namespace of our own
        run = subprocess.run([h.STALLSCOPE, "list", "-p", str(pid), "--json"], capture_output=True, text=True, timeout=60)
        events = {event["name"]: event for event in json.loads(run.stdout)["events"]}
        h.check(events["goroutine"]["problem"] == why and not events["goroutine"]["mechanism"], f"{events['goroutine']}")
        h.check("-e offcpu" in events["goroutine"]["remedy"] and events["offcpu"]["mechanism"], f"{events}")


if __name__ == "__main__":
    h.main(no_such_process, thread_id, invisible_pid, translated_pid, no_rights, root_without_rights, no_btf,
           seccomp_refuses, hidden_kernel_symbols, no_frame_pointers, output_is_a_directory, wrong_words, wrong_formats,
           later_events, not_a_go_program, no_target_and_two_targets, wrong_commands, wrong_captures, capture_round_trip, cut_captures,
           convert_says_what_it_hid, output_to_a_link, broken_streams, exit_code_on_a_broken_stdout,
           signals_end_the_recording, nohup, command_goes_on, command_ends_the_recording, quiet_and_min, newer_go,
           lists_and_doctor, what_has_no_goroutines)
