import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.datasets import load_digits, load_wine
from sklearn.preprocessing import minmax_scale
from torch.utils.data import TensorDataset

from sktreevae.data import DataOptions, TrainingData, as_matrix, training_data
from sktreevae.model import ModelConfig
from sktreevae.utils.cache import Cache

from .cases import IN_MEMORY, MAKERS


def prepare(X, options=None, *, seed=0, memory=None):
    """Return training data, and what the generators draw next."""
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    options = DataOptions() if options is None else options
    data = TrainingData.prepare(X, options, generator, rng, Cache(memory))
    return data, (torch.randn(3, generator=generator).tolist(), rng.random(3).tolist())


def same(one, two):
    """Return whether training data are equal to the bit."""
    states = [data.feature_map.state_dict() for data in (one, two)]
    return (
        torch.equal(one.features[:], two.features[:])
        and torch.equal(one.samples[:], two.samples[:])
        and torch.equal(one.train, two.train)
        and torch.equal(one.validation, two.validation)
        and one.feature_map.config == two.feature_map.config
        and states[0].keys() == states[1].keys()
        and all(torch.equal(value, states[1][k]) for k, value in states[0].items())
    )


@pytest.mark.parametrize("kind", MAKERS)
def test_data_are_standardized_and_mapped(kind, tmp_path):
    X = load_digits().data[:100]
    data, _ = prepare(MAKERS[kind](X, tmp_path))
    X = X[:, np.ptp(X, axis=0) > 0]
    assert data.likelihood == data.samples.likelihood == "gaussian"
    assert data.summary.high == X.max()
    assert data.samples.shape == X.shape
    assert data.samples[:].mean(0).abs().max() < 1e-5
    assert data.features.shape == (100, data.feature_map.n_outputs)
    assert data.samples.is_in_memory == (kind in IN_MEMORY)
    assert data.features.is_in_memory == (kind in IN_MEMORY)
    expected = data.samples.map(data.feature_map)
    assert torch.equal(data.features[:], expected)
    assert data.train.tolist() == list(range(100))
    assert data.validation.numel() == 0
    np.testing.assert_allclose(data.standardizer.center, X.mean(axis=0), atol=1e-12)


def test_outliers_do_not_change_the_weight_of_a_feature():
    X = load_wine().data
    expected = prepare(X)[0].features[:].std(0)
    X[3, 11] = 1e6
    std = prepare(X)[0].features[:][torch.arange(len(X)) != 3].std(0)
    torch.testing.assert_close(
        std / std[0], expected / expected[0], rtol=0.05, atol=0.0
    )


@pytest.mark.parametrize(
    ("n", "fraction", "n_validation"),
    [(100, 0.1, 10), (99, 0.1, 10), (3, 0.999, 2), (1, 0.5, 0), (100, 0.0, 0)],
)
def test_a_fraction_is_held_out(n, fraction, n_validation, rng):
    options = DataOptions(validation_fraction=fraction)
    data, _ = prepare(rng.standard_normal((n, 2)), options)
    assert len(data.validation) == n_validation
    for index in (data.train, data.validation):
        assert torch.equal(index, index.sort().values)
    together = torch.cat([data.train, data.validation])
    assert together.sort().values.tolist() == list(range(n))


def test_scaled_tables_are_gaussian():
    X = minmax_scale(load_digits().data[:100, 18:22])
    assert prepare(X)[0].likelihood == "gaussian"
    assert prepare(np.eye(10))[0].likelihood == "bernoulli"


class CountedRows(TensorDataset):
    """A dataset that counts how often each row is read."""

    def __init__(self, X):
        super().__init__(torch.from_numpy(X))
        self.n_reads = np.zeros(len(X), dtype=int)

    def __getitem__(self, i):
        self.n_reads[i] += 1
        return super().__getitem__(i)


@pytest.mark.parametrize("likelihood", ["auto", "poisson"])
@pytest.mark.parametrize("n_features", [3, 80])
def test_how_often_rows_are_read(likelihood, n_features, rng):
    dataset = CountedRows(rng.poisson(3.0, (40, n_features)))
    matrix = as_matrix(dataset)
    dataset.n_reads[:] = 0
    prepare(matrix, DataOptions(likelihood))
    # Statistics and features; of tables also bounds, columns of two values and units.
    assert (dataset.n_reads == (5 if likelihood == "auto" else 2)).all()


def reuse(data, X):
    """Return new data for a model of others."""
    n_features, discrete = data.samples.n_features, data.discrete
    config = ModelConfig(n_features, likelihood=data.likelihood, discrete=discrete)
    return TrainingData.reuse(X, data.standardizer, data.feature_map, config)


@pytest.mark.parametrize("kind", MAKERS)
def test_new_data_reuse_scaling_and_features(kind, tmp_path):
    X = load_digits().data[:100]
    data, _ = prepare(X)
    new = reuse(data, MAKERS[kind](X[:30], tmp_path))
    assert torch.equal(new.samples[:], data.samples[:30])
    assert torch.equal(new.features[:], data.features[:30])
    assert new.feature_map is data.feature_map
    assert new.train.tolist() == list(range(30))
    assert new.validation.numel() == 0
    assert new.summary.high == X[:30].max()


def test_new_data_have_the_discrete_columns_of_the_model(rng):
    X = np.column_stack([rng.standard_normal((60, 2)), rng.integers(0, 2, (60, 1))])
    data, _ = prepare(X)
    assert (data.likelihood, data.discrete) == ("mixed", ((2,),))
    # Of five rows none of the columns is known to be discrete.
    new = reuse(data, X[:5])
    assert new.discrete == data.discrete
    assert torch.equal(new.samples[:], data.samples[:5])


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
def test_rounding_errors_of_text_change_no_bit(make, rng):
    X = rng.random((90, 80)) * (rng.random((90, 80)) < 0.05)
    X[:, 3] = 0.0
    Z = X.copy()
    index = rng.choice(np.flatnonzero(X == 0), 20)
    Z.flat[index] = Z[7:9, 3] = 1e-9
    Z.flat[index[::2]] = -1e-9
    data, changed = prepare(make(X))[0], prepare(make(Z))[0]
    assert (data.kind.name, data.likelihood) == ("text", "bernoulli")
    assert same(changed, data)


@pytest.fixture
def calls(monkeypatch):
    """Return a list with an item for each time that features are fitted."""
    calls, function = [], training_data.choose_kind
    monkeypatch.setattr(
        training_data, "choose_kind", lambda *args: calls.append(1) or function(*args)
    )
    return calls


CASES = {
    "plain": (np.random.default_rng(0).random((90, 80)), DataOptions()),
    "image": (load_digits().data[:200], DataOptions(image_shape=(8, 8))),
    "text": (
        np.random.default_rng(0).poisson(0.05, (90, 80)).astype(float),
        DataOptions(),
    ),
    "roots": (load_digits().data[:200], DataOptions("poisson")),
    "log_shares": (
        np.random.default_rng(0).poisson(3.0, (90, 80)),
        DataOptions("negative_binomial", validation_fraction=0.1),
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
def test_stored_features_are_those_that_are_computed(
    case, make, calls, tmp_path, capfd
):
    X, options = CASES[case]
    expected, following = prepare(make(X), options)
    assert expected.feature_map.kind == case
    for n_runs in (1, 0):
        calls.clear()
        data, actual = prepare(make(X), options, memory=tmp_path)
        assert same(data, expected)
        assert actual == following
        assert len(calls) == n_runs
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["memmap", "dataset"])
def test_data_that_are_not_in_memory_are_not_stored(kind, tmp_path):
    X, options = CASES["plain"]
    for _ in range(2):
        data, _ = prepare(MAKERS[kind](X, tmp_path), options, memory=tmp_path)
        assert same(data, prepare(X, options)[0])
    assert not list(tmp_path.rglob("output.pkl"))


# Verbs, by which a fit reduces over rows


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_sums_are_those_of_all_rows_whatever_the_blocks(make, tmp_path, rng):
    X = rng.standard_normal((100, 4))
    data, _ = prepare(make(X, tmp_path), DataOptions(validation_fraction=0.2))

    def moments(rows):
        x = data.samples[rows].double()
        return x.sum(0), x.square().sum()

    for index in (data.train, data.all_rows, data.train[:0]):
        rows = None if index is data.train else index
        for block_size in (None, 7):
            result = data.sum(moments, rows, block_size=block_size)
            torch.testing.assert_close(result, moments(index))


def test_means_are_those_of_the_samples(rng):
    data, _ = prepare(rng.random((50, 3)))
    index = torch.tensor([3, 40, 7])
    mean = data.mean(data.samples.__getitem__, index)
    torch.testing.assert_close(mean, data.samples[index].mean(0))
    assert (data.mean(data.samples.__getitem__, index[:0]) == 0).all()


def test_scattered_values_are_at_their_samples(rng):
    data, _ = prepare(rng.random((50, 3)), DataOptions(validation_fraction=0.2))
    for index in (None, data.validation):
        rows = data.train if index is None else index
        values = data.scatter(rows[:, None] + 1.0, index)
        assert values.shape == (data.n_samples, 1)
        assert torch.equal(values[rows, 0], rows + 1.0)
        assert values.count_nonzero() == len(rows)


def test_counts_are_those_of_groups(rng):
    data, _ = prepare(rng.random((50, 3)), DataOptions(validation_fraction=0.2))
    group = torch.from_numpy(rng.integers(4, size=50))
    assert data.count(group, 5).tolist() == group.bincount(minlength=5).tolist()
    of_train = data.count(group, 5, data.train).tolist()
    assert of_train == group[data.train].bincount(minlength=5).tolist()


def test_drawn_samples_are_random_ones_of_the_index(rng, generator):
    data, _ = prepare(rng.random((50, 3)))
    index = torch.arange(10, 40)
    draws = [data.draw(8, index, generator) for _ in range(40)]
    assert all((draw.diff() > 0).all() for draw in draws)
    # Each is drawn at times, and none always.
    count = torch.cat(draws).bincount(minlength=50)
    assert (count > 0).tolist() == [10 <= i < 40 for i in range(50)]
    assert count.max() < 30
    assert torch.equal(data.draw(99, index, generator), index)
