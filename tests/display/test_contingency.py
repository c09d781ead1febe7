import matplotlib.pyplot as plt
import numpy as np
import pytest

from sktreevae.display import ContingencyMatrixDisplay

from .cases import FittedModel, random_tree, tick_labels

draw = ContingencyMatrixDisplay.from_estimator


@pytest.fixture
def model():
    return FittedModel(random_tree(3))  # leaves with 1, 2 and 3 samples


def cells(display):
    return [[text.get_text() for text in row] for row in display.text_]


def test_cells_are_numbers_of_samples(model):
    y = ["dog", "cat", "dog", "cat", "cat", "cat"]
    display = draw(model, model.training_data(), y)
    np.testing.assert_array_equal(display.contingency_matrix, [[1, 1, 0], [0, 1, 3]])
    np.testing.assert_array_equal(display.im_.get_array(), [[1, 1, 0], [0, 1, 3]])
    assert cells(display) == [["1", "1", ""], ["", "1", "3"]]


def test_classes_are_in_the_order_of_the_tree(model):
    display = draw(model, model.training_data(), [7, 9, 9, 8, 8, 8])
    np.testing.assert_array_equal(display.contingency_matrix, np.diag([1, 2, 3]))
    assert tick_labels(display.ax_.yaxis) == ["7", "9", "8"]
    assert tick_labels(display.ax_.xaxis) == ["0", "1", "2"]


def test_clusters_are_those_of_a_cut(model):
    X = model.training_data()
    display = draw(model, X, np.zeros(6), n_clusters=2)
    expected = [np.bincount(model.predict(X, n_clusters=2))]
    np.testing.assert_array_equal(display.contingency_matrix, expected)


@pytest.mark.parametrize(
    ("normalize", "unit", "expected"),
    [
        ("true", "% of the class", [[50, 50, 0], [0, 25, 75]]),
        ("pred", "% of the cluster", [[100, 50, 0], [0, 50, 100]]),
        ("all", "% of all samples", np.divide([[100, 100, 0], [0, 100, 300]], 6)),
        (None, "samples", [[1, 1, 0], [0, 1, 3]]),
    ],
)
def test_values_can_be_shares(model, normalize, unit, expected):
    y = ["dog", "cat", "dog", "cat", "cat", "cat"]
    display = draw(model, model.training_data(), y, normalize=normalize)
    np.testing.assert_allclose(display.im_.get_array(), expected)
    assert display.colorbar_.ax.get_ylabel() == unit


def test_unknown_normalizations_are_refused(model):
    message = "normalize must be 'true', 'pred', 'all' or None, got 'rows'"
    with pytest.raises(ValueError, match=message):
        draw(model, model.training_data(), range(6), normalize="rows")
    assert not plt.get_fignums()


def test_there_must_be_a_name_for_each_class_and_cluster():
    with pytest.raises(ValueError, match="each of the 2 classes, got 1"):
        ContingencyMatrixDisplay(np.ones((2, 3)), class_names=["a"]).plot()
    with pytest.raises(ValueError, match="each of the 3 clusters, got 1"):
        ContingencyMatrixDisplay(np.ones((2, 3))).plot(cluster_names=["a"])
    assert not plt.get_fignums()
