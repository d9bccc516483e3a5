#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Go servers as Debian ships them, stripped, against their own debug port: `dump` and `record -e goroutine` have the
goroutines that the port's profile has, by stack; they may differ by no more than two reads of the port differ from each
other. And a program with 100,000 goroutines: all of them, in at most a third of the time of its own debug=2 profile."""
import collections
import contextlib
import http.client
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import time

import goroutines as g
import harness as h

READS = 6
SECONDS = 8


# ---- servers ----

def debian_program(package, program):
    """An installed program, or that of Debian's package, unpacked (not installed) in a cache."""
    found = shutil.which(program)
    if found:
        return found
    cache = pathlib.Path(os.environ.get("STALLSCOPE_CACHE", "/var/cache/stallscope")) / "services" / package
    path = cache / "usr/bin" / program
    if not path.exists():
        folder = h.scratch()
        fetched = subprocess.run(["apt-get", "-qq", "download", package], cwd=folder, capture_output=True, text=True)
        packages = list(folder.glob("*.deb"))
        if fetched.returncode != 0 or len(packages) != 1:
            h.skip(f"{program} is not installed, and apt cannot fetch {package}")
        cache.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["dpkg-deb", "-x", packages[0], cache], check=True)
    return str(path)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"Connection": "close"})
        response = connection.getresponse()
        return response.status, response.read().decode()


@contextlib.contextmanager
def server(port, *command):
    folder = h.scratch()
    with open(folder / "log", "w") as log:
        process = subprocess.Popen([str(word) for word in command], stdout=log, stderr=log, cwd=folder)
    try:
        end = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if get(port, "/debug/pprof/goroutine?debug=1")[0] == 200:
                    break
            h.check(time.monotonic() < end and process.poll() is None, f"{command[0]}: no answer\n{(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.2)
        time.sleep(3)  # what it does when it starts
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


def prometheus():
    folder, port = h.scratch(), free_port()
    (folder / "prometheus.yml").write_text("global: {scrape_interval: 1h}\n")
    return port, (debian_program("prometheus", "prometheus"), f"--config.file={folder}/prometheus.yml",
                  f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}")


def etcd():
    folder, port, peer = h.scratch(), free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    return port, (debian_program("etcd-server", "etcd"), "--enable-pprof", "--data-dir", folder / "data",
                  "--listen-client-urls", url, "--advertise-client-urls", url,
                  "--listen-peer-urls", f"http://127.0.0.1:{peer}")


# ---- the comparison ----

def of_this_request(names):
    """Goroutines that are there because the profile is being read."""
    return any(name.startswith(("net/http/pprof.", "runtime/pprof.")) for name in names)


def read_port(port):
    status, text = get(port, "/debug/pprof/goroutine?debug=2")
    h.check(status == 200, f"the debug port answers {status}")
    counts = g.counts_by_stack(g.parse_debug2(text).values())
    for names in list(counts):
        if of_this_request(names):
            del counts[names]
        elif names[0].startswith("net/http.(*connReader)."):  # reads ahead on the request's connection
            counts[names] -= 1
    return +counts


def of_dump(pid):
    dump, _ = g.dump(pid, "--all", "--idle")
    return without_system(g.counts_by_stack(dump.goroutines.values()))


def without_system(counts):
    """Go's profile leaves the runtime's own goroutines out: no frame of theirs is one that it would show."""
    return collections.Counter({names: n for names, n in counts.items() if names})


def distance(a, b):
    return sum(abs(a[names] - b[names]) for names in set(a) | set(b))


def show_distance(a, b):
    return "\n  ".join(f"{a[n]} here, {b[n]} there: {';'.join(n)}" for n in sorted(set(a) | set(b)) if a[n] != b[n])


def check_dump(pid, port):
    reads, dumps = [read_port(port)], []
    for _ in range(READS):
        dumps.append(of_dump(pid))
        reads.append(read_port(port))
    churn = max(distance(a, b) for a, b in zip(reads, reads[1:]))
    off = [min(distance(dump, reads[i]), distance(dump, reads[i + 1])) for i, dump in enumerate(dumps)]
    print(f"  {sum(reads[0].values())} goroutines on {len(reads[0])} stacks; two reads of the port differ by up to {churn}, "
          f"dumps from the nearest read by {off}", flush=True)
    worst = max(range(READS), key=off.__getitem__)
    ok = off[worst] <= churn
    if not ok:
        print("  " + show_distance(dumps[worst], reads[worst]))
    return ok, reads, churn


def check_record(pid, reads, churn):
    """Time over duration is the mean count."""
    out = h.scratch() / "out.json"
    h.record("-p", pid, "-e", "goroutine", "--idle", "--budget", "30%", "-d", f"{SECONDS}s", "-o", out)
    result = h.Result(out, "goroutine")
    mean = collections.Counter()
    for sample in result.samples:
        frames = [g.Frame(f["name"], "", 0) for f in sample.frames if f["kind"] != "marker"]
        mean[tuple(f.name for f in g.as_go_shows(frames))] += sample.time / result.raw["duration_ns"]
    mean = without_system(mean)
    stable = {names: n for names, n in reads[0].items() if all(read[names] == n for read in reads)}
    wrong = [f"{mean[names]:.3f} of {n}: {';'.join(names)}" for names, n in stable.items() if abs(mean[names] - n) > 0.02 * n]
    strangers = [f"{n:.3f}: {';'.join(names)}" for names, n in mean.items()
                 if n > 0.5 and not any(read[names] for read in reads)]
    print(f"  record: {sum(mean.values()):.2f} goroutines on average; {len(stable)} stacks with a count that stays,"
          f" {len(wrong)} of them off by more than 2 %, {len(strangers)} stacks that the port does not know", flush=True)
    for text in wrong[:10] + strangers[:10]:
        print(f"    {text}")
    return len(wrong) + len(strangers) <= churn


def check_server(start):
    port, command = start()
    with server(port, *command) as pid:
        def attempt():
            ok, reads, churn = check_dump(pid, port)
            h.check(sum(reads[0].values()) >= 10, "hardly any goroutines")
            return ok and check_record(pid, reads, churn)
        h.up_to_three_times(attempt)


def prometheus_as_its_port():
    g.need_command("dump")
    g.need_event("goroutine")
    check_server(prometheus)


def etcd_as_its_port():
    g.need_command("dump")
    g.need_event("goroutine")
    check_server(etcd)


def hundred_thousand():
    if os.environ.get("STALLSCOPE_SHORT") == "1":
        h.skip("it wants minutes and the machine for itself: tools/test --all-go")
    g.need_command("dump")
    for version, root in g.toolchains()[-1:]:
        folder = h.scratch()
        target = h.Program(h.build_go("many", version, root)).ready()

        def ask(command, seconds=120):
            started = time.monotonic()
            target.tell(command)
            h.check(target.line(seconds) == "done", command)
            return time.monotonic() - started
        ask("grow 100000")
        own, theirs = [], []
        for _ in range(3):
            theirs.append(ask(f"dump {folder}/debug2"))
            started = time.monotonic()
            subprocess.run([h.STALLSCOPE, "dump", "-p", str(target.pid), "--all", "--idle", "-o", folder / "dump.json"],
                           check=True, timeout=120)
            own.append(time.monotonic() - started)
        dump = g.Dump(folder / "dump.json")
        ask(f"counts {folder}/debug1")
        counts = g.parse_debug1((folder / "debug1").read_text())
        printed = (folder / "debug2").read_text().count("\ngoroutine ")
        h.check(record_of(target.pid, sum(counts.values())), "the estimate of the default budget is off")
        target.stop()
        got = g.counts_by_stack(dump.goroutines.values())
        problems = [f"{got[names]} of {n}: {names}" for names, n in counts.items() if n >= 10 and got[names] != n]
        print(f"  Go {version}: {len(dump.goroutines)} goroutines in {statistics.median(own):.2f} s; debug=2 has {printed}"
              f" in {statistics.median(theirs):.2f} s", flush=True)
        h.check(sum(counts.values()) > 100_000 and not problems, f"counts by stack differ: {problems[:5]}")
        h.check(statistics.median(own) <= statistics.median(theirs) / 3, "it takes more than a third of debug=2's time")


def record_of(pid, count):
    """Within the default budget: the time of all goroutines is their number times the clock, within 5 %."""
    out = h.scratch() / "out.json"
    h.record("-p", pid, "-e", "goroutine", "--idle", "-d", f"{SECONDS}s", "-o", out)
    result = h.Result(out, "goroutine")
    census = g.census_of(result)
    print(f"  the ticks took {census['cpu_ns'] / result.raw['duration_ns']:.2%} of a core, a snapshot each"
          f" {census['period_ns'] / 1e6:.0f} ms, {census['share']:.1%} of the goroutines in each", flush=True)
    h.check(census["cpu_ns"] < 0.02 * result.raw["duration_ns"], "the ticks took more than the budget of 1 %")
    return h.within(sum(s.time for s in result.samples), count * result.raw["duration_ns"], 0.05, f"{count} goroutines")


def two_reads_of_a_port():
    """The comparison without us: two reads of the port agree but for the churn, and another server's do not."""
    found = {}
    for start in (prometheus, etcd):
        port, command = start()
        with server(port, *command):
            reads = [read_port(port) for _ in range(4)]
            churn = [distance(a, b) for a, b in zip(reads, reads[1:])]
            print(f"  {start.__name__}: {sum(reads[0].values())} goroutines, {len(reads[0])} stacks, reads differ by {churn}")
            found[start.__name__] = (reads[0], max(churn))
    (a, churn_a), (b, churn_b) = found.values()
    h.check(distance(a, b) > 5 * (1 + max(churn_a, churn_b)), "two servers cannot be told apart")
    missing = a.copy()
    missing[max(a, key=a.get)] -= 1 + churn_a
    h.check(distance(a, missing) > churn_a, "a missing goroutine is not seen")


if __name__ == "__main__":
    h.main(two_reads_of_a_port, prometheus_as_its_port, etcd_as_its_port, hundred_thousand)
