import shutil
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch

from sktreevae.utils.cache import Cache, source_digest

CALLS = []


@pytest.fixture(autouse=True)
def _no_calls():
    CALLS.clear()


def noisy(x, factor, rng):
    """Return an array plus noise."""
    CALLS.append("noisy")
    if isinstance(rng, torch.Generator):
        noise = torch.randn(x.shape, generator=rng, device=rng.device)
        noise = noise.numpy(force=True)
    else:
        noise = rng.standard_normal(x.shape)
    return {"values": factor * x + noise, "shape": x.shape}


def double(x):
    """Return twice an array."""
    CALLS.append("double")
    return 2 * x


class Named:
    """An argument that is identified by a name."""

    def __init__(self, name):
        self.cache_key = name

    def __reduce__(self):
        raise TypeError("can't be pickled")


def name_of(named):
    """Return the name of an argument."""
    CALLS.append("name_of")
    return named.cache_key


MAKERS = {
    "torch": lambda seed: torch.Generator().manual_seed(seed),
    "numpy": np.random.default_rng,
    "other numpy": lambda seed: np.random.Generator(np.random.MT19937(seed)),
}
if torch.cuda.is_available():
    MAKERS["cuda"] = lambda seed: torch.Generator("cuda").manual_seed(seed)


def next_values(rng):
    if isinstance(rng, torch.Generator):
        return torch.randn(5, generator=rng, device=rng.device).tolist()
    return rng.standard_normal(5).tolist()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "make",
    [
        str,
        lambda path: path,
        lambda path: joblib.Memory(path, verbose=10),
        lambda path: joblib.Memory(path, mmap_mode="r", verbose=0),
    ],
    ids=["str", "path", "verbose", "memory-mapped"],
)
@pytest.mark.parametrize("kind", MAKERS)
def test_a_stored_result_and_all_that_follows_are_those_that_are_computed(
    kind, make, tmp_path, capfd
):
    x = np.arange(7.0)
    results = []
    for memory in (None, make(tmp_path), make(tmp_path)):
        rng = MAKERS[kind](0)
        result = Cache(memory)(noisy, x, 2.0, rng=rng)
        results.append((result["values"].tolist(), result["shape"], next_values(rng)))
    assert results[0] == results[1] == results[2]
    assert CALLS == ["noisy"] * 2
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("change", ["x", "factor", "seed", "advanced"])
def test_other_arguments_and_states_are_other_entries(kind, change, tmp_path):
    cache = Cache(tmp_path)
    x = np.arange(7.0)
    first = cache(noisy, x, 2.0, rng=MAKERS[kind](0))
    rng = MAKERS[kind](int(change == "seed"))
    if change == "advanced":
        next_values(rng)
    second = cache(noisy, x + (change == "x"), 2.0 + (change == "factor"), rng=rng)
    assert CALLS == ["noisy"] * 2
    assert (first["values"] != second["values"]).any()


def test_other_functions_are_other_entries(tmp_path):
    cache = Cache(tmp_path)
    assert cache(double, np.ones(2)).tolist() == [2, 2]
    assert cache(noisy, np.ones(2), 1.0, rng=np.random.default_rng(0))["shape"] == (2,)
    assert cache(double, np.ones(2)).tolist() == [2, 2]
    assert CALLS == ["double", "noisy"]


def test_a_change_of_the_source_is_another_digest(tmp_path, monkeypatch):
    package = Path(sys.modules[Cache.__module__].__file__).parents[1]
    shutil.copytree(package, tmp_path / "sktreevae")
    path = tmp_path / "sktreevae" / "utils" / "cache.py"
    monkeypatch.setattr("sktreevae.utils.cache.__file__", str(path))
    assert source_digest.__wrapped__() == source_digest()
    with open(tmp_path / "sktreevae" / "graph" / "umap.py", "a") as file:
        file.write("# A comment\n")
    assert source_digest.__wrapped__() != source_digest()


def test_other_sources_are_other_entries(tmp_path, monkeypatch):
    cache = Cache(tmp_path)
    cache(double, np.ones(2))
    monkeypatch.setattr("sktreevae.utils.cache.source_digest", lambda: "other")
    cache(double, np.ones(2))
    assert CALLS == ["double", "double"]


def test_a_key_stands_for_an_argument(tmp_path):
    cache = Cache(tmp_path)
    assert [cache(name_of, Named(name)) for name in "aba"] == ["a", "b", "a"]
    assert CALLS == ["name_of"] * 2
