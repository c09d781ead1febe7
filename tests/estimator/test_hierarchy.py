import pytest
from sklearn.exceptions import NotFittedError

from sktreevae import TreeVAEClustering


@pytest.mark.parametrize("name", ["children_", "distances_", "n_leaves_"])
def test_attributes_need_a_fit(name):
    with pytest.raises(NotFittedError):
        getattr(TreeVAEClustering(), name)
