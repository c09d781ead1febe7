import json
import threading

import numpy as np
import pytest
import torch
from torch import nn

from sktreevae.model import ModelConfig
from sktreevae.model.decoders import LeafDecoders
from sktreevae.model.networks import ConvEncoder, ConvReadout


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def create(**fields):
    """Return a small configuration."""
    return ModelConfig.create(
        **{"n_features": 7, "hidden_dim": 6, "latent_dim": 3, **fields}
    )


def perceptron(n_in, n_out):
    return nn.Sequential(nn.Linear(n_in, 8), nn.ReLU(), nn.Linear(8, n_out))


# Settings


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(4),
        ModelConfig(4, 16, 2, (8,), 3, "poisson"),
        create(n_features=768, image_shape=tuple(np.array([3, 16, 16]))),
        create(n_features=256, image_shape=(16, 16), encoder="resnet", decoder="mlp"),
    ],
)
def test_settings_survive_json(config):
    text = json.dumps(config.to_dict())
    assert ModelConfig(**json.loads(text)) == config


def test_callables_are_kept_apart_from_the_other_settings():
    config = create(encoder=perceptron, decoder=perceptron)
    settings = json.loads(json.dumps(config.to_dict()))
    assert settings["encoder"] == settings["decoder"] == "custom"
    networks = {"custom_encoder": perceptron, "custom_decoder": perceptron}
    assert ModelConfig(**settings, **networks) == config
    with pytest.raises(ValueError, match="custom_encoder must be given for encoder="):
        ModelConfig(**settings, custom_decoder=perceptron)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"likelihood": "cauchy"},
            r"likelihood must be one of \('bernoulli', .*cauchy",
        ),
        ({"encoder": "rnn"}, r"encoder must be one of \('mlp', 'cnn', .* got 'rnn'"),
        ({"decoder": "rnn"}, r"decoder must be one of .* got 'rnn'"),
        ({"encoder": "cnn"}, "encoder='cnn' needs an image_shape, got None"),
        ({"decoder": "resnet"}, "decoder='resnet' needs an image_shape, got None"),
        ({"encoder": "custom"}, "custom_encoder must be given for encoder='custom'"),
        (
            {"custom_decoder": perceptron},
            "custom_decoder must be given for decoder='custom', and only then",
        ),
    ],
)
def test_wrong_settings_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig(7, **fields)


# Linear paths


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, True),
        ({"n_features": 128}, True),
        ({"n_features": 129}, False),
        ({"likelihood": "bernoulli"}, False),
        ({"likelihood": "poisson"}, False),
        ({"n_features": 64, "image_shape": (8, 8)}, False),
        ({"encoder": perceptron}, False),
        ({"decoder": perceptron}, False),
    ],
)
def test_narrow_tables_of_real_numbers_have_linear_paths(fields, expected):
    config = create(**fields)
    assert config.has_linear_paths == expected
    loadings = getattr(config.build_decoders(2, seeded()), "loadings", None)
    assert (loadings is not None) == expected


# Networks by name


@pytest.mark.parametrize(
    ("image_shape", "expected"),
    [
        (None, "mlp"),
        ((15, 40), "mlp"),
        ((8, 8, 3), "mlp"),
        ((16, 16), "cnn"),
        ((1, 28, 28), "cnn"),
        ((28, 28, 1), "cnn"),
        ((3, 32, 32), "resnet"),
        ((16, 40, 3), "resnet"),
        ((2, 16, 16), "resnet"),
    ],
)
def test_auto_depends_on_the_images(image_shape, expected):
    config = create(image_shape=image_shape)
    assert config.encoder == config.decoder == expected
    encoder = config.build_encoder(seeded())
    decoders = config.build_decoders(2, seeded())
    assert isinstance(decoders, LeafDecoders)
    if expected == "mlp":
        assert encoder is None
        assert isinstance(decoders.readout, nn.Linear)
    else:
        assert isinstance(encoder, ConvEncoder)
        assert isinstance(decoders.readout, ConvReadout)
        blocks = [m for m in encoder.modules() if type(m).__name__ == "_ResidualBlock"]
        assert bool(blocks) == (expected == "resnet")


@torch.no_grad()
@pytest.mark.parametrize("kind", ["mlp", "cnn", "resnet"])
def test_a_decoder_begins_close_to_zero(kind):
    config = ModelConfig.create(n_features=784, image_shape=(28, 28), decoder=kind)
    decoders = config.build_decoders(2, seeded())
    output = decoders(torch.randn(2, 50, 8, generator=seeded()))
    assert 0.01 < output.std() < 0.3


# Custom networks


def weights(config, seed):
    parameters = config.build_encoder(seeded(seed)).parameters()
    return torch.cat([p.flatten() for p in parameters])


def fail(n_in, n_out):
    torch.rand(1)
    raise LookupError("of the user's own")


def test_the_global_generator_is_left_alone_where_a_callable_fails():
    state = torch.get_rng_state()
    with pytest.raises(LookupError, match="of the user's own"):
        create(encoder=fail)
    assert torch.equal(torch.get_rng_state(), state)


def test_weights_follow_from_the_generator_in_threads():
    config = create(encoder=perceptron)
    expected = [weights(config, seed) for seed in range(4)]
    assert not torch.equal(expected[0], expected[1])
    state = torch.get_rng_state()
    results = {}

    def make_many(seed):
        results[seed] = [weights(config, seed) for _ in range(50)]

    threads = [threading.Thread(target=make_many, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(4):
        assert all(torch.equal(w, expected[seed]) for w in results[seed])
    assert torch.equal(torch.get_rng_state(), state)


class Mixing(nn.Linear):
    def forward(self, x):
        return super().forward(x - x.mean(0))


class Pair(nn.Linear):
    def forward(self, x):
        return super().forward(x), x


class Logarithm(nn.Linear):
    def forward(self, x):
        return super().forward(x.log())


class Infinite(nn.Linear):
    def forward(self, x):
        return super().forward(x) / 0.0


def test_a_users_own_module_is_copied_as_float32():
    network = nn.Linear(3, 7).double()
    before = network.weight.detach().clone()
    stacked = create(decoder=lambda n_in, n_out: network).build_decoders(2, seeded())
    with torch.no_grad():
        for parameter in stacked.parameters():
            assert parameter.dtype == torch.float32
            parameter.zero_()
    assert torch.equal(network.weight, before)


def normalized(n_in, n_out):
    return nn.Sequential(nn.Linear(n_in, n_out), nn.BatchNorm1d(n_out))


def dropped(n_in, n_out):
    return nn.Sequential(nn.Linear(n_in, n_out), nn.Dropout())


WRONG_WIDTHS = r"The network of encoder\(7, 6\) must map \(3, 7\) to \(3, 6\), "
NOT_BY_ROW = "must map each row independently of the others, without randomness"


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (
            lambda *_: perceptron,
            r"encoder\(7, 6\) must return a torch.nn.Module, got <f",
        ),
        (nn.Linear(7, 6), "encoder must be a callable that makes .* got a module: Lin"),
        (lambda n, m: nn.Linear(n, m + 1), WRONG_WIDTHS + r"got \(3, 7\)"),
        (lambda n, m: nn.Flatten(0), WRONG_WIDTHS + r"got \(21,\)"),
        (Pair, WRONG_WIDTHS + r"got \(tensor"),
        (lambda n, m: nn.Linear(n + 1, m), WRONG_WIDTHS + "but fails: mat1 and mat2"),
        (Logarithm, r"encoder\(7, 6\) returns NaN .* values must be finite"),
        (Infinite, r"encoder\(7, 6\) returns infinite .* values must be finite"),
        (Mixing, NOT_BY_ROW),
        (normalized, NOT_BY_ROW),
        (dropped, NOT_BY_ROW),
    ],
)
def test_networks_that_can_not_be_used_are_refused(encoder, message):
    with pytest.raises(ValueError, match=message):
        create(encoder=encoder)


def test_decoders_are_checked_as_encoders_are():
    message = r"The network of decoder\(3, 7\) returns NaN .* values must be finite"
    with pytest.raises(ValueError, match=message):
        create(decoder=Logarithm)
