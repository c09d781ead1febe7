import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import sktreevae
from sktreevae import Dendrogram


@pytest.fixture
def tree():
    return Dendrogram([-1, 0, 0, 1, 1], [9, 4, 0, 0, 0], labels=[0, 0, 1, 2])


@pytest.fixture
def large():
    """Return a tree of 100 leaves."""
    parent = [-1, *np.repeat(np.arange(99), 2)]
    return Dendrogram(parent, np.arange(199)[::-1], labels=np.arange(1000) % 100)


def parse(tree):
    """Return the representation as XML, which has balanced tags and quoted text."""
    return ET.fromstring(tree._repr_html_())


def names(tree):
    return [e.text for e in parse(tree).iter("text")][:-2]


def test_leaves_stand_from_top_to_bottom(tree):
    rows = {e.text: float(e.get("y")) for e in parse(tree).iter("text")}
    y = [
        rows[f"cluster {i}: {n}"]
        for i, n in enumerate(["2 samples"] + ["1 sample"] * 2)
    ]
    assert y == sorted(y)


def test_nodes_are_drawn_at_their_heights(tree):
    paths = [e.get("d") for e in parse(tree).iter("path")]
    # Each path goes from a child across its parent to the other child.
    across = [float(re.search(r"H([\d.]+)V", path)[1]) for path in paths]
    ends = max(float(x) for path in paths for x in re.findall(r"H([\d.]+)", path))
    assert (ends - across[1]) / (ends - across[0]) == pytest.approx(4 / 9, abs=1e-3)


def test_splits_without_support_are_dashed(tree):
    assert "Dashed" not in tree._repr_html_()
    tree.support[:2], tree.support_error[:2] = [1.0, 0.1], 0.1
    dashes = [e.get("stroke-dasharray") for e in parse(tree).iter("path")]
    assert dashes == [None, "3 3"]
    assert "Dashed: not supported by held-out samples." in tree._repr_html_()


def test_tooltips_have_height_probability_and_support(tree):
    tree.support[:2], tree.support_error[:2] = [1.0, 0.1], 0.1
    titles = {e.text for e in parse(tree).iter("title")}
    node = "node 1: height 4 nats, 3 samples, probability 0.75, support 0.1 ± 0.1"
    assert {node, "cluster 0: 2 samples, probability 0.5"} <= titles


def test_large_trees_are_cut(large):
    text = names(large)
    assert len(text) == 30
    assert "Cut into 30 clusters." in large._repr_html_()
    n_clusters = [int(re.search(r"(\d+) clusters", t)[1]) for t in text if "node" in t]
    n_leaves = sum(t.startswith("cluster") for t in text)
    assert sum(n_clusters) + n_leaves == 100
    assert len(large._repr_html_()) < 20_000


@pytest.mark.parametrize("height", [[0], [0, 0, 0]])
def test_trees_without_heights_are_drawn(height):
    tree = Dendrogram([-1, 0, 0][: len(height)], height, labels=[])
    assert len(names(tree)) == tree.n_clusters


def test_pages_and_drawings_do_not_need_torch(tmp_path):
    # The package itself imports the estimator, and thereby torch.
    code = f"""
import sys, types
package = types.ModuleType("sktreevae")
package.__path__ = [{os.path.dirname(sktreevae.__file__)!r}]
sys.modules["sktreevae"] = package
from sktreevae.tree import Dendrogram
from sktreevae.display import DendrogramDisplay, TreeDisplay
tree = Dendrogram([-1, 0, 0], [2, 0, 0], labels=[0, 0, 1])
X = [[4.0, 40.0], [4.0, 60.0], [2.0, 80.0]]
tree.export_html({str(tmp_path / "tree.html")!r}, X, y=["cat", "cat", "duck"])
DendrogramDisplay.from_dendrogram(tree)
TreeDisplay.from_dendrogram(tree, X, image_shape=(1, 2))
assert "torch" not in sys.modules
"""
    environment = {**os.environ, "MPLBACKEND": "agg"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert (tmp_path / "tree.html").exists()
