"""Time of an update step, a fit and a prediction.

    python benchmarks/speed.py --data-dir DIR --only steps fits predict

appends lines of JSON to --out and prints a Markdown table for each part:

steps    milliseconds of an update step of the joint training, for trees of 2 to 200
         leaves beside a plain VAE with the same encoder and a decoder of the same size,
         784 features, batches of 256 and 1024. The data has as many clusters as there
         are leaves, and routers are initialized as in a fit. "read" is the mean number
         of leaves that decode a sample.
fits     seconds of whole fits by phase, beside other clusterings; EVoC and fast_hdbscan
         need ``pip install evoc fast_hdbscan[nndescent]``
predict  rows per second of `predict`, beside the forward pass of the encoder from 784
         features to the deepest embedding, and beside this pass with the chain to the
         embeddings of the other depths, in the same blocks

Steps and predictions are medians of interleaved repetitions, in CPU seconds, so ratios
are valid on a busy machine. Fits are in CPU seconds and in seconds of the clock.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from generated import make_gaussians
from quality import METHODS, Data, fit_tree_vae, load
from records import append, publish
from sklearn.metrics import normalized_mutual_info_score
from torch import Tensor, nn
from torch.nn import functional as F

from sktreevae import TreeVAEClustering
from sktreevae.data.samples import BLOCK_SIZE
from sktreevae.graph import NeighborGraph
from sktreevae.model import DiagonalGaussian, ModelConfig, Topology, TreeVAE
from sktreevae.model.layers import MLP, linear
from sktreevae.model.networks import BottomUp
from sktreevae.training.growth import Stage
from sktreevae.training.guided import RouterPhase
from sktreevae.training.objectives import (
    MAX_ACTIVE_LEAVES,
    routing_loss,
)
from sktreevae.training.optimizer import AdamW
from sktreevae.training.trainer import TrainingOptions

N_FEATURES = 784
HIDDEN, LATENT, ENCODER_DEPTH = 128, 8, 2
N_ROWS = 20_000
STEPS_PER_ROUND = 5
OPTIONS = TrainingOptions()


class PlainVAE(nn.Module):
    """A VAE with the encoder of a tree, and a decoder of the size of a leaf's."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.encoder = BottomUp(
            N_FEATURES,
            hidden_dim=HIDDEN,
            depth=0,
            perceptron_depth=ENCODER_DEPTH,
            generator=generator,
        )
        self.head = linear(HIDDEN, 2 * LATENT, generator=generator)
        self.decoder = nn.Sequential(
            MLP((LATENT, HIDDEN, 2 * HIDDEN), generator=generator),
            linear(2 * HIDDEN, N_FEATURES, generator=generator),
        )
        self.generator = generator

    def loss(self, x: Tensor) -> Tensor:
        """Return the negative ELBO in nats, the mean over rows in [0, 1]."""
        q = DiagonalGaussian.from_raw(self.head(self.encoder(x)[0]))
        z = q.sample(torch.empty_like(q.mean).normal_(generator=self.generator))
        logits = self.decoder(z)
        log_prob = torch.linalg.vecdot(logits, x) - F.softplus(logits).sum(1)
        return (q.kl(DiagonalGaussian.standard(q.mean)) - log_prob).mean()


def clusters(n_clusters: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Generate rows in [0, 1], and their clusters."""
    centers = torch.rand(n_clusters, N_FEATURES, generator=generator)
    y = torch.randint(n_clusters, (N_ROWS,), generator=generator)
    noise = torch.rand(N_ROWS, N_FEATURES, generator=generator)
    return 0.7 * centers[y] + 0.3 * noise, y


def balanced(n_leaves: int) -> Topology:
    """Return a tree whose depths of leaves differ by at most one."""
    tree = Topology.single_leaf()
    while len(tree.leaves) < n_leaves:
        depths = [tree.node_depths[node] for node in tree.leaves]
        tree = tree.split_leaf(depths.index(min(depths))).topology
    return tree


def plain_step(batch_size: int) -> Callable[[], int]:
    """Return a function that trains the plain VAE for one step.

    It returns the number of rows that were decoded.
    """
    generator = torch.Generator().manual_seed(0)
    model, (x, _) = PlainVAE(generator), clusters(10, generator)
    optimizer = AdamW(model.parameters(), OPTIONS.weight_decay)

    def step() -> int:
        rows = torch.randint(N_ROWS, (batch_size,), generator=generator)
        optimizer.step(model.loss(x[rows]), OPTIONS.learning_rate)
        return batch_size

    return step


def tree_step(n_leaves: int, batch_size: int) -> Callable[[], int]:
    """Return the same for a tree, with routers that are trained on the clusters."""
    generator = torch.Generator().manual_seed(0)
    x, y = clusters(n_leaves, generator)
    config = ModelConfig(
        n_features=N_FEATURES,
        hidden_dim=HIDDEN,
        latent_dim=LATENT,
        perceptron_depth=ENCODER_DEPTH,
        bottom_up_depth=int(np.ceil(np.log2(n_leaves))),
        likelihood="bernoulli",
    )
    model = TreeVAE(balanced(n_leaves), config, generator=generator)
    model.bottom_up.standardize(x)
    optimizer = AdamW(model.parameters(), OPTIONS.weight_decay)

    def draw_batch() -> tuple[Tensor, Tensor]:
        rows = torch.randint(N_ROWS, (batch_size,), generator=generator)
        return x[rows], F.one_hot(y[rows], n_leaves).float()

    for _ in range(RouterPhase.max_steps):
        batch, target = draw_batch()
        routing = model.route(model.bottom_up(batch))
        loss = routing_loss(routing.leaf_log_proba, target)
        optimizer.step(loss, OPTIONS.learning_rate)
        if loss < RouterPhase.tol:
            break
    n_decoded: list[int] = []
    model.top_down.decoders.readout.register_forward_hook(
        lambda _module, inputs, _output: n_decoded.append(len(inputs[0]))
    )

    def step() -> int:
        batch, target = draw_batch()
        encoding = model.encode(batch, features=batch)
        posterior = model.posterior(encoding, model.sample_noise(len(batch), generator))
        terms = model.sparse_elbo(posterior, batch, MAX_ACTIVE_LEAVES)
        log_proba = posterior.routing.leaf_log_proba
        # The weight of the routing loss is the number of features.
        loss = N_FEATURES * routing_loss(log_proba, target)
        optimizer.step(loss - terms.elbo().mean(), OPTIONS.learning_rate)
        return n_decoded.pop()

    return step


def interleave(
    tasks: dict[str, Callable[[], int]], n_rounds: int
) -> dict[str, tuple[float, float]]:
    """Return the median CPU seconds of a call, and the mean of the returned values."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    values: dict[str, list[int]] = {name: [] for name in tasks}
    for task in tasks.values():
        for _ in range(STEPS_PER_ROUND):
            task()
    for _ in range(n_rounds):
        for name, task in tasks.items():
            start = time.process_time()
            results = [task() for _ in range(STEPS_PER_ROUND)]
            seconds[name].append((time.process_time() - start) / STEPS_PER_ROUND)
            values[name] += results
    return {
        name: (float(np.median(seconds[name])), float(np.mean(values[name])))
        for name in tasks
    }


def steps(arguments: argparse.Namespace) -> Iterator[dict]:
    """Time update steps."""
    for batch_size in (256, 1024):
        tasks = {"plain VAE": plain_step(batch_size)}
        for n_leaves in arguments.leaves:
            tasks[str(n_leaves)] = tree_step(n_leaves, batch_size)
        results = interleave(tasks, arguments.rounds)
        plain, ten = results["plain VAE"][0], results.get("10", (np.nan,))[0]
        for name, (seconds, n_decoded) in results.items():
            yield {
                "batch": batch_size,
                "leaves": name,
                "ms": 1e3 * seconds,
                "of plain VAE": seconds / plain,
                "of 10 leaves": seconds / ten,
                "read": n_decoded / batch_size,
            }


@contextmanager
def stopwatches(**methods: tuple[type, str]) -> Iterator[dict[str, float]]:
    """Measure the CPU seconds of methods, given as class and name, and of stages."""
    methods["routers"] = methods["joint"] = Stage, "run"
    totals = dict.fromkeys(methods, 0.0)
    with ExitStack() as stack:
        for name, (owner, attribute) in methods.items():
            method = getattr(owner, attribute)

            def timed(self, *args, method=method, name=name, **kwargs):
                start = time.process_time()
                result = method(self, *args, **kwargs)
                if name == getattr(self, "name", name):
                    totals[name] += time.process_time() - start
                return result

            stack.enter_context(mock.patch.object(owner, attribute, timed))
        yield totals


def timed_fit(
    fit: Callable[[], TreeVAEClustering],
) -> tuple[dict, TreeVAEClustering]:
    """Return the seconds of a fit, of the CPU, the clock and each phase; the model."""
    with stopwatches(
        graph=(NeighborGraph, "__init__"),
        tree=(NeighborGraph, "propose"),
    ) as phases:
        clock, cpu = time.perf_counter(), time.process_time()
        model = fit()
        clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
    rest = cpu - sum(phases.values())
    return {"CPU-s": cpu, "s": clock, **phases, "rest": rest}, model


PEERS = (
    "Ward",
    "BisectingKMeans + Ward",
    "HDBSCAN",
    "fast_hdbscan",
    "EVoC",
)
MAX_ROWS = {"Ward": 20_000, "HDBSCAN": 20_000}
"""With more rows, these methods take all memory, or hours."""

N_LEAVES = {"iris": 3, "squares": 40}
"""Number of clusters where it isn't 10."""


def fits(arguments: argparse.Namespace) -> Iterator[dict]:
    """Time whole fits by phase, beside peers that run on the same rows."""
    # The set-up of libraries on first use isn't part of a fit.
    first = Data.of_one_part(*make_gaussians(200, 5))
    fit_tree_vae(first, 2, 0, max_iter=1)
    for peer in arguments.peers:
        METHODS[peer](first, 2, 0)
    # The first use of numba sets the number of threads of OpenMP.
    torch.set_num_threads(arguments.threads)
    for name in arguments.datasets:
        data, k = load(name, arguments.data_dir), N_LEAVES.get(name, 10)
        for seed in arguments.seeds:
            seconds, model = timed_fit(partial(fit_tree_vae, data, k, seed))
            quality = agreement(data.y_train, model.labels_)
            yield {
                "data": name,
                "method": "TreeVAE",
                "seed": seed,
                **quality,
                **seconds,
            }
        # Methods that can't predict cluster the test part.
        train = Data.of_one_part(data.X, data.y_train)
        for peer in arguments.peers:
            if data.X.shape[0] > MAX_ROWS.get(peer, np.inf):
                continue
            clock, cpu = time.perf_counter(), time.process_time()
            labels = METHODS[peer](train, k, 0).labels
            cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
            quality = agreement(data.y_train, labels)
            row = {"data": name, "method": peer, "seed": 0, **quality}
            yield {**row, "CPU-s": cpu, "s": clock}


def agreement(y: np.ndarray, labels: np.ndarray) -> dict:
    """Return the number of clusters, and their agreement with classes."""
    return {
        "clusters": len(np.unique(labels)),
        "NMI": float(normalized_mutual_info_score(y, labels)),
    }


def predict(arguments: argparse.Namespace) -> Iterator[dict]:
    """Time predictions beside the encoder alone."""
    generator = torch.Generator().manual_seed(0)
    for n_leaves in (10, 100):
        x, _ = clusters(n_leaves, generator)
        X = x.numpy()
        model = TreeVAEClustering(n_leaves, max_iter=1, random_state=0).fit(X)
        bottom_up = model.module_.bottom_up
        without_chain = copy.deepcopy(bottom_up)
        without_chain.chain = nn.ModuleList()
        encoder = nn.Sequential(model.module_.feature_map, without_chain)
        with_chain = nn.Sequential(model.module_.feature_map, bottom_up)

        @torch.no_grad()
        def embed(network: nn.Module, x: Tensor = x) -> int:
            for block in x.split(BLOCK_SIZE):
                network(block)
            return 0

        def cluster(model=model, X=X) -> int:
            model.predict(X)
            return 0

        results = interleave(
            {
                "predict": cluster,
                "encoder": partial(embed, encoder),
                "encoder and chain": partial(embed, with_chain),
            },
            arguments.rounds,
        )
        seconds = {name: median for name, (median, _) in results.items()}
        yield {
            "leaves": n_leaves,
            **{f"{name}, rows/s": len(X) / t for name, t in seconds.items()},
            "of encoder": seconds["encoder"] / seconds["predict"],
            "of both": seconds["encoder and chain"] / seconds["predict"],
        }


PARTS: dict[str, Callable[[argparse.Namespace], Iterator[dict]]] = {
    "steps": steps,
    "fits": fits,
    "predict": predict,
}


def show(value: object) -> str:
    """Return a cell of a table."""
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def parse_arguments() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument(
        "--leaves", nargs="+", type=int, default=[2, 5, 10, 20, 50, 100, 200]
    )
    parser.add_argument(
        "--datasets",
        nargs="+",
        default=["iris", "digits", "gaussians", "squares", "counts", "mnist"],
    )
    parser.add_argument("--peers", nargs="*", choices=METHODS, default=PEERS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--rounds", type=int, default=15, help="repetitions of steps and predictions"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("speed.jsonl"))
    parser.add_argument("--csv", type=Path, help="folder for a table of each part")
    return parser.parse_args()


def main() -> None:
    """Run the parts that the command line asks for."""
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    for name in arguments.only:
        rows = []
        for row in PARTS[name](arguments):
            rows.append(row)
            append(arguments.out, {"part": name, **row})
        head = list(dict.fromkeys(key for row in rows for key in row))
        cells = [[show(row.get(key, "")) for key in head] for row in rows]
        print(f"\n{name}\n")
        path = arguments.csv and arguments.csv / f"speed_{name}.csv"
        publish([head, *cells], path)


if __name__ == "__main__":
    main()
