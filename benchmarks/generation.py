"""The tree as a generative model, beside flat VAEs trained in the same run.

    python benchmarks/generation.py --data-dir DIR --datasets mnist-images --seeds 0 1 2

fits a tree, a flat VAE (a tree of a single leaf) of the same latent size, and one with
as many parameters, whose layers are wider; writes a line of JSON for each to --out,
which it also reads, so that a run can be taken up again; and prints a Markdown table.
Datasets are those of quality.py with values in [0, 1], and evaluated is the test part:

LL              log p(x) in nats, bounded by 100 importance samples, of the first rows
ELBO            the evidence lower bound in nats
reconstruction  its first term; the lines of JSON have the others
TV              total variation between the frequencies of leaves among 10 000 samples
                and among the training rows; a flat VAE has none
return          share of a leaf's 200 samples that `predict` gives back to it: the mean
                over leaves, and the least
AUROC           of boosted trees that tell samples from reconstructions, held out: 0.5
                if they can't
"""

from __future__ import annotations

import argparse
import bisect
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from itertools import product
from pathlib import Path

# Small networks crawl where idle threads wait busily; must be set before torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from quality import Data, fit_tree_vae, load
from records import append, publish, read, summarise
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from sktreevae import TreeVAEClustering
from sktreevae.model import Topology, TreeVAE, decoder_factory, encoder_factory

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
WIDEST = 2048


def count_parameters(module: torch.nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def width_of_equal(model: TreeVAEClustering) -> int:
    """Return the least `hidden_dim` that gives a flat VAE as many parameters."""
    config = {
        **model.module_.config,
        "topology": Topology.single_leaf(),
        "n_steps": 1,
    }
    shape = model.image_shape, model.n_features_in_

    def count(width: int) -> int:
        # The networks of images have hidden layers of this width, too.
        config["hidden_dim"] = width
        config["encoder"] = encoder_factory(model.encoder, *shape, width)
        config["decoder"] = decoder_factory(
            model.decoder, *shape, width, model.latent_dim
        )
        return count_parameters(TreeVAE(**config, generator=torch.Generator()))

    widths = range(2, WIDEST)
    n_parameters = count_parameters(model.module_)
    return widths[bisect.bisect_left(widths, n_parameters, key=count)]


def elbo_terms(model: TreeVAEClustering, X: np.ndarray) -> dict[str, float]:
    """Return the mean of each term in nats; latents are drawn once for each row."""
    generator = torch.Generator(model.device_).manual_seed(0)
    module = model.module_
    blocks = []
    with torch.no_grad():
        for block in torch.as_tensor(X, dtype=torch.float32).split(1000):
            noise = module.draw_noise(len(block), generator)
            blocks.append(asdict(module.elbo(block.to(model.device_), noise)))
    return {
        name: torch.cat([terms[name] for terms in blocks]).mean().item()
        for name in blocks[0]
    }


def of_leaves(model: TreeVAEClustering) -> dict[str, float | None]:
    """Return how the prior visits the leaves, and how their samples come back."""
    if model.n_clusters_ == 1:
        return dict.fromkeys(("total_variation", "return_mean", "return_least"))
    _, drawn = model.sample(N_SAMPLES)
    of_prior, of_data = (
        np.bincount(labels, minlength=model.n_clusters_) / len(labels)
        for labels in (drawn, model.labels_)
    )
    returned = [
        np.mean(model.predict(model.sample(N_LEAF_SAMPLES, leaf)[0]) == leaf)
        for leaf in range(model.n_clusters_)
    ]
    return {
        "total_variation": float(np.abs(of_prior - of_data).sum() / 2),
        "return_mean": float(np.mean(returned)),
        "return_least": float(min(returned)),
    }


def auroc(model: TreeVAEClustering, X: np.ndarray) -> float:
    """Return how well boosted trees tell samples from reconstructions of X."""
    fake = model.sample(len(X))[0]
    both = np.concatenate([fake, model.reconstruct(X)])
    is_fake = np.arange(len(both)) < len(fake)
    train, test, y_train, y_test = train_test_split(
        both, is_fake, test_size=0.5, stratify=is_fake, random_state=0
    )
    classifier = make_pipeline(
        PCA(min(50, X.shape[1]), random_state=0),
        HistGradientBoostingClassifier(random_state=0),
    ).fit(train, y_train)
    return float(roc_auc_score(y_test, classifier.predict_proba(test)[:, 1]))


def evaluate(
    fit: Callable[[], TreeVAEClustering], X: np.ndarray, n: int
) -> tuple[TreeVAEClustering, dict]:
    """Fit a model; return it and what the table says of it: LL of n rows of X."""
    start = time.process_time()
    model = fit()
    seconds = time.process_time() - start
    log_likelihood = model.log_likelihood(X[:n], N_IMPORTANCE_SAMPLES)
    return model, {
        "n_found": model.n_clusters_,
        "hidden_dim": model.hidden_dim,
        "n_parameters": count_parameters(model.module_),
        "log_likelihood": float(np.mean(log_likelihood)),
        "elbo": model.score(X),
        **elbo_terms(model, X),
        **of_leaves(model),
        "auroc": auroc(model, X[:N_SCORED]),
        "cpu_seconds": seconds,
    }


def load_unit(name: str, data_dir: Path) -> Data:
    """Return a dataset; the module's nats are those of the data if it isn't scaled."""
    data = load(name, data_dir)
    if sparse.issparse(data.X) or data.X.min() < 0 or data.X.max() > 1:
        raise ValueError(
            f"--datasets must be dense, with values in [0, 1], got {name!r}."
        )
    return data


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--datasets", nargs="*", default=["digits-unit"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--n-leaves", type=int, default=10)
    parser.add_argument("--max-iter", type=int, default=6)
    parser.add_argument("--weight-decay", type=float, default=1e-5)
    parser.add_argument("--n-likelihood", type=int, default=1000, help="rows for LL")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("generation.jsonl"))
    parser.add_argument("--csv", type=Path, help="also write the table there")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    training = {"max_iter": arguments.max_iter, "weight_decay": arguments.weight_decay}
    records = read(arguments.out)
    # The three are of the same run: they are there together or not at all.
    done = [
        {key: r[key] for key in (*KEYS, "seed") if key != "method"} for r in records
    ]
    for name, seed in product(arguments.datasets, arguments.seeds):
        run = {
            "dataset": name,
            "n_leaves": arguments.n_leaves,
            **training,
            "seed": seed,
        }
        if run in done:
            continue
        data = load_unit(name, arguments.data_dir)
        fit = partial(fit_tree_vae, data, seed=seed, **training)
        score = partial(evaluate, X=data.X_test, n=arguments.n_likelihood)
        tree, found = score(partial(fit, n_leaves=arguments.n_leaves))
        rows = {"TreeVAE": found}
        rows["VAE, same latents"] = score(partial(fit, n_leaves=1))[1]
        wide = partial(fit, n_leaves=1, hidden_dim=width_of_equal(tree))
        rows["VAE, same parameters"] = score(wide)[1]
        for method, row in rows.items():
            records.append({**run, "method": method, **row})
            append(arguments.out, records[-1])
    publish(summarise(records, KEYS, METRICS), arguments.csv)


if __name__ == "__main__":
    main()
