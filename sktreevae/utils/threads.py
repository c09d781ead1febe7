"""Settings of a fit or a prediction, which gives them back: threads and cuDNN."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial

import joblib
import torch
from joblib.parallel import get_active_backend
from threadpoolctl import ThreadpoolController

MAX_JOBS = 2**31
"""Upper bound (exclusive) of `n_jobs`, a C int in torch."""

_TORCH_LOCK = threading.Lock()


def resolve_n_threads(n_jobs: int | None) -> int:
    """Return the number of threads for some work, at most that of the cores.

    Threads wait busily for each other after each operation, so that threads which share
    a core, with each other or with other processes, take longer than one.

    Parameters
    ----------
    n_jobs : int or None
        Parameter of the estimator, with the meaning that it has in scikit-learn: None
        is 1, unless `joblib.parallel_config` says otherwise, and negative values count
        from the number of cores.
    """
    if get_active_backend()[0].default_n_jobs != 1:
        # A cluster, such as Dask's, which would count its workers.
        with joblib.parallel_config("threading"):
            return resolve_n_threads(n_jobs)
    return min(joblib.effective_n_jobs(n_jobs), joblib.cpu_count())


@contextmanager
def limit_threads(n_threads: int) -> Iterator[None]:
    """Run a block of code with a number of threads of its own.

    The number holds for the operations of torch in the calling thread. There,
    scikit-learn uses one thread meanwhile. numpy and scipy use one in the whole
    process: they have one setting for all threads, which therefore must not depend on
    the fits that run at the same time.
    Convolutions on GPUs use deterministic algorithms, in the whole process, too.
    """
    before = _torch_threads()
    # In this order: torch and scikit-learn may share a library of OpenMP.
    with _PROCESS_SETTINGS, _controller().limit(limits=1, user_api="openmp"):
        _set_torch_threads(n_threads)
        try:
            yield
        finally:
            _set_torch_threads(before)


@contextmanager
def parallel_map(device: torch.device) -> Iterator[Callable]:
    """Return a `map` whose calls each use one thread of torch.

    On the CPU, as many calls run at a time as the calling thread has threads of torch.
    An operation that several threads share is split at any position, and the last bits
    at the ends of its parts may differ.
    """
    n_threads = _torch_threads()
    if n_threads == 1 or device.type != "cpu":
        yield map
        return
    with ThreadPoolExecutor(
        n_threads, initializer=_set_torch_threads, initargs=(1,)
    ) as pool:
        yield pool.map


def _torch_threads() -> int:
    """Return the number of threads of torch for the calling thread."""
    # The first call of a thread reads the setting of threads to come.
    with _TORCH_LOCK:
        return torch.get_num_threads()


def _set_torch_threads(n_threads: int) -> None:
    """Set the number of threads of torch for the calling thread only.

    Also if torch has as many already: MKL has a number of its own, which torch sets
    with its own and doesn't show.
    """
    # Torch also keeps the number as the setting of threads to come. A new thread has
    # this setting, and can put it back. The first call of a thread reads the setting,
    # which must not come after the number is set.
    with _TORCH_LOCK, ThreadPoolExecutor(1) as new_thread:
        torch.get_num_threads()
        default = new_thread.submit(torch.get_num_threads).result()
        torch.set_num_threads(n_threads)
        new_thread.submit(torch.set_num_threads, default).result()


class _ProcessSettings:
    """Context with one thread for numpy and scipy and with deterministic convolutions.

    The settings hold until the last thread leaves. The limit of numpy and scipy can be
    changed only by the thread that set it. Since the thread that enters first may leave
    first, another thread holds the limit for all.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_inside = 0

    def __enter__(self) -> None:
        with self._lock:
            if self._n_inside == 0:
                self._owner = ThreadPoolExecutor(1)
                limit = partial(_controller().limit, limits=1, user_api="blas")
                self._limit = self._owner.submit(limit).result()
                self._cudnn = torch.backends.cudnn.deterministic
                torch.backends.cudnn.deterministic = True
            self._n_inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._n_inside -= 1
            if self._n_inside == 0:
                torch.backends.cudnn.deterministic = self._cudnn
                with self._owner:
                    self._owner.submit(self._limit.restore_original_limits).result()


@cache
def _controller() -> ThreadpoolController:
    """Find the libraries that use threads, which takes milliseconds."""
    return ThreadpoolController()


_PROCESS_SETTINGS = _ProcessSettings()
