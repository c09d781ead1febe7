import numpy as np
import pytest

from sktreevae import TreeVAEClustering


class Density(TreeVAEClustering):
    def score_samples(self, X):
        return np.asarray(X, dtype=np.float32)


SCORES = [-3.0, -1.0, -8.0]


@pytest.mark.parametrize(
    ("weights", "expected"), [(None, -4.0), ([0.1] * 3, -4.0), ([2, 0, 3], -6.0)]
)
def test_the_score_is_the_weighted_mean(weights, expected):
    score = Density().score(SCORES, sample_weight=weights)
    assert score == pytest.approx(expected)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        *((w, r"must have shape \(3,\), got \(") for w in ([1, 1], [[1, 1, 1]], 1)),
        *(
            (w, "must be finite, not negative, and not all zero")
            for w in ([1, -1, 1], [1, np.nan, 1], [0, 0, 0])
        ),
    ],
)
def test_wrong_weights_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        Density().score(SCORES, sample_weight=weights)
