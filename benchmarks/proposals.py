"""What the proposed splits are worth: without them, and without being held to them.

    python benchmarks/proposals.py

grows ten leaves on scikit-learn's digits, divided by 16, for three seeds each, and
prints a Markdown table.
"""

from __future__ import annotations

import os
import warnings
from unittest import mock

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from sklearn.datasets import load_digits

from sktreevae import TreeVAEClustering, clustering
from sktreevae.metrics import dendrogram_purity
from sktreevae.training import IterativeGrowth


class _Unguided(IterativeGrowth):
    """Samples are free to go to any leaf from the first step on."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)
        self.guidance = 0.0


class _RandomStart(_Unguided):
    """Routers and leaves start from sides that are drawn at random."""

    def _propose(self, index: torch.Tensor) -> torch.Tensor:
        n, device = len(index), index.device
        return torch.randint(2, (n,), generator=self.generator, device=device)


VARIANTS = {
    "proposed and guided, the default": IterativeGrowth,
    "proposed, not guided": _Unguided,
    "drawn at random, not guided": _RandomStart,
}


def main() -> None:
    """Fit and evaluate."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    X, y = load_digits(return_X_y=True)
    print("| splits | dendrogram purity | leaves found |")
    print("|---|---|---|")
    for title, growth in VARIANTS.items():
        with mock.patch.object(clustering, "IterativeGrowth", growth):
            models = [
                TreeVAEClustering(10, growth="iterative", random_state=s).fit(X / 16)
                for s in range(3)
            ]
        purity = [dendrogram_purity(y, model) for model in models]
        leaves = [model.n_clusters_ for model in models]
        print(
            f"| {title} | {np.mean(purity):.3f} ±{np.std(purity):.3f} "
            f"| {', '.join(map(str, leaves))} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
