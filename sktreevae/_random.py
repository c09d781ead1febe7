"""Random number generators, and seeds drawn from them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from sklearn.utils import check_random_state

__all__ = ["MAX_SEED", "draw_seed", "make_generator", "preserve_state"]

MAX_SEED = 2**31
"""Upper bound (exclusive) of the seeds drawn by default."""


def make_generator(
    random_state: int | np.random.RandomState | None,
    device: torch.device | str = "cpu",
) -> torch.Generator:
    """Return a torch generator seeded from a scikit-learn `random_state`.

    With None the seed comes from the operating system: numpy's global random state is
    left alone.

    Examples
    --------
    >>> one, two = make_generator(0), make_generator(np.random.RandomState(0))
    >>> one.initial_seed() == two.initial_seed()
    True
    """
    if random_state is None:
        seed = int(np.random.SeedSequence().generate_state(1)[0])
    else:
        seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)
    return torch.Generator(device).manual_seed(seed)


def draw_seed(generator: torch.Generator, high: int = MAX_SEED) -> int:
    """Draw an integer in ``[0, high)`` to seed another generator with."""
    return torch.randint(high, (), generator=generator, device=generator.device).item()


@contextmanager
def preserve_state(
    generator: torch.Generator, rng: np.random.Generator | None = None
) -> Iterator[None]:
    """Give the states of generators back, whatever is drawn meanwhile."""
    state = generator.get_state()
    rng_state = None if rng is None else rng.bit_generator.state
    try:
        yield
    finally:
        generator.set_state(state)
        if rng is not None:
            rng.bit_generator.state = rng_state
