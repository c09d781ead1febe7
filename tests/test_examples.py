"""The examples run from beginning to end."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from sktreevae.metrics import dendrogram_purity

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def test_digits_tree(tmp_path, capsys):
    path = tmp_path / "tree.png"
    subprocess.run(
        [sys.executable, ROOT / "examples/plot_digits_tree.py", "--save", path],
        check=True,
        capture_output=True,
    )
    assert path.stat().st_size > 10_000


def test_pipeline_grid_search(capsys):
    runpy.run_path(str(ROOT / "examples/plot_pipeline_grid_search.py"))
    out = capsys.readouterr().out
    assert out.count("TreeVAEClustering") == out.count("AgglomerativeClustering") == 3


def test_explain_splits(capsys):
    found = runpy.run_path(str(ROOT / "examples/plot_explain_splits.py"))
    assert len(found["displays"]) == 3
    out = capsys.readouterr().out
    assert "4 of 4 effects have the same sign" in out
    assert out.count("mostly") == found["model"].n_clusters_


def test_mnist_structure(data_dir, monkeypatch, capsys):
    monkeypatch.setenv("SKTREEVAE_DATA", os.fspath(data_dir))
    runpy.run_path(str(ROOT / "examples/plot_mnist_structure.py"))
    assert capsys.readouterr().out.count("cluster 3") == 2


def test_blood_cells(data_dir, monkeypatch, capsys):
    monkeypatch.setenv("SKTREEVAE_DATA", os.fspath(data_dir))
    found = runpy.run_path(str(ROOT / "examples/plot_blood_cells.py"))
    assert capsys.readouterr().out.count(" of ") == found["model"].n_clusters_
    # Three lineages: NK cells are as T cells, progenitors as myeloid cells.
    names = found["group_names"][found["coarse"]]
    lineage = np.select([names == "B", np.isin(names, ["T", "NK"])], [0, 1], 2)
    assert dendrogram_purity(lineage, found["model"].dendrogram_) > 0.9


def test_outliers(data_dir, tmp_path, monkeypatch, capsys):
    # With fewer images it takes seconds.
    for file in ("mnist.npz", "fashion_mnist.npz"):
        with np.load(data_dir / file) as data:
            sizes = {"X_train": 1000, "y_train": 1000, "X_test": 250, "y_test": 250}
            np.savez(tmp_path / file, **{k: data[k][:n] for k, n in sizes.items()})
    monkeypatch.setenv("SKTREEVAE_DATA", os.fspath(tmp_path))
    runpy.run_path(str(ROOT / "examples/plot_outliers.py"))
    lines = capsys.readouterr().out.splitlines()
    auroc = {line.split()[0]: float(line.split()[-1]) for line in lines}
    assert auroc["TreeVAE"] > max(auroc["IsolationForest"], 0.98)


def test_new_digits(data_dir, monkeypatch, capsys):
    monkeypatch.setenv("SKTREEVAE_DATA", os.fspath(data_dir))
    found = runpy.run_path(str(ROOT / "examples/plot_new_digits.py"))
    assert min(found["back"]) >= 0.9
    assert found["variation"] <= 0.1
