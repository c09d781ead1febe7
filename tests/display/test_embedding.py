import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from sktreevae.display import EmbeddingDisplay
from sktreevae.display._base import plain
from sktreevae.display.embedding import project

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


def neighbors_in_the_cluster(points, labels):
    """Return the share of pairs of nearest neighbors that have the same label."""
    search = NearestNeighbors(n_neighbors=10).fit(points)
    return (labels[search.kneighbors(return_distance=False)] == labels[:, None]).mean()


def test_neighbors_in_the_plane_share_a_cluster(rng):
    # Six groups on the corners of a cube, besides a direction of larger variance.
    labels = np.repeat(np.arange(6), 50)
    corners = np.array([[i & 1, i >> 1 & 1, i >> 2] for i in range(6)])
    embedding = np.column_stack([10.0 * corners[labels], np.zeros((300, 2))])
    embedding += rng.normal(scale=[1, 1, 1, 20, 1], size=(300, 5))
    kept = {}
    for projection in ("neighbors", "pca"):
        points, _ = project(embedding, labels, projection)
        kept[projection] = neighbors_in_the_cluster(points, labels)
        again, _ = project(embedding, labels, projection)
        np.testing.assert_array_equal(points, again)
    assert kept["neighbors"] > 0.95 > kept["pca"] + 0.2


def test_a_single_cluster_has_principal_components(model):
    names = draw(model, model.training_data(), n_clusters=1).axis_names
    assert names[0].startswith("PC 1")


def test_unknown_projections_are_refused(model):
    with pytest.raises(ValueError, match="'neighbors' or 'pca', got 'tsne'"):
        draw(model, model.training_data(), projection="tsne")


def test_principal_components_keep_the_variance(model):
    X = model.training_data()
    display = draw(model, X, projection="pca")
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


def test_the_legend_has_all_clusters(model):
    names = [f"no. {i}$" for i in range(6)]
    display = draw(model, model.training_data(), cluster_names=names)
    legend = display.legend_
    assert [text.get_text() for text in legend.get_texts()] == list(map(plain, names))
    colors = [patch.get_facecolor() for patch in legend.get_patches()]
    assert plt.matplotlib.colors.same_color(colors, [f"C{i}" for i in range(6)])


def test_legends_that_would_take_the_axes_are_left_out():
    model = FittedModel(random_tree(100))
    X, ax = model.training_data()[::50], plt.subplots(figsize=(4, 3))[1]
    assert draw(model, X, projection="pca", ax=ax).legend_ is None
    assert draw(model, X, projection="pca").legend_ is not None


@pytest.mark.parametrize("shape", [(21, 3), (20, 2)])
def test_there_must_be_two_coordinates_for_each_sample(model, shape):
    message = r"coordinates must have shape \(n_samples, 2\) with 21 samples, got"
    with pytest.raises(ValueError, match=message):
        draw(model, model.training_data(), coordinates=np.zeros(shape))
    assert not plt.get_fignums()


@pytest.mark.parametrize("label", [-1, 2, 0.5])
def test_labels_must_be_clusters(label):
    display = EmbeddingDisplay(np.eye(2), [0, label], n_clusters=2)
    with pytest.raises(ValueError, match=f"labels must be .* 0 to 1, got {label}"):
        display.plot()
    assert not plt.get_fignums()


def test_projections_need_two_samples(model):
    X = model.training_data()
    with pytest.raises(ValueError, match="X must have at least 2 samples .* got 1"):
        draw(model, X[:1])
    assert len(draw(model, X[:3]).coordinates) == 3
    assert len(draw(model, X[:1], coordinates=[[0.0, 0.0]]).coordinates) == 1
