import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sktreevae.model import ImageLayout, decoder_factory, encoder_factory
from sktreevae.model.decoders import LeafDecoders
from sktreevae.model.networks import BottomUp, ConvEncoder, ConvReadout

KINDS = ["cnn", "resnet"]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def both(layout, *, residual=False, seed=0):
    """Return a small encoder and a small read-out."""
    encoder = ConvEncoder(layout, 6, residual=residual, generator=seeded(seed))
    readout = ConvReadout(layout, 3, residual=residual, generator=seeded(seed))
    return encoder, readout


layouts = st.builds(
    ImageLayout,
    st.integers(16, 64),
    st.integers(16, 64),
    st.sampled_from([1, 3]),
    st.booleans(),
)


@given(layouts, st.booleans())
@settings(max_examples=25)
@torch.no_grad()
def test_images_of_any_sides_are_encoded_and_decoded(layout, residual):
    encoder, readout = both(layout, residual=residual)
    x = torch.randn(2, layout.n_features, generator=seeded())
    code = encoder(x)
    assert code.shape == (2, 6)
    assert not torch.allclose(code[0], code[1])
    output = readout(code[:, :3])
    assert output.shape == (2, layout.n_features)
    assert output.isfinite().all()
    # Of every pixel, borders included.
    assert (output[0] != output[1]).float().mean() > 0.99


@pytest.mark.parametrize("residual", [False, True])
@torch.no_grad()
def test_channels_first_and_last_are_the_same_to_the_networks(residual):
    last = ImageLayout(17, 20, 3)
    first = ImageLayout(17, 20, 3, channels_first=True)
    images = torch.randn(2, 3, 17, 20, generator=seeded())
    z = torch.randn(2, 3, generator=seeded())
    codes, outputs = [], []
    for layout in (first, last):
        encoder, readout = both(layout, residual=residual)
        codes.append(encoder(layout.rows(images)))
        outputs.append(layout.images(readout(z)))
    # Other memory layouts have other rounding errors.
    torch.testing.assert_close(*codes, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(*outputs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("residual", [False, True])
@torch.no_grad()
def test_rows_do_not_depend_on_the_others(residual):
    layout = ImageLayout(16, 19, 3)
    encoder, readout = both(layout, residual=residual)
    for network, width in ((encoder, layout.n_features), (readout, 3)):
        x = torch.randn(4, width, generator=seeded())
        whole = network(x)
        changed = network(torch.cat([x[:2], 9.0 + torch.zeros(2, width)]))
        assert torch.equal(changed[:2], whole[:2])
        torch.testing.assert_close(network(x[:1]), whole[:1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("residual", [False, True])
def test_gradients_reach_every_parameter_of_a_network(residual):
    layout = ImageLayout(16, 19, 3)
    encoder, readout = both(layout, residual=residual)
    code = encoder(torch.randn(4, layout.n_features, generator=seeded()))
    readout(code[:, :3]).square().sum().backward()
    for network in (encoder, readout):
        for name, parameter in network.named_parameters():
            assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("residual", [False, True])
def test_initial_weights_come_from_the_generator(residual):
    layout = ImageLayout(16, 16)
    state = torch.get_rng_state()
    one, two, other = (both(layout, residual=residual, seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    for kind in range(2):
        parameters = (list(net[kind].parameters()) for net in (one, two, other))
        for a, b, c in zip(*parameters, strict=True):
            assert torch.equal(a, b)
            assert a.unique().numel() == 1 or not torch.equal(a, c)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["mlp", "cnn", "resnet"])
def test_a_decoder_begins_close_to_zero(kind):
    factory = decoder_factory(kind, (28, 28), 784, 128, 8)
    decoders = factory(2, generator=seeded())
    output = decoders(torch.randn(2, 50, 8, generator=seeded()))
    assert 0.01 < output.std() < 0.3


@torch.no_grad()
def test_standardised_features_have_the_scale_that_the_perceptron_expects():
    bottom_up = BottomUp(5, hidden_dim=4, n_steps=2, generator=seeded())
    features = 7.0 + 3.0 * torch.randn(50, 5, generator=seeded())
    bottom_up.standardise(features)
    embeddings = bottom_up(features)
    assert [d.shape for d in embeddings] == 3 * [(50, 4)]
    unit = (features - features.mean(0)) / (features - features.mean(0)).std()
    torch.testing.assert_close(
        embeddings[-1], bottom_up.perceptron(unit), atol=1e-2, rtol=1e-2
    )


# What "auto" chooses


@pytest.mark.parametrize(
    ("image_shape", "expected"),
    [
        (None, None),
        ((15, 40), None),
        ((8, 8, 3), None),
        ((16, 16), False),
        ((1, 28, 28), False),
        ((28, 28, 1), False),
        ((3, 32, 32), True),
        ((16, 40, 3), True),
        ((2, 16, 16), True),
    ],
)
def test_auto_depends_on_the_images(image_shape, expected):
    encoder = encoder_factory("auto", image_shape, 7, 6)
    decoder = decoder_factory("auto", image_shape, 7, 6, 3)
    assert decoder.func is LeafDecoders
    readout = decoder.keywords["readout"]
    for factory, kind in ((encoder, ConvEncoder), (readout, ConvReadout)):
        if expected is None:
            assert factory is None
        else:
            assert factory.func is kind
            assert factory.keywords["residual"] is expected


@pytest.mark.parametrize("kind", ["mlp", *KINDS])
def test_networks_are_chosen_by_name_for_images_of_any_size(kind):
    for image_shape in ((8, 8), (3, 32, 32)):
        layout = ImageLayout.of(image_shape)
        encoder = encoder_factory(kind, image_shape, layout.n_features, 6)
        decoder = decoder_factory(kind, image_shape, layout.n_features, 6, 3)
        z = torch.zeros(5, 2, 3)
        shape = (5, 2, layout.n_features)
        assert decoder(5, generator=seeded())(z).shape == shape
        if kind == "mlp":
            assert encoder is None
            continue
        x = torch.zeros(2, layout.n_features)
        assert encoder(generator=seeded())(x).shape == (2, 6)


# Factories of users


def perceptron(n_in, n_out):
    return nn.Sequential(nn.Linear(n_in, 8), nn.ReLU(), nn.Linear(8, n_out))


def make_both(make):
    return encoder_factory(make, None, 7, 6), decoder_factory(make, None, 7, 6, 3)


def test_a_factory_gets_the_widths():
    encoder, decoder = make_both(perceptron)
    assert encoder(generator=seeded())(torch.zeros(2, 7)).shape == (2, 6)
    assert decoder(4, generator=seeded())(torch.zeros(4, 2, 3)).shape == (4, 2, 7)


def weights(factory, seed):
    return torch.cat(
        [p.flatten() for p in factory(generator=seeded(seed)).parameters()]
    )


def test_weights_of_a_users_network_follow_from_the_generator():
    factory, _ = make_both(perceptron)
    expected = weights(factory, 1)
    torch.rand(3)  # whatever the global state is
    assert torch.equal(weights(factory, 1), expected)
    assert not torch.equal(weights(factory, 2), expected)


def test_networks_of_one_generator_differ():
    factory, _ = make_both(perceptron)
    generator = seeded()
    one, two = (factory(generator=generator)[0].weight for _ in range(2))
    assert not torch.equal(one, two)


def fail(n_in, n_out):
    torch.rand(1)
    raise LookupError("of the user's own")


def test_the_global_generator_is_left_alone():
    state = torch.get_rng_state()
    factory, _ = make_both(perceptron)
    factory(generator=seeded())
    with pytest.raises(LookupError, match="of the user's own"):
        make_both(fail)
    assert torch.equal(torch.get_rng_state(), state)


def test_weights_follow_from_the_generator_in_threads():
    factory, _ = make_both(perceptron)
    expected = [weights(factory, seed) for seed in range(4)]
    state = torch.get_rng_state()
    results = {}

    def make_many(seed):
        results[seed] = [weights(factory, seed) for _ in range(50)]

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


def test_networks_must_be_modules():
    with pytest.raises(
        ValueError,
        match=r"encoder\(7, 6\) must return a torch.nn.Module, got <function",
    ):
        make_both(lambda n_in, n_out: perceptron)


def test_a_module_is_no_factory():
    with pytest.raises(
        ValueError, match=r"encoder must be a callable that makes .* got a module: Lin"
    ):
        make_both(nn.Linear(7, 6))


def test_a_users_own_module_is_copied():
    network = nn.Linear(3, 7)
    before = network.weight.detach().clone()
    factory = decoder_factory(lambda n_in, n_out: network, None, 7, 6, 3)
    stacked = factory(2, generator=seeded())
    with torch.no_grad():
        for parameter in stacked.parameters():
            parameter.zero_()
    assert torch.equal(network.weight, before)


@pytest.mark.parametrize(
    ("make", "got"),
    [
        (lambda n_in, n_out: nn.Linear(n_in, n_out + 1), r"got \(3, 7\)"),
        (lambda n_in, n_out: nn.Flatten(0), r"got \(21,\)"),
        (Pair, r"got \(tensor"),
        (lambda n_in, n_out: nn.Linear(n_in + 1, n_out), "but fails: mat1 and mat2"),
    ],
)
def test_networks_must_have_the_right_widths(make, got):
    message = r"The network of encoder\(7, 6\) must map \(3, 7\) to \(3, 6\), "
    with pytest.raises(ValueError, match=message + got):
        make_both(make)


@pytest.mark.parametrize(
    "make",
    [
        Mixing,
        lambda n_in, n_out: nn.Sequential(
            nn.Linear(n_in, n_out), nn.BatchNorm1d(n_out)
        ),
        lambda n_in, n_out: nn.Sequential(nn.Linear(n_in, n_out), nn.Dropout()),
    ],
)
def test_networks_that_mix_rows_or_are_random_are_refused(make):
    with pytest.raises(ValueError, match="must map each row by itself, and always"):
        make_both(make)


def test_messages_name_the_decoder():
    with pytest.raises(ValueError, match=r"decoder\(3, 7\) must return a torch.nn.Mod"):
        decoder_factory(lambda *widths: None, None, 7, 6, 3)
