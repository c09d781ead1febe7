"""CPU seconds of an epoch in a fit that several processes share.

    torchrun --nproc-per-node 1 benchmarks/shared.py --data-dir DIR
    torchrun --nproc-per-node 4 benchmarks/shared.py --data-dir DIR

print the CPU seconds of all processes together. The first number divided by the second
is the throughput of a core, relative to a single process. Two fits differ in their
number of epochs, so that the neighbor graph and the first epochs cancel.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from quality import Data, fit_tree_vae, load

EPOCHS = 2, 8


def cpu_seconds(data: Data, n_epochs: int, batch_size: int) -> float:
    """Return the CPU seconds of a fit."""
    start = time.process_time()
    fit_tree_vae(data, 10, 0, max_iter=n_epochs, batch_size=batch_size)
    return time.process_time() - start


def main() -> None:
    """Fit twice, and sum over the processes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--dataset", default="mnist", help="or mnist-images")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--batch-size", type=int, default=4096)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    data = load(arguments.dataset, arguments.data_dir)
    rows = slice(dist.get_rank(), arguments.rows, dist.get_world_size())
    data = replace(data, X=np.ascontiguousarray(data.X[rows]))
    few, many = (cpu_seconds(data, n, arguments.batch_size) for n in EPOCHS)
    seconds = torch.tensor((many - few) / (EPOCHS[1] - EPOCHS[0]))
    dist.reduce(seconds, dst=0)
    if dist.get_rank() == 0:
        print(f"{dist.get_world_size()} processes: {seconds:.2f} CPU-s an epoch")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
