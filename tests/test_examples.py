"""The examples run from beginning to end without a download, and draw something."""

import os
import runpy
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from sktreevae import TreeVAEClustering
from sktreevae.metrics import dendrogram_purity

EXAMPLES = Path(__file__).parents[1] / "examples"

SLOW = {"cifar_contrastive"}
"""Examples that only the build of the documentation runs."""


def is_blank(figure):
    """Tell whether all pixels of a figure have the same color."""
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba()).reshape(-1, 4)
    return bool((pixels == pixels[0]).all())


@pytest.fixture
def run_example(monkeypatch, capsys):
    """Return a function that runs an example, and returns its variables and output."""

    def run(name):
        blank = []

        def show():
            blank.extend(is_blank(plt.figure(number)) for number in plt.get_fignums())
            plt.close("all")

        monkeypatch.setattr(plt, "show", show)
        monkeypatch.delenv("SKTREEVAE_DATA", raising=False)
        variables = runpy.run_path(os.fspath(EXAMPLES / f"plot_{name}.py"))
        show()
        assert blank, "The example draws no figure."
        assert not any(blank)
        return variables, capsys.readouterr().out

    yield run
    plt.close("all")


@pytest.fixture
def limit_epochs(monkeypatch):
    """Return a function that sets the number of epochs, whatever `max_iter` is."""
    fit = TreeVAEClustering.fit

    def limit(max_iter):
        def fit_shortly(self, X, y=None):
            return fit(self.set_params(max_iter=max_iter), X, y)

        monkeypatch.setattr(TreeVAEClustering, "fit", fit_shortly)

    return limit


@pytest.fixture
def one_epoch(limit_epochs):
    """Train for one epoch."""
    limit_epochs(1)


@pytest.mark.usefixtures("one_epoch")
def test_digits_tree(run_example, tmp_path, monkeypatch):
    path = tmp_path / "tree.png"
    monkeypatch.setattr(sys, "argv", ["plot_digits_tree.py", "--save", str(path)])
    _, out = run_example("digits_tree")
    assert out.endswith(f"Figure saved to {path}\n")
    assert path.stat().st_size > 10_000


@pytest.mark.nightly
@pytest.mark.usefixtures("one_epoch")
def test_pipeline_grid_search(run_example):
    _, out = run_example("pipeline_grid_search")
    assert out.count("TreeVAEClustering") == out.count("AgglomerativeClustering") == 3


@pytest.mark.nightly
def test_explain_splits(run_example):
    found, out = run_example("explain_splits")
    assert len(found["displays"]) == 3
    assert "4 of 4 effects have the same sign" in out
    assert out.count("mostly") == found["model"].n_clusters_


@pytest.mark.nightly
def test_mnist_structure(run_example):
    _, out = run_example("mnist_structure")
    assert out.count("cluster 3") == 2


@pytest.mark.nightly
def test_blood_cells(run_example):
    found, _ = run_example("blood_cells")
    # Three lineages: NK cells are as T cells, progenitors as myeloid cells.
    names = found["group_names"][found["coarse"]]
    lineage = np.select([names == "B", np.isin(names, ["T", "NK"])], [0, 1], 2)
    assert dendrogram_purity(lineage, found["model"].dendrogram_) > 0.95


@pytest.mark.nightly
def test_outliers(run_example, limit_epochs):
    limit_epochs(5)
    _, out = run_example("outliers")
    auroc = {line.split()[0]: float(line.split()[-1]) for line in out.splitlines()}
    assert auroc["TreeVAE"] > max(auroc["IsolationForest"], 0.97)


@pytest.mark.nightly
def test_new_digits(run_example, limit_epochs):
    limit_epochs(8)
    found, _ = run_example("new_digits")
    assert min(found["back"]) >= 0.9
    assert found["variation"] <= 0.1


def test_mixed_table(run_example):
    found, _ = run_example("mixed_table")
    assert found["model"].likelihood_ == "mixed"
    species = found["table"]["species"]
    assert dendrogram_purity(species, found["model"].dendrogram_) > 0.9
    assert set(found["sampled"]["island"]) == set(found["table"]["island"])


@pytest.mark.nightly
@pytest.mark.usefixtures("one_epoch")
def test_fashion_flat_vae(run_example):
    _, out = run_example("fashion_flat_vae")
    assert "flat VAE" in out


@pytest.mark.nightly
@pytest.mark.usefixtures("one_epoch")
def test_topics(run_example):
    found, out = run_example("topics")
    assert "20 topics" in out
    assert len(found["names"]) == found["model"].n_clusters_
    assert found["ami"] > 0.6


@pytest.mark.nightly
@pytest.mark.usefixtures("one_epoch")
def test_watch_fit(run_example):
    pytest.importorskip("sklearn.callback")
    found, _ = run_example("watch_fit")
    assert len(found["curves"]) == 4


def test_all_examples_are_tested():
    names = {path.stem.removeprefix("plot_") for path in EXAMPLES.glob("plot_*.py")}
    assert {f"test_{name}" for name in names - SLOW} <= set(globals())


def test_data_is_small():
    size = sum(path.stat().st_size for path in (EXAMPLES / "data").iterdir())
    assert size < 2_500_000
