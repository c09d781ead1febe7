"""The same matrix in all forms that are read."""

import numpy as np
import pytest
import torch
from scipy import sparse
from torch.utils.data import TensorDataset

from sktreevae.data import as_matrix


def as_memmap(X, folder):
    np.save(folder / "X.npy", X)
    return np.load(folder / "X.npy", mmap_mode="r")


def dask_array(X, chunks=(11, 2)):
    return pytest.importorskip("dask.array").from_array(X, chunks=chunks)


MAKERS = {
    "array": lambda X, folder: X,
    "csr": lambda X, folder: sparse.csr_array(X),
    "csr matrix": lambda X, folder: sparse.csr_matrix(X),
    "memmap": as_memmap,
    "dataset": lambda X, folder: as_matrix(TensorDataset(torch.from_numpy(X))),
    "dask": lambda X, folder: as_matrix(dask_array(X)),
}

IN_MEMORY = ("array", "csr", "csr matrix")
