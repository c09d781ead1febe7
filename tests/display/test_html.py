import json
import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import sktreevae
from sktreevae import Dendrogram, export_html

from .cases import FittedModel, random_tree
from .pages import images, labels, read


@pytest.fixture
def path(tmp_path):
    return tmp_path / "my tree.html"


@pytest.fixture
def export(path):
    """Return a function that returns the page of a tree."""

    def export(tree, *args, **kwargs):
        tree.export_html(path, *args, **kwargs)
        return path.read_text(encoding="utf-8")

    return export


def branches(page):
    """Return the attributes of the nodes, from top to bottom."""
    found = [a for _, a in read(page).tags]
    return [a for a in found if "branch" in a.get("class", "").split()]


def features(page):
    """Return the features on the cards, and their directions."""
    return re.findall(r'class="feature (up|down)"><span>(.*?)<', page)


def test_cards_are_read_from_top_to_bottom(export, tree):
    page = export(tree, y=["cat", "cat", "dog", "<fish>"])
    assert "<title>my tree</title>" in page
    assert list(labels(page).items()) == [
        ("node 0", "4 samples, 100%, height 9 nats, 50% cat"),
        ("node 1", "3 samples, 75%, height 4 nats, 67% cat"),
        ("cluster 0", "2 samples, 50%, 100% cat"),
        ("cluster 1", "1 sample, 25%, 100% dog"),
        ("cluster 2", "1 sample, 25%, 100% <fish>"),
    ]


def test_ranks_follow_the_heights(export):
    tree = Dendrogram([-1, 0, 0, 1, 1, 2, 2], [9, 3, 4, 0, 0, 0, 0], labels=[])
    found = [a.get("data-rank") for a in branches(export(tree))]
    assert found == ["0", "2", None, None, "1", None, None]


def test_splits_without_support_are_marked(export, tree):
    tree.p_values[:2] = [1e-9, 0.06]
    page = export(tree)
    marked = [a["id"] for a in branches(page) if "unsupported" in a["class"]]
    assert marked == ["node-3", "node-4"]  # their parent is node 1
    assert page.count("Held-out samples don't support the split.") == 1
    assert {"&lt; 0.001", "= 0.06"} <= set(re.findall("<td>(.*?)</td>", page))
    note = "Dashed: split not supported by held-out samples."
    assert page.count(note) == 1
    tree.p_values[1] = 0.01
    assert note not in export(tree)


def test_details_have_the_probabilities_and_the_cost_of_nodes(export):
    weight = [1, 0.75, 0.25, 0.6, 0.15]
    tree = Dendrogram([-1, 0, 0, 1, 1], [9, 4, 0, 0, 0], [0, 1, 2], weight)
    tree.excess_costs[0] = 0.55
    expected = {"75%", "80% to cluster 0", "20% to cluster 1", "25% given node 0"}
    expected.add("0.55 bits")
    assert expected <= set(read(export(tree)).texts)


@pytest.mark.parametrize(
    "name",
    [
        "</script><b>",
        "<img src=x onerror=alert(1)>",
        "\"'&amp;",
        "{{ title }}",
        "\x00\ud800",
    ],
)
def test_names_are_text(export, tree, name):
    X, y = np.arange(8.0).reshape(4, 2), ["a", "b", "b", "b"]

    def page_of(name):
        names = {"feature_names": [name, "b"], "cluster_names": [name, "b", "c"]}
        return read(export(tree, X, y=[name, *y[1:]], **names))

    page = page_of(name)
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in page_of("a").tags]
    assert page.texts.count(name) > 5 or name == "\x00\ud800"


def test_the_page_refers_to_nothing_outside(export, tree):
    page = export(tree, np.zeros((4, 8, 8)))
    assert """content="default-src 'none'; img-src data:; """ in page
    assert not re.search(r"https?:|//[a-z]|@import|url\(", page)
    for _, attributes in read(page).tags:
        for name in ("src", "href", "action", "data", "srcset", "poster"):
            assert attributes.get(name, "data:").startswith("data:")


def test_words_that_a_text_has_more_of_come_first(export):
    tree = Dendrogram([-1, 0, 0], [1, 0, 0], labels=[0] * 4 + [1] * 4)
    X = np.zeros((8, 4))
    X[[0, 1], 0], X[2, 1], X[[4, 5], 2] = 1.0, 1.0, 1.0
    page = export(tree, X, feature_names=["orbit", "nasa", "god", "none"])
    assert features(page) == [
        *(("up", "orbit"), ("up", "nasa"), ("down", "god")),
        *(("up", "god"), ("down", "orbit"), ("down", "nasa")),
    ]
    (table,) = re.findall("tell the branches apart.*?</table>", page, re.DOTALL)
    assert set(re.findall('class="term">(.*?)<', table)) == {"orbit", "nasa", "god"}


def test_measurements_are_shown_on_both_sides(export, rng):
    labels = np.arange(400) % 2
    tree = Dendrogram([-1, 0, 0], [1, 0, 0], labels=labels)
    X = rng.normal(10.0, 1, size=(400, 3)) + np.outer(labels, [-1.0, 2.0, 0.0])
    expected = [("down", "x1"), ("up", "x0"), ("up", "x1"), ("down", "x0")]
    assert features(export(tree, X)) == expected


def samples(page):
    return json.loads(re.search(r'id="samples">(.*?)</script>', page)[1])


def test_a_frame_names_samples_and_features(export, tree):
    X = pd.DataFrame({"petal": [0.0, 1.0, 2.0, 3.0]}, index=["a", "b", "</script>", 7])
    page = export(tree, X)
    assert "petal" in read(page).texts
    found = samples(page)
    assert found["name"] == ["a", "b", "</script>", "7"]
    assert found["leaf"] == [3, 3, 4, 2]
    assert samples(export(tree))["name"] is None


def legend_colors(page):
    legend = page[page.index('class="legend"') : page.index("</header>")]
    return re.findall(r"--color:(#\w+)", legend)


def test_known_labels_have_a_legend_and_bars(export, tree):
    page = export(tree, y=["cat", "cat", "dog", "<fish>"])
    assert page.count('class="mix"') == tree.n_nodes
    fish, cat, dog = legend_colors(page)
    bar = page[page.index('class="mix"') :].split("</div>")[0]
    shares = re.findall(r"flex-grow:([\d.]+);--color:(#\w+)", bar)
    assert shares == [("0.5000", cat), ("0.2500", fish), ("0.2500", dog)]


def test_rare_labels_share_a_color(export):
    tree = random_tree(30)
    page = export(tree, y=tree.labels)
    colors = legend_colors(page)
    assert len(set(colors)) == len(colors) == 21
    assert "other labels" in page


@pytest.mark.parametrize("shape", [(4, 8, 9), (4, 8, 9, 3), (4, 3, 8, 9)])
def test_arrays_of_images_need_no_shape(export, path, tree, shape):
    X = np.arange(4)[[0, 0, 1, 2]].reshape(4, *(1 for _ in shape[1:])) * np.ones(shape)
    page = export(tree, X)
    assert page == export(tree, X.reshape(4, -1), image_shape=shape[1:])
    assert len(images(page)) == tree.n_nodes
    export_html(FittedModel(tree, np.prod(shape[1:])), path, X)
    assert path.read_text(encoding="utf-8") == page


@pytest.mark.parametrize("shape", [(5, 7), (64, 3), (28, 28, 3), (8, 8, 4)])
def test_images_have_the_pixels_of_the_means(export, rng, shape):
    tree = Dendrogram([-1, 0, 0], [1, 0, 0], labels=[0, 1])
    X = rng.integers(0, 256, (2, *shape)).astype(float)
    X.flat[:2] = 0, 255
    found = images(export(tree, X))[1:]
    np.testing.assert_array_equal(found, X)


def test_all_images_have_the_same_scale(export, tree):
    X = np.array([0.0, 0.0, 5.0, 10.0])[:, None, None] * np.ones((4, 2, 2))
    levels = [image.max() for image in images(export(tree, X))]
    assert levels == [96, 42, 0, 128, 255]
    assert not np.any(images(export(tree, np.full((4, 2, 2), 3.0))))
    tree = Dendrogram([-1, 0, 0], [1, 0, 0], labels=[0])
    assert len(images(export(tree, np.zeros((1, 2, 2))))) == 2  # none of no samples


@pytest.mark.parametrize("size", [(128, 96), (130, 67), (218, 178)])
def test_large_images_are_averages_of_blocks(export, rng, size):
    tree = Dendrogram([-1], [0], labels=[0])
    X = rng.random((1, *size, 3))
    (small,) = images(export(tree, X))
    factor = -(-max(size) // 64)
    assert small.shape[:2] == (-(-size[0] // factor), -(-size[1] // factor))
    block = X[0, :factor, :factor].mean(axis=(0, 1))
    np.testing.assert_allclose(small[0, 0] / 255, block, atol=0.01)


@pytest.mark.parametrize(
    ("n_leaves", "shape", "side"),
    [
        (40, (28, 28), 28),
        (40, (3, 64, 64), 64),
        (40, (218, 178), 55),
        (150, (64, 64, 3), 32),
    ],
)
def test_pages_of_many_images_are_small(export, path, rng, n_leaves, shape, side):
    parent = [-1, *np.repeat(np.arange(n_leaves - 1), 2)]
    tree = Dendrogram(parent, np.arange(len(parent))[::-1], labels=np.arange(n_leaves))
    # Noise doesn't compress at all.
    X = rng.random((n_leaves, np.prod(shape)), dtype=np.float32)
    found = images(export(tree, X, image_shape=shape))
    assert len(found) == tree.n_nodes
    assert {max(image.shape) for image in found} == {side}
    assert path.stat().st_size < 3e6


def test_pages_and_drawings_do_not_need_torch(tmp_path):
    # The package itself imports the estimator, and thereby torch.
    code = f"""
import sys, types
package = types.ModuleType("sktreevae")
package.__path__ = [{os.path.dirname(sktreevae.__file__)!r}]
sys.modules["sktreevae"] = package
from sktreevae.tree import Dendrogram
from sktreevae.display import DendrogramDisplay, TreeDisplay
tree = Dendrogram([-1, 0, 0], [2, 0, 0], labels=[0, 0, 1])
X = [[4.0, 40.0], [4.0, 60.0], [2.0, 80.0]]
tree.export_html({str(tmp_path / "tree.html")!r}, X, y=["cat", "cat", "duck"])
DendrogramDisplay.from_dendrogram(tree)
TreeDisplay.from_dendrogram(tree, X, image_shape=(1, 2))
assert "torch" not in sys.modules
"""
    environment = {**os.environ, "MPLBACKEND": "agg"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert (tmp_path / "tree.html").exists()


@pytest.mark.parametrize("package", ["jinja2", "PIL.Image"])
def test_missing_packages_are_named(monkeypatch, tree, path, package):
    monkeypatch.setitem(sys.modules, package, None)
    name = {"PIL.Image": "Pillow"}.get(package, package)
    message = rf"pages need {name}. Install it with: pip install 'sktreevae\[plot\]'"
    with pytest.raises(ImportError, match=message):
        tree.export_html(path, np.zeros((4, 2, 2)))
    assert not path.exists()


X = np.zeros((4, 2))
DESCRIBES_X = "feature_names and image_shape describe X, but X is"


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"X": X[:3]}, "X must have one entry for each of the 4 samples .* 3"),
        ({"X": np.full((4, 2), np.nan)}, "Input X contains NaN"),
        ({"X": X, "feature_names": ["a"]}, "each of the 2 features, got 1"),
        ({"X": X, "image_shape": (8, 8)}, "means 64 features, but X has 2"),
        ({"feature_names": ["a"]}, DESCRIBES_X),
        ({"image_shape": (8, 8)}, DESCRIBES_X),
        ({"cluster_names": ["a"]}, "one name for each of the 3 clusters, got 1"),
        ({"y": [0, 1]}, "y must have one entry for each of the 4 samples .* got 2"),
        ({"y": X}, "y should be a 1d array"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(tree, path, arguments, match):
    with pytest.raises(ValueError, match=match):
        tree.export_html(path, **arguments)
    assert not path.exists()
