"""A tree as one HTML page that unfolds."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..inspection.columns import Feature, row_index
from ..inspection.effects import GroupMoments
from ..tree.arrays import highest_first, leaves_below
from ..tree.names import check_cluster_names
from ..utils.files import PathLike, replacing
from ..utils.text import count, format_effect, format_number, format_p_value
from . import _base, _node_values
from ._base import Floats, Ints
from ._node_values import NodeData

MAX_SHOWN_CLUSTERS = 12
"""Maximum number of clusters that a new page shows; the others are folded."""

N_FEATURES = 10
"""Maximum number of features at a node."""

SIDES = 16, 64
"""Smallest and largest limit of the longer side of an image in pixels."""

MAX_VALUES = 1_100_000
"""Maximum number of values of all images of a page, if 16 pixels a side are enough."""


@dataclass(frozen=True)
class LabelShare:
    """Share of a known label among the samples of a node.

    Parameters
    ----------
    label : str
        The label.
    share : float
        Share of the samples.
    color : int
        Number of its color; `MAX_COLORS` for rare labels.
    """

    label: str
    share: float
    color: int


@dataclass
class NodeContent:
    """What is shown at a node.

    Parameters
    ----------
    name : str
        Name of the node.
    n_samples : int
        Number of samples below the node.
    image : str, default=""
        Data URI of its image.
    features : list of _node_values.Difference
        Features that differ between the node and its sibling, larger amounts first.
    labels : list of LabelShare
        Known labels of its samples, the most frequent first.
    """

    name: str
    n_samples: int
    image: str = ""
    features: list[_node_values.Difference] = field(default_factory=list)
    labels: list[LabelShare] = field(default_factory=list)


def export_html(
    estimator: Any,
    path: PathLike,
    X: Any = None,
    *,
    y: ArrayLike | None = None,
    feature_names: Sequence[str] | None = None,
    image_shape: tuple[int, ...] | None = None,
    cluster_names: Sequence[str] | None = None,
) -> None:
    """Write the tree of an estimator or of a pipeline as one HTML page that unfolds.

    Parameters
    ----------
    estimator : TreeVAEClustering or Pipeline
        Fitted estimator, or a pipeline whose last step it is.
    path : str or path-like
        File to write. An older file is replaced when the page is complete.
    X : object, default=None
        Rows, as for ``estimator.predict``. Columns of a data frame that enters a
        pipeline are described as they are, as by :func:`sktreevae.explain`.
    y, feature_names, image_shape, cluster_names
        As for the method; see :meth:`TreeVAEClustering.export_html`.

    Raises
    ------
    ImportError, ValueError
        As the method.
    NotFittedError
        If the estimator is not fitted.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sktreevae import TreeVAEClustering, export_html
    >>> X = load_iris(as_frame=True).data
    >>> model = TreeVAEClustering(n_clusters=2, random_state=0)
    >>> pipeline = make_pipeline(StandardScaler(), model).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export_html(pipeline, f"{folder}/iris.html", X)  # means in cm
    """
    data = NodeData.from_estimator(estimator, X, feature_names, image_shape)
    write_page(data, path, X, y, cluster_names)


def write_page(
    data: NodeData,
    path: PathLike,
    X: object,
    y: ArrayLike | None,
    cluster_names: Sequence[str] | None,
) -> None:
    """Write a tree as one HTML page, whose title is the name of the file.

    The index of a DataFrame X names the samples; otherwise their numbers do.
    """
    template, tree = _load_template(), data.tree
    nodes = _name_nodes(data, cluster_names)
    differences = [[]] * tree.n_nodes
    if data.describe is not None:
        features, moments = data.describe()
        if data.image_shape is not None:
            _add_images(nodes, _node_values.as_images(moments.mean, data.image_shape))
        else:
            differences = _add_differences(nodes, features, moments)
    if y is not None:
        _add_labels(nodes, *data.count_classes(y))
    # As in `Dendrogram.cut`, a cut into k clusters has the k - 1 highest splits.
    splits = highest_first(tree.height, tree.leaf_label).tolist()
    index = row_index(X)
    names = None if index is None else list(map(str, index))
    below = leaves_below(tree.parent, tree.leaves)
    first_leaf = below.argmax(axis=1)
    page = template.render(
        title=Path(path).stem,
        tree=tree,
        nodes=nodes,
        differences=differences,
        # From top to bottom.
        order=np.lexsort((tree.depth, first_leaf)).tolist(),
        first_leaf=first_leaf.tolist(),
        rank=dict(zip(splits, range(len(splits)), strict=True)),
        n_leaves=below.sum(axis=1),
        n_shown=min(tree.n_clusters, MAX_SHOWN_CLUSTERS),
        samples={"leaf": tree.leaves[data.labels].tolist(), "name": names},
    )
    with replacing(path) as stream:
        # Names may have lone surrogates, which UTF-8 lacks.
        stream.write(page.encode("utf-8", errors="xmlcharrefreplace"))


def _load_template() -> Any:
    """Return the template of the page, which escapes what is put into it."""
    environment = _base.import_plotting("jinja2").Environment(
        autoescape=True, trim_blocks=True
    )
    environment.filters |= {
        "number": format_number,
        "effect": format_effect,
        "p_value": format_p_value,
        "percent": _percent,
        "isfinite": math.isfinite,
    }
    environment.globals["count"] = count
    text = files(__package__).joinpath("tree_page.html").read_text("utf-8")
    return environment.from_string(text)


def _percent(share: float) -> str:
    """Return a share as a percentage, with a decimal place if it is small."""
    if 0 < share < 0.001:
        return "<0.1%"
    return f"{100 * share:.{0 if share >= 0.1 else 1}f}%"


def _name_nodes(
    data: NodeData, cluster_names: Sequence[str] | None
) -> list[NodeContent]:
    """Return a content with the name and the number of samples for each node."""
    names = check_cluster_names(cluster_names, data.tree.n_clusters, "cluster {}")
    labels = data.tree.leaf_label
    return [
        NodeContent(names[label] if label >= 0 else f"node {node}", int(n))
        for node, (label, n) in enumerate(zip(labels, data.n_samples, strict=True))
    ]


def _add_images(nodes: list[NodeContent], images: Floats) -> None:
    """Set the images of the nodes, all of the same scale; NaN is no image.

    Large images are reduced, the more nodes there are the more.
    """
    low, high = np.nanmin(images), np.nanmax(images)
    levels = np.rint((images - low) * (255.0 / (high - low) if high > low else 0.0))
    n_channels = math.prod(images.shape[3:])
    side = np.clip(math.sqrt(MAX_VALUES / (len(images) * n_channels)), *SIDES)
    factor = math.ceil(max(images.shape[1:3]) / side)
    for node, image in zip(nodes, levels, strict=True):
        if not np.isnan(image).any():
            node.image = _data_uri(image.astype(np.uint8), factor)


def _data_uri(pixels: NDArray[np.uint8], factor: int) -> str:
    """Return an image, reduced by a factor, as a data URI."""
    buffer = io.BytesIO()
    image = _base.import_plotting("PIL.Image").fromarray(pixels)
    image.reduce(factor).save(buffer, "png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _add_differences(
    nodes: list[NodeContent], features: Sequence[Feature], moments: GroupMoments
) -> list[list[_node_values.Difference]]:
    """Set the features of the nodes, and return them with the largest effect first."""
    find = partial(_node_values.sibling_differences, features, moments, N_FEATURES)
    amounts_first = find(_node_values.are_amounts(moments))
    for node, found in zip(nodes, amounts_first, strict=True):
        node.features = found
    return find()


def _add_labels(nodes: list[NodeContent], counts: Ints, names: Sequence[str]) -> None:
    """Set the shares of known labels.

    Parameters
    ----------
    nodes : list of NodeContent
        Changed in place.
    counts : ndarray of int of shape (n_nodes, n_labels)
        Number of samples with each label.
    names : sequence of str of length n_labels
        Names of the labels, in sorted order.
    """
    color = np.full(len(names), _base.MAX_COLORS)
    frequent = np.sort(np.argsort(-counts[0], kind="stable")[: _base.MAX_COLORS])
    color[frequent] = np.arange(len(frequent))
    for node, row in zip(nodes, counts, strict=True):
        order = np.argsort(-row, kind="stable")[: np.count_nonzero(row)]
        share = row / max(row.sum(), 1)
        node.labels = [LabelShare(names[i], share[i], color[i]) for i in order]
