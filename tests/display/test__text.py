"""Names with dollars are texts, and no formulas."""

import numpy as np
import pytest
from matplotlib import pyplot as plt

from sktreevae.display import (
    ContingencyMatrixDisplay,
    DendrogramDisplay,
    EmbeddingDisplay,
    SplitDisplay,
    TreeDisplay,
)
from sktreevae.display._text import plain

from .cases import FittedModel, visible_texts
from .test_split import make_explanation

NAMES = [r"$\frac$", r"$\x$", "cost in $ (US$)"]


def draw_features(tree):
    model = FittedModel(tree)
    return TreeDisplay.from_estimator(model, feature_names=NAMES)


def draw_classes(tree):
    y = [*NAMES, NAMES[0]]
    return TreeDisplay.from_dendrogram(tree, y=y, cluster_names=NAMES)


def draw_titles(tree):
    return TreeDisplay.from_dendrogram(tree, titles=[*NAMES, *NAMES[:2]])


def draw_dendrogram(tree):
    return DendrogramDisplay.from_dendrogram(tree, cluster_names=NAMES)


def draw_contingency(tree):
    display = ContingencyMatrixDisplay(np.eye(3, dtype=int), class_names=NAMES)
    return display.plot(cluster_names=NAMES)


def draw_embedding(tree):
    points = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
    display = EmbeddingDisplay(points, [0, 1, 2], axis_names=NAMES[:2])
    return display.plot(cluster_names=NAMES)


def draw_split(tree):
    found = make_explanation(3)
    found.feature_names = np.array(NAMES)
    return SplitDisplay(found).plot()


@pytest.mark.parametrize(
    "draw",
    [
        draw_features,
        draw_classes,
        draw_titles,
        draw_dendrogram,
        draw_contingency,
        draw_embedding,
        draw_split,
    ],
)
def test_names_are_no_formulas(tree, draw):
    texts = [text.get_text() for text in visible_texts(draw(tree).figure_)]
    for name in NAMES:
        assert any(plain(name) in text for text in texts)


@pytest.mark.parametrize("name", [*NAMES, r"\$a\$", r"\\$", "no dollar"])
def test_plain_text_is_drawn_as_it_is(name):
    texts = [
        plt.figure().text(0.5, 0.5, plain(name)),
        plt.figure().text(0.5, 0.5, name, parse_math=False),
    ]
    images = []
    for text in texts:
        text.figure.canvas.draw()
        images.append(np.asarray(text.figure.canvas.buffer_rgba()))
    np.testing.assert_array_equal(*images)
