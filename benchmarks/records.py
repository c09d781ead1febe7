"""Results of fits as lines of JSON, and the tables made of them."""

from __future__ import annotations

import csv
import json
import os
import platform
from pathlib import Path

import numpy as np
import torch


def read(path: Path) -> list[dict]:
    """Return the records of a file, none if there is no file."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def append(path: Path, record: dict) -> None:
    """Append a record, with the threads, cores and versions it was made with."""
    record |= {
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")
    print(json.dumps(record), flush=True)


def summary(values: list[float | None], digits: int) -> str:
    """Return mean and standard deviation; a dash if a method has no such value."""
    if None in values:
        return "-"
    spread = f" ±{np.std(values):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


def summarize(
    records: list[dict], keys: dict[str, str], metrics: dict[str, tuple[str, int]]
) -> list[list[str]]:
    """Return the head of a table, and one row for each group of records.

    Parameters
    ----------
    records : list of dict
        One for each fit.
    keys : dict
        Head of the column of each name by which records are grouped.
    metrics : dict
        Head of the column, and digits after the point, of each name whose values are
        averaged over a group.
    """
    groups: dict[tuple, list[dict]] = {}
    for record in records:
        groups.setdefault(tuple(record[key] for key in keys), []).append(record)
    rows = [[*keys.values(), "seeds", *(head for head, _ in metrics.values())]]
    for group, members in groups.items():
        cells = [
            summary([record.get(metric) for record in members], digits)
            for metric, (_, digits) in metrics.items()
        ]
        rows.append([*map(str, group), str(len(members)), *cells])
    return rows


def publish(rows: list[list[str]], path: Path | None = None) -> None:
    """Print a table whose first row is its head; also write it to a file, if named."""
    head, *body = rows
    for cells in (head, ["---"] * len(head), *body):
        print("|", " | ".join(cells), "|")
    if path is not None:
        with path.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
