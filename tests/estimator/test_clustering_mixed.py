"""Tables of numeric and discrete columns."""

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import norm
from sklearn.datasets import load_digits, make_blobs
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import StandardScaler

from sktreevae import TreeVAEClustering

COLORS = np.eye(3)

DISCRETE = {
    "noise": lambda rng, y: rng.integers(0, 2, len(y)),
    "rare": lambda rng, y: rng.random(len(y)) < 0.1,
    "one-hot noise": lambda rng, y: np.eye(10)[rng.integers(0, 10, len(y))],
    "ordered noise": lambda rng, y: rng.integers(0, 5, len(y)),
    "informative": lambda rng, y: np.eye(3)[np.where(rng.random(len(y)) < 0.9, y, 0)],
}


NIGHTLY = {"rare", "ordered noise"}


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.nightly if kind in NIGHTLY else ())
        for kind in DISCRETE
    ],
)
def test_discrete_columns_do_not_cut_clusters(kind):
    rng = np.random.default_rng(0)
    X, y = make_blobs(400, n_features=3, centers=3, random_state=0)
    X = np.column_stack([StandardScaler().fit_transform(X), DISCRETE[kind](rng, y)])
    model = TreeVAEClustering(3, max_iter=10, random_state=0).fit(X)
    assert adjusted_rand_score(y, model.labels_) > 0.9


@pytest.fixture(scope="module")
def table():
    """Return two real columns, one of 2 and 5, and a one-hot encoding, in clusters.

    The third return value has the probability of 5, and of each category.
    """
    rng = np.random.default_rng(0)
    X, y = make_blobs(900, centers=3, cluster_std=0.5, random_state=3)
    share = np.array([[0.9], [0.2], [0.5]])
    colors = np.array([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8], [0.3, 0.4, 0.3]])
    is_high = rng.random(len(y)) < share[y, 0]
    color = [rng.choice(3, p=colors[k]) for k in y]
    X = np.column_stack([X, np.where(is_high, 5.0, 2.0), COLORS[color]])
    return X, y, np.hstack([share, colors])


@pytest.fixture(scope="module")
def model(table):
    return TreeVAEClustering(3, random_state=0).fit(table[0][:600])


def test_discrete_columns_are_found(model):
    assert model.likelihood_ == "mixed"
    assert model.module_.config.discrete == ((2,), (3, 4, 5))


def test_samples_are_rows_that_may_be_in_the_data(model, table):
    X, y, share = table
    sampled, labels = model.sample(3000)
    assert set(sampled[:, 2]) == {2.0, 5.0}
    assert set(map(tuple, sampled[:, 3:])) == set(map(tuple, COLORS))
    for k in range(3):
        (kind,) = set(y[:600][model.labels_ == k])
        rows = sampled[labels == k]
        mean = np.append((rows[:, 2] == 5).mean(), rows[:, 3:].mean(axis=0))
        np.testing.assert_allclose(mean, share[kind], atol=0.09)


def test_the_log_likelihood_is_near_that_of_the_clusters(model, table):
    # The parameters of the clusters are estimated from the training rows, which is all
    # that the model knows of them, too. The clusters don't overlap, so the density is
    # that of the own cluster.
    X, y, _ = table
    test, log_density = slice(600, None), np.zeros(300)
    for k in range(3):
        rows, of_k = X[:600][y[:600] == k], y[test] == k
        new = X[test][of_k]
        normal = norm(rows[:, :2].mean(axis=0), rows[:, :2].std(axis=0))
        density = normal.logpdf(new[:, :2]).sum(axis=1) + np.log(len(rows) / 600)
        high = (rows[:, 2] == 5).mean()
        density += np.log(np.where(new[:, 2] == 5, high, 1 - high))
        log_density[of_k] = density + np.log(new[:, 3:] @ rows[:, 3:].mean(axis=0))
    log_likelihood = model.log_likelihood(X[test], 60)
    assert log_likelihood.mean() == pytest.approx(log_density.mean(), abs=0.05)


def test_units_do_not_change_the_score_of_discrete_columns(model, table):
    # Doubling has no rounding errors, which training would amplify. Only the densities
    # of the two real columns have a unit.
    X = table[0][:600]
    doubled = TreeVAEClustering(3, random_state=0).fit(2.0 * X)
    expected = model.score(X) - 2.0 * np.log(2.0)
    assert doubled.score(2.0 * X) == pytest.approx(expected, abs=1e-6)


def test_other_values_count_as_the_nearest_ones(model, table):
    X = table[0][600:].copy()
    expected = model.score_samples(X)
    X[X[:, 2] == 5, 2] = 1e9
    X[X[:, 2] == 2, 2] = -1e9
    np.testing.assert_array_equal(model.score_samples(X), expected)


def test_reconstructions_are_probabilities(model, table):
    rows = model.reconstruct(table[0][600:])
    assert (rows[:, 2] >= 2).all()
    assert (rows[:, 2] <= 5).all()
    np.testing.assert_allclose(rows[:, 3:].sum(axis=1), 1.0, atol=1e-5)


def test_gray_levels_of_two_values_are_not_discrete():
    X = load_digits().data[:300]
    model = TreeVAEClustering(2, max_iter=1, random_state=0).fit(X)
    assert model.likelihood_ == "gaussian"


def test_tables_of_discrete_columns_alone():
    rng = np.random.default_rng(0)
    y = np.arange(300) % 2
    X = 1.0 - 2.0 * (rng.random((300, 12)) < np.where(y, 0.9, 0.1)[:, None])
    model = TreeVAEClustering(2, random_state=0).fit(X)
    assert model.likelihood_ == "mixed"
    assert adjusted_rand_score(y, model.labels_) > 0.95
    assert set(model.sample(50)[0].ravel()) == {-1.0, 1.0}


@pytest.mark.parametrize("kind", ["sparse", "image"])
def test_the_mixed_likelihood_is_for_tables(kind, table):
    X = np.hstack([table[0]] * 16)
    model = TreeVAEClustering(2, likelihood="mixed")
    if kind == "image":
        X = X[:, :64]
        model.set_params(image_shape=(8, 8))
    else:
        X = sparse.csr_array(X)
    with pytest.raises(ValueError, match="likelihood='mixed' needs a table, but X is"):
        model.fit(X)
