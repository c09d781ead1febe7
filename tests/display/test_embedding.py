import matplotlib.pyplot as plt
import numpy as np
import pytest

from sktreevae.display import EmbeddingDisplay

from .cases import FittedModel, random_tree

draw = EmbeddingDisplay.from_estimator


@pytest.fixture
def model():
    return FittedModel(random_tree(6))


def test_samples_have_the_colors_of_their_clusters(model):
    X = model.training_data()
    colors = draw(model, X).scatter_.get_facecolors()
    expected = [f"C{label}" for label in model.dendrogram_.labels]
    assert plt.matplotlib.colors.same_color(colors, expected)
    cut = model.predict(X, n_clusters=3)
    colors = draw(model, X, n_clusters=3).scatter_.get_facecolors()
    expected = [f"C{label}" for label in cut]
    assert plt.matplotlib.colors.same_color(colors, expected)


def test_coordinates_are_principal_components_by_default(model):
    X = model.training_data()
    display = draw(model, X)
    embedding = model.transform(X)
    centered = embedding - embedding.mean(axis=0)
    left, scale, _ = np.linalg.svd(centered, full_matrices=False)
    expected = np.abs(left * scale)[:, :2]
    np.testing.assert_allclose(np.abs(display.coordinates), expected)
    share = scale[0] ** 2 / (scale**2).sum()
    assert display.ax_.get_xlabel() == f"PC 1 ({share:.0%} of variance)"


def test_coordinates_can_be_given(model):
    X = model.training_data()
    coordinates = np.random.default_rng(0).normal(size=(len(X), 2))
    display = draw(model, X, coordinates=coordinates)
    np.testing.assert_array_equal(display.scatter_.get_offsets(), coordinates)
    assert display.ax_.get_xlabel() == "dimension 1"


def test_names_are_at_the_medians_of_the_clusters(model):
    X = model.training_data()
    display = draw(model, X, cluster_names=list("abcdef"))
    assert [text.get_text() for text in display.texts_] == list("abcdef")
    points = display.coordinates[model.dendrogram_.labels == 3]
    np.testing.assert_allclose(
        display.texts_[3].get_position(), np.median(points, axis=0)
    )


def test_names_of_large_clusters_come_first():
    labels = [0, 1, 1]
    display = EmbeddingDisplay([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]], labels).plot()
    assert [text.get_visible() for text in display.texts_] == [False, True]
    assert display.hidden_names_ == ["0"]


@pytest.mark.parametrize("n_leaves", [4, 20, 100])
@pytest.mark.parametrize("size", [(7, 6), (4, 3)])
def test_a_note_tells_that_names_are_hidden(n_leaves, size):
    model = FittedModel(random_tree(n_leaves))
    X, names = model.training_data(), [f"no. {i}$" for i in range(n_leaves)]
    ax = plt.subplots(figsize=size)[1]
    display = draw(model, X, ax=ax, cluster_names=names)
    is_visible = [text.get_visible() for text in display.texts_]
    hidden = [name for name, shown in zip(names, is_visible, strict=True) if not shown]
    assert display.hidden_names_ == hidden
    assert (display.note_ is None) == (not hidden)
    if hidden:
        note = display.note_.get_window_extent()
        points = ax.transData.transform(display.scatter_.get_offsets())
        assert points[:, 1].max() < note.y0
        assert " ".join(display.note_.get_text().split()) == (
            "cluster names that would overlap are left out"
        )


@pytest.mark.parametrize("shape", [(21, 3), (20, 2)])
def test_there_must_be_two_coordinates_for_each_sample(model, shape):
    message = r"coordinates must have shape \(n_samples, 2\) with 21 samples, got"
    with pytest.raises(ValueError, match=message):
        draw(model, model.training_data(), coordinates=np.zeros(shape))
    assert not plt.get_fignums()


def test_principal_components_need_two_samples(model):
    X = model.training_data()
    with pytest.raises(ValueError, match="X must have at least 2 samples .* got 1"):
        draw(model, X[:1])
    assert len(draw(model, X[:2]).coordinates) == 2
    assert len(draw(model, X[:1], coordinates=[[0.0, 0.0]]).coordinates) == 1
