"""Quality of the trees, beside Ward and KMeans + Ward in the same run.

    python benchmarks/quality.py --data-dir DIR --datasets digits digits-unit mnist-10k

writes a line of JSON for each fit to --out, which it also reads, so that a run can be
taken up again, and prints a Markdown table. Labels are used to evaluate, never to fit.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# Small networks crawl where idle threads wait busily; must be set before torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from scipy.cluster.hierarchy import linkage
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.datasets import load_digits
from sklearn.metrics import normalized_mutual_info_score

from sktreevae import TreeVAEClustering
from sktreevae.datasets import load_npz
from sktreevae.metrics import clustering_accuracy, dendrogram_purity, leaf_purity

Data = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
METRICS = ("dendrogram_purity", "leaf_purity", "accuracy", "nmi", "cpu_seconds")


def load(name: str, data_dir: Path) -> Data:
    """Return X_train, y_train, X_test and y_test."""
    if name.startswith("digits"):
        X, y = load_digits(return_X_y=True)
        X = X / 16.0 if name == "digits-unit" else X  # grey levels in [0, 1]
        return X, y, X, y
    stem, _, thousands = name.partition("-")
    X, y, X_test, y_test = load_npz(data_dir / f"{stem}.npz")
    n = 1000 * int(thousands.removesuffix("k")) if thousands else len(X)
    return X[:n], y[:n], X_test, y_test


def tree_vae(X: np.ndarray, X_test: np.ndarray, n_leaves: int, seed: int):
    """Grow a tree; predict the leaves of the test part."""
    model = TreeVAEClustering(n_leaves, growth="iterative", random_state=seed).fit(X)
    return model.dendrogram_, model.predict(X_test)


def ward(X: np.ndarray, X_test: np.ndarray, n_leaves: int, seed: int):
    """Ward's tree of the test part itself: it can't predict."""
    model = AgglomerativeClustering(n_leaves, compute_full_tree=True).fit(X_test)
    return model, model.labels_


def kmeans_ward(X: np.ndarray, X_test: np.ndarray, n_leaves: int, seed: int):
    """KMeans, and Ward's tree of the centroids."""
    model = KMeans(n_leaves, n_init=10, random_state=seed).fit(X)
    return linkage(model.cluster_centers_, "ward"), model.predict(X_test)


METHODS: dict[str, Callable] = {
    "TreeVAE, iterative": tree_vae,
    "Ward": ward,
    "KMeans + Ward": kmeans_ward,
}


def run(name: str, data: Data, method: str, n_leaves: int, seed: int) -> dict:
    """Fit one method and evaluate it on the test part."""
    X, _, X_test, y_test = data
    start = time.process_time()
    tree, labels = METHODS[method](X, X_test, n_leaves, seed)
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
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def table(records: list[dict]) -> Iterator[str]:
    """Yield the lines of a Markdown table: mean and, over seeds, deviation."""
    yield "| data | method | leaves | seeds | DP | LP | ACC | NMI | CPU-s |"
    yield "|---|---|---|---|---|---|---|---|---|"
    groups: dict[tuple, list[dict]] = {}
    for record in records:
        key = (record["dataset"], record["method"], record["n_leaves"])
        groups.setdefault(key, []).append(record)
    for (name, method, n_leaves), group in groups.items():
        cells = []
        for metric in METRICS:
            values = [record[metric] for record in group]
            digits = 1 if metric == "cpu_seconds" else 3
            spread = f" ±{np.std(values):.{digits}f}" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.{digits}f}{spread}")
        yield (
            f"| {name} | {method} | {n_leaves} | {len(group)} | "
            + " | ".join(cells)
            + " |"
        )


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--datasets", nargs="+", default=["digits"])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--n-leaves", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("quality.jsonl"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    lines = arguments.out.read_text().splitlines() if arguments.out.exists() else []
    records = [json.loads(line) for line in lines]
    done = {(r["dataset"], r["method"], r["n_leaves"], r["seed"]) for r in records}
    for name in arguments.datasets:
        data = load(name, arguments.data_dir)
        for method in arguments.methods:
            for seed in arguments.seeds if method != "Ward" else arguments.seeds[:1]:
                if (name, method, arguments.n_leaves, seed) in done:
                    continue
                record = run(name, data, method, arguments.n_leaves, seed)
                records.append(record)
                with arguments.out.open("a") as out:
                    out.write(json.dumps(record) + "\n")
                print(json.dumps(record), flush=True)
    print("\n".join(table(records)))


if __name__ == "__main__":
    main()
