"""The paper's procedure on MNIST, in pieces: kill it and start it again at will.

    python benchmarks/published.py --data-dir data --checkpoint-dir published

A fit of all 60 000 images takes hours. Its state is on disk every ten minutes. The
record of a seed goes to ``--out`` once its fit is done.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch
from quality import METHODS, load, run, tree_vae
from records import append, read


def main() -> None:
    """Fit what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--checkpoint-dir", type=Path, default=Path("published"))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--n-leaves", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("published.jsonl"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    name, n_leaves = arguments.dataset, arguments.n_leaves
    done = {(r["dataset"], r["n_leaves"], r["seed"]) for r in read(arguments.out)}
    data = load(name, arguments.data_dir)
    METHODS["published"] = tree_vae
    for seed in arguments.seeds:
        if (name, n_leaves, seed) in done:
            continue
        parameters = {
            "growth": "published",
            "likelihood": "bernoulli",
            "checkpoint_dir": arguments.checkpoint_dir / f"{name}-{n_leaves}-{seed}",
            "verbose": 1,
        }
        start = time.time()
        record = run(
            name,
            replace(data, parameters=data.parameters | parameters),
            "published",
            n_leaves,
            seed,
        )
        append(arguments.out, record | {"seconds_of_last_run": time.time() - start})


if __name__ == "__main__":
    main()
