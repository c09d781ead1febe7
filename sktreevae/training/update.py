"""An update step, which is one CUDA graph on a GPU."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .objectives import Objective
from .optimizer import AdamW

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
        is_distributed = (
            torch.distributed.is_available() and torch.distributed.is_initialized()
        )
        is_cuda = generator.device.type == "cuda"
        self._is_captured = is_cuda and objective.is_static and not is_distributed
        self._n_eager_steps = 0
        self._graphs: dict[int, _Graph] = {}

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
        if not self._is_captured:
            return self._run(index, kl_weight, routing_weight, rate)
        schedule = index.new_tensor(
            [kl_weight, routing_weight, rate], dtype=torch.float32
        )
        if self._n_eager_steps < N_EAGER_STEPS:
            self._n_eager_steps += 1
            return self._run_aside(index, schedule)
        if len(index) not in self._graphs:
            self._graphs[len(index)] = _Graph(
                self._run_scheduled, (index, schedule), self._generator
            )
        return self._graphs[len(index)](index, schedule)

    def _run(
        self,
        index: Tensor,
        kl_weight: float | Tensor,
        routing_weight: float | Tensor,
        rate: float | Tensor,
    ) -> Tensor:
        with self._autocast:
            terms = self.objective.evaluate(index)
        self._optimizer.step(terms.loss(kl_weight, routing_weight), rate)
        return terms.means()

    def _run_scheduled(self, index: Tensor, schedule: Tensor) -> Tensor:
        return self._run(index, *schedule.unbind())

    def _run_aside(self, index: Tensor, schedule: Tensor) -> Tensor:
        """Run on another stream, as a capture does."""
        stream, current = torch.cuda.Stream(), torch.cuda.current_stream()
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            means = self._run_scheduled(index, schedule)
        current.wait_stream(stream)
        return means


class _Graph:
    """A CUDA graph of a function of tensors whose shapes are constant.

    Parameters
    ----------
    function : callable
        The function. Capturing doesn't execute it.
    inputs : tuple of Tensor
        Tensors of the shapes of its inputs.
    generator : torch.Generator
        Source of randomness that the function draws from.
    """

    def __init__(
        self,
        function: Callable[..., Tensor],
        inputs: tuple[Tensor, ...],
        generator: torch.Generator,
    ) -> None:
        self._inputs = [torch.empty_like(value) for value in inputs]
        self._graph = torch.cuda.CUDAGraph()
        self._graph.register_generator_state(generator)
        with torch.cuda.graph(self._graph):
            self._output = function(*self._inputs)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return the result, in memory that the next call overwrites."""
        for buffer, value in zip(self._inputs, inputs, strict=True):
            buffer.copy_(value)
        self._graph.replay()
        return self._output
