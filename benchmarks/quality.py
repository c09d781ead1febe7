"""Quality of the trees, beside Ward, KMeans and BisectingKMeans in the same run.

    python benchmarks/quality.py --data-dir DIR --datasets digits mnist mnist-images

writes a line of JSON for each fit to --out, which it also reads, so that a run can be
taken up again, and prints a Markdown table of all that is there. Labels are used to
evaluate, never to fit.

A dataset is the name of a file in --data-dir, one of scikit-learn's, or "blobs", with
suffixes: "mnist-10k" are the first 10 000 rows, "mnist-images" says that rows are
images, "digits-unit" are divided by 16, "blobs-100" have sizes from 1 to 100.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

# Small networks crawl where idle threads wait busily; must be set before torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from scipy import sparse
from scipy.cluster.hierarchy import linkage
from sklearn.cluster import AgglomerativeClustering, BisectingKMeans, KMeans
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.metrics import normalized_mutual_info_score

from sktreevae import TreeVAEClustering
from sktreevae.metrics import clustering_accuracy, dendrogram_purity, leaf_purity

METRICS = ("dendrogram_purity", "leaf_purity", "accuracy", "nmi", "cpu_seconds")
FILES = {
    "mnist": "mnist",
    "fashion": "fashion_mnist",
    "omniglot": "omniglot5",
    "characters": "omniglot5",
    "news": "newsgroups20_tfidf2000",
    "pbmc": "sc_pbmc68k_reduced",
    "zoo": "zoo",
}
BUNDLED = {
    "digits": load_digits,
    "iris": load_iris,
    "wine": load_wine,
    "breast_cancer": load_breast_cancer,
}


@dataclass(frozen=True)
class Data:
    """Training and test parts, and the shape of the images that rows are, if any."""

    X: np.ndarray | sparse.csr_array
    y_train: np.ndarray
    X_test: np.ndarray | sparse.csr_array
    y_test: np.ndarray
    image_shape: tuple[int, ...] | None = None


def load(name: str, data_dir: Path) -> Data:
    """Return a dataset by its name; those without a test part are their own."""
    stem, *suffixes = name.split("-")
    if stem == "blobs":
        X, y = unbalanced_blobs(int(suffixes[0]))
        return Data(X, y, X, y)
    if stem in BUNDLED:
        X, y = BUNDLED[stem](return_X_y=True)
        X = X / 16.0 if "unit" in suffixes else X  # grey levels in [0, 1]
        return Data(X, y, X, y, (8, 8) if "images" in suffixes else None)
    with np.load(data_dir / f"{FILES[stem]}.npz") as file:
        parts = dict(file)
    if stem == "characters":  # finer labels: a character of an alphabet
        parts |= {f"y_{part}": parts[f"character_{part}"] for part in ("train", "test")}
    X, X_test = (read_rows(parts, f"X_{part}") for part in ("train", "test"))
    if X_test is None or X_test.shape[0] == 0:
        X_test, parts["y_test"] = X, parts["y_train"]
    if X.dtype == np.uint8 and X.ndim > 2:
        X, X_test = (x.reshape(len(x), -1) / np.float32(255) for x in (X, X_test))
        if "omniglot" in FILES[stem]:  # ink is 1
            X, X_test = 1 - X, 1 - X_test
    y = parts["y_train"]
    for suffix in suffixes:
        if suffix.endswith("k"):
            rows = slice(1000 * int(suffix.removesuffix("k")))
            X, y = X[rows], y[rows]
    image_shape = (28, 28) if "images" in suffixes else None
    return Data(X, y, X_test, parts["y_test"], image_shape)


def read_rows(parts: dict, key: str) -> np.ndarray | sparse.csr_array | None:
    """Return an array, dense or in CSR parts, or None if there is none."""
    if f"{key}_data" not in parts:
        X = parts.get(key)
        return X.astype(np.float64) if X is not None and X.ndim == 2 else X
    indices, starts = (
        parts[f"{key}_{name}"].astype(np.int32) for name in ("indices", "indptr")
    )
    csr = (parts[f"{key}_data"], indices, starts)
    return sparse.csr_array(csr, shape=tuple(parts[f"{key}_shape"]))


def unbalanced_blobs(ratio: int) -> tuple[np.ndarray, np.ndarray]:
    """Eight Gaussians in ten dimensions, with sizes in proportions of 1 to ratio."""
    rng = np.random.default_rng(0)
    share = np.geomspace(1, ratio, 8)
    y = np.repeat(np.arange(8), np.maximum(5, 1500 * share / share.sum()).astype(int))
    centers = 2.2 * rng.standard_normal((8, 10))
    return centers[y] + rng.standard_normal((len(y), 10)), y


def dense(X: np.ndarray | sparse.csr_array) -> np.ndarray:
    """Return a dense array."""
    return X.toarray() if sparse.issparse(X) else X


def tree_vae(data: Data, n_leaves: int, seed: int, growth: str):
    """Grow a tree; predict the leaves of the test part."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = TreeVAEClustering(
            n_leaves, growth=growth, image_shape=data.image_shape, random_state=seed
        ).fit(data.X)
    return model.dendrogram_, model.predict(data.X_test), model


def ward(data: Data, n_leaves: int, seed: int):
    """Ward's tree of the test part itself: it can't predict."""
    model = AgglomerativeClustering(n_leaves, compute_full_tree=True)
    model.fit(dense(data.X_test))
    return model, model.labels_, None


def centroid_ward(data: Data, n_leaves: int, seed: int, estimator: type):
    """Ward's tree of the centroids of k-means."""
    options = {"n_init": 10} if estimator is KMeans else {}
    model = estimator(n_leaves, random_state=seed, **options).fit(data.X)
    tree = linkage(model.cluster_centers_, "ward")
    return tree, model.predict(data.X_test), None


METHODS: dict[str, Callable] = {
    "TreeVAE": partial(tree_vae, growth="guided"),
    "TreeVAE, iterative": partial(tree_vae, growth="iterative"),
    "Ward": ward,
    "KMeans + Ward": partial(centroid_ward, estimator=KMeans),
    "BisectingKMeans + Ward": partial(centroid_ward, estimator=BisectingKMeans),
}


def run(name: str, data: Data, method: str, n_leaves: int, seed: int) -> dict:
    """Fit one method and evaluate it on the test part."""
    y_test = data.y_test
    start = time.process_time()
    tree, labels, model = METHODS[method](data, n_leaves, seed)
    seconds = time.process_time() - start
    per_sample = method == "Ward"
    purity = dendrogram_purity(
        y_test,
        tree,
        None if per_sample else labels,
        n_leaves=n_leaves if per_sample else None,
    )
    return {
        "dataset": name,
        "method": method,
        "n_leaves": n_leaves,
        "seed": seed,
        "dendrogram_purity": purity,
        "leaf_purity": leaf_purity(y_test, labels),
        "accuracy": clustering_accuracy(y_test, labels),
        "nmi": normalized_mutual_info_score(y_test, labels),
        "cpu_seconds": seconds,
        "elbo": None if model is None else float(model.score(data.X_test)),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def table(records: list[dict]) -> list[list[str]]:
    """Return the rows of a table: mean and, over seeds, deviation."""
    rows = [["data", "method", "leaves", "seeds", "DP", "LP", "ACC", "NMI", "CPU-s"]]
    groups: dict[tuple, list[dict]] = {}
    for record in records:
        key = (record["dataset"], record["method"], record["n_leaves"])
        groups.setdefault(key, []).append(record)
    for (name, method, n_leaves), group in groups.items():
        cells = [name, method, str(n_leaves), str(len(group))]
        for metric in METRICS:
            values = [record[metric] for record in group]
            digits = 0 if metric == "cpu_seconds" else 3
            spread = f" ±{np.std(values):.{digits}f}" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.{digits}f}{spread}")
        rows.append(cells)
    return rows


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--datasets", nargs="*", default=["digits"])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--n-leaves", nargs="+", type=int, default=[10])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("quality.jsonl"))
    parser.add_argument("--csv", type=Path, help="also write the table there")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    lines = arguments.out.read_text().splitlines() if arguments.out.exists() else []
    records = [json.loads(line) for line in lines]
    done = {(r["dataset"], r["method"], r["n_leaves"], r["seed"]) for r in records}
    for name in arguments.datasets:
        data = load(name, arguments.data_dir)
        for n_leaves, method in product(arguments.n_leaves, arguments.methods):
            for seed in arguments.seeds if method != "Ward" else arguments.seeds[:1]:
                if (name, method, n_leaves, seed) in done:
                    continue
                record = run(name, data, method, n_leaves, seed)
                records.append(record)
                with arguments.out.open("a") as out:
                    out.write(json.dumps(record) + "\n")
                print(json.dumps(record), flush=True)
    head, *rows = table(records)
    for cells in (head, ["---"] * len(head), *rows):
        print("|", " | ".join(cells), "|")
    if arguments.csv is not None:
        with arguments.csv.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([head, *rows])


if __name__ == "__main__":
    main()
