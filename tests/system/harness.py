# SPDX-License-Identifier: Apache-2.0
"""What the system tests share: start and stop programs, build Go programs, run `stallscope record`, read its output.

A test is a script: it exits 0 when the point holds, 1 with the reason, and 77 with a last line `SKIP: reason` when this
machine cannot show it. The environment says where things are: STALLSCOPE (the executable), STALLSCOPE_TESTPROGS (the
folder of the C test programs), STALLSCOPE_TEST_TMP (a folder on a real disk for what tests write).
"""
import atexit
import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
REPO = HERE.parents[1]
STALLSCOPE = os.environ.get("STALLSCOPE", str(REPO / "build/release/stallscope"))
TESTPROGS = pathlib.Path(os.environ.get("STALLSCOPE_TESTPROGS", REPO / "build/release/tests/testprogs/bin"))
TMP_ROOT = pathlib.Path(os.environ.get("STALLSCOPE_TEST_TMP", REPO / "build/release/tests/tmp"))
GO_SOURCES = HERE.parent / "testprogs" / "go"
# Frames of libc between its function for a system call and the call: from 2.41 on one that can be cancelled goes
# through functions of its own.
INSIDE_LIBC = r"\[libc\.so\.6\+0x[0-9a-f]+\]|\w*syscall_cancel\w*"


def skip(reason):
    print(f"SKIP: {reason}", flush=True)
    sys.exit(77)


def fail(reason):
    raise AssertionError(reason)


def check(condition, message):
    """Like assert, but never compiled away."""
    if not condition:
        fail(message)


def need_root():
    if os.geteuid() != 0:
        skip("needs root")


def need_tool(name):
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")
    if not path:
        skip(f"{name} is not installed")
    return path


def debian_program(package, path):
    """A program of one of Debian's packages: the installed one, else unpacked into a cache."""
    installed = shutil.which(pathlib.Path(path).name, path=f"/{pathlib.Path(path).parent}")
    if installed:
        return installed
    fetched = subprocess.run([str(REPO / "tools/fetch-package"), package], capture_output=True, text=True)
    program = pathlib.Path(fetched.stdout.strip() or "/nonexistent") / path
    if not program.exists():
        skip(fetched.stderr.strip() or f"{package} has no {path}")
    return str(program)


def testprog(name):
    return str(TESTPROGS / name)


_scratch = []


def scratch():
    """A folder of this test's own, on disk, removed at exit."""
    TMP_ROOT.mkdir(parents=True, exist_ok=True)
    path = pathlib.Path(tempfile.mkdtemp(prefix=pathlib.Path(sys.argv[0]).stem + "-", dir=TMP_ROOT))
    _scratch.append(path)
    return path


_programs = []


class Program:
    """A process of ours with pipes: lines in, lines out. It leads a session of its own, which is killed at exit, at the
    latest, so that no child of it is left behind."""

    def __init__(self, *command, env=None, cwd=None):
        self.popen = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      text=True, env=env, cwd=cwd, start_new_session=True)
        self.pid = self.popen.pid
        _programs.append(self)

    def line(self, seconds=30):
        """Next line of its output; fails when none comes in time."""
        box = []
        reader = threading.Thread(target=lambda: box.append(self.popen.stdout.readline()), daemon=True)
        reader.start()
        reader.join(seconds)
        check(box and box[0], f"{self.popen.args[0]} printed nothing within {seconds} s (exit {self.popen.poll()})")
        return box[0].rstrip("\n")

    def ready(self, seconds=30):
        line = self.line(seconds)
        check(line == "ready", f"{self.popen.args[0]} said {line!r} instead of 'ready'")
        return self

    def tell(self, line="go"):
        self.popen.stdin.write(line + "\n")
        self.popen.stdin.flush()

    def alive(self):
        return self.popen.poll() is None

    def stop(self):
        with contextlib.suppress(ProcessLookupError):  # it may have ended, and its children not
            os.killpg(self.pid, signal.SIGKILL)
        self.popen.wait()
        for stream in (self.popen.stdin, self.popen.stdout):
            with contextlib.suppress(OSError):
                stream.close()


@atexit.register
def _clean_up():
    for program in _programs:
        with contextlib.suppress(Exception):
            program.stop()
    for path in _scratch:
        shutil.rmtree(path, ignore_errors=True)


class Recorder:
    """One run of `stallscope record`, or of another `verb`. Its stderr is kept whole; `began` is set by the line that starts with
    `recording`."""

    def __init__(self, *arguments, wrap=(), env=None, cwd=None, executable=None, verb="record"):
        command = [*wrap, executable or STALLSCOPE, verb, *arguments]
        self.command = [str(word) for word in command]
        self.stderr_text = ""
        self.began = threading.Event()
        self.ended = threading.Event()
        self.popen = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, text=True, env=env, cwd=cwd)
        self.pid = self.popen.pid
        self.stdout_text = ""
        self._readers = [threading.Thread(target=self._read_stderr, daemon=True),
                         threading.Thread(target=self._read_stdout, daemon=True)]
        for reader in self._readers:
            reader.start()
        _programs.append(self)

    def _read_stderr(self):
        for line in self.popen.stderr:
            self.stderr_text += line
            if line.startswith("recording"):
                self.began_at = time.monotonic()
                self.began.set()
        self.ended.set()

    def _read_stdout(self):
        self.stdout_text = self.popen.stdout.read()

    def wait_began(self, seconds=60):
        end = time.monotonic() + seconds
        while not self.began.wait(0.02):
            if self.ended.is_set() or time.monotonic() > end:
                fail(f"recording never began: {' '.join(self.command)}\n{self.stderr_text}")
        return self

    def interrupt(self, number=signal.SIGINT):
        self.popen.send_signal(number)

    def wait(self, seconds=180):
        """Exit code, once it has ended and all its output is read."""
        try:
            code = self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            fail(f"still running after {seconds} s: {' '.join(self.command)}\n{self.stderr_text}")
        for reader in self._readers:
            reader.join(10)
        return code

    def expect(self, code=0, seconds=180):
        got = self.wait(seconds)
        check(got == code, f"exit {got}, expected {code}: {' '.join(self.command)}\n{self.stderr_text}")
        return self

    def stop(self):
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()


def record(*arguments, code=0, seconds=180, **keywords):
    """Runs to the end and checks the exit code."""
    return Recorder(*arguments, **keywords).expect(code, seconds)


class Sample:
    """One sample of the JSON: `frames` root first, each {name, file, line, kind, guessed}."""

    def __init__(self, raw, columns):
        self.raw = raw
        self.frames = raw["frames"]
        self.names = [frame["name"] for frame in self.frames]
        self.user = [frame for frame in self.frames if frame.get("kind") != "kernel"]
        self.user_names = [frame["name"] for frame in self.user]
        self.reason = raw["reason"].strip("[]")
        self.labels = raw["labels"]
        self.pid = int(self.labels["pid"]) if "pid" in self.labels else None
        self.values = dict(zip(columns, raw["values"]))
        self.time = self.values.get("time") or 0
        self.runq = self.values.get("runq") or 0
        self.count = self.values.get("count") or 0

    def __str__(self):
        return ";".join(self.names) + f";[{self.reason}] time={self.time} runq={self.runq} count={self.count}"


class Result:
    """A recording's JSON file."""

    def __init__(self, path, event="offcpu"):
        self.raw = json.loads(pathlib.Path(path).read_text())
        columns = [column["name"] for column in self.raw["events"][event]["columns"]]
        self.samples = [Sample(raw, columns) for raw in self.raw["events"][event]["samples"]]
        self.losses = self.raw["losses"]

    def total(self, pid, key):
        """The ledger's own total of one process (all its lives)."""
        rows = [row for row in self.raw["totals"] if "pid" in row and int(row["pid"]) == pid]
        check(rows, f"no totals for pid {pid}: {self.raw['totals']}")
        return sum(row[key] for row in rows)

    def through(self, function, pid=None):
        """Samples with a user frame of that name."""
        return [s for s in self.samples if function in s.user_names and (pid is None or s.pid == pid)]

    def dropped(self):
        return [loss for loss in self.losses if loss.get("dropped")]


FOLDED_LINE = re.compile(r"^(.+) (\d+)$")


def read_folded(path):
    """[(frames, value)]; every line must be a folded line."""
    rows = []
    for line in pathlib.Path(path).read_text().splitlines():
        match = FOLDED_LINE.match(line)
        check(match, f"not a folded line: {line!r}")
        rows.append((match[1].split(";"), int(match[2])))
    return rows


def within(got, wanted, share, what):
    """Prints and returns whether `got` lies within `share` of `wanted`."""
    off = (got - wanted) / wanted if wanted else (0.0 if got == 0 else float("inf"))
    ok = abs(off) <= share
    print(f"  {'ok ' if ok else 'OFF'} {what}: {got / 1e6:.3f} ms against {wanted / 1e6:.3f} ms ({off:+.3%})", flush=True)
    return ok


def up_to_three_times(attempt):
    """For comparisons of clocks on a shared machine: `attempt()` returns whether the bound held. The bound never
    changes and each try is printed."""
    for number in range(1, 4):
        print(f"try {number}", flush=True)
        if attempt():
            return
    fail("the bound did not hold in three tries")


def print_losses(result):
    for loss in result.losses:
        print(f"  loss: {loss}", flush=True)


# ---- Go ----

def go_roots():
    """[(version, GOROOT)] to test with: Debian's 1.19, the newest at hand, and with STALLSCOPE_ALL_GO=1 1.21 to 1.27."""
    found = {}
    candidates = ["/usr/lib/go-1.19", "/usr/local/go", "/usr/lib/go-1.27", "/usr/lib/go-1.26", "/usr/lib/go"]
    if shutil.which("go"):
        candidates.append(subprocess.run(["go", "env", "GOROOT"], capture_output=True, text=True).stdout.strip())
    for root in candidates:
        version = go_version(root)
        if version and version >= (1, 18):
            found.setdefault(version, root)
    newest = max(found) if found else None
    chosen = {version: root for version, root in found.items() if version in ((1, 19), newest)}
    if (1, 19) not in chosen:
        print("MISSING: Go 1.19 (Debian 12's golang-1.19-go): not tested", flush=True)
    if os.environ.get("STALLSCOPE_ALL_GO") == "1":
        for minor in range(21, 28):
            fetched = subprocess.run([str(REPO / "tools/fetch-go"), f"1.{minor}"], capture_output=True, text=True)
            root = fetched.stdout.strip().splitlines()[-1] if fetched.stdout.strip() else ""
            if fetched.returncode == 0 and go_version(root):
                chosen.setdefault((1, minor), root)
            elif (1, minor) not in chosen:
                print(f"MISSING: Go 1.{minor}: {fetched.stderr.strip() or 'not available'}: not tested", flush=True)
    if not chosen:
        skip("no Go tool chain")
    return [(f"1.{version[1]}", root) for version, root in sorted(chosen.items())]


def go_version(root):
    path = pathlib.Path(root or "/nonexistent") / "VERSION"
    match = re.match(r"go(\d+)\.(\d+)", path.read_text()) if path.exists() else None
    return (int(match[1]), int(match[2])) if match else None


def build_go(name, version, root, cgo=False, cflags="", flags=(), ldflags="-s -w", generated=None):
    """Builds testprogs/go/NAME, stripped; returns the program's path. Built once for the same sources and flags.
    `generated`: more source files of it, {file name: text}."""
    sources = sorted((GO_SOURCES / name).iterdir())
    generated = generated or {}
    text = b"".join(path.name.encode() + path.read_bytes() for path in sources) + repr(sorted(generated.items())).encode()
    toolchain = (pathlib.Path(root) / "VERSION").read_bytes()
    key = hashlib.sha256(repr((version, root, toolchain, cgo, cflags, flags, ldflags)).encode() + text).hexdigest()[:16]
    folder = TMP_ROOT / "go" / f"{name}-{version}-{key}"
    program = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w", encoding="ascii") as lock:  # another test may want it at the same time
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            build_go_in(folder, name, version, root, cgo, cflags, flags, ldflags, sources, generated)
    return str(program)


def build_go_in(folder, name, version, root, cgo, cflags, flags, ldflags, sources, generated):
    for path in sources:
        shutil.copy(path, folder)
    for file_name, source in generated.items():
        (folder / file_name).write_text(source)
    (folder / "go.mod").write_text(f"module {name}\n\ngo {version}\n")
    env = dict(os.environ, GOROOT=root, GOTOOLCHAIN="local", GOFLAGS="-mod=mod", GO111MODULE="on", GOWORK="off",
               CGO_ENABLED="1" if cgo else "0", CGO_CFLAGS=f"-O1 {cflags}", GOPATH=str(TMP_ROOT / "gopath"),
               GOCACHE=os.environ.get("GOCACHE", str(TMP_ROOT / "gocache")))
    subprocess.run([f"{root}/bin/go", "build", "-ldflags", ldflags, *flags, "-o", "built", "."], cwd=folder, env=env,
                   check=True)
    (folder / "built").rename(folder / name)


# ---- what the kernel holds ----

def attached_to(pid):
    """Ids of BPF programs and links that process holds open, from its descriptors."""
    programs, links = set(), set()
    for fdinfo in pathlib.Path(f"/proc/{pid}/fdinfo").glob("*"):
        with contextlib.suppress(OSError):
            text = fdinfo.read_text()
            if match := re.search(r"^link_id:\s*(\d+)", text, re.M):
                links.add(int(match[1]))
            elif match := re.search(r"^prog_id:\s*(\d+)", text, re.M):
                programs.add(int(match[1]))
    return programs, links


def bpf_ids(kind):
    """Ids of all programs ("prog") or links ("link") in the kernel."""
    listed = subprocess.run([need_tool("bpftool"), "-j", kind, "list"], capture_output=True, text=True)
    return {row["id"] for row in json.loads(listed.stdout or "[]") if "id" in row}


def main(*tests):
    """Runs the named test functions (or those given as arguments), prints each, exits 0, 1 or 77."""
    need_root()
    if not os.access(STALLSCOPE, os.X_OK):
        skip(f"{STALLSCOPE} is not built")
    chosen = [test for test in tests if not sys.argv[1:] or test.__name__ in sys.argv[1:]]
    failed, skipped = [], []
    for test in chosen:
        print(f"== {test.__name__}", flush=True)
        started = time.monotonic()
        try:
            test()
        except AssertionError as error:
            failed.append(test.__name__)
            print(f"FAILED {test.__name__}: {error}", flush=True)
        except Exception:  # a broken test is a failed one; the others go on
            failed.append(test.__name__)
            traceback.print_exc(file=sys.stdout)
            print(f"FAILED {test.__name__}", flush=True)
        except SystemExit as stop:
            if stop.code != 77:
                raise
            skipped.append(test.__name__)
        print(f"   {time.monotonic() - started:.1f} s", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}", flush=True)
        sys.exit(1)
    if skipped and len(skipped) == len(chosen):
        skip(f"all of {', '.join(skipped)}")
    sys.exit(0)
