"""The examples of the user guide run, and the reference is complete."""

import doctest
import importlib
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.datasets import load_iris

DOCS = Path(__file__).parents[1] / "docs"
GUIDE = [*sorted((DOCS / "guide").glob("*.rst")), DOCS / "faq.rst"]

MODULES = {
    "callbacks",
    "datasets",
    "display",
    "exceptions",
    "inspection.explanation",
    "metrics",
    "tree",
}
"""Modules whose names are all public. Of the others, only a part is, if any."""


def run(path):
    return doctest.testfile(str(path), module_relative=False)


NIGHTLY = (
    "augmentations choosing displays faq networks saving searching watching".split()
)
"""Pages whose examples take long."""


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=pytest.mark.nightly if path.stem in NIGHTLY else ())
        for path in GUIDE
    ],
    ids=lambda path: path.stem,
)
def test_examples_of_the_user_guide(path):
    result = run(path)
    assert result.attempted > 0
    assert result.failed == 0


def test_examples_of_the_algorithm():
    assert run(DOCS / "algorithm.rst").failed == 0


def test_examples_of_the_readme(tmp_path, monkeypatch):
    load_iris(as_frame=True).frame.to_csv(tmp_path / "measurements.csv", index=False)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "mnist.npz", X_train=images, y_train=np.arange(30) % 10)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) == 4
    names = {}
    for block in blocks:
        # One epoch and few draws are enough.
        quick = block.replace(").fit(", ", max_iter=1).fit(")
        exec(quick.replace("log_likelihood(X)", "log_likelihood(X, 2)"), names)
    plt.close("all")
    assert (tmp_path / "tree.png").stat().st_size > 10_000
    assert (tmp_path / "tree.html").stat().st_size > 10_000
    assert names["X_new"].shape == (100, 784)


def reference():
    """Return the documented objects by name."""
    lines = (DOCS / "api.rst").read_text(encoding="utf-8").splitlines()
    names = [line.strip() for line in lines[lines.index("    :toctree: api/") + 1 :]]
    objects = {}
    for name in filter(None, names):
        assert name not in objects, f"api.rst lists {name} twice."
        module, _, attribute = f"sktreevae.{name}".rpartition(".")
        objects[name] = getattr(importlib.import_module(module), attribute)
    return objects


def public_modules():
    return ["sktreevae", *(f"sktreevae.{name}" for name in sorted(MODULES))]


@pytest.mark.parametrize("name", public_modules())
def test_reference_lists_all_public_names(name):
    module = importlib.import_module(name)
    documented = {id(value) for value in reference().values()}
    missing = [n for n in module.__all__ if id(getattr(module, n)) not in documented]
    assert set(missing) <= {"__version__"}
