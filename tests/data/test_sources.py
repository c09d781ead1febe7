import numpy as np
import pytest
import torch
from scipy import sparse
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from sktreevae.data.sources import as_matrix, digest, is_in_memory

from ..utils.processes import in_threads
from .cases import as_memmap, dask_array


class Items(Dataset):
    """A dataset of any items."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


class Batches(Items):
    """One that is read by whole batches."""

    def __getitem__(self, i):
        if i:
            raise AssertionError("only the first item is read alone")
        return self.items[i]

    def __getitems__(self, indices):
        return [self.items[i] for i in indices]


MAKERS = {
    "items": lambda X: Items(list(X)),
    "tensors": lambda X: Items(list(torch.from_numpy(X))),
    "any shape": lambda X: Items([row.reshape(1, -1, 1) for row in X]),
    "labels": lambda X: Items([(row, "label", 1) for row in X]),
    "lists": lambda X: Items([[row, 1] for row in X]),
    "tuples": lambda X: Items([(row,) for row in X]),
    "batches": lambda X: Batches(list(X)),
    "TensorDataset": lambda X: TensorDataset(torch.from_numpy(X), torch.arange(len(X))),
    "dask": dask_array,
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8])
@pytest.mark.parametrize("kind", MAKERS)
def test_rows_are_those_of_the_matrix(kind, dtype, rng):
    X = rng.integers(0, 9, (20, 3)).astype(dtype)
    rows = as_matrix(MAKERS[kind](X))
    assert rows.shape == (20, 3)
    assert len(rows) == 20
    assert rows.dtype == dtype
    for index in (slice(2, 11), np.array([4, 0, 19, 4]), np.array([], dtype=int)):
        assert np.array_equal(rows[index], X[index])
    assert rows[slice(None)].dtype == dtype


@pytest.mark.parametrize(
    "convert", [np.ndarray.tolist, lambda row: torch.from_numpy(row).bfloat16()]
)
def test_items_are_numbers_of_any_type(convert):
    X = np.arange(12.0, dtype=np.float32).reshape(4, 3)
    rows = as_matrix(Items([convert(row) for row in X]))
    assert np.array_equal(rows[np.array([3, 1])], X[[3, 1]])


class Stream(IterableDataset):
    def __iter__(self):
        return iter([])


class NoLength(Dataset):
    def __getitem__(self, i):
        return np.zeros(2)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (Stream, TypeError, "Stream is an IterableDataset"),
        (NoLength, TypeError, "NoLength has no length"),
        (lambda: Items([]), ValueError, r"Found X with 0 sample\(s\)"),
        (lambda: Items([np.zeros(0)]), ValueError, r"0 feature\(s\) \(shape=\(1, 0\)"),
        (lambda: Items(["a", "b"]), ValueError, "numeric values, got some of type <U1"),
        (lambda: Items([{"x": 1}]), ValueError, "got some of type object"),
        (lambda: Items([np.array([1j])]), ValueError, "Complex data not supported"),
        (
            lambda: dask_array(np.zeros((2, 2, 2)), (1, 1, 1)),
            ValueError,
            r"Expected 2D array, got a Dask array of shape \(2, 2, 2\)",
        ),
        (
            lambda: dask_array(np.array([["a"]])),
            ValueError,
            "numeric values, got some of type <U1",
        ),
        (lambda: dask_array(np.zeros((0, 2))), ValueError, r"0 sample\(s\)"),
    ],
)
def test_what_has_no_rows_of_numbers_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        as_matrix(make())


@pytest.mark.parametrize("make", [list, dask_array])
@pytest.mark.parametrize(("value", "what"), [(np.nan, "NaN"), (-np.inf, "infinity")])
def test_values_that_are_not_finite_are_named_with_their_place(make, value, what):
    X = np.zeros((20, 3))
    X[11, 2] = value
    rows = as_matrix(make(X) if make is dask_array else Items(make(X)))
    assert not rows[slice(0, 11)].any()
    for index in (slice(5, 15), np.array([3, 11])):
        with pytest.raises(ValueError, match=f"{what}, in row 11 and column 2"):
            rows[index]


def test_only_arrays_and_sparse_matrices_of_them_are_in_memory(tmp_path):
    X = np.ones((4, 3))
    mapped = as_memmap(X, tmp_path)
    for matrix in (X, X[1:].T, sparse.csr_array(X)):
        assert is_in_memory(matrix)
    stored = sparse.csr_array(X)
    stored.data = mapped.ravel()
    for other in (mapped, np.asarray(mapped)[1:], stored):
        assert not is_in_memory(other)
    assert not is_in_memory(as_matrix(Items(list(X))))


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
def test_a_digest_is_of_rows_and_their_order_whichever_processes_have_them(make, rng):
    X = rng.integers(3, size=(20, 4))
    parts = make(X[:3]), make(X[3:3]), make(X[3:])
    split = in_threads(3, lambda processes: digest(parts[processes.rank], processes))
    assert set(split) == {digest(make(X))}
    others = X.copy(), X[[1, 0, *range(2, 20)]], X[:-1], np.vstack([X, X[:1]])
    others[0][7, 2] += 1
    assert len({digest(make(other)) for other in (X, *others)}) == 5
