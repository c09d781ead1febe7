"""Processes that share a fit, each with its own rows: exchanges between them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from io import BytesIO
from itertools import count
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..exceptions import ProcessError

T = TypeVar("T")

VARIABLES = "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"
"""Environment variables that launchers such as torchrun set."""

TIMEOUT = timedelta(minutes=30)
"""Time that a process waits for the others. They wait while the first one computes the
neighbor graph. A process that ends closes its connections, so that it isn't waited for.
"""


NUMBERS = count()
"""Numbers of the groups that a process has opened."""


class Processes:
    """One process, which has all rows and exchanges nothing.

    Attributes
    ----------
    rank : int
        Number of this process.
    size : int
        Number of processes.
    """

    rank = 0
    size = 1

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes, in the order of their ranks."""
        return [value]

    def lead(self, function: Callable[[], T]) -> T:
        """Return the result of a function that the first process alone calls."""
        return function()

    def synchronize(self, module: nn.Module) -> None:
        """Copy the parameters and buffers of a network from the first process."""

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of the tensors of all processes, the same bits for each."""
        return tensor

    def gradients(
        self, parameters: Sequence[nn.Parameter], n_samples: int
    ) -> list[Tensor | None]:
        """Return the gradients of parameters of the mean loss of all samples.

        Parameters
        ----------
        parameters : sequence of Parameter
            They have the gradients of the mean loss of the samples of this process.
        n_samples : int
            Number of these samples, which may be 0.

        Returns
        -------
        gradients : list of Tensor or None
            None for a parameter without a gradient in any process.
        """
        return [parameter.grad for parameter in parameters]

    def concatenate(self, rows: Tensor) -> Tensor:
        """Return the rows of all processes, in the order of their ranks."""
        if self.size == 1:
            return rows
        return torch.cat(self.gather(rows.cpu())).to(rows.device)

    def locate(self, n_rows: int) -> tuple[int, int]:
        """Return the number of rows of the processes before this one, and of all.

        Parameters
        ----------
        n_rows : int
            Number of rows of this process.
        """
        counts = self.gather(n_rows)
        return sum(counts[: self.rank]), sum(counts)

    def share(self, n_rows: int, max_rows: int) -> int:
        """Return the number of rows of this process to draw.

        Parameters
        ----------
        n_rows : int
            Number of its rows.
        max_rows : int
            Maximum number of rows that all processes draw, each in proportion.
        """
        start, total = self.locate(n_rows)
        if total <= max_rows:
            return n_rows
        return max_rows * (start + n_rows) // total - max_rows * start // total


ONE_PROCESS = Processes()


class ProcessGroup(Processes):
    """Processes of torch.distributed.

    All of them call the same methods in the same order. Each exchange begins with the
    question whether a process has failed, in which case all of them raise.

    Parameters
    ----------
    device : torch.device
        Device of the tensors that `gradients` exchanges.
    """

    def __init__(self, device: torch.device) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self._device = device
        self._group = dist.new_group(timeout=TIMEOUT, backend="gloo")
        self._device_group = self._group
        if device.type == "cuda":
            self._device_group = dist.new_group(timeout=TIMEOUT, backend="nccl")

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes, in the order of their ranks."""
        self.check()
        return self._gather(value)

    def lead(self, function: Callable[[], T]) -> T:
        """Return the result of a function that the first process alone calls."""
        stream = BytesIO()
        if self.rank == 0:
            result = function()
            torch.save(result, stream)
        self.check()
        content = [stream.getvalue()]
        dist.broadcast_object_list(content, src=0, group=self._group)
        if self.rank == 0:
            return result
        return torch.load(
            BytesIO(content[0]), map_location=self._place, weights_only=False
        )

    def _place(self, storage: torch.UntypedStorage, place: str) -> torch.UntypedStorage:
        """Return a storage on the device of this process, if it was on a GPU."""
        return storage.cuda(self._device) if place.startswith("cuda") else storage

    def synchronize(self, module: nn.Module) -> None:
        """Copy the parameters and buffers of a network from the first process."""
        module.load_state_dict(self.lead(module.state_dict))

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of the tensors of all processes, the same bits for each."""
        self.check()
        total = tensor.detach().cpu().clone()
        dist.all_reduce(total, group=self._group)
        return total.to(tensor.device)

    def gradients(
        self, parameters: Sequence[nn.Parameter], n_samples: int
    ) -> list[Tensor | None]:
        """Return the gradients of parameters of the mean loss of all samples."""
        self.check()
        n_values = [parameter.numel() for parameter in parameters]
        has_gradient = [float(p.grad is not None) for p in parameters]
        counts = parameters[0].new_tensor([*has_gradient, n_samples])
        values = [
            torch.zeros_like(p) if p.grad is None else n_samples * p.grad
            for p in parameters
        ]
        # One exchange of one tensor.
        flat = torch.cat([*(value.detach().ravel() for value in values), counts])
        dist.all_reduce(flat, group=self._device_group)
        *parts, counts = flat.split([*n_values, len(counts)])
        *n_gradients, n_samples = counts.tolist()
        return [
            part.view_as(parameter) / n_samples if n > 0 else None
            for part, parameter, n in zip(parts, parameters, n_gradients, strict=True)
        ]

    def check(self, error: BaseException | None = None) -> None:
        """Raise if a process has failed.

        Parameters
        ----------
        error : exception, default=None
            The failure of this process, which doesn't raise here.

        Raises
        ------
        ProcessError
            In the other processes, with its rank and its message.
        """
        n_failed = torch.tensor(int(error is not None))
        try:
            dist.all_reduce(n_failed, group=self._group)
        except RuntimeError as lost:
            if error is None:
                raise ProcessError(
                    f"Another process of the fit has ended: process {self.rank} of "
                    f"{self.size} no longer reaches it ({lost})."
                ) from lost
            return
        if n_failed:
            messages = self._gather(error and f"{type(error).__name__}: {error}")
            failed = [f"{i} ({text})" for i, text in enumerate(messages) if text]
            if error is None:
                raise ProcessError(
                    f"Other processes of the fit have failed, of {self.size}: "
                    f"{'; '.join(failed)}."
                )

    def close(self) -> None:
        """Leave the group, once all processes have come to this point."""
        for group in {self._group, self._device_group}:
            dist.destroy_process_group(group)

    def _gather(self, value: T) -> list[T]:
        values = [None] * self.size
        dist.all_gather_object(values, value, group=self._group)
        return values


@contextmanager
def open_processes(device: torch.device) -> Iterator[Processes]:
    """Join the processes that share a fit, and leave them at the end.

    The default group of torch.distributed has them, or else the launcher, whose group
    is opened and closed. Without both, there is one process.

    Parameters
    ----------
    device : torch.device
        Device of the fit. If the launcher numbers the processes of a machine, they use
        its GPUs by these numbers.
    """
    is_launched = all(name in os.environ for name in VARIABLES)
    is_open = dist.is_available() and dist.is_initialized()
    if not (is_open or (is_launched and dist.is_available())):
        yield ONE_PROCESS
        return
    with ExitStack() as stack:
        if not is_open:
            if device.type == "cuda" and device.index is None:
                local_rank = int(os.environ.get("LOCAL_RANK", "0"))
                stack.enter_context(torch.cuda.device(local_rank))
            _join_launched()
            stack.callback(dist.destroy_process_group)
        processes = ProcessGroup(device)
        stack.callback(processes.close)
        try:
            yield processes
            # All others have come here, too: gloo aborts if one leaves too early.
            processes.check()
        except ProcessError:
            raise
        except BaseException as error:
            processes.check(error)
            raise


def _join_launched() -> None:
    """Open the group of the processes that a launcher has started."""
    store, rank, size = next(dist.rendezvous("env://", timeout=TIMEOUT))
    # The store of torchrun remembers the addresses of earlier groups.
    store = dist.PrefixStore(f"sktreevae fit {next(NUMBERS)}", store)
    dist.init_process_group(
        "gloo", store=store, rank=rank, world_size=size, timeout=TIMEOUT
    )
