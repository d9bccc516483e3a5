#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Uses the HTML page as a reader does: clicks, keys, searches, in a headless chromium.

html_page.py PATH-OF-demo_page

The browser is driven through its debugging pipe (file descriptors 3 and 4: one JSON message, then a zero byte), so no
port is opened. Exit 0: all checks hold; 1: one does not; 77: no chromium here.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--disable-dev-shm-usage", "--window-size=1200,900", "--remote-debugging-pipe"]


class Browser:
    """One chromium with one page."""

    def __init__(self, program, directory):
        to_read, self.to_write = os.pipe()
        self.from_read, from_write = os.pipe()
        # The browser wants its ends at 3 and 4; dup2 through high numbers, so that neither overwrites the other.
        shell = f"exec 3<&{to_read} 4>&{from_write}; exec \"$@\""
        self.process = subprocess.Popen(
            ["bash", "-c", shell, "bash", program, *FLAGS, f"--user-data-dir={directory}", "about:blank"],
            pass_fds=(to_read, from_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_read)
        os.close(from_write)
        self.pending = b""
        self.number = 0
        self.events = []
        targets = self.call("Target.getTargets", session=None)["targetInfos"]
        target = next(each["targetId"] for each in targets if each["type"] == "page")
        self.session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True},
                                 session=None)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")

    session = None

    def read(self):
        while b"\0" not in self.pending:
            chunk = os.read(self.from_read, 1 << 16)
            if not chunk:
                raise RuntimeError("the browser went away")
            self.pending += chunk
        message, _, self.pending = self.pending.partition(b"\0")
        return json.loads(message)

    def call(self, method, params=None, session=""):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params or {}}
        if session is not None:
            message["sessionId"] = self.session
        os.write(self.to_write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.read()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def value(self, expression):
        result = self.call("Runtime.evaluate", {"expression": expression, "returnByValue": True})
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def text(self, name):
        return self.value(f"document.getElementById('{name}').textContent")

    def open(self, path, words=""):
        self.events.clear()
        self.call("Page.navigate", {"url": "about:blank"})
        self.call("Page.navigate", {"url": f"file://{path}{words}"})
        until = time.monotonic() + 30
        while self.value("document.readyState + location.protocol") != "completefile:":
            if time.monotonic() > until:
                raise RuntimeError(f"{path} did not load")
            time.sleep(0.05)

    def click(self, x, y):
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent",
                      {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1})

    def move(self, x, y):
        self.call("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": x, "y": y})

    def press(self, key, text=""):
        params = {"key": key, "text": text} if text else {"key": key}
        self.call("Input.dispatchKeyEvent", {"type": "keyDown", **params})
        self.call("Input.dispatchKeyEvent", {"type": "keyUp", "key": key})

    def complaints(self):
        """What the page logged, threw or asked the network for."""
        found = []
        for event in self.events:
            method, params = event.get("method"), event.get("params", {})
            if method == "Log.entryAdded":
                found.append(params["entry"]["text"])
            elif method == "Runtime.exceptionThrown":
                found.append(json.dumps(params["exceptionDetails"])[:300])
            elif method == "Network.requestWillBeSent":
                url = params["request"]["url"]
                if not url.startswith(("file:", "about:")) or url.endswith("favicon.ico"):
                    found.append("asked for " + url[:100])
        return found

    def close(self):
        self.process.kill()
        self.process.wait()


class Checks:
    def __init__(self):
        self.failed = 0

    def equal(self, what, got, expected):
        if got == expected:
            print(f"ok    {what}: {got!r}")
        else:
            self.failed += 1
            print(f"WRONG {what}: {got!r}, expected {expected!r}")

    def holds(self, what, got):
        self.equal(what, bool(got), True)


def canvas_box(browser):
    return json.loads(browser.value(
        "JSON.stringify(document.getElementById('canvas').getBoundingClientRect())"))


def check_service(browser, checks, path):
    browser.open(path)
    checks.equal("two tabs", browser.value("document.querySelectorAll('[role=tab]').length"), 2)
    checks.equal("total of the first tab", browser.text("tabs").split("offcpu")[0], "goroutine109 s")

    # Search: 31.2 + 11.8 + 7.7 s of 109 s wait for IO.
    browser.press("/", "/")
    checks.equal("slash goes to the search", browser.value("document.activeElement.id"), "search")
    browser.call("Input.insertText", {"text": "[io WAIT]"})
    checks.equal("matched share", browser.text("matched"), "matched 46.4 % \u00b7 50.7 s")
    browser.press("Escape")
    checks.equal("escape ends the search", browser.text("matched"), "")
    browser.open(path, "#search=" + "%2Fpq%5C..*recv%2F")
    checks.equal("regex from the address", browser.text("matched"), "matched 39.3 % \u00b7 43.0 s")
    browser.open(path, "#search=net%2Fhttp.")
    nested = browser.text("matched")
    browser.open(path, "#search=net%2Fhttp.(*conn).serve")
    only = browser.text("matched")
    checks.holds(f"boxes inside a match count once ({nested} >= {only})", "100.0 %" not in nested and nested >= only)

    # The pointer: the lowest row of a flame graph is the root.
    browser.open(path)
    box = canvas_box(browser)
    browser.move(box["x"] + 50, box["y"] + box["height"] - 10)
    checks.holds("tooltip of the root", "all" in browser.text("tooltip") and "109 s" in browser.text("tooltip"))
    browser.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] - 50)
    tip = browser.text("tooltip")
    checks.holds("tooltip: name, place, time, count and share", all(
        word in tip for word in ("net/http.(*conn).serve", "server.go:1995", "time waited", "count", "% of all")))
    browser.click(box["x"] + box["width"] * 0.5, box["y"] + box["height"] - 50)
    checks.equal("a click zooms", browser.value("document.getElementById('reset').disabled"), False)
    checks.holds("the zoom is in the address", "zoom=" in browser.value("location.hash"))
    browser.click(box["x"] + box["width"] * 0.5, canvas_box(browser)["bottom"] - 50)
    browser.press("Escape")
    checks.equal("escape resets the zoom", browser.value("document.getElementById('reset').disabled"), True)

    # Keys: root, process, widest caller.
    browser.value("document.getElementById('canvas').focus()")
    for key in ("Home", "ArrowUp", "ArrowUp"):
        browser.press(key)
    checks.holds("arrows select", browser.text("status").startswith("net/http.(*conn).serve"))
    browser.press("ArrowRight")
    checks.holds("right neighbour", browser.text("status").startswith("net/http.(*persistConn).dialConn"))
    browser.press("ArrowLeft")
    browser.press("ArrowLeft")
    checks.holds("left neighbours", browser.text("status").startswith("main.main"))
    browser.press("Enter", "\r")
    checks.holds("enter zooms", "zoom=" in browser.value("location.hash"))
    browser.press("ArrowDown")
    checks.holds("down goes to the caller", browser.text("status").startswith("orders"))
    browser.press("Escape")
    browser.press("i", "i")
    checks.equal("i turns to icicle", browser.value(
        "document.querySelector('[data-view=icicle]').getAttribute('aria-pressed')"), "true")
    box = canvas_box(browser)
    browser.move(box["x"] + 50, box["y"] + 10)
    checks.holds("the root is on top of an icicle", browser.text("tooltip").startswith("all"))

    # Tabs and columns.
    browser.value("document.querySelectorAll('[role=tab]')[1].click()")
    checks.equal("the other tab's table shows", browser.value(
        "[...document.querySelectorAll('.event')].map((e) => e.hidden).join()"), "true,false")
    browser.value("const c = document.getElementById('column'); c.value = '2'; c.dispatchEvent(new Event('change'))")
    checks.equal("width by count", browser.text("width-is"), "count")

    # Theme.
    browser.press("t", "t")
    first = browser.value("getComputedStyle(document.body).backgroundColor")
    browser.press("t", "t")
    checks.holds("the theme changes", browser.value("getComputedStyle(document.body).backgroundColor") != first)
    browser.value("document.querySelector('#event-1 .site button').click()")
    checks.holds("a site of the table is found", browser.text("matched").startswith("matched 0.4 %"))
    checks.equal("complaints", browser.complaints(), [])


def check_media_dark(browser, checks, path):
    browser.call("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]})
    browser.open(path)
    checks.equal("dark when the system is", browser.value("getComputedStyle(document.body).backgroundColor"),
                 "rgb(17, 22, 29)")
    browser.call("Emulation.setEmulatedMedia", {"features": []})


def check_without_script(browser, checks, path):
    browser.call("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.call("Page.navigate", {"url": f"file://{path}"})
    time.sleep(1)
    document = browser.call("DOM.getDocument", {"depth": 0})
    body = browser.call("DOM.getOuterHTML", {"nodeId": document["root"]["nodeId"]})["outerHTML"]
    checks.holds("without a script: the graph stays hidden", '<div id="graph" hidden' in body)
    checks.holds("without a script: the table is there", "stock.(*Cache).Reserve" in body.split('type="application/json"')[0])
    browser.call("Emulation.setScriptExecutionDisabled", {"value": False})


def check_hostile(browser, checks, path):
    browser.open(path, "#view=icicle")
    checks.equal("title", browser.value("document.title"), "<img src=x onerror=alert(1)> (pid 666) - stallscope")
    checks.equal("scripts", browser.value("document.scripts.length"), 2)
    checks.equal("images, italics", browser.value("document.querySelectorAll('img, #tables i, header i').length"), 0)
    browser.open(path, "#search=%3C/script%3E")
    checks.holds("a symbol </script> is a name like another", browser.text("matched").startswith("matched 63.6 %"))
    checks.equal("complaints", browser.complaints(), [])


def check_many(browser, checks, path):
    began = time.monotonic()
    browser.open(path)
    loaded = time.monotonic()
    browser.press("i", "i")
    browser.value("document.getElementById('matched').textContent")
    print(f"      100,000 stacks ({os.path.getsize(path) >> 20} MiB): loaded in {loaded - began:.2f} s, "
          f"turned in {time.monotonic() - loaded:.2f} s")
    checks.holds("all stacks are in the page", "450,031 samples" in browser.text("tables"))
    checks.equal("complaints", browser.complaints(), [])


def main():
    if len(sys.argv) != 2:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        print("SKIP: no chromium here (apt-get install chromium)")
        return 77
    checks = Checks()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        paths = {}
        for kind in ("service", "hostile", "many", "empty", "one"):
            paths[kind] = os.path.join(directory, kind + ".html")
            with open(paths[kind], "wb") as page:
                subprocess.run([sys.argv[1], kind], stdout=page, check=True)
        browser = Browser(chromium, os.path.join(directory, "profile"))
        try:
            check_service(browser, checks, paths["service"])
            check_media_dark(browser, checks, paths["service"])
            check_hostile(browser, checks, paths["hostile"])
            check_many(browser, checks, paths["many"])
            browser.open(paths["one"])
            checks.equal("one event has no tabs", browser.value("document.getElementById('tabs').hidden"), True)
            browser.open(paths["empty"])
            checks.holds("an empty event says so", "No samples." in browser.text("tables"))
            checks.equal("complaints", browser.complaints(), [])
            check_without_script(browser, checks, paths["service"])
        finally:
            browser.close()
    print(f"{checks.failed} wrong")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
