import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs, make_moons
from sklearn.metrics import adjusted_rand_score

from sktreevae.training import splitting
from sktreevae.training.splitting import propose_split


def split(X, min_fraction=0.01, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.tensor(X, dtype=torch.float32)
    return propose_split(x, min_fraction, generator).numpy()


@pytest.mark.parametrize("n", [200, 400])
def test_finds_moons(n):
    X, y = make_moons(n, noise=0.05, random_state=0)
    assert adjusted_rand_score(y, split(X)) > 0.95


@pytest.mark.parametrize("sizes", [(500, 500), (900, 100), (970, 30)])
def test_finds_blobs_of_unequal_size(sizes):
    X, y = make_blobs(sizes, centers=[[0, 0], [9, 0]], random_state=0)
    assert adjusted_rand_score(y, split(X)) == 1.0


def test_groups_without_common_neighbours_are_joined_by_distance():
    centers = [[0, 0], [0, 3], [50, 0], [50, 3]]
    X, y = make_blobs(200, centers=centers, cluster_std=0.1, random_state=0)
    assert adjusted_rand_score(y // 2, split(X)) == 1.0


def test_samples_beyond_the_landmarks_follow_them(monkeypatch):
    monkeypatch.setattr(splitting, "N_LANDMARKS", 100)
    X, y = make_blobs([700, 300], centers=[[0, 0], [9, 0]], random_state=0)
    assert adjusted_rand_score(y, split(X)) == 1.0


@pytest.mark.parametrize("min_fraction", [0.0, 0.1, 0.3, 0.5])
@pytest.mark.parametrize("n", [2, 3, 10, 101, 150])
def test_both_sides_have_the_least_size(n, min_fraction, rng):
    left = split(rng.standard_normal((n, 2)) ** 3, min_fraction)
    least = min(max(round(min_fraction * n), 1), n // 2)
    assert least <= left.sum() <= n - least


def test_identical_samples_are_not_split():
    assert split(np.ones((20, 3))).all()


def test_cut_is_the_cheapest_of_all_prefixes(rng):
    X = rng.standard_normal((30, 2))
    W = splitting._affinity(torch.from_numpy(X))
    assert np.allclose(W, W.T)
    left = splitting._cut(W, 0.0)

    def cost(side):
        volume = min(W[side].sum(), W[~side].sum())
        return W[np.ix_(side, ~side)].sum() / volume

    scale = 1.0 / np.sqrt(W.sum(axis=1))
    _, vectors = np.linalg.eigh(W * scale[:, None] * scale)
    order = np.argsort(vectors[:, -2] * scale)
    costs = []
    for k in range(1, 30):
        side = np.zeros(30, dtype=bool)
        side[order[:k]] = True
        costs.append(cost(side))
    assert cost(left) == pytest.approx(min(costs))


def test_sparse_and_dense_eigenvectors_agree(rng):
    W = splitting._affinity(torch.from_numpy(rng.standard_normal((150, 2))))
    scale = 1.0 / np.sqrt(W.sum(axis=1))
    matrix = W * scale[:, None] * scale
    iterative = splitting._second_eigenvector(matrix)
    dense = np.linalg.eigh(matrix)[1][:, -2]
    assert abs(iterative @ dense) == pytest.approx(1.0, abs=1e-6)


def test_equal_samples_stay_together(rng):
    X = rng.standard_normal((12, 2))[rng.integers(0, 12, 150)]
    left = split(X)
    for row in np.unique(X, axis=0):
        assert len(set(left[(X == row).all(axis=1)])) == 1
