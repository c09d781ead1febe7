import functools
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sktreevae import ImageAugmentation
from sktreevae.io.parameters import decode, encode, find_functions, import_path

LINEAR = "torch.nn.modules.linear:Linear"
NOTHING = {"encoder": None, "decoder": None, "views": None}


def round_trip(value, functions=()):
    return decode(json.loads(json.dumps(encode("name", value))), dict(functions))


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        0.1 + 0.2,
        1e-300,
        "auto",
        (28, 28),
        [3, 8, 8],
        torch.device("cuda", 1),
        ImageAugmentation((8, 8, 3), low=-1.0, high=2.5, strength=0.7),
    ],
    ids=repr,
)
def test_values_come_back(value):
    twin = round_trip(value)
    assert type(twin) is type(value)
    assert twin == value


def test_random_states_continue():
    random_state = np.random.RandomState(7)
    random_state.normal(size=5)  # an odd number: the sixth is stored
    random_state.randint(10, size=3)
    twin = round_trip(random_state)
    assert np.array_equal(twin.normal(size=700), random_state.normal(size=700))


def test_other_kinds_are_refused():
    with pytest.raises(ValueError, match="unknown kind of parameter 'pickle'"):
        decode({"pickle": "x"}, {})


# Functions


def local_function():
    def network(n_in, n_out):
        return nn.Linear(n_in, n_out)

    return network


@pytest.mark.parametrize(
    "function",
    [
        lambda n_in, n_out: nn.Linear(n_in, n_out),
        local_function(),
        functools.partial(nn.Linear, bias=False),
        nn.Linear(2, 3).forward,
        Path("file"),
    ],
)
def test_functions_without_a_name_are_refused(function):
    with pytest.raises(ValueError, match="'encoder' .* at the top level of a module"):
        import_path("encoder", function)


@pytest.mark.parametrize("trusted", [LINEAR, [LINEAR], {LINEAR, "os:remove"}])
def test_trusted_functions_are_imported(trusted):
    needed = {"encoder": [LINEAR], "decoder": [], "views": []}
    assert find_functions(needed, NOTHING, trusted) == {LINEAR: nn.Linear}


@pytest.mark.parametrize("trusted", [(), "torch.nn.modules.linear", LINEAR + "2"])
def test_other_functions_are_named(trusted):
    needed = {"encoder": [LINEAR], "decoder": [], "views": ["a:b"]}
    match = rf"encoder {LINEAR}; views a:b. Pass .*encoder=.*\['a:b', '{LINEAR}'\]"
    with pytest.raises(ValueError, match=match):
        find_functions(needed, NOTHING, trusted)


def test_untrusted_modules_are_not_imported(tmp_path, monkeypatch):
    (tmp_path / "stranger.py").write_text("def network(n_in, n_out): ...")
    monkeypatch.syspath_prepend(tmp_path)
    needed = {"encoder": ["stranger:network"], "decoder": [], "views": []}
    with pytest.raises(ValueError, match="stranger:network"):
        find_functions(needed, NOTHING, ())
    assert "stranger" not in sys.modules
    find_functions(needed, NOTHING, "stranger:network")
    assert sys.modules.pop("stranger")


def test_what_is_not_callable_is_refused():
    needed = {"encoder": [LINEAR], "decoder": [], "views": []}
    with pytest.raises(ValueError, match="encoder must be callable, got 'mlp'"):
        find_functions(needed, NOTHING | {"encoder": "mlp"}, ())
