"""Quality of the trees, beside other clusterings and trees in the same run.

    python benchmarks/quality.py --data-dir DIR --datasets digits mnist mnist-images

writes a line of JSON for each fit to --out and prints a Markdown table of all lines.
Fits whose lines are in the file are skipped, so a run can be continued. Labels are used
to evaluate, never to fit. All methods are evaluated on the test part. Methods that
can't predict (Ward, HDBSCAN, EVoC, spectral clustering) cluster it.

A dataset is the name of a file in --data-dir, one of scikit-learn's, or generated, with
suffixes: "mnist-10k" has the first 10 000 rows, the rows of "mnist-images" are images
of the shape in the file, "digits-unit" are divided by 16, and the sizes of the clusters
of "blobs-100" have ratios of up to 100. Others that are generated are "gaussians"
(1000 x 50), "squares" (400 images of 32 x 32 in 40 clusters) and "counts" (4186 x
13 488, of which 97% are 0).
"""

from __future__ import annotations

import argparse
import io
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import torch
from generated import make_counts, make_gaussians, make_squares, make_unbalanced
from records import append, publish, read, summarize
from scipy import sparse
from scipy.cluster.hierarchy import linkage
from sklearn.cluster import (
    HDBSCAN,
    AgglomerativeClustering,
    BisectingKMeans,
    KMeans,
    SpectralClustering,
)
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.metrics import normalized_mutual_info_score

from sktreevae import TreeVAEClustering
from sktreevae.data import Samples
from sktreevae.metrics import clustering_accuracy, dendrogram_purity, leaf_purity

KEYS = {"dataset": "data", "method": "method", "n_leaves": "leaves"}
METRICS = {
    "dendrogram_purity": ("DP", 3),
    "leaf_purity": ("LP", 3),
    "accuracy": ("ACC", 3),
    "accuracy_without_noise": ("ACC, noise wrong", 3),
    "nmi": ("NMI", 3),
}
FILES = {
    "mnist": "mnist",
    "fashion": "fashion_mnist",
    "omniglot": "omniglot5",
    "characters": "omniglot5",
    "news": "newsgroups20_tfidf2000",
    "pbmc": "sc_pbmc68k_reduced",
    "zoo": "zoo",
    "minilm": "newsgroups20_minilm",
    "cifar": "cifar10_jpeg_15k",
    "banking77": "banking77_minilm",
}
BUNDLED = {
    "digits": load_digits,
    "iris": load_iris,
    "wine": load_wine,
    "breast_cancer": load_breast_cancer,
}

MAX_DEEP_ECT_VISITS = 300_000
"""Maximum of the product of samples and epochs of the autoencoder of DeepECT."""


@dataclass(frozen=True)
class Data:
    """Training and test parts, and parameters of `TreeVAEClustering`.

    `image_shape` is the shape of the images that rows are, if any.
    """

    X: np.ndarray | sparse.csr_array
    y_train: np.ndarray
    X_test: np.ndarray | sparse.csr_array
    y_test: np.ndarray
    image_shape: tuple[int, ...] | None = None
    parameters: dict = field(default_factory=dict)

    @classmethod
    def of_one_part(cls, X: np.ndarray, y: np.ndarray, **attributes) -> Data:
        """Return data whose training part is the test part as well."""
        return cls(X, y, X, y, **attributes)


@dataclass(frozen=True)
class Clustering:
    """Result of a method for the test part.

    Parameters
    ----------
    labels : ndarray of shape (n_samples,)
        Clusters.
    tree : object, default=None
        Tree over the clusters or, if `per_sample`, over the samples; None if the method
        has no public tree.
    per_sample : bool, default=False
        Whether the leaves of the tree are the samples.
    model : TreeVAEClustering, default=None
        The estimator, if the method is one of this package.
    """

    labels: np.ndarray
    tree: object = None
    per_sample: bool = False
    model: TreeVAEClustering | None = None


def load(name: str, data_dir: Path) -> Data:
    """Return a dataset by its name; without a test part, the training part is both."""
    stem, *suffixes = name.split("-")
    if stem in GENERATED:
        return GENERATED[stem](*map(int, suffixes))
    if stem in BUNDLED:
        X, y = BUNDLED[stem](return_X_y=True)
        X = X / 16.0 if "unit" in suffixes else X  # gray levels in [0, 1]
        image_shape = (8, 8) if "images" in suffixes else None
        return Data.of_one_part(X, y, image_shape=image_shape)
    with np.load(data_dir / f"{FILES[stem]}.npz") as file:
        parts = dict(file)
    if stem == "cifar":
        parts |= {f"X_{part}": decode_jpegs(parts, part) for part in ("train", "test")}
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
    image_shape = parts["X_train"].shape[1:] if "images" in suffixes else None
    return Data(X, y, X_test, parts["y_test"], image_shape)


def counts() -> Data:
    """Return sparse counts."""
    X, y = make_counts(4186, 13_488)
    parameters = {"likelihood": "negative_binomial"}
    return Data.of_one_part(sparse.csr_array(X), y, parameters=parameters)


GENERATED: dict[str, Callable[..., Data]] = {
    "blobs": lambda ratio: Data.of_one_part(*make_unbalanced(ratio)),
    "gaussians": lambda: Data.of_one_part(*make_gaussians(1000, n_clusters=10)),
    "squares": lambda: Data.of_one_part(
        *make_squares(400, 32, 40), image_shape=(32, 32)
    ),
    "counts": counts,
}


def decode_jpegs(parts: dict, part: str) -> np.ndarray:
    """Return images, (n, height, width, 3), from the bytes of their files."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("CIFAR-10 is in JPEG files: pip install pillow") from error
    files, offsets = parts[f"jpeg_{part}"], parts[f"offsets_{part}"]
    files = [files[start:end].tobytes() for start, end in pairwise(offsets)]
    return np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files])


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


def dense(X: np.ndarray | sparse.csr_array) -> np.ndarray:
    """Return a dense array."""
    return X.toarray() if sparse.issparse(X) else X


def principal_components(data: Data) -> tuple[np.ndarray, np.ndarray]:
    """Return both parts in 50 components of the training part, the same for any seed.

    Sparse data isn't centered: a truncated SVD keeps it sparse.
    """
    n_components = min(50, *data.X.shape)
    decomposition = TruncatedSVD if sparse.issparse(data.X) else PCA
    model = decomposition(n_components, random_state=0).fit(data.X)
    return model.transform(data.X), model.transform(data.X_test)


def fit_tree_vae(data: Data, n_leaves: int, seed: int, **options) -> TreeVAEClustering:
    """Fit `TreeVAEClustering` without warnings, whose causes are in the table."""
    options = {"image_shape": data.image_shape, **data.parameters, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return TreeVAEClustering(n_leaves, random_state=seed, **options).fit(data.X)


def tree_vae(data: Data, n_leaves: int, seed: int, **options) -> Clustering:
    """Grow a tree; predict the leaves of the test part."""
    model = fit_tree_vae(data, n_leaves, seed, **options)
    return Clustering(model.predict(data.X_test), model.dendrogram_, model=model)


def tree_vae_views(data: Data, n_leaves: int, seed: int, **options) -> Clustering:
    """Grow a tree with the contrastive losses: augmented images, or neighbors."""
    views = "neighbors" if data.image_shape is None else "image"
    return tree_vae(data, n_leaves, seed, views=views, **options)


def ward_of(X: np.ndarray, n_leaves: int) -> Clustering:
    """Ward's tree of the samples themselves: it can't predict."""
    model = AgglomerativeClustering(n_leaves, compute_full_tree=True).fit(X)
    return Clustering(model.labels_, model, per_sample=True)


def ward(data: Data, n_leaves: int, seed: int) -> Clustering:
    """Ward's tree of the test part."""
    return ward_of(dense(data.X_test), n_leaves)


def pca_ward(data: Data, n_leaves: int, seed: int) -> Clustering:
    """Ward's tree of the test part in principal components of the training part."""
    return ward_of(principal_components(data)[1], n_leaves)


def vae_ward(data: Data, n_leaves: int, seed: int) -> Clustering:
    """Ward's tree of the test part's latents in a flat VAE: a tree of a single leaf."""
    model = fit_tree_vae(data, 1, seed)
    samples = Samples(
        data.X_test, model._standardizer, model.device_, likelihood=model.likelihood_
    )
    module = model.module_
    latent = samples.map(lambda x: module.posterior(module.encode(x)).leaf_z[0])
    return replace(ward_of(latent.numpy(force=True), n_leaves), model=model)


def centroid_ward(data: Data, n_leaves: int, seed: int, estimator: type) -> Clustering:
    """Ward's tree of the centroids of k-means."""
    options = {"n_init": 10} if estimator is KMeans else {}
    model = estimator(n_leaves, random_state=seed, **options).fit(data.X)
    tree = linkage(model.cluster_centers_, "ward")
    return Clustering(model.predict(data.X_test), tree)


def hdbscan(data: Data, n_leaves: int, seed: int) -> Clustering:
    """Density clusters of the test part in principal components of the training part.

    HDBSCAN finds the number of clusters. They have at least 5 samples, its default, and
    at least a twentieth of the mean size over `n_leaves`, the limit of pruning in
    `TreeVAEClustering`. Noise is one more cluster: a cluster for each noise point would
    be pure. The tree isn't public.
    """
    min_size = max(5, len(data.y_test) // (20 * n_leaves))
    model = HDBSCAN(min_cluster_size=min_size, min_samples=5, copy=True)
    return Clustering(model.fit_predict(principal_components(data)[1]))


def spectral(data: Data, n_leaves: int, seed: int) -> Clustering:
    """Spectral clustering of the neighbor graph of the test part."""
    model = SpectralClustering(
        n_leaves, affinity="nearest_neighbors", random_state=seed
    )
    return Clustering(model.fit_predict(principal_components(data)[1]))


def fast_hdbscan(data: Data, n_leaves: int, seed: int) -> Clustering:
    """Find the clusters of `hdbscan` by the package fast_hdbscan."""
    try:
        import fast_hdbscan
    except ImportError as error:
        raise ImportError(
            "fast_hdbscan: pip install fast_hdbscan[nndescent]"
        ) from error
    min_size = max(5, len(data.y_test) // (20 * n_leaves))
    model = fast_hdbscan.HDBSCAN(min_cluster_size=min_size, min_samples=5)
    return Clustering(model.fit_predict(principal_components(data)[1]))


def evoc(data: Data, n_leaves: int, seed: int, *, with_number: bool) -> Clustering:
    """Clusters of the test part by EVoC, whose default finds their number.

    Noise is one more cluster, as with HDBSCAN.
    """
    try:
        from evoc import EVoC
    except ImportError as error:
        raise ImportError("EVoC: pip install evoc") from error
    options = {"approx_n_clusters": n_leaves} if with_number else {}
    model = EVoC(random_state=seed, **options)
    return Clustering(model.fit_predict(dense(data.X_test).astype(np.float32)))


def deep_ect(data: Data, n_leaves: int, seed: int) -> Clustering:
    """DeepECT by clustpy, with fewer epochs for data on which these take hours.

    Its defaults are 100 epochs for the autoencoder, and 150 epochs for the tree, which
    grows a leaf in every second one. Fewer epochs have the same ratio, and the tree has
    at least one epoch for each leaf.
    """
    try:
        from clustpy.deep import DeepECT
    except (ImportError, RuntimeError) as error:  # the latter is torchvision's
        raise ImportError(
            "DeepECT needs clustpy and a torchvision built for the torch that is "
            "installed: pip install clustpy"
        ) from error
    pretrain_epochs = min(100, -(-MAX_DEEP_ECT_VISITS // data.X.shape[0]))
    clustering_epochs = max(3 * pretrain_epochs // 2, n_leaves)
    model = DeepECT(
        n_leaves,
        pretrain_epochs=pretrain_epochs,
        clustering_epochs=clustering_epochs,
        grow_interval=min(2, clustering_epochs // n_leaves),
        random_state=seed,
    ).fit(dense(data.X).astype(np.float32))
    # The linkage matrix of clustpy is wrong if a node was pruned.
    leaves, _ = model.tree_.get_leaf_and_split_nodes()
    position = {leaf.labels[0]: i for i, leaf in enumerate(leaves)}
    merges: list[tuple] = []

    def merge(node) -> tuple[int, int]:
        """Return the row of a node and its number of leaves."""
        if node.is_leaf_node():
            return position[node.labels[0]], 1
        (left, n_left), (right, n_right) = map(
            merge, (node.left_node_, node.right_node_)
        )
        merges.append((left, right, len(merges), n_left + n_right))
        return len(leaves) + len(merges) - 1, n_left + n_right

    merge(model.tree_.root_node_)
    predicted = model.predict(dense(data.X_test).astype(np.float32))
    labels = np.array([position[label] for label in predicted])
    return Clustering(labels, np.array(merges, dtype=float))


published = partial(tree_vae, growth="published")

METHODS: dict[str, Callable[..., Clustering]] = {
    "TreeVAE": partial(tree_vae, growth="guided"),
    "TreeVAE, iterative": partial(tree_vae, growth="iterative"),
    "TreeVAE, published": published,
    "TreeVAE, published, 50 epochs": partial(published, max_iter=50),
    "TreeVAE, published, 50 epochs, reconstruction": partial(
        published, max_iter=50, split_criterion="reconstruction"
    ),
    "TreeVAE, published, 50 epochs, elbo": partial(
        published, max_iter=50, split_criterion="elbo"
    ),
    "TreeVAE, views": partial(tree_vae_views, growth="guided"),
    "TreeVAE, views, 40 epochs": partial(tree_vae_views, max_iter=40),
    "TreeVAE, iterative, views": partial(tree_vae_views, growth="iterative"),
    "VAE + Ward": vae_ward,
    "Ward": ward,
    "Ward on PCA": pca_ward,
    "KMeans + Ward": partial(centroid_ward, estimator=KMeans),
    "BisectingKMeans + Ward": partial(centroid_ward, estimator=BisectingKMeans),
    "HDBSCAN": hdbscan,
    "Spectral": spectral,
    "fast_hdbscan": fast_hdbscan,
    "EVoC": partial(evoc, with_number=False),
    "EVoC, number given": partial(evoc, with_number=True),
    "DeepECT": deep_ect,
}
DETERMINISTIC = ("Ward", "Ward on PCA", "HDBSCAN", "fast_hdbscan")
EXTRA = (
    "fast_hdbscan",
    "EVoC",
    "EVoC, number given",
    "DeepECT",
    *(method for method in METHODS if "published" in method),
)
"""Methods of packages that the extra ``bench`` does not install, and slow ones."""


def purity_of(result: Clustering, y: np.ndarray, n_leaves: int) -> float | None:
    """Return the dendrogram purity. A tree of the samples is cut first to compare."""
    if result.tree is None:
        return None
    if result.per_sample:
        return dendrogram_purity(y, result.tree, n_leaves=n_leaves)
    return dendrogram_purity(y, result.tree, result.labels)


def accuracy_without_noise(y: np.ndarray, labels: np.ndarray) -> float | None:
    """Return the accuracy if noise, labeled -1, is wrong; None without noise."""
    is_noise = labels < 0
    if not is_noise.any():
        return None
    if is_noise.all():
        return 0.0
    kept = clustering_accuracy(y[~is_noise], labels[~is_noise])
    return kept * float((~is_noise).mean())


def run(name: str, data: Data, method: str, n_leaves: int, seed: int) -> dict:
    """Fit one method and evaluate it on the test part."""
    y_test = data.y_test
    start = time.process_time()
    result = METHODS[method](data, n_leaves, seed)
    seconds = time.process_time() - start
    return {
        "dataset": name,
        "method": method,
        "n_leaves": n_leaves,
        "seed": seed,
        "n_found": len(np.unique(result.labels)),
        "dendrogram_purity": purity_of(result, y_test, n_leaves),
        "leaf_purity": leaf_purity(y_test, result.labels),
        "accuracy": clustering_accuracy(y_test, result.labels),
        "accuracy_without_noise": accuracy_without_noise(y_test, result.labels),
        "nmi": normalized_mutual_info_score(y_test, result.labels),
        "cpu_seconds": seconds,
        "elbo": None if result.model is None else result.model.score(data.X_test),
    }


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--datasets", nargs="*", default=["digits"])
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=METHODS,
        default=[method for method in METHODS if method not in EXTRA],
        help=f"all by default but {', '.join(EXTRA)}",
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--n-leaves", nargs="+", type=int, default=[10])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("quality.jsonl"))
    parser.add_argument("--csv", type=Path, help="also write the table there")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    records = read(arguments.out)
    done = {(r["dataset"], r["method"], r["n_leaves"], r["seed"]) for r in records}
    for name in arguments.datasets:
        data = load(name, arguments.data_dir)
        for n_leaves, method in product(arguments.n_leaves, arguments.methods):
            seeds = arguments.seeds[: 1 if method in DETERMINISTIC else None]
            for seed in seeds:
                if (name, method, n_leaves, seed) in done:
                    continue
                record = run(name, data, method, n_leaves, seed)
                records.append(record)
                append(arguments.out, record)
    publish(summarize(records, KEYS, METRICS), arguments.csv)


if __name__ == "__main__":
    main()
