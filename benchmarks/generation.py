"""The tree as a generative model, beside flat VAEs trained in the same run.

    python benchmarks/generation.py --data-dir DIR --datasets mnist-images --seeds 0 1 2

fits a tree, a flat VAE (a tree of a single leaf) of the same latent size, and a wider
flat VAE with as many parameters as the tree. It writes a line of JSON for each to --out
and prints a Markdown table of all lines. Fits whose lines are in the file are skipped,
so a run can be continued. Datasets are those of quality.py with values in [0, 1]. All
numbers are of the test part:

LL              log p(x) in nats, bounded by 100 importance samples, of the first rows
ELBO            the evidence lower bound in nats
reconstruction  the first term of the ELBO; the lines of JSON have the other terms
TV              total variation between the frequencies of leaves among 10 000 samples
                and among the training rows; a flat VAE has none
return          share of a leaf's 200 samples that `predict` assigns to the leaf: the
                mean and the minimum over leaves
AUROC           of boosted trees that classify samples and reconstructions, on held-out
                rows: 0.5 if they can't tell them apart
"""

from __future__ import annotations

import argparse
import bisect
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from quality import Data, fit_tree_vae, load
from records import append, publish, read, summarize
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from sktreevae import TreeVAEClustering
from sktreevae.model import Topology, TreeVAE

KEYS = {
    "dataset": "data",
    "method": "method",
    "n_leaves": "leaves",
    "max_iter": "epochs",
    "weight_decay": "decay",
}
METRICS = {
    "n_parameters": ("parameters", 0),
    "log_likelihood": ("LL", 1),
    "elbo": ("ELBO", 1),
    "reconstruction": ("reconstruction", 1),
    "total_variation": ("TV", 3),
    "return_mean": ("return, mean", 3),
    "return_least": ("least", 3),
    "auroc": ("AUROC", 3),
    "cpu_seconds": ("CPU-s", 0),
}
N_IMPORTANCE_SAMPLES = 100
N_SAMPLES = 10_000
N_LEAF_SAMPLES = 200
N_SCORED = 5000
MAX_WIDTH = 2048


def count_parameters(module: torch.nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def width_of_equal(model: TreeVAEClustering) -> int:
    """Return the minimum `hidden_dim` with which a flat VAE has as many parameters."""
    config = replace(model.module_.config, bottom_up_depth=1)

    def count(width: int) -> int:
        flat = TreeVAE(
            Topology.single_leaf(),
            replace(config, hidden_dim=width),
            feature_map=model.module_.feature_map,
            generator=torch.Generator(),
        )
        return count_parameters(flat)

    widths = range(2, MAX_WIDTH)
    n_parameters = count_parameters(model.module_)
    return widths[bisect.bisect_left(widths, n_parameters, key=count)]


def elbo_terms(model: TreeVAEClustering, X: np.ndarray) -> dict[str, float]:
    """Return the mean of each term in nats; latents are drawn once for each row."""
    generator = torch.Generator(model.device_).manual_seed(0)
    module = model.module_
    blocks = []
    with torch.no_grad():
        for block in torch.as_tensor(X, dtype=torch.float32).split(1000):
            noise = module.sample_noise(len(block), generator)
            blocks.append(asdict(module.elbo(block.to(model.device_), noise)))
    return {
        name: torch.cat([terms[name] for terms in blocks]).mean().item()
        for name in blocks[0]
    }


def leaf_scores(model: TreeVAEClustering) -> dict[str, float | None]:
    """Return the total variation, and the mean and minimum of "return"."""
    if model.n_clusters_ == 1:
        return dict.fromkeys(("total_variation", "return_mean", "return_least"))
    _, sampled_labels = model.sample(N_SAMPLES)
    prior, data = (
        np.bincount(labels, minlength=model.n_clusters_) / len(labels)
        for labels in (sampled_labels, model.labels_)
    )
    returned = [
        np.mean(model.predict(model.sample(N_LEAF_SAMPLES, leaf)[0]) == leaf)
        for leaf in range(model.n_clusters_)
    ]
    return {
        "total_variation": float(np.abs(prior - data).sum() / 2),
        "return_mean": float(np.mean(returned)),
        "return_least": float(min(returned)),
    }


def auroc(model: TreeVAEClustering, X: np.ndarray) -> float:
    """Return the AUROC of boosted trees, for samples and reconstructions of X."""
    sampled = model.sample(len(X))[0]
    rows = np.concatenate([sampled, model.reconstruct(X)])
    is_sampled = np.arange(len(rows)) < len(sampled)
    train, test, y_train, y_test = train_test_split(
        rows, is_sampled, test_size=0.5, stratify=is_sampled, random_state=0
    )
    classifier = make_pipeline(
        PCA(min(50, X.shape[1]), random_state=0),
        HistGradientBoostingClassifier(random_state=0),
    ).fit(train, y_train)
    return float(roc_auc_score(y_test, classifier.predict_proba(test)[:, 1]))


def evaluate(
    fit: Callable[[], TreeVAEClustering], X: np.ndarray, n_likelihood: int
) -> tuple[TreeVAEClustering, dict]:
    """Fit a model, and return it and its row of the table.

    The log-likelihood is that of the first `n_likelihood` rows of X.
    """
    start = time.process_time()
    model = fit()
    seconds = time.process_time() - start
    log_likelihood = model.log_likelihood(X[:n_likelihood], N_IMPORTANCE_SAMPLES)
    return model, {
        "n_found": model.n_clusters_,
        "hidden_dim": model.hidden_dim,
        "n_parameters": count_parameters(model.module_),
        "log_likelihood": float(np.mean(log_likelihood)),
        "elbo": model.score(X),
        **elbo_terms(model, X),
        **leaf_scores(model),
        "auroc": auroc(model, X[:N_SCORED]),
        "cpu_seconds": seconds,
    }


def load_unit(name: str, data_dir: Path) -> Data:
    """Return a dataset in [0, 1].

    Such data isn't standardized, so nats of the module are nats of the data.
    """
    data = load(name, data_dir)
    if sparse.issparse(data.X) or data.X.min() < 0 or data.X.max() > 1:
        raise ValueError(
            f"--datasets must be dense, with values in [0, 1], got {name!r}."
        )
    return data


def epochs(value: str) -> int | str:
    """Parse a value of `max_iter`."""
    return value if value == "auto" else int(value)


def compare(
    data: Data, n_leaves: int, n_likelihood: int, **options: object
) -> dict[str, dict]:
    """Return the rows of the tree and of both flat VAEs by method."""
    fit = partial(fit_tree_vae, data, **options)
    score = partial(evaluate, X=data.X_test, n_likelihood=n_likelihood)
    tree, tree_row = score(partial(fit, n_leaves=n_leaves))
    wide = partial(fit, n_leaves=1, hidden_dim=width_of_equal(tree))
    return {
        "TreeVAE": tree_row,
        "VAE, same latents": score(partial(fit, n_leaves=1))[1],
        "VAE, same parameters": score(wide)[1],
    }


def parse_arguments() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--datasets", nargs="*", default=["digits-unit"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--n-leaves", type=int, default=10)
    parser.add_argument("--max-iter", type=epochs, default="auto")
    parser.add_argument("--weight-decay", type=float, default=1e-5)
    parser.add_argument("--n-likelihood", type=int, default=1000, help="rows for LL")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("generation.jsonl"))
    parser.add_argument("--csv", type=Path, help="also write the table there")
    return parser.parse_args()


def main() -> None:
    """Run what the command line asks for."""
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    records = read(arguments.out)
    # All three methods of a run are in the file, or none is.
    done = [
        {key: r[key] for key in (*KEYS, "seed") if key != "method"} for r in records
    ]
    for name, seed in product(arguments.datasets, arguments.seeds):
        options = {
            "max_iter": arguments.max_iter,
            "weight_decay": arguments.weight_decay,
            "seed": seed,
        }
        run = {"dataset": name, "n_leaves": arguments.n_leaves, **options}
        if run in done:
            continue
        rows = compare(
            load_unit(name, arguments.data_dir),
            arguments.n_leaves,
            arguments.n_likelihood,
            **options,
        )
        for method, row in rows.items():
            records.append({**run, "method": method, **row})
            append(arguments.out, records[-1])
    publish(summarize(records, KEYS, METRICS), arguments.csv)


if __name__ == "__main__":
    main()
