"""Training that goes on with new samples, once a tree has been grown."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..model import TreeVAE
from .batches import Samples, map_blocks
from .contrast import Contrast, ContrastOptions
from .gardener import WholeTree, guidance_for
from .loop import History, LoopOptions, Phase, run_phase

__all__ = ["train_further"]

PACE = 0.25
"""Learning rate, relative to the largest one of a fit. A call starts a new optimiser:
one that lived on, with its momentum, would lose clusters to many small batches."""

LOYALTY = 0.1
"""Weight of the way to the leaves where samples are, relative to that of a fit. More
would leave small batches little to learn but that."""


def train_further(
    model: TreeVAE,
    samples: Samples,
    features: Tensor,
    *,
    options: LoopOptions,
    contrast: ContrastOptions | None,
    generator: torch.Generator,
    history: History,
) -> None:
    """Train the whole of a model for one pass over new samples.

    Samples are guided to the leaves where they are. Rate and weights are constant, as
    a next call may follow, or not.

    Parameters
    ----------
    model : TreeVAE
        The model, changed in place.
    samples : Samples
        The data.
    features : Tensor of shape (n_samples, n_outputs)
        What the feature map makes of them.
    options : LoopOptions
        Optimiser; all but the number of epochs and the stopping rule.
    contrast : ContrastOptions or None
        Variants of samples that should go the same way.
    generator : torch.Generator
        The only source of randomness.
    history : History
        Gets one record.

    Raises
    ------
    FloatingPointError
        If the loss is no longer finite.
    """
    log_path = map_blocks(lambda x: model.route_from(x).T, features)
    part = WholeTree(
        model,
        samples,
        inputs=lambda index: features[index],
        target=log_path.argmax(1),
        contrast=None if contrast is None else Contrast(contrast, model, generator),
        generator=generator,
    )
    phase = Phase(
        "stream", (1.0, 1.0), LOYALTY * guidance_for(samples), min_steps=1, steady=True
    )
    everyone = torch.arange(len(samples), device=features.device)
    rate = PACE * options.learning_rate
    run_phase(
        phase,
        part,
        train=everyone,
        validation=everyone[:0],
        options=replace(options, max_iter=1, learning_rate=rate),
        generator=generator,
        history=history,
    )
