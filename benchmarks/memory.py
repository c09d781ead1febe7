"""Memory of fits of data in memory, and of fits and predictions of rows on disk.

    python benchmarks/memory.py --repeats 5 --data-dir DIR

prints two Markdown tables. Each fit and each prediction runs in a process of its own.
Linux only.

The first table is of fits of data in memory. The memory of a fit is the largest
resident set of the process in its whole life, minus the resident set after the imports.
So it includes the data, which are loaded after the imports. The table shows the maximum
over the repeats, and medians of seconds. Pixels are generated, or are those of
``mnist.npz`` in --data-dir. Counts are generated, and 97% of them are 0; their fits
have two epochs.

The second table is of 50 float32 features of a mixture of Gaussians in a file, as a
`numpy.memmap`. The memory is the rise of the anonymous memory, which doesn't include
the pages of the file that the system keeps.
"""

from __future__ import annotations

import argparse
import json
import pickle
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np
from generated import make_counts, make_squares
from scipy import sparse

from sktreevae import TreeVAEClustering

N_FEATURES = 50
N_CLUSTERS = 10
BLOCK = 100_000
MIB = 1 << 20
SECONDS = ("cpu", "wall")
IN_MEMORY = {
    "plain": {},
    "images": {"image_shape": (28, 28)},
    "large-images": {"image_shape": (64, 64)},
    "sparse-counts": {"likelihood": "negative_binomial", "max_iter": 2},
    "dense-counts": {"likelihood": "negative_binomial", "max_iter": 2},
}
"""Parameters of the fit of each dataset in memory."""


def status(name: str) -> int:
    """Return an entry of the status of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {name}.")


# Data in memory


def make_data(name: str, data_dir: Path | None) -> np.ndarray:
    """Return a dataset, dense and in float32."""
    if name.endswith("counts"):
        return make_counts(4000, 13_000)[0]
    if name == "large-images":
        return make_squares(1440, 64)[0]
    if data_dir is None:
        return make_squares(60_000, 28)[0]
    with np.load(data_dir / "mnist.npz") as file:
        return file["X_train"].reshape(60_000, -1) / np.float32(255)


def measure_in_memory(name: str, path: Path) -> dict[str, float]:
    """Fit a dataset of a file that is loaded into memory."""
    before = status("VmRSS")
    X = sparse.load_npz(path) if path.suffix == ".npz" else np.load(path)
    model = TreeVAEClustering(N_CLUSTERS, random_state=0, **IN_MEMORY[name])
    cpu, wall = time.process_time(), time.perf_counter()
    model.fit(X)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"peak": (status("VmHWM") - before) / MIB, "cpu": cpu, "wall": wall}


def save(X: np.ndarray, path: Path, is_sparse: bool) -> tuple[Path, int]:
    """Save dense or sparse data; return the path, and the bytes in memory."""
    if not is_sparse:
        path = path.with_suffix(".npy")
        np.save(path, X)
        return path, X.nbytes
    path, X = path.with_suffix(".npz"), sparse.csr_array(X)
    sparse.save_npz(path, X, compressed=False)
    return path, X.data.nbytes + X.indices.nbytes + X.indptr.nbytes


def print_in_memory(arguments: argparse.Namespace) -> None:
    """Print the table of data in memory."""
    print(
        f"| data ({arguments.dtype}) | shape | data, MiB | fit, MiB | CPU s | s |\n"
        "|---|---|---|---|---|---|"
    )
    for name in arguments.datasets:
        with tempfile.TemporaryDirectory() as folder:
            X = make_data(name, arguments.data_dir).astype(arguments.dtype)
            path, size = save(X, Path(folder, "X"), name == "sparse-counts")
            results = [
                run("--measure-in-memory", name, str(path))
                for _ in range(arguments.repeats)
            ]
        peak = max(result["peak"] for result in results)
        cpu, wall = (statistics.median(r[key] for r in results) for key in SECONDS)
        figures = " | ".join(
            f"{figure:.0f}" for figure in (size / MIB, peak, cpu, wall)
        )
        print(f"| {name} | {X.shape[0]} x {X.shape[1]} | {figures} |", flush=True)


# Rows on disk


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


class Peak:
    """Maximum of the anonymous memory while a block of code runs."""

    def __enter__(self) -> Peak:
        self.bytes = status("RssAnon")
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(0.02):
            self.bytes = max(self.bytes, status("RssAnon"))


def measure_on_disk(path: Path) -> dict[str, float]:
    """Fit the rows of a file, or predict them if a model was fitted before."""
    X = np.memmap(path, np.float32, "r").reshape(-1, N_FEATURES)
    fitted = path.with_suffix(".pickle")
    model = TreeVAEClustering(N_CLUSTERS, max_iter=1, random_state=0)
    if fitted.exists():
        model = pickle.loads(fitted.read_bytes())
    function = model.predict if fitted.exists() else model.fit
    before = status("RssAnon")
    cpu, wall = time.process_time(), time.perf_counter()
    with Peak() as peak:
        function(X)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    fitted.write_bytes(pickle.dumps(model))
    return {"peak": (peak.bytes - before) / MIB, "cpu": cpu, "wall": wall}


def print_on_disk(arguments: argparse.Namespace) -> None:
    """Print the table of rows on disk."""
    print(
        "| rows | data, MiB | fit, MiB | CPU s | s | predict, MiB | CPU s | s |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    for n in arguments.sizes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "X")
            write(path, n)
            fit, predict = (run("--measure-on-disk", str(path)) for _ in range(2))
        figures = 4 * n * N_FEATURES / MIB, *fit.values(), *predict.values()
        row = " | ".join(f"{figure:.0f}" for figure in figures)
        print(f"| {n} | {row} |", flush=True)


def run(*arguments: str) -> dict[str, float]:
    """Return the measurements of a process of this file."""
    command = [sys.executable, __file__, *arguments]
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return json.loads(result.stdout)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--datasets", nargs="*", choices=IN_MEMORY, default=list(IN_MEMORY)
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument(
        "--sizes", nargs="*", type=int, default=[100_000, 1_000_000, 5_000_000]
    )
    parser.add_argument("--measure-in-memory", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--measure-on-disk", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.measure_in_memory is not None:
        name, path = arguments.measure_in_memory
        print(json.dumps(measure_in_memory(name, Path(path))))
    elif arguments.measure_on_disk is not None:
        print(json.dumps(measure_on_disk(arguments.measure_on_disk)))
    else:
        if arguments.datasets:
            print_in_memory(arguments)
            print()
        if arguments.sizes:
            print_on_disk(arguments)


if __name__ == "__main__":
    main()
