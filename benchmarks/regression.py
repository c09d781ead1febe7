"""Whether a change of the code changes a result: fits compared bit by bit.

    python benchmarks/regression.py --data-dir DIR --save before.npz
    git switch my-change
    python benchmarks/regression.py --data-dir DIR --against before.npz

Results are comparable on the same machine only. Each case is fitted on one thread.
Cases on real data are left out without ``--data-dir``.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from sklearn.datasets import load_digits, load_iris, make_blobs
from threadpoolctl import threadpool_limits

from sktreevae import TreeVAEClustering

Results = dict[str, NDArray]

DIGITS = load_digits(return_X_y=True)[0]


def fit(X: object, n_clusters: int | None = 10, seed: int = 0, **kwargs) -> Results:
    """Fit a model, and return what a refactoring must keep."""
    model = TreeVAEClustering(n_clusters, random_state=seed, **kwargs).fit(X)
    return summary(model, X)


def summary(model: TreeVAEClustering, X: object) -> Results:
    """Return the results of a fitted model that are compared."""
    dense = X.toarray() if sparse.issparse(X) else X
    return {
        "labels": model.labels_,
        "height": model.dendrogram_.height,
        "linkage": model.linkage_matrix_,
        "score_samples": model.score_samples(X),
        "predict_proba": model.predict_proba(dense),
        "transform": model.transform(X),
        "reconstruct": model.reconstruct(X)[:100],
        "sample": model.sample(50)[0],
        "elbo": np.array(model.history_["elbo"]),
    }


def blobs(n: int = 400, n_features: int = 10, centers: int = 6) -> NDArray[np.float64]:
    """Return Gaussian blobs."""
    return make_blobs(n, n_features, centers=centers, random_state=0)[0]


def counts() -> NDArray[np.int64]:
    """Return overdispersed counts of 100 features from four groups."""
    rng = np.random.default_rng(0)
    rate = rng.gamma(0.5, 4.0, size=(4, 100))[np.arange(600) % 4]
    return rng.poisson(rate * rng.gamma(3.0, 1 / 3, size=rate.shape))


def memory_map() -> Results:
    """Fit a file of 2000 rows."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "X.npy"
        np.save(path, blobs(2000).astype(np.float32))
        return fit(np.load(path, mmap_mode="r"), 6)


def partial_fits() -> Results:
    """Fit one batch, and train on two others."""
    X = blobs(900)
    model = TreeVAEClustering(6, random_state=0)
    for batch in np.split(X, 3):
        model.partial_fit(batch)
    return summary(model, X[-300:])


def own_networks() -> Results:
    """Fit with networks of a user's own."""
    linear = torch.nn.Linear
    return fit(blobs(), 4, encoder=linear, decoder=linear)


def omniglot(folder: Path, **kwargs) -> Results:
    """Fit Omniglot's five alphabets as images."""
    with np.load(folder / "omniglot5.npz") as archive:
        images = 1 - archive["X_train"].reshape(-1, 784).astype(np.float32) / 255
    return fit(images, 5, image_shape=(28, 28), **kwargs)


def newsgroups(folder: Path, **kwargs) -> Results:
    """Fit 2000 posts of 20 Newsgroups."""
    with np.load(folder / "newsgroups20_tfidf2000.npz") as archive:
        parts = [archive[f"X_train_{p}"] for p in ("data", "indices", "indptr")]
        shape = archive["X_train_shape"]
    data, indices, indptr = parts
    X = sparse.csr_matrix(
        (data, indices.astype(np.int32), indptr.astype(np.int32)), tuple(shape)
    )
    return fit(X[:2000], 20, **kwargs)


CASES: dict[str, Callable[[], Results]] = {
    **{f"digits, seed {s}": lambda s=s: fit(DIGITS, seed=s) for s in range(5)},
    "digits, iterative": lambda: fit(DIGITS, growth="iterative"),
    "digits, Bernoulli": lambda: fit(DIGITS / 16),
    "digits, as images": lambda: fit(DIGITS, image_shape=(8, 8)),
    "iris": lambda: fit(load_iris().data, 3),
    "number of clusters": lambda: fit(blobs(), None),
    "depth": lambda: fit(blobs(), 6, max_depth=3),
    "early stopping": lambda: fit(blobs(), 6, early_stopping=True),
    "neighbors": lambda: fit(blobs(), 6, views="neighbors"),
    "iterative, neighbors": lambda: fit(
        blobs(), 6, views="neighbors", growth="iterative", split_criterion="elbo"
    ),
    "iterative, file": lambda: fit(
        torch.utils.data.TensorDataset(torch.from_numpy(blobs())),
        6,
        growth="iterative",
        split_criterion="reconstruction",
    ),
    "negative binomial": lambda: fit(counts(), 4, likelihood="negative_binomial"),
    "Poisson": lambda: fit(counts()[:, :20], 4, likelihood="poisson"),
    "sparse": lambda: fit(sparse.csr_array(counts() // 4), 4),
    "bfloat16": lambda: fit(blobs(), 6, precision="bfloat16"),
    "memory map": memory_map,
    "partial_fit": partial_fits,
    "own networks": own_networks,
}

REAL_CASES: dict[str, Callable[[Path], Results]] = {
    "Omniglot, views": lambda folder: omniglot(folder, views="image"),
    "20 Newsgroups": newsgroups,
}


def main(arguments: list[str] | None = None) -> None:
    """Run the cases, and save or compare their results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--save", type=Path)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--only", nargs="*", help="names of cases")
    options = parser.parse_args(arguments)
    cases = dict(CASES)
    if options.data_dir is not None:
        for name, case in REAL_CASES.items():
            cases[name] = lambda case=case: case(options.data_dir)
    before = dict(np.load(options.against)) if options.against else None
    found = {}
    torch.set_num_threads(1)
    for name in options.only or cases:
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results = cases[name]()
        results = {f"{name}/{key}": value for key, value in results.items()}
        found.update(results)
        verdict = "done"
        if before is not None:
            differ = [
                key
                for key, value in results.items()
                if key not in before or not np.array_equal(value, before[key])
            ]
            verdict = f"DIFFERS: {', '.join(differ)}" if differ else "equal"
        print(f"{name}: {verdict}", flush=True)
    if options.save:
        np.savez(options.save, **found)


if __name__ == "__main__":
    main()
