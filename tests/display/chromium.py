"""Headless Chromium, driven by its DevTools protocol over a socket."""

import json
import shutil
import socket
import subprocess
import tempfile

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --disable-dev-shm-usage "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--no-first-run --hide-scrollbars --remote-debugging-pipe"
).split()

TIMEOUT = 30.0
"""Maximum number of seconds that an answer takes."""

KEY_CODES = {"Tab": 9, "Enter": 13, "Escape": 27, "End": 35, "Home": 36}
KEY_CODES |= {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}


def find_chromium():
    """Return the path of Chromium, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Chromium:
    """One page in a browser of its own; all its events are in `events`."""

    def __init__(self):
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(TIMEOUT)
        # The browser reads from descriptor 3 and writes to descriptor 4.
        command = f'exec "$@" 3<&{theirs.fileno()} 4>&{theirs.fileno()}'
        self._process = subprocess.Popen(
            ["bash", "-c", command, "bash", find_chromium(), *FLAGS]
            + [f"--user-data-dir={self._profile.name}", "about:blank"],
            pass_fds=[theirs.fileno()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        theirs.close()
        self._buffer, self._n_sent, self.events, self._session = b"", 0, [], {}
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": session["sessionId"]}
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")
        size = {"width": 1400, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **size)

    def close(self):
        self._process.kill()
        self._process.wait()
        self._socket.close()
        self._profile.cleanup()

    def send(self, method, **params):
        """Call a method of the protocol, and return its result."""
        self._n_sent += 1
        message = {"id": self._n_sent, "method": method, "params": params}
        self._socket.sendall(json.dumps(message | self._session).encode() + b"\0")
        while (answer := self._receive()).get("id") != self._n_sent:
            self.events.append(answer)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def _receive(self):
        while b"\0" not in self._buffer:
            data = self._socket.recv(1 << 16)
            assert data, "Chromium has ended."
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def open(self, path):
        """Open a file, and wait until it is loaded. Events before are forgotten."""
        self.events.clear()
        self.send("Page.navigate", url=path.resolve().as_uri())
        while "Page.loadEventFired" not in [e.get("method") for e in self.events]:
            self.events.append(self._receive())

    def evaluate(self, expression):
        """Return the value of a JavaScript expression."""
        options = {"returnByValue": True, "awaitPromise": True}
        answer = self.send("Runtime.evaluate", expression=expression, **options)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def mouse(self, kind, selector):
        """Move to the center of an element, or press or release the button there."""
        x, y = self.evaluate(
            f"(() => {{const e = document.querySelector({json.dumps(selector)});"
            "const box = e.getBoundingClientRect();"
            "return [box.x + box.width / 2, box.y + box.height / 2];})()"
        )
        clicks = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **clicks)

    def click(self, selector):
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.mouse(kind, selector)

    def press(self, *keys):
        for key in keys:
            code = {"key": key, "windowsVirtualKeyCode": KEY_CODES[key]}
            for kind in ("keyDown", "keyUp"):
                self.send("Input.dispatchKeyEvent", type=kind, **code)
