# SPDX-License-Identifier: Apache-2.0
"""Goroutines, as Go prints them itself (debug=2, debug=1) and as `stallscope dump` and `record -e goroutine` write them,
and how the two are compared."""
import collections
import dataclasses
import functools
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess

import harness as h


# ---- toolchains ----

def toolchains():
    """go_roots(), and one version between the oldest and the newest where one was fetched already."""
    found = dict(h.go_roots())
    cache = pathlib.Path(os.environ.get("STALLSCOPE_CACHE", "/var/cache/stallscope")) / "go"
    for version in ("1.23", "1.24", "1.22", "1.21"):
        if len(found) >= 3:
            break
        root = cache / version / "usr/lib" / f"go-{version}"
        if version not in found and h.go_version(root):
            found[version] = str(root)
    if len(found) < 3:
        print("MISSING: no third Go version at hand (tools/fetch-go 1.23)", flush=True)
    return sorted(found.items(), key=lambda item: [int(number) for number in item[0].split(".")])


def newest_toolchain():
    return toolchains()[-1]


def stripped(program):
    """A copy of a program without its symbols and debug information."""
    copy = pathlib.Path(program + ".strip")
    if not copy.exists():
        partial = pathlib.Path(f"{copy}.{os.getpid()}")
        shutil.copy(program, partial)
        subprocess.run([h.need_tool("strip"), partial], check=True)
        partial.rename(copy)
    return str(copy)


# How each kind of program is linked: name: (options of build_go, stripped afterwards).
LINK_KINDS = {
    "static": ({"ldflags": ""}, False),
    "static -s -w": ({}, False),
    "static strip": ({"ldflags": ""}, True),
    "PIE": ({"ldflags": "", "flags": ("-buildmode=pie",)}, False),
    "PIE strip": ({"ldflags": "", "flags": ("-buildmode=pie",)}, True),
    "cgo": ({"ldflags": "", "cgo": True}, False),
    "cgo PIE -s -w": ({"cgo": True, "flags": ("-buildmode=pie",)}, False),
    "cgo strip": ({"ldflags": "", "cgo": True}, True),
}


def build(name, version, root, kind, **more):
    options, strip = LINK_KINDS[kind]
    program = h.build_go(name, version, root, **options, **more)
    return stripped(program) if strip else program


# ---- one goroutine ----

@dataclasses.dataclass(frozen=True)
class Frame:
    name: str
    file: str
    line: int
    inlined: bool = False

    def __str__(self):
        return f"{self.name} {self.file}:{self.line}{' (inlined)' if self.inlined else ''}"


# What stands where Go left frames of a deep stack out; and where it may have done so without a word: before Go 1.21 it
# stops after a hundred frames, those that it does not show included.
ELIDED = Frame("...", "", 0)
PERHAPS_ELIDED = Frame("...?", "", 0)
SILENT_LIMIT = 90


@dataclasses.dataclass
class Goroutine:
    id: int
    state: str                      # the words in Go's brackets: "chan receive", "syscall"
    frames: list                    # root first
    created_by: tuple = None        # (function, file, line)
    parent: int = None
    locked: bool = False
    minutes: int = 0                # waited so long at least, as Go says
    raw: dict = None


# ---- what Go prints ----

HEADER = re.compile(r"^goroutine (\d+)(?: gp=\S+ m=\S+(?: mp=\S+)?)? \[([^\[\]]*(?:\[[^\]]*\][^\[\]]*)*)\](?: \{.*\})?:$")
PLACE = re.compile(r"^\t(.*):(\d+)(?: \+0x[0-9a-f]+)?(?: fp=\S+ sp=\S+ pc=\S+)?$")
CREATED = re.compile(r"^created by (.*?)(?: in goroutine (\d+))?$")
MINUTES = re.compile(r"^(\d+) minutes$")
LEFT_OUT = re.compile(r"^\.\.\.(\d+ frames elided|additional frames elided)\.\.\.$")


def function_of(call):
    """`main.(*T).f(0x1, ...)` is main.(*T).f; the word panic stands for runtime.gopanic."""
    name = call[:call.rindex("(")]
    return "runtime.gopanic" if name == "panic" else name


def parse_header(line):
    match = HEADER.match(line)
    h.check(match, f"not the head of a goroutine: {line!r}")
    words = match[2].split(", ")
    result = Goroutine(int(match[1]), words[0], [])
    for word in words[1:]:
        if word == "locked to thread":
            result.locked = True
        elif MINUTES.match(word):
            result.minutes = int(MINUTES.match(word)[1])
    return result


def parse_block(block):
    lines = block.splitlines()
    goroutine = parse_header(lines[0])
    at = 1
    while at < len(lines):
        line = lines[at]
        if LEFT_OUT.match(line):
            goroutine.frames.append(ELIDED)
            at += 1
            continue
        if line.startswith("\tgoroutine running on other thread"):
            at += 1
            continue
        place = PLACE.match(lines[at + 1]) if at + 1 < len(lines) else None
        h.check(place, f"no source position after {line!r} of goroutine {goroutine.id}")
        created = CREATED.match(line)
        if created:
            goroutine.created_by = (created[1], place[1], int(place[2]))
            goroutine.parent = int(created[2]) if created[2] else None
        else:
            goroutine.frames.append(Frame(function_of(line), place[1], int(place[2]), line.endswith("(...)")))
        at += 2
    if len(goroutine.frames) >= SILENT_LIMIT and ELIDED not in goroutine.frames:
        goroutine.frames.append(PERHAPS_ELIDED)
    goroutine.frames.reverse()
    return goroutine


def parse_debug2(text):
    """{id: Goroutine} of a debug=2 profile."""
    found = {}
    for block in text.strip().split("\n\n"):
        goroutine = parse_block(block)
        h.check(goroutine.id not in found, f"goroutine {goroutine.id} stands there twice")
        found[goroutine.id] = goroutine
    return found


def parse_crash(text):
    """{id: Goroutine} of what a program prints when SIGQUIT ends it; a thread's scheduler stack (goroutine 0) is left
    out, and runtime.goexit, where every goroutine began."""
    blocks = [block for block in text.split("\n\n") if block.startswith("goroutine ") and not block.startswith("goroutine 0 ")]
    found = parse_debug2("\n\n".join(blocks))
    for goroutine in found.values():
        goroutine.frames = without_wrappers(without_goexit(goroutine.frames), goroutine.created_by)
    return found


def profile_by_signal(program):
    """All goroutines of a Go program, as SIGQUIT makes it print them; it ends. Started by start_with_stderr()."""
    os.kill(program.pid, signal.SIGQUIT)
    program.popen.wait(60)
    return parse_crash(program.stderr_path.read_text())


def start_with_stderr(*command, **more):
    """A Program whose stderr is in the file `stderr_path`, and which shows all of the runtime when it crashes."""
    path = h.scratch() / "stderr"
    env = dict(os.environ, GOTRACEBACK="system", **more)
    # exec: the shell's pid becomes the program's.
    program = h.Program("/bin/sh", "-c", f"exec \"$0\" \"$@\" 2>'{path}'", *command, env=env)
    program.stderr_path = path
    return program


def without_goexit(frames):
    return frames[1:] if frames and frames[0].name == "runtime.goexit" else frames


def without_wrappers(frames, created_by):
    """A crash shows the functions that the compiler wraps around others; a profile never does, nor do we. The one around
    the call of a go statement stands on that statement's line, and has no name of its own kind before Go 1.22; some
    functions of the runtime count as wrappers too."""
    if frames and created_by and (frames[0].file, frames[0].line) == created_by[1:]:
        frames = frames[1:]
    return [f for f in frames if f.file != "<autogenerated>" and not re.search(r"\.(gowrap|deferwrap)\d+$|^runtime\.(call\d+|deferreturn|runOpenDeferFrame|deferCallSave)$", f.name)]


def parse_debug1(text):
    """Counter of stacks (names as in a debug=2 profile, root first) of a debug=1 profile. Before Go 1.23 it has the
    innermost 32 frames of a stack."""
    counts = collections.Counter()
    for block in text.strip().split("\n\n"):
        lines = [line for line in block.splitlines() if not line.startswith("goroutine profile:")]
        if not lines:
            continue
        count = int(lines[0].split(" @", 1)[0])
        names = []
        for line in lines[1:]:
            fields = line[1:].strip().split("\t")
            if line.startswith("#\t0x") and len(fields) >= 2:
                names.append(Frame(fields[1].rsplit("+0x", 1)[0], "", 0))
        counts[tuple(frame.name for frame in as_go_shows(names[::-1]))] += count
    return counts


# ---- what dump writes ----

def state_words(raw):
    """The words that Go would print in brackets."""
    return raw["reason"] if raw["state"] == "waiting" and raw["reason"] else raw["state"]


@functools.lru_cache(None)
def known_frame(name, file, line, inlined):
    return Frame(name, file, line, inlined)


def from_json(raw):
    """A goroutine of the dump's JSON."""
    frames = [known_frame(f["name"], f["file"], f["line"], "inlined" in f) for f in raw["frames"]]
    created = raw.get("created_by")
    return Goroutine(raw["id"], state_words(raw), frames,
                     (created["name"], created["file"], created["line"]) if created else None,
                     created.get("parent") if created else None, raw.get("locked_to_thread", False), raw=raw)


class Dump:
    """A file of `stallscope dump -o x.json`, of a process with one Go runtime."""

    def __init__(self, path):
        self.raw = json.loads(pathlib.Path(path).read_text())
        self.goroutines = {}
        for raw in self.raw["goroutines"]:
            h.check(raw["id"] not in self.goroutines, f"the dump has goroutine {raw['id']} twice")
            self.goroutines[raw["id"]] = from_json(raw)


def dump(pid, *arguments, code=0, seconds=120, out=None):
    """Runs `stallscope dump -p PID`; returns (Dump or None, the finished process)."""
    out = out or h.scratch() / "dump.json"
    process = subprocess.run([h.STALLSCOPE, "dump", "-p", str(pid), *arguments, "-o", str(out)], stdin=subprocess.DEVNULL,
                             capture_output=True, text=True, timeout=seconds)
    h.check(process.returncode == code,
            f"dump {' '.join(arguments)}: exit {process.returncode}, expected {code}\n{process.stdout}{process.stderr}")
    return (Dump(out) if code == 0 else None), process


def need_command(name):
    """Skips the test where this build has no such command yet."""
    text = subprocess.run([h.STALLSCOPE, "--help"], capture_output=True, text=True)
    if not re.search(rf"^\s+(stallscope )?{name}\b", text.stdout + text.stderr, re.M):
        h.skip(f"this build has no '{name}'")


def need_event(name):
    """Skips the test where `record` knows no such event yet."""
    text = subprocess.run([h.STALLSCOPE, "record", "--help"], capture_output=True, text=True)
    if not re.search(rf"\b{name}\b", text.stdout + text.stderr):
        h.skip(f"this build has no event '{name}'")


def census_of(result):
    """How the census of a recording of one process was made."""
    if "censuses" not in result.raw:
        h.skip("this build's JSON has no 'censuses' yet")
    census, = result.raw["censuses"]
    return census


def need_option(command, option):
    text = subprocess.run([h.STALLSCOPE, command, "--help"], capture_output=True, text=True)
    if option not in text.stdout + text.stderr:
        h.skip(f"'{command}' has no {option} yet")


# ---- the comparison ----

def as_go_shows(frames):
    """Those of the frames (root first) that a debug=2 profile has: it leaves out functions of the runtime that are not
    exported."""
    def shown(at):
        name = frames[at].name
        if name == "runtime.gopanic":
            return at != len(frames) - 1
        if name in ("runtime.runFinalizers", "runtime.runCleanups"):  # so called, and shown, since Go 1.25
            return True
        if not name.startswith("runtime."):
            return "." in name
        word = name[len("runtime."):]
        return bool(word) and "A" <= word[0] <= "Z"
    return [frame for at, frame in enumerate(frames) if shown(at)]


def fits(wanted, got):
    """Whether frames `got` are `wanted`, of which Go may have left a part out."""
    if wanted[:1] == [PERHAPS_ELIDED]:
        inner = wanted[1:]
        return len(got) >= len(inner) and got[len(got) - len(inner):] == inner
    if ELIDED not in wanted:
        return wanted == got
    at = wanted.index(ELIDED)
    outer, inner = wanted[:at], wanted[at + 1:]
    return len(got) > len(outer) + len(inner) and got[:len(outer)] == outer and got[len(got) - len(inner):] == inner


def first_difference(wanted, got):
    for at in range(max(len(wanted), len(got))):
        mine = got[at] if at < len(got) else "nothing"
        theirs = wanted[at] if at < len(wanted) else "nothing"
        if mine != theirs:
            return f"frame {at} from the root is {mine}, Go says {theirs}"
    return "?"


def compare_one(wanted, got, all_frames):
    """Differences between a goroutine of Go's profile and ours, as text."""
    if got.state != wanted.state:
        yield f"[{got.state}], Go says [{wanted.state}]"
    frames = without_goexit(got.frames) if all_frames else as_go_shows(got.frames)
    if not fits(wanted.frames, frames):
        yield first_difference(wanted.frames, frames)
    if wanted.created_by and got.created_by != wanted.created_by:
        yield f"created by {got.created_by}, Go says {wanted.created_by}"
    if wanted.parent is not None and got.parent != wanted.parent:
        yield f"created in goroutine {got.parent}, Go says {wanted.parent}"
    if got.locked != wanted.locked:
        yield f"locked to thread: {got.locked}, Go says {wanted.locked}"
    if wanted.minutes and got.raw:
        least = got.raw["at_least_ns"]
        if least is not None and least > (wanted.minutes + 2) * 60e9:
            yield f"waits for at least {least} ns, Go says {wanted.minutes} minutes"


def compare(wanted, got, but=(), all_frames=False):
    """Differences of two {id: Goroutine}, as text. `but`: goroutines that are not compared (the one that prints the
    profile)."""
    problems = []
    for number in sorted((set(wanted) | set(got)) - set(but)):
        if number not in got:
            problems.append(f"goroutine {number} [{wanted[number].state}] is missing: {names_of(wanted[number])}")
        elif number not in wanted:
            problems.append(f"goroutine {number} [{got[number].state}] does not exist in Go's profile: {names_of(got[number])}")
        else:
            problems += [f"goroutine {number} ({'; '.join(names_of(wanted[number])[-3:])}): {text}"
                         for text in compare_one(wanted[number], got[number], all_frames)]
    return problems


def names_of(goroutine):
    return [frame.name for frame in goroutine.frames]


def counts_by_stack(goroutines):
    """Counter of stacks (names as Go shows them, root first)."""
    whole = collections.Counter(tuple(g.frames) for g in goroutines)
    shown = collections.Counter()
    for frames, count in whole.items():
        shown[tuple(f.name for f in as_go_shows(list(frames)))] += count
    return shown
