import pytest
from torch import nn

from sktreevae.model import FeatureMap, ModelConfig, Topology, TreeVAE, state_shapes

TOPOLOGY = Topology((-1, 0, 0, 1, 1, 2))
CONFIGS = {
    "table": ModelConfig(4, hidden_dim=8, router_dims=(6,), bottom_up_depth=1),
    "text": ModelConfig(7, hidden_dim=8, likelihood="bernoulli"),
    "counts": ModelConfig(5, hidden_dim=8, likelihood="negative_binomial"),
    "cnn": ModelConfig(256, hidden_dim=8, encoder="cnn", image_shape=(16, 16)),
    "resnet": ModelConfig(
        768, hidden_dim=8, encoder="resnet", decoder="resnet", image_shape=(16, 16, 3)
    ),
}
FEATURES = {"text": "text", "counts": "log_shares", "cnn": "image", "resnet": "image"}


def describe(state):
    return {name: (tensor.dtype, tensor.shape) for name, tensor in state.items()}


def feature_map_of(name, n_outputs=3):
    config = CONFIGS[name]
    kind = FEATURES.get(name, "plain")
    return FeatureMap(config.n_features, n_outputs, kind, config.image_shape).config


@pytest.mark.parametrize("name", CONFIGS)
def test_shapes_are_those_of_the_model(name, generator):
    config, features = CONFIGS[name], feature_map_of(name)
    model = TreeVAE(
        TOPOLOGY, config, feature_map=FeatureMap(**features), generator=generator
    )
    shapes = state_shapes(TOPOLOGY, config.to_dict(), features)
    assert describe(shapes) == describe(model.state_dict())


def test_shapes_of_huge_models_allocate_nothing():
    settings = ModelConfig(10**7, hidden_dim=10**6).to_dict()
    shapes = state_shapes(TOPOLOGY, settings, {"n_features": 10**7})
    assert shapes["bottom_up.perceptron.0.weight"].shape == (2 * 10**6, 2 * 10**7)


def test_networks_of_the_user_are_left_out(generator):
    config = ModelConfig.create(
        n_features=4, hidden_dim=8, encoder=nn.Linear, decoder=nn.Linear
    )
    model = TreeVAE(TOPOLOGY, config, generator=generator)
    shapes = state_shapes(TOPOLOGY, config.to_dict(), {"n_features": 4})
    assert model.state_dict().keys() - shapes.keys() == {
        "encoder.weight",
        "encoder.bias",
        *(
            f"top_down.decoders.networks.{leaf}.{name}"
            for leaf in range(len(TOPOLOGY.leaves))
            for name in ("weight", "bias")
        ),
    }
    rest = {name: model.state_dict()[name] for name in shapes}
    assert describe(shapes) == describe(rest)
