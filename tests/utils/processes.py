"""Threads in the place of processes, and scripts that are launched as processes."""

import os
import pickle
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from sktreevae.utils.processes import Processes


class Threads(Processes):
    """Exchanges values between threads."""

    def __init__(self, rank, values, barrier):
        self.rank, self.size = rank, len(values)
        self._values, self._barrier = values, barrier

    def gather(self, value):
        self._values[self.rank] = value
        self._barrier.wait(60)
        values = pickle.loads(pickle.dumps(self._values))
        self._barrier.wait(60)
        return values

    def lead(self, function):
        return self.gather(function() if self.rank == 0 else None)[0]

    def sum(self, tensor):
        return sum(self.gather(tensor))


def in_threads(size, function):
    """Return the results of a function of `Processes`, called in some threads."""
    values, barrier = [None] * size, Barrier(size)
    with ThreadPoolExecutor(size) as pool:
        return list(
            pool.map(lambda rank: function(Threads(rank, values, barrier)), range(size))
        )


def launch(size, script, *arguments):
    """Run a script in some processes, as torchrun does; return their exit codes."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    size_and_threads = {"WORLD_SIZE": str(size), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, script, *map(str, arguments)],
            env={**os.environ, **address, **size_and_threads, "RANK": str(rank)},
        )
        for rank in range(size)
    ]
    try:
        return [process.wait(300) for process in processes]
    finally:
        for process in processes:
            process.kill()
