"""TreeVAEClustering: the tree variational autoencoder as a scikit-learn estimator."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Callable, Sequence
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

from ..data import KINDS, Matrix, Samples, TrainingData
from ..display.html import export_html
from ..inspection.columns import row_index
from ..inspection.diagnostics import Finding, diagnose, find_problems
from ..inspection.explanation import Explanation, Explanations, explain, node_means
from ..io.save_and_load import load, save
from ..io.state import State, from_plain, to_plain
from ..model import LIKELIHOODS, TreeVAE
from ..training.augmentation import Augmentation
from ..training.fitting import GROWTHS, Continuation, make_fit_task, make_growth
from ..training.growth import GrowthOptions
from ..training.state import Generators, History
from ..training.trainer import Task, Trainer
from ..utils.cache import Cache
from ..utils.devices import resolve_device
from ..utils.processes import open_processes
from ..utils.random import make_generator
from ..utils.threads import MAX_JOBS, limit_threads, resolve_n_threads
from ..utils.validation import (
    BOOLEAN,
    COUNT,
    FUNCTION,
    Allowed,
    Instance,
    Number,
    Options,
    check_argument,
    check_parameters,
)
from .attributes import (
    all_or_nothing,
    cut_proba,
    fit_attributes,
    partial_fit_attributes,
)
from .blockwise import blockwise
from .callbacks import CallbackSupportMixin, make_callbacks, with_callbacks
from .parameters import (
    ImageShape,
    check_views,
    contrast_options,
    data_options,
    growth_options,
    model_config,
    open_checkpoints,
    training_options,
    validate_rows,
)

NETWORKS = ("auto", "mlp", "cnn", "resnet")
NONE = Options((None,))

N_SCORE_DRAWS = 8
"""Number of draws of the latents that estimate the ELBO of a sample."""

DataLike = ArrayLike | Dataset


class TreeVAEClustering(
    CallbackSupportMixin,
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
        tree of up to 64 leaves counts if a gap separates its branches on held-out
        samples, at a level of 5% for the whole tree.
    growth : {"guided", "iterative", "published"}, default="guided"
        Method that finds the tree. "guided": the neighbor graph proposes the whole
        tree, and all parts of the model are trained together. "iterative": one leaf
        after the other is split and trained (section 2.5 of the paper). The router of a
        new split is initialized from two clusters of the neighbor graph of the leaf's
        samples. "published": as in the paper, from random routers that only the ELBO
        trains, with the paper's epochs, weights and learning rate; :ref:`published` has
        the remaining differences.
    image_shape : tuple of int, default=None
        Shape of the images that the rows of X are: (height, width), at least 8 pixels
        each, or with channels first or last. If given, histograms of oriented gradients
        (HOG), and the pixels of color images, are used as features.
    kind : {"auto", "images", "counts", "text", "embeddings", "table"}, default="auto"
        Kind of the data, which the features that neighbors are found by depend on; see
        :ref:`features`.

        - "auto": the first of the kinds below that most of the data is of.
        - "images": with an `image_shape`, which it needs. Gradients of gray levels,
          and the pixels of color images, are compared.
        - "counts": with a likelihood of counts, which it needs. Shares are
          compared, or roots of few columns.
        - "text": more than 64 columns, less than 10% nonzero values, and no
          negative ones, which it can't have. Terms are weighted.
        - "embeddings": more than 64 columns of both signs, and most rows of one
          length. Only the direction of a row counts.
        - "table": all other data. Columns are compared in units of their
          resolution, such as 0.1 cm or a gray level, or of their standard
          deviation, whichever predicts columns by neighbors better. The unit that a
          column is written in doesn't matter.
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

        - "auto": "bernoulli" for images, for more than 64 columns of which a tenth is
          zero, and for zeros and ones, if all values lie in [0, 1], up to rounding
          errors of 1e-6; else "mixed" for tables with columns of two values, and
          "gaussian" for other data. Count likelihoods are never chosen.
        - "bernoulli": values in [0, 1]; values between are soft targets.
        - "gaussian": real values, with a learned variance for each feature and
          leaf, at least 0.1% of the variance of the feature. Features are
          standardized inside, to a largest absolute value of at most 5; images are
          standardized as a whole.
        - "mixed": tables with discrete columns. A column of two values (each in at
          least ten rows) has a Bernoulli distribution; adjacent ones of which one
          is high in each row, as from OneHotEncoder, have a categorical
          distribution, and all others are Gaussian. Samples have the values of the
          data.
        - "poisson": counts, whole numbers up to 2**24. Rates range from 1e-6 to
          2**25.
        - "negative_binomial": overdispersed counts, with the variance ``rate +
          dispersion * rate**2`` and a learned dispersion, at least 1e-4, for each
          feature and leaf.
    views : {"image", "neighbors"} or callable, default=None
        Augmentations for contrastive learning (section 2.6 of the paper): a sample and
        its augmentation should have similar embeddings at every depth and the same
        routing. The guided growth also proposes a tree by features that are learned
        from augmentations, but not from "neighbors". "image": random transformations of
        gray or color images, see :class:`ImageAugmentation`. "neighbors": one of the
        five nearest neighbors. A callable takes rows as a `torch.Tensor` of shape
        (batch, n_features), in the units of X, and a `torch.Generator`, and returns an
        augmentation of each row.
    contrastive_weight : float, default=10.0
        Weight of the contrastive loss relative to the ELBO. Only used with `views`.
    temperature : float, default=0.5
        Temperature of the NT-Xent loss. Lower values emphasize hard negatives. Only
        used with `views`.
    latent_dim : int, default=8
        Number of latent variables of each node.
    hidden_dim : int, default=128
        Width of the bottom-up embeddings, at least 3: layers are normalized, and two
        normalized numbers are only a sign. The encoder narrows to it from twice this
        width, or four times in growths other than the default; decoders have hidden
        layers of this width and of twice this width.
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
    learning_rate : float or "auto", default="auto"
        Maximum learning rate of AdamW. It rises in the first 5% of a phase, and falls
        to 0 in the second half; published growth: a tenth after two thirds. "auto" is
        2e-3, and 1e-3 for the published growth.
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
        the features and the graph. Features learned from `views` are learned again. By
        default nothing is cached.
    checkpoint_dir : str or path-like, default=None
        Folder in which `fit` stores its state while it runs: at the end of each stage,
        and of an epoch every `checkpoint_interval` minutes. A later `fit` with the same
        parameters and the same X goes on from there, to the same bits; so does one
        after the end, which is done at once. With other parameters or data it is an
        error. One folder is for one fit; it isn't for a search. By default nothing is
        stored.
    checkpoint_interval : float, default=10.0
        Minutes between two states, at least. Only used with `checkpoint_dir`.

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
        AgglomerativeClustering. ``dendrogram_.n_clusters`` is the number of clusters.
    kind_ : str
        Kind of the data, with "auto" resolved.
    likelihood_ : str
        Likelihood in use, with "auto" resolved.
    choices_ : dict
        Choices of `fit`: "features" (kind), "n_features", "n_clusters" (asked for or
        estimated) and, of the guided growth, "n_neighbors" (of a sample), "partition"
        (method of the least cost, "restart 1" for the best restart; clusters of
        embeddings are refined after that) and "cost" (of the partition, in bits); with
        augmentations as `views`, also "learned_features" (whether the graph has them).
        ``verbose=1`` shows the costs of all methods.
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

    _findings: Sequence[Finding] = ()

    _allowed: ClassVar[dict[str, list[Allowed]]] = {
        "n_clusters": [Number(Integral, 1), NONE],
        "growth": [Options(tuple(GROWTHS))],
        "image_shape": [ImageShape(), NONE],
        "kind": [Options(("auto", *KINDS))],
        "encoder": [Options(NETWORKS), FUNCTION],
        "decoder": [Options(NETWORKS), FUNCTION],
        "max_depth": [Number(Integral, 0), NONE],
        "split_criterion": [Options(("n_samples", "reconstruction", "elbo"))],
        "min_cluster_size": [Number(Integral, 1), Number(Real, 0, 0.5), NONE],
        "likelihood": [Options(("auto", *LIKELIHOODS))],
        "views": [Options(("image", "neighbors", None)), FUNCTION],
        "contrastive_weight": [Number(Real, 0)],
        "temperature": [Number(Real, 0, closed="neither")],
        "latent_dim": [Number(Integral, 1)],
        "hidden_dim": [Number(Integral, 3)],
        "max_iter": [Number(Integral, 1), Options(("auto",))],
        "batch_size": [Number(Integral, 1), Options(("auto",))],
        "learning_rate": [Number(Real, 0, closed="neither"), Options(("auto",))],
        "weight_decay": [Number(Real, 0)],
        "early_stopping": [BOOLEAN],
        "validation_fraction": [Number(Real, 0, 1, closed="neither")],
        "random_state": [
            Number(Integral, 0, 2**32 - 1, closed="both"),
            Instance(np.random.RandomState),
            NONE,
        ],
        "verbose": [Number(Integral, 0), BOOLEAN],
        "device": [Instance(str), Instance(torch.device), NONE],
        "n_jobs": [Number(Integral, 1, MAX_JOBS), Number(Integral, -MAX_JOBS, 0), NONE],
        "precision": [Options(("auto", "float32", "bfloat16"))],
        "memory": [Instance(str), Instance(os.PathLike), Instance(joblib.Memory), NONE],
        "checkpoint_dir": [Instance(str), Instance(os.PathLike), NONE],
        "checkpoint_interval": [Number(Real, 0, 1e9)],
    }

    def __init__(
        self,
        n_clusters: int | None = 8,
        *,
        growth: str = "guided",
        image_shape: tuple[int, ...] | None = None,
        kind: str = "auto",
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
        learning_rate: float | str = "auto",
        weight_decay: float = 1e-5,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
        device: str | torch.device | None = None,
        precision: str = "auto",
        n_jobs: int | None = None,
        memory: str | os.PathLike | joblib.Memory | None = None,
        checkpoint_dir: str | os.PathLike | None = None,
        checkpoint_interval: float = 10.0,
    ) -> None:
        self.n_clusters = n_clusters
        self.growth = growth
        self.image_shape = image_shape
        self.kind = kind
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
        self.checkpoint_dir = checkpoint_dir
        self.checkpoint_interval = checkpoint_interval

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
        after the first epoch of training ends the fit with the model of the last epoch,
        and a warning. Before that, and at a second Ctrl-C, the exception is raised, and
        the estimator stays as it was.

        Parameters
        ----------
        X : array-like, sparse matrix, Dataset or Dask array of shape \
                (n_samples, n_features)
            Data; with `image_shape`, also images of that shape. A dense array in memory
            is kept there as float32; all other data is read batch by batch. A
            `torch.utils.data.Dataset` must have a length. Its items are rows, arrays or
            tensors of any shape, or tuples that start with one; labels are ignored.
            Each batch of a Dask array computes all chunks that contain its rows.
            Processes that torchrun has started share the fit, each with its own rows;
            see :ref:`scaling`.
        y : array-like of shape (n_samples,), default=None
            Used only by callbacks, such as `sklearn.callback.ScoringMonitor`.

        Returns
        -------
        self : TreeVAEClustering
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter or X isn't valid, there are fewer samples than clusters, the
            result of a user's encoder, decoder or views isn't valid, or
            `checkpoint_dir` has the state of another fit or none that can be read.
        OSError
            If `checkpoint_dir` can't be written to, or another fit uses it.
        FloatingPointError
            If training diverges.
        ProcessError
            If another process that shares the fit has failed.

        Warns
        -----
        CheckpointWarning
            If a state can't be written, or the newest one can't be read.
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
        options = growth_options(self)
        has_augmentation = self.views not in (None, "neighbors")
        task = make_fit_task(options, has_augmentation)
        callbacks = make_callbacks(self, task, X, y)
        with all_or_nothing(self), ExitStack() as stack:
            device = resolve_device(self.device)
            processes = stack.enter_context(open_processes(device))
            index = row_index(X) if processes.size == 1 else None
            X = validate_rows(self, X, reset=True, processes=processes)
            stack.enter_context(self._threads())
            _, n_samples = processes.locate(X.shape[0])
            training = training_options(self, n_samples, device)
            model_config(self, X.shape[1])  # before the data are read
            check_views(self, X, device)
            shared = make_generator(self.random_state, device)
            checkpoints = stack.enter_context(
                open_checkpoints(self, X, shared, processes)
            )
            generators, cache = Generators(shared, processes.rank), Cache(self.memory)
            with Trainer(
                training,
                generators,
                callbacks,
                task,
                keeps_interrupted=processes.size == 1,
                checkpoints=checkpoints,
                processes=processes,
            ) as trainer:
                with trainer.subtask("features") as features:
                    data = TrainingData.prepare(
                        X, data_options(self), shared, generators.rng, cache, processes
                    )
                    features.info = data.choices
                n_features, likelihood = data.samples.n_features, data.likelihood
                config = model_config(self, n_features, likelihood, data.discrete)
                contrast = contrast_options(self, data, shared)
                growth = make_growth(data, config, options, trainer, contrast, cache)
                complete = partial(fit_attributes, data=data, trainer=trainer)
                vars(self).update(trainer.fit(growth, complete))
            self._findings = find_problems(self, data, options, trainer, index)
        if processes.rank == 0:
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
            Used only by callbacks, such as `sklearn.callback.ScoringMonitor`.

        Returns
        -------
        self : TreeVAEClustering
            The fitted estimator.

        Raises
        ------
        ValueError, FloatingPointError
            As in `fit`. The estimator stays as it was, also after Ctrl-C.

        Warns
        -----
        UserWarning
            If the rows are in other clusters than the rows before them, as in a file
            that is sorted: clusters can drift.

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
        with all_or_nothing(self), ExitStack() as stack:
            X = self._validate(X)
            stack.enter_context(self._threads())
            training = training_options(self, X.shape[0], self.device_).single_pass()
            shared = torch.Generator(self.device_).manual_seed(self._seed)
            check_views(self, X, self.device_)
            model = copy.deepcopy(self.module_)
            config = model.config
            data = TrainingData.reuse(
                X, self._standardizer, model.feature_map, config, self.device_
            )
            contrast = None
            if self.views != "neighbors":
                contrast = contrast_options(self, data, shared)
            generators = Generators(shared)
            with Trainer(training, generators, callbacks, task, history) as trainer:
                options = GrowthOptions(self.n_clusters_)
                growth = Continuation(
                    data, config, options, trainer, contrast, fitted=model
                )
                complete = partial(
                    partial_fit_attributes, data=data, trainer=trainer, estimator=self
                )
                vars(self).update(trainer.fit(growth, complete))
        for finding in self._findings:
            if finding.name == "drift":
                warnings.warn(finding.message, finding.category, stacklevel=3)
        return self

    def fit_predict(self, X: DataLike, y: object = None) -> NDArray[np.int64]:
        """Fit, and return `labels_`.

        Parameters
        ----------
        X : array-like or Dataset of shape (n_samples, n_features)
            Data, as for `fit`.
        y : array-like of shape (n_samples,), default=None
            Passed on to callbacks.

        Returns
        -------
        labels : ndarray of int of shape (n_samples,)
            Cluster of each sample.
        """
        return self.fit(X, y).labels_

    # Clusters

    @blockwise
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

    @blockwise
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

    @property
    def children_(self) -> NDArray[np.int64]:
        """Tree over the samples, (n_samples - 1, 2)."""
        check_is_fitted(self)
        return self.dendrogram_.to_linkage("samples")[:, :2].astype(np.int64)

    @property
    def distances_(self) -> NDArray[np.float64]:
        """Heights of the merges in `children_` in nats, (n_samples - 1,)."""
        check_is_fitted(self)
        return self.dendrogram_.to_linkage("samples")[:, 2]

    @property
    def n_leaves_(self) -> int:
        """Number of leaves of the tree over the samples: the number of samples."""
        check_is_fitted(self)
        return len(self.dendrogram_.labels)

    # Embedding and density

    @blockwise
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

    @blockwise
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

    def score(
        self, X: DataLike, y: object = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return the mean ELBO in nats, the mean of `score_samples`.

        Its standard error, as an estimate for the distribution of the samples, is
        ``score_samples(X).std() / sqrt(n_samples)``. It includes the error of the draws
        of the latents, since they are independent between samples.

        Parameters
        ----------
        X : array-like or Dataset of shape (n_samples, n_features)
            Data, as for `fit`.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples in the mean, not negative; None for equal weights.

        Returns
        -------
        elbo : float
            Nats per sample; higher is better.

        Raises
        ------
        ValueError
            If X or the weights are not valid.
        """
        return _weighted_mean(np.asarray(self.score_samples(X)), sample_weight)

    def log_likelihood(
        self, X: DataLike, n_importance_samples: int = 50
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
        n_importance_samples : int, default=50
            Number of draws of the latents. On the digits, the mean is 0.28 nats below
            that of 2000 draws with 10 draws, 0.16 with 20, and 0.08 with 50 or 100; the
            ELBO is 3.2 nats below.

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
        >>> model.log_likelihood(X).shape
        (80,)
        """
        check_is_fitted(self)
        check_argument("n_importance_samples", n_importance_samples, COUNT)

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
        check_argument("n_samples", n_samples, COUNT)
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

    # Explanation

    def node_means(self, node: int | None = None) -> NDArray[np.float64]:
        """Return the mean of the generative model at a node, E[x | node].

        The mean of a leaf is the mean of the decoded latent variables, drawn from the
        prior with a fixed seed. The mean of another node is that of its leaves,
        weighted by ``dendrogram_.weight``.

        Parameters
        ----------
        node : int, default=None
            Node of ``dendrogram_``. All nodes by default.

        Returns
        -------
        mean : ndarray of shape (n_features,) or (n_nodes, n_features)
            In the units of X: probabilities with a Bernoulli likelihood, rates with one
            of counts.

        Raises
        ------
        ValueError
            If there is no such node.

        Examples
        --------
        >>> from sklearn.datasets import make_blobs
        >>> from sktreevae import TreeVAEClustering
        >>> X, y = make_blobs([40, 40, 40], cluster_std=0.5, random_state=0)
        >>> model = TreeVAEClustering(n_clusters=3, random_state=0).fit(X)
        >>> model.node_means().shape
        (5, 2)
        >>> model.node_means(0).shape
        (2,)
        """
        check_is_fitted(self)
        return node_means(self, node)

    def explain(
        self,
        node: int | None = 0,
        X: DataLike | None = None,
        *,
        against: str | None = None,
        n_features: int | None = 10,
        feature_names: Sequence[str] | None = None,
    ) -> Explanation | Explanations:
        """Return the features that tell the two branches of a node apart.

        The effect of a feature is the difference of its means in the left and in the
        right branch, relative to the standard deviation within the branches (Cohen's
        d). It doesn't depend on the unit of the feature. Means are those of the rows of
        X or, without X, of the generative model.

        In the model, the variance of a Bernoulli feature is ``p * (1 - p)``. If its
        values are between 0 and 1, as gray levels and term frequencies are, this is an
        upper bound: effects are understated, and less so of features with large values.
        Rare terms therefore don't come first.

        Parameters
        ----------
        node : int, default=0
            Node with branches, one of ``dendrogram_.internal_nodes``; the root by
            default. With ``against="rest"``, any node except the root. None means all
            of these nodes. `export_html` and the representation of ``dendrogram_`` in
            notebooks show the numbers of the nodes.
        X : array-like or Dataset of shape (n_samples, n_features), default=None
            Rows that are compared: those that `predict` assigns to the branches.
        against : {None, "rest"}, default=None
            What is compared. None: the left branch of the node with the right one.
            "rest": the clusters of the node with all others, as labels of nodes need.
            Below the root, features and signs of the two can differ.
        n_features : int, default=10
            Maximum number of features, of effects of at least 0.3 (of any size if they
            are understated). With X, those are left out that are correlated by more
            than 0.9, within the branches, with a feature before them. None returns all
            features.
        feature_names : sequence of str of length `n_features_in_`, default=None
            Names of the columns, by default ``feature_names_in_``, and "x0", "x1", ...
            if there are none.

        Returns
        -------
        explanation : Explanation, or Explanations, a list of them, if `node` is None
            Features, means and effects, largest effects first.

        Raises
        ------
        ValueError
            If `node` can't be compared or is no node, a parameter or X isn't valid, or
            fewer than two rows of X are on a side of `node`.

        See Also
        --------
        sktreevae.explain : The same as a function, also of a pipeline.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sktreevae import TreeVAEClustering
        >>> X = load_iris(as_frame=True).data
        >>> model = TreeVAEClustering(n_clusters=3, random_state=0).fit(X)
        >>> explanation = model.explain(0, n_features=2)
        >>> explanation.feature_names.tolist()
        ['petal length (cm)', 'petal width (cm)']
        >>> [found.node for found in model.explain(None)]
        [0, 1]
        """
        return explain(
            self,
            node,
            X,
            against=against,
            n_features=n_features,
            feature_names=feature_names,
        )

    def diagnose(self, X: DataLike | None = None) -> list[Finding]:
        """Return problems of the fit, with the remedies.

        The findings are those that `fit` warned of, and:

        - "posterior collapse": latent variables of a cluster hold no information.
        - "undecided routers": decisions of a split are nearly random.
        - "imbalance": one cluster has more than 90% of the training samples.
        - "near-duplicate clusters": two clusters generate nearly the same.
        - "empty clusters": no training samples, or no rows of X, are in a cluster.
        - "overfitting": X gains much less from the model than the training samples.
        - "drift": the rows of the last `partial_fit` are in other clusters than those
          before.
        - "unlike rows": X is too improbable for rows like the training samples, as in
          other units. Both need X.

        Parameters
        ----------
        X : array-like or Dataset of shape (n_samples, n_features), default=None
            Data to diagnose the model on: held-out samples, to find overfitting. By
            default, the model's posteriors and routers are measured on samples that it
            generates.

        Returns
        -------
        findings : list of Finding
            Each has a name, nodes, numbers, the problem in words and a remedy. Empty if
            nothing looks wrong.

        Raises
        ------
        ValueError
            If X isn't valid.

        See Also
        --------
        sktreevae.diagnose : The same as a function, also of a pipeline.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sktreevae import TreeVAEClustering
        >>> X, y = load_iris(return_X_y=True)
        >>> model = TreeVAEClustering(n_clusters=2, random_state=0).fit(X)
        >>> model.diagnose(X)
        []
        """
        return diagnose(self, X)

    def export_html(
        self,
        path: str | os.PathLike,
        X: DataLike | None = None,
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
        p-value of its split as well. Splits without support are dashed. Images have at
        most 64 pixels a side.

        Parameters
        ----------
        path : str or path-like
            File to write. An older file is replaced when the page is complete. The name
            of the file without the ending is the title of the page.
        X : array-like or Dataset of shape (n_samples, n_features), default=None
            Samples to describe, as for `predict`: numbers of samples, means and labels
            are theirs. By default, the numbers are those of the training samples, and
            the means are those of the generative model, see `node_means`.
        y : array-like of shape (n_samples,), default=None
            Known labels of the samples; of the training samples if X is None.
        feature_names : sequence of str of length n_features, default=None
            Names of the features, by default ``feature_names_in_``, or x0, x1, ...
        image_shape : tuple of int, default=None
            Shape of the images in the rows of X: (height, width), or with 1, 3 or 4
            channels first or last. By default the parameter `image_shape`; if it has
            another number of channels, nodes show features.
        cluster_names : sequence of str of length `n_clusters_`, default=None
            Names of the clusters, by default "cluster 0", "cluster 1", ...

        Raises
        ------
        ImportError
            If jinja2 or, for images, Pillow is not installed: the extra "plot".
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
        export_html(
            self,
            path,
            X,
            y=y,
            feature_names=feature_names,
            image_shape=image_shape,
            cluster_names=cluster_names,
        )

    # Files and pickles

    def save(self, path: str | os.PathLike) -> None:
        """Save the fitted estimator in one file of arrays and JSON.

        The file has the parameters, the tree, the model, `history_` and all other
        attributes of a fit, except `memory` and what isn't of a fit: callbacks,
        `set_output` and metadata requests. It doesn't have the training data, apart
        from `labels_`. Parameters that JSON can't have, such as functions, are passed
        to `load`. An existing file is replaced as a whole.

        Parameters
        ----------
        path : str or path-like
            Name of the file. Nothing is appended to it.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator isn't fitted.
        ValueError
            If a parameter isn't valid, or if a callback saves the estimator while it is
            fitted again; save the callback's `fitted_estimator` instead. An existing
            file stays as it was.
        OSError
            If the file can't be written, or the name is that of a folder, a pipe or a
            device. An existing file stays as it was.

        See Also
        --------
        load : Load the file.

        Examples
        --------
        >>> import os, tempfile
        >>> from sklearn.datasets import make_blobs
        >>> from sktreevae import TreeVAEClustering
        >>> X, y = make_blobs([40, 40], cluster_std=0.5, random_state=0)
        >>> model = TreeVAEClustering(n_clusters=2, random_state=0).fit(X)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "blobs.safetensors")
        ...     model.save(path)
        ...     twin = TreeVAEClustering.load(path)
        >>> bool((twin.predict_proba(X) == model.predict_proba(X)).all())
        True
        """
        check_is_fitted(self)
        check_parameters(self, self._allowed)
        save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike, **parameters: object) -> Self:
        """Load a fitted estimator that `save` has written.

        Nothing in the file is run. Parts of a file that contradict each other are
        refused before the model is built, and nothing larger than the file is
        allocated until then.

        Parameters
        ----------
        path : str or path-like
            Name of the file.
        **parameters : object
            Parameters of the estimator that replace those of the file. Those that a
            file can't have must be passed: functions and other objects, such as an
            `ImageAugmentation`. Without `device`, the device is the one that was saved
            or, with a warning, the CPU if that isn't available.

        Returns
        -------
        estimator : TreeVAEClustering
            The fitted estimator. Its `memory` is None unless it is passed.

        Raises
        ------
        FileNotFoundError
            If there is no file of this name.
        OSError
            If the name is that of a folder, a pipe or a device.
        ValueError
            If the file is truncated, damaged, of another kind or of an unknown format
            version, or contradicts itself; or if a parameter must be passed, or isn't
            valid.

        See Also
        --------
        save : Write the file.
        """
        return load(cls, path, parameters)

    def __getstate__(self) -> State:
        """Return the state as arrays and plain values, whatever the device."""
        return to_plain(super().__getstate__())

    def __setstate__(self, state: State) -> None:
        """Build the estimator again, on its device or else on the CPU."""
        super().__setstate__(from_plain(state))

    # Between numpy and torch

    def _validate(self, X: DataLike) -> Matrix:
        """Return X as a matrix that agrees with the fit."""
        return validate_rows(self, X, reset=False)

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
        X = self._validate(X)
        with self._threads():
            units = self._standardizer, self.device_, self.likelihood_
            samples = Samples(X, *units)
            values = samples.map(partial(function, self.module_))
        is_single = X.dtype.newbyteorder("=") == np.float32
        return values, np.dtype(np.float32 if is_single else np.float64)

    def _to_density(self, density: Tensor, dtype: np.dtype) -> NDArray[np.floating]:
        """Return log-densities of standardized data as log-densities of X."""
        return _to_numpy(density, dtype) - dtype.type(self._standardizer.log_det)


def _to_numpy(x: Tensor, dtype: np.dtype | type) -> NDArray[np.floating]:
    return x.numpy(force=True).astype(dtype, copy=False)


def _weighted_mean(
    scores: NDArray[np.floating], sample_weight: ArrayLike | None
) -> float:
    """Return the mean of scores.

    Raises
    ------
    ValueError
        If the weights aren't valid.
    """
    if sample_weight is None:
        return float(scores.mean(dtype=np.float64))
    weights = np.asarray(sample_weight, dtype=np.float64)
    if weights.shape != scores.shape:
        raise ValueError(
            f"sample_weight must have shape {scores.shape}, got {weights.shape}."
        )
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise ValueError(
            "sample_weight must be finite, not negative, and not all zero."
        )
    return float(np.average(scores.astype(np.float64), weights=weights))
