"""Parameters of an estimator as JSON values, and back without running any code."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from operator import attrgetter
from typing import Any

import numpy as np
import torch

from ..training import ImageAugmentation

__all__ = ["FUNCTIONS", "decode", "encode", "find_functions", "import_path"]

FUNCTIONS = ("encoder", "decoder", "views")
"""Parameters that can be functions of the user."""

N_KEY = 624
"""Number of words in the state of the generator MT19937."""


def encode(name: str, value: object) -> Any:
    """Return the value of a parameter as JSON.

    Values that JSON doesn't have become objects with one key, which says what they are.

    Raises
    ------
    ValueError
        If the value can't be stored.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [encode(name, entry) for entry in value]
    if isinstance(value, tuple):
        return {"tuple": encode(name, list(value))}
    if isinstance(value, torch.device):
        return {"device": str(value)}
    if isinstance(value, np.random.RandomState):
        return {"random_state": _encode_random_state(name, value)}
    if isinstance(value, ImageAugmentation):
        fields = asdict(value)
        return {"image_augmentation": {k: encode(name, v) for k, v in fields.items()}}
    return {"function": import_path(name, value)}


def decode(value: Any, functions: Mapping[str, Callable]) -> Any:
    """Return the value of a parameter from JSON.

    Parameters
    ----------
    value : object
        Result of `encode`.
    functions : dict of callables
        Functions by import path.

    Raises
    ------
    ValueError
        If there is no such kind of value.
    """
    if isinstance(value, list):
        return [decode(entry, functions) for entry in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tuple":
        return tuple(decode(content, functions))
    if kind == "device":
        return torch.device(content)
    if kind == "random_state":
        return _decode_random_state(**content)
    if kind == "image_augmentation":
        return ImageAugmentation(
            **{k: decode(v, functions) for k, v in content.items()}
        )
    if kind == "function":
        return functions[content]
    raise ValueError(f"unknown kind of parameter {kind!r}")


def _encode_random_state(name: str, random_state: np.random.RandomState) -> dict:
    state = random_state.get_state(legacy=False)
    if state["bit_generator"] != "MT19937":
        raise ValueError(
            f"The {name!r} parameter can only be saved with the bit generator MT19937, "
            f"got {state['bit_generator']}. Use an int, or np.random.RandomState(seed)."
        )
    return {
        "key": state["state"]["key"].tolist(),
        "pos": state["state"]["pos"],
        "has_gauss": state["has_gauss"],
        "gauss": state["gauss"],
    }


def _decode_random_state(
    key: list[int], pos: int, has_gauss: int, gauss: float
) -> np.random.RandomState:
    # numpy doesn't check: it would read beyond the key.
    if len(key) != N_KEY or type(pos) is not int or not 0 <= pos <= N_KEY:
        raise ValueError("invalid state of a random number generator")
    random_state = np.random.RandomState(0)
    random_state.set_state(
        {
            "bit_generator": "MT19937",
            "state": {"key": np.array(key, dtype=np.uint32), "pos": pos},
            "has_gauss": int(bool(has_gauss)),
            "gauss": float(gauss),
        }
    )
    return random_state


def import_path(name: str, function: object) -> str:
    """Return ``"module:name"`` of a function or class, by which it can be imported.

    Raises
    ------
    ValueError
        If it can't be imported by a name, as lambdas and local functions can't.
    """
    module = getattr(function, "__module__", None)
    qualname = getattr(function, "__qualname__", None)
    try:
        found = attrgetter(qualname)(sys.modules[module])
    except (AttributeError, KeyError, TypeError):
        found = None
    if found is not function:
        raise ValueError(
            f"The {name!r} parameter can't be saved, since it can't be imported by "
            f"name: {function!r}. Define it by `def` or `class` at the top level of a "
            "module, not as a lambda, a partial, a method or a local function."
        )
    return f"{module}:{qualname}"


def find_functions(
    needed: Mapping[str, Collection[str]],
    given: Mapping[str, Callable | None],
    trusted: str | Collection[str],
) -> dict[str, Callable]:
    """Return the user's functions of a file by import path.

    Parameters
    ----------
    needed : dict of collections of str
        Import paths in the file, by the parameter that they belong to.
    given : dict of callables or None
        Functions that are passed instead, by parameter.
    trusted : str or collection of str
        Import paths that may be imported.

    Raises
    ------
    ValueError
        If a function is neither given nor trusted, or if one is given and not needed.
    ImportError, AttributeError
        If a trusted function doesn't exist.
    """
    trusted = {trusted} if isinstance(trusted, str) else set(trusted)
    for name, function in given.items():
        if function is not None and not needed[name]:
            raise ValueError(f"{name} was passed, but the saved model has no such one.")
        if function is not None and not callable(function):
            raise ValueError(f"{name} must be callable, got {function!r}.")
    missing = {
        name: sorted(set(paths) - trusted)
        for name, paths in needed.items()
        if given[name] is None and set(paths) - trusted
    }
    if missing:
        texts = [f"{name} {', '.join(paths)}" for name, paths in missing.items()]
        example = next(iter(missing))
        raise ValueError(
            f"The model uses functions that loading doesn't import: {'; '.join(texts)}."
            f" Pass them, {example}=..., or trust their names, trusted="
            f"{sorted({path for paths in missing.values() for path in paths})}."
        )
    return {
        path: _import(path) if given[name] is None else given[name]
        for name, paths in needed.items()
        for path in paths
    }


def _import(path: str) -> Callable:
    """Import a function by its path, ``"module:name"``."""
    module, _, name = path.partition(":")
    return attrgetter(name)(importlib.import_module(module))
