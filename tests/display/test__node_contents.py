import numpy as np
import pytest

from sktreevae import Dendrogram
from sktreevae.display._node_contents import (
    add_differences,
    add_labels,
    is_amount,
    name_nodes,
)
from sktreevae.display._node_values import count_classes, node_moments

LABELS = np.array([0, 0, 1, 2])


@pytest.fixture
def contents(tree):
    return name_nodes(tree, LABELS, ["cat", "dog", "fish"])


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


def test_word_counts_are_amounts_and_measurements_are_not(full_tree, rng):
    labels = np.arange(400) % 4
    words = rng.poisson(0.3, size=(400, 5))
    lengths = rng.normal(10, 1, size=(400, 5))
    assert is_amount(node_moments(full_tree, words, labels))
    assert not is_amount(node_moments(full_tree, lengths, labels))
    assert not is_amount(node_moments(full_tree, lengths - 10, labels))
