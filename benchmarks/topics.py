"""Topics of embedded texts, beside other ways to find them, noise counted.

    python benchmarks/topics.py --data-dir DIR --datasets minilm banking77

writes a line of JSON for each fit to --out and prints a Markdown table of all lines.
Fits whose lines are in the file are skipped. The data are the embeddings of
``quality.py``, training part. "UMAP + HDBSCAN" are the steps and parameters of
BERTopic, and "t-SNE + Peax" those of Topeax: ``pip install umap-learn evoc turftopic``.
"given" is the number of classes. AMI counts noise as one more topic.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from quality import load
from records import append, publish, read, summarize
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.manifold import TSNE
from sklearn.metrics import adjusted_mutual_info_score

from sktreevae import TreeVAEClustering
from sktreevae.metrics import clustering_accuracy

KEYS = {"dataset": "data", "method": "method", "number": "number"}
METRICS = {
    "n_topics": ("topics", 1),
    "noise": ("noise", 2),
    "ami": ("AMI", 3),
    "accuracy": ("ACC, noise wrong", 3),
    "cpu_seconds": ("CPU-s", 0),
}


def tree_vae(X: np.ndarray, n_topics: int | None, seed: int) -> np.ndarray:
    """Leaves of a tree."""
    return TreeVAEClustering(n_topics, random_state=seed).fit(X).labels_


def k_means(X: np.ndarray, n_topics: int, seed: int) -> np.ndarray:
    """Clusters of k-means."""
    return KMeans(n_topics, n_init=10, random_state=seed).fit(X).labels_


def umap_hdbscan(X: np.ndarray, n_topics: None, seed: int) -> np.ndarray:
    """Density clusters in five dimensions."""
    from umap import UMAP

    reduced = UMAP(15, 5, min_dist=0.0, metric="cosine", random_state=seed)
    return HDBSCAN(10, copy=True).fit(reduced.fit_transform(X)).labels_


def evoc(X: np.ndarray, n_topics: int | None, seed: int) -> np.ndarray:
    """Layer of EVoC: the most persistent, or that of about the given number."""
    from evoc import EVoC

    return EVoC(approx_n_clusters=n_topics, random_state=seed).fit_predict(X)


def peax(X: np.ndarray, n_topics: None, seed: int) -> np.ndarray:
    """Components at the peaks of the density in two dimensions."""
    from turftopic.models.topeax import Peax

    plane = TSNE(perplexity=50, metric="cosine", random_state=seed).fit_transform(X)
    return Peax(random_state=seed).fit(plane)


METHODS: dict[tuple[str, str], Callable[..., np.ndarray]] = {
    ("TreeVAE", "given"): tree_vae,
    ("k-means", "given"): k_means,
    ("EVoC", "given"): evoc,
    ("TreeVAE", "found"): tree_vae,
    ("EVoC", "found"): evoc,
    ("UMAP + HDBSCAN", "found"): umap_hdbscan,
    ("t-SNE + Peax", "found"): peax,
}


def evaluate(fit: Callable[[], np.ndarray], y: np.ndarray) -> dict[str, float]:
    """Return what a clustering takes, and how well it agrees with classes."""
    start = time.process_time()
    labels = fit()
    seconds = time.process_time() - start
    is_topic = labels >= 0
    share = float(is_topic.mean())
    right = clustering_accuracy(y[is_topic], labels[is_topic]) if share else 0.0
    return {
        "n_topics": len(np.unique(labels[is_topic])),
        "noise": 1 - share,
        "ami": float(adjusted_mutual_info_score(y, labels)),
        "accuracy": share * right,
        "cpu_seconds": seconds,
    }


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--datasets", nargs="+", default=["minilm"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("topics.jsonl"))
    parser.add_argument("--csv", type=Path, help="also write the table there")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    records = read(arguments.out)
    done = [{key: record[key] for key in (*KEYS, "seed")} for record in records]
    for name, seed in product(arguments.datasets, arguments.seeds):
        data = load(name, arguments.data_dir)
        X, y = data.X.astype(np.float32), data.y_train
        for (method, number), cluster in METHODS.items():
            run = {"dataset": name, "method": method, "number": number, "seed": seed}
            if run in done:
                continue
            n_topics = len(np.unique(y)) if number == "given" else None
            result = evaluate(partial(cluster, X, n_topics, seed), y)
            records.append({**run, **result})
            append(arguments.out, records[-1])
    publish(summarize(records, KEYS, METRICS), arguments.csv)


if __name__ == "__main__":
    main()
