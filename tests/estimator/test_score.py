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


@pytest.mark.parametrize("weights", [[1, 1], [[1, 1, 1]], 1])
def test_there_is_a_weight_for_each_sample(weights):
    with pytest.raises(ValueError, match=r"must have shape \(3,\), got \("):
        Density().score(SCORES, sample_weight=weights)


@pytest.mark.parametrize("weights", [[1, -1, 1], [1, np.nan, 1], [0, 0, 0]])
def test_weights_are_weights(weights):
    with pytest.raises(ValueError, match="must be finite, not negative, and not all"):
        Density().score(SCORES, sample_weight=weights)
