import hashlib
import json
import math
import os

import numpy as np
import pytest
import safetensors
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from sktreevae.io.archive import read_archive, write_archive

CONTENT = {"name": "ä", "values": [1, 2.5, None, True], "nan": float("inf")}
ARRAYS = {
    "flags": np.array([True, False, True]),
    "weights": np.arange(6, dtype=np.float32).reshape(2, 3),
    "scalar": np.array(0.1),
    "empty": np.empty((0, 4)),
}
DTYPES = ["?", "u1", "i1", "u2", "i2", "f2", "u4", "i4", "f4", "u8", "i8", "f8", ">f4"]


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


def assert_same(arrays, expected):
    assert arrays.keys() == expected.keys()
    for name, array in expected.items():
        assert arrays[name].dtype == array.dtype.newbyteorder("=")
        assert arrays[name].shape == array.shape
        assert arrays[name].tobytes() == array.astype(arrays[name].dtype).tobytes()
        assert arrays[name].flags.writeable


def test_content_and_arrays_come_back(path):
    content, arrays = read_archive(path)
    assert content == CONTENT
    assert_same(arrays, ARRAYS)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(DTYPES),
            st.lists(st.integers(0, 4), max_size=4),
        ),
        max_size=4,
    )
)
def test_arrays_of_all_types_and_shapes_come_back(tmp_path_factory, kinds):
    path = tmp_path_factory.getbasetemp() / "arrays"
    arrays = {
        str(i): np.arange(math.prod(shape)).reshape(shape).astype(dtype)
        for i, (dtype, shape) in enumerate(kinds)
    }
    write_archive(path, {}, arrays)
    assert_same(read_archive(path)[1], arrays)


def test_arrays_of_any_layout_come_back(tmp_path):
    square = np.arange(9.0).reshape(3, 3)
    arrays = {
        "transposed": square.T,
        "strided": square[::2, ::-1],
        "swapped": square.astype(">f8"),
    }
    write_archive(tmp_path / "file", {}, arrays)
    assert_same(read_archive(tmp_path / "file")[1], arrays)


def test_the_same_content_gives_the_same_bytes(path, tmp_path):
    write_archive(tmp_path / "other", CONTENT, ARRAYS)
    assert (tmp_path / "other").read_bytes() == path.read_bytes()


def test_safetensors_reads_the_file(path):
    with safetensors.safe_open(path, "np") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}
        content = json.loads(file.metadata()["content"])
    assert content == {"format_version": 1, **CONTENT}
    assert len(arrays.pop("sha256")) == 32
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)


@pytest.mark.parametrize("value", [np.array(["a"]), np.array([None]), np.array([1j])])
def test_other_types_are_refused(tmp_path, value):
    with pytest.raises(ValueError, match="can't be saved, got {'values': "):
        write_archive(tmp_path / "file", {}, {"values": value})
    assert not list(tmp_path.iterdir())


def test_other_content_is_refused(tmp_path):
    with pytest.raises(TypeError, match="of type object can't be saved"):
        write_archive(tmp_path / "file", {"value": object()}, {})
    assert not list(tmp_path.iterdir())


# Damaged files


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        read_archive(tmp_path / "nothing")


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices of POSIX")
def test_pipes_devices_and_folders_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/null", tmp_path):
        with pytest.raises(OSError, match=f"Not a regular file: '{path}'"):
            read_archive(path)


def test_truncations_are_refused(path):
    data = path.read_bytes()
    for size in range(0, len(data), 3):
        refuse(path, data[:size], "is truncated, damaged, or isn't a model")


def test_a_flipped_byte_is_refused_or_changes_nothing(path):
    data, before = path.read_bytes(), read_archive(path)
    n_accepted = 0
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 + position % 255
        path.write_bytes(changed)
        try:
            content, arrays = read_archive(path)
        except ValueError:
            continue
        # White space between the entries of the header.
        n_accepted += 1
        assert content == before[0]
        assert_same(arrays, before[1])
    assert n_accepted <= 8


def test_appended_bytes_are_refused(path):
    refuse(path, path.read_bytes() + b"\0", "is truncated, damaged, or isn't a model")


@pytest.mark.parametrize("n_header", [0, 1, 50, 2**40, 2**64 - 1])
def test_other_lengths_of_the_header_are_refused(path, n_header):
    data = n_header.to_bytes(8, "little") + path.read_bytes()[8:]
    refuse(path, data, "is truncated, damaged, or isn't a model")


def test_a_header_nested_too_deeply_is_refused(path):
    text = b'{"a":' + b"[" * 100_000
    refuse(path, len(text).to_bytes(8, "little") + text, "isn't a model")


@pytest.mark.parametrize(
    "data", [save({"weights": np.zeros(3)}), save({}, {"content": "{}"})]
)
def test_other_files_of_safetensors_are_refused(path, data):
    refuse(path, data, "isn't a model that `save` has written")


@pytest.mark.parametrize("version", [0, 2, "x", None])
def test_unknown_versions_are_refused(path, version):
    write_archive(path, {"format_version": version}, ARRAYS)
    match = f"has the format version {version}, but .* reads version 1. Update"
    refuse(path, path.read_bytes(), match)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "[]", "3", "null"])
def test_content_that_is_no_json_object_is_refused(path, text):
    digest = np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8)
    refuse(path, save({"sha256": digest}, {"content": text}), "has invalid content")


# Atomic writes


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_file_stays_if_writing_fails(path, monkeypatch, step):
    before = path.read_bytes()

    def fail(*args):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space left"):
        write_archive(path, {}, {})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_interrupts_leave_nothing_behind(tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_archive(tmp_path / "file", {}, {})
    assert not list(tmp_path.iterdir())


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
    write_archive(link, {"new": 1}, {})
    assert link.is_symlink()
    assert read_archive(path)[0] == {"new": 1}
