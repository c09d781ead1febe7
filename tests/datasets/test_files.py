"""Downloads from a local server that fails as it is told."""

import functools
import hashlib
import io
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pooch
import pytest

from sktreevae.datasets import _files, fetch_mnist
from sktreevae.datasets._progress import Progress
from sktreevae.exceptions import InvalidParameterError

from .cases import folder, write_mnist

IMAGES = "train-images-idx3-ubyte.gz"
LABELS = "train-labels-idx1-ubyte.gz"


class Server(ThreadingHTTPServer):
    n_requests = 0
    failures = ()


class Handler(SimpleHTTPRequestHandler):
    def do_GET(self):
        self.server.n_requests += 1
        failure, *self.server.failures = self.server.failures or [None]
        if failure == "error":
            self.send_error(503)
        elif failure == "cut":
            # All bytes are promised, and half of them are sent.
            content = Path(self.translate_path(self.path)).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
        else:
            super().do_GET()

    def log_message(self, *args):
        pass


@pytest.fixture
def remote(tmp_path):
    """Return the folder that is served."""
    return folder(tmp_path / "remote", "mnist")


@pytest.fixture
def published(tmp_path, rng, remote, monkeypatch):
    """Return a server of small files, and their arrays."""
    parts = write_mnist(tmp_path / "remote", rng)
    handler = functools.partial(Handler, directory=remote)
    with Server(("127.0.0.1", 0), handler) as server:
        url = f"http://127.0.0.1:{server.server_port}/"
        registry = {}
        for path in remote.iterdir():
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            registry[f"mnist/{path.name}"] = sha256, url + path.name
        monkeypatch.setattr(_files, "read_registry", lambda: registry)
        threading.Thread(target=server.serve_forever, args=[0.01]).start()
        yield server, parts
        server.shutdown()


def fetch(tmp_path, **settings):
    return fetch_mnist(data_home=tmp_path / "home", delay=0.0, **settings)


def stored(tmp_path):
    return {path.name for path in (tmp_path / "home/sktreevae/mnist").iterdir()}


def test_every_file_has_a_checksum_and_an_address():
    for sha256, url in _files.read_registry().values():
        assert len(bytes.fromhex(sha256)) == 32
        assert url.startswith(("https://", "http://fashion-mnist.s3"))


def test_missing_files_are_downloaded_once(published, tmp_path):
    server, parts = published
    for _ in range(2):
        bunch = fetch(tmp_path)
        assert np.array_equal(bunch.images, (parts["train"][0] / 255).astype("f4"))
    assert server.n_requests == 2
    assert stored(tmp_path) == {IMAGES, LABELS}


def test_nothing_is_downloaded_against_the_users_will(published, tmp_path):
    server, _ = published
    with pytest.raises(OSError, match="does not exist, and download_if_missing is Fa"):
        fetch(tmp_path, download_if_missing=False)
    assert server.n_requests == 0
    assert not (tmp_path / "home/sktreevae").exists()


def test_only_downloads_need_pooch(published, tmp_path, rng, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r"pip install 'sktreevae\[datasets\]'"):
        fetch(tmp_path)
    local = write_mnist(tmp_path / "home", rng)
    assert np.array_equal(fetch(tmp_path).target, local["train"][1])


@pytest.mark.parametrize("failure", ["error", "cut"])
def test_failed_downloads_are_tried_again(published, tmp_path, failure):
    server, _ = published
    server.failures = [failure] * 2
    with pytest.warns(UserWarning, match=r"Could not download .*Trying again"):
        bunch = fetch(tmp_path, n_retries=2)
    assert len(bunch.data) == 12
    assert server.n_requests == 4
    assert stored(tmp_path) == {IMAGES, LABELS}


@pytest.mark.parametrize(
    ("failure", "reason"), [("error", "503"), ("cut", "IncompleteRead")]
)
def test_the_last_failure_is_reported(published, tmp_path, failure, reason):
    server, _ = published
    server.failures = [failure]
    with pytest.raises(OSError, match=f"{reason}.*put it there by hand") as error:
        fetch(tmp_path, n_retries=0)
    assert f"http://127.0.0.1:{server.server_port}/{IMAGES}" in str(error.value)
    assert str(tmp_path / "home/sktreevae/mnist" / IMAGES) in str(error.value)
    assert server.n_requests == 1
    assert stored(tmp_path) == set()


def test_downloads_with_another_checksum_are_not_kept(published, tmp_path, remote):
    server, _ = published
    content = bytearray((remote / IMAGES).read_bytes())
    content[-1] ^= 1
    (remote / IMAGES).write_bytes(content)
    with pytest.raises(OSError, match="SHA256 hash .* does not match the known hash"):
        fetch(tmp_path)
    assert server.n_requests == 1
    assert stored(tmp_path) == set()


def test_an_interrupted_download_leaves_no_file(published, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "update", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(tmp_path)
    assert stored(tmp_path) == set()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_retries": -1}, r"n_retries must be an int in the range \[0, inf\)"),
        ({"delay": float("nan")}, "delay must be a float .* got nan"),
        ({"delay": -0.5}, "delay must be a float .* got -0.5"),
        ({"subset": "valid"}, "subset must be one of .*'all', got 'valid'"),
    ],
)
def test_bad_parameters_are_refused(settings, message):
    with pytest.raises(InvalidParameterError, match=message):
        fetch_mnist(**settings)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_one_line_in_a_terminal(published, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    fetch(tmp_path)
    lines = sys.stderr.getvalue().splitlines()
    last = [line for line in lines if "100% of" in line]
    assert [line.split()[0] for line in last] == [IMAGES, LABELS]
    assert sys.stderr.getvalue().count("\n") == 2


def test_nothing_is_printed_elsewhere(published, tmp_path, monkeypatch, capsys):
    (handler,) = pooch.get_logger().handlers
    monkeypatch.setattr(handler, "stream", sys.stderr)
    fetch(tmp_path)
    assert capsys.readouterr().err == ""
