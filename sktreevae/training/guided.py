"""Guided growth: a neighbor graph proposes the tree, and the ELBO refines it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from ..data import n_batches
from ..model import Topology
from ..utils.indexing import sum_by_index
from .growth import Stage, TreeGrowth
from .initialization import Initializer, update_scale
from .objectives import RoutingObjective
from .optimizer import StoppingRule
from .trainer import Phase, TrainingOptions

MIN_STEPS = 120
"""Minimum number of update steps of the joint training with ``max_iter="auto"``."""

RANDOM_MIN_STEPS = 150
"""The same, if the posterior heads start from random weights."""

MAX_SMALL_EPOCHS = 100
"""Maximum number of epochs that these steps may lead to, and of the training of the
routers alone."""

ROUTER_EPOCHS = 4
"""Maximum number of its epochs for each epoch of an int ``max_iter``. With 4, as many
epochs as "auto" has leave the maximum of steps as it is: 400 is less than 4 times 120.
"""


@dataclass(frozen=True)
class RouterPhase(Phase):
    """Schedule of the training of the routers alone.

    Parameters
    ----------
    max_steps : int, default=400
        Maximum number of update steps; the last epoch may be shorter.
    tol : float, default=0.1
        Routing loss in nats, the mean over an epoch, that ends the phase.
    n_iter_no_change : int, default=15
        Epochs without a lower routing loss that end it, too.
    """

    max_steps: int = 400
    tol: float = 0.1
    n_iter_no_change: int = 15

    def n_steps(self, options: TrainingOptions, n_batches: int) -> int:
        """Return the maximum number of update steps."""
        return self.max_steps

    def may_stop(self, elapsed: float, has_validation: bool) -> bool:
        """Return True: an epoch may end the phase at any time."""
        return True

    def stopping_rule(
        self,
        options: TrainingOptions,
        parameters: list[nn.Parameter],
        has_validation: bool,
    ) -> StoppingRule:
        """Return the rule that ends the phase."""
        return StoppingRule(parameters, self.n_iter_no_change, 0.0, goal=-self.tol)


@dataclass(eq=False, kw_only=True)
class GuidedGrowth(TreeGrowth):
    """Builds the proposed tree, and trains all of it together.

    Parameters
    ----------
    data, config, options, trainer, contrast_options
        As for `TreeGrowth`. The plan of the state has clusters of the training samples,
        and the tree above them. Leaves that stay too small are pruned.
    """

    linear_routing_factor = 30.0
    stage_names = "(initialization (routers (joint )?)?)?"
    fields = "target", "leaf", "noise_scale", "height", "excess_cost"

    perceptron_depth = 2
    """With three layers, fits take a fifth more time. Purity and ELBO are the same on
    digits, MNIST's rows, 60 Gaussians and eleven shapes, one or two seeds."""

    def stages(self) -> Iterator[Stage]:
        """Yield the stages that aren't done."""
        stages = (
            Stage("initialization", self._initialize),
            Stage(
                "routers",
                phase=self._router_phase,
                objective=partial(RoutingObjective, self.data, self.state),
            ),
            Stage(
                "joint",
                self._init_latents,
                phase=self._joint_phase,
                objective=self.tree_objective,
            ),
        )
        for stage in stages:
            if stage.name not in self.state.done:
                yield stage

    def check_state(self) -> None:
        """Check that a loaded state is one of this growth and data."""
        super().check_state()
        if self.state.done:
            return
        proposal, n_samples = self.state.plan.proposal, len(self.data.train)
        tree, n_clusters = proposal.tree, proposal.proba.shape[1]
        cluster = proposal.cluster
        is_cluster = (cluster >= 0) & (cluster < n_clusters)
        shapes = cluster.shape, proposal.proba.shape, proposal.spacing.shape
        if (
            shapes != ((n_samples,), (n_samples, n_clusters), (n_samples,))
            or {len(part) for part in tree} != {n_clusters - 1}
            or not is_cluster.all()
            or proposal.size.shape != (n_clusters,)
            or not (proposal.size > 0).all()
            or len(Topology.from_merges(tree.merges).topology.leaves) != n_clusters
        ):
            raise ValueError("its proposal can't be of this fit")

    def finish(self) -> None:
        """Set the scale of the leaves, and prune leaves that are too small."""
        if self.model.top_down.likelihood.has_scale:
            update_scale(self.model, self.data, self.generators.rows)
        self.prune()
        self.fit_prior_odds()

    def _initialize(self) -> None:
        """Build the model of the proposal, with initial routers."""
        with self.trainer.subtask("initialization"):
            data, state, proposal = self.data, self.state, self.state.plan.proposal
            merges, *of_merges = proposal.tree
            change = Topology.from_merges(merges.tolist())
            # The source of a leaf is its cluster in the proposal.
            clusters = [change.source[node] for node in change.topology.leaves]
            leaf_of_cluster = torch.from_numpy(np.argsort(clusters)).to(
                proposal.cluster
            )
            state.leaf = data.scatter(leaf_of_cluster[proposal.cluster])
            state.target = data.scatter(proposal.proba[:, clusters])
            of_leaves = np.zeros(len(clusters))
            state.height, state.excess_cost = (
                torch.from_numpy(np.append(of_leaves, values)[list(change.source)])
                for values in of_merges
            )
            state.noise_scale = self._noise_scale(data.scatter(proposal.spacing))
            self.build_model(change.topology, state.leaf)
            for leaf in range(len(clusters)):
                members = data.train[state.leaf[data.train] == leaf]
                self.model.top_down.init_leaf(leaf, self.mean_of(members))
            Initializer(data, state).init_routers()

    def _noise_scale(self, spacing: Tensor) -> Tensor:
        """Return the deviation of the noise on the features, (n_samples, 1).

        The noise is as long as the distance of a sample to its neighbors, whatever the
        number of features, but not as that to the samples of other clusters, which are
        the nearest of a single sample.

        Parameters
        ----------
        spacing : Tensor of shape (n_samples,)
            Distance of each sample to its neighbors; 0 for held-out samples.
        """
        leaf = self.state.leaf
        distance = self._pair_distances(leaf, self.state.target.shape[1])
        length = spacing.minimum(distance[leaf])
        scale = length / math.sqrt(self.data.features.shape[1])
        return scale.to(torch.float32)[:, None]

    def _pair_distances(self, leaf: Tensor, n_leaves: int) -> Tensor:
        """Return the root mean square distance of two training samples of each leaf.

        It is 0 for a single sample.

        Parameters
        ----------
        leaf : Tensor of int of shape (n_samples,)
            Leaf of each sample.
        n_leaves : int
            Number of leaves.
        """
        data = self.data
        count = data.count(leaf, n_leaves, data.train)

        def total(rows: Tensor) -> tuple[Tensor]:
            return (sum_by_index(data.features[rows], leaf[rows], n_leaves),)

        mean = data.sum(total)[0] / count.clamp(min=1)[:, None]

        def total_square(rows: Tensor) -> tuple[Tensor]:
            distance = (data.features[rows] - mean[leaf[rows]]).square().sum(1)
            return (sum_by_index(distance, leaf[rows], n_leaves),)

        (square,) = data.sum(total_square)
        return (2.0 * square / (count - 1).clamp(min=1)).sqrt()

    def _max_steps(self, max_epochs: int = MAX_SMALL_EPOCHS) -> int:
        """Return the number of update steps of up to 100 epochs."""
        batch_size = self.trainer.options.batch_size
        n_epochs = min(MAX_SMALL_EPOCHS, max_epochs)
        return n_epochs * n_batches(self.data.size(self.data.train), batch_size)

    def _router_phase(self) -> RouterPhase:
        """Return the schedule of the training of the routers alone.

        The joint training then starts with most samples in the right leaves. An int as
        ``max_iter`` limits it in proportion to the joint training: a fit that is to be
        short spends no more on the routers than on all the rest.
        """
        max_iter = self.trainer.options.max_iter or MAX_SMALL_EPOCHS
        max_steps = self._max_steps(ROUTER_EPOCHS * max_iter)
        if not self.model.topology.splits:
            max_steps = 0
        max_steps = min(RouterPhase.max_steps, max_steps)
        return RouterPhase("routers", (0.0, 0.0), (1.0, 1.0), max_steps=max_steps)

    def _init_latents(self) -> None:
        """Initialize the posterior heads, the decoders and the scales."""
        if self._has_initial_latents():
            Initializer(self.data, self.state).init_latents()

    def _has_initial_latents(self) -> bool:
        """Return False for counts: their most frequent features would decide."""
        return not self.model.top_down.likelihood.is_count

    def _joint_phase(self) -> Phase:
        """Return the schedule of the joint training.

        Posterior heads that were initialized are near their optimum, and would lose it
        without divergences. From random weights, they need the annealing of the paper
        and more steps. The routing weight is constant: the variances are small from the
        start, so that the ELBO alone would move samples to other leaves in a few steps.
        """
        weights = self.routing_weight, self.routing_weight
        if self._has_initial_latents():
            kl_weights, min_steps = (1.0, 1.0), MIN_STEPS
        else:
            kl_weights, min_steps = (0.0, 1.0), RANDOM_MIN_STEPS
        min_steps = min(min_steps, self._max_steps())
        return Phase("joint", kl_weights, weights, min_steps=min_steps)
