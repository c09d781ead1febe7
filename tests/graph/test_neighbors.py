import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sktreevae.data import FeatureTable
from sktreevae.graph.neighbors import (
    InvertedFileIndex,
    kmeans_centers,
    mutual_reachability,
    nearest_neighbors,
    nearest_row,
)

from .cases import lazy_table


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def neighbors_of(x, n_neighbors, **options):
    features = FeatureTable.from_tensor(x)
    return nearest_neighbors(features, n_neighbors, generator(), **options)


@given(st.integers(2, 3000), st.integers(1, 20), st.integers(1, 9), st.integers(0, 99))
@settings(max_examples=20)
def test_blocks_and_groups_lose_no_neighbor(n, k, n_values, seed):
    # Integers have exact distances, and many duplicates.
    x = torch.randint(n_values, (n, 4), generator=generator(seed)).float()
    k = min(k, n - 1)
    index, distance = neighbors_of(x, k)
    everything = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    everything.fill_diagonal_(torch.inf)
    expected = everything.topk(k, largest=False).values
    torch.testing.assert_close(distance, expected)
    torch.testing.assert_close((x[:, None] - x[index]).norm(dim=2), expected)
    assert (index != torch.arange(n)[:, None]).all()
    assert (index.sort(dim=1).values.diff(dim=1) > 0).all()


@given(
    st.integers(30, 1500),
    st.integers(1, 12),
    st.integers(1, 30),
    st.sampled_from([1.0, 1e-2, 2e-4, 1e-6, 1e-7, 0.0]),
    st.integers(0, 99),
)
@settings(max_examples=30)
def test_neighbors_in_tight_groups_are_exact(n, k, n_features, spread, seed):
    # Differences of squared norms have no digits left. Some rows are duplicates.
    centers = torch.randn(4, n_features, generator=generator(seed))
    group = torch.randint(4, (n,), generator=generator(seed))
    x = spread * torch.randn(n, n_features, generator=generator(seed + 1))
    x = torch.cat([centers[group] + x, centers[group[: n // 4]] + x[: n // 4]])
    index, distance = neighbors_of(x, k)
    x = x.double()
    square = torch.stack([(x - row).square().sum(1) for row in x])
    square.fill_diagonal_(torch.inf)
    expected = square.topk(k, largest=False).values
    actual = square.gather(1, index)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(distance.double(), expected.sqrt(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("limit", [10, 1000])
def test_duplicates_are_neighbors_and_never_a_row_itself(limit):
    x = torch.ones(50, 2)
    index, distance = neighbors_of(x, 5, max_exact_rows=limit)
    assert (index != torch.arange(50)[:, None]).all()
    assert all(len(set(row)) == 5 for row in index.tolist())
    assert not distance.any()


def test_recall_of_the_inverted_lists():
    x = torch.randn(4000, 10, generator=generator())
    exact, _ = neighbors_of(x, 10)
    index, distance = neighbors_of(x, 10, max_exact_rows=1000)
    recall = (index[:, :, None] == exact[:, None]).any(2).float().mean()
    assert recall > 0.95
    assert (distance.diff(dim=1) >= 0).all()


@pytest.mark.parametrize(("n_features", "recall"), [(3, 0.99), (10, 0.7)])
def test_inverted_lists_find_a_row_that_is_nearest_or_nearly_so(n_features, recall):
    base = torch.randn(5000, n_features, generator=generator())
    queries = torch.randn(3000, n_features, generator=generator(1))
    nearest = InvertedFileIndex(base, generator()).nearest(queries)
    exact = torch.cdist(queries, base).argmin(1)
    assert torch.equal(nearest_row(queries, base), exact)
    assert (nearest == exact).float().mean() > recall
    far, near = ((queries - base[i]).norm(dim=1) for i in (nearest, exact))
    assert (far / near).mean() < 1.05


def test_lloyd_finds_separate_groups():
    x = torch.randn(300, 2, generator=generator())
    x = x + 100.0 * torch.arange(300)[:, None].remainder(3)
    centers = kmeans_centers(x, 30, generator())
    assert len(centers) <= 30
    assert torch.cdist(x, centers).min(1).values.max() < 10


def test_neighbors_of_rows_on_disk_are_the_nearest_of_random_ones(rng):
    features = lazy_table(rng.standard_normal((300, 3)))
    exact, _ = neighbors_of(features[:], 4)
    index, _ = nearest_neighbors(features, 4, generator())
    assert torch.equal(index, exact)
    index, distance = nearest_neighbors(features, 4, generator(), max_exact_rows=50)
    chosen = index.unique()
    assert len(chosen) <= 50
    assert (index != torch.arange(300)[:, None]).all()
    x = features[:]
    others = torch.cdist(x, x[chosen])
    others[torch.arange(300)[:, None] == chosen] = torch.inf
    expected = others.topk(4, largest=False).values
    torch.testing.assert_close(distance, expected, rtol=1e-3, atol=1e-3)


@given(st.integers(5, 40), st.integers(1, 4), st.integers(0, 99))
def test_no_sample_is_nearer_than_its_third_neighbor(n, k, seed):
    x = torch.randn(n, 2, generator=generator(seed))
    index, distance = (t.numpy() for t in neighbors_of(x, k))
    reachability = mutual_reachability(index, distance).toarray()
    third = distance[:, min(3, k) - 1]
    for i, row in enumerate(index):
        for j, d in zip(row, distance[i], strict=True):
            assert reachability[i, j] == max(d, third[i], third[j])
