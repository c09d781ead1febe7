import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from sktreevae.training import Features, Samples, map_blocks, subset
from sktreevae.training.batches import BLOCK_SIZE, shuffled_batches


@given(st.integers(1, 500), st.integers(1, 200))
def test_batches_hold_every_sample_once(n_samples, batch_size):
    batches = shuffled_batches(n_samples, batch_size, torch.Generator())
    assert torch.cat(batches).sort().values.tolist() == list(range(n_samples))
    sizes = {len(batch) for batch in batches}
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1


def make_inputs(X, folder):
    path = folder / "X.npy"
    np.save(path, X)
    return [X, sparse.csr_array(X), np.load(path, mmap_mode="r")]


def test_all_kinds_of_matrices_give_the_same_rows(rng, tmp_path):
    X = rng.normal(5.0, 2.0, (40, 3))
    index = torch.tensor([3, 0, 39])
    expected = ((X - X.mean(axis=0)) / 2.0)[index.numpy()]
    for matrix in make_inputs(X, tmp_path):
        samples = Samples(matrix, X.mean(axis=0), np.full(3, 2.0))
        assert len(samples) == 40
        assert samples.n_features == 3
        rows = samples[index]
        assert rows.dtype == torch.float32
        np.testing.assert_allclose(rows.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("n", [1, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1])
def test_blocks_have_a_constant_size(n, rng, tmp_path):
    X = rng.standard_normal((n, 2))
    for matrix in make_inputs(X, tmp_path):
        sizes = []

        def double(x, sizes=sizes):
            sizes.append(len(x))
            return 2.0 * x

        result = Samples(matrix, np.zeros(2), np.ones(2)).map(double)
        np.testing.assert_allclose(result.numpy(), 2.0 * X.astype(np.float32))
        assert set(sizes) == {BLOCK_SIZE}


def test_some_rows_can_be_mapped(rng):
    X = rng.standard_normal((10, 2))
    index = torch.tensor([7, 2])
    result = Samples(X, np.zeros(2), np.ones(2)).map(lambda x: x, index)
    np.testing.assert_allclose(result.numpy(), X[[7, 2]].astype(np.float32))


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_standardisation_survives_extreme_units(factor, rng):
    X = rng.normal(5.0, 2.0, (40, 3)) * factor
    samples = Samples(X, X.mean(axis=0), X.std(axis=0))
    rows = samples[torch.arange(40)]
    assert rows.mean(0).abs().max() < 1e-5
    torch.testing.assert_close(rows.std(0, correction=0), torch.ones(3))


@pytest.mark.parametrize("value", [1e30, 1e300])
def test_extreme_values_stay_small_enough_to_be_squared(value):
    samples = Samples(np.array([[value, -value]]), np.zeros(2), np.ones(2))
    rows = samples[torch.tensor([0])]
    assert rows.square().isfinite().all()
    assert rows[0, 0] == -rows[0, 1] > 1e11


def test_the_matrix_is_not_changed(rng):
    X = rng.standard_normal((5, 2))
    copy = X.copy()
    samples = Samples(X, np.zeros(2), np.ones(2))
    samples[torch.arange(5)].zero_()
    assert np.array_equal(X, copy)


@pytest.mark.parametrize("chunk_size", [4, 1000])
def test_rows_are_read_in_any_order(chunk_size, rng, tmp_path, monkeypatch):
    monkeypatch.setattr("sktreevae.sources.CHUNK_SIZE", chunk_size)
    X = rng.standard_normal((40, 2))
    for rows in ([5, 6, 7, 8], [8, 6, 5, 7], [3, 3, 5], [39, 0, 20, 21, 22, 0], []):
        for matrix in make_inputs(X, tmp_path):
            found = Samples(matrix, np.zeros(2), np.ones(2))[torch.tensor(rows).long()]
            assert np.array_equal(found.numpy(), X[rows].astype(np.float32))


def test_only_dense_matrices_in_memory_are_resident(rng, tmp_path):
    inputs = make_inputs(rng.standard_normal((4, 2)), tmp_path)
    found = [Samples(X, np.zeros(2), np.ones(2)).is_resident for X in inputs]
    assert found == [True, False, False]


def test_rows_are_read_by_batch_where_a_device_has_no_room(rng, monkeypatch):
    X = rng.standard_normal((8, 2))
    monkeypatch.setattr(
        "sktreevae.training.batches.has_room", lambda n_bytes, device: n_bytes < 64
    )
    samples = Samples(X, np.zeros(2), np.ones(2))
    assert not samples.is_resident
    assert np.array_equal(samples[torch.tensor([5, 2])], X[[5, 2]].astype(np.float32))
    assert Samples(X[:7], np.zeros(2), np.ones(2)).is_resident


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_without_room_gets_the_same_rows(rng, monkeypatch):
    X = rng.standard_normal((2000, 3))
    device = torch.device("cuda")
    resident = Samples(X, np.zeros(3), np.ones(3), device)
    monkeypatch.setattr(
        "sktreevae.training.batches.has_room", lambda n_bytes, device: False
    )
    read = Samples(X, np.zeros(3), np.ones(3), device)
    for rows in torch.randperm(2000, device=device).split(64):
        assert torch.equal(read[rows], resident[rows])


def test_rows_on_disk_are_converted_in_chunks(rng, tmp_path, monkeypatch):
    monkeypatch.setattr("sktreevae.sources.CHUNK_SIZE", 7)
    sizes = []
    convert = Samples._convert
    monkeypatch.setattr(
        Samples,
        "_convert",
        lambda s, rows: sizes.append(rows.shape[0]) or convert(s, rows),
    )
    for matrix in make_inputs(rng.standard_normal((40, 2)), tmp_path):
        samples = Samples(matrix, np.zeros(2), np.ones(2))
        samples.map(lambda x: x)
        samples[torch.arange(0, 40, 2)]
    assert max(sizes) == 7


class Halves(torch.nn.Module):
    """A map from two features to one."""

    n_outputs = 1

    def forward(self, x):
        return x.sum(1, keepdim=True) / 2


def test_features_by_batch_are_those_of_all(rng, tmp_path):
    X = rng.standard_normal((BLOCK_SIZE + 9, 2))
    index = torch.tensor([7, 2, 260, 7])
    for matrix in make_inputs(X, tmp_path):
        samples = Samples(matrix, np.zeros(2), np.ones(2))
        features = Features(samples, Halves())
        expected = samples.map(Halves())
        assert features.shape == expected.shape == (len(X), 1)
        assert len(features) == len(X)
        assert torch.equal(features[:], expected)
        assert torch.equal(features[index], expected[index])
        some = features.subset(index)
        assert len(some) == 4
        assert torch.equal(some[1:3], expected[index[1:3]])
        nested = subset(some, torch.tensor([3, 2]))
        assert torch.equal(nested[:], subset(expected, index[[3, 2]]))
        assert torch.equal(map_blocks(torch.neg, features), -expected)
