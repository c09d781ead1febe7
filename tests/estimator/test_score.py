import numpy as np
import pytest

from sktreevae import TreeVAEClustering


class Density(TreeVAEClustering):
    def score_samples(self, X):
        return np.asarray(X, dtype=np.float32)


SCORES = [-3.0, -1.0, -8.0]


def test_the_score_is_the_mean():
    assert Density().score(SCORES) == -4.0


def test_a_weight_is_a_number_of_copies():
    repeated = Density().score(np.repeat(SCORES, [2, 0, 3]))
    assert Density().score(SCORES, sample_weight=[2, 0, 3]) == pytest.approx(repeated)


def test_equal_weights_change_nothing():
    weighted = Density().score(SCORES, sample_weight=[0.1, 0.1, 0.1])
    assert weighted == pytest.approx(Density().score(SCORES))


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
