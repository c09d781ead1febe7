"""What a GPU gives: its tests, seconds of fits and of update steps, and equal bits.

    python benchmarks/gpu.py --out gpu.jsonl

runs the tests that need a GPU, fits data in each mode, appends lines of JSON to --out,
and prints a Markdown table. It takes at most eight minutes, and leaves out fits that it
has no time for. The modes are

eager     each operation of a step is launched on its own
captured  a step is one CUDA graph, as in all fits on a GPU
bfloat16  the same, with networks in bfloat16

"ms a step" is the time of the joint training, with the capture, over the number of its
update steps. "same bits" is whether a second fit has the same labels and ELBO.
`--device cpu --quick` tests the script itself, with static shapes instead of graphs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from generated import make_gaussians
from records import append, publish
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score

from sktreevae import TreeVAEClustering
from sktreevae.data import n_batches
from sktreevae.estimator.parameters import training_options
from sktreevae.training import update
from sktreevae.training.trainer import Phase, Trainer
from sktreevae.utils.devices import static_shapes

TESTS = (
    "tests/training/test_update.py",
    "tests/estimator/test_clustering_precision.py",
    "tests/data/test_samples.py",
    "tests/io/test_save_and_load.py",
    "tests/utils",
)
MODES = {"eager": "float32", "captured": "float32", "bfloat16": "bfloat16"}
"""Precision of each mode."""


def datasets(is_quick: bool) -> Iterator[tuple[str, np.ndarray, np.ndarray, int]]:
    """Yield the name, the rows, their classes, and the number of clusters."""
    if is_quick:
        yield "blobs", *make_gaussians(300, 5, 4), 4
        return
    yield "digits", *load_digits(return_X_y=True), 10
    for n_rows, n_features, n_clusters in (
        (60_000, 50, 10),
        (60_000, 784, 10),
        (20_000, 50, 100),
    ):
        X, y = make_gaussians(n_rows, n_features, n_clusters)
        yield f"{n_rows} x {n_features}", X, y, n_clusters


@contextmanager
def stopwatch(name: str) -> Iterator[list[float]]:
    """Record the seconds of a phase of training."""
    seconds: list[float] = []
    train = Trainer.train

    def timed(self: Trainer, phase: Phase, *args: object) -> None:
        start = time.perf_counter()
        train(self, phase, *args)
        if phase.name == name:
            seconds.append(time.perf_counter() - start)

    with mock.patch.object(Trainer, "train", timed):
        yield seconds


def launches(mode: str, device: str) -> AbstractContextManager:
    """Return the context of a mode."""
    if mode == "eager":
        return mock.patch.object(update, "N_EAGER_STEPS", sys.maxsize)
    return static_shapes() if device == "cpu" else nullcontext()


def fit(
    X: np.ndarray, n_clusters: int, mode: str, device: str, options: dict
) -> tuple[TreeVAEClustering, dict]:
    """Return a fitted model, and its times."""
    model = TreeVAEClustering(
        n_clusters, device=device, precision=MODES[mode], random_state=0, **options
    )
    with launches(mode, device), stopwatch("joint") as joint:
        start = time.perf_counter()
        model.fit(X)
        seconds = time.perf_counter() - start
    n_epochs = model.history_["phase"].count("joint")
    batch_size = training_options(model, len(X), torch.device(device)).batch_size
    n_steps = n_epochs * n_batches(len(X), batch_size)
    return model, {"s": seconds, "ms a step": 1e3 * sum(joint) / n_steps}


def records(arguments: argparse.Namespace) -> Iterator[dict]:
    """Fit all data in all modes, and yield a record for each."""
    start, longest = time.perf_counter(), 0.0
    options = {"max_iter": 1} if arguments.quick else {}
    first, _ = make_gaussians(200, 5)
    fit(first, 2, "eager", arguments.device, {"max_iter": 1})
    for name, X, y, n_clusters in datasets(arguments.quick):
        for mode in MODES:
            if time.perf_counter() - start + 2 * longest > arguments.seconds:
                print(f"No time for {name}, {mode}.")
                continue
            call = X, n_clusters, mode, arguments.device, options
            (one, times), (two, _) = fit(*call), fit(*call)
            longest = max(longest, times["s"])
            bits = [(m.labels_.tolist(), m.lower_bound_) for m in (one, two)]
            yield {
                "data": name,
                "mode": mode,
                **times,
                "ARI": float(adjusted_rand_score(y, one.labels_)),
                "ELBO": one.lower_bound_,
                "same bits": bits[0] == bits[1],
            }


def main() -> None:
    """Run the tests, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny data, no tests")
    parser.add_argument("--seconds", type=float, default=300.0, help="of all fits")
    parser.add_argument("--out", type=Path, default=Path("gpu.jsonl"))
    arguments = parser.parse_args()
    if not arguments.quick:
        pytest = [sys.executable, "-m", "pytest", "-q", "-n", "0", *TESTS]
        subprocess.run(pytest, timeout=180, check=False)
    rows = []
    for row in records(arguments):
        rows.append(row)
        append(arguments.out, dict(row))
    cells = [
        [f"{value:.3f}" if isinstance(value, float) else str(value) for value in row]
        for row in map(dict.values, rows)
    ]
    publish([list(rows[0]), *cells])


if __name__ == "__main__":
    main()
