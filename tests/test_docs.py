"""The examples of the user guide run, and the reference is complete."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import sktreevae

DOCS = Path(__file__).parents[1] / "docs"
GUIDE = [*sorted((DOCS / "guide").glob("*.rst")), DOCS / "faq.rst"]

MODULES = {
    "callbacks",
    "datasets",
    "dendrogram",
    "display",
    "exceptions",
    "explanation",
    "metrics",
}
"""Modules whose names are all public. Of the others, only a part is, if any."""


def run(path):
    return doctest.testfile(str(path), module_relative=False)


@pytest.mark.parametrize("path", GUIDE, ids=lambda path: path.stem)
def test_examples_of_the_user_guide(path):
    result = run(path)
    assert result.attempted > 0
    assert result.failed == 0


def test_examples_of_the_algorithm():
    assert run(DOCS / "algorithm.rst").failed == 0


def test_the_guide_is_found():
    assert DOCS / "guide/index.rst" in GUIDE


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
    names = {module.name for module in pkgutil.iter_modules(sktreevae.__path__)}
    return ["sktreevae", *(f"sktreevae.{name}" for name in sorted(MODULES & names))]


@pytest.mark.parametrize("name", public_modules())
def test_reference_lists_all_public_names(name):
    module = importlib.import_module(name)
    documented = {id(value) for value in reference().values()}
    missing = [n for n in module.__all__ if id(getattr(module, n)) not in documented]
    assert set(missing) <= {"__version__"}
