"""Memory of a fit and of a prediction of rows that stay on disk.

    python benchmarks/memory.py --sizes 100000 1000000 5000000

writes 50 float32 features of a mixture of Gaussians to a temporary folder, fits each
`numpy.memmap` in a process of its own, predicts it in another, and prints a Markdown
table of the rise of the anonymous memory above the memory of Python and its libraries,
and of seconds. Anonymous memory doesn't include the pages of the file that the system
keeps. Linux only.
"""

from __future__ import annotations

import argparse
import json
import pickle
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np

from sktreevae import TreeVAEClustering

N_FEATURES = 50
N_CLUSTERS = 10
BLOCK = 100_000
MIB = 1 << 20


def write(path: Path, n: int) -> None:
    """Write n rows, block by block."""
    rng = np.random.default_rng(0)
    centers = 3 * rng.standard_normal((N_CLUSTERS, N_FEATURES), dtype=np.float32)
    with path.open("wb") as file:
        for start in range(0, n, BLOCK):
            size = min(BLOCK, n - start)
            rows = rng.standard_normal((size, N_FEATURES), dtype=np.float32)
            rows += centers[rng.integers(N_CLUSTERS, size=size)]
            rows.tofile(file)


def anonymous_bytes() -> int:
    """Return the anonymous memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError("/proc/self/status has no RssAnon.")


class Peak:
    """Maximum of the anonymous memory while a block of code runs."""

    def __enter__(self) -> Peak:
        self.bytes = anonymous_bytes()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(0.02):
            self.bytes = max(self.bytes, anonymous_bytes())


def measure(path: Path) -> dict[str, float]:
    """Fit the rows of a file, or predict them if a model was fitted before."""
    warnings.simplefilter("ignore")
    X = np.memmap(path, np.float32, "r").reshape(-1, N_FEATURES)
    fitted = path.with_suffix(".pickle")
    model = TreeVAEClustering(N_CLUSTERS, max_iter=1, random_state=0)
    if fitted.exists():
        model = pickle.loads(fitted.read_bytes())
    run = model.predict if fitted.exists() else model.fit
    before = anonymous_bytes()
    cpu, wall = time.process_time(), time.perf_counter()
    with Peak() as peak:
        run(X)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    fitted.write_bytes(pickle.dumps(model))
    return {"peak": (peak.bytes - before) / MIB, "cpu": cpu, "wall": wall}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--sizes", nargs="+", type=int, default=[100_000, 1_000_000, 5_000_000]
    )
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure is not None:
        print(json.dumps(measure(arguments.measure)))
        return
    print(
        "| rows | data, MiB | fit, MiB | CPU s | s | predict, MiB | CPU s | s |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    for n in arguments.sizes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "X")
            write(path, n)
            command = [sys.executable, __file__, "--measure", str(path)]
            figures = []
            for _ in ("fit", "predict"):
                result = subprocess.run(command, check=True, stdout=subprocess.PIPE)
                figures += json.loads(result.stdout).values()
        data = 4 * n * N_FEATURES / MIB
        row = " | ".join(f"{figure:.0f}" for figure in (data, *figures))
        print(f"| {n} | {row} |", flush=True)


if __name__ == "__main__":
    main()
