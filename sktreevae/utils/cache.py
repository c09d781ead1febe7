"""A cache of expensive results, on disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch

Rng = torch.Generator | np.random.Generator


class Cache:
    """Calls functions, and stores their results if there is a memory.

    A result is identified by the function, its arguments, the state of the random
    number generator and the source of the package. A stored result also restores the
    state in which the computation left the generator, so that all that follows is the
    same to the bit.

    Functions are defined at module level, and return arrays, tensors of the CPU and
    plain objects.
    An argument with an attribute `cache_key` is identified by that instead of its own
    pickle.

    Parameters
    ----------
    memory : None, str, path or joblib.Memory
        Where results are stored. None stores nothing.

    Examples
    --------
    >>> cache = Cache(None)
    >>> cache(sum, [1, 2, 3])
    6
    """

    def __init__(
        self, memory: str | os.PathLike[str] | joblib.Memory | None = None
    ) -> None:
        if isinstance(memory, str | os.PathLike):
            memory = joblib.Memory(os.fspath(memory), verbose=0)
        self._memory = memory

    def __call__(
        self, function: Callable[..., Any], *args: Any, rng: Rng | None = None
    ) -> Any:
        """Return ``function(*args, rng)``, or ``function(*args)`` without `rng`.

        Parameters
        ----------
        function : callable
            A function of a module.
        *args : object
            Positional arguments.
        rng : torch.Generator or numpy.random.Generator, default=None
            The last argument, whose state becomes that after the computation.
        """
        all_args = args if rng is None else (*args, rng)
        if self._memory is None:
            return function(*all_args)
        key = (
            source_digest(),
            torch.__version__,
            f"{function.__module__}.{function.__qualname__}",
            tuple(getattr(arg, "cache_key", arg) for arg in args),
            _get_state(rng),
        )
        stored = self._memory.cache(
            _compute, ignore=["function", "args", "rng"], verbose=0
        )
        result, state = stored(key, function, all_args, rng)
        _set_state(rng, state)
        return result


@cache
def source_digest() -> str:
    """Return the SHA-256 of the source of the package."""
    digest = hashlib.sha256()
    folder = Path(__file__).parents[1]
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _compute(
    key: tuple, function: Callable[..., Any], args: tuple, rng: Rng | None
) -> tuple[Any, Any]:
    """Return the result of a function, and the state of the generator afterwards.

    All but `key` is ignored when a stored result is looked up.
    """
    return function(*args), _get_state(rng)


def _get_state(rng: Rng | None) -> Any:
    """Return the state of a generator as plain objects and arrays."""
    if rng is None:
        return None
    if isinstance(rng, torch.Generator):
        return str(rng.device), rng.get_state().numpy()
    return rng.bit_generator.state


def _set_state(rng: Rng | None, state: Any) -> None:
    if isinstance(rng, torch.Generator):
        # A copy: arrays of a memory may be memory maps that can't be written to.
        rng.set_state(torch.from_numpy(np.array(state[1])))
    elif rng is not None:
        rng.bit_generator.state = state
