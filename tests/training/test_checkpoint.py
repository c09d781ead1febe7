"""Fits that are killed go on from their checkpoints, to the same bits."""

import errno
import functools
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import make_blobs

from sktreevae import TreeVAEClustering
from sktreevae.exceptions import CheckpointWarning
from sktreevae.graph import NeighborGraph
from sktreevae.training import checkpoint

from ..io.archives import forging

X, _ = make_blobs(120, 3, centers=4, cluster_std=0.3, random_state=1)
X = X.astype(np.float32)


class KilledError(BaseException):
    """The end of a process."""


def fit(folder=None, X=X, **parameters):
    parameters = {
        "n_clusters": 3,
        "max_iter": 2,
        "random_state": 0,
        "checkpoint_interval": 0.0,
        **parameters,
    }
    return TreeVAEClustering(checkpoint_dir=folder, **parameters).fit(X)


@functools.cache
def whole(growth="guided"):
    return fit(growth=growth)


def assert_same(one, two):
    assert np.array_equal(one.labels_, two.labels_)
    assert np.array_equal(one.linkage_matrix_, two.linkage_matrix_)
    assert np.array_equal(one.score_samples(X), two.score_samples(X))
    assert repr(one.history_) == repr(two.history_)
    assert one.choices_ == two.choices_
    assert one._seed == two._seed


def generations(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != "lock")


def test_checkpoints_change_nothing(tmp_path):
    assert_same(fit(tmp_path), whole())


@contextmanager
def killed(monkeypatch, n_calls):
    """End the process at a step of a write: in, before or after its renaming."""
    count = itertools.count(1)
    with monkeypatch.context() as patch:
        for owner, name in ((os, "fsync"), (os, "replace")):
            function = getattr(owner, name)

            def killing(*args, function=function):
                if next(count) == n_calls:
                    raise KilledError
                return function(*args)

            patch.setattr(owner, name, killing)
        # A killed process doesn't tidy.
        patch.setattr(os, "unlink", lambda *args: None)
        with pytest.raises(KilledError):
            yield


@pytest.mark.parametrize(
    ("growth", "n_calls"),
    [
        ("guided", 1),
        ("guided", 11),
        ("iterative", 6),
        *(
            pytest.param(growth, n_calls, marks=pytest.mark.nightly)
            for growth in ("guided", "iterative")
            for n_calls in (2, 9, 13, 15)
        ),
    ],
)
def test_a_fit_that_is_killed_in_a_write_goes_on_to_the_same_bits(
    growth, n_calls, tmp_path, monkeypatch
):
    with killed(monkeypatch, n_calls):
        fit(tmp_path, growth=growth)
    assert_same(fit(tmp_path, growth=growth), whole(growth))
    assert len(generations(tmp_path)) == 2


def test_a_fit_that_has_ended_is_not_repeated(tmp_path, monkeypatch):
    fit(tmp_path)
    before = generations(tmp_path)
    monkeypatch.setattr(NeighborGraph, "__init__", None)
    assert_same(fit(tmp_path), whole())
    assert generations(tmp_path) == before


def test_the_proposal_is_not_repeated(tmp_path, monkeypatch):
    with killed(monkeypatch, 5):
        fit(tmp_path)
    assert "00000001.safetensors" in generations(tmp_path)
    monkeypatch.setattr(NeighborGraph, "__init__", None)
    assert_same(fit(tmp_path), whole())


def test_a_fresh_seed_is_kept(tmp_path):
    first = fit(tmp_path, random_state=None)
    assert_same(fit(tmp_path, random_state=None), first)


def test_a_fit_may_go_on_with_other_threads(tmp_path):
    fit(tmp_path)
    assert_same(fit(tmp_path, n_jobs=2, checkpoint_interval=1.0), whole())


@pytest.mark.parametrize(
    ("parameters", "difference"),
    [
        ({"n_clusters": 4}, "n_clusters was 3 and is 4"),
        ({"random_state": 1}, "random_state was .* and is"),
        ({"views": lambda x, _: x}, "views was None and is '.*lambda>'"),
        ({"X": X[1:]}, r"shape of X was \[120, 3\] and is \(119, 3\)"),
        ({"X": X[::-1]}, "digest of X was"),
        ({"X": X.astype(np.float64)}, "type of X was"),
        ({"X": sparse.csr_array(X)}, "digest of X was"),
    ],
)
def test_the_state_of_another_fit_is_refused(tmp_path, parameters, difference):
    fit(tmp_path)
    before = generations(tmp_path)
    with pytest.raises(ValueError, match=f"the state of another fit: .*{difference}"):
        fit(tmp_path, **parameters)
    assert generations(tmp_path) == before


def damage(folder, name):
    path = folder / name
    path.write_bytes(path.read_bytes()[:-1])


def test_a_damaged_generation_does_not_take_the_place_of_a_good_one(tmp_path):
    fit(tmp_path)
    for _ in range(2):
        damage(tmp_path, generations(tmp_path)[-1])
        with pytest.warns(CheckpointWarning, match="can't be read: .*is truncated"):
            assert_same(fit(tmp_path), whole())


WRONG_VALUES = {
    "plan": [{}, {"n_clusters": 0, "choices": {}}, {"n_clusters": 3, "choices": 1}],
    "records": [None, [1]],
    "rng": [{}],
    "stage": [None, "other", "split", "initialization"],
    "done": [None, [], ["joint"], ["initialization", "other"]],
    "epoch": [0, -1, 1.5, 10**9, "1"],
    "parent": [None, [], [-1, 0, 0], [-1, 0]],
    "split": [{}, {"leaf": 0, "seed": 0}],
    "unsplittable": [["a"]],
}
WRONG_ARRAYS = {
    "target": [lambda x: x[1:], lambda x: x[:, 1:], lambda x: x * np.nan],
    "leaf": [lambda x: x + 5, lambda x: x - 1, lambda x: x.astype(float)],
    "height": [lambda x: x[:2]],
    "noise_scale": [lambda x: x[:, 0]],
    "model.root_head.bias": [lambda x: x * np.nan, lambda x: x[1:]],
    "optimizer.0.mean": [lambda x: x * np.nan, lambda x: x[1:]],
    "rule.best": [lambda x: x * np.nan],
    "generators.rows": [lambda x: x[1:]],
}


@pytest.fixture(scope="module")
def in_training(tmp_path_factory):
    """Return a folder with the state in the middle of the joint training."""
    folder = tmp_path_factory.mktemp("folder")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "N_KEPT", 3)
        fit(folder)
    for name in generations(folder)[1:]:
        (folder / name).unlink()
    return folder


@pytest.mark.parametrize(
    ("part", "name", "change"),
    [
        ("values", name, None if value == "missing" else lambda _, v=value: v)
        for name, values in WRONG_VALUES.items()
        for value in (*values, "missing")
    ]
    + [
        ("arrays", name, change)
        for name, changes in WRONG_ARRAYS.items()
        for change in (*changes, None)
    ],
)
def test_a_state_that_contradicts_itself_or_the_fit_is_refused(
    part, name, change, in_training, tmp_path
):
    folder = shutil.copytree(in_training, tmp_path / "folder")
    (generation,) = generations(folder)
    with forging(folder / generation) as (content, arrays):
        parts = {"values": content["values"], "arrays": arrays}[part]
        if change is None:
            del parts[name]
        else:
            parts[name] = change(parts[name])
    with pytest.raises(ValueError, match="The state in checkpoint_dir=.* is invalid"):
        fit(folder)


def test_a_proposal_that_contradicts_the_fit_is_refused(tmp_path, monkeypatch):
    with killed(monkeypatch, 5):
        fit(tmp_path)
    path = tmp_path / "00000001.safetensors"
    original = path.read_bytes()
    for name, change in {
        "cluster": lambda x: x + 1,
        "proba": lambda x: x[1:],
        "spacing": lambda x: x[1:],
        "merges": lambda x: x[1:],
        "height": lambda x: x[1:],
    }.items():
        with forging(path) as (_, arrays):
            arrays[f"proposal.{name}"] = change(arrays[f"proposal.{name}"])
        with pytest.raises(ValueError, match="checkpoint_dir=.* is invalid"):
            fit(tmp_path)
        path.write_bytes(original)


def test_a_folder_is_for_one_fit_at_a_time(tmp_path):
    with checkpoint.reserved(tmp_path):
        with pytest.raises(BlockingIOError, match="checkpoint_dir='.*' is in use by"):
            fit(tmp_path)
    assert_same(fit(tmp_path), whole())


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    code = (
        "import os, sys\nfrom sktreevae.training.checkpoint import reserved\n"
        "with reserved(sys.argv[1]): os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path]).returncode == 9
    assert_same(fit(tmp_path), whole())


def test_objects_are_compared_by_their_attributes(tmp_path):
    def views(rows, generator, scale):
        return scale * rows

    fit(tmp_path, views=functools.partial(views, scale=1.0))
    fit(tmp_path, views=functools.partial(views, scale=1.0))
    with pytest.raises(ValueError, match=r"views was .*1\.0.* and is .*2\.0"):
        fit(tmp_path, views=functools.partial(views, scale=2.0))


def test_a_folder_that_disappears_is_told_and_the_fit_goes_on(tmp_path, monkeypatch):
    folder, write = tmp_path / "folder", checkpoint.Checkpoints._write

    def removed(self, state):
        write(self, state)
        for path in sorted(folder.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        folder.rmdir()

    monkeypatch.setattr(checkpoint.Checkpoints, "_write", removed)
    with pytest.warns(CheckpointWarning, match="The fit goes on"):
        assert_same(fit(folder), whole())


def test_no_name_of_a_folder_is_refused():
    with pytest.raises(ValueError, match="checkpoint_dir must be the name of a folder"):
        fit("")


def test_damaged_generations_are_refused(tmp_path):
    fit(tmp_path)
    for name in generations(tmp_path):
        damage(tmp_path, name)
    match = "checkpoint_dir='.*' has no state that can be read: .* Pass another folder"
    with pytest.raises(ValueError, match=match):
        fit(tmp_path)


def test_a_full_disk_is_told_and_the_fit_goes_on(tmp_path, monkeypatch):
    with killed(monkeypatch, 14):
        fit(tmp_path)
    before = [name for name in generations(tmp_path) if "tmp" not in name]

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(CheckpointWarning, match="No space left .* The fit goes on"):
        again = fit(tmp_path)
    assert_same(again, whole())
    assert generations(tmp_path) == before


def test_a_folder_that_cannot_be_written_is_an_error_before_any_work(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(NeighborGraph, "__init__", None)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        fit(tmp_path / "file")
    with pytest.raises(OSError, match="file"):
        fit(tmp_path / "file" / "folder")


def test_other_files_stay(tmp_path):
    (tmp_path / "notes.txt").touch()
    (tmp_path / "0001").mkdir()
    fit(tmp_path / "deep" / "folder")
    fit(tmp_path)
    assert {"notes.txt", "0001", "deep"} < set(generations(tmp_path))


def test_states_are_an_interval_apart(tmp_path, monkeypatch):
    numbers = []
    write = checkpoint.Checkpoints._write

    def recorded(self, state):
        numbers.append(state["values"]["epoch"])
        write(self, state)

    monkeypatch.setattr(checkpoint.Checkpoints, "_write", recorded)
    fit(tmp_path, checkpoint_interval=1e8)
    # The plan, and the ends of three stages.
    assert numbers == [0, 0, 0, 0]


SCRIPT = """
import sys
import time
from sklearn.datasets import load_digits
from sktreevae import TreeVAEClustering

folder, growth, path = sys.argv[1:]
X = load_digits().data[:600]
model = TreeVAEClustering(
    5, growth=growth, max_iter=8, random_state=0, checkpoint_dir=folder,
    checkpoint_interval=0.0,
)
model.fit(X).save(path)
"""


@pytest.mark.nightly
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.parametrize("growth", ["guided", "published"])
def test_a_process_that_is_killed_at_random_moments_goes_on_to_the_same_bits(
    growth, tmp_path
):
    def start(folder):
        command = [sys.executable, "-c", SCRIPT, tmp_path / folder, growth]
        return subprocess.Popen([*command, tmp_path / f"{folder}.model"])

    begin = time.monotonic()
    assert start("whole").wait() == 0
    duration = time.monotonic() - begin
    rng, n_killed = np.random.default_rng(0), 0
    while n_killed < 20:
        process = start("killed")
        try:
            process.wait(rng.uniform(0.2, 1.2) * duration)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            n_killed += process.wait() == -signal.SIGKILL
            continue
        assert process.returncode == 0
        one, two = ((tmp_path / f"{n}.model").read_bytes() for n in ("whole", "killed"))
        assert one == two
        for path in sorted((tmp_path / "killed").rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
