import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.decomposition import PCA

from sktreevae.data import DataSummary, Samples, Standardizer, resolve_likelihood
from sktreevae.data.kinds import Observations, choose_kind
from sktreevae.data.kinds.images import N_GRADIENT_COMPONENTS, PIXEL_SHARE
from sktreevae.exceptions import AmbiguousKindWarning


def map_of(X, image_shape=None, seed=0, counts=False):
    columns = None if image_shape is None else slice(None)
    summary = DataSummary.from_matrix(X, columns=columns)
    is_image = image_shape is not None
    name = "poisson" if counts else "auto"
    likelihood = resolve_likelihood(summary, name, is_image)
    standardizer = Standardizer.fit(summary, likelihood, is_image)
    samples = Samples(X, standardizer, likelihood=likelihood)
    rng = np.random.default_rng(seed)
    data = Observations(samples, summary, image_shape)
    feature_map = choose_kind("auto", data, rng).fit_features(data, rng)
    return feature_map, samples.map(feature_map).numpy()


def topics(n=200, n_terms=300, n_topics=4, n_words=20, seed=0):
    """Documents of a few words each, as counts; some terms are in none."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_topics
    share = rng.dirichlet(np.full(n_terms, 0.05), n_topics)
    X = np.stack([rng.multinomial(n_words, share[k]) for k in y])
    return sparse.csr_array(X.astype(float)), y


@pytest.mark.parametrize("X", [load_iris().data, load_digits().data, load_wine().data])
def test_features_have_a_mean_square_length_of_one(X):
    _, result = map_of(X)
    assert np.square(result).sum(axis=1).mean() == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize("factor", [1e-20, 1.0, 1e20])
def test_distances_are_those_of_the_data_where_units_agree(factor):
    X = load_iris().data
    _, result = map_of(factor * X)
    expected = X - X.mean(axis=0)
    expected /= np.sqrt(np.square(expected).sum(axis=1).mean())
    np.testing.assert_allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize("n_discrete", [0, 1, 4])
def test_two_features_of_different_units_are_standardized(n_discrete, rng):
    group = rng.integers(0, 3, 300)
    income = rng.normal(20_000 + 30_000 * group, 10_000)
    age = rng.normal(25 + 20 * group, 4)
    discrete = rng.integers(0, 2, (300, n_discrete))
    feature_map, result = map_of(np.column_stack([income, age, discrete]))
    assert feature_map.kind == "standardized"
    assert result[:, 0].std() == pytest.approx(result[:, 1].std(), rel=0.3)


def test_noise_of_small_scale_stays_small(rng):
    signal = 50 * np.repeat(np.eye(2), 100, axis=0) + rng.standard_normal((200, 2))
    X = np.hstack([signal, rng.standard_normal((200, 30))])
    _, result = map_of(X)
    assert result[:, 2:].std() < 0.1 * result[:, :2].std()


def test_many_features_become_principal_components(rng):
    X = rng.standard_normal((300, 100)) * np.geomspace(3, 1, 100)
    feature_map, result = map_of(X)
    assert (feature_map.kind, result.shape[1]) == ("plain", 50)
    expected = PCA(50).fit_transform(X)
    expected /= np.sqrt(np.square(expected).sum(axis=1).mean())
    actual = np.linalg.norm(result[:, None] - result, axis=2)
    np.testing.assert_allclose(
        actual, np.linalg.norm(expected[:, None] - expected, axis=2), atol=0.02
    )


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def weighted_terms(X):
    """Return text features of all terms, by their definition."""
    roots = unit(np.sqrt(X))
    std = roots.std(axis=0)
    rows = unit(np.divide(roots, np.sqrt(std), where=std > 0, out=np.zeros_like(roots)))
    return unit(rows - rows.mean(axis=0))


@pytest.mark.parametrize("as_dense", [False, True])
def test_counts_that_are_mostly_zero_are_text(as_dense):
    X, _ = topics()
    feature_map, result = map_of(X.toarray() if as_dense else X)
    assert (feature_map.kind, feature_map.projection) == ("text", None)
    expected = weighted_terms(X.toarray())[:, X.sum(axis=0) > 0]
    np.testing.assert_allclose(result, expected, atol=2e-4)


def test_rounding_errors_of_counts_of_terms_have_no_weight():
    X = topics()[0].toarray()
    expected = map_of(X)[1]
    X[0, np.flatnonzero(X[0] == 0)[:2]] = -1e-9, 1e-9
    feature_map, result = map_of(X * (1 + 2.3e-16))
    assert feature_map.kind == "text"
    np.testing.assert_allclose(result, expected, atol=1e-5)


def test_text_of_many_terms_is_reduced():
    X, _ = topics(n=100, n_terms=20_000, n_words=200)
    _, result = map_of(X)
    assert result.shape[1] == 99
    expected = weighted_terms(X.toarray())
    cosine = (result @ result.T).ravel(), (expected @ expected.T).ravel()
    assert np.corrcoef(*cosine)[0, 1] > 0.98


@pytest.mark.parametrize("counts", [True, False])
def test_sparse_and_dense_rows_have_the_same_features(counts):
    X = topics()[0].toarray() if counts else load_digits().data[:200]
    _, dense = map_of(X, counts=counts)
    _, from_sparse = map_of(sparse.csr_array(X), counts=counts)
    np.testing.assert_allclose(from_sparse, dense, atol=1e-5)


def test_text_of_many_terms_is_not_made_dense(monkeypatch):
    X = sparse.random_array((300, 70_000), density=0.001, random_state=0, format="csr")
    shapes, toarray = [], sparse.csr_array.toarray

    def recorded(self, *args, **kwargs):
        shapes.append(self.shape)
        return toarray(self, *args, **kwargs)

    monkeypatch.setattr(sparse.csr_array, "toarray", recorded)
    assert map_of(X)[0].kind == "text"
    assert 0 < max(map(np.prod, shapes)) <= 256 * 70_000


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("fill", [0.0, 0.5])
def test_half_precision_has_features_without_warnings(fill, rng):
    # Of more than 64 features, text is told by a bound beyond the range of float16.
    X = rng.random((100, 80)).astype(np.float16) * (rng.random((100, 80)) >= fill)
    assert np.isfinite(map_of(X)[1]).all()
    assert np.isfinite(map_of(np.zeros((3, 65), dtype=np.float16))[1]).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("n_features", [3, 80])
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
def test_large_values_have_features_without_warnings(n_features, make, rng):
    X = rng.standard_normal((60, n_features))
    assert np.isfinite(map_of(make(1e100 * X))[1]).all()
    X[0, 0] = 1e100
    assert np.isfinite(map_of(make(X))[1]).all()


def test_values_too_large_to_add_are_not_text():
    X, _ = topics()
    assert map_of(X)[0].kind == "text"
    assert map_of(1e37 * X)[0].kind != "text"
    assert map_of(-X)[0].kind != "text"


@pytest.mark.parametrize("n_channels", [1, 3])
def test_components_of_images_are_whitened_halfway(n_channels, rng):
    X = rng.random((900, 64 * n_channels))
    feature_map, result = map_of(X, image_shape=(8, 8, n_channels))
    assert feature_map.kind == "image"
    np.testing.assert_allclose(np.linalg.norm(result, axis=1), 1.0, rtol=1e-5)
    raw = feature_map.raw(torch.tensor(X, dtype=torch.float32)).numpy()
    features = (raw - raw.mean(axis=0)) @ feature_map.projection.numpy()
    gradients = features[:, :N_GRADIENT_COMPONENTS]
    std = (
        PCA(N_GRADIENT_COMPONENTS)
        .fit(raw[:, : feature_map.raw_features.gradients.n_outputs])
        .explained_variance_
        ** 0.5
    )
    np.testing.assert_allclose(gradients.var(axis=0), std / std.sum(), rtol=0.05)
    pixels = features[:, N_GRADIENT_COMPONENTS:]
    assert pixels.shape[1] == (n_channels == 3) * PIXEL_SHARE * N_GRADIENT_COMPONENTS
    expected = 0.25 if n_channels == 3 else 0.0
    assert np.square(pixels).sum(axis=1).mean() == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize("n", [1, 3, 40])
def test_few_images_have_few_components(n, rng):
    _, result = map_of(rng.random((n, 64)), image_shape=(8, 8))
    assert result.shape[1] == max(1, n // 4)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("n_features", [1, 2, 100])
def test_few_and_empty_rows_have_features(n, n_features, rng):
    _, result = map_of(rng.standard_normal((n, n_features)))
    assert result.shape[0] == n
    assert np.isfinite(result).all()
    nothing = np.zeros((20, n_features), dtype=int)
    assert np.isfinite(map_of(nothing, counts=True)[1]).all()


def test_counts_of_many_features_are_compared_by_their_shares(rng):
    share = rng.dirichlet(np.ones(100), 2)
    X = rng.poisson(
        np.repeat([2000, 9000, 2000, 9000], 50)[:, None] * share[[0, 1] * 100]
    )
    feature_map, result = map_of(X, counts=True)
    assert (feature_map.kind, result.shape[1]) == ("log_shares", 51)
    distance = np.linalg.norm(result[:, None, :-1] - result[:, :-1], axis=2)
    same = np.equal.outer(np.arange(200) % 2, np.arange(200) % 2)
    assert distance[same].max() < distance[~same].min()
    total = np.log1p(X.sum(axis=1))
    assert np.corrcoef(result[:, -1], total)[0, 1] == pytest.approx(1.0, abs=1e-4)
    assert np.square(result[:, -1]).mean() == pytest.approx(0.04, rel=1e-3)


def test_counts_of_few_features_are_compared_by_their_roots(rng):
    X = rng.poisson(9.0, (50, 3))
    _, result = map_of(X, counts=True)
    expected = np.sqrt(X) - np.sqrt(X).mean(axis=0)
    expected /= np.sqrt(np.square(expected).sum(axis=1).mean())
    np.testing.assert_allclose(result, expected, atol=1e-5)


def embeddings(rng, n=60, n_features=80):
    """Rows of unit length around a common direction, as those of sentences."""
    X = rng.standard_normal((n, n_features)) + 0.5
    return X / np.linalg.norm(X, axis=1, keepdims=True)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_embeddings_are_compared_by_the_directions_from_their_mean(dtype, rng):
    X = embeddings(rng)
    feature_map, result = map_of(X.astype(dtype))
    assert feature_map.kind == "directions"
    expected = X - X.mean(axis=0)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    atol = 2e-2 if dtype == np.float16 else 1e-4
    np.testing.assert_allclose(result, expected, atol=atol)


@pytest.mark.parametrize(
    "change",
    [
        lambda X: X[:, :64],
        lambda X: np.abs(X),
        lambda X: X * np.linspace(0.9, 1.1, len(X))[:, None],
        lambda X: X + 1000.0 * np.eye(1, X.shape[1]),
    ],
    ids=["few features", "one sign", "other lengths", "a large column"],
)
def test_other_rows_are_no_embeddings(change, rng):
    assert map_of(change(embeddings(rng)))[0].kind != "directions"


@pytest.mark.parametrize("factor", [1e-3, 2.0])
def test_embeddings_may_have_any_length(factor, rng):
    X = embeddings(rng)
    feature_map, result = map_of(factor * X)
    assert feature_map.kind == "directions"
    np.testing.assert_allclose(result, map_of(X)[1], atol=1e-5)
    for other in (0.0, 1.5):  # of one row
        feature_map, result = map_of(X * np.append(np.ones(59), other)[:, None])
        assert feature_map.kind == "directions"
        assert np.isfinite(result).all()


def test_a_close_call_names_the_parameter(rng):
    X = embeddings(rng)
    X[: len(X) // 4] *= np.linspace(1.1, 2, len(X) // 4)[:, None]
    with pytest.warns(AmbiguousKindWarning, match="kind='embeddings', or kind='table'"):
        assert map_of(X)[0].kind == "directions"


def amounts(rng, n=200, n_features=120):
    """Rows of two kinds and of any length, of which a half is zero."""
    kinds = rng.random((2, n_features)) * (rng.random((2, n_features)) < 0.5)
    return rng.uniform(0.1, 1, (n, 1)) * kinds[np.arange(n) % 2]


def test_amounts_are_compared_by_their_shares(rng):
    X = amounts(rng)
    feature_map, result = map_of(X)
    assert feature_map.kind == "unit"
    expected = unit(X) - unit(X).mean(axis=0)
    distance = np.linalg.norm(expected[:, None] - expected, axis=2)
    distance /= np.sqrt(np.square(expected).sum(axis=1).mean())
    actual = np.linalg.norm(result[:, None] - result, axis=2)
    np.testing.assert_allclose(actual, distance, rtol=5e-3, atol=1e-3)


@pytest.mark.parametrize(
    "change",
    [lambda X: X[:, :64], lambda X: X + 0.1, lambda X: X - 0.01, lambda X: -X],
    ids=["few features", "no zeros", "negative values", "no amounts"],
)
def test_other_tables_are_no_amounts(change, rng):
    assert map_of(change(amounts(rng)))[0].kind in ("plain", "standardized")


def test_equal_values_of_a_column_have_equal_features(rng):
    # Also beside columns that differ: exact products would round by row.
    group = rng.integers(0, 3, 300)
    X = np.column_stack([rng.standard_normal((300, 2)) + 3.0 * group[:, None], group])
    _, result = map_of(X)
    assert len(np.unique(result[:, 2])) == 3
