"""HTML of a fitted estimator: links to the documentation, and a page of its tree."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import ClassVar

from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted
from torch.utils.data import Dataset

from ._validation import validate_rows
from .display.html import (
    TreePage,
    choose_image_shape,
    image_shape_of,
    node_moments,
)
from .inspection.effects import GroupMoments
from .tree import Dendrogram

__all__ = ["HtmlMixin", "documentation_template"]

PACKAGE = __name__.partition(".")[0]


def documentation_template(project_urls: Sequence[str]) -> str:
    """Return the address of the page of an estimator, as a format string, or "".

    Parameters
    ----------
    project_urls : sequence of str
        Entries "label, address" in the metadata of the package. That of the label
        "Documentation" is used.

    Examples
    --------
    >>> documentation_template(["Documentation, https://example.org/stable/"])
    'https://example.org/stable/api/sktreevae.{estimator_name}.html'
    """
    for entry in project_urls:
        label, _, address = entry.partition(",")
        if label.strip().lower() == "documentation":
            address = address.strip().rstrip("/")
            return f"{address}/api/{PACKAGE}.{{estimator_name}}.html"
    return ""


def _project_urls() -> list[str]:
    """Return the project URLs of this package."""
    try:
        return metadata.metadata(PACKAGE).get_all("Project-URL", [])
    except metadata.PackageNotFoundError:
        # The package runs from its source, without an installation.
        return []


class HtmlMixin:
    """HTML of a fitted estimator.

    In notebooks, scikit-learn links the names of the estimator, its parameters and its
    fitted attributes to the documentation, if the metadata of the package has its
    address. There are no links otherwise.
    """

    dendrogram_: Dendrogram
    _node_moments: Callable[[], GroupMoments]

    _doc_link_module: ClassVar[str] = PACKAGE
    _doc_link_template: ClassVar[str] = documentation_template(_project_urls())

    def export_html(
        self,
        path: str | os.PathLike,
        X: ArrayLike | Dataset | None = None,
        *,
        y: ArrayLike | None = None,
        feature_names: Sequence[str] | None = None,
        image_shape: tuple[int, ...] | None = None,
        cluster_names: Sequence[str] | None = None,
    ) -> None:
        """Write the tree as one HTML page that unfolds.

        The page needs no network and no other file. Each node shows its mean image, or
        the features that tell it from its sibling; its number and share of the samples,
        the height of its split in nats, and the mix of known labels. Pointing at a node
        shows the probability of reaching it, the probabilities of its branches and the
        support of its split as well. Splits without support are dashed. Images have at
        most 64 pixels a side.

        Parameters
        ----------
        path : str or path-like
            File to write. An older file is replaced when the page is complete. The name
            of the file without the ending is the title of the page.
        X : array-like or Dataset of shape (n_samples, n_features), default=None
            Samples to describe, as for `predict`: numbers of samples, means and labels
            are theirs. By default, the numbers are those of the training samples, and
            the means are those of what the model generates, see `node_means`.
        y : array-like of shape (n_samples,), default=None
            Known labels of the samples; of the training samples if X is None.
        feature_names : sequence of str of length n_features, default=None
            Names of the features, by default ``feature_names_in_``, or x0, x1, ...
        image_shape : tuple of int, default=None
            Shape of the images in the rows of X: (height, width), or with 1, 3 or 4
            channels first or last. By default the parameter `image_shape`; if it has
            another number of channels, nodes show features.
        cluster_names : sequence of str of length n_clusters_, default=None
            Names of the clusters, by default "cluster 0", "cluster 1", ...

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If X, `y`, `feature_names`, `image_shape` or `cluster_names` doesn't fit the
            tree or each other.

        Examples
        --------
        >>> import tempfile
        >>> from sklearn.datasets import load_iris
        >>> from sktreevae import TreeVAEClustering
        >>> X, y = load_iris(return_X_y=True, as_frame=True)
        >>> model = TreeVAEClustering(n_clusters=2, random_state=0).fit(X)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.export_html(f"{folder}/iris.html", X, y=y)
        """
        check_is_fitted(self)
        tree = self.dendrogram_
        labels = tree.labels if X is None else self.predict(X)
        page = TreePage(tree, labels, cluster_names)
        if X is None:
            moments = self._node_moments()
        else:
            rows = validate_rows(self, X, reset=False)
            moments = node_moments(tree, rows, labels)
        image_shape = choose_image_shape(
            image_shape, image_shape_of(X), self.image_shape
        )
        if feature_names is None:
            feature_names = getattr(self, "feature_names_in_", None)
        page.add_means(moments, image_shape, feature_names)
        if y is not None:
            page.add_labels(y)
        page.write(path)
