"""Trees to draw, and checks of drawings."""

import numpy as np
from matplotlib.text import Text

from sktreevae import Dendrogram
from sktreevae.inspection.columns import Feature
from sktreevae.inspection.explanation import Explanation


def random_tree(n_leaves, shape="random"):
    """Return a tree whose leaves have 1, 2, ... samples.

    One of the first leaves is split next in a "random" tree, the first one in a
    "balanced" tree, and the last one in a "chain".
    """
    rng = np.random.default_rng(n_leaves)
    split = []
    for i in range(n_leaves - 1):
        first, last = (split[-1] + 1 if split else 0), 2 * i
        near = rng.integers(first, min(first + 3, last) + 1)
        split.append({"random": near, "balanced": first, "chain": last}[shape])
    parent = [-1, *np.repeat(split, 2).astype(int)]
    height = np.zeros(len(parent))
    for node in range(len(parent) - 1, 0, -1):
        above = height[node] + rng.uniform(0.1, 1.0)
        height[parent[node]] = max(height[parent[node]], above)
    labels = np.repeat(np.arange(n_leaves), np.arange(1, n_leaves + 1))
    tree = Dendrogram(parent, height, labels)
    tree.p_values[tree.internal_nodes] = rng.uniform(0, 0.1, n_leaves - 1)
    return tree


class FittedModel:
    """Estimator as it is after a fit, without the training."""

    def __init__(self, tree, n_features=16):
        self.dendrogram_ = tree
        self.n_features = self.n_features_in_ = n_features
        self.n_clusters_ = tree.n_clusters
        self.image_shape = None

    def training_data(self):
        """Return the training data: the label of the leaf in all features."""
        return np.repeat(self.dendrogram_.labels[:, None], self.n_features, axis=1)

    def predict(self, X, n_clusters=None):
        assert np.shape(X)[1:] == (self.n_features,)
        cut = self.dendrogram_.cut(n_clusters or self.dendrogram_.n_clusters)
        return cut[np.asarray(X)[:, 0].astype(int)]

    def _validate(self, X):
        return np.asarray(X, dtype=float)

    def transform(self, X):
        angle = np.asarray(X, dtype=float)[:, :1]
        noise = np.random.default_rng(0).normal(scale=0.1, size=(len(X), 3))
        return np.hstack([np.cos(angle), np.sin(angle), angle]) + noise


def make_explanation(n_features=4, name="feature {}"):
    """Return an explanation with random means."""
    left, right = np.random.default_rng(0).normal(size=(2, n_features))
    order = np.argsort(-np.abs(left - right))
    return Explanation(
        node=3,
        branches=(5, 6),
        clusters=(np.array([0]), np.array([1, 2])),
        columns=tuple(Feature(name.format(i), i) for i in order),
        left_mean=left[order],
        right_mean=right[order],
        spread=np.ones(n_features),
        effect=(left - right)[order],
    )


def tick_labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def visible_texts(figure):
    """Return the texts that a drawing shows."""
    figure.canvas.figure.draw_without_rendering()
    texts = figure.findobj(lambda a: isinstance(a, Text) and a.get_text().strip())
    # Artists of invisible parents, and of axes that are off, are not drawn.
    hidden = set()
    for ax in figure.findobj(lambda a: hasattr(a, "axison")):
        if not ax.axison:
            hidden |= set(ax.xaxis.findobj(Text)) | set(ax.yaxis.findobj(Text))
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                is_out = not low - 1e-9 <= tick.get_loc() <= high + 1e-9
                if is_out or not tick.label1.get_visible():
                    hidden.add(tick.label1)
                if is_out or not tick.label2.get_visible():
                    hidden.add(tick.label2)
    return [text for text in texts if text.get_visible() and text not in hidden]


def assert_disjoint(artists):
    """Check that artists don't overlap."""
    boxes = np.array([artist.get_window_extent().extents for artist in artists])
    low, high = boxes[:, :2], boxes[:, 2:]
    # Glyphs are smaller than their boxes, which may touch.
    common = np.minimum(high[:, None], high) - np.maximum(low[:, None], low)
    overlaps = np.triu((common > 1).all(axis=2), k=1)
    assert not [(artists[i], artists[j]) for i, j in np.argwhere(overlaps)]


def assert_legible(figure):
    """Check that texts don't overlap, are in the figure, and aren't too small."""
    texts = visible_texts(figure)
    assert texts
    assert min(text.get_fontsize() for text in texts) >= 5.99
    outer = figure.bbox.extents
    boxes = np.array([text.get_window_extent().extents for text in texts])
    is_cut = (boxes[:, :2] < outer[:2] - 1) | (boxes[:, 2:] > outer[2:] + 1)
    assert not [texts[i] for i in np.flatnonzero(is_cut.any(axis=1))]
    assert_disjoint(texts)
