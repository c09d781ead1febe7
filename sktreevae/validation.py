"""Checks of an estimator's parameters, with messages that say what is allowed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator

from .model import MIN_SIDE, ImageLayout

__all__ = [
    "Allowed",
    "Boolean",
    "Function",
    "Instance",
    "InvalidParameterError",
    "Number",
    "Options",
    "ImageShape",
    "check_parameters",
]


class InvalidParameterError(ValueError, TypeError):
    """A parameter of an estimator has a value that isn't allowed."""


@dataclass(frozen=True)
class Number:
    """A number in an interval.

    Parameters
    ----------
    kind : type
        `numbers.Integral` or `numbers.Real`.
    low, high : float
        Ends of the interval.
    closed : {"left", "both", "neither"}, default="left"
        Which of them belong to it.
    """

    kind: type
    low: float
    high: float = np.inf
    closed: str = "left"

    def accepts(self, value: object) -> bool:
        """Tell whether a value is allowed."""
        if not isinstance(value, self.kind) or isinstance(value, bool | np.bool_):
            return False
        above = value >= self.low if self.closed != "neither" else value > self.low
        return above and (
            value <= self.high if self.closed == "both" else value < self.high
        )

    def __str__(self) -> str:
        kind = "an int" if self.kind is Integral else "a float"
        left = "(" if self.closed == "neither" else "["
        right = "]" if self.closed == "both" else ")"
        return f"{kind} in the range {left}{self.low}, {self.high}{right}"


@dataclass(frozen=True)
class Options:
    """One of some strings, or None if it is among the options."""

    options: tuple[str | None, ...]

    def accepts(self, value: object) -> bool:
        """Tell whether a value is allowed."""
        return (value is None or isinstance(value, str)) and value in self.options

    def __str__(self) -> str:
        return "one of " + ", ".join(map(repr, self.options))


@dataclass(frozen=True)
class Boolean:
    """True or False."""

    def accepts(self, value: object) -> bool:
        """Tell whether a value is allowed."""
        return isinstance(value, bool | np.bool_)

    def __str__(self) -> str:
        return "a bool"


@dataclass(frozen=True)
class Instance:
    """An instance of a type."""

    type: type

    def accepts(self, value: object) -> bool:
        """Tell whether a value is allowed."""
        return isinstance(value, self.type)

    def __str__(self) -> str:
        return f"an instance of {self.type.__module__}.{self.type.__qualname__}"


@dataclass(frozen=True)
class Function:
    """Something to call."""

    def accepts(self, value: object) -> bool:
        """Tell whether a value is allowed."""
        return callable(value)

    def __str__(self) -> str:
        return "a callable"


@dataclass(frozen=True)
class ImageShape:
    """Height and width of images, maybe with channels first or last."""

    def accepts(self, value: object) -> bool:
        """Tell whether a value is allowed."""
        if not isinstance(value, tuple | list) or len(value) not in (2, 3):
            return False
        if not all(Number(Integral, 1).accepts(entry) for entry in value):
            return False
        layout = ImageLayout.of(tuple(value))
        return min(layout.height, layout.width) >= MIN_SIDE

    def __str__(self) -> str:
        return (
            f"a tuple of 2 or 3 ints, two of them sides >= {MIN_SIDE}, the third, if "
            "any, the number of channels, first or last"
        )


Allowed = Number | Options | Boolean | Instance | Function | ImageShape


def check_parameters(
    estimator: BaseEstimator, allowed: Mapping[str, Iterable[Allowed]]
) -> None:
    """Check all parameters of an estimator.

    Raises
    ------
    InvalidParameterError
        For the first one whose value isn't allowed; both a ValueError and a TypeError.
    """
    for name, choices in allowed.items():
        value = getattr(estimator, name)
        if not any(choice.accepts(value) for choice in choices):
            texts = " or ".join(map(str, choices))
            raise InvalidParameterError(
                f"The {name!r} parameter of {type(estimator).__name__} must be "
                f"{texts}. Got {value!r} instead."
            )
