"""A local server for downloads. Any other address is refused."""

import functools
import hashlib
import socket
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sktreevae.datasets import _files


@pytest.fixture(autouse=True)
def _no_downloads(monkeypatch):
    original = socket.getaddrinfo

    def only_local(host, *args, **kwargs):
        assert host == "127.0.0.1", host
        return original(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", only_local)


class Server:
    """Serves a folder, and fails as it is told."""

    def __init__(self, path):
        self.path = path
        self.n_requests = 0
        self.n_errors = 0
        self.n_cut = 0
        server = self

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self):
                server.n_requests += 1
                if server.n_errors:
                    server.n_errors -= 1
                    self.send_error(503)
                elif server.n_cut:
                    server.n_cut -= 1
                    # All bytes are promised, and half of them are sent.
                    content = (path / self.path.lstrip("/")).read_bytes()
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content[: len(content) // 2])
                else:
                    super().do_GET()

            def log_message(self, *args):
                pass

        handler = functools.partial(Handler, directory=str(path))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}
        )
        self._thread.start()

    def registry(self, dataset):
        """Return the checksums and addresses of the files of the folder."""
        return {
            f"{dataset}/{path.name}": (
                hashlib.sha256(path.read_bytes()).hexdigest(),
                self.url + path.name,
            )
            for path in self.path.iterdir()
        }

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def serve(monkeypatch):
    """Return a function that serves the files of a dataset."""
    servers = []

    def start(path, dataset):
        server = Server(path)
        servers.append(server)
        registry = server.registry(dataset)
        monkeypatch.setattr(_files, "read_registry", lambda: registry)
        return server

    yield start
    for server in servers:
        server.close()
