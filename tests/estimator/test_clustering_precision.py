import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_equal

from sktreevae import TreeVAEClustering
from sktreevae.metrics import dendrogram_purity
from sktreevae.model import LIKELIHOODS
from sktreevae.training.objectives import SplitObjective, TreeObjective

from .cases import QUICK

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
on_gpu = pytest.param("cuda", marks=gpu)


@pytest.mark.parametrize(
    "device", [pytest.param("cpu", marks=pytest.mark.nightly), on_gpu]
)
def test_bfloat16_finds_clusters_as_good(digits, device):
    X, y = digits
    purity = []
    for precision in ("float32", "bfloat16"):
        model = TreeVAEClustering(
            10, precision=precision, device=device, max_iter=40, random_state=0
        ).fit(X)
        assert model.transform(X[:5].astype(np.float32)).dtype == np.float32
        purity.append(dendrogram_purity(y, model))
    assert_allclose(*purity, atol=0.03)


def test_predictions_do_not_depend_on_the_precision(digits):
    X, _ = digits
    model = TreeVAEClustering(3, precision="bfloat16", **QUICK).fit(X)
    before = model.score_samples(X)
    assert_equal(model.set_params(precision="float32").score_samples(X), before)


def test_auto_is_float32_on_the_cpu(digits):
    X, _ = digits
    settings = {**QUICK, "max_iter": 1, "device": "cpu"}
    scores = [
        TreeVAEClustering(2, precision=precision, **settings).fit(X).score(X)
        for precision in ("auto", "float32", "bfloat16")
    ]
    assert scores[0] == scores[1] != scores[2]


IMAGES = {"image_shape": (8, 8), "encoder": "cnn", "decoder": "cnn"}


@pytest.mark.parametrize(
    "settings",
    [
        *({"likelihood": likelihood} for likelihood in LIKELIHOODS),
        {"views": "neighbors", "growth": "iterative"},
        {"views": "image", "likelihood": "bernoulli", **IMAGES},
    ],
)
def test_sums_are_in_float32(digits, settings, monkeypatch):
    X = digits[0][:120]
    if settings.get("likelihood") == "bernoulli":
        X = X / 16
    seen = []
    for objective in (TreeObjective, SplitObjective):
        evaluate = objective.evaluate

        def spy(self, index, evaluate=evaluate):
            terms = evaluate(self, index)
            values = [*vars(terms.elbo).values(), terms.routing_loss, terms.contrast]
            seen.extend(value for value in values if value is not None)
            return terms

        monkeypatch.setattr(objective, "evaluate", spy)
    settings = {**QUICK, "max_iter": 2, "precision": "bfloat16", **settings}
    model = TreeVAEClustering(2, **settings).fit(X)
    assert {value.dtype for value in seen} == {torch.float32}
    assert all(value.isfinite().all() for value in seen)
    assert {p.dtype for p in model.module_.parameters()} == {torch.float32}
    model.partial_fit(X)
    assert np.isfinite(model.lower_bound_)


@gpu
def test_same_seed_gives_the_same_result_on_a_gpu(digits):
    X, _ = digits
    one, two = (
        TreeVAEClustering(4, device="cuda", random_state=0).fit(X) for _ in range(2)
    )
    assert_equal(one.labels_, two.labels_)
    assert_equal(one.score_samples(X), two.score_samples(X))
