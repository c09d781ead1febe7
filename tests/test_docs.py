"""The examples of the user guide run, and give what it says."""

import doctest
from pathlib import Path

GUIDE = Path(__file__).parents[1] / "docs/user_guide.rst"


def test_examples_of_the_user_guide():
    result = doctest.testfile(str(GUIDE), module_relative=False)
    assert result.attempted > 0
    assert result.failed == 0
