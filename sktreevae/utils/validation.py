"""Validation of parameters, with messages that say what is allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Protocol

import numpy as np
from sklearn.base import BaseEstimator

from ..exceptions import InvalidParameterError


@dataclass(frozen=True)
class Number:
    """Number in an interval.

    Parameters
    ----------
    kind : type
        `numbers.Integral` or `numbers.Real`.
    low, high : float
        Ends of the interval.
    closed : {"left", "both", "neither"}, default="left"
        Ends that belong to the interval.
    """

    kind: type
    low: float
    high: float = np.inf
    closed: str = "left"

    def accepts(self, value: object) -> bool:
        """Return whether the value is allowed."""
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
    """One of several strings, or None if it is among the options."""

    options: tuple[str | None, ...]

    def accepts(self, value: object) -> bool:
        """Return whether the value is allowed."""
        return (value is None or isinstance(value, str)) and value in self.options

    def __str__(self) -> str:
        return "one of " + ", ".join(map(repr, self.options))


@dataclass(frozen=True)
class Instance:
    """Instance of a type, which an error describes by `text` if it isn't empty."""

    type: type | tuple[type, ...]
    text: str = ""

    def accepts(self, value: object) -> bool:
        """Return whether the value is allowed."""
        return isinstance(value, self.type)

    def __str__(self) -> str:
        if self.text:
            return self.text
        return f"an instance of {self.type.__module__}.{self.type.__qualname__}"


BOOLEAN = Instance((bool, np.bool_), "a bool")
COUNT = Number(Integral, 1)
FUNCTION = Instance(Callable, "a callable")


class Allowed(Protocol):
    """Values that a parameter may have; printed, it says which."""

    def accepts(self, value: object) -> bool:
        """Return whether the value is allowed."""


def check_parameters(
    estimator: BaseEstimator, allowed: Mapping[str, Iterable[Allowed]]
) -> None:
    """Check all parameters of an estimator.

    Raises
    ------
    InvalidParameterError
        For the first parameter with an invalid value.
    """
    for name, choices in allowed.items():
        value = getattr(estimator, name)
        if not any(choice.accepts(value) for choice in choices):
            texts = " or ".join(map(str, choices))
            raise InvalidParameterError(
                f"The {name!r} parameter of {type(estimator).__name__} must be "
                f"{texts}. Got {value!r} instead."
            )


def check_argument(name: str, value: object, allowed: Allowed) -> None:
    """Check an argument of a function.

    Raises
    ------
    InvalidParameterError
        If its value isn't allowed.
    """
    if not allowed.accepts(value):
        raise InvalidParameterError(f"{name} must be {allowed}, got {value!r}.")
