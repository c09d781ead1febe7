"""TreeVAEClustering: the tree variational autoencoder as a scikit-learn estimator."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    ClusterMixin,
    TransformerMixin,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn
from torch.utils.data import Dataset

from .dendrogram import Dendrogram
from .devices import resolve_device, resolve_precision
from .features import fit_feature_map
from .hierarchy import build_dendrogram, update_dendrogram
from .model import (
    FeatureMap,
    ImageLayout,
    Topology,
    TreeVAE,
    decoder_factory,
    encoder_factory,
)
from .model.likelihoods import LIKELIHOODS
from .preprocessing import (
    COUNT_LIKELIHOODS,
    resolve_likelihood,
    standardisation,
    value_range,
)
from .progress import ProgressLine
from .sources import Matrix, Rows, as_matrix, row_slices
from .training import (
    ContrastOptions,
    Features,
    GraphClustering,
    GrowthOptions,
    GuidedGrowth,
    History,
    ImageViews,
    IterativeGrowth,
    LoopOptions,
    NeighborViews,
    Samples,
    SampleViews,
    View,
    Views,
    check_view,
    count_supported,
    map_blocks,
    nearest_neighbors,
    subset,
    train_further,
)
from .validation import (
    Allowed,
    Boolean,
    Function,
    ImageShape,
    Instance,
    InvalidParameterError,
    Number,
    Options,
    check_parameters,
)

__all__ = ["TreeVAEClustering"]

NETWORKS = ("auto", "mlp", "cnn", "resnet")

LEAST_FRACTION = 0.01
LEAST_SHARE = 0.05
"""Fraction of all samples, and of the mean over clusters, below which a leaf is pruned
by default: the smaller of the two."""

N_SCORE_DRAWS = 8
"""Draws of the latents that estimate the ELBO of a sample."""

N_NEIGHBOR_VIEWS = 5
"""Nearest neighbours that are taken for variants of a sample."""

BATCH_SIZE = 256
MOST_STEPS = 1000
"""Samples of an update step, by default; more, where an epoch had more steps."""

N_HEIGHT_SAMPLES = 200
"""Samples of each leaf that the heights are estimated on."""


class TreeVAEClustering(
    ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin, BaseEstimator
):
    """Hierarchical clustering by a tree variational autoencoder.

    A generative model whose latent variables form a binary tree [1]_: each sample goes
    down the tree, deciding left or right at every node, and is decoded at the leaf it
    reaches. The leaves are the clusters; the tree says how they nest.

    By default the graph of nearest neighbours proposes the tree, and all of the model
    is then trained together to maximise the evidence lower bound (ELBO). So it is the
    graph that finds the clusters, and the model that makes them predict, explain and
    generate.

    Read more in the :ref:`user guide <user_guide>`.

    Parameters
    ----------
    n_clusters : int or None, default=8
        Number of leaves of the tree. There can be fewer in the end, with a warning.
        A warning also tells if the data supports fewer. None finds the number: from a
        tree of up to 64 leaves upwards, a split is kept if two Gaussians, one for each
        branch, predict held-out samples better than one Gaussian, by more than two
        standard errors of the mean log-density (five folds, 20 principal components).
    growth : {"guided", "iterative"}, default="guided"
        How the tree is found. "guided": the graph of nearest neighbours proposes all
        of it, see `training.proposals`. "iterative": section 2.5 of the paper, by
        splitting one leaf after the other; with one departure, that the decisions of a
        new split start from two clusters of the graph of the leaf's samples.
    image_shape : tuple of int, default=None
        Says that rows are images, as ``images.reshape(n, -1)`` gives them: height and
        width, at least 8 pixels each, or those with the channels first or last.
        Neighbours are then found, and encoders helped, by histograms of oriented
        gradients, which is prior knowledge about images.
    encoder : {"auto", "mlp", "cnn", "resnet"} or callable, default="auto"
        What latents are inferred from. "mlp": from embeddings of the features that
        neighbours are found by, as clusters are. "cnn": from these and convolutions of
        the images; "resnet" has residual blocks among these. "auto" is "cnn" for grey
        images from 16 pixels a side, "resnet" for colour, and "mlp" for all other data.
        A callable takes `n_features` and `hidden_dim`, and returns a `torch.nn.Module`
        that maps (batch, n_features), the data as standardised inside, to
        (batch, hidden_dim); it takes the place of the convolutions. No layer may mix
        rows, as batch normalisation does, or be random, as dropout is.
    decoder : {"auto", "mlp", "cnn", "resnet"} or callable, default="auto"
        The network of each leaf, likewise: hidden layers and a constant of its own,
        below a read-out that all leaves share. A callable takes `latent_dim` and
        `n_features`, and returns the whole network of a leaf, a module that maps
        (batch, latent_dim) to (batch, n_features), logits if the likelihood is
        Bernoulli.
    max_depth : int, default=None
        Largest depth of a leaf; the root has depth 0. No limit by default.
    split_criterion : {"n_samples", "reconstruction", "elbo"}, default="n_samples"
        Which leaf the iterative growth splits next: the one with the most samples, or
        the one that adds most to the reconstruction loss, or to the negative ELBO, of
        all samples.
    min_cluster_fraction : float, default=None
        Leaves with a smaller fraction of the samples are pruned. In [0, 0.5). By
        default a twentieth of the mean over clusters, ``1 / (20 * n_clusters)``, and
        no more than the 1% of the paper.
    likelihood : {"auto", "bernoulli", "gaussian", "poisson", "negative_binomial"}, \
            default="auto"
        Distribution of the data given a leaf.

        - "bernoulli": values in [0, 1], where those between are soft targets.
        - "gaussian": real values, with a learned variance for each feature and leaf,
          at least 1% of the feature's own. Features are standardised inside; images as
          a whole.
        - "poisson": counts, whole numbers up to 2**24, as they are. The model learns
          rates, from 1e-6 to 2**25.
        - "negative_binomial": counts that vary more than that, as those of genes and
          words do: their variance is ``rate + dispersion * rate**2``, with a learned
          dispersion for each feature and leaf, at least 1e-4.
        - "auto": "bernoulli" if all values lie in [0, 1], and "gaussian" otherwise,
          for whole numbers too: they may be codes or grey levels.
    views : {"image", "neighbors"} or callable, default=None
        Variants of samples that should go the same way (section 2.6 of the paper): a
        contrastive loss asks for similar embeddings at every depth and for the same
        decisions, and the guided growth sends variants where the samples go. "image":
        grey images are turned, moved and scaled a little, never flipped; colour images
        are also cropped, flipped and recoloured, see `training.ImageViews`, which can
        be made stronger or weaker. "neighbors": one of the five nearest neighbours, for
        data without variants. A callable takes rows as a torch.Tensor
        of shape (batch, n_features), in the units of X, and a torch.Generator, to draw
        from, and returns a variant of each row. By default there are none.
    contrastive_weight : float, default=10.0
        Weight of the contrastive loss beside the ELBO. Only used with `views`.
    temperature : float, default=0.5
        Unit of the cosines between embeddings in the contrastive loss: the smaller, the
        more the nearest other samples matter. Only used with `views`.
    latent_dim : int, default=8
        Width of the latent variable of each node.
    hidden_dim : int, default=128
        Width of the bottom-up embeddings. The encoder narrows to it from four times
        as much; decoders have hidden layers of as much and of twice as much.
    max_iter : int, default=6
        Most epochs of each phase of training: of the joint training, which has at
        least 150 update steps (in up to 100 epochs), or of each phase of the iterative
        growth, at least 20.
    batch_size : int or "auto", default="auto"
        Samples of an update step. "auto" is 256, or a thousandth of the samples if
        that is more: larger steps cost less a sample, and there are enough of them.
    learning_rate : float, default=2e-3
        Largest learning rate of AdamW; it falls to 0 in the second half of a phase.
    weight_decay : float, default=1e-5
        Weight decay of AdamW, for matrices, but not for biases and the constants of
        leaves. Networks of a `decoder` of your own, stacked, decay as a whole. Long
        training gains from 0.1 to 1.
    early_stopping : bool, default=False
        Whether to set a part of the samples aside, and to end a phase when the ELBO
        of these, rather than that of the training samples, no longer improves.
    validation_fraction : float, default=0.1
        Fraction to set aside. Only used if `early_stopping` is True.
    n_iter_no_change : int, default=3
        Epochs without improvement that end a phase, in its second half.
    tol : float, default=1e-2
        Least improvement of the ELBO in nats per sample.
    random_state : int, RandomState instance or None, default=None
        Determines initial weights, batches and latents. The same int gives the same
        result, bit for bit, on the same machine with as many threads. None draws a
        fresh seed; the global random states of numpy and torch are neither read nor
        changed.
    verbose : int, default=0
        Above 0, progress is written to standard error.
    device : str, torch.device or None, default=None
        Where to compute; None is the best device available.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Type in which networks are evaluated while they train. bfloat16 is faster on
        hardware made for it; weights, probabilities, divergences and losses are in
        float32 all the same, as all predictions are. "auto" is "bfloat16" on CUDA
        devices made for it, and "float32" elsewhere.

    Attributes
    ----------
    labels_ : ndarray of int of shape (n_samples,)
        Cluster of each training sample, 0 to ``n_clusters_ - 1``; clusters are
        numbered from left to right in the tree. Those of the last `partial_fit`, if
        there was one.
    n_clusters_ : int
        Number of clusters, the leaves of the tree.
    dendrogram_ : Dendrogram
        The tree of the clusters. Heights are Jeffreys divergences in nats.
    linkage_matrix_ : ndarray of shape (`n_clusters_` - 1, 4)
        The tree over the clusters, for `scipy.cluster.hierarchy`.
    children_ : ndarray of int of shape (n_samples - 1, 2)
        The tree over the samples, as that of AgglomerativeClustering. Merges inside
        a cluster are balanced.
    distances_ : ndarray of shape (n_samples - 1,)
        Heights of these merges in nats; 0 inside a cluster.
    n_leaves_ : int
        Number of leaves of the tree over the samples.
    n_iter_ : int
        Number of epochs, over all phases.
    n_samples_seen_ : int
        Number of samples in all calls of `partial_fit`, or in that of `fit`.
    history_ : dict of lists
        One entry for each epoch: "phase", "epoch", "n_leaves", "learning_rate",
        "kl_weight", "elbo" and its terms "reconstruction", "kl_root", "kl_nodes" and
        "kl_decisions" (nats per sample, of the standardised data, while training; in
        a "split" phase, of the new leaves alone), "contrast" (the contrastive loss,
        weighted; nan without `views`), and "validation_elbo" (weighted by "kl_weight";
        nan without early stopping). The steps of the routers alone have none. Only
        the leaves that matter to a sample count, two at most, so where routes are
        uncertain these are not strictly bounds, as `score` is. What the guided growth
        learns from has noise, and so lower values than `score` gives.
    lower_bound_ : float
        Mean "elbo" of the training samples in the course of the last epoch, in nats.
    module_ : TreeVAE
        The torch model.
    device_ : torch.device
        Where it lives.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of str of shape (`n_features_in_`,)
        Names of the features, if X had string column names.

    See Also
    --------
    sklearn.cluster.AgglomerativeClustering : Bottom-up trees; no prediction.
    sklearn.cluster.BisectingKMeans : Top-down trees of k-means splits.
    sklearn.mixture.GaussianMixture : A flat generative model.

    References
    ----------
    .. [1] L. Manduchi, M. Vandenhirtz, A. Ryser, J. Vogt, "Tree Variational
       Autoencoders", NeurIPS 2023, :arxiv:`2306.08984`.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sktreevae import TreeVAEClustering
    >>> X, y = make_blobs([40, 40, 40], cluster_std=0.5, random_state=0)
    >>> model = TreeVAEClustering(n_clusters=3, random_state=0).fit(X)
    >>> sorted(np.bincount(model.labels_).tolist())
    [40, 40, 40]
    >>> model.predict_proba(X[:2]).shape
    (2, 3)
    >>> model.linkage_matrix_.shape
    (2, 4)
    """

    _doc_link_module = "sktreevae"

    _allowed: ClassVar[dict[str, list[Allowed]]] = {
        "n_clusters": [Number(Integral, 1), Options((None,))],
        "growth": [Options(("guided", "iterative"))],
        "image_shape": [ImageShape(), Options((None,))],
        "encoder": [Options(NETWORKS), Function()],
        "decoder": [Options(NETWORKS), Function()],
        "max_depth": [Number(Integral, 0), Options((None,))],
        "split_criterion": [Options(("n_samples", "reconstruction", "elbo"))],
        "min_cluster_fraction": [Number(Real, 0, 0.5), Options((None,))],
        "likelihood": [Options(("auto", *LIKELIHOODS))],
        "views": [Options(("image", "neighbors", None)), Function()],
        "contrastive_weight": [Number(Real, 0)],
        "temperature": [Number(Real, 0, closed="neither")],
        "latent_dim": [Number(Integral, 1)],
        "hidden_dim": [Number(Integral, 2)],
        "max_iter": [Number(Integral, 1)],
        "batch_size": [Number(Integral, 1), Options(("auto",))],
        "learning_rate": [Number(Real, 0, closed="neither")],
        "weight_decay": [Number(Real, 0)],
        "early_stopping": [Boolean()],
        "validation_fraction": [Number(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Number(Integral, 1)],
        "tol": [Number(Real, 0)],
        "random_state": [
            Number(Integral, 0, 2**32 - 1, closed="both"),
            Instance(np.random.RandomState),
            Options((None,)),
        ],
        "verbose": [Number(Integral, 0), Boolean()],
        "device": [Instance(str), Instance(torch.device), Options((None,))],
        "precision": [Options(("auto", "float32", "bfloat16"))],
    }

    def __init__(
        self,
        n_clusters: int | None = 8,
        *,
        growth: str = "guided",
        image_shape: tuple[int, ...] | None = None,
        encoder: str | Callable[[int, int], nn.Module] = "auto",
        decoder: str | Callable[[int, int], nn.Module] = "auto",
        max_depth: int | None = None,
        split_criterion: str = "n_samples",
        min_cluster_fraction: float | None = None,
        likelihood: str = "auto",
        views: str | View | None = None,
        contrastive_weight: float = 10.0,
        temperature: float = 0.5,
        latent_dim: int = 8,
        hidden_dim: int = 128,
        max_iter: int = 6,
        batch_size: int | str = "auto",
        learning_rate: float = 2e-3,
        weight_decay: float = 1e-5,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 3,
        tol: float = 1e-2,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
        device: str | torch.device | None = None,
        precision: str = "auto",
    ) -> None:
        self.n_clusters = n_clusters
        self.growth = growth
        self.image_shape = image_shape
        self.encoder = encoder
        self.decoder = decoder
        self.max_depth = max_depth
        self.split_criterion = split_criterion
        self.min_cluster_fraction = min_cluster_fraction
        self.likelihood = likelihood
        self.views = views
        self.contrastive_weight = contrastive_weight
        self.temperature = temperature
        self.latent_dim = latent_dim
        self.hidden_dim = hidden_dim
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.random_state = random_state
        self.verbose = verbose
        self.device = device
        self.precision = precision

    def __sklearn_tags__(self) -> Tags:
        """Describe what the estimator can do, for scikit-learn."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        """Tell whether a fit has come to its end."""
        return hasattr(self, "n_clusters_")

    # Fitting

    def fit(self, X: ArrayLike | Dataset, y: object = None) -> Self:
        """Grow and train a tree.

        Parameters
        ----------
        X : array-like, sparse matrix, Dataset or Dask array of shape \
                (n_samples, n_features)
            Data. Only a dense array in memory is kept there: all others are read batch
            by batch. A `torch.utils.data.Dataset` has a length and an index; its items
            are rows, arrays or tensors of any shape, or tuples that begin with one,
            whose labels are ignored. Each batch of a Dask array computes all chunks
            that its rows are in: where these are slow to come by, store the rows once
            as a `numpy.memmap`, or read a zarr store through a Dataset.
        y : None
            Ignored.

        Returns
        -------
        self : TreeVAEClustering
            Fitted.

        Raises
        ------
        ValueError
            If a parameter or X isn't valid, there are fewer samples than clusters, or
            a user's encoder, decoder or views aren't what they should be.
        FloatingPointError
            If training diverges.

        Warns
        -----
        ConvergenceWarning
            If there are fewer clusters in the end than asked for.
        UserWarning
            If the data supports fewer clusters than there are.
        """
        check_parameters(self, self._allowed)
        device = resolve_device(self.device)
        dtype = resolve_precision(self.precision, device)
        X = self._validate(X, reset=True)
        options = self._loop_options(dtype, X.shape[0])
        self._check_shapes(X)
        likelihood = resolve_likelihood(X, self.likelihood)
        center, scale = standardisation(X, likelihood, self.image_shape is not None)
        networks = self._networks(X.shape[1], likelihood)
        generator = self._make_generator(device)
        rng = np.random.default_rng(_draw_seed(generator))
        # Whatever the caller's mode, gradients are needed here.
        with torch.inference_mode(False), torch.enable_grad():
            samples = Samples(X, center, scale, device)
            if callable(self.views):
                check_view(self.views, samples)
            feature_map = fit_feature_map(
                X,
                samples,
                center,
                scale,
                self.image_shape,
                rng,
                counts=likelihood in COUNT_LIKELIHOODS,
            ).to(device)
            features = self._features(samples, feature_map)
            networks["feature_map"] = feature_map
            train, validation = self._hold_out(len(samples), generator)
            contrast = self._make_contrast(
                X, samples, feature_map, features, train, generator
            )
            module, history = self._grow(
                samples,
                features,
                train,
                validation,
                networks,
                options,
                contrast,
                generator,
                rng,
            )
        # Nothing is set before: a fit that fails leaves the estimator as it was.
        self.device_ = device
        self.module_ = module
        self._center, self._scale = center, scale
        self.history_ = history.as_lists()
        self.n_iter_ = len(history.records)
        self.lower_bound_ = self.history_["elbo"][-1] - self._log_scale()
        self._set_tree(*self._read_tree(module, samples, features))
        self.n_samples_seen_ = len(samples)
        self._seed = _draw_seed(generator)
        self._n_features_out = self.hidden_dim
        if self.n_clusters is not None:
            self._warn_of_few_clusters(features, rng)
        return self

    def partial_fit(self, X: ArrayLike | Dataset, y: object = None) -> Self:
        """Keep training a fitted tree on new samples; grow one on the first.

        Without a tree this is `fit`: the first batch must show all the clusters. Later
        calls train the whole model for one pass over the rows given, at a quarter of
        `learning_rate`, and ask samples a little to stay in their leaf. The tree
        itself, features, scales and the likelihood remain those of the first batch. A
        call starts a new optimiser, and doesn't stop early. The same calls in the same
        order give the same result, also if the estimator is pickled in between.

        Afterwards, `labels_`, ``children_`` and the numbers of samples in
        `dendrogram_` are of the rows just passed: leaves can be empty, and
        ``n_clusters_`` stays. Weights and heights in `dendrogram_` are means over the
        rows of all calls, as the model was then; the height of a node changes with
        rows on both of its sides. `history_` and `n_iter_` continue, with an epoch for
        each call.

        With ``views="image"`` or a callable, variants take part; "neighbors" don't,
        as a batch may be too small to have any. With ``random_state=None``, only the
        first call draws a fresh seed.

        Parameters
        ----------
        X : array-like, sparse matrix, Dataset or Dask array of shape \
                (n_samples, n_features)
            New data, from one row upwards; as much as `fit` needs, the first time.
        y : None
            Ignored.

        Returns
        -------
        self : TreeVAEClustering
            Fitted.

        Raises
        ------
        ValueError
            If a parameter or X isn't valid, or X isn't what the likelihood needs; see
            `fit` for the first call. The estimator stays as it was.
        FloatingPointError
            If training diverges. The estimator stays as it was.

        Examples
        --------
        >>> from sklearn.datasets import make_blobs
        >>> from sktreevae import TreeVAEClustering
        >>> X, y = make_blobs([40, 40, 40], cluster_std=0.5, random_state=0)
        >>> model = TreeVAEClustering(n_clusters=3, random_state=0)
        >>> for start in range(0, 120, 60):
        ...     model = model.partial_fit(X[start : start + 60])
        >>> model.labels_.shape
        (60,)
        >>> model.n_samples_seen_
        120
        """
        if not self.__sklearn_is_fitted__():
            return self.fit(X)
        check_parameters(self, self._allowed)
        dtype = resolve_precision(self.precision, self.device_)
        X = self._validate(X, reset=False)
        options = self._loop_options(dtype, X.shape[0])
        self._check_images(X.shape[1])
        resolve_likelihood(X, self.module_.config["likelihood"])
        generator = torch.Generator(self.device_).manual_seed(self._seed)
        with (
            self._open_history(self.n_clusters_) as history,
            torch.inference_mode(False),
            torch.enable_grad(),
        ):
            samples = Samples(X, self._center, self._scale, self.device_)
            if callable(self.views):
                check_view(self.views, samples)
            module = copy.deepcopy(self.module_)
            features = self._features(samples, module.feature_map)
            contrast = None
            if self.views != "neighbors":
                everyone = torch.arange(len(samples), device=self.device_)
                contrast = self._make_contrast(
                    X, samples, module.feature_map, features, everyone, generator
                )
            train_further(
                module,
                samples,
                features,
                options=options,
                contrast=contrast,
                generator=generator,
                history=history,
            )
        new, leaf_order = self._read_tree(module, samples, features)
        dendrogram = update_dendrogram(self.dendrogram_, self.n_samples_seen_, new)
        # Nothing is set before: a call that fails leaves the estimator as it was.
        self.module_ = module
        self._set_tree(dendrogram, leaf_order)
        self.n_samples_seen_ += len(samples)
        self._seed = _draw_seed(generator)
        self.history_ = {
            name: [*values, *history.as_lists()[name]]
            for name, values in self.history_.items()
        }
        self.n_iter_ += len(history.records)
        self.lower_bound_ = self.history_["elbo"][-1] - self._log_scale()
        return self

    def _check_shapes(self, X: Matrix) -> None:
        """Check what must agree with the shape of X."""
        n_samples, n_features = X.shape
        if self.n_clusters is not None and n_samples < self.n_clusters:
            raise ValueError(
                f"n_samples={n_samples} should be >= n_clusters={self.n_clusters}."
            )
        self._check_images(n_features)

    def _check_images(self, n_features: int) -> None:
        """Check the parameters that say, or ask, that rows are images."""
        images = "cnn", "resnet"
        for name in ("encoder", "decoder"):
            if self.image_shape is None and getattr(self, name) in images:
                raise InvalidParameterError(
                    f"{name}={getattr(self, name)!r} needs an image_shape, got None."
                )
        if self.views == "image":
            if self.image_shape is None:
                raise InvalidParameterError(
                    "views='image' needs an image_shape, got None."
                )
            if ImageLayout.of(self.image_shape).channels not in (1, 3):
                raise InvalidParameterError(
                    "views='image' needs images of 1 or 3 channels, but image_shape is "
                    f"{self.image_shape!r}. Pass a callable."
                )
        if self.image_shape is not None and math.prod(self.image_shape) != n_features:
            raise InvalidParameterError(
                f"image_shape={self.image_shape!r} means {math.prod(self.image_shape)} "
                f"features, but X has {n_features}."
            )

    def _networks(self, n_features: int, likelihood: str) -> dict[str, object]:
        """Return arguments of `TreeVAE`; a user's networks are checked."""
        return {
            "n_features": n_features,
            "hidden_dim": self.hidden_dim,
            "latent_dim": self.latent_dim,
            "likelihood": likelihood,
            "encoder": encoder_factory(
                self.encoder, self.image_shape, n_features, self.hidden_dim
            ),
            "decoder": decoder_factory(
                self.decoder,
                self.image_shape,
                n_features,
                self.hidden_dim,
                self.latent_dim,
            ),
        }

    def _warn_of_few_clusters(
        self, features: Tensor | Features, rng: np.random.Generator
    ) -> None:
        """Say if there are fewer clusters than asked for, or if fewer would do."""
        merges = self.linkage_matrix_[:, :2].astype(np.int64)
        n_supported = count_supported(features, self.labels_, merges, rng)
        if n_supported < self.n_clusters_:
            warnings.warn(
                f"Held-out samples support {n_supported} of the {self.n_clusters_} "
                "clusters: the other splits don't make them more probable. "
                "n_clusters=None finds the number.",
                UserWarning,
                stacklevel=3,
            )
        if self.n_clusters_ < self.n_clusters:
            warnings.warn(
                f"Number of clusters found ({self.n_clusters_}) is smaller than "
                f"n_clusters ({self.n_clusters}): the other splits left a side with "
                f"less than {self._least_fraction(self.n_clusters):g} of the samples "
                "(min_cluster_fraction), or max_depth was reached. Are there "
                "duplicates in X or, with a Bernoulli likelihood, only tiny values? "
                "Ask for fewer clusters, lower min_cluster_fraction, or set "
                "likelihood='gaussian'.",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _grow(
        self,
        samples: Samples,
        features: Tensor | Features,
        train: Tensor,
        validation: Tensor,
        networks: dict[str, object],
        options: LoopOptions,
        contrast: ContrastOptions | None,
        generator: torch.Generator,
        rng: np.random.Generator,
    ) -> tuple[TreeVAE, History]:
        """Hand the parameters on to where they belong."""
        n_clusters = self.n_clusters
        if n_clusters is None or self.growth == "guided":
            graph = GraphClustering(subset(features, train), generator, n_clusters)
            if n_clusters is None:
                n_clusters = graph.find_n_clusters(rng)
        with self._open_history(n_clusters) as history:
            grower = (GuidedGrowth if self.growth == "guided" else IterativeGrowth)(
                samples,
                features,
                train,
                validation,
                networks={
                    **networks,
                    "n_steps": math.ceil(math.log2(max(n_clusters, 2))),
                },
                growth=GrowthOptions(
                    n_clusters=n_clusters,
                    max_depth=self.max_depth,
                    split_criterion=self.split_criterion,
                    min_cluster_fraction=self._least_fraction(n_clusters),
                ),
                options=options,
                contrast=contrast,
                generator=generator,
                history=history,
            )
            if self.growth == "guided":
                module = grower.grow(graph.hierarchy(n_clusters, self.max_depth))
            else:
                module = grower.grow()
        return module.eval(), history

    @contextmanager
    def _open_history(self, n_clusters: int) -> Iterator[History]:
        """Give a history, whose progress is shown if that is asked for."""
        progress = ProgressLine(n_clusters) if self.verbose else None
        try:
            yield History(on_epoch=progress)
        finally:
            if progress is not None:
                progress.close()

    def _loop_options(self, dtype: torch.dtype, n_samples: int) -> LoopOptions:
        batch_size = self.batch_size
        if batch_size == "auto":
            batch_size = max(BATCH_SIZE, math.ceil(n_samples / MOST_STEPS))
        return LoopOptions(
            max_iter=self.max_iter,
            batch_size=batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            n_iter_no_change=self.n_iter_no_change,
            tol=self.tol,
            dtype=dtype,
        )

    @staticmethod
    def _features(samples: Samples, feature_map: FeatureMap) -> Tensor | Features:
        """Return what a map makes of samples: computed, if these are in memory."""
        if samples.is_resident:
            return samples.map(feature_map)
        return Features(samples, feature_map)

    def _make_contrast(self, *args: Any) -> ContrastOptions | None:
        """Return what variants there are; arguments as for `_make_views`."""
        if self.views is None:
            return None
        views = self._make_views(*args)
        return ContrastOptions(views, self.contrastive_weight, self.temperature)

    def _make_views(
        self,
        X: Matrix,
        samples: Samples,
        feature_map: FeatureMap,
        features: Tensor | Features,
        train: Tensor,
        generator: torch.Generator,
    ) -> Views:
        """Return what gives features of variants of samples."""
        if self.views == "neighbors":
            # Held-out samples are no one's variants. Without neighbours, a sample is
            # its own variant.
            n_neighbors = min(N_NEIGHBOR_VIEWS, len(train) - 1)
            own = torch.arange(len(features), device=train.device)
            index = own[:, None].repeat(1, max(1, n_neighbors))
            if n_neighbors > 0:
                found, _ = nearest_neighbors(
                    subset(features, train), n_neighbors, generator
                )
                index[train] = train[found]
            return NeighborViews(features, index)
        vary = self.views
        if self.views == "image":
            vary = ImageViews(self.image_shape, *value_range(X))
        return SampleViews(samples, feature_map, vary)

    def _least_fraction(self, n_clusters: int) -> float:
        """Smallest fraction of the samples that a cluster may have."""
        if self.min_cluster_fraction is None:
            return min(LEAST_SHARE / n_clusters, LEAST_FRACTION)
        return self.min_cluster_fraction

    def _validate(self, X: ArrayLike | Dataset, *, reset: bool) -> Matrix:
        """Check X, without a copy of a numeric matrix."""
        X = as_matrix(X)
        if isinstance(X, Rows):
            # Their values are checked whenever they are read.
            return validate_data(self, X, reset=reset, skip_check_array=True)
        # Integers stay as they are: batches are converted, the whole never is.
        integers = [np.dtype(code) for code in np.typecodes["AllInteger"] + "?"]
        floats = [np.dtype(code) for code in (np.float64, np.float32, np.float16)]
        floats += [dtype.newbyteorder() for dtype in floats]
        X = validate_data(
            self,
            X,
            reset=reset,
            accept_sparse="csr",
            dtype=[*floats, *integers],
        )
        if sparse.issparse(X) and not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
        return X

    def _make_generator(self, device: torch.device) -> torch.Generator:
        """Return the source of all randomness of a call."""
        if self.random_state is None:
            # Not numpy's global state, which is nobody's to use here.
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        else:
            state = check_random_state(self.random_state)
            seed = state.randint(np.iinfo(np.int32).max)
        return torch.Generator(device).manual_seed(seed)

    def _hold_out(
        self, n_samples: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Split the samples into those to train on and those to stop by."""
        n_validation = 0
        if self.early_stopping:
            n_validation = min(
                math.ceil(self.validation_fraction * n_samples), n_samples - 1
            )
        order = torch.randperm(n_samples, generator=generator, device=generator.device)
        train, validation = order[n_validation:], order[:n_validation]
        return train.sort().values, validation.sort().values

    def _read_tree(
        self, module: TreeVAE, samples: Samples, features: Tensor | Features
    ) -> tuple[Dendrogram, NDArray[np.int64]]:
        """Return what `build_dendrogram` makes of a module and some samples."""
        positions = np.empty(len(samples), dtype=np.int64)
        mass = np.zeros(len(module.topology.leaves))
        for rows in row_slices(*samples.shape):
            path = map_blocks(lambda x: module.route_from(x).T.exp(), features[rows])
            positions[rows] = path.argmax(1).numpy(force=True)
            mass += self._to_numpy(path, np.float64).sum(axis=0)
        some = _some_of_each(positions, N_HEIGHT_SAMPLES)
        leaf_elbo = samples.map(
            lambda x: module.leaf_elbo(x).T, torch.from_numpy(some).to(samples.device)
        )
        return build_dendrogram(
            module.topology,
            leaf_mass=mass / len(samples),
            labels=positions,
            leaf_elbo=self._to_numpy(leaf_elbo, np.float64),
            elbo_labels=positions[some],
        )

    def _set_tree(self, dendrogram: Dendrogram, leaf_order: NDArray[np.int64]) -> None:
        """Set the tree, and all that follows from it."""
        self.dendrogram_, self._leaf_order = dendrogram, leaf_order
        self.labels_ = dendrogram.labels
        self.n_clusters_ = dendrogram.n_leaves
        self.linkage_matrix_ = dendrogram.to_linkage()

    @property
    def children_(self) -> NDArray[np.int64]:
        """The tree over the samples, (n_samples - 1, 2)."""
        check_is_fitted(self)
        return self.dendrogram_.to_linkage("samples")[:, :2].astype(np.int64)

    @property
    def distances_(self) -> NDArray[np.float64]:
        """Heights of the merges in `children_` in nats, (n_samples - 1,)."""
        check_is_fitted(self)
        return self.dendrogram_.to_linkage("samples")[:, 2]

    @property
    def n_leaves_(self) -> int:
        """Number of leaves of the tree over the samples."""
        check_is_fitted(self)
        return len(self.labels_)

    # Clusters

    def predict(
        self, X: ArrayLike | Dataset, n_clusters: int | None = None
    ) -> NDArray[np.int64]:
        """Return the most probable cluster of each sample.

        Parameters
        ----------
        X : array-like, sparse matrix, Dataset or Dask array of shape \
                (n_samples, n_features)
            Data.
        n_clusters : int, default=None
            Cut the tree higher, into this many clusters, from 1 to ``n_clusters_``.

        Returns
        -------
        labels : ndarray of int of shape (n_samples,)
            Clusters, numbered from left to right. Those of a finer cut refine those
            of a coarser one. On the training data they are `labels_`.
        """
        samples, _ = self._samples(X)
        cluster = np.arange(self.n_clusters_)
        if n_clusters is not None:
            cluster = self.dendrogram_.cut(n_clusters)
        order = torch.from_numpy(self._leaf_order).to(samples.device)

        def leaf(x: Tensor) -> Tensor:
            return self.module_.route(x).exp().index_select(0, order).argmax(0)

        return cluster[samples.map(leaf).numpy(force=True)]

    def predict_proba(
        self, X: ArrayLike | Dataset, n_clusters: int | None = None
    ) -> NDArray[np.floating]:
        """Return the probability of each cluster, P(leaf | x) in the paper.

        Parameters
        ----------
        X : array-like, Dataset or Dask array of shape (n_samples, n_features)
            Data. Of all methods, only this one takes no sparse matrix: the checks of
            scikit-learn take an estimator with sparse input and probabilities for a
            classifier. Pass ``X.toarray()``, in batches if it is large.
        n_clusters : int, default=None
            Cut the tree higher, into this many clusters, from 1 to ``n_clusters_``.
            The probability of a cluster is then proportional to that of its most
            probable leaf, so that the cuts nest: a sum over leaves could favour a
            cluster without the most probable leaf.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_clusters)
            Rows sum to 1; the largest entry is that of `predict`.
        """
        check_is_fitted(self)
        if sparse.issparse(X):
            raise TypeError(
                "predict_proba takes no sparse input. Use predict, or pass "
                "X.toarray(): a row's result doesn't depend on the others, so batches "
                "of X will do."
            )
        samples, dtype = self._samples(X)
        return self._to_numpy(samples.map(self._proba(n_clusters)), dtype)

    def _proba(self, n_clusters: int | None) -> Callable[[Tensor], Tensor]:
        """Return what gives the probabilities of the clusters of a cut."""
        starts = np.arange(self.n_clusters_)
        if n_clusters is not None:
            # The leaves of a cluster are neighbours.
            cluster = self.dendrogram_.cut(n_clusters)
            starts = np.searchsorted(cluster, np.arange(n_clusters))

        def proba(x: Tensor) -> Tensor:
            path = self.module_.route(x).T.exp()
            path = self._to_numpy(path, np.float64)[:, self._leaf_order]
            path = np.maximum.reduceat(path, starts, axis=1)
            return torch.from_numpy(path / path.sum(axis=1, keepdims=True))

        return proba

    # Embedding and density

    def transform(self, X: ArrayLike | Dataset) -> NDArray[np.floating]:
        """Embed samples: d_0, the bottom-up embedding that the root reads.

        All that the model infers about a sample passes through the embeddings; this
        is the last of their chain. The user guide compares it with others.

        Parameters
        ----------
        X : array-like, sparse matrix, Dataset or Dask array of shape \
                (n_samples, n_features)
            Data.

        Returns
        -------
        Z : ndarray of shape (n_samples, hidden_dim)
            Embedding.
        """
        samples, dtype = self._samples(X)
        return self._to_numpy(samples.map(self.module_.embed), dtype)

    def score_samples(self, X: ArrayLike | Dataset) -> NDArray[np.floating]:
        """Return the ELBO of each sample, a lower bound of log p(x) in nats.

        The latents are drawn a few times, with the same noise for every sample, so
        that a sample's score depends on it alone.

        Parameters
        ----------
        X : array-like, sparse matrix, Dataset or Dask array of shape \
                (n_samples, n_features)
            Data.

        Returns
        -------
        elbo : ndarray of shape (n_samples,)
            Nats, in the units of X.
        """
        samples, dtype = self._samples(X)
        generator = torch.Generator(self.device_).manual_seed(0)
        draws = [
            self.module_.draw_noise(1, generator) for _ in range(N_SCORE_DRAWS // 2)
        ]

        def elbo(x: Tensor) -> Tensor:
            # Each draw and its mirror image: odd errors cancel.
            noises = [sign * noise for noise in draws for sign in (1, -1)]
            return sum(self.module_.elbo(x, n).elbo() for n in noises) / len(noises)

        return self._to_numpy(samples.map(elbo), dtype) - dtype.type(self._log_scale())

    def score(self, X: ArrayLike | Dataset, y: object = None) -> float:
        """Return the mean ELBO in nats, as `score_samples` gives it.

        Parameters
        ----------
        X : array-like, sparse matrix, Dataset or Dask array of shape \
                (n_samples, n_features)
            Data.
        y : None
            Ignored.

        Returns
        -------
        elbo : float
            Nats per sample; higher is better.
        """
        return float(self.score_samples(X).mean(dtype=np.float64))

    def log_likelihood(
        self, X: ArrayLike | Dataset, n_importance_samples: int = 1000
    ) -> NDArray[np.floating]:
        """Return an estimate of log p(x) for each sample, in nats.

        The importance-weighted bound: the latents are sampled from the inference
        model, and the paths through the tree are summed over. ``exp`` of the result is
        an unbiased estimate of the likelihood p(x). The result itself is a lower bound
        of log p(x) on average, which rises from above the ELBO (`score_samples`) to
        log p(x) as `n_importance_samples` grows.

        As in `score_samples`, the draws are always the same, for every sample: its
        result depends on it alone. The time is in proportion to their number; the
        memory doesn't depend on it.

        Parameters
        ----------
        X : array-like, sparse matrix, Dataset or Dask array of shape \
                (n_samples, n_features)
            Data.
        n_importance_samples : int, default=1000
            Draws of the latents.

        Returns
        -------
        log_likelihood : ndarray of shape (n_samples,)
            Nats, in the units of X.

        Raises
        ------
        ValueError
            If `n_importance_samples` or X isn't valid.

        Examples
        --------
        >>> from sklearn.datasets import make_blobs
        >>> from sktreevae import TreeVAEClustering
        >>> X, y = make_blobs([40, 40], cluster_std=0.5, random_state=0)
        >>> model = TreeVAEClustering(n_clusters=2, random_state=0).fit(X)
        >>> log_likelihood = model.log_likelihood(X)
        >>> log_likelihood.shape
        (80,)
        >>> bool(log_likelihood.mean() > model.score(X))
        True
        """
        check_is_fitted(self)
        _check_count("n_importance_samples", n_importance_samples)
        samples, dtype = self._samples(X)

        def estimate(x: Tensor) -> Tensor:
            generator = torch.Generator(self.device_).manual_seed(0)
            return self.module_.log_likelihood(x, n_importance_samples, generator)

        log_likelihood = self._to_numpy(samples.map(estimate), dtype)
        return log_likelihood - dtype.type(self._log_scale())

    def _log_scale(self) -> float:
        """Log-determinant of the standardisation: densities are of X, not of that."""
        return float(np.log(self._scale).sum())

    # Generation

    def sample(
        self,
        n_samples: int = 1,
        cluster: int | None = None,
        n_clusters: int | None = None,
    ) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
        """Draw new samples from the generative model, section 2.2 of the paper.

        Parameters
        ----------
        n_samples : int, default=1
            How many.
        cluster : int, default=None
            The cluster to draw from: a leaf or, with `n_clusters`, the subtree that
            the cut makes one cluster. The decisions above it lead there, whatever the
            routers say; those below are drawn. The whole tree by default.
        n_clusters : int, default=None
            Cut the tree higher, into this many clusters, from 1 to ``n_clusters_``.
            `cluster` and the labels returned are then those of the cut.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            In the units of the training data. With a Bernoulli likelihood, the
            probabilities, as grey levels are; whole numbers with one of counts.
        labels : ndarray of int of shape (n_samples,)
            Their clusters.

        Raises
        ------
        ValueError
            If `n_samples`, `cluster` or `n_clusters` isn't valid.

        Examples
        --------
        >>> from sklearn.datasets import make_blobs
        >>> from sktreevae import TreeVAEClustering
        >>> X, y = make_blobs([40, 40, 40], cluster_std=0.5, random_state=0)
        >>> model = TreeVAEClustering(n_clusters=3, random_state=0).fit(X)
        >>> X_new, labels = model.sample(5, cluster=1, n_clusters=2)
        >>> X_new.shape
        (5, 2)
        >>> labels
        array([1, 1, 1, 1, 1])
        """
        check_is_fitted(self)
        _check_count("n_samples", n_samples)
        n_cut = self.n_clusters_ if n_clusters is None else n_clusters
        cut = self.dendrogram_.cut(n_cut)
        if cluster is not None and not Number(Integral, 0, n_cut).accepts(cluster):
            raise ValueError(
                f"cluster must be an int from 0 to {n_cut - 1}, got {cluster!r}."
            )
        leaves = (
            self._leaf_order if cluster is None else self._leaf_order[cut == cluster]
        )
        generator = self._make_generator(self.device_)
        x, positions = self.module_.sample(n_samples, generator, leaves)
        labels = cut[np.argsort(self._leaf_order)[positions.numpy(force=True)]]
        return self._to_user(x, np.dtype(np.float64)), labels

    def reconstruct(self, X: ArrayLike | Dataset) -> NDArray[np.floating]:
        """Return what the model makes of samples: E[x | z] over the leaves.

        The mean over leaves, by P(leaf | x), of what each decodes from the posterior
        mean of its latent.

        Parameters
        ----------
        X : array-like, sparse matrix, Dataset or Dask array of shape \
                (n_samples, n_features)
            Data.

        Returns
        -------
        X_reconstructed : ndarray of shape (n_samples, n_features)
            In the units of X.
        """
        samples, dtype = self._samples(X)
        return self._to_user(samples.map(self.module_.reconstruct), dtype)

    # Between numpy and torch

    def _samples(self, X: ArrayLike | Dataset) -> tuple[Samples, np.dtype]:
        """Check X; return it for the module, and the float type of results."""
        check_is_fitted(self)
        X = self._validate(X, reset=False)
        likelihood = self.module_.config["likelihood"]
        if likelihood in COUNT_LIKELIHOODS and value_range(X)[0] < 0:
            raise ValueError(
                "Negative values in data passed to TreeVAEClustering with "
                f"likelihood={likelihood!r}."
            )
        dtype = np.dtype(np.float32 if X.dtype == np.float32 else np.float64)
        return Samples(X, self._center, self._scale, self.device_), dtype

    def _to_user(self, x: Tensor, dtype: np.dtype) -> NDArray[np.floating]:
        values = self._to_numpy(x, np.float64) * self._scale + self._center
        return values.astype(dtype, copy=False)

    @staticmethod
    def _to_numpy(x: Tensor, dtype: np.dtype | type) -> NDArray[np.floating]:
        return x.numpy(force=True).astype(dtype, copy=False)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state with the module as numpy arrays, whatever its device."""
        state = super().__getstate__().copy()
        if "module_" in state:
            module = state["module_"]
            config = {
                **module.config,
                "topology": module.topology.parent,
                "feature_map": module.feature_map.config,
            }
            arrays = {k: v.numpy(force=True) for k, v in module.state_dict().items()}
            state["module_"] = (config, arrays)
            del state["device_"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Build the module again, on the best device there is for it."""
        state = dict(state)
        if "module_" in state:
            config, arrays = state["module_"]
            try:
                device = resolve_device(state["device"])
            except ValueError as error:
                warnings.warn(f"{error} The model is on the CPU.", stacklevel=2)
                device = torch.device("cpu")
            config = {
                **config,
                "topology": Topology(config["topology"]),
                "feature_map": FeatureMap(**config["feature_map"]),
            }
            module = TreeVAE(generator=torch.Generator(), **config)
            module.load_state_dict({k: torch.tensor(v) for k, v in arrays.items()})
            state["module_"] = module.to(device).eval()
            state["device_"] = device
        super().__setstate__(state)


def _check_count(name: str, value: object) -> None:
    if not Number(Integral, 1).accepts(value):
        raise ValueError(f"{name} must be an int >= 1, got {value!r}.")


def _draw_seed(generator: torch.Generator) -> int:
    return torch.randint(2**31, (), generator=generator, device=generator.device).item()


def _some_of_each(positions: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Return the indices of n samples of each leaf, evenly spaced, or of all."""
    chosen = []
    for leaf in np.unique(positions):
        members = np.flatnonzero(positions == leaf)
        spaced = np.linspace(0, len(members) - 1, min(n, len(members)))
        chosen.append(members[spaced.astype(np.int64)])
    return np.concatenate(chosen)
