# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks share: where things are, tracers that run beside a load, paired runs, tables.

Only ratios of runs in alternation are compared (bare, tracer, bare, tracer ...): a run with a tracer is held against the
mean of the bare runs right before and after it, and a figure is the median of such pairs, with the smallest and largest.
"""
import atexit
import contextlib
import glob
import json
import os
import pathlib
import re
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
REPO = HERE.parent
BUILD = pathlib.Path(os.environ.get("STALLSCOPE_BUILD", REPO / "build/release"))
STALLSCOPE = os.environ.get("STALLSCOPE", str(BUILD / "stallscope"))
BURST = str(BUILD / "bench/switch_burst")
TESTPROGS = BUILD / "tests/testprogs/bin"
SKIPPED = 77
SYSTEM_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/local/sbin"


def skip(reason):
    print(f"SKIP: {reason}", flush=True)
    sys.exit(SKIPPED)


def need_root():
    if os.geteuid() != 0:
        skip("benchmarks load kernel programs: run as root")


def need_built(*paths):
    for path in paths:
        if not os.access(path, os.X_OK):
            sys.exit(f"{path} is not built: cmake --preset release && cmake --build --preset release")


def find(tool):
    """Path of a program, or None; absence is said, loudly, by the caller."""
    return shutil.which(tool, path=SYSTEM_PATH)


_folders = []


def scratch():
    """A folder on disk, removed at exit."""
    _folders.append(tempfile.mkdtemp(prefix="stallscope-bench-", dir=BUILD))
    return pathlib.Path(_folders[-1])


_processes = []


@atexit.register
def _clean_up():
    for process in _processes:
        with contextlib.suppress(OSError):
            if process.poll() is None:
                process.kill()
                process.wait()
    for folder in _folders:
        shutil.rmtree(folder, ignore_errors=True)


def favoured(cpu=None):
    """For preexec_fn: before its neighbours, and on one CPU if asked."""
    def apply():
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, -20)
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})
    return apply


def start(command, cpu=None, favour=True, **options):
    process = subprocess.Popen([str(word) for word in command], preexec_fn=favoured(cpu) if favour else None, **options)
    _processes.append(process)
    return process


def stop(process):
    if process.poll() is None:
        process.kill()
    process.wait()


# ---- figures ----

def spread(values):
    """(smallest, median, largest)"""
    values = sorted(values)
    return (values[0], statistics.median(values), values[-1]) if values else (float("nan"),) * 3


def show(values, form="{:.2f}"):
    return " / ".join(form.format(value) for value in spread(values))


def table(head, rows):
    """A Markdown table."""
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    def line(cells):
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths)) + " |"
    print("\n".join([line(head), line(["-" * width for width in widths]), *map(line, rows)]), flush=True)


def machine():
    """One paragraph on where this runs, and how busy it is."""
    cpuinfo = pathlib.Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.*)$", cpuinfo, re.M)
    memory = re.search(r"MemTotal:\s*(\d+)", pathlib.Path("/proc/meminfo").read_text())
    release = pathlib.Path("/etc/os-release").read_text() if os.path.exists("/etc/os-release") else ""
    system = re.search(r'^PRETTY_NAME="?([^"\n]*)', release, re.M)
    version = subprocess.run([STALLSCOPE, "--version"], capture_output=True, text=True).stdout.splitlines() or ["?"]
    return (f"{model[1] if model else '?'}, {os.cpu_count()} CPUs, {int(memory[1]) / 2**20:.0f} GiB; "
            f"{system[1] if system else '?'}, Linux {os.uname().release}; {version[0]}; "
            f"load {os.getloadavg()[0]:.1f}; {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}")


# ---- processes as /proc sees them ----

def cpu_and_switches(pid):
    """(CPU ns, context switches) of all threads of a process."""
    cpu_ns = switches = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            cpu_ns += int(pathlib.Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
            status = pathlib.Path(f"/proc/{pid}/task/{task}/status").read_text()
            switches += sum(int(count) for count in re.findall(r"ctxt_switches:\s+(\d+)", status))
    return cpu_ns, switches


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_rss_mb(pid):
    match = re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())
    return int(match[1]) / 1024 if match else float("nan")


def fdinfo(pid):
    for path in glob.glob(f"/proc/{pid}/fdinfo/*"):
        with contextlib.suppress(OSError):
            yield pathlib.Path(path).read_text()


def map_mb(pid):
    """Memory of the BPF maps that a process holds open, each once, as the kernel accounts it."""
    sizes = {}
    for text in fdinfo(pid):
        identity, size = re.search(r"^map_id:\s*(\d+)", text, re.M), re.search(r"^memlock:\s*(\d+)", text, re.M)
        if identity and size:
            sizes[identity[1]] = int(size[1])
    return sum(sizes.values()) / 1e6


def links(pid):
    return sum(bool(re.search(r"^link_id:", text, re.M)) for text in fdinfo(pid))


# ---- tracers ----

class Tracer:
    """A command that observes while it runs. `ready` is a line it prints once it does, or the number of BPF links that it
    holds by then; the seconds to there are `start_seconds`."""

    def __init__(self, command, ready, settle=0.3):
        began = time.monotonic()
        self.popen = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        _processes.append(self.popen)
        self.pid = self.popen.pid
        self.output = b""
        while not self._is_ready(ready):
            if self.popen.poll() is not None or time.monotonic() - began > 60:
                stop(self.popen)
                raise RuntimeError(f"{' '.join(map(str, command))} never began: {self._all()[-400:]}")
        self.start_seconds = time.monotonic() - began
        time.sleep(settle)

    def _is_ready(self, ready):
        if isinstance(ready, int):
            time.sleep(0.005)
            return links(self.pid) >= ready
        if select.select([self.popen.stdout], [], [], 0.05)[0]:
            self.output += os.read(self.popen.stdout.fileno(), 65536)
        return re.search(ready, self.output) is not None

    def _all(self):
        return (self.output + (self.popen.stdout.read() or b"")).decode(errors="replace")

    def interrupt(self, seconds=60):
        """Ends it by SIGINT. Returns (seconds, CPU seconds) that its report took, None when it took longer."""
        began, cpu = time.monotonic(), cpu_seconds(self.pid)
        self.popen.send_signal(signal.SIGINT)
        while self.popen.poll() is None:
            if select.select([self.popen.stdout], [], [], 0.01)[0]:
                self.output += os.read(self.popen.stdout.fileno(), 1 << 20)
            with contextlib.suppress(OSError, IndexError):
                cpu_now = cpu_seconds(self.pid)
            if time.monotonic() - began > seconds:
                stop(self.popen)
                return None
        return time.monotonic() - began, cpu_now - cpu


def stallscope(pid, folder):
    return "stallscope", [STALLSCOPE, "record", "-p", pid, "-e", "offcpu", "-d", "0", "-o", folder / "bench.folded"], rb"(?m)^recording"


def with_debugfs(*command):
    """bpftrace looks for tracepoints in debugfs, which not every machine has mounted: in a mount namespace of its own it
    has."""
    mount = "mount -t debugfs none /sys/kernel/debug; mount -t tracefs none /sys/kernel/debug/tracing 2>/dev/null;"
    return ["unshare", "--mount", "sh", "-c", f'{mount} exec "$@"', "sh", *command]


def peers(pid):
    """Other tools that do the same job, as (name, command, ready); those that are missing are named on stdout."""
    found = []
    if offcputime := find("offcputime"):
        found.append(("offcputime -p (libbpf-tools)", [offcputime, "-p", pid], 1))
    else:
        print("ABSENT: offcputime: not compared (apt-get install libbpf-tools)", flush=True)
    if bpftrace := find("bpftrace"):
        found.append(("bpftrace, our script", with_debugfs(bpftrace, HERE / "offcpu_switch.bt", pid), rb"(?m)^ready"))
    else:
        print("ABSENT: bpftrace: not compared (apt-get install bpftrace)", flush=True)
    return found


def paired(variants, window, repetitions, on_error=print):
    """`variants`: (name, command, ready); `window()` gives a dict of figures. Returns {name: [(bare, with), ...]}, where
    bare is the mean of the windows before and after."""
    pairs = {name: [] for name, _, _ in variants}
    before = window()
    for _ in range(repetitions):
        for name, command, ready in variants:
            try:
                tracer = Tracer(command, ready) if command else None
            except RuntimeError as error:
                on_error(f"FAILED: {error}")
                continue
            during = window()
            if tracer:
                stop(tracer.popen)
                time.sleep(0.2)
            after = window()
            bare = {key: (before[key] + after[key]) / 2 for key in before}
            pairs[name].append((bare, during))
            before = after
    return pairs


def ratios(pairs, key):
    return [during[key] / bare[key] for bare, during in pairs]


def save(name, figures):
    """Keeps figures where STALLSCOPE_BENCH_OUT says, as JSON."""
    if folder := os.environ.get("STALLSCOPE_BENCH_OUT"):
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
        (pathlib.Path(folder) / f"{name}.json").write_text(json.dumps(figures, indent=1))
