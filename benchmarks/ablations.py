"""What the paper leaves open: a table for each question.

    python benchmarks/ablations.py

"split_criterion" grows trees of the digits iteratively, by each of the criteria.
"no_hierarchy" fits a Gaussian without clusters: how many does ``n_clusters=None`` find,
and what do the heights, and the warning, say of ten? The digits are beside it.
"""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Callable
from pathlib import Path

# Small networks crawl where idle threads wait busily; must be set before torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from quality import fit_tree_vae, load
from records import print_markdown, summary
from sklearn.datasets import load_digits
from sklearn.metrics import normalized_mutual_info_score
from structure import isotropic

from sktreevae import TreeVAEClustering
from sktreevae.metrics import clustering_accuracy, dendrogram_purity

N_CLUSTERS = 10


def split_criterion(seeds: list[int]) -> list[list[str]]:
    """Compare the criteria by labels, which none of them sees, and by the ELBO."""
    rows = [["criterion", "DP", "ACC", "NMI", "ELBO"]]
    data = load("digits", Path())
    for criterion in ("n_samples", "reconstruction", "elbo"):
        found = []
        for seed in seeds:
            model = fit_tree_vae(
                data, N_CLUSTERS, seed, growth="iterative", split_criterion=criterion
            )
            found.append(
                (
                    dendrogram_purity(data.y_train, model),
                    clustering_accuracy(data.y_train, model.labels_),
                    normalized_mutual_info_score(data.y_train, model.labels_),
                    model.score(data.X),
                )
            )
        cells = zip(zip(*found, strict=True), (3, 3, 3, 1), strict=True)
        rows.append([criterion, *(summary(list(v), digits) for v, digits in cells)])
    return rows


def no_hierarchy(seeds: list[int]) -> list[list[str]]:
    """Fit data without a tree, and data with one."""
    rows = [["data", "seed", "found", "lowest height", "highest", "warning at 10"]]
    for seed in seeds:
        gaussian = isotropic(np.random.default_rng(seed), 10)
        for name, X in (("one Gaussian", gaussian), ("digits", load_digits().data)):
            free = TreeVAEClustering(None, max_iter=1, random_state=seed).fit(X)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", UserWarning)
                model = TreeVAEClustering(N_CLUSTERS, random_state=seed).fit(X)
            heights = model.linkage_matrix_[:, 2]
            said = "; ".join(str(w.message).partition(":")[0] for w in caught)
            rows.append(
                [
                    name,
                    str(seed),
                    str(free.n_clusters_),
                    f"{heights[0]:.1f}",
                    f"{heights[-1]:.1f}",
                    said or "none",
                ]
            )
    return rows


ABLATIONS: dict[str, Callable[[list[int]], list[list[str]]]] = {
    "split_criterion": split_criterion,
    "no_hierarchy": no_hierarchy,
}


def main() -> None:
    """Print the tables that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=ABLATIONS, default=list(ABLATIONS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.only:
        print(f"\n{name}\n")
        print_markdown(ABLATIONS[name](arguments.seeds))


if __name__ == "__main__":
    main()
