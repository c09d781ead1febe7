"""Coverage-guided fuzz of the readers of files, by atheris.

Whatever is in a file, its reader returns a result or raises an error that it documents.
Bytes are changed, or parts of a model and of a state with the right checksum. Begin in
the folder above, with one of "load", "state", "mnist", "npz", "cifar10", "omniglot" and
"celeba":

    pip install atheris
    python -m benchmarks.fuzz load -max_total_time=600
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import atheris
import numpy as np
from sklearn.datasets import make_blobs

with atheris.instrument_imports(include=["sktreevae"]):
    from sktreevae import TreeVAEClustering, datasets
    from sktreevae.utils.archive import read_archive, write_archive

from tests.datasets import cases

X, _ = make_blobs(40, 3, random_state=0)
FOLDER = Path(tempfile.mkdtemp())
VALUES = [None, True, -1, 0, 3, 10**12, 0.5, float("nan"), "", "auto", [], [1], {}]
fit = TreeVAEClustering(
    2,
    checkpoint_dir=FOLDER / "states",
    checkpoint_interval=0.0,
    hidden_dim=8,
    latent_dim=2,
    max_iter=1,
    random_state=0,
).fit


def write_npz(home: Path, rng: np.random.Generator) -> None:
    """Write an archive as that of Keras."""
    images, labels = np.zeros((2, 28, 28), np.uint8), np.arange(2)
    parts = {"x_train": images, "x_test": images, "y_train": labels, "y_test": labels}
    np.savez(home / "mnist.npz", **parts)


DATASETS = {
    "mnist": (cases.write_mnist, datasets.fetch_mnist),
    "npz": (write_npz, datasets.fetch_mnist),
    "cifar10": (partial(cases.write_cifar10, n=1), datasets.fetch_cifar10),
    "omniglot": (
        lambda home, rng: cases.write_omniglot(home, 1, 3),
        datasets.fetch_omniglot,
    ),
    "celeba": (cases.write_celeba, datasets.fetch_celeba),
}


def make_reader(name: str) -> tuple[Path, Callable[[], object]]:
    """Write a valid file; return its path, and a function that reads it."""
    if name == "load":
        path = FOLDER / "model"
        fit(X).save(path)
        return path, lambda: TreeVAEClustering.load(path)
    if name == "state":
        fit(X)
        states = FOLDER / "states"
        path = min(states.glob("*.safetensors"))

        def resume() -> None:
            for later in set(states.glob("*.safetensors")) - {path}:
                later.unlink()
            fit(X)

        return path, resume
    write, fetch = DATASETS[name]
    write(FOLDER, np.random.default_rng(0))
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    path = max(files, key=lambda path: path.stat().st_size)
    return path, lambda: fetch(data_home=FOLDER, download_if_missing=False)


def change_bytes(original: bytes, source: atheris.FuzzedDataProvider) -> bytes:
    """Replace a part of a file."""
    start = source.ConsumeIntInRange(0, len(original))
    end = start + source.ConsumeIntInRange(0, 64)
    return original[:start] + source.ConsumeBytes(64) + original[end:]


def change_parts(path: Path, source: atheris.FuzzedDataProvider) -> None:
    """Replace or delete an array or a JSON value, and correct the checksum."""
    content, arrays = read_archive(path)
    if source.ConsumeBool():
        name = source.PickValueInList(sorted(arrays))
        change = source.PickValueInList(
            [
                lambda x: x[:-1] if x.ndim else x[None],
                lambda x: x[None],
                lambda x: x.astype(source.PickValueInList(["f4", "f8", "i8", "i4"])),
                lambda x: np.full_like(x, source.ConsumeInt(2)),
                lambda x: x * np.nan,
            ]
        )
        arrays[name] = change(arrays[name])
    else:
        outer, key = content, "values" if "values" in content else "state"
        while isinstance(outer[key], dict | list) and len(outer[key]):
            if source.ConsumeIntInRange(0, 4) == 0:
                break
            outer = outer[key]
            keys = list(outer) if isinstance(outer, dict) else range(len(outer))
            key = source.PickValueInList(list(keys))
        outer[key] = source.PickValueInList(VALUES)
    write_archive(path, content, arrays)


def main(name: str) -> None:
    """Fuzz a reader; a crash is a file that another error was raised for."""
    warnings.simplefilter("ignore")
    path, read = make_reader(name)
    original = path.read_bytes()

    def test(data: bytes) -> None:
        source = atheris.FuzzedDataProvider(data)
        path.write_bytes(original)
        if name in ("load", "state") and source.ConsumeIntInRange(0, 7):
            change_parts(path, source)
        else:
            path.write_bytes(change_bytes(original, source))
        with suppress(ValueError, OSError, FloatingPointError):
            read()

    atheris.Setup([sys.argv[0], *sys.argv[2:]], test)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1])
