"""An update step, which is one CUDA graph on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ..utils.devices import static_shapes
from .objectives import TERMS, Objective
from .optimizer import AdamW

Schedule = tuple[float, float, float] | Tensor
"""Weights of the divergences and of the routing loss, and the learning rate."""

Step = Callable[[Tensor, Schedule], Tensor]
"""Maps samples and a schedule to the means of `TERMS`."""

N_EAGER_STEPS = 3
"""Steps before a step is captured, in which libraries choose kernels and workspaces."""


class Update:
    """An update step: the loss of a batch, its gradients and the optimizer.

    On a GPU, most kernels of a step are shorter than their launches. There, the whole
    step is captured as a CUDA graph for each size of a batch, of which there are at
    most two, and is launched at once. Other devices run the same function.

    Parameters
    ----------
    objective : Objective
        Loss to minimize.
    optimizer : AdamW
        Takes the step.
    autocast : torch.autocast
        Context in which networks are evaluated.
    generator : torch.Generator
        Source of randomness of the loss.
    """

    def __init__(
        self,
        objective: Objective,
        optimizer: AdamW,
        autocast: torch.autocast,
        generator: torch.Generator,
    ) -> None:
        self.objective = objective
        self._optimizer, self._autocast = optimizer, autocast
        self._generator = generator
        self._is_captured = (
            generator.device.type == "cuda"
            and objective.is_static
            and objective.data.processes.size == 1
        )
        self._n_eager_steps = 0
        self._graphs: dict[int, Step] = {}

    def __call__(
        self, index: Tensor, kl_weight: float, routing_weight: float, rate: float
    ) -> Tensor:
        """Take a step; return the means of `TERMS` over the batch.

        Parameters
        ----------
        index : Tensor of int of shape (batch,)
            Samples of the batch.
        kl_weight, routing_weight : float
            Weights of the divergences and of the routing loss.
        rate : float
            Learning rate.
        """
        schedule = kl_weight, routing_weight, rate
        if not self._is_captured:
            return self._run(index, schedule)
        with static_shapes():
            return self._launch(index, schedule)

    def _launch(self, index: Tensor, schedule: tuple[float, float, float]) -> Tensor:
        """Take a step as a CUDA graph, once some have been taken without one."""
        # Filled in: a copy from the host would wait for the steps before.
        fill = partial(index.new_full, (), dtype=torch.float32)
        schedule = torch.stack([fill(value) for value in schedule])
        if self._n_eager_steps < N_EAGER_STEPS:
            self._n_eager_steps += 1
            return _aside(self._run, index, schedule)
        if len(index) not in self._graphs:
            self._graphs[len(index)] = _captured(
                self._run, index, schedule, self._generator
            )
        return self._graphs[len(index)](index, schedule)

    def _run(self, index: Tensor, schedule: Schedule) -> Tensor:
        kl_weight, routing_weight, rate = schedule
        if not len(index):
            self._optimizer.step(None, rate, 0)
            return torch.zeros(len(TERMS), dtype=torch.float32, device=index.device)
        with self._autocast:
            terms = self.objective.evaluate(index)
        loss = terms.loss(kl_weight, routing_weight)
        self._optimizer.step(loss, rate, len(index))
        return terms.means()


def _aside(step: Step, index: Tensor, schedule: Tensor) -> Tensor:
    """Take a step on another stream, as a capture does."""
    stream = torch.cuda.Stream(index.device)
    current = torch.cuda.current_stream(index.device)
    stream.wait_stream(current)
    with torch.cuda.stream(stream):
        means = step(index, schedule)
    current.wait_stream(stream)
    return means


def _captured(
    step: Step, index: Tensor, schedule: Tensor, generator: torch.Generator
) -> Step:
    """Capture a step without taking it; the result of each replay overwrites the last.

    Parameters
    ----------
    step : callable
        The step.
    index, schedule : Tensor
        Tensors of the shapes of its arguments.
    generator : torch.Generator
        Source of randomness that it draws from.
    """
    inputs = torch.empty_like(index), torch.empty_like(schedule)
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(generator)
    stream = torch.cuda.Stream(index.device)
    # Fits in other threads may go on meanwhile.
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        means = step(*inputs)

    def replay(index: Tensor, schedule: Tensor) -> Tensor:
        for buffer, value in zip(inputs, (index, schedule), strict=True):
            buffer.copy_(value)
        graph.replay()
        return means

    return replay
