import numpy as np
import pytest

from sktreevae.display import plot_image_tree


def drawn_images(ax):
    boxes = [artist for artist in ax.artists if hasattr(artist, "offsetbox")]
    return [np.asarray(box.offsetbox.get_data()) for box in boxes]


@pytest.mark.parametrize("shape", [(6, 6), (6, 8, 1), (6, 8, 3), (6, 8, 4)])
def test_every_node_shows_the_mean_of_its_samples(tree, shape):
    images = np.arange(4.0).reshape(4, *(1 for _ in shape)) / 3 * np.ones((4, *shape))
    ax = plot_image_tree(tree, images)
    ax.figure.canvas.draw()
    means = [image.mean() for image in drawn_images(ax)]
    np.testing.assert_allclose(means, np.divide([1.5, 1.0, 3.0, 0.5, 2.0], 3))


def test_images_are_not_changed(tree):
    images = np.ones((4, 8, 8))
    plot_image_tree(tree, images)
    assert (images == 1.0).all()


@pytest.mark.parametrize("titles", [None, ["a", "b", "c", "d", "e"]])
def test_titles_are_numbers_of_samples_by_default(tree, titles):
    ax = plot_image_tree(tree, np.zeros((4, 8, 8)), titles=titles)
    expected = ["4", "3", "1", "2", "1"] if titles is None else titles
    assert [text.get_text() for text in ax.texts] == expected


@pytest.mark.parametrize("shape", [(4, 64), (4,), (4, 3, 8, 8), (4, 8, 8, 2)])
def test_flat_images_must_be_reshaped(tree, shape):
    with pytest.raises(ValueError, match="images must have shape .* Reshape flat"):
        plot_image_tree(tree, np.zeros(shape))


def test_there_must_be_an_image_for_each_sample(tree):
    with pytest.raises(ValueError, match="one image for each of the 4 samples, got 3"):
        plot_image_tree(tree, np.zeros((3, 2, 2)))


def test_there_must_be_a_title_for_each_node(tree):
    with pytest.raises(ValueError, match="one text for each of the 5 nodes, got 1"):
        plot_image_tree(tree, np.zeros((4, 2, 2)), titles=["a"])
