"""Random number generators, and seeds drawn from them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_random_state


def make_generator(
    random_state: int | np.random.RandomState | None, device: torch.device | str = "cpu"
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


def draw_seed(generator: torch.Generator, high: int = 2**31) -> int:
    """Draw an integer in ``[0, high)`` to seed another generator with."""
    return torch.randint(high, (), generator=generator, device=generator.device).item()


def draw_rows(
    n_rows: int, max_rows: int, generator: torch.Generator | np.random.Generator
) -> NDArray[np.int64]:
    """Return the sorted positions of random rows, or of all if they are few enough.

    All statistics of a part of the rows are computed on such rows. The first rows, or
    evenly spaced ones, aren't representative if the order of the rows means anything.

    Examples
    --------
    >>> draw_rows(3, 5, np.random.default_rng(0))
    array([0, 1, 2])
    >>> len(draw_rows(10**12, 5, np.random.default_rng(0)))
    5
    """
    if n_rows <= max_rows:
        return np.arange(n_rows)
    if isinstance(generator, torch.Generator):
        generator = np.random.default_rng(draw_seed(generator))
    return np.sort(generator.choice(n_rows, max_rows, replace=False, shuffle=False))
