import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs

from sktreevae.data import FeatureTable
from sktreevae.training.contrastive import AugmentedPairs
from sktreevae.training.view_features import learn_view_features

from .cases import make_data


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def learned(data, augment, seed=0, **options):
    """Return features learned for a few steps, and their table."""
    pairs = AugmentedPairs(data.samples, data.feature_map, augment)
    result = learn_view_features(data, pairs, generator(seed), **options)
    return result, FeatureTable(data.samples, result, data.train)[:]


def unchanged(rows, source):
    return rows


@pytest.fixture(scope="module")
def data():
    X, _ = make_blobs(90, 3, centers=3, random_state=0)
    return make_data(X, n_validation=10)


def test_features_and_embedding_weigh_the_same(data):
    _, values = learned(data, unchanged, max_steps=2)
    features, embedding = values[:, :3], values[:, 3:]
    torch.testing.assert_close(2**0.5 * features, data.features[data.train])
    torch.testing.assert_close(embedding.square().sum(1), torch.full((80,), 0.5))


def test_same_seed_same_bits(data):
    one, same, other = (
        learned(data, unchanged, seed, max_steps=2)[1] for seed in (0, 0, 1)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_what_augmentations_change_matters_less():
    X, y = make_blobs(200, 2, centers=[[0, 0], [4, 0]], random_state=0)
    X = np.hstack([X, np.random.default_rng(0).normal(size=(200, 30))])
    data = make_data(X)

    def redraw(rows, source):
        noise = torch.empty_like(rows[:, 2:]).normal_(generator=source)
        return torch.hstack([rows[:, :2], noise])

    def neighbor_agreement(values):
        nearest = torch.cdist(values, values).topk(2, largest=False).indices[:, 1]
        return np.mean(y[nearest] == y)

    _, values = learned(data, redraw)
    assert neighbor_agreement(values[:, 32:]) > neighbor_agreement(values[:, :32]) + 0.1


def test_held_out_samples_teach_nothing(data):
    seen = set()

    def record(rows, source):
        seen.update(map(tuple, rows.tolist()))
        return rows

    learned(data, record)
    assert len(seen) == len(data.train)


@pytest.mark.parametrize(
    ("options", "n_steps"),
    [({"max_steps": 3}, 3), ({"max_epochs": 2, "batch_size": 20}, 8)],
)
def test_steps_are_bounded(data, options, n_steps):
    calls = []
    learned(data, lambda rows, _: calls.append(len(rows)) or rows, **options)
    assert len(calls) == 2 * n_steps
