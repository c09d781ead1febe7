import json
import os

import numpy as np
import pytest
import safetensors
import torch
from safetensors.numpy import save

from sktreevae.utils.archive import read_archive, write_archive

CONTENT = {"name": "ä", "values": [1, 2.5, None, True], "nan": float("inf")}
ARRAYS = {
    "flags": np.array([True, False, True]),
    "weights": np.arange(6, dtype=np.float32).reshape(2, 3),
    "transposed": np.arange(9.0).reshape(3, 3).T,
    "strided": np.arange(9)[::-2],
    "scalar": np.array(0.1),
    "empty": np.empty((0, 4)),
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.safetensors"
    write_archive(path, CONTENT, ARRAYS)
    return path


def refuse(path, data, match):
    path.write_bytes(data)
    with pytest.raises(ValueError, match=match) as caught:
        read_archive(path)
    assert str(path) in str(caught.value)


def assert_read(path, content=CONTENT):
    """Check that a file has the content and the arrays that were written."""
    read, arrays = read_archive(path)
    assert read == {"format_version": 1, **content}
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        assert arrays[name].flags.writeable
        np.testing.assert_array_equal(arrays[name], array, strict=True)


def test_content_and_arrays_come_back(path):
    assert_read(path)


def test_values_of_numpy_and_devices_become_those_of_json(path):
    content = {
        "count": np.int64(3),
        "names": np.array(["a", "b"], dtype=object),
        "device": torch.device("cuda", 1),
        "shape": (2, 3),
    }
    expected = {"count": 3, "names": ["a", "b"], "device": "cuda:1", "shape": [2, 3]}
    write_archive(path, content, ARRAYS)
    assert_read(path, expected)


def test_the_same_content_gives_the_same_bytes(path, tmp_path):
    write_archive(tmp_path / "other", CONTENT, ARRAYS)
    assert (tmp_path / "other").read_bytes() == path.read_bytes()


def test_safetensors_reads_the_file(path):
    with safetensors.safe_open(path, "np") as file:
        content = json.loads(file.metadata()["content"])
        assert set(file.keys()) == ARRAYS.keys()
    assert len(content.pop("sha256")) == 64
    assert content == {"format_version": 1, **CONTENT}


@pytest.mark.parametrize("value", [np.array(["a"]), np.array([None])])
def test_other_types_are_refused(tmp_path, value):
    with pytest.raises(ValueError, match="can't be saved, got {'values': "):
        write_archive(tmp_path / "file", {}, {"values": value})
    assert not list(tmp_path.iterdir())


def test_other_content_is_refused(tmp_path):
    with pytest.raises(TypeError, match="of type object can't be saved"):
        write_archive(tmp_path / "file", {"value": object()}, {})
    assert not list(tmp_path.iterdir())


# Damaged files


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices of POSIX")
def test_pipes_devices_and_folders_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/null", tmp_path):
        with pytest.raises(OSError, match=f"Not a regular file: '{path}'"):
            read_archive(path)
    with pytest.raises(FileNotFoundError, match="nothing"):
        read_archive(tmp_path / "nothing")


def test_files_of_other_lengths_and_foreign_files_are_refused(path):
    data = path.read_bytes()
    foreign = bytes(1000), b"Once upon a time there was a tree of four leaves. " * 9
    parts = (data[:size] for size in range(0, len(data), 3))
    for other in (*parts, data + b"\0", *foreign):
        refuse(path, other, "is truncated, damaged, or isn't one")


def test_a_flipped_byte_is_refused_or_changes_nothing(path):
    data = path.read_bytes()
    n_accepted = 0
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 + position % 255
        path.write_bytes(changed)
        try:
            read_archive(path)
        except ValueError:
            continue
        # White space between the entries of the header.
        n_accepted += 1
        assert_read(path)
    assert n_accepted <= 8


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "[]", "3", "null", "{}"])
def test_other_files_of_safetensors_are_refused(path, text):
    match = "isn't one that sktreevae has written"
    refuse(path, save({"weights": np.zeros(3)}, {"content": text}), match)
    refuse(path, save({"weights": np.zeros(3)}, {"other": text}), match)


@pytest.mark.parametrize("version", [0, 2, "x", None])
def test_unknown_versions_are_refused(path, version):
    write_archive(path, {"format_version": version}, ARRAYS)
    match = f"has the format version {version}, but .* reads version 1. Update"
    refuse(path, path.read_bytes(), match)


# Atomic writes


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_file_stays_if_writing_fails(path, monkeypatch, step, error):
    def fail(*args):
        raise error

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(error):
        write_archive(path, {}, {})
    assert_read(path)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", ["folder", "folder/", "new/", "new/.", "folder/.."])
def test_folders_are_not_replaced_or_made(tmp_path, name):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="Not a regular file|Is a directory"):
        write_archive(f"{tmp_path}/{name}", {}, {})
    assert os.listdir(tmp_path) == ["folder"]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_permissions_are_those_of_other_files(path, tmp_path):
    (tmp_path / "other").write_bytes(b"")
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode
    path.chmod(0o600)
    write_archive(path, {}, {})
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.name != "posix", reason="symbolic links of POSIX")
def test_links_stay(path, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(path)
    write_archive(link, {"new": 1}, ARRAYS)
    assert link.is_symlink()
    assert_read(path, {"new": 1})
