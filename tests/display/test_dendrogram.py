import matplotlib.pyplot as plt
import numpy as np
import pytest

from sktreevae.display import plot_dendrogram


def tick_labels(ax):
    return [label.get_text() for label in ax.get_xticklabels()]


def test_each_internal_node_is_a_line(tree):
    ax = plt.subplots()[1]
    assert tree.plot(ax) is ax
    assert [line.get_ydata().max() for line in ax.lines] == [9, 4]
    assert tick_labels(ax) == ["0\n(2)", "1\n(1)", "2\n(1)"]


@pytest.mark.parametrize("convert", [list, tuple, np.array])
def test_clusters_can_be_named(tree, convert):
    ax = plot_dendrogram(tree, cluster_names=convert(["ant", "bee", "cow"]))
    assert tick_labels(ax) == ["ant", "bee", "cow"]


@pytest.mark.parametrize("names", [["a"], list("abcd"), np.array(["a", "b"]), []])
def test_there_must_be_a_name_for_each_cluster(tree, names):
    message = f"cluster_names must have one name .* 3 clusters, got {len(names)}"
    with pytest.raises(ValueError, match=message):
        tree.plot(cluster_names=names)
    assert not plt.get_fignums()  # nothing has been drawn


def test_unsupported_splits_are_dashed(tree):
    tree.support[tree.internal_nodes] = [1.0, -1.0]
    tree.support_error[tree.internal_nodes] = 0.1
    ax = plot_dendrogram(tree, ax=plt.subplots()[1])
    assert [line.get_linestyle() for line in ax.lines] == ["-", "--"]
