#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What `stallscope net --json` says of single connections, against what the programs and the kernel say: who holds them,
questions and answers, who ended them, what is left in TIME_WAIT, and each failure once, there and in `record -e tcp`."""
import collections
import json
import re
import socket
import time

import harness as h
import net
import tcp

PORT = 7760
WAIT_MS, LONGEST_MS = 10, 60


def nothing_lost(taken):
    h.check(not taken.raw["losses"], f"{taken.raw['losses']}")


def peer_of_link(number, version):
    """An address of the client's and one of the server's for each way of ending."""
    return (f"10.99.77.{10 + number}", f"10.99.77.{20 + number}") if version == 4 else \
           (f"2001:db8:77::1{number}", f"2001:db8:77::2{number}")


# ---- who holds them ----

def passed_and_forked():
    """A connection that another process got by SCM_RIGHTS, and one on which a fork has sent: both are of the path that
    opened them, and the other process is said to hold them."""
    server = h.Program(h.testprog("connections")).ready()
    client = h.Program(h.testprog("connections")).ready()
    tcp.order(server, f"listen {PORT}")
    taken = net.Net("-p", str(client.pid), "-d", "0")
    for path in "abc":
        h.check(tcp.order(client, f"hold {path} 127.0.0.{ord(path) - 96} {PORT}")["error"] == 0, "no connection")
    passed, forked = tcp.order(client, "give a")["pid"], tcp.order(client, "fork b 5000")["pid"]
    time.sleep(0.2)
    taken.end()
    print(f"  passed to {passed}, sent by {forked}\n{taken.lines()}", flush=True)
    wanted = {"a": {f"connections ({passed})": 1},
              # The child that a was passed to has closed what it inherited of a, not the others.
              "b": {f"connections ({passed})": 1, f"connections ({forked})": 1},
              "c": {f"connections ({passed})": 1}}
    for path, holders in wanted.items():
        row = taken.row(role="opened", peer=f"127.0.0.{ord(path) - 96}:{PORT}")
        site = "path_a" if path == "a" else "path_b"
        h.check(row["process"] == f"connections ({client.pid})" and row["path"] == f"connect_blocking from {site}" and
                row["connects"] == row["open"] == 1, f"{row}")
        h.check(row["holders"] == holders, f"held by {row['holders']} instead of {holders}")
        h.check(row["bytes_sent"] == (5000 if path == "b" else 0), f"{row}")
    h.check(len(taken.peers) == 3, f"\n{taken.lines()}")
    nothing_lost(taken)
    client.stop()
    server.stop()


def pre_forked_children_accept():
    """The parent listens, its children accept and serve: each connection is of the child that accepted it and of its path;
    the listener is the parent's, and the children hold it."""
    server = h.Program(h.testprog("connections")).ready()
    children = tcp.order(server, f"prefork {PORT + 1} 2")["pids"]
    taken = net.Net("-p", ",".join(map(str, [server.pid, *children])), "-d", "0")

    def ask():
        asking = socket.create_connection(("127.0.0.1", PORT + 1))
        asking.sendall(b"x" * 10)
        h.check(asking.recv(100) == b"x" * 10, "no echo")
        return asking

    # While one is served, the other child must accept the next.
    first, second = ask(), ask()
    first.close()
    for _ in range(30):
        ask().close()
    time.sleep(0.3)
    taken.end()
    second.close()
    print(taken.lines(), flush=True)
    served = {child: taken.row(role="accepted", process=f"({child})") for child in children}
    for child, row in served.items():
        h.check(row["process"] == f"connections ({child})" and row["path"] == "accept_one" and not row["holders"] and
                row["turns"] == row["accept"]["count"] == row["connects"] == row["turns_connections"], f"{row}")
    h.check(sum(row["connects"] for row in served.values()) == 32, f"\n{taken.lines()}")
    h.check(sorted(row["open"] for row in served.values()) == [0, 1], f"\n{taken.lines()}")
    listener = taken.row(role="listener")
    h.check(listener["process"] == f"connections ({server.pid})" and listener["peer"] == f":{PORT + 1}" and
            listener["holders"] == {f"connections ({child})": 1 for child in children}, f"{listener}")
    h.check(len(taken.peers) == 3, f"\n{taken.lines()}")
    nothing_lost(taken)
    server.stop()


# ---- questions and answers ----

# Answers each 100 bytes with 10, so many ms later as their first byte says. Prints how long each took it: by connection.
ANSWERS = """
import json, socket, sys, threading, time
listener = socket.create_server(("127.0.0.1", 0), backlog=100)
print(listener.getsockname()[1], flush=True)
log = []

def serve(connection, took_ns):
    while question := connection.recv(100, socket.MSG_WAITALL):
        came = time.monotonic_ns()
        time.sleep(question[0] / 1000)
        connection.sendall(b"a" * 10)
        took_ns.append(time.monotonic_ns() - came)

def accept():
    while True:
        connection = listener.accept()[0]
        log.append([])
        threading.Thread(target=serve, args=(connection, log[-1]), daemon=True).start()

threading.Thread(target=accept, daemon=True).start()
sys.stdin.readline()
print(json.dumps(log), flush=True)
sys.stdin.readline()
"""

# Asks as each line says: a list of lists of milliseconds, one a connection, which stays open; a list in it are questions
# that are sent 2 ms after one another before an answer is read. Prints how long the first byte took, by connection.
ASKS = """
import json, socket, sys, time
port, held = int(sys.argv[1]), []
print("ready", flush=True)
for line in sys.stdin:
    log = []
    for questions in json.loads(line):
        held.append(socket.create_connection(("127.0.0.1", port)))
        took_ns = []
        for wait in questions:
            for one in wait if isinstance(wait, list) else [wait]:
                held[-1].sendall(bytes([one]) * 100)
                asked = time.monotonic_ns()
                if isinstance(wait, list):
                    time.sleep(0.002)
            for _ in wait if isinstance(wait, list) else [wait]:
                held[-1].recv(10, socket.MSG_WAITALL)
                took_ns.append(time.monotonic_ns() - asked)
        log.append(took_ns)
    print(json.dumps(log), flush=True)
"""


def first_bytes_and_turns():
    """Turns are the program's requests; the median and the longest first byte are those that it measured itself, on
    either side. A connection on which the next question goes out before the answer came is counted and not timed."""
    # One alone, longer than what a row holds; some short; and one with two questions at a time after all.
    alone = [WAIT_MS] * 20 + [LONGEST_MS]
    together = [WAIT_MS, [100, 100], WAIT_MS]
    connections = [alone, [WAIT_MS] * 3, [], together]
    timed = len(alone) + 3

    def attempt():
        server = h.Program("/usr/bin/python3", "-c", ANSWERS)
        port = int(server.line())
        client = h.Program("/usr/bin/python3", "-c", ASKS, port).ready()
        taken = net.Net("-p", f"{client.pid},{server.pid}", "-d", "0")
        asked = tcp.order(client, json.dumps(connections))
        time.sleep(0.2)
        taken.end()
        server.tell()
        answered = json.loads(server.line())
        close = True
        for role, log in (("opened", asked), ("accepted", answered)):
            row = taken.row(role=role)
            own = sorted(log[0] + log[1])
            h.check(len(own) == timed and len(log) == len(connections), f"{log}")
            h.check(row["connects"] == row["open"] == 4 and row["multiplexed"] == 1 and row["turns_connections"] == 3 and
                    row["turns"] == row["first_byte"]["count"] == timed, f"{row}")
            for name, theirs in (("p50", own[len(own) // 2]), ("max", own[-1])):
                ours = row["first_byte"][name]
                apart = abs(ours - theirs)
                # The longest may be the upper end of a bucket.
                may = max(1e6, theirs * taken.raw["quantile_error"] * (2 if name == "max" else 1))
                print(f"  {role} {name}: {ours / 1e6:.3f} ms, its own {theirs / 1e6:.3f} ms", flush=True)
                close = close and apart <= may
        nothing_lost(taken)
        client.stop()
        server.stop()
        return close

    h.up_to_three_times(attempt)


# ---- who ended them ----

# Of each way to end a connection so many, from an address and to one of its own.
ENDS = {"us": 4, "peer": 5, "reset by us": 2, "reset by peer": 3}
MIRRORED = {"us": "peer", "peer": "us", "reset by us": "reset by peer", "reset by peer": "reset by us"}

# A first byte says how it will end: u: the client closes first; p: the server does; U, P: with a reset.
ENDING_SERVER = """
import socket, struct, sys
RESET = struct.pack("ii", 1, 0)
listener = socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True, backlog=100)
print("ready", flush=True)
while True:
    connection = listener.accept()[0]
    how = connection.recv(1)
    if how == b"P":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    try:
        if how in b"uU":
            connection.recv(1)
    except ConnectionResetError:
        pass
    connection.close()
"""

ENDING_CLIENT = """
import json, socket, struct, sys
RESET = struct.pack("ii", 1, 0)
print("ready", flush=True)
for line in sys.stdin:
    source, host, port, how, count = json.loads(line)
    for _ in range(count):
        connection = socket.create_connection((host, port), source_address=(source, 0))
        connection.sendall(how.encode())
        if how == "U":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        try:
            if how in "pP":
                connection.recv(1)
        except ConnectionResetError:
            pass
        connection.close()
    print("{}", flush=True)
"""


def in_brackets(host):
    return f"[{host}]" if ":" in host else host


def time_waits_of_ss(link, name):
    """{(local, remote): sockets in TIME_WAIT}, by address."""
    found = collections.Counter()
    for line in link.inside(name, "ss", "-tnH", "state", "time-wait", check=True).splitlines():
        found[tuple(re.sub(r"^::ffff:", "", address.rsplit(":", 1)[0].strip("[]")) for address in line.split()[2:4])] += 1
    return found


def ends_and_time_wait():
    with tcp.Link() as link:
        for number in range(len(ENDS)):
            for version, bits in ((4, 24), (6, 64)):
                for name, device, address in zip((link.client, link.server), ("v0", "v1"), peer_of_link(number, version)):
                    tcp.run("ip", "-n", name, "address", "add", f"{address}/{bits}", "dev", device,
                            *(["nodad"] if version == 6 else []))
        server = link.start(link.server, "/usr/bin/python3", "-c", ENDING_SERVER, PORT)
        client = link.start(link.client, "/usr/bin/python3", "-c", ENDING_CLIENT)
        # Older ones are in nobody's row.
        tcp.order(client, json.dumps([tcp.CLIENT4, tcp.SERVER4, PORT, "u", 1]))
        taken = net.Net("-p", f"{client.pid},{server.pid}", "-d", "0")
        wanted = {}
        for version in (4, 6):
            for number, (how, count) in enumerate(ENDS.items()):
                source, host = peer_of_link(number, version)
                tcp.order(client, json.dumps([source, host, PORT, "upUP"[number], count]))
                wanted[source, host] = how, count
        time.sleep(0.3)
        theirs = {name: time_waits_of_ss(link, name) for name in (link.client, link.server)}
        taken.end()
        print(f"  ss of the client {dict(theirs[link.client])}\n  ss of the server {dict(theirs[link.server])}", flush=True)
        for (source, host), (how, count) in wanted.items():
            opened = taken.row(role="opened", peer=f"{in_brackets(host)}:{PORT}")
            accepted = taken.row(role="accepted", peer=in_brackets(source))
            waits = opened["time_wait"], accepted["time_wait"]
            print(f"  {how}, {source}: {opened['closed_by']}, {accepted['closed_by']}, in TIME_WAIT {waits}", flush=True)
            h.check(opened["connects"] == accepted["connects"] == opened["lifetime"]["count"] == count, f"{opened}")
            h.check(opened["closed_by"] == {how: count} and accepted["closed_by"] == {MIRRORED[how]: count},
                    f"{opened}\n{accepted}")
            h.check(waits == (theirs[link.client][source, host], theirs[link.server][host, source]), f"{waits}")
            h.check(waits == ((count, 0) if how == "us" else (0, count) if how == "peer" else (0, 0)), f"{waits}")
            resets = {"sent": count if how == "reset by us" else 0, "received": count if how == "reset by peer" else 0,
                      "after_idle": 0}
            h.check(opened["resets"] == resets and accepted["resets"] == {**resets, "sent": resets["received"],
                                                                         "received": resets["sent"]},
                    f"{opened['resets']} {accepted['resets']}")
        h.check(theirs[link.client][tcp.CLIENT4, tcp.SERVER4] == 1 and not taken.rows(peer=f"{tcp.SERVER4}:{PORT}"),
                f"\n{taken.lines()}")
        nothing_lost(taken)
        client.stop()
        server.stop()


def time_wait_after_the_end():
    """What is in TIME_WAIT outlives its process, which may have been the last in its network namespace to close one: in
    the recorder's own namespace, and in another where somebody else is left."""
    with tcp.Link() as link:
        for name in (None, link.client):
            inside = ("ip", "netns", "exec", name) if name else ()
            server, stays, *ends = (h.Program(*inside, "/usr/bin/python3", "-c", *words).ready() for words in (
                (ENDING_SERVER, PORT + 2), *[(ENDING_CLIENT,)] * 4))
            taken = net.Net("-p", ",".join(str(one.pid) for one in (stays, *ends)), "-d", "0")
            for one in (stays, *ends):
                tcp.order(one, json.dumps(["127.0.0.1", "127.0.0.1", PORT + 2, "u", 2]))
            for one in ends:
                one.stop()
            time.sleep(0.3)
            taken.end()
            waits = {row["process"]: row["time_wait"] for row in taken.peers}
            print(f"  {waits}", flush=True)
            h.check(waits == {f"python3 ({one.pid})": 2 for one in (stays, *ends)}, f"{waits}\n{taken.lines()}")
            nothing_lost(taken)
            stays.stop()
            server.stop()


# ---- failures ----

def each_failure_once():
    """However a program learns of it: from connect() or from the socket later. In `net` as in `record -e tcp`, at the same
    time."""
    with tcp.Link() as link:
        failing = tcp.failing_link(link)
        client = link.start(link.client, h.testprog("connections"))
        taken = net.Net("-p", str(client.pid), "-d", "0")
        with tcp.recording(client.pid) as box:
            for path, how in (("a", "block"), ("b", "poll")):
                for reason, count in (("refused", 3), ("timed out", 1)):
                    host, port, errno = failing[reason]
                    answer = tcp.order(client, f"connect {path} {how} {host} {port} {count} 20000")
                    h.check(answer["errors"] == {str(errno): count}, f"{how} {reason}: {answer}")
            # The same peer: given up, and one that has come to nothing yet.
            host, port, _ = failing["timed out"]
            h.check(tcp.order(client, f"connect b poll {host} {port} 2 50")["given_up"] == 2, "not given up")
            tcp.order(client, f"begin b {host} {port}")
            time.sleep(0.2)
            taken.end()
        print("\n".join(f"  {row['peer']} {row['path']} {row['connects']} {row['failures']}" for row in taken.peers), flush=True)
        # (connects, established, in flight, failures) by path and peer; paths are told by what tells them apart.
        wanted = {("connect_blocking", "refused"): (3, 0, 0, {"refused": 3}),
                  ("connect_blocking", "timed out"): (1, 0, 0, {"timed out": 1}),
                  ("connect_polling from answer_all", "refused"): (3, 0, 0, {"refused": 3}),
                  ("connect_polling from answer_all", "timed out"): (3, 0, 0, {"timed out": 1, "abandoned": 2}),
                  ("connect_polling from main", "timed out"): (1, 0, 1, {})}
        h.check(len(taken.peers) == len(wanted), f"\n{taken.lines()}")
        for (site, reason), sums in wanted.items():
            host, port, _ = failing[reason]
            row = taken.row(role="opened", path=site, peer=f"{host}:{port}")
            got = row["connects"], row["established"], row["in_flight"], row["failures"]
            h.check(got == sums, f"{site} {reason}: {got} instead of {sums}")
            h.check(not row["closed_by"] and row["superseded"] == row["lifetime"]["count"] == row["connect"]["count"] == 0,
                    f"{row}")
            for word in row["failures"]:
                recorded = box.result.count(f"connect {word}", client.pid, site.split()[0])
                in_all = sum(other["failures"].get(word, 0) for other in taken.rows(path=site))
                h.check(recorded == in_all, f"record has {recorded} of {word}, not {in_all}\n{box.result.lines()}")
        h.check(box.result.count() == sum(row["connects"] for row in taken.peers), f"\n{box.result.lines()}")
        nothing_lost(taken)
        tcp.no_loss(box.result)
        client.stop()


if __name__ == "__main__":
    h.main(passed_and_forked, pre_forked_children_accept, first_bytes_and_turns, ends_and_time_wait,
           time_wait_after_the_end, each_failure_once)
