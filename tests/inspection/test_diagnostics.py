import copy
import json
import warnings
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.datasets import load_digits, make_blobs
from sklearn.exceptions import ConvergenceWarning

from sktreevae import Dendrogram, TreeVAEClustering
from sktreevae.exceptions import OutlierWarning, UnsupportedClustersWarning
from sktreevae.graph import NeighborGraph, split_p_values
from sktreevae.inspection.diagnostics import CATEGORIES, Finding, add_p_values
from sktreevae.inspection.effects import GroupMoments
from sktreevae.inspection.explanation import leaf_moments
from sktreevae.model import DiagonalGaussian

from ..training.cases import make_data as training_data


def make_data(n_samples, seed=0):
    """Return four clusters whose features are correlated."""
    centers = 12.0 * np.eye(4, 6)
    X, y = make_blobs(n_samples, centers=centers, random_state=seed)
    mixing = np.random.default_rng(1).normal(size=(6, 6))
    return centers[y] + (X - centers[y]) @ mixing, y


@pytest.fixture(scope="module")
def fitted():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return TreeVAEClustering(4, random_state=0).fit(make_data(400)[0])


@pytest.fixture(scope="module")
def unsupported():
    """Return a model of two clusters with four leaves, and the warnings of its fit."""
    X = np.random.default_rng(0).standard_normal((400, 3))
    X[:200, 0] += 20.0
    with pytest.warns(UnsupportedClustersWarning) as caught:
        model = TreeVAEClustering(4, max_iter=30, random_state=1).fit(X)
    return model, [str(warning.message) for warning in caught]


@pytest.fixture
def model(fitted):
    """Return a copy that a test may spoil."""
    return copy.deepcopy(fitted)


def find(findings, name):
    (finding,) = [finding for finding in findings if finding.name == name]
    return finding


def with_leaf_sizes(tree, sizes):
    """Return a tree with other numbers of samples in the leaves."""
    labels = np.repeat(np.arange(tree.n_clusters), sizes)
    return Dendrogram(tree.parent, tree.height, labels)


@torch.no_grad()
def collapse(model, node):
    """Let the posterior of a node be its prior."""
    module, n = model.module_, model.latent_dim
    weight = torch.zeros(module.config.head_dim, n)
    flat = DiagonalGaussian(torch.zeros(n), torch.full((n,), 1e6))
    module.init_head(node, weight, flat)


def test_p_values_are_those_of_the_nodes(rng):
    # Leaf 0 is far from leaves 1 and 2, which are halves of one Gaussian.
    X = rng.standard_normal((900, 3))
    X[:300, 0] += 30.0
    labels = np.repeat([0, 1, 2], 300)
    tree = Dendrogram([-1, 0, 0, 2, 2], [9, 0, 4, 0, 0], labels)
    assert np.isnan(tree.p_values).all()
    data = training_data(X)
    add_p_values(tree, data, np.random.default_rng(0))
    merges = np.array([[1, 2], [0, 3]])
    expected = split_p_values(data.features, labels, merges, np.random.default_rng(0))
    np.testing.assert_array_equal(tree.p_values[[2, 0]], expected)
    assert tree.p_values[0] < 1e-9
    assert tree.p_values[2] > 0.05
    assert np.isnan(tree.p_values[tree.leaves]).all()
    assert tree.to_pandas()["p_values"].notna().sum() == 2


def test_a_fit_finds_the_p_values_of_its_splits(model):
    tree = model.dendrogram_
    assert ((tree.p_values < 0.05) == (tree.leaf_label < 0)).all()
    assert ((tree.excess_costs >= 0) == (tree.leaf_label < 0)).all()
    model.partial_fit(make_data(50)[0])
    np.testing.assert_array_equal(model.dendrogram_.p_values, tree.p_values)


def test_a_good_fit_has_no_findings(fitted, capsys):
    assert fitted.diagnose() == []
    assert fitted.diagnose(make_data(400)[0]) == []
    assert fitted.diagnose(make_data(400, seed=1)[0]) == []
    assert capsys.readouterr() == ("", "")


def test_all_posteriors_collapse(model):
    for node in range(7):
        collapse(model, node)
    for X in (None, make_data(100)[0]):
        finding = find(model.diagnose(X), "posterior collapse")
        assert finding.nodes == tuple(model.dendrogram_.leaves)
        assert max(finding.numbers["kl"]) < 1e-3
        assert "clusters 0, 1, 2, 3 hold at most" in finding.problem
        assert "n_clusters" in finding.remedy
        assert "likelihood" not in finding.remedy


def test_a_collapse_with_soft_targets_names_the_likelihood():
    X = load_digits().data[:200] / 16
    model = TreeVAEClustering(2, likelihood="bernoulli", max_iter=5, random_state=0)
    model.fit(X)
    for node in range(3):
        collapse(model, node)
    finding = find(model.diagnose(), "posterior collapse")
    assert "likelihood='gaussian'" in finding.remedy


@pytest.mark.parametrize("split", range(3))
def test_a_router_is_undecided(model, split):
    with torch.no_grad():
        for parameter in model.module_.top_down.q_routers.parameters():
            parameter[split] = 0.0
    for X in (None, make_data(100)[0]):
        finding = find(model.diagnose(X), "undecided routers")
        assert finding.nodes == (model.dendrogram_.internal_nodes[split],)
        assert finding.numbers["certainty"] == pytest.approx((0.5,))
        assert f"decisions at node {finding.nodes[0]} are uncertain" in finding.problem
        assert "n_clusters" in finding.remedy


def test_one_cluster_has_nearly_all_samples(model):
    model.dendrogram_ = with_leaf_sizes(model.dendrogram_, [3, 190, 4, 3])
    (finding,) = model.diagnose()
    assert finding.name == "imbalance"
    assert finding.nodes == (model.dendrogram_.leaves[1],)
    assert finding.numbers["share"] == 0.95
    assert "Cluster 1 has 95.0% of the samples" in finding.problem
    assert "min_cluster_size" in finding.remedy


def test_two_clusters_are_the_same(fitted, monkeypatch):
    moments = leaf_moments(fitted)
    mean = moments.mean.copy()
    mean[3] = mean[1] + 0.1 * np.sqrt(moments.variance[1] / mean.shape[1])
    variance = moments.variance[[0, 1, 2, 1]]
    monkeypatch.setattr(
        "sktreevae.inspection.diagnostics.leaf_moments",
        lambda _: GroupMoments(mean, variance, moments.weight),
    )
    finding = find(fitted.diagnose(), "near-duplicate clusters")
    assert finding.nodes == tuple(fitted.dendrogram_.leaves[[1, 3]])
    assert finding.numbers["distance"] == pytest.approx(0.1)
    assert "Clusters 1 and 3 generate nearly the same" in finding.problem
    assert "n_clusters" in finding.remedy


def test_a_cluster_has_no_training_samples(model):
    X, y = make_data(400)
    model.partial_fit(X[y != 2])
    finding = find(model.diagnose(), "empty clusters")
    empty = np.setdiff1d(range(4), model.labels_)
    assert finding.nodes == tuple(model.dendrogram_.leaves[empty])
    assert f"No training samples are assigned to cluster {empty[0]}." in finding.problem
    assert "partial_fit" in finding.remedy


def test_a_cluster_has_no_rows(model):
    X, y = make_data(400, seed=1)
    finding = find(model.diagnose(X[y != 2]), "empty clusters")
    assert "No rows of X are assigned to" in finding.problem
    # Too few rows to expect one of each cluster.
    assert model.diagnose(X[y != 2][:20]) == []


def names(findings):
    return [finding.name for finding in findings]


def test_noise_is_overfitted(rng):
    X = rng.standard_normal((500, 30))
    X[:, 0] += np.where(np.arange(500) % 2, 20.0, 0.0)
    model = TreeVAEClustering(2, max_iter=100, random_state=0).fit(X[:60])
    assert "overfitting" not in names(model.diagnose(X[:60]))
    finding = find(model.diagnose(X[60:]), "overfitting")
    numbers = finding.numbers
    assert numbers["elbo"] == pytest.approx(np.median(model.score_samples(X[60:])))
    assert numbers["training_elbo"] == model.lower_bound_
    assert numbers["gain"] < 0 < numbers["training_gain"]
    assert "early_stopping=True" in finding.remedy
    assert "weight_decay" in finding.remedy


def test_rows_in_other_units_are_unlike_the_training_samples():
    X, _ = make_blobs(200, n_features=4, centers=3, random_state=0)
    model = TreeVAEClustering(3, random_state=0).fit(X)
    for rows in (1000 * X, X + 500, X[:, ::-1] * [1, 10, 100, 1000]):
        finding = find(model.diagnose(rows), "unlike rows")
        assert finding.numbers["elbo"] < finding.numbers["training_elbo"] - 40
        assert "units" in finding.remedy
        assert "overfitting" not in names(model.diagnose(rows))
    assert "unlike rows" not in names(model.diagnose(X))


def test_counts_do_not_overfit(rng):
    rate = rng.gamma(2.0, 1.0, (2, 20)).repeat(150, axis=0)
    X = rng.poisson(rate).astype(float)
    settings = {"likelihood": "negative_binomial", "max_iter": 20, "random_state": 0}
    model = TreeVAEClustering(2, **settings).fit(X[::2])
    for convert in (np.asarray, sparse.csr_array):
        assert "overfitting" not in names(model.diagnose(convert(X[1::2])))


def test_warnings_of_fit_are_findings(unsupported):
    model, messages = unsupported
    finding = find(model.diagnose(), "unsupported splits")
    assert messages == [finding.message]
    assert "support 2 of the 4 clusters" in finding.message
    tree = model.dendrogram_
    assert tree.is_supported[tree.internal_nodes].sum() == 1
    assert finding.nodes == tuple(np.flatnonzero(~tree.is_supported))
    assert finding.numbers["n_supported"] == 2
    assert finding.numbers["p_values"] == tuple(tree.p_values[list(finding.nodes)])
    assert "n_clusters=None" in finding.remedy


def test_an_estimated_number_may_lack_support(monkeypatch, rng):
    monkeypatch.setattr(NeighborGraph, "estimate_n_clusters", lambda *_: 3)
    model = TreeVAEClustering(None, max_iter=1, random_state=0)
    with pytest.warns(UnsupportedClustersWarning, match="1 of the 3 .* Cut the tree"):
        model.fit(rng.standard_normal((100, 2)))


@pytest.mark.parametrize("category", sorted({c.__name__ for c in CATEGORIES.values()}))
def test_warnings_of_fit_are_documented(category):
    _, _, warns = TreeVAEClustering.fit.__doc__.partition("Warns\n")
    assert category in warns.split()


def test_missing_clusters_are_a_finding(rng):
    X = rng.standard_normal((3, 2)).repeat(20, axis=0)
    model = TreeVAEClustering(4, random_state=0)
    with pytest.warns(ConvergenceWarning, match="smaller than n_clusters"):
        model.fit(X)
    finding = find(model.diagnose(), "missing clusters")
    assert finding.numbers["n_clusters"] == model.n_clusters_
    assert "X has duplicates" in finding.remedy


def test_outliers_are_a_finding_which_is_saved(tmp_path):
    X, _ = make_data(200)
    X[0, 0] = 1e6
    with pytest.warns(OutlierWarning) as caught:
        model = TreeVAEClustering(4, random_state=0).fit(X)
    finding = find(model.diagnose(), "outliers")
    assert finding.message in [str(w.message) for w in caught]
    model.save(tmp_path / "model")
    assert TreeVAEClustering.load(tmp_path / "model").diagnose() == model.diagnose()
    assert finding.numbers == {"n_features": 1}


def test_outliers_have_the_names_of_a_frame():
    X, _ = make_data(50)
    X[7, 1] = 1e6
    names = [f"row {i}" for i in range(len(X))]
    X = pd.DataFrame(X, names).rename(columns="column {}".format)
    with pytest.warns(OutlierWarning, match="'column 1', sample row 7: 1e\\+06"):
        TreeVAEClustering(2, max_iter=1, random_state=0).fit(X)


def test_a_finding_is_plain_values(model):
    for node in range(7):
        collapse(model, node)
    model.dendrogram_ = with_leaf_sizes(model.dendrogram_, [0, 190, 4, 3])
    findings = model.diagnose()
    assert len(findings) == 3
    for finding in findings:
        assert Finding(**json.loads(json.dumps(asdict(finding)))).message
        assert finding.category is UserWarning
        assert repr(finding) == f"<Finding {finding.name}: {finding.message}>"


def test_a_single_cluster_is_diagnosed(rng):
    X = rng.standard_normal((200, 3))
    assert TreeVAEClustering(1, max_iter=5, random_state=0).fit(X).diagnose() == []


def test_mixed_tables_are_diagnosed(rng):
    X, y = make_data(300)
    X = np.column_stack([X, rng.random(300) < np.array([0.1, 0.9, 0.1, 0.9])[y]])
    model = TreeVAEClustering(4, max_iter=20, random_state=0).fit(X[:200])
    assert model.likelihood_ == "mixed"
    assert model.diagnose() == model.diagnose(X[200:]) == []
    root, in_rows = (model.explain(0, rows, n_features=None) for rows in (None, X))
    column = np.flatnonzero(root.features == 6)
    np.testing.assert_allclose(
        root.left_mean[column], in_rows.left_mean[in_rows.features == 6], atol=0.1
    )
