"""Soak: fits, predictions, saves, loads and checkpoints in a loop, and what they keep.

Prints the resident memory, the open files and the threads of the process. After the
first minute, they should stay as they are.

    python benchmarks/soak.py --minutes 60
"""

from __future__ import annotations

import argparse
import os
import pickle
import shutil
import tempfile
import time
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from sktreevae import TreeVAEClustering

GROWTHS = ("guided", "iterative", "published")


def usage() -> str:
    """Return the memory in MiB, and the numbers of files and threads; Linux only."""
    n_pages = int(Path("/proc/self/statm").read_text().split()[1])
    memory = n_pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    n_files, n_threads = (
        len(os.listdir(f"/proc/self/{name}")) for name in ("fd", "task")
    )
    return f"{memory:7.1f} MiB {n_files:4} files {n_threads:4} threads"


def one_round(X: np.ndarray, seed: int, folder: Path) -> None:
    """Use every part of the estimator once."""
    model = TreeVAEClustering(
        6,
        growth=GROWTHS[seed % len(GROWTHS)],
        max_iter=1,
        random_state=seed,
        checkpoint_dir=folder / "state",
        checkpoint_interval=0.0,
    ).fit(X)
    with suppress(ValueError):
        model.fit(X[:2])
    model.partial_fit(X[:100])
    model.save(folder / "model")
    model = pickle.loads(pickle.dumps(TreeVAEClustering.load(folder / "model")))
    model.predict_proba(X)
    model.transform(X)
    model.sample(100)
    model.explain(None, X)
    shutil.rmtree(folder / "state")


def main() -> None:
    """Run rounds for some minutes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    minutes = parser.parse_args().minutes
    warnings.simplefilter("ignore")
    X = load_digits().data[:300].astype(np.float32)
    start = printed = time.monotonic()
    n_rounds = 0
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() - start < 60.0 * minutes:
            one_round(X, n_rounds, Path(folder))
            n_rounds += 1
            if n_rounds == 1 or time.monotonic() - printed > 60.0:
                printed = time.monotonic()
                print(f"{(printed - start) / 60:5.1f} min {n_rounds:5} {usage()}")


if __name__ == "__main__":
    main()
