"""The examples of the user guide run, and give what it says."""

import doctest
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
GUIDE = sorted((DOCS / "guide").glob("*.rst"))


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
