"""Downloads are from this machine. Any other address is refused."""

import socket

import pytest


@pytest.fixture(autouse=True)
def _no_downloads(monkeypatch):
    original = socket.getaddrinfo

    def only_local(host, *args, **kwargs):
        assert host == "127.0.0.1", host
        return original(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", only_local)
