"""Fits that processes share."""

import signal

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from sktreevae import TreeVAEClustering
from sktreevae.utils.processes import ONE_PROCESS

from ..utils.processes import launch
from . import shared_fits
from .shared_fits import OPTIONS, X, Y, shard, train

FOUR = pytest.param(4, marks=pytest.mark.nightly)


def results(size, name, folder):
    """Return what the processes have stored."""
    launch(size, shared_fits.__file__, name, folder)
    return [np.load(folder / f"{rank}.npz") for rank in range(size)]


@pytest.mark.parametrize("size", [2, FOUR])
def test_gradients_are_those_of_one_process(size, tmp_path):
    expected = train(ONE_PROCESS, lambda step: slice(None)).numpy()
    for result in results(size, "steps", tmp_path):
        np.testing.assert_allclose(result["parameters"], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("size", [3, FOUR])
def test_all_processes_have_the_same_model_and_their_own_labels(size, tmp_path):
    stored = results(size, "fits", tmp_path)
    for growth, is_open in (("guided", False), ("iterative", True)):
        first, *others = [
            {name: result[f"{growth}.{name}"] for name in fit_names(result, growth)}
            for result in stored
        ]
        for other in others:
            for name in ("predicted", "same", "elbo", "n_samples"):
                np.testing.assert_array_equal(other[name], first[name])
        for rank, result in enumerate((first, *others)):
            expected = first["predicted"][shard(rank, size)]
            np.testing.assert_array_equal(result["labels"], expected)
        assert first["n_samples"] == len(X)
        assert first["is_open"] == is_open
        if growth == "guided":
            assert adjusted_rand_score(Y, first["predicted"]) == 1.0


def fit_names(result, growth):
    prefix = f"{growth}."
    return [name.removeprefix(prefix) for name in result if name.startswith(prefix)]


@pytest.mark.parametrize("size", [2, FOUR])
def test_a_fit_goes_on_with_another_number_of_processes(size, tmp_path):
    for result in results(size, "checkpoint", tmp_path):
        assert result["error"] == "KeyboardInterrupt: "
    options = {**OPTIONS, "checkpoint_dir": tmp_path / "state"}
    continued = TreeVAEClustering(**options).fit(X)
    expected = TreeVAEClustering(**OPTIONS).fit(X)
    assert adjusted_rand_score(expected.labels_, continued.labels_) == 1.0
    # Its 2 epochs are those of the tree, and the routers were trained before.
    assert continued.n_iter_ == expected.n_iter_
    with pytest.raises(ValueError, match="digest of X was"):
        TreeVAEClustering(**options).fit(X[::-1])


def test_all_processes_hear_of_the_failure_of_one(tmp_path):
    first, second = results(2, "nan", tmp_path)
    assert str(second["error"]).startswith("ValueError: Input X contains NaN")
    assert str(first["error"]).startswith(
        "ProcessError: Other processes of the fit have failed, of 2: 1 (ValueError: "
        "Input X contains NaN"
    )


def test_a_killed_process_ends_the_fit_of_the_others(tmp_path):
    codes = launch(2, shared_fits.__file__, "kill", tmp_path)
    assert codes == [0, -signal.SIGKILL]
    error = str(np.load(tmp_path / "0.npz")["error"])
    assert error.startswith("ProcessError: Another process of the fit has ended")
