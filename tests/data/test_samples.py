import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from sktreevae.data import (
    FeatureTable,
    Samples,
    Standardizer,
    as_matrix,
    is_in_memory,
    shuffled_batches,
)
from sktreevae.data.samples import BLOCK_SIZE, MAX_BLOCK_VALUES, MIN_BLOCK_SIZE

from .cases import as_memmap


def identity(n_features):
    return Standardizer(np.zeros(n_features), np.ones(n_features))


@given(st.integers(0, 500), st.integers(1, 200))
def test_batches_hold_every_sample_once(n_samples, n_batches):
    batches = shuffled_batches(n_samples, n_batches, torch.Generator())
    assert torch.cat(batches).sort().values.tolist() == list(range(n_samples))
    assert len(batches) == n_batches
    sizes = {len(batch) for batch in batches}
    assert max(sizes) - min(sizes) <= 1


def make_inputs(X, folder):
    return [X, sparse.csr_array(X), as_memmap(X, folder)]


@given(st.integers(1, 10**6))
def test_blocks_of_wide_rows_are_small(n_columns):
    standardizer = Standardizer(np.zeros(n_columns), np.ones(n_columns))
    n_rows = Samples(sparse.csr_array((1, n_columns)), standardizer).block_size
    assert n_rows == MIN_BLOCK_SIZE or n_rows * n_columns <= MAX_BLOCK_VALUES
    assert MIN_BLOCK_SIZE <= n_rows <= BLOCK_SIZE


@pytest.mark.parametrize("value", [1e30, 1e300])
def test_extreme_values_stay_small_enough_to_be_squared(value):
    samples = Samples(np.array([[value, -value]]), identity(2))
    rows = samples[torch.tensor([0])]
    assert rows.square().isfinite().all()
    assert rows[0, 0] == -rows[0, 1] > 1e11


@pytest.mark.parametrize("chunk_size", [4, 1000])
def test_rows_are_read_in_any_order(chunk_size, rng, tmp_path):
    X = rng.standard_normal((40, 2))
    for rows in ([5, 6, 7, 8], [8, 6, 5, 7], [3, 3, 5], [39, 0, 20, 21, 22, 0], []):
        for matrix in make_inputs(X, tmp_path):
            samples = Samples(matrix, identity(2))
            samples.chunk_size = chunk_size
            result = samples[torch.tensor(rows).long()]
            assert np.array_equal(result.numpy(), X[rows].astype(np.float32))


def test_rows_are_read_by_batch_where_a_device_has_no_room(rng, monkeypatch):
    X = rng.standard_normal((8, 2))
    monkeypatch.setattr(
        "sktreevae.data.samples.fits_on", lambda n_bytes, device: n_bytes < 64
    )
    samples = Samples(X, identity(2))
    assert not samples.is_in_memory
    assert np.array_equal(samples[torch.tensor([5, 2])], X[[5, 2]].astype(np.float32))
    assert Samples(X[:7], identity(2)).is_in_memory


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_without_room_gets_the_same_rows(rng, monkeypatch):
    X = rng.standard_normal((2000, 3))
    device = torch.device("cuda")
    resident = Samples(X, identity(3), device)
    monkeypatch.setattr("sktreevae.data.samples.fits_on", lambda n_bytes, device: False)
    read = Samples(X, identity(3), device)
    for rows in torch.randperm(2000, device=device).split(64):
        assert torch.equal(read[rows], resident[rows])


def test_rows_on_disk_are_converted_in_chunks(rng, monkeypatch):
    X = torch.from_numpy(rng.standard_normal((40, 2)))
    matrix = as_matrix(torch.utils.data.TensorDataset(X))
    sizes, read = [], type(matrix).__getitem__

    def recorded(self, index):
        rows = read(self, index)
        sizes.append(len(rows))
        return rows

    monkeypatch.setattr(type(matrix), "__getitem__", recorded)
    samples = Samples(matrix, identity(2))
    samples.chunk_size = 7
    samples.map(lambda x: x)
    samples[torch.arange(0, 40, 2)]
    assert max(sizes) == 7
    assert sum(sizes) == 60


class Halves(torch.nn.Module):
    """A map from two features to one."""

    n_outputs = 1

    def forward(self, x):
        return x.sum(1, keepdim=True) / 2


def test_features_by_batch_are_those_of_all(rng, tmp_path):
    X = rng.standard_normal((BLOCK_SIZE + 9, 2))
    index = torch.tensor([7, 2, 260, 7])
    for matrix in make_inputs(X, tmp_path):
        samples = Samples(matrix, identity(2))
        features = FeatureTable(samples, Halves())
        expected = samples.map(Halves())
        assert features.is_in_memory == is_in_memory(matrix)
        assert features.shape == expected.shape == (len(X), 1)
        assert len(features) == len(X)
        assert torch.equal(features[:], expected)
        assert torch.equal(features[index], expected[index])
        assert torch.equal(FeatureTable(samples, Halves(), index)[:], expected[index])
        subset = features.subset(index)
        assert len(subset) == 4
        assert torch.equal(subset[1:3], expected[index[1:3]])
        nested = subset.subset(torch.tensor([3, 2]))
        assert torch.equal(nested[:], expected[index[[3, 2]]])
        assert torch.equal(features.map(torch.neg), -expected)
        assert torch.equal(features.map(torch.neg, index), -expected[index])


@pytest.mark.parametrize("n", [1, 3, 4, 5, 23])
def test_blocks_have_a_constant_size(n, rng, tmp_path):
    X = rng.standard_normal((n, 2))
    for matrix in make_inputs(X, tmp_path):
        samples = Samples(matrix, identity(2))
        samples.chunk_size, samples.block_size = 10, 4
        features = FeatureTable(samples, Halves())
        sizes = []
        for table in (samples, features, features.subset(torch.arange(n))):
            table.map(lambda x, sizes=sizes: sizes.append(len(x)) or x)
        assert set(sizes) == {4}
        assert torch.equal(samples.map(lambda x: x), samples[:])


@pytest.mark.parametrize(
    ("likelihood", "value", "message"),
    [
        ("bernoulli", 2.5, "needs values between 0 and 1, but X has the value 2.5"),
        ("bernoulli", -1.5, "needs values between 0 and 1, but X has the value -1.5"),
        ("poisson", 0.5, "needs counts, .* to 16777216, but X has the value 0.5"),
    ],
)
def test_values_outside_the_support_are_refused(
    likelihood, value, message, rng, tmp_path
):
    X = rng.integers(0, 2, (40, 3)).astype(float)
    X[30, 1] = value
    for matrix in make_inputs(X, tmp_path):
        with pytest.raises(ValueError, match=f"likelihood='{likelihood}' {message}"):
            Samples(matrix, identity(3), likelihood=likelihood)[:]
        subset = Samples(matrix[:30], identity(3), likelihood=likelihood)
        assert np.array_equal(subset[:], X[:30].astype(np.float32))
        Samples(matrix, identity(3), likelihood="gaussian")[:]


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float16, np.float32, np.float64])
def test_supported_values_of_all_types_are_kept(dtype):
    X = np.array([[0, 1], [1, 0]], dtype=dtype)
    for likelihood in ("bernoulli", "poisson", "gaussian"):
        samples = Samples(X, identity(2), likelihood=likelihood)
        assert samples[:].tolist() == [[0, 1], [1, 0]]
        assert samples[:].dtype == torch.float32


def test_rounding_errors_of_the_unit_interval_are_clipped(tmp_path):
    X = np.array([[-1e-7, 1 + 1e-7], [0.5, 1 + 2.3e-16]])
    for matrix in make_inputs(X, tmp_path):
        samples = Samples(matrix, identity(2), likelihood="bernoulli")
        assert samples[:].tolist() == [[0, 1], [0.5, 1]]


def test_unseen_values_somewhat_outside_the_unit_interval_are_clipped(tmp_path):
    X = np.array([[-0.1, 1.2], [0.5, 0.0]])
    for matrix in make_inputs(X, tmp_path):
        with pytest.warns(UserWarning, match="outside .*'bernoulli'.*clipped.*clip=Tr"):
            rows = Samples(matrix, identity(2), likelihood="bernoulli")[:]
        assert rows.tolist() == [[0, 1], [0.5, 0]]


def test_a_batch_is_read_once_and_anew_when_its_index_changes():
    rows = as_matrix(torch.utils.data.TensorDataset(torch.eye(5)))
    samples, index = Samples(rows, identity(5)), torch.tensor([0, 1])
    assert samples[index] is samples[index.clone()]
    index.add_(3)
    assert torch.equal(samples[index], torch.eye(5)[3:])
