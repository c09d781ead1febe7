"""Headless Chromium, driven by its DevTools protocol over a pair of pipes."""

import json
import os
import select
import shutil
import subprocess
import tempfile
import time

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)

TIMEOUT = 30.0
"""Maximum number of seconds that an answer takes."""

KEY_CODES = {
    "End": 35,
    "Home": 36,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
    "Enter": 13,
    "Escape": 27,
    "Tab": 9,
    " ": 32,
}


def find_chromium():
    """Return the path of Chromium, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Chromium:
    """One page in a browser of its own; all its events are in `events`."""

    def __init__(self, width=1400, height=900):
        self._profile = tempfile.mkdtemp()
        to_browser, self._input = os.pipe()
        self._output, from_browser = os.pipe()
        # The browser reads from descriptor 3 and writes to descriptor 4.
        command = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
        self._process = subprocess.Popen(
            ["bash", "-c", command, "bash", find_chromium(), *FLAGS]
            + [f"--user-data-dir={self._profile}", "about:blank"],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._buffer, self._n_sent, self.events, self._session = b"", 0, [], None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = session["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def close(self):
        try:
            self._session = None
            self.send("Browser.close")
            self._process.wait(TIMEOUT)
        finally:
            self._process.kill()
            self._process.wait()
            os.close(self._input)
            os.close(self._output)
            shutil.rmtree(self._profile, ignore_errors=True)

    def send(self, method, **params):
        """Call a method of the protocol, and return its result."""
        self._n_sent += 1
        message = {"id": self._n_sent, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._input, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._n_sent:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def _receive(self):
        deadline = time.monotonic() + TIMEOUT
        while b"\0" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._output], [], [], left)[0]:
                raise TimeoutError("Chromium doesn't answer.")
            data = os.read(self._output, 1 << 16)
            if not data:
                raise RuntimeError("Chromium has ended.")
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def open(self, path):
        """Open a file, and wait until it is loaded. Events before are forgotten."""
        self.events.clear()
        self.send("Page.navigate", url=path.resolve().as_uri())
        while "Page.loadEventFired" not in self.methods():
            self.events.append(self._receive())

    def methods(self):
        return [event.get("method") for event in self.events]

    def evaluate(self, expression):
        """Return the value of a JavaScript expression."""
        answer = self.send(
            "Runtime.evaluate",
            expression=expression,
            returnByValue=True,
            awaitPromise=True,
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def center(self, selector):
        """Return the coordinates of the center of an element."""
        return self.evaluate(
            f"(() => {{const e = document.querySelector({json.dumps(selector)});"
            "const box = e.getBoundingClientRect();"
            "return [box.x + box.width / 2, box.y + box.height / 2];})()"
        )

    def mouse(self, kind, selector):
        x, y = self.center(selector)
        clicks = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **clicks)

    def click(self, selector):
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.mouse(kind, selector)

    def press(self, *keys):
        for key in keys:
            code = {"key": key, "windowsVirtualKeyCode": KEY_CODES[key]}
            self.send("Input.dispatchKeyEvent", type="keyDown", **code)
            self.send("Input.dispatchKeyEvent", type="keyUp", **code)
