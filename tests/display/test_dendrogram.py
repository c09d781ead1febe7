import matplotlib.pyplot as plt
import numpy as np
import pytest

from sktreevae.display import DendrogramDisplay

from .cases import random_tree, tick_labels

draw = DendrogramDisplay.from_dendrogram


def test_each_node_but_the_root_has_a_branch_to_its_parent(tree):
    branches = draw(tree).branches_.get_segments()
    ends = [(line[0].tolist(), line[-1].tolist()) for line in branches]
    assert ends == [
        ([0.5, 4.0], [1.25, 9.0]),
        ([2.0, 1.5], [1.25, 9.0]),
        ([0.0, 1.5], [0.5, 4.0]),
        ([1.0, 1.5], [0.5, 4.0]),
    ]


@pytest.mark.parametrize("n_leaves", [1, 2, 3, 20])
@pytest.mark.parametrize("lowest", [0.0, 0.5, 100.0])
def test_axes_start_below_the_lowest_split(n_leaves, lowest):
    tree = random_tree(n_leaves)
    tree.height[tree.internal_nodes] += lowest
    start, end = draw(tree).ax_.get_ylim()
    splits = tree.height[tree.internal_nodes]
    assert 0.0 <= start < min(splits, default=1.0)
    assert max(splits, default=0.0) < end
    if n_leaves > 2:  # the splits have at least half of the axis
        assert end - start <= 1.6 * (splits.max() - splits.min())


def test_the_root_is_left_on_request(tree):
    display = draw(tree, orientation="left")
    assert display.branches_.get_segments()[0].tolist()[0] == [4.0, 0.5]
    left, right = display.ax_.get_xlim()
    assert left > tree.height[0] > right == 1.5
    bottom, top = display.ax_.get_ylim()
    assert bottom > top  # leaf 0 is at the top


def test_labels_are_clusters_and_numbers_of_samples(tree):
    assert tick_labels(draw(tree).ax_.xaxis) == ["0\n(2)", "1\n(1)", "2\n(1)"]


def test_clusters_can_be_named(tree):
    display = draw(tree, cluster_names=np.array(["ant", "bee", "cow"]))
    assert tick_labels(display.ax_.xaxis) == ["ant", "bee", "cow"]


def test_each_cluster_of_a_cut_has_a_color(tree):
    black, blue, orange = "black", "C0", "C1"
    with plt.rc_context({"axes.edgecolor": black}):
        colors = draw(tree, n_clusters=2).branches_.get_colors()
        assert plt.matplotlib.colors.same_color(colors, [blue, orange, blue, blue])
        colors = draw(tree, n_clusters=3).branches_.get_colors()
        assert plt.matplotlib.colors.same_color(colors, [black, "C2", blue, orange])


def test_unsupported_splits_are_dashed(tree):
    tree.p_values[tree.internal_nodes] = [0.01, 0.5]
    dashes = [dash for _, dash in draw(tree).branches_.get_linestyles()]
    assert [dash is None for dash in dashes] == [True, True, False, False]


def test_the_label_of_the_leaves_explains_dashes(tree):
    assert draw(tree).ax_.get_xlabel() == "cluster (samples)"
    tree.p_values[0] = 1.0
    note = "dashed: split not supported by held-out samples"
    assert draw(tree).ax_.get_xlabel() == f"cluster (samples)\n{note}"
    names = {"cluster_names": ["ant", "bee", "cow"], "orientation": "left"}
    assert draw(tree, **names).ax_.get_ylabel() == f"cluster\n{note}"


@pytest.mark.parametrize("n_clusters", [0, 4, 1.5])
def test_the_cut_must_exist(tree, n_clusters):
    with pytest.raises(ValueError, match="n_clusters must be an int from 1 to 3"):
        draw(tree, n_clusters=n_clusters)
    assert not plt.get_fignums()


def test_unknown_orientations_are_refused(tree):
    with pytest.raises(ValueError, match="'top' or 'left', got 'right'"):
        draw(tree, orientation="right")
    assert not plt.get_fignums()


def test_labels_rotate_before_they_shrink_and_shrink_before_they_are_dropped():
    def labels(n_leaves):
        ax = draw(random_tree(n_leaves), ax=plt.subplots()[1]).ax_
        labels = ax.get_xticklabels()
        return labels[0].get_rotation(), labels[0].get_fontsize(), len(labels)

    assert labels(10) == (0.0, 10.0, 10)
    assert labels(20) == (90.0, 10.0, 20)
    rotation, size, n_labels = labels(32)
    assert (rotation, n_labels) == (90.0, 32)
    assert 6.0 < size < 10.0
    assert labels(100) == (90.0, 6.0, 34)  # every third one
