import json
import os
import subprocess
import sys
import threading
from contextlib import suppress

import joblib
import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs
from threadpoolctl import threadpool_info

from sktreevae import TreeVAEClustering
from sktreevae.utils.threads import limit_threads, parallel_map, resolve_n_threads


def n_threads_of_new_thread():
    result = []
    thread = threading.Thread(target=lambda: result.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return result[0]


def n_threads_of_libraries(*kinds):
    return {
        library["num_threads"]
        for library in threadpool_info()
        if not kinds or library["user_api"] in kinds
    }


@pytest.fixture
def three_threads():
    """The setting of the process, as if a user had made it."""
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(1)


N_CORES = joblib.cpu_count()


@pytest.mark.parametrize(
    ("n_jobs", "expected"),
    [
        (None, 1),
        (1, 1),
        (2, min(2, N_CORES)),
        (2**31 - 1, N_CORES),
        (-1, N_CORES),
        (-N_CORES, 1),
        (-(2**31), 1),
    ],
)
def test_the_number_of_threads_is_that_asked_for(three_threads, n_jobs, expected):
    assert resolve_n_threads(n_jobs) == expected


def test_none_is_the_number_of_a_context_of_joblib():
    with joblib.parallel_config("threading", n_jobs=2):
        assert resolve_n_threads(None) == min(2, N_CORES)
        assert resolve_n_threads(1) == 1
    assert resolve_n_threads(None) == 1


@pytest.mark.parametrize(
    "backend", ["threading", pytest.param("loky", marks=pytest.mark.nightly)]
)
def test_none_is_one_thread_within_jobs(backend):
    jobs = joblib.Parallel(n_jobs=2, backend=backend)(
        joblib.delayed(resolve_n_threads)(None) for _ in range(2)
    )
    assert jobs == [1, 1]


def test_convolutions_are_deterministic_meanwhile():
    with limit_threads(1):
        with limit_threads(2):
            assert torch.backends.cudnn.deterministic
        assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.deterministic


def test_the_limit_holds_for_the_calling_thread_only(three_threads):
    before = threadpool_info()
    with limit_threads(1):
        assert n_threads_of_libraries() == {1}
    with suppress(FloatingPointError), limit_threads(2):
        assert torch.get_num_threads() == 2
        assert n_threads_of_new_thread() == 3
        assert n_threads_of_libraries("blas") == {1}
        raise FloatingPointError
    assert torch.get_num_threads() == 3
    assert n_threads_of_new_thread() == 3
    assert threadpool_info() == before


BLAS = """
import json
import threading
from contextlib import suppress
import scipy.linalg
from threadpoolctl import threadpool_info
from sktreevae.utils.threads import limit_threads

def n_threads():
    return max(x["num_threads"] for x in threadpool_info() if x["user_api"] == "blas")

def run(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()

def call(function):
    function()

def limited():
    with limit_threads(1):
        seen.append(n_threads())

seen = []
for how in (call, run, call, run):
    how(limited)
result = {"within": seen}
for how in (call, run):
    before = n_threads()
    # The first to enter is the first to leave.
    first, second = limit_threads(1), limit_threads(1)
    first.__enter__()
    how(second.__enter__)
    first.__exit__(None, None, None)
    inside = n_threads()
    second.__exit__(None, None, None)
    result[how.__name__] = before, inside, n_threads()
print(json.dumps(result))
"""

needs_two_cores = pytest.mark.skipif(
    joblib.cpu_count() < 2, reason="numpy has one thread on one core"
)


@needs_two_cores
def test_blas_has_one_thread_in_all_fits_and_gets_its_threads_back():
    # Without the variables that set the number of threads.
    prefixes = "OMP_", "OPENBLAS_", "MKL_"
    plain = {k: v for k, v in os.environ.items() if not k.startswith(prefixes)}
    result = json.loads(
        subprocess.check_output([sys.executable, "-c", BLAS], env=plain)
    )
    assert result["within"] == [1] * 4
    for how in ("run", "call"):
        before, inside, after = result[how]
        assert inside == 1
        assert before == after != 1


THREADS = {
    "fit": {1, 2},
    "partial_fit": {1, 2},
    "predict": {1},
    "score_samples": {1},
    "sample": {2},
}
"""Threads of the operations of each method with ``n_jobs=2``. Blocks of rows run side
by side, and each uses one."""


@needs_two_cores
@pytest.mark.parametrize(
    ("n_jobs", "method"), [(None, "fit"), *((2, method) for method in THREADS)]
)
def test_methods_use_their_threads_and_give_them_back(
    three_threads, monkeypatch, method, n_jobs
):
    X, _ = make_blobs([20, 20], random_state=0)
    model = TreeVAEClustering(1, n_jobs=n_jobs, max_iter=1, random_state=0).fit(X)
    seen = set()
    forward = torch.nn.Linear.forward

    def recorded(self, x):
        seen.add(torch.get_num_threads())
        return forward(self, x)

    monkeypatch.setattr(torch.nn.Linear, "forward", recorded)
    getattr(model, method)(3 if method == "sample" else X)
    assert seen == ({1} if n_jobs is None else THREADS[method])
    assert torch.get_num_threads() == 3


def test_fits_in_threads_give_the_results_and_the_threads_back(three_threads):
    X, _ = make_blobs([20, 20], random_state=0)
    results, after = {}, set()

    def fit(name, n_jobs=None):
        model = TreeVAEClustering(2, n_jobs=n_jobs, max_iter=1, random_state=0).fit(X)
        results[name] = model.predict_proba(X)
        after.add(torch.get_num_threads())

    fit("alone")
    names = "first", "second", "third"
    threads = [threading.Thread(target=fit, args=(name,)) for name in names]
    threads += [threading.Thread(target=fit, args=(f"{n}", n)) for n in (2, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert after == {3}
    assert n_threads_of_new_thread() == 3
    for name in names:
        assert np.array_equal(results[name], results["alone"])


PROCESSES = """
import multiprocessing, sys
from sklearn.datasets import make_blobs
from sktreevae import TreeVAEClustering

X, _ = make_blobs([20, 20], random_state=0)

def fit(n_jobs):
    model = TreeVAEClustering(2, n_jobs=n_jobs, max_iter=1, random_state=0).fit(X)
    return model.score(X)

if __name__ == "__main__":
    fit(2)  # starts threads, which a fork doesn't have
    how, expected = sys.argv[1], fit(1)
    with multiprocessing.get_context(how).Pool(1) as pool:
        scores = pool.map(fit, [1, 1])
    assert scores == [expected] * 2
"""


@pytest.mark.parametrize(
    "how",
    [
        pytest.param("fork", marks=pytest.mark.skipif(os.name != "posix", reason="")),
        pytest.param("spawn", marks=pytest.mark.nightly),
    ],
)
def test_fits_in_processes_after_a_fit_do_not_hang(how, tmp_path):
    path = tmp_path / "script.py"
    path.write_text(PROCESSES)
    subprocess.run([sys.executable, path, how], check=True, timeout=300)


def test_each_call_of_a_parallel_map_has_one_thread(three_threads):
    all_run = threading.Barrier(3)

    def call(x):
        all_run.wait()  # until three calls run at a time
        return x, torch.get_num_threads()

    with parallel_map(torch.device("cpu")) as apply:
        assert list(apply(call, [5, 3, 4])) == [(5, 1), (3, 1), (4, 1)]
    assert torch.get_num_threads() == 3


MKL_THREADS = """
import torch
from sktreevae.utils.threads import limit_threads
for _ in range(2):
    with limit_threads(1):
        info = torch.__config__.parallel_info()
        print(*(line for line in info.splitlines() if "mkl_get_max" in line))
"""


def test_matrix_products_have_one_thread_in_every_fit_of_a_process():
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    env = {name: value for name, value in os.environ.items() if name not in names}
    command = [sys.executable, "-c", MKL_THREADS]
    output = subprocess.run(command, env=env, check=True, capture_output=True).stdout
    lines = [line for line in output.decode().splitlines() if line.strip()]
    assert all(line.strip().endswith(": 1") for line in lines)
