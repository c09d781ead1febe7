"""Script of the processes that share a fit; see `test_distributed`."""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from sklearn.datasets import make_blobs

from sktreevae import TreeVAEClustering
from sktreevae.exceptions import ProcessError
from sktreevae.model import ModelConfig, Topology, TreeVAE
from sktreevae.training.optimizer import AdamW
from sktreevae.training.trainer import Trainer
from sktreevae.utils.processes import open_processes

X, Y = make_blobs(161, 3, centers=4, cluster_std=0.3, random_state=1)
OPTIONS = {"n_clusters": 4, "max_iter": 2, "random_state": 0}
SHARDS = {2: [50, 161], 3: [0, 100, 161], 4: [100, 100, 140, 161]}
"""End of the rows of each process."""


def shard(rank, size):
    ends = [0, *SHARDS[size]]
    return slice(ends[rank], ends[rank + 1])


def train(processes, rows):
    """Return parameters after steps on parts of the same batches, with the same noise.

    Parameters
    ----------
    processes : Processes
        Those that have parts of the batches.
    rows : callable
        Returns the rows of a step that this process has.
    """
    generator = torch.Generator().manual_seed(0)
    config = ModelConfig(3, 8, 2, bottom_up_depth=2, likelihood="gaussian")
    topology = Topology.from_merges([[0, 1], [2, 3], [4, 5]]).topology
    model = TreeVAE(topology, config, generator=generator).double()
    optimizer = AdamW(model.parameters(), 1e-2, processes)
    x = torch.from_numpy(X)
    for step in range(6):
        noise = model.sample_noise(len(x), generator).double()
        own, loss = rows(step), None
        if len(x[own]):
            loss = -model.elbo(x[own], noise[:, own]).elbo(1.0).mean()
        optimizer.step(loss, 1e-2, len(x[own]))
    return torch.cat([p.detach().ravel() for p in model.parameters()])


def fit(rank, size, **options):
    """Return what a process knows after its fit."""
    model = TreeVAEClustering(**{**OPTIONS, **options}).fit(X[shard(rank, size)])
    tree = model.dendrogram_
    state = [t.double().ravel() for t in model.module_.state_dict().values()]
    return {
        "labels": model.labels_,
        "predicted": model.predict(X),
        "same": np.concatenate(
            [torch.cat(state), tree.height, tree.weight, tree.p_values]
        ),
        "elbo": model.history_["elbo"],
        "n_samples": model.n_samples_seen_,
        "is_open": dist.is_initialized(),
    }


def stop_at(n_calls, stop):
    """Call a function at the end of an epoch."""
    end_epoch, calls = Trainer._end_epoch, []

    def wrapper(trainer, record):
        end_epoch(trainer, record)
        calls.append(record)
        if len(calls) == n_calls:
            stop()

    Trainer._end_epoch = wrapper


def run_steps(rank, size, folder):
    def rows(step):
        # In one step, a process has no rows.
        return slice(0, 161 * (rank == 0)) if step == 3 else shard(rank, size)

    with open_processes(torch.device("cpu")) as processes:
        return {"parameters": train(processes, rows)}


def run_fits(rank, size, folder):
    guided = fit(rank, size)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/group", rank=rank, world_size=size
    )
    iterative = fit(rank, size, growth="iterative", early_stopping=True)
    dist.destroy_process_group()
    names = {"guided": guided, "iterative": iterative}
    return {f"{a}.{b}": v for a, values in names.items() for b, v in values.items()}


def run_checkpoint(rank, size, folder):
    def stop():
        raise KeyboardInterrupt

    stop_at(2, stop)
    fit(rank, size, checkpoint_dir=folder / "state", checkpoint_interval=0)


def run_kill(rank, size, folder):
    if rank == 1:
        stop_at(2, lambda: os.kill(os.getpid(), signal.SIGKILL))
    fit(rank, size)


def run_nan(rank, size, folder):
    X[-1, 2] = np.nan
    fit(rank, size)


def main(name, folder):
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    try:
        result = globals()[f"run_{name}"](rank, size, Path(folder)) or {}
    except (ProcessError, ValueError, KeyboardInterrupt) as error:
        result = {"error": f"{type(error).__name__}: {error}"}
    np.savez(Path(folder) / f"{rank}.npz", **result)


if __name__ == "__main__":
    main(*sys.argv[1:])
