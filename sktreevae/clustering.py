"""TreeVAEClustering: the tree variational autoencoder as a scikit-learn estimator."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from numbers import Integral, Real
from typing import ClassVar, Self

import joblib
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
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch.utils.data import Dataset

from ._cache import Cache
from ._callback_support import CallbackMixin, make_callbacks, with_callbacks
from ._explanation_mixin import ExplanationMixin
from ._fit_context import fit_context
from ._fitted_attributes import attributes_now, fit_attributes, partial_fit_attributes
from ._hierarchy_mixin import HierarchyMixin
from ._html_mixin import HtmlMixin
from ._options import (
    check_views,
    contrast_options,
    data_options,
    growth_options,
    model_config,
    training_options,
)
from ._parameters import (
    Allowed,
    Boolean,
    Function,
    ImageShape,
    Instance,
    Number,
    Options,
    check_count,
    check_parameters,
)
from ._random import draw_seed, make_generator
from ._score_mixin import ScoreMixin
from ._threads import MAX_JOBS, limit_threads, resolve_n_threads
from ._validation import validate_rows
from .data import Samples, TrainingData
from .devices import resolve_device
from .diagnostics import find_problems
from .hierarchy import cut_proba
from .model import LIKELIHOODS, TreeVAE
from .persistence import PersistenceMixin
from .training import (
    Augmentation,
    History,
    Task,
    Trainer,
    continue_training,
    fit_tree,
    make_fit_task,
)

__all__ = ["TreeVAEClustering"]

NETWORKS = ("auto", "mlp", "cnn", "resnet")
NONE = Options((None,))

N_SCORE_DRAWS = 8
"""Number of draws of the latents that estimate the ELBO of a sample."""

DataLike = ArrayLike | Dataset


class TreeVAEClustering(
    ExplanationMixin,
    PersistenceMixin,
    HierarchyMixin,
    ScoreMixin,
    HtmlMixin,
    CallbackMixin,
    ClassNamePrefixFeaturesOutMixin,
    ClusterMixin,
    TransformerMixin,
    BaseEstimator,
):
    """Hierarchical clustering by a tree variational autoencoder.

    A generative model whose latent variables form a binary tree [1]_. Each sample goes
    down the tree: at every node a router decides between left and right, and the
    decoder of the leaf that is reached generates the data. The leaves are the clusters,
    and the tree is their hierarchy.

    By default the graph of nearest neighbors proposes the tree, and the model is then
    trained on it by maximizing the evidence lower bound (ELBO). The graph finds the
    clusters. The model assigns new samples, estimates densities and generates samples.

    Read more in the :ref:`User Guide <user_guide>`.

    Parameters
    ----------
    n_clusters : int or None, default=8
        Number of leaves of the tree. A warning is issued if pruning leaves fewer, or if
        a test on held-out samples finds fewer. None estimates the number: a split of a
        tree of up to 64 leaves is kept if two Gaussians predict held-out samples better
        than one, by more than two standard errors of the mean log-density.
    growth : {"guided", "iterative", "published"}, default="guided"
        Method that finds the tree. "guided": the neighbor graph proposes the whole
        tree, and all parts of the model are trained together. "iterative": one leaf
        after the other is split and trained (section 2.5 of the paper). The router of a
        new split is initialized from two clusters of the neighbor graph of the leaf's
        samples. "published": as in the paper, from random routers that only the ELBO
        trains, with the paper's epochs and weights. Use ``learning_rate=1e-3`` with it;
        :ref:`published` has the remaining differences.
    image_shape : tuple of int, default=None
        Shape of the images that the rows of X are: (height, width), at least 8 pixels
        each, or with channels first or last. If given, histograms of oriented gradients
        (HOG), and the pixels of color images, are used as features.
    encoder : {"auto", "mlp", "cnn", "resnet"} or callable, default="auto"
        Encoder network. "mlp": a multi-layer perceptron on the features that the
        neighbor graph is built from. "cnn": also a convolutional network on the images.
        "resnet": the same with residual blocks. "auto": for images of at least 16
        pixels a side "cnn" (one channel) or "resnet" (more), and "mlp" otherwise. A
        callable takes `n_features` and `hidden_dim` and returns a `torch.nn.Module`
        that maps the data (batch, n_features), standardized if the likelihood is
        Gaussian or mixed, to (batch, hidden_dim). `n_features` is the number of columns
        that aren't constant; of all columns with `image_shape`. The module must map
        each row independently (no batch normalization) and deterministically (no
        dropout).
    decoder : {"auto", "mlp", "cnn", "resnet"} or callable, default="auto"
        Decoder network. Each leaf has hidden layers and a constant; all leaves share
        the output layers. A callable takes `latent_dim` and
        `n_features` and returns the network of one leaf, which maps (batch, latent_dim)
        to (batch, n_features): standardized means, logits or log-rates.
    max_depth : int, default=None
        Maximum depth of a leaf; the root has depth 0. None means no limit.
    split_criterion : {"n_samples", "reconstruction", "elbo"}, default="n_samples"
        Criterion by which the iterative and the published growth choose the next leaf
        to split: the number of samples, or the share of the leaf in the reconstruction
        loss or in the negative ELBO of all samples. Ignored by the guided growth.
    min_cluster_size : int or float, default=None
        Leaves with fewer samples are pruned. An int is a number of samples; a float in
        [0, 0.5) is a fraction of the samples. None means the fraction
        ``min(0.05 / n_clusters, 0.01)``.
    likelihood : {"auto", "bernoulli", "gaussian", "mixed", "poisson", \
            "negative_binomial"}, default="auto"
        Distribution of the data given a leaf.

        - "bernoulli": values in [0, 1]; values between are soft targets.
        - "gaussian": real values, with a learned variance for each feature and leaf, at
          least 0.1% of the variance of the feature. Features are standardized inside,
          to a largest absolute value of at most 5; images are standardized as a whole.
        - "mixed": tables with discrete columns. A column of two values (each in at
          least ten rows) has a Bernoulli distribution; adjacent ones of which one is
          high in each row, as from OneHotEncoder, have a categorical distribution, and
          all others are Gaussian. Samples have the values of the data.
        - "poisson": counts, whole numbers up to 2**24. Rates range from 1e-6 to 2**25.
        - "negative_binomial": overdispersed counts, with the variance
          ``rate + dispersion * rate**2`` and a learned dispersion, at least 1e-4, for
          each feature and leaf.
        - "auto": "bernoulli" if all values lie in [0, 1], up to rounding errors of
          1e-6; else "mixed" for tables with columns of two values, and "gaussian" for
          other data. Count likelihoods are never chosen.
    views : {"image", "neighbors"} or callable, default=None
        Augmentations for contrastive learning (section 2.6 of the paper): a sample and
        its augmentation should have similar embeddings at every depth and the same
        routing. "image": random transformations of gray or color images, see
        :class:`ImageAugmentation`. "neighbors": one of the five nearest neighbors. A
        callable takes rows as a `torch.Tensor` of shape (batch, n_features), in the
        units of X, and a `torch.Generator`, and returns an augmentation of each row.
    contrastive_weight : float, default=10.0
        Weight of the contrastive loss relative to the ELBO. Only used with `views`.
    temperature : float, default=0.5
        Temperature of the NT-Xent loss. Lower values emphasize hard negatives. Only
        used with `views`.
    latent_dim : int, default=8
        Number of latent variables of each node.
    hidden_dim : int, default=128
        Width of the bottom-up embeddings, at least 3: layers are normalized, and two
        normalized numbers are only a sign. The encoder narrows to it from four times
        this width; decoders have hidden layers of this width and of twice this width.
    max_iter : int or "auto", default="auto"
        Maximum number of epochs of each phase of training. The guided growth has one
        phase, the joint training; the other growths have one for each split, for each
        refresh of the whole tree, and for the final fine-tuning. "auto" means 6 epochs,
        or more on small data: at least 120 update steps of the joint training (150 of
        counts), in up to 100 epochs, and 60 steps of other phases; and for the
        published growth 150 epochs for each split, 80 for a refresh and 200 for the
        fine-tuning. Before the joint training, the routers are initialized in up to 400
        steps, and in up to 4 epochs for each of ``max_iter`` if that is an int.
    batch_size : int or "auto", default="auto"
        Samples of an update step. "auto" is 256, or a thousandth of the samples if that
        is more.
    learning_rate : float, default=2e-3
        Maximum learning rate of AdamW. It rises in the first 5% of a phase, and falls
        to 0 in the second half; published growth: a tenth after two thirds.
    weight_decay : float, default=1e-5
        Weight decay of AdamW for matrices; biases and constants of leaves don't decay.
        Networks of a callable `decoder` decay as a whole. For long training, use 0.1
        to 1.
    early_stopping : bool, default=False
        Whether to hold out samples, to end a phase when their ELBO hasn't improved by
        0.01 nats in three epochs, and to restore the best parameters. Only the second
        half of a phase is considered. False applies the same rule to the ELBO of the
        training samples (not in the published growth), and keeps the last parameters.
    validation_fraction : float, default=0.1
        Fraction of the samples to hold out. Only used if `early_stopping` is True.
    random_state : int, RandomState instance or None, default=None
        Determines initial weights, batches and latents. The same int gives the same
        result, bit for bit, on the same machine with the same number of threads. None
        draws a fresh seed. The global random states of numpy and torch are neither read
        nor changed, except while a callable `encoder` or `decoder` runs.
    verbose : int, default=0
        Above 0, progress is written to standard error: one line in a terminal that is
        kept up to date, and a line for each stage and epoch elsewhere.
    device : str, torch.device or None, default=None
        Device to compute on. None is the best available device.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Type in which networks are evaluated in training. Weights, probabilities, losses
        and predictions are always in float32. "auto" is "bfloat16" on CUDA devices that
        support it, and "float32" elsewhere.
    n_jobs : int, default=None
        Number of threads of a fit, a prediction and other methods; -1 means all cores.
        None means 1, unless in a `joblib.parallel_config` context. More threads take
        longer for small data, and for all data beside a busy process. The setting of
        the process (``torch.get_num_threads()``) doesn't change. Stages that run in
        numpy, scipy and scikit-learn use one thread.
    memory : str, path-like or joblib.Memory, default=None
        Cache for the features, the neighbor graph and the proposed trees of data in
        memory. With the same data and `random_state`, a fit with other training
        parameters reuses everything; a fit with another `n_clusters`, up to 64, reuses
        the features and the graph. By default nothing is cached.

    Attributes
    ----------
    labels_ : ndarray of int of shape (n_samples,)
        Cluster of each training sample, 0 to ``n_clusters_ - 1``, numbered from left to
        right in the tree. After `partial_fit`, the clusters of its samples.
    n_clusters_ : int
        Number of clusters, the leaves of the tree.
    dendrogram_ : Dendrogram
        Tree over the clusters, with heights in nats; see the user guide.
    linkage_matrix_ : ndarray of shape (`n_clusters_` - 1, 4)
        Tree over the clusters, for `scipy.cluster.hierarchy`.
    children_ : ndarray of int of shape (n_samples - 1, 2)
        Tree over the samples, as in AgglomerativeClustering. Merges inside a cluster
        are balanced.
    distances_ : ndarray of shape (n_samples - 1,)
        Heights of the merges in `children_` in nats; 0 inside a cluster.
    n_leaves_ : int
        Number of leaves of the tree over the samples: the number of samples, as in
        AgglomerativeClustering. ``dendrogram_.n_leaves`` is the number of clusters.
    cluster_layers_ : list of ndarray of int of shape (n_samples,)
        Nested clusterings of the training samples, the finest first: `labels_`, and the
        cuts of ``dendrogram_.levels()``. As in EVoC and fast_hdbscan, without noise.
    cluster_tree_ : dict
        Children of each cluster in `cluster_layers_`, from (layer, cluster) to a list
        of them. The root is cluster 0 of the layer ``len(cluster_layers_)``.
    likelihood_ : str
        Likelihood in use, with "auto" resolved.
    choices_ : dict
        Choices of `fit`: "features" (kind), "n_features", "n_clusters" (asked for or
        estimated) and, of the guided growth, "n_neighbors" (of a sample), "partition"
        (method, "restart 1" for the best restart) and "partition_costs" (bits, by
        method; the least is used; clusters of embeddings are refined after that).
    n_iter_ : int
        Number of epochs, over all phases.
    n_samples_seen_ : int
        Number of samples in `fit`, or in all calls of `partial_fit`.
    history_ : dict of lists
        One entry for each epoch: "phase" ("joint"; "initial", "split", "refresh" or
        "finetune"; "partial_fit"), "epoch", "n_leaves", "learning_rate",
        "kl_weight", "elbo" and its terms "reconstruction", "kl_root", "kl_nodes" and
        "kl_decisions" (means over the samples in nats, in units of X; in a "split"
        phase, of the new leaves only), "contrast" (weighted contrastive loss;
        nan without `views`) and "validation_elbo" (with the phase's last "kl_weight";
        nan without `early_stopping`). The ELBO is that of the two most probable leaves
        (published growth: all), with noise on the encoder's input in the "joint" phase,
        while the epoch trains the model. `score` is that of the trained model, of all
        leaves and without noise, and after variances of few samples were raised.
    lower_bound_ : float
        Mean "elbo" of the training samples in the last epoch that isn't of a "split"
        phase, in nats, in units of X.
    module_ : TreeVAE
        The torch model.
    device_ : torch.device
        Device of the model.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of str of shape (`n_features_in_`,)
        Names of the features, if X has string column names.

    See Also
    --------
    explain : Features that tell the branches of a split apart.
    diagnose : What looks wrong with a fit, with remedies.
    export_html : The tree as a web page.
    save : Save the fitted estimator in a file, for `load`.
    set_callbacks : Follow the training; needs scikit-learn 1.9.
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
    >>> X, y = make_blobs([40, 40, 40], cluster_std=0.3, random_state=0)
    >>> model = TreeVAEClustering(n_clusters=3, random_state=0).fit(X)
    >>> sorted(np.bincount(model.labels_).tolist())
    [40, 40, 40]
    >>> model.predict_proba(X[:2]).shape
    (2, 3)
    >>> model.linkage_matrix_.shape
    (2, 4)
    """

    _allowed: ClassVar[dict[str, list[Allowed]]] = {
        "n_clusters": [Number(Integral, 1), NONE],
        "growth": [Options(("guided", "iterative", "published"))],
        "image_shape": [ImageShape(), NONE],
        "encoder": [Options(NETWORKS), Function()],
        "decoder": [Options(NETWORKS), Function()],
        "max_depth": [Number(Integral, 0), NONE],
        "split_criterion": [Options(("n_samples", "reconstruction", "elbo"))],
        "min_cluster_size": [Number(Integral, 1), Number(Real, 0, 0.5), NONE],
        "likelihood": [Options(("auto", *LIKELIHOODS))],
        "views": [Options(("image", "neighbors", None)), Function()],
        "contrastive_weight": [Number(Real, 0)],
        "temperature": [Number(Real, 0, closed="neither")],
        "latent_dim": [Number(Integral, 1)],
        "hidden_dim": [Number(Integral, 3)],
        "max_iter": [Number(Integral, 1), Options(("auto",))],
        "batch_size": [Number(Integral, 1), Options(("auto",))],
        "learning_rate": [Number(Real, 0, closed="neither")],
        "weight_decay": [Number(Real, 0)],
        "early_stopping": [Boolean()],
        "validation_fraction": [Number(Real, 0, 1, closed="neither")],
        "random_state": [
            Number(Integral, 0, 2**32 - 1, closed="both"),
            Instance(np.random.RandomState),
            NONE,
        ],
        "verbose": [Number(Integral, 0), Boolean()],
        "device": [Instance(str), Instance(torch.device), NONE],
        "n_jobs": [
            Number(Integral, 1, MAX_JOBS),
            Number(Integral, -MAX_JOBS, 0),
            NONE,
        ],
        "precision": [Options(("auto", "float32", "bfloat16"))],
        "memory": [Instance(str), Instance(os.PathLike), Instance(joblib.Memory), NONE],
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
        min_cluster_size: int | float | None = None,
        likelihood: str = "auto",
        views: str | Augmentation | None = None,
        contrastive_weight: float = 10.0,
        temperature: float = 0.5,
        latent_dim: int = 8,
        hidden_dim: int = 128,
        max_iter: int | str = "auto",
        batch_size: int | str = "auto",
        learning_rate: float = 2e-3,
        weight_decay: float = 1e-5,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
        device: str | torch.device | None = None,
        precision: str = "auto",
        n_jobs: int | None = None,
        memory: str | os.PathLike | joblib.Memory | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.growth = growth
        self.image_shape = image_shape
        self.encoder = encoder
        self.decoder = decoder
        self.max_depth = max_depth
        self.split_criterion = split_criterion
        self.min_cluster_size = min_cluster_size
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
        self.random_state = random_state
        self.verbose = verbose
        self.device = device
        self.precision = precision
        self.n_jobs = n_jobs
        self.memory = memory

    def __sklearn_tags__(self) -> Tags:
        """Return the capabilities of the estimator."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        """Return whether a fit has succeeded."""
        return hasattr(self, "n_clusters_")

    # Fitting

    @with_callbacks
    def fit(self, X: DataLike, y: object = None) -> Self:
        """Find a tree and train the model on it.

        If the fit fails, the estimator stays as it was. Ctrl-C (`KeyboardInterrupt`)
        after the first epoch of training ends the fit with the model reached, and a
        warning. Before that, and at a second Ctrl-C, the exception is raised, and the
        estimator stays as it was.

        Parameters
        ----------
        X : array-like, sparse matrix, Dataset or Dask array of shape \
                (n_samples, n_features)
            Data; with `image_shape`, also images of that shape. A dense array in memory
            is kept there as float32; all other data is read batch by batch. A
            `torch.utils.data.Dataset` must have a length. Its items are rows, arrays or
            tensors of any shape, or tuples that start with one; labels are ignored.
            Each batch of a Dask array computes all chunks that contain its rows.
        y : array-like of shape (n_samples,), default=None
            Ignored but by callbacks, such as `sklearn.callback.ScoringMonitor`.

        Returns
        -------
        self : TreeVAEClustering
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter or X isn't valid, there are fewer samples than clusters, or
            the result of a user's encoder, decoder or views isn't valid.
        FloatingPointError
            If training diverges.

        Warns
        -----
        ConvergenceWarning
            If there are fewer clusters than asked for, or training did not converge or
            was interrupted.
        UnsupportedClustersWarning
            If held-out samples support fewer clusters.
        OutlierWarning
            If a value would be more than half of the variance of its feature. It is
            clipped.
        """
        check_parameters(self, self._allowed)
        growth = growth_options(self)
        task = make_fit_task(growth)
        callbacks = make_callbacks(self, task, X, y)
        with fit_context(self), ExitStack() as stack:
            device = resolve_device(self.device)
            X = validate_rows(self, X, reset=True)
            stack.enter_context(self._threads())
            options = training_options(self, X.shape[0], device)
            model_config(self, X.shape[1])  # before the data are read
            check_views(self, X, device)
            generator = make_generator(self.random_state, device)
            rng = np.random.default_rng(draw_seed(generator))
            cache = Cache(self.memory)
            with Trainer(options, generator, callbacks, task) as trainer:
                with trainer.subtask("features") as features:
                    data = TrainingData.prepare(
                        X, data_options(self), generator, rng, cache
                    )
                    features.info = data.choices
                config = model_config(
                    self,
                    data.samples.n_features,
                    likelihood=data.likelihood,
                    discrete=data.discrete,
                )
                contrast = contrast_options(self, data, generator)
                complete = partial(fit_attributes, data=data, trainer=trainer, rng=rng)
                trainer.attributes_now = partial(attributes_now, complete, trainer, rng)
                tree = fit_tree(
                    data, config, growth, trainer, contrast, rng=rng, cache=cache
                )
                vars(self).update(trainer.interruptible(partial(complete, tree)))
            self._findings = find_problems(self, data, growth, trainer)
        for finding in self._findings:
            warnings.warn(finding.message, finding.category, stacklevel=3)
        return self

    @with_callbacks
    def partial_fit(self, X: DataLike, y: object = None) -> Self:
        """Continue to train a fitted tree on new samples; the first call is a `fit`.

        The first batch determines the tree, the features, the standardization and the
        likelihood, so it must contain all clusters. Each later call trains the whole
        model for one pass over its rows, at a quarter of `learning_rate`. ``views``
        augment the new rows, except for "neighbors".

        `labels_` and the sample counts of `dendrogram_` are then those of the new rows;
        leaves can be empty. Weights of `dendrogram_` are means over all calls; heights
        stay. `history_` grows by one epoch for each call.

        Parameters
        ----------
        X : array-like or Dataset of shape (n_samples, n_features)
            New data, as for `fit`, at least one row.
        y : array-like of shape (n_samples,), default=None
            Ignored but by callbacks, such as `sklearn.callback.ScoringMonitor`.

        Returns
        -------
        self : TreeVAEClustering
            The fitted estimator.

        Raises
        ------
        ValueError, FloatingPointError
            As in `fit`. The estimator stays as it was, also after Ctrl-C.

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
            return self.fit(X, y)
        check_parameters(self, self._allowed)
        task = Task("partial_fit", 1)
        callbacks = make_callbacks(self, task, X, y)
        history = History(self.history_)
        with fit_context(self), ExitStack() as stack:
            X = validate_rows(self, X, reset=False)
            stack.enter_context(self._threads())
            options = training_options(self, X.shape[0], self.device_).single_pass()
            generator = torch.Generator(self.device_).manual_seed(self._seed)
            check_views(self, X, self.device_)
            model = copy.deepcopy(self.module_)
            data = TrainingData.reuse(
                X,
                self._standardizer,
                model.feature_map,
                self.likelihood_,
                model.config.discrete,
                self.device_,
            )
            contrast = None
            if self.views != "neighbors":
                contrast = contrast_options(self, data, generator)
            with Trainer(options, generator, callbacks, task, history) as trainer:
                complete = partial(
                    partial_fit_attributes, data=data, trainer=trainer, estimator=self
                )
                trainer.attributes_now = partial(attributes_now, complete, trainer)
                continue_training(model, data, trainer, contrast)
                vars(self).update(complete(model))
        return self

    # Clusters

    def predict(self, X: DataLike, n_clusters: int | None = None) -> NDArray[np.int64]:
        """Return the most probable cluster of each sample.

        Parameters
        ----------
        X : array-like or Dataset of shape (n_samples, n_features)
            Data, as for `fit`.
        n_clusters : int, default=None
            Cut the tree into this many clusters, from 1 to ``n_clusters_``.

        Returns
        -------
        labels : ndarray of int of shape (n_samples,)
            Clusters, numbered from left to right; finer cuts refine coarser ones. For
            the training data, `labels_`.
        """
        leaves, _ = self._map(X, lambda m, x: m.assign_leaves(m.feature_map(x)))
        clusters = np.arange(self.n_clusters_)
        if n_clusters is not None:
            clusters = self.dendrogram_.cut(n_clusters)
        return clusters[leaves.numpy(force=True)]

    def predict_proba(
        self, X: DataLike, n_clusters: int | None = None
    ) -> NDArray[np.floating]:
        """Return the probability of each cluster, P(leaf | x) in the paper.

        Parameters
        ----------
        X : array-like or Dataset of shape (n_samples, n_features)
            Data, as for `fit`, but no sparse matrix: `check_estimator` treats an
            estimator that accepts sparse input and has `predict_proba` as a classifier.
            Pass ``X.toarray()``, in batches if it is large.
        n_clusters : int, default=None
            Cut the tree into this many clusters, from 1 to ``n_clusters_``. The
            probability of a cluster is then proportional to that of its most probable
            leaf, so that cuts nest.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_clusters)
            Rows sum to 1, and are largest at the cluster that `predict` returns.
        """
        check_is_fitted(self)
        if sparse.issparse(X):
            raise TypeError(
                "predict_proba takes no sparse input. Use predict, or pass "
                "X.toarray(), in batches if it is large."
            )
        log_proba, dtype = self._map(X, lambda m, x: m.leaf_log_proba(m.feature_map(x)))
        proba = cut_proba(self.dendrogram_, log_proba.numpy(force=True), n_clusters)
        return proba.astype(dtype, copy=False)

    # Embedding and density

    def transform(self, X: DataLike) -> NDArray[np.floating]:
        """Return the bottom-up embedding d_0 of each sample, which the root reads.

        Parameters
        ----------
        X : array-like or Dataset of shape (n_samples, n_features)
            Data, as for `fit`.

        Returns
        -------
        Z : ndarray of shape (n_samples, hidden_dim)
            Embeddings.
        """
        return _to_numpy(*self._map(X, TreeVAE.embed))

    def score_samples(self, X: DataLike) -> NDArray[np.floating]:
        """Return the ELBO of each sample, a lower bound of log p(x) in nats.

        The ELBO is estimated from eight draws of the latents, which are a function of
        the sample: errors of different samples are independent, and a sample has the
        same score in each call and in any batch.

        Columns that were constant in `fit` add nothing. Values in them are ignored.

        Parameters
        ----------
        X : array-like or Dataset of shape (n_samples, n_features)
            Data, as for `fit`.

        Returns
        -------
        elbo : ndarray of shape (n_samples,)
            Nats, in the units of X.
        """

        def estimate(model: TreeVAE, x: Tensor) -> Tensor:
            return model.mean_elbo(x, model.row_noise(x, N_SCORE_DRAWS))

        return self._to_density(*self._map(X, estimate))

    def log_likelihood(
        self, X: DataLike, n_importance_samples: int = 1000
    ) -> NDArray[np.floating]:
        """Return an estimate of log p(x) for each sample, in nats.

        The importance-weighted bound: latents are drawn from the inference model, and
        paths through the tree are summed over. ``exp`` of the result is an unbiased
        estimate of p(x). In expectation the result is a lower bound of log p(x) that is
        tighter than the ELBO, and approaches log p(x) with the number of draws.
        Draws are a function of the sample. Time is proportional to their number.

        Parameters
        ----------
        X : array-like or Dataset of shape (n_samples, n_features)
            Data, as for `fit`.
        n_importance_samples : int, default=1000
            Number of draws of the latents.

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
        >>> log_likelihood = model.log_likelihood(X, n_importance_samples=100)
        >>> log_likelihood.shape
        (80,)
        """
        check_is_fitted(self)
        check_count("n_importance_samples", n_importance_samples)

        def estimate(model: TreeVAE, x: Tensor) -> Tensor:
            return model.log_likelihood(x, model.row_noise(x, n_importance_samples))

        return self._to_density(*self._map(X, estimate))

    # Generation

    def sample(
        self,
        n_samples: int = 1,
        cluster: int | None = None,
        n_clusters: int | None = None,
    ) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
        """Draw samples from the generative model, section 2.2 of the paper.

        Parameters
        ----------
        n_samples : int, default=1
            Number of samples.
        cluster : int, default=None
            Cluster to draw from: a leaf or, with `n_clusters`, the subtree that the cut
            merges into one cluster. Decisions above it are fixed, and decisions below
            it are drawn. The whole tree by default.
        n_clusters : int, default=None
            Cut the tree into this many clusters, from 1 to ``n_clusters_``. `cluster`
            and the returned labels then refer to the cut.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Samples in the units of the training data: probabilities with a Bernoulli
            likelihood, whole numbers with one of counts, and in the discrete columns of
            a mixed one values of the training data.
        labels : ndarray of int of shape (n_samples,)
            Cluster of each sample.

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
        check_count("n_samples", n_samples)
        n_cut = self.n_clusters_ if n_clusters is None else n_clusters
        cut = self.dendrogram_.cut(n_cut)
        if cluster is not None and not Number(Integral, 0, n_cut).accepts(cluster):
            raise ValueError(
                f"cluster must be an int from 0 to {n_cut - 1}, got {cluster!r}."
            )
        leaves = np.flatnonzero(cut == cluster) if cluster is not None else None
        generator = make_generator(self.random_state, self.device_)
        with self._threads():
            x, leaf = self.module_.sample(n_samples, generator, leaves)
        rows = self._standardizer.inverse_transform(_to_numpy(x, np.float64))
        return rows, cut[leaf.numpy(force=True)]

    def reconstruct(self, X: DataLike) -> NDArray[np.floating]:
        """Return the reconstruction E[x | z] of each sample.

        The reconstruction is the mean of the decoded posterior means of the leaves,
        weighted by P(leaf | x).

        Parameters
        ----------
        X : array-like or Dataset of shape (n_samples, n_features)
            Data, as for `fit`.

        Returns
        -------
        X_reconstructed : ndarray of shape (n_samples, n_features)
            In the units of X.
        """
        rows, dtype = self._map(X, TreeVAE.reconstruct)
        rows = self._standardizer.inverse_transform(_to_numpy(rows, np.float64))
        return rows.astype(dtype, copy=False)

    # Between numpy and torch

    def _threads(self) -> AbstractContextManager[None]:
        """Return a context with as many threads as `n_jobs` means."""
        return limit_threads(resolve_n_threads(self.n_jobs))

    def _map(
        self, X: DataLike, function: Callable[[TreeVAE, Tensor], Tensor]
    ) -> tuple[Tensor, np.dtype]:
        """Apply a function of the model to new data.

        The second result is the type of values for the user: the float type of X, and
        float64 for other types.
        """
        check_is_fitted(self)
        X = validate_rows(self, X, reset=False)
        with self._threads():
            samples = Samples(
                X, self._standardizer, self.device_, likelihood=self.likelihood_
            )
            values = samples.map(partial(function, self.module_))
        return values, np.dtype(np.float32 if X.dtype == np.float32 else np.float64)

    def _to_density(self, density: Tensor, dtype: np.dtype) -> NDArray[np.floating]:
        """Return log-densities of standardized data as log-densities of X."""
        return _to_numpy(density, dtype) - dtype.type(self._standardizer.log_det)


def _to_numpy(x: Tensor, dtype: np.dtype | type) -> NDArray[np.floating]:
    return x.numpy(force=True).astype(dtype, copy=False)
