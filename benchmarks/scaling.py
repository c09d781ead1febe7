"""Time, memory and bytes of a guided fit that many processes share: a simulation.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --leaves 1000 --processes 10 1000 --rows 1e9

prints a Markdown table, one row for each number of processes. One update step of a
model of this size is measured on one thread here; its parameters are counted. The rest
is simulated: in each step, processes take the measured time, with log-normal noise, the
slowest one counts, and a ring exchanges the gradients. Reading of the data and the
neighbor graph, which the first process builds, are not included.
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np
import torch

from sktreevae.estimator.parameters import MAX_STEPS_PER_EPOCH, MIN_AUTO_BATCH_SIZE
from sktreevae.model import ModelConfig, Topology, TreeVAE
from sktreevae.training.guided import RouterPhase
from sktreevae.training.objectives import MAX_ACTIVE_LEAVES
from sktreevae.training.optimizer import AdamW
from sktreevae.training.trainer import Phase

N_BYTES = torch.float32.itemsize


def build_model(n_leaves: int, n_features: int) -> TreeVAE:
    """Return a model of a balanced tree, with random weights."""
    merges = [[2 * i, 2 * i + 1] for i in range(n_leaves - 1)]
    depth = math.ceil(math.log2(n_leaves))
    config = ModelConfig(
        n_features, 128, 8, bottom_up_depth=depth, likelihood="gaussian"
    )
    topology = Topology.from_merges(merges).topology
    return TreeVAE(topology, config, generator=torch.Generator().manual_seed(0))


def measure_step(model: TreeVAE, n_rows: int, n_repeats: int = 3) -> float:
    """Return the median time of an update step in seconds."""
    generator = torch.Generator().manual_seed(0)
    optimizer = AdamW(model.parameters(), 1e-5)
    times = []
    for _ in range(n_repeats):
        x = torch.randn(n_rows, model.config.n_features, generator=generator)
        start = time.perf_counter()
        noise = model.sample_noise(n_rows, generator)
        posterior = model.posterior(model.encode(x), noise)
        elbo = model.sparse_elbo(posterior, x, MAX_ACTIVE_LEAVES).elbo(1.0)
        optimizer.step(-elbo.mean(), 1e-4)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def count_steps(n_rows: int) -> tuple[int, int]:
    """Return the size of a batch and the number of update steps of a fit."""
    batch_size = max(MIN_AUTO_BATCH_SIZE, math.ceil(n_rows / MAX_STEPS_PER_EPOCH))
    n_batches = math.ceil(n_rows / batch_size)
    n_epochs = max(Phase.min_epochs, math.ceil(Phase.min_steps / n_batches))
    return batch_size, n_batches * n_epochs + RouterPhase.max_steps


def simulate(
    step: float,
    n_bytes: int,
    n_steps: int,
    n_processes: int,
    network: argparse.Namespace,
) -> tuple[float, float]:
    """Return the time of all steps, and of their exchanges, in seconds."""
    rng = np.random.default_rng(0)
    noise = rng.lognormal(0.0, network.noise, (min(n_steps, 200), n_processes))
    compute = step * noise.max(axis=1).mean()
    # A ring: each process sends all values twice, in parts. The question whether a
    # process has failed comes first, and is of a few bytes.
    n_hops = 2 * (n_processes - 1)
    volume = n_hops / n_processes * n_bytes / (network.bandwidth * 1e9 / 8)
    exchange = volume + 2 * n_hops * network.latency * 1e-6
    return n_steps * (compute + exchange), n_steps * exchange


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=float, default=1e9)
    parser.add_argument("--features", type=int, default=50)
    parser.add_argument("--leaves", type=int, default=1000)
    parser.add_argument("--processes", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--bandwidth", type=float, default=10.0, help="Gbit/s")
    parser.add_argument("--latency", type=float, default=30.0, help="microseconds")
    parser.add_argument(
        "--noise", type=float, default=0.1, help="of the time of a step"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    n_rows = int(arguments.rows)
    model = build_model(arguments.leaves, arguments.features)
    n_bytes = N_BYTES * sum(p.numel() for p in model.parameters())
    batch_size, n_steps = count_steps(n_rows)
    print(
        f"{n_steps} steps of {batch_size} rows, {n_bytes / 1e6:.1f} MB of gradients\n"
    )
    print(
        "processes | rows of a step | s/step | hours | of which exchanges | GB/process"
    )
    print("---|---|---|---|---|---")
    for n_processes in arguments.processes:
        n_own = math.ceil(batch_size / n_processes)
        step = measure_step(model, n_own)
        total, exchange = simulate(step, n_bytes, n_steps, n_processes, arguments)
        # Rows, features, and the target and the proposed probability of each leaf.
        n_values = 2 * arguments.features + 2 * arguments.leaves
        memory = n_rows / n_processes * n_values * N_BYTES / 1e9
        print(
            f"{n_processes} | {n_own} | {step:.3f} | {total / 3600:.1f} | "
            f"{exchange / total:.0%} | {memory:.1f}"
        )


if __name__ == "__main__":
    main()
