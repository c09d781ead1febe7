import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs
from torch.utils.data import TensorDataset

from sktreevae import TreeVAEClustering
from sktreevae.data import DataOptions, FeatureTable, Samples, TrainingData, as_matrix
from sktreevae.estimator.attributes import leaf_statistics
from sktreevae.graph import GraphOptions
from sktreevae.training.fitting import GROWTHS, make_growth
from sktreevae.training.growth import GrowthOptions
from sktreevae.utils.cache import Cache

from .cases import CONFIG, make_trainer

N_SAMPLES = 1500
MAX_ROWS = 1000


def recorded(method, sizes):
    def wrapper(self, rows):
        result = method(self, rows)
        sizes.append(len(result))
        return result

    return wrapper


@pytest.mark.parametrize("growth", GROWTHS)
def test_no_more_than_a_bounded_number_of_rows_is_read_at_once(growth, monkeypatch):
    for limit in ("growth.MAX_STATISTICS_ROWS", "initialization.MAX_MODEL_ROWS"):
        monkeypatch.setattr(f"sktreevae.training.{limit}", MAX_ROWS)
    X, _ = make_blobs(N_SAMPLES, 3, centers=3, random_state=0)
    rows = as_matrix(TensorDataset(torch.from_numpy(X)))
    trainer = make_trainer(max_iter=1)
    generators, cache = trainer.generators, Cache(None)
    data = TrainingData.prepare(
        rows, DataOptions(), generators.shared, generators.rng, cache
    )
    data.samples.chunk_size = data.features.chunk_size = 256
    sizes = []
    for kind in (Samples, FeatureTable):
        read = recorded(kind.__getitem__, sizes)
        monkeypatch.setattr(kind, "__getitem__", read)
    graph = GraphOptions(max_landmarks=500, n_micro_clusters=100, n_restarts=1)
    options = GrowthOptions(3, growth=growth, graph=graph)
    growth = make_growth(data, CONFIG, options, trainer, None, cache)
    trainer.fit(growth, lambda tree: leaf_statistics(tree.model, data))
    # Means and standard deviations are those of MAX_ROWS samples.
    assert max(sizes) <= MAX_ROWS < N_SAMPLES


@pytest.mark.parametrize("growth", GROWTHS)
def test_decisions_have_no_values_of_single_samples_and_no_reductions(
    growth, monkeypatch
):
    n_samples, shapes, inside = 151, [], []

    def spied(name):
        verb = getattr(TrainingData, name)

        def wrapper(data, *args, **kwargs):
            assert not inside
            inside.extend([name] * (name != "sum"))
            result = verb(data, *args, **kwargs)
            inside.clear()
            if name == "decide":
                parts = result if isinstance(result, tuple) else (result,)
                shapes.extend(map(np.shape, parts))
            return result

        return wrapper

    for name in ("decide", "scatter", "sum"):
        monkeypatch.setattr(TrainingData, name, spied(name))
    X, _ = make_blobs(n_samples, 3, centers=3, random_state=0)
    TreeVAEClustering(3, growth=growth, max_iter=1, random_state=0).fit(X)
    assert shapes
    assert not any(n_samples in shape for shape in shapes)
