import numpy as np
import pytest

from sktreevae import Dendrogram
from sktreevae.display._node_contents import (
    N_COLORS,
    add_differences,
    add_images,
    add_labels,
    branch_effects,
    is_amount,
    largest,
    name_nodes,
)
from sktreevae.display._node_values import count_classes, node_moments
from sktreevae.inspection.effects import GroupMoments

LABELS = np.array([0, 0, 1, 2])


@pytest.fixture
def contents(tree):
    return name_nodes(tree, LABELS, ["cat", "dog", "fish"])


def test_leaves_have_their_names_and_nodes_their_numbers(contents):
    assert [c.name for c in contents] == ["node 0", "node 1", "fish", "cat", "dog"]
    assert [c.n_samples for c in contents] == [4, 3, 1, 2, 1]


def test_numbers_of_samples_are_those_of_the_given_labels(tree):
    contents = name_nodes(tree, np.array([2, 2]), ["a", "b", "c"])
    assert [c.n_samples for c in contents] == [2, 0, 2, 0, 0]


def test_nodes_without_samples_have_no_image(contents):
    mean = np.arange(5.0)[:, None] * np.ones(64)
    mean[1] = np.nan
    add_images(contents, mean, (8, 8))
    assert [bool(c.image) for c in contents] == [True, False, True, True, True]


def test_branches_have_opposite_differences(tree, contents, rng):
    X = rng.normal(5, 1, size=(4, 3))
    add_differences(contents, tree, node_moments(tree, X, LABELS), ["a", "b", "c"])
    assert contents[0].features == []
    for node in tree.internal_nodes:
        left, right = tree.children_left[node], tree.children_right[node]
        assert contents[node].split == contents[left].features
        for here, there in zip(
            contents[left].features, contents[right].features, strict=True
        ):
            assert here.feature == there.feature
            assert here.effect == -there.effect
            assert (here.mean, here.other_mean) == (there.other_mean, there.mean)


def test_differences_are_sorted_by_the_size_of_their_effect(tree, contents, rng):
    X = rng.normal(5, 1, size=(4, 30))
    names = [f"x{i}" for i in range(30)]
    add_differences(contents, tree, node_moments(tree, X, LABELS), names)
    sizes = [abs(difference.effect) for difference in contents[1].features]
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) == 10


def test_texts_show_the_words_that_they_have_more_of():
    tree = Dendrogram([-1, 0, 0], [1, 0, 0], labels=[0] * 4 + [1] * 4)
    X = np.zeros((8, 4))
    X[[0, 1], 0], X[2, 1], X[[4, 5], 2] = 1.0, 1.0, 1.0
    contents = name_nodes(tree, tree.labels, ["left", "right"])
    moments = node_moments(tree, X, tree.labels)
    add_differences(contents, tree, moments, ["orbit", "nasa", "god", "none"])
    _, left, right = ([d.feature for d in c.features] for c in contents)
    assert left == ["orbit", "nasa"]
    assert right == ["god"]
    assert {d.feature for d in contents[0].split} == {"orbit", "nasa", "god"}


def test_shares_of_labels_are_those_of_the_samples_below(tree, contents):
    legend = add_labels(contents, *count_classes(tree, LABELS, ["b", "a", "b", "c"]))
    assert [(s.label, s.share) for s in contents[0].labels] == [
        ("b", 0.5),
        ("a", 0.25),
        ("c", 0.25),
    ]
    assert [(s.label, s.share) for s in contents[2].labels] == [("c", 1.0)]
    assert sorted((s.color, s.label) for s in legend) == [(0, "a"), (1, "b"), (2, "c")]


def test_a_node_without_samples_has_no_labels(tree):
    labels = np.array([0, 0])
    contents = name_nodes(tree, labels, ["a", "b", "c"])
    add_labels(contents, *count_classes(tree, labels, [1, 2]))
    assert contents[2].labels == []
    assert len(contents[3].labels) == 2


def test_the_rarest_of_many_labels_share_a_color():
    tree = Dendrogram([-1], [0], labels=np.zeros(51))
    y = np.r_[np.arange(25), np.arange(1, 26), 0]
    contents = name_nodes(tree, tree.labels, ["all"])
    legend = add_labels(contents, *count_classes(tree, tree.labels, y))
    colors = {share.label: share.color for share in legend}
    assert sorted(colors.values()) == [*range(N_COLORS), *[N_COLORS] * 6]
    assert colors["25"] == N_COLORS
    assert colors["0"] == 0


def test_effects_are_differences_in_standard_deviations(full_tree):
    mean = np.array([[2.0], [1.0], [3.0], [0.0], [3.0], [1.0], [1.0]])
    variance = np.array([[9.0], [9.0], [9.0], [1.0], [2.0], [1.0], [2.0]])
    effects = branch_effects(full_tree, GroupMoments(mean, variance))
    np.testing.assert_allclose(effects[3], -3 / np.sqrt(1.5))
    np.testing.assert_allclose(effects[4], 3 / np.sqrt(1.5))
    assert effects[0] == effects[5] == effects[6] == 0


def test_effects_do_not_depend_on_units(full_tree, rng):
    X, labels = rng.normal(size=(40, 3)), np.arange(40) % 4
    effects = branch_effects(full_tree, node_moments(full_tree, X, labels))
    scaled = branch_effects(
        full_tree, node_moments(full_tree, X * [2, 9, 0.1] + 7, labels)
    )
    np.testing.assert_allclose(scaled, effects, rtol=1e-9)


def test_effects_of_constant_features_are_finite(full_tree):
    X = np.array([[1.0, 5.0], [1.0, 5.0], [2.0, 5.0], [2.0, 5.0]])
    effects = branch_effects(full_tree, node_moments(full_tree, X, np.arange(4)))
    assert np.isfinite(effects).all()
    assert (effects[:, 1] == 0).all()
    assert effects[1, 0] < -10


def test_a_branch_without_samples_has_no_effect(full_tree):
    moments = node_moments(full_tree, np.arange(4.0)[:, None], np.array([0, 0, 1, 1]))
    effects = branch_effects(full_tree, moments)
    assert np.nan_to_num(effects[[1, 2, 5, 6]]).tolist() == [[0], [0], [0], [0]]


def test_word_counts_are_amounts_and_measurements_are_not(full_tree, rng):
    labels = np.arange(400) % 4
    words = rng.poisson(0.3, size=(400, 5))
    lengths = rng.normal(10, 1, size=(400, 5))
    assert is_amount(node_moments(full_tree, words, labels))
    assert not is_amount(node_moments(full_tree, lengths, labels))
    assert not is_amount(node_moments(full_tree, lengths - 10, labels))


def test_largest_sizes_come_first_and_zeros_not_at_all():
    assert largest(np.array([0.0, 2.0, -1.0, 3.0, 0.5]), 2) == [3, 1]
    assert largest(np.array([0.0, 2.0, np.nan]), 5) == [1]
