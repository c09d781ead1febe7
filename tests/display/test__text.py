"""Names with dollars are texts, and no formulas."""

import numpy as np
import pytest
from matplotlib import pyplot as plt

from sktreevae.display import (
    ContingencyMatrixDisplay,
    EmbeddingDisplay,
    ProfileDisplay,
    SplitDisplay,
    TreeDisplay,
)
from sktreevae.display._base import plain

from .cases import make_explanation, visible_texts

NAMES = [r"$\frac$", r"$\x$", "cost in $ (US$)"]


FROM_DENDROGRAM = TreeDisplay.from_dendrogram
FOUND = make_explanation(3)
FOUND.feature_names = np.array(NAMES)

DRAWINGS = {
    "features": lambda tree: FROM_DENDROGRAM(
        tree, np.eye(4)[:, 1:], feature_names=NAMES
    ),
    "classes": lambda tree: FROM_DENDROGRAM(
        tree, y=[*NAMES, NAMES[0]], cluster_names=NAMES
    ),
    "titles": lambda tree: FROM_DENDROGRAM(tree, titles=[*NAMES, *NAMES[:2]]),
    "dendrogram": lambda tree: tree.plot(cluster_names=NAMES),
    "contingency": lambda tree: ContingencyMatrixDisplay(
        np.eye(3, dtype=int), class_names=NAMES
    ).plot(cluster_names=NAMES),
    "embedding": lambda tree: EmbeddingDisplay(
        np.outer([0.0, 1.0, 2.0], [1.0, 1.0]), [0, 1, 2], axis_names=NAMES[:2]
    ).plot(cluster_names=NAMES),
    "profile": lambda tree: ProfileDisplay(tree, np.eye(3), feature_names=NAMES).plot(
        cluster_names=NAMES
    ),
    "split": lambda tree: SplitDisplay(FOUND).plot(),
}


@pytest.mark.parametrize("kind", DRAWINGS)
def test_names_are_no_formulas(tree, kind):
    figure = DRAWINGS[kind](tree).figure_
    texts = [text.get_text() for text in visible_texts(figure)]
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
