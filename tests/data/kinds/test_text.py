import numpy as np
import pytest
from scipy import sparse

from sktreevae.data.kinds.text import count_topics, fit_topics


@pytest.mark.parametrize(
    ("n_samples", "n_features", "n_topics"),
    [
        (11_314, 2000, None),
        (20_000, 2000, 500),
        (100_000, 2000, 335),
        (1_000_000, 2000, 200),
        (11_314, 2049, 500),
        (100, 5000, 99),
        (1, 5000, 1),
    ],
)
def test_features_of_text_are_as_many_as_fit(n_samples, n_features, n_topics):
    assert count_topics(n_samples, n_features) == n_topics


def random_rows(shape):
    """Return sparse rows, whose first three are the same, and the last is empty."""
    rows = sparse.random_array(shape, density=0.1, random_state=0).toarray()
    rows[1:3] = rows[0]
    rows[-1] = 0.0
    return sparse.csr_array(rows)


@pytest.mark.parametrize("shape", [(40, 300), (300, 40)])
def test_topics_are_the_singular_vectors(shape, rng):
    rows = random_rows(shape)
    topics = fit_topics(rows, 30, rng)
    expected = np.linalg.svd(rows.toarray())[2][:30].T
    # Up to their signs.
    np.testing.assert_allclose(np.abs(expected.T @ topics), np.eye(30), atol=1e-6)


def test_topics_without_variance_are_zero(rng):
    rows = random_rows((40, 300))
    topics = fit_topics(rows, 39, rng)
    expected = np.zeros(39)
    expected[:37] = 1.0  # the rank: of 40 rows, three are the same, and one is empty
    np.testing.assert_allclose(topics.T @ topics, np.diag(expected), atol=1e-12)
    np.testing.assert_allclose(rows @ topics @ topics.T, rows.toarray(), atol=1e-12)
