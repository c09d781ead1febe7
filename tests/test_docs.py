"""Examples of the docs run; the reference, the map and the tables are complete."""

import csv
import doctest
import importlib
import inspect
import re
import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

DOCS = Path(__file__).parents[1] / "docs"
ROOT = DOCS.parent
PACKAGE = ROOT / "sktreevae"
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


NIGHTLY = "choosing displays faq growth networks saving searching".split()
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
    assert result.attempted > 0 or path.stem == "index"
    assert result.failed == 0


def test_every_page_of_the_guide_is_in_its_contents():
    contents = (DOCS / "guide" / "index.rst").read_text(encoding="utf-8").split()
    pages = {path.stem for path in GUIDE if path.parent.name == "guide"} - {"index"}
    assert sorted(pages) == sorted(pages & set(contents))


def test_examples_of_the_algorithm():
    assert run(DOCS / "algorithm.rst").failed == 0


def test_examples_of_the_readme(tmp_path, monkeypatch):
    shutil.copy(ROOT / "examples" / "data" / "penguins.csv", tmp_path)
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
        call = r"(TreeVAEClustering\((?:[^()]|\([^()]*\))*)\)"
        quick = re.sub(call, r"\1, max_iter=1)", block)
        exec(quick.replace("log_likelihood(X)", "log_likelihood(X, 2)"), names)
    plt.close("all")
    assert (tmp_path / "tree.png").stat().st_size > 10_000
    assert (tmp_path / "tree.html").stat().st_size > 10_000
    assert names["X_new"].shape == (100, 784)


def reference():
    """Return the documented objects by name."""
    text = (DOCS / "api.rst").read_text(encoding="utf-8")
    objects = {}
    for block in text.split(":toctree: api/\n")[1:]:
        for name in re.findall(r"^    (\S+)$", block, flags=re.MULTILINE):
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


@pytest.mark.parametrize("name", reference())
def test_names_of_the_reference_have_docstrings(name):
    assert inspect.getdoc(reference()[name])


def code_spans(section):
    """Return the paths that a section of CONTRIBUTING.md names, by line."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    _, body = text.split(f"## {section}\n")
    for line in body.split("\n## ")[0].splitlines():
        yield [span for span in re.findall(r"`([^`]+)`", line) if is_path(span)]


def is_path(span):
    return span.endswith((".py", ".rst", "/")) and span != "sktreevae/"


@pytest.mark.parametrize("section", ["From X to `labels_`", "Where do I change..."])
def test_files_of_the_contributing_page_exist(section):
    spans = [span for line in code_spans(section) for span in line]
    assert spans
    missing = [s for s in spans if not any((d / s).exists() for d in (PACKAGE, ROOT))]
    assert missing == []


def test_the_map_of_the_package_is_complete():
    named = set()
    for places in code_spans("Map of the package"):
        folder = PACKAGE
        for place in places:
            if place.startswith(("tests/", "docs/")):
                continue
            path = PACKAGE / place
            if not path.exists():  # a module of the folder of this line
                path = folder / place
            assert path.exists(), place
            if path.is_dir() and path.parent == PACKAGE:
                folder = path
            named.add(path)
    for path in PACKAGE.rglob("*.py"):
        assert not named.isdisjoint([path, *path.parents]), path


def test_tables_of_results_are_those_of_the_records(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    publish = importlib.import_module("publish")
    for name, rows in publish.all_tables(publish.RESULTS).items():
        with (publish.RESULTS / name).open(newline="") as file:
            assert list(csv.reader(file)) == rows, name


def test_the_table_of_the_readme_can_be_replaced(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    publish = importlib.import_module("publish")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    replaced = publish.replace_table(text, "| a |\n| --- |\n| 1 |\n")
    assert publish.MARK + "| a |\n| --- |\n| 1 |\n\n" in replaced
    assert len(replaced) < len(text)
