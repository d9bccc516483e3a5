#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Ten seconds of Debian's prometheus and nginx under load: enough waits and stacks, every nanosecond accounted for, the
Go program's frames named, and lines that flamegraph.pl reads."""
import contextlib
import http.client
import os
import pathlib
import re
import socket
import subprocess
import threading
import time

import folded_rule
import harness as h

SECONDS = 10
UNNAMED = re.compile(r"^\[(unknown|.*\+0x[0-9a-f]+)\]$")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port, path="/", seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return
        time.sleep(0.2)
    h.fail(f"nothing answers on port {port}{path}")


@contextlib.contextmanager
def forgetting(folder):
    """Throws the folder's files out of the page cache again and again, so that reading them waits for the disk."""
    stop = threading.Event()

    def loop():
        while not stop.wait(0.01):
            for path in folder.iterdir():
                with contextlib.suppress(OSError), open(path, "rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)


@contextlib.contextmanager
def load(port, paths):
    """Loops of requests until the block ends; a fresh connection for one in four."""
    stop = threading.Event()

    def loop(path):
        connection, n = None, 0
        while not stop.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):
                if connection is None or n % 4 == 0:
                    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                body = bytes(2_000_000) if path == "/upload" else None
                connection.request("POST" if body else "GET", path, body)
                connection.getresponse().read()
                n += 1
                stop.wait(0.002)
                continue
            connection = None
            stop.wait(0.05)

    threads = [threading.Thread(target=loop, args=(path,), daemon=True) for path in paths]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)


def record(pids):
    folder = h.scratch()
    recorder = h.record("-p", ",".join(map(str, pids)), "-e", "offcpu", "--idle", "-d", f"{SECONDS}s", "-o",
                        folder / "out.json", "-o", folder / "out.folded", "-o", folder / "out.html")
    print("  " + recorder.stderr_text.strip().replace("\n", "\n  "))
    return h.Result(folder / "out.json"), folder


def check_numbers(result, pids):
    waits = sum(s.count for s in result.samples)
    stacks = len({(s.labels["comm"], *s.names, s.reason) for s in result.samples})
    print(f"  {waits} waits, {stacks} distinct stacks")
    h.print_losses(result)
    h.check(waits >= 1000, f"{waits} waits")
    h.check(stacks >= 20, f"{stacks} distinct stacks")
    shown = sum(s.time for s in result.samples)
    hidden = sum(row["time_ns"] for row in result.raw["hidden"])
    dropped = sum(loss["time_ns"] or 0 for loss in result.dropped())
    ledger = sum(row["blocked_ns"] for row in result.raw["totals"])
    print(f"  shown {shown / 1e9:.3f} s, hidden {hidden / 1e9:.3f} s, dropped {dropped / 1e9:.3f} s")
    h.check(h.within(shown + hidden + dropped, ledger, 0.001, "shown + hidden + dropped against the ledger"),
            "time is unaccounted for")


def check_folded(folder):
    data = (folder / "out.folded").read_bytes()
    broken = folded_rule.check(data)
    print(f"  {data.count(10)} folded lines")
    h.check(data and not broken, f"folded lines: {broken[:5]}")


def prometheus():
    program = h.debian_program("prometheus", "usr/bin/prometheus")
    folder, port = h.scratch(), free_port()
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: itself\n  static_configs:\n"
        f"  - targets: ['127.0.0.1:{port}']\n")
    with open(folder / "log", "w") as log:
        server = subprocess.Popen([program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
                                   f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        wait_for(port, "/-/ready")
        with load(port, ["/metrics", "/api/v1/query?query=up", "/api/v1/query?query=rate(go_gc_duration_seconds_count[1m])",
                         "/api/v1/label/__name__/values"]):
            time.sleep(1)
            result, out = record([server.pid])
    finally:
        server.terminate()
        server.wait(30)
    check_numbers(result, [server.pid])
    check_folded(out)
    user = [frame for s in result.samples for frame in s.user if frame["kind"] != "marker"]
    unnamed = [frame["name"] for frame in user if frame.get("unnamed") or UNNAMED.match(frame["name"])]
    print(f"  {len(unnamed)} of {len(user)} user frames without a name: {sorted(set(unnamed))[:8]}")
    h.check(user and len(unnamed) <= 0.01 * len(user), "more than 1 % of the user frames have no name")


def nginx():
    program = h.debian_program("nginx", "usr/sbin/nginx")
    folder, port = h.scratch(), free_port()
    for name in ("www", "tmp"):
        (folder / name).mkdir()
    for number in range(20):
        (folder / f"www/{number}.bin").write_bytes(bytes(100_000 * (number + 1)))
    os.sync()  # what is not on disk yet cannot be thrown out of the page cache
    # Several kinds of waits: a proxy hop to itself, bodies kept in files, direct reads by a thread pool, a cache on disk.
    (folder / "nginx.conf").write_text(f"""
daemon off; user root; worker_processes 2; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 512; accept_mutex on; }}
http {{
  access_log {folder}/access.log; sendfile on; keepalive_requests 10; client_max_body_size 100m;
  client_body_temp_path {folder}/tmp; proxy_temp_path {folder}/tmp/p; fastcgi_temp_path {folder}/tmp/f;
  uwsgi_temp_path {folder}/tmp/u; scgi_temp_path {folder}/tmp/s;
  proxy_cache_path {folder}/cache keys_zone=c:1m max_size=4m;
  server {{ listen 127.0.0.1:{port}; root {folder}/www;
    location /proxy/ {{ proxy_pass http://127.0.0.1:{port}/; proxy_buffering on; }}
    location /cached/ {{ proxy_pass http://127.0.0.1:{port}/; proxy_cache c; proxy_cache_valid 200 1s; }}
    location /direct/ {{ alias {folder}/www/; aio threads; directio 64k; }}
    location /read/ {{ alias {folder}/www/; sendfile off; }}
    location /upload {{ client_body_in_file_only clean; client_body_buffer_size 16k; proxy_pass http://127.0.0.1:{port}/0.bin;
                        proxy_method GET; proxy_pass_request_body off; proxy_set_header Content-Length ""; }}
  }}
}}
""")
    folder.chmod(0o755)
    server = subprocess.Popen([program, "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")])
    try:
        wait_for(port, "/0.bin")
        workers = pathlib.Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        pids = [server.pid, *map(int, workers)]
        paths = [f"/{prefix}{n}.bin" for prefix in ("", "proxy/", "cached/", "direct/", "read/") for n in (0, 7, 19)] + ["/upload"] * 2
        with load(port, paths), forgetting(folder / "www"):
            time.sleep(1)
            result, out = record(pids)
    finally:
        server.terminate()
        server.wait(30)
    check_numbers(result, pids)
    check_folded(out)


if __name__ == "__main__":
    h.main(prometheus, nginx)
