"""Readers of damaged files and foreign ones; the fetchers test the right ones."""

import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sktreevae import datasets
from sktreevae.datasets._formats import read_idx, read_npz

from .cases import idx, write_celeba, write_cifar10, write_mnist, write_omniglot


def write_npz(path, rng, **changes):
    shapes = {"train": 4, "test": 2}
    content = {f"X_{part}": rng.integers(0, 9, (n, 28, 28), np.uint8)
               for part, n in shapes.items()}  # fmt: skip
    content |= {f"y_{part}": np.arange(n) for part, n in shapes.items()}
    content |= changes
    np.savez(path, **{k: v for k, v in content.items() if v is not None})
    return content


SMALL = {
    "mnist": (write_mnist, datasets.fetch_mnist),
    "npz": (lambda home, rng: write_npz(home / "mnist.npz", rng), datasets.fetch_mnist),
    "cifar10": (lambda home, rng: write_cifar10(home, rng, 1), datasets.fetch_cifar10),
    "omniglot": (lambda home, _: write_omniglot(home, 1, 3), datasets.fetch_omniglot),
    "celeba": (lambda home, rng: write_celeba(home, rng, 3), datasets.fetch_celeba),
}


@pytest.fixture(params=SMALL)
def small(request, tmp_path, rng):
    """Return a function that reads a small dataset, and its largest file."""
    write, fetch = SMALL[request.param]
    write(tmp_path, rng)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]

    def read():
        return fetch(data_home=tmp_path, return_X_y=True, download_if_missing=False)

    return read, max(files, key=lambda path: path.stat().st_size)


def test_truncated_and_foreign_files_are_refused_by_name(small, rng):
    read, path = small
    content = path.read_bytes()
    ends = [0, 1, len(content) - 1, *rng.integers(2, len(content), 12)]
    foreign = [b"<html>Quota exceeded</html>", b"\x80\x04N."]
    for damaged in [*(content[:end] for end in ends), *foreign]:
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="is damaged or has another form") as error:
            read()
        assert str(path) in str(error.value)
        assert "Remove it to download it again" in str(error.value)


def test_flipped_bits_are_found_or_do_no_harm(small, rng):
    read, path = small
    expected = read()
    content = path.read_bytes()
    for position in rng.integers(0, len(content), 40):
        damaged = bytearray(content)
        damaged[position] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            found = read()
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017
        else:
            for one, other in zip(found, expected, strict=True):
                assert np.array_equal(one, other)


@given(arrays(np.uint8, st.tuples(*[st.integers(0, 4)] * 3)))
def test_idx_files_are_read(tmp_path_factory, array):
    path = tmp_path_factory.mktemp("idx") / "array.gz"
    path.write_bytes(gzip.compress(idx(array), 1))
    assert np.array_equal(read_idx(path, array.shape[1:]), array)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (idx(np.zeros((2, 3), int)), "not an idx file of bytes in 3 dimensions"),
        (idx(np.zeros((2, 3, 4), int))[:10], "not an idx file of bytes"),
        (b"\0\0\x0d" + idx(np.zeros((2, 3, 4), int))[3:], "not an idx file of bytes"),
        (idx(np.zeros((2, 3, 5), int)), r"samples have shape \(3, 5\) instead of"),
        (idx(np.zeros((2, 3, 4), int))[:-1], "cannot reshape array of size 23"),
        (idx(np.zeros((2, 3, 4), int)) + b"0", "cannot reshape array of size 25"),
    ],
)
def test_other_idx_files_are_refused(tmp_path, content, message):
    (tmp_path / "array").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_idx(tmp_path / "array", (3, 4))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_test": None}, r"it lacks the arrays \['y_test'\]"),
        ({"X_test": np.zeros((2, 28, 28))}, "and dtype float64 instead of"),
        ({"X_test": np.zeros((2, 784), np.uint8)}, r"shape \(784,\) and dtype uint8"),
        ({"X_test": np.array([{}])}, "pickle"),
        ({"y_test": np.array([{}])}, "pickle"),
    ],
)
def test_other_archives_of_arrays_are_refused(tmp_path, rng, changes, message):
    write_npz(tmp_path / "x.npz", rng, **changes)
    with pytest.raises(ValueError, match=f"x.npz is damaged .*{message}"):
        read_npz(tmp_path / "x.npz", "test", (28, 28), 10)
