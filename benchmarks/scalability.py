r"""Time, memory and quality by the number of rows and of leaves.

    python benchmarks/scalability.py

writes a line of JSON for each fit to --out and prints a Markdown table of all lines.
Fits whose lines are in the file are skipped, so a run can be continued. Linux only.

The data are nested Gaussians in a file, as a `numpy.memmap`, with as many clusters as
leaves. A flat VAE is a tree of one leaf; the tree of BisectingKMeans is Ward's over its
centers. Each fit runs in a process of its own, on --n-jobs threads. "peak" is the rise
of the anonymous memory, which doesn't include the pages of the file that the system
keeps. The ELBO, in nats, and the purities are those of 10 000 rows that the fit doesn't
see.

    python benchmarks/scalability.py --rows 1000000 --leaves 20 --n-features 384 \
        --dtype float16 --methods TreeVAE --n-jobs 2

fits a million embeddings.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from itertools import product
from pathlib import Path

import numpy as np
from generated import write_nested
from memory import MIB, Peak, status
from records import append, publish, read, summarize
from scipy.cluster.hierarchy import linkage
from sklearn.cluster import BisectingKMeans
from threadpoolctl import threadpool_limits

from sktreevae import TreeVAEClustering
from sktreevae.metrics import dendrogram_purity, leaf_purity

KEYS = {
    "n_features": "features",
    "dtype": "type",
    "n_rows": "rows",
    "n_leaves": "leaves",
    "method": "method",
    "n_jobs": "threads",
}
METRICS = {
    "cpu": ("CPU-s", 0),
    "peak": ("peak, MiB", 0),
    "elbo": ("ELBO", 2),
    "purity": ("purity", 3),
    "dendrogram_purity": ("DP", 3),
    "group_purity": ("DP, groups", 3),
}
METHODS = {
    "TreeVAE": lambda n_leaves: TreeVAEClustering(n_leaves, random_state=0),
    "VAE": lambda n_leaves: TreeVAEClustering(1, random_state=0),
    "BisectingKMeans": lambda n_leaves: BisectingKMeans(n_leaves, random_state=0),
}
N_TEST = 10_000


def measure(path: Path, run: dict) -> dict[str, float]:
    """Fit a method to all rows of a file but the last, and evaluate it on these."""
    rows = np.memmap(path, run["dtype"], "r").reshape(-1, run["n_features"])
    levels = np.load(path.with_suffix(".npy"))[-N_TEST:]
    model = METHODS[run["method"]](run["n_leaves"])
    before = status("RssAnon")
    cpu, wall = time.process_time(), time.perf_counter()
    if "n_jobs" in model.get_params():
        model.set_params(n_jobs=run["n_jobs"])
    with Peak() as peak, threadpool_limits(run["n_jobs"]):
        model.fit(rows[:-N_TEST])
    times = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    peak_size = (peak.bytes - before) / MIB
    return {**times, "peak": peak_size, **evaluate(model, rows[-N_TEST:], levels)}


def evaluate(model: object, X: np.ndarray, levels: np.ndarray) -> dict[str, float]:
    """Return the mean ELBO and the purities of rows, where a method has them."""
    scores = {}
    if isinstance(model, TreeVAEClustering):
        scores["elbo"] = model.score(X)
        if model.n_clusters_ == 1:
            return scores
        tree = model
    else:
        tree = linkage(model.cluster_centers_, "ward")
    labels = model.predict(X)
    groups, clusters = dendrogram_purity(levels, tree, labels)
    return {
        **scores,
        "n_found": len(np.unique(labels)),
        "purity": leaf_purity(levels[:, 1], labels),
        "dendrogram_purity": clusters,
        "group_purity": groups,
    }


def measure_in_process(path: Path, run: dict) -> dict[str, float]:
    """Return the measurements of a process of this file."""
    command = [sys.executable, __file__, "--measure", str(path), json.dumps(run)]
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return json.loads(result.stdout)


def parse_arguments() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", nargs="+", type=int, default=[10_000, 100_000])
    parser.add_argument("--leaves", nargs="+", type=int, default=[10, 100])
    parser.add_argument("--n-features", type=int, default=50)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--out", type=Path, default=Path("scalability.jsonl"))
    parser.add_argument("--csv", type=Path, help="also write the table there")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Run what the command line asks for."""
    arguments = parse_arguments()
    warnings.simplefilter("ignore")
    if arguments.measure is not None:
        path, run = arguments.measure
        print(json.dumps(measure(Path(path), json.loads(run))))
        return
    records = read(arguments.out)
    for n_rows, n_leaves in product(arguments.rows, arguments.leaves):
        shape = {"n_features": arguments.n_features, "dtype": arguments.dtype}
        sizes = {**shape, "n_rows": n_rows, "n_leaves": n_leaves}
        runs = [
            {**sizes, "method": method, "n_jobs": arguments.n_jobs}
            for method in arguments.methods
        ]
        done = [{key: record[key] for key in KEYS} for record in records]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "X")
            for run in runs:
                if run in done:
                    continue
                if not path.exists():
                    levels = write_nested(path, n_rows + N_TEST, n_leaves, **shape)
                    np.save(path.with_suffix(".npy"), levels)
                records.append({**run, **measure_in_process(path, run)})
                append(arguments.out, records[-1])
    publish(summarize(records, KEYS, METRICS), arguments.csv)


if __name__ == "__main__":
    main()
