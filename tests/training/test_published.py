from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs
from torch.testing import assert_close

from sktreevae import TreeVAEClustering
from sktreevae.model import Topology
from sktreevae.model.layers import StackedMLP
from sktreevae.training.published import CenteredRouter, PublishedGrowth
from sktreevae.training.trainer import TrainingOptions

from .cases import make_blobs_growth


def make_router(seed=0):
    generator = torch.Generator().manual_seed(seed)
    router = StackedMLP(1, (5, 8, 1), generator=generator)
    # Far from centered, and of no unit scale.
    with torch.no_grad():
        router.biases[-1].fill_(3.0)
        router.weights[-1].mul_(7.0)
    return router, torch.randn(40, 5, generator=generator)


def logits(router, x):
    """Return the logits of the only split, as `TopDown.route` computes them."""
    return router.split([1, 0])[0](x)[0, :, 0]


def centered_router(router, x):
    centered = CenteredRouter(router)
    centered.standardize(x)
    return centered


make_growth = partial(make_blobs_growth, PublishedGrowth, max_iter=20)


def test_equal_samples_leave_the_router_finite():
    router, x = make_router()
    assert torch.isfinite(logits(centered_router(router, x[:1].expand(9, 5)), x)).all()


def test_each_batch_is_centered_and_all_have_deviation_1():
    router, x = make_router()
    centered = centered_router(router, x)
    assert_close(logits(centered, x).std(), torch.tensor(1.0))
    for batch in x.split(10):
        mean = logits(centered, batch).mean()
        assert_close(mean, torch.tensor(0.0), atol=1e-5, rtol=0)


def test_the_mean_of_the_logits_has_no_gradient():
    router, x = make_router()
    logits(centered_router(router, x), x).sum().backward()
    for p in router.parameters():
        assert_close(p.grad, torch.zeros_like(p), atol=1e-4, rtol=0)


def test_every_parameter_but_the_bias_of_the_output_is_trained():
    router, x = make_router()
    logits(centered_router(router, x), x)[0].backward()
    is_trained = {
        name: bool(p.grad.abs().sum() > 1e-6) for name, p in router.named_parameters()
    }
    assert is_trained.pop("biases.1") is False
    assert all(is_trained.values())


def test_evaluation_uses_the_moving_average_of_training():
    router, x = make_router()
    centered = centered_router(router, x)
    start = centered.mean.clone()
    logits(centered, x[:10])
    expected = 0.9 * start + 0.1 * router(x[:10]).mean()
    assert_close(centered.mean, expected)
    centered.eval()
    alone = torch.cat([logits(centered, row[None]) for row in x])
    assert_close(alone, logits(centered, x), atol=1e-5, rtol=1e-5)
    assert_close(centered.mean, expected)


def test_folding_keeps_the_logits_of_the_training():
    router, x = make_router()
    centered = centered_router(router, x)
    expected = logits(centered, x)
    assert centered.fold(x) is router
    assert_close(router(x)[0, :, 0], expected, atol=1e-5, rtol=1e-5)


def test_the_weight_of_the_divergences_rises_by_0_001_an_epoch():
    phase = make_growth()._phase("split")
    n_epochs = phase.n_epochs(TrainingOptions(), 1)
    assert n_epochs == 150
    weights = [phase.kl_weight_at(epoch / n_epochs) for epoch in range(151)]
    np.testing.assert_allclose(np.diff(weights), 0.001)
    assert weights[0] == 0.0


def test_the_learning_rate_falls_after_100_of_150_epochs():
    phase, options = make_growth()._phase("initial"), TrainingOptions(learning_rate=1.0)
    rates = [phase.learning_rate_at(options, epoch / 150) for epoch in range(150)]
    assert rates == [1.0] * 100 + [0.1] * 50


@pytest.mark.parametrize(
    ("name", "n_epochs", "kl_weight"),
    [
        ("initial", 150, 0.15),
        ("split", 150, 0.15),
        ("refresh", 80, 0.15),
        ("finetune", 200, 1.0),
    ],
)
def test_epochs_and_weights_of_a_phase_are_those_of_the_paper(
    name, n_epochs, kl_weight
):
    phase = make_growth()._phase(name)
    assert phase.n_epochs(TrainingOptions(), 100) == n_epochs
    assert phase.n_epochs(TrainingOptions(max_iter=3), 100) == 3
    assert phase.kl_weight_at(1.0) == kl_weight
    assert phase.routing_weight_at(0.0) == phase.routing_weight_at(1.0) == 0.0


@pytest.mark.parametrize("n_validation", [0, 40])
def test_only_held_out_samples_end_a_phase_early(n_validation):
    growth = make_growth(n_clusters=2, max_iter=8, n_validation=n_validation)
    # No epoch improves by that much.
    options = replace(growth.trainer.options, tol=1e9, n_iter_no_change=1)
    growth.trainer.options = options
    growth.run()
    phases = [record["phase"] for record in growth.trainer.history.records]
    if n_validation:
        assert len(phases) < 16
    else:
        assert phases == ["initial"] * 8 + ["finetune"] * 8


def test_a_new_split_knows_no_sides():
    growth = make_growth()
    growth._begin_tree()
    split = growth.model.top_down
    assert growth.state.target.shape == (160, 2)
    assert (growth.state.target == 0.5).all()
    assert_close(split.decoders.constant[0], split.decoders.constant[1])


@pytest.mark.parametrize("seed", range(3))
def test_no_side_of_a_trained_split_is_empty(seed):
    growth = make_growth(seed=seed, max_iter=5)
    growth._begin_tree()
    growth.trainer.train(growth._phase("initial"), growth.tree_objective())
    growth._finish_split(growth.model.top_down, 0, growth.data.train)
    assert growth.leaf_counts().min() > 0


def test_every_leaf_decodes_every_sample():
    growth = make_growth(n_clusters=3, max_iter=2)
    growth.build_model(Topology.stump())
    growth.keep_routing()
    assert growth.tree_objective().max_leaves >= 3


def test_the_estimator_grows_as_published():
    X, y = make_blobs(200, 4, centers=3, cluster_std=0.3, random_state=2)
    model = TreeVAEClustering(3, growth="published", max_iter=8, random_state=0).fit(X)
    phases = list(dict.fromkeys(model.history_["phase"]))
    assert phases == ["initial", "split", "finetune"]
    assert model.history_["n_leaves"][0] == 2
    np.testing.assert_array_equal(model.predict(X), model.labels_)


def test_held_out_elbos_of_a_phase_have_one_weight():
    growth = make_growth(n_clusters=2, max_iter=6, n_validation=40)
    weights = []
    validate = growth.trainer._validate

    def spy(objective, kl_weight):
        weights.append(kl_weight)
        return validate(objective, kl_weight)

    growth.trainer._validate = spy
    growth.run()
    assert set(weights) == {0.15, 1.0}
