import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sktreevae.utils.processes import ONE_PROCESS, open_processes

from .processes import in_threads

COUNTS = st.lists(st.integers(0, 10**12), min_size=1, max_size=5)


@given(COUNTS, st.integers(0, 10**6))
def test_shares_are_proportional_and_have_the_maximum_in_all(counts, max_rows):
    share = [p.share for p in _located(counts)]
    shares = [f(n, max_rows) for f, n in zip(share, counts, strict=True)]
    assert sum(shares) == min(sum(counts), max_rows)
    for n_drawn, n_rows in zip(shares, counts, strict=True):
        assert 0 <= n_drawn <= n_rows
        if sum(counts) > max_rows:
            assert abs(n_drawn - max_rows * n_rows / sum(counts)) < 1


def _located(counts):
    """Return processes that know the numbers of rows of the others."""

    class Located(type(ONE_PROCESS)):
        def __init__(self, rank):
            self.rank = rank

        def gather(self, value):
            assert value == counts[self.rank]
            return counts

    return [Located(rank) for rank in range(len(counts))]


def test_rows_are_located_in_the_order_of_the_ranks():
    located = in_threads(3, lambda p: p.locate([4, 0, 3][p.rank]))
    assert located == [(0, 7), (4, 7), (4, 7)]


def test_one_process_exchanges_nothing(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    x = torch.ones(2)
    with open_processes(torch.device("cpu")) as processes:
        assert processes is ONE_PROCESS
        assert processes.sum(x) is x
        assert processes.concatenate(x) is x
        assert processes.gather(3) == [3]
        assert processes.lead(lambda: 4) == 4
        assert processes.share(10, 3) == 3


@pytest.mark.parametrize("name", ["RANK", "MASTER_ADDR"])
def test_a_launcher_sets_all_variables(name, monkeypatch):
    monkeypatch.setenv(name, "0")
    with open_processes(torch.device("cpu")) as processes:
        assert processes is ONE_PROCESS
