"""Numbers that users of tables take at their word: probabilities, densities, clusters.

- ``overlap``: log-loss on two Gaussians above that of the true posterior.
- ``calibration``: calibration error on held-out rows of real data, beside a Gaussian
  mixture and, after ``pip install hdbscan``, soft HDBSCAN of principal components.
- ``density``: held-out log-density beside a Gaussian mixture and a flat VAE, and the
  standard deviation of samples relative to that of the data, within clusters.
- ``mixed``: adjusted Rand index on tables of numeric and discrete columns, beside
  Ward's method and k-means on standardized columns.
- ``binary``: the same on tables of columns of 0 and 1 alone.
- ``tails``: the same on blobs with noise of heavy tails, beside HDBSCAN as well.
- ``cell``: adjusted Rand index with the clusters before one value was multiplied by up
  to 1e20, the lowest over all columns, and how many clusters there are more.

With --plot, reliability curves are drawn from the records of ``calibration``.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import numpy as np
from generated import MIXED_KINDS, make_binary, make_mixed
from quality import load
from records import append, publish, read, summarize
from scipy.special import expit
from sklearn.cluster import HDBSCAN, AgglomerativeClustering, KMeans
from sklearn.datasets import (
    load_breast_cancer,
    load_digits,
    load_iris,
    load_wine,
    make_blobs,
    make_moons,
)
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score, log_loss
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from sktreevae import TreeVAEClustering

KEYS = {"part": "part", "data": "data", "method": "method"}
METRICS = {
    "log_loss": ("log-loss above truth", 3),
    "accuracy": ("accuracy", 3),
    "confidence": ("confidence", 3),
    "calibration_error": ("ECE", 3),
    "log_density": ("nats a feature", 3),
    "width": ("width, median", 2),
    "max_width": ("width, largest", 2),
    "ari": ("ARI", 3),
    "n_more": ("more clusters", 0),
}

N_PEER_COMPONENTS = 20
"""Number of principal components that other soft clusterings read."""

N_BINS = 15
"""Number of bins of the calibration error."""

CALIBRATED = {
    "digits": 10,
    "digits-images": 10,
    "mnist-10k": 10,
    "mnist-images-10k": 10,
    "fashion-images-10k": 10,
}
"""Real data of the calibration, and the number of leaves."""


def fit(X: np.ndarray, n_clusters: int, seed: int, **options) -> TreeVAEClustering:
    """Fit the estimator without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = TreeVAEClustering(n_clusters, random_state=seed, n_jobs=1, **options)
        return model.fit(X)


def two_gaussians(
    n_samples: int, distance: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return two unit Gaussians in the plane, and the component of each row."""
    y = np.arange(n_samples) % 2
    X = np.random.default_rng(seed).standard_normal((n_samples, 2))
    X[:, 0] += distance * y
    return X, y


def matched_log_loss(y: np.ndarray, proba: np.ndarray) -> float:
    """Return the log-loss of two clusters in the better order."""
    return min(log_loss(y, proba), log_loss(y, proba[:, ::-1]))


def reliability(confidence: np.ndarray, is_right: np.ndarray) -> np.ndarray:
    """Return rows, mean confidence and accuracy of bins of equal width, (N_BINS, 3).

    Confidence and accuracy of bins without rows are 0.
    """
    bins = np.minimum((confidence * N_BINS).astype(int), N_BINS - 1)
    count, *sums = (
        np.bincount(bins, weights, N_BINS) for weights in (None, confidence, is_right)
    )
    return np.stack([count, *(total / np.maximum(count, 1) for total in sums)], axis=1)


def calibration_error(confidence: np.ndarray, is_right: np.ndarray) -> float:
    """Return the expected calibration error over bins of equal width."""
    count, confidence, accuracy = reliability(confidence, is_right).T
    return float(np.average(np.abs(confidence - accuracy), weights=count))


def overlap(seed: int, data_dir: Path) -> Iterator[dict]:
    """Measure probabilities of clusters that overlap."""
    del data_dir
    for distance in (1.0, 1.5, 2.0, 3.0):
        X, _ = two_gaussians(1000, distance, seed)
        X_test, y = two_gaussians(4000, distance, 100 + seed)
        right = expit(distance * (X_test[:, 0] - distance / 2))
        truth = matched_log_loss(y, np.c_[1 - right, right])
        models = {
            "TreeVAE": fit(X, 2, seed),
            "TreeVAE, iterative": fit(X, 2, seed, growth="iterative"),
            "GaussianMixture": GaussianMixture(2, random_state=seed).fit(X),
        }
        for method, model in models.items():
            proba = model.predict_proba(X_test).astype(np.float64)
            excess = matched_log_loss(y, proba) - truth
            accuracy = np.mean(proba.argmax(axis=1) == y)
            yield {
                "data": f"two Gaussians, {distance:g} sd",
                "method": method,
                "log_loss": excess,
                "accuracy": max(accuracy, 1 - accuracy),
                "confidence": proba.max(axis=1).mean(),
            }


def calibration(seed: int, data_dir: Path) -> Iterator[dict]:
    """Measure probabilities of real data."""
    for name, n_leaves in CALIBRATED.items():
        data = load(name, data_dir)
        parts = data.X, data.X_test, data.y_train, data.y_test
        if data.X is data.X_test:
            parts = train_test_split(data.X, data.y_train, random_state=seed)
        X, X_test, y, y_test = parts
        model = fit(X, n_leaves, seed, image_shape=data.image_shape)
        soft = {"TreeVAE": (model.labels_, model.predict_proba(X_test))}
        if data.image_shape is None:
            soft |= soft_peers(X, X_test, n_leaves, seed)
        for method, (labels, proba) in soft.items():
            majority = np.array(
                [
                    np.bincount(y[labels == cluster], minlength=1).argmax()
                    for cluster in range(proba.shape[1])
                ]
            )
            confidence = proba.max(axis=1).astype(np.float64)
            is_right = majority[proba.argmax(axis=1)] == y_test
            yield {
                "data": name,
                "method": method,
                "accuracy": is_right.mean(),
                "confidence": confidence.mean(),
                "calibration_error": calibration_error(confidence, is_right),
                "reliability": reliability(confidence, is_right).tolist(),
            }


def soft_peers(
    X: np.ndarray, X_test: np.ndarray, n_clusters: int, seed: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return training labels and test probabilities of other soft clusterings.

    They cluster principal components, which Gaussian mixtures and densities need.
    """
    pca = PCA(N_PEER_COMPONENTS, random_state=seed).fit(X)
    train, test = (pca.transform(x).astype(np.float64) for x in (X, X_test))
    mixture = GaussianMixture(n_clusters, random_state=seed).fit(train)
    soft = {"GaussianMixture": (mixture.predict(train), mixture.predict_proba(test))}
    try:
        import hdbscan
    except ImportError:
        return soft
    min_size = max(5, len(train) // (10 * n_clusters))
    model = hdbscan.HDBSCAN(
        min_cluster_size=min_size, min_samples=5, prediction_data=True
    ).fit(train)
    proba = hdbscan.membership_vector(model, test)
    labels = hdbscan.all_points_membership_vectors(model).argmax(axis=1)
    return soft | {"HDBSCAN, soft": (labels, proba.reshape(len(test), -1))}


def plot_reliability(records: list[dict], path: Path) -> None:
    """Draw accuracy by confidence, a panel for each data and a curve for each method.

    Bins of fewer than 1% of the rows are left out.
    """
    from matplotlib import pyplot as plt

    curves: dict[str, dict[str, np.ndarray]] = {}
    for record in records:
        if "reliability" in record:
            methods = curves.setdefault(record["data"], {})
            bins = np.array(record["reliability"])
            bins[:, 1:] *= bins[:, :1]
            methods[record["method"]] = methods.get(record["method"], 0.0) + bins
    fig, axes = plt.subplots(
        1, len(curves), figsize=(2.9 * len(curves), 3.2), sharey=True, squeeze=False
    )
    for ax, (name, methods) in zip(axes[0], curves.items(), strict=True):
        ax.plot([0, 1], [0, 1], color="0.7", linestyle="--", linewidth=1)
        for method, (count, confidence, accuracy) in (
            (method, bins.T) for method, bins in methods.items()
        ):
            shown = count >= 0.01 * count.sum()
            ax.plot(
                confidence[shown] / count[shown],
                accuracy[shown] / count[shown],
                marker="o",
                markersize=3,
                label=method,
            )
        ax.set(title=name, xlabel="confidence", xlim=(0, 1), ylim=(0, 1))
    axes[0, 0].set_ylabel("accuracy")
    axes[0, 0].legend(loc="upper left", fontsize="small")
    fig.tight_layout()
    fig.savefig(path, dpi=120)


def tables() -> dict[str, tuple[np.ndarray, int]]:
    """Return ten tables of real numbers, and numbers of clusters."""
    rng = np.random.default_rng(0)
    correlated = [
        rng.standard_normal((400, 8)) @ rng.standard_normal((8, 8))
        + 4 * rng.standard_normal(8)
        for _ in range(3)
    ]
    blobs, _ = make_blobs(500, random_state=170)
    return {
        "iris": (load_iris().data, 3),
        "wine": (load_wine().data, 3),
        "breast_cancer": (load_breast_cancer().data, 2),
        "digits": (load_digits().data, 10),
        "blobs": (make_blobs(300, n_features=5, centers=4, random_state=0)[0], 4),
        "overlapping blobs": (
            make_blobs(600, 8, centers=5, cluster_std=3, random_state=1)[0],
            5,
        ),
        "anisotropic": (blobs @ np.array([[0.6, -0.6], [-0.4, 0.8]]), 3),
        "varied": (make_blobs(500, cluster_std=[1, 2.5, 0.5], random_state=170)[0], 3),
        "moons": (make_moons(500, noise=0.1, random_state=0)[0], 2),
        "correlated": (np.concatenate(correlated), 3),
    }


def density(seed: int, data_dir: Path) -> Iterator[dict]:
    """Measure densities and the width of samples."""
    del data_dir
    for name, (X, n_clusters) in tables().items():
        train, test = train_test_split(X, random_state=seed)
        mixture = GaussianMixture(n_clusters, random_state=seed).fit(train)
        densities = {
            "TreeVAE": fit(train, n_clusters, seed).log_likelihood(test, 1000),
            "flat VAE": fit(train, 1, seed).log_likelihood(test, 1000),
            "GaussianMixture": mixture.score_samples(test),
        }
        model = fit(X, n_clusters, seed)
        ratio = widths(model, X)
        for method, values in densities.items():
            is_ours = method == "TreeVAE"
            yield {
                "data": name,
                "method": method,
                "log_density": values.mean() / X.shape[1],
                "width": np.median(ratio) if is_ours else None,
                "max_width": ratio.max() if is_ours else None,
            }


def widths(model: TreeVAEClustering, X: np.ndarray) -> np.ndarray:
    """Return standard deviations of samples over those of the data, by cluster."""
    samples, leaf = model.sample(4000)
    ratios = []
    for cluster in range(model.n_clusters_):
        std = X[model.labels_ == cluster].std(axis=0)
        varies = std > 1e-2 * X.std(axis=0)
        if np.sum(leaf == cluster) > 50:
            ratios.append(samples[leaf == cluster].std(axis=0)[varies] / std[varies])
    return np.concatenate(ratios)


def flat_labels(X: np.ndarray, n_clusters: int, seed: int) -> dict[str, np.ndarray]:
    """Return clusters by Ward's method and by k-means."""
    return {
        "Ward": AgglomerativeClustering(n_clusters).fit_predict(X),
        "KMeans": KMeans(n_clusters, n_init=10, random_state=seed).fit_predict(X),
    }


def mixed(seed: int, data_dir: Path) -> Iterator[dict]:
    """Measure clusters of tables with discrete columns."""
    del data_dir
    for kind in MIXED_KINDS:
        X, y = make_mixed(kind, seed)
        standardized = StandardScaler().fit_transform(X)
        labels = {"TreeVAE": fit(X, 4, seed).labels_}
        yield from agreement(kind, y, labels | flat_labels(standardized, 4, seed))


def agreement(
    name: str, y: np.ndarray, labels: dict[str, np.ndarray]
) -> Iterator[dict]:
    """Compare the clusters of each method with the truth."""
    for method, found in labels.items():
        ari = adjusted_rand_score(y, found)
        yield {"data": name, "method": method, "ari": ari}


def binary(seed: int, data_dir: Path) -> Iterator[dict]:
    """Measure clusters of tables of 0 and 1."""
    del data_dir
    for n_features, n_clusters, high in (
        (12, 3, 0.9),
        (12, 4, 0.9),
        (20, 4, 0.85),
        (40, 6, 0.8),
        (100, 8, 0.75),
    ):
        X, y = make_binary(600, n_features, n_clusters, high, seed)
        labels = {"TreeVAE": fit(X, n_clusters, seed).labels_}
        name = f"{n_features} columns, {n_clusters} clusters, {high:g}"
        yield from agreement(name, y, labels | flat_labels(X, n_clusters, seed))


def tails(seed: int, data_dir: Path) -> Iterator[dict]:
    """Measure clusters of blobs with noise of heavy tails."""
    del data_dir
    for n_degrees, scale in ((2, 0.3), (2, 1.0), (1, 0.3)):
        X, y = make_blobs(500, n_features=5, centers=4, random_state=seed)
        rng = np.random.default_rng(seed)
        X = X + scale * rng.standard_t(n_degrees, X.shape)
        labels = {
            "TreeVAE": fit(X, 4, seed).labels_,
            "HDBSCAN": HDBSCAN().fit_predict(X),
        }
        name = f"t({n_degrees}) noise times {scale:g}"
        yield from agreement(name, y, labels | flat_labels(X, 4, seed))


def cell(seed: int, data_dir: Path) -> Iterator[dict]:
    """Measure what one wrong value changes, in every column."""
    del data_dir
    blobs, _ = make_blobs(300, n_features=5, centers=4, random_state=0)
    for name, X, n_clusters in (
        ("blobs", blobs, 4),
        ("blobs, None", blobs, None),
        ("wine", load_wine().data, 3),
        ("wine, None", load_wine().data, None),
        ("digits", load_digits().data, 10),
    ):
        clean = fit(X, n_clusters, seed)
        rng = np.random.default_rng(seed)
        aris, n_more = [], []
        for column, factor in zip(range(X.shape[1]), cycle((1e2, 1e6, 1e20))):
            row = rng.integers(len(X))
            wrong = X.copy()
            wrong[row, column] = factor * max(1.0, abs(X[row, column]))
            labels = fit(wrong, n_clusters, seed).labels_
            others = np.arange(len(X)) != row
            aris.append(adjusted_rand_score(clean.labels_[others], labels[others]))
            n_more.append(int(labels.max()) + 1 - clean.n_clusters_)
        yield {
            "data": name,
            "method": "TreeVAE",
            "ari": min(aris),
            "n_more": max(n_more, key=abs),
        }


PARTS: dict[str, Callable[[int, Path], Iterator[dict]]] = {
    "overlap": overlap,
    "calibration": calibration,
    "density": density,
    "mixed": mixed,
    "binary": binary,
    "tails": tails,
    "cell": cell,
}


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--out", type=Path, default=Path("tables.jsonl"))
    parser.add_argument("--csv", type=Path, help="also write the table there")
    parser.add_argument("--plot", type=Path, help="picture of reliability curves")
    arguments = parser.parse_args()
    records = read(arguments.out)
    done = {(record["part"], record["seed"]) for record in records}
    for part in arguments.only:
        for seed in arguments.seeds:
            if (part, seed) in done:
                continue
            for result in PARTS[part](seed, arguments.data_dir):
                record = {"part": part, "seed": seed, **result}
                records.append(record)
                append(arguments.out, record)
    publish(summarize(records, KEYS, METRICS), arguments.csv)
    if arguments.plot is not None:
        plot_reliability(records, arguments.plot)


if __name__ == "__main__":
    main()
