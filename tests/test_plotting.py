import builtins

import matplotlib.pyplot as plt
import numpy as np
import pytest

from sktreevae import Dendrogram
from sktreevae.plotting import plot_dendrogram, plot_image_tree


@pytest.fixture
def tree():
    return Dendrogram([-1, 0, 0, 1, 1], [9, 4, 0, 0, 0], [0, 0, 1, 2])


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def test_plot_draws_a_line_for_each_decision(tree):
    ax = plt.subplots()[1]
    assert tree.plot(ax) is ax
    assert [line.get_ydata().max() for line in ax.lines] == [9, 4]
    names = [label.get_text() for label in ax.get_xticklabels()]
    assert names == ["0\n(2)", "1\n(1)", "2\n(1)"]


def test_clusters_can_be_named(tree):
    ax = plot_dendrogram(tree, cluster_names=["ant", "bee", "cow"])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["ant", "bee", "cow"]


def test_image_tree_shows_the_mean_of_every_node(tree):
    images = np.arange(4.0)[:, None, None] * np.ones((4, 6, 6))
    ax = plot_image_tree(tree, images)
    boxes = [a for a in ax.artists if hasattr(a, "offsetbox")]
    means = [float(box.offsetbox.get_data().mean()) for box in boxes]
    assert means == [1.5, 1.0, 3.0, 0.5, 2.0]
    ax.figure.canvas.draw()


def test_image_tree_needs_an_image_for_each_sample(tree):
    with pytest.raises(ValueError, match="one image for each of the 4 samples, got 3"):
        plot_image_tree(tree, np.zeros((3, 2, 2)))


def test_image_tree_needs_a_title_for_each_node(tree):
    with pytest.raises(ValueError, match="one text for each of the 5 nodes, got 1"):
        plot_image_tree(tree, np.zeros((4, 2, 2)), titles=["a"])


def test_missing_matplotlib_is_named(tree, monkeypatch):
    original = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'sktreevae\[plot\]'"):
        tree.plot()
