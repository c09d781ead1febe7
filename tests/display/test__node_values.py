"""Values of the nodes of a tree, from the samples below them."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from sktreevae import Dendrogram
from sktreevae.display import ContingencyMatrixDisplay, TreeDisplay
from sktreevae.display._node_values import (
    NodeData,
    are_amounts,
    as_images,
    encode_classes,
    sibling_differences,
)
from sktreevae.inspection.columns import number_features
from sktreevae.inspection.effects import GroupMoments
from sktreevae.model import ImageLayout
from sktreevae.utils.text import format_number

from .cases import FittedModel


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("sides", [(8, 9), (9, 8)])
def test_images_are_those_of_the_model(channels, sides):
    for shape in ((channels, *sides), (*sides, channels)):
        layout = ImageLayout.from_shape(shape)
        rows = np.random.default_rng(0).normal(size=(2, layout.n_features))
        expected = layout.images(torch.as_tensor(rows)).permute(0, 2, 3, 1).numpy()
        actual = as_images(rows, shape)
        np.testing.assert_array_equal(actual.reshape(expected.shape), expected)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((4, 4, 3), (4, 4, 3)), ((3, 4, 4), (4, 4, 3)), ((4, 4, 4), (4, 4, 4))]
    + [((6, 6, 1), (6, 6)), ((1, 6, 6), (6, 6)), ((1, 5), (1, 5))]
    + [((2, 6, 3), (2, 6, 3))],
)
def test_small_images_have_their_channels_on_the_shorter_axis(shape, expected):
    rows = np.zeros((2, np.prod(shape)))
    assert as_images(rows, shape).shape == (2, *expected)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([None] * 4, "sample, but '<' not supported between"),
        ([None], "sample, got None"),
        (["a", None, "b", "a"], "sample, but '<' not supported between"),
        (np.array(["a", 1, 2, "b"], dtype=object), "sample, but '<' not supported"),
        ([0.5, 1.0, 2.0, 0.25], r"sample, got 0\.25"),
        ([0.0, 1.0, np.nan, 0.0], "sample, got nan"),
        (np.array([0.0, np.inf], dtype=object), "sample, got inf"),
    ],
)
def test_classes_are_ints_or_names(y, message):
    with pytest.raises(ValueError, match=f"y must have an int or a name.*{message}"):
        encode_classes(y)


@pytest.mark.parametrize(
    "y",
    [
        [3, 1, 3],
        [3.0, 1.0, 3.0],
        ["b", "a", "b"],
        [True, False, True],
        np.array([3, 1, 3], dtype=object),
        pd.Series(["b", "a", "b"], dtype="category"),
        pd.Series(["b", "a", "b"], dtype="string"),
    ],
)
def test_classes_are_sorted(y):
    classes, codes = encode_classes(y)
    np.testing.assert_array_equal(codes, [1, 0, 1])
    assert classes[1] == np.asarray(y)[0]


@pytest.mark.parametrize("y", [[None] * 4, [0.1, 0.2, 0.3, 0.4]])
def test_all_displays_refuse_what_is_no_class(tree, y, tmp_path):
    model = FittedModel(tree)
    X = model.training_data()
    draws = [
        lambda: TreeDisplay.from_estimator(model, y=y),
        lambda: TreeDisplay.from_dendrogram(tree, y=y),
        lambda: ContingencyMatrixDisplay.from_estimator(model, X, y),
        lambda: tree.export_html(tmp_path / "tree.html", y=y),
    ]
    for draw in draws:
        with pytest.raises(ValueError, match="y must have an int or a name for each"):
            draw()


def node_moments(X, labels):
    """Return the moments of the rows below each node of the full tree."""
    tree = Dendrogram([-1, 0, 0, 1, 1, 2, 2], np.zeros(7), labels)
    return NodeData.from_dendrogram(tree, X, None, None).describe()[1]


def brute_force(X, labels):
    """Return the mean and the variance of the rows below each node of it."""
    below = [(0, 1, 2, 3), (0, 1), (2, 3), (0,), (1,), (2,), (3,)]
    rows = [X[np.isin(labels, leaves)] for leaves in below]
    return np.array([x.mean(0) for x in rows]), np.array([x.var(0) for x in rows])


@pytest.mark.parametrize(
    ("convert", "offset"),
    [
        (np.asarray, 0.0),
        (np.asarray, 1e6),
        (sparse.csr_matrix, 0.0),
        (sparse.csr_array, 0.0),
        # Sums of small types don't overflow.
        *((lambda X, t=t: X.round().astype(t), 200.0) for t in (np.uint8, np.float16)),
    ],
)
def test_moments_are_those_of_the_rows_below(rng, convert, offset):
    X = rng.normal(size=(3000, 3)) * (rng.random((3000, 3)) < 0.5) + offset
    X, labels = convert(X), np.r_[np.arange(4), rng.integers(0, 4, 2996)]
    moments = node_moments(X, labels)
    dense = X.toarray() if sparse.issparse(X) else X.astype(float)
    mean, variance = brute_force(dense, labels)
    np.testing.assert_allclose(moments.mean, mean, atol=1e-12)
    np.testing.assert_allclose(moments.variance, variance, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("is_amount", [False, True])
def test_differences_are_the_largest_effects_between_siblings(is_amount, rng):
    mean, variance = rng.normal(size=(7, 6)), rng.uniform(0.5, 1.5, (7, 6))
    mean[5] = np.nan  # a node without rows
    moments = GroupMoments(mean, variance, np.ones((7, 1)))
    features = number_features("abcdef")
    found = sibling_differences(features, moments, 3, is_amount)
    assert found[0] == found[5] == found[6] == []
    for node, sibling in ((1, 2), (2, 1), (3, 4), (4, 3)):
        spread = np.sqrt((variance[node] + variance[sibling]) / 2)
        effect = (mean[node] - mean[sibling]) / spread
        order = sorted(range(6), key=lambda i: -abs(effect[i]))
        if is_amount:  # those that the node has more of come first
            order = sorted(order, key=lambda i: effect[i] < 0)
        order = [i for i in order[:3] if abs(effect[i]) >= 0.3]
        assert [d.feature for d in found[node]] == ["abcdef"[i] for i in order]
        np.testing.assert_allclose([d.effect for d in found[node]], effect[order])
        means = [(d.mean, d.other_mean) for d in found[node]]
        expected = mean[[[node], [sibling]], order].T
        assert means == [tuple(map(format_number, pair)) for pair in expected]


def test_counts_are_amounts_and_measurements_are_not(rng):
    labels = np.arange(400) % 4
    counts = rng.poisson(0.2, size=(400, 5))
    assert are_amounts(node_moments(counts, labels)).all()
    measured = rng.normal(labels[:, None], 1, size=(400, 5))
    standardized = (measured - measured.mean(axis=0)) / measured.std(axis=0)
    for X in (measured, standardized, measured + 10.0):
        assert not are_amounts(node_moments(X, labels)).any()
