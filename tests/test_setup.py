"""The metadata of the package, where the source is at hand."""

import configparser
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXTRAS = ("plot", "datasets", "images", "io", "dask", "test")


def lower_bounds():
    """Return the oldest version that setup.cfg allows of each dependency."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = config["options.extras_require"]
    lines = [config["options"]["install_requires"], *(extras[e] for e in EXTRAS)]
    requirements = re.findall(r"^([\w-]+)(?:\[\w+\])?>=(\S+)$", "\n".join(lines), re.M)
    assert len(requirements) == sum("=" in line for line in "\n".join(lines).split())
    return dict(requirements)


def test_the_oldest_versions_are_those_of_the_ranges():
    text = (ROOT / "constraints-oldest.txt").read_text(encoding="utf-8")
    constraints = dict(re.findall(r"^([\w-]+)==(\S+)$", text, re.M))
    assert constraints == lower_bounds()
