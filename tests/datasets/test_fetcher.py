import io
import sys

import numpy as np
import pytest

from sktreevae.datasets import fetch_mnist
from sktreevae.datasets._fetcher import Fetcher, Progress
from sktreevae.datasets._sources import SOURCES
from sktreevae.exceptions import InvalidParameterError

from .cases import folder, write_mnist

IMAGES = "train-images-idx3-ubyte.gz"
LABELS = "train-labels-idx1-ubyte.gz"


@pytest.fixture
def published(tmp_path, rng, serve):
    """Return a server of small files, and their arrays."""
    parts = write_mnist(tmp_path / "remote", rng)
    return serve(folder(tmp_path / "remote", "mnist"), "mnist"), parts


def fetch(tmp_path, **settings):
    return fetch_mnist(data_home=tmp_path / "home", delay=0.0, **settings)


def stored(tmp_path):
    return {path.name for path in (tmp_path / "home/sktreevae/mnist").iterdir()}


def test_every_source_has_names_addresses_and_checksums():
    for name, source in SOURCES.items():
        assert source.name == name
        assert source.description.count("\n") > 5
        for file in source.files:
            assert file.url.startswith(("https://", "http://fashion-mnist.s3"))
            assert len(bytes.fromhex(file.sha256)) == 32
            assert file.size > 0
            assert source.file(file.name) is file


def test_missing_files_are_downloaded_once(published, tmp_path):
    server, parts = published
    for _ in range(2):
        bunch = fetch(tmp_path)
        assert np.array_equal(bunch.images, (parts["train"][0] / 255).astype("f4"))
    assert server.n_requests == 2
    assert stored(tmp_path) == {IMAGES, LABELS}


def test_present_files_are_not_downloaded(published, tmp_path, rng):
    server, _ = published
    local = write_mnist(tmp_path / "home", rng)
    bunch = fetch(tmp_path)
    assert np.array_equal(bunch.target, local["train"][1])
    assert server.n_requests == 0


def test_nothing_is_downloaded_against_the_users_will(published, tmp_path):
    server, _ = published
    with pytest.raises(OSError, match="does not exist, and download_if_missing is Fa"):
        fetch(tmp_path, download_if_missing=False)
    assert server.n_requests == 0
    assert not (tmp_path / "home/sktreevae").exists()


@pytest.mark.parametrize("failure", ["n_errors", "n_cut"])
def test_failed_downloads_are_tried_again(published, tmp_path, failure):
    server, _ = published
    setattr(server, failure, 2)
    with pytest.warns(UserWarning, match=r"Could not download .*Trying again"):
        bunch = fetch(tmp_path, n_retries=2)
    assert len(bunch.data) == 12
    assert server.n_requests == 4
    assert stored(tmp_path) == {IMAGES, LABELS}


@pytest.mark.parametrize(
    ("failure", "reason"),
    [("n_errors", "503"), ("n_cut", r"it ended after \d+ of \d+ bytes")],
)
def test_the_last_failure_is_reported(published, tmp_path, failure, reason):
    server, _ = published
    setattr(server, failure, 10)
    with pytest.raises(OSError, match=f"{reason}.*put the file there by hand") as error:
        fetch(tmp_path, n_retries=0)
    assert server.url + IMAGES in str(error.value)
    assert str(tmp_path / "home/sktreevae/mnist" / IMAGES) in str(error.value)
    assert server.n_requests == 1
    assert stored(tmp_path) == set()


def test_downloads_with_another_checksum_are_not_kept(published, tmp_path):
    server, _ = published
    path = server.path / IMAGES
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(OSError, match="has the SHA-256 checksum"):
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
        ({"n_retries": -1}, "n_retries must be an int of at least 0, got -1"),
        ({"n_retries": 1.5}, "n_retries must be an int of at least 0, got 1.5"),
        ({"delay": -0.5}, "delay must be a number of at least 0, got -0.5"),
        ({"delay": float("nan")}, "delay must be a number of at least 0, got nan"),
        ({"delay": "1"}, "delay must be a number of at least 0, got '1'"),
    ],
)
def test_bad_parameters_are_refused(settings, message):
    with pytest.raises(InvalidParameterError, match=message):
        Fetcher("mnist", **settings)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_one_line_in_a_terminal(published, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    fetch(tmp_path)
    lines = sys.stderr.getvalue().splitlines()
    last = [line for line in lines if "100% of 0.0 MB" in line]
    assert [line.split()[0] for line in last] == [IMAGES, LABELS]
    assert sys.stderr.getvalue().count("\n") == 2
