"""Tables of the documentation and of the README, from the results.

    python benchmarks/publish.py

reads the lines of JSON in ``benchmarks/results`` that the other scripts write with
``--out``, and writes the tables beside them that ``docs/benchmarks.rst`` includes.
``--readme README.md`` also replaces the table of the README.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import generation
import hierarchy
import numpy as np
import quality
import scalability
import shapes
import tables
import topics
from records import read, summarize

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"

Rows = list[list[str]]

SHAPE_METHODS = ["TreeVAE", "Genie", "mixture", "Ward", "k-means"]

PAPER = {
    "MNIST": ("0.879", "0.960", "0.902", "0.900"),
    "Fashion-MNIST": ("0.544", "0.714", "0.636", "0.647"),
    "20 Newsgroups": ("0.175", "0.384", "0.328", "0.344"),
    "Omniglot-5": ("0.588", "0.777", "0.639", "0.500"),
}
"""Figures of the paper: dendrogram and leaf purity, accuracy and NMI."""

OURS = {
    "MNIST": ("mnist-images", 20, 10),
    "Fashion-MNIST": ("fashion-images", 20, 10),
    "20 Newsgroups": ("news", 20, 20),
    "Omniglot-5": ("omniglot-images", 20, 5),
}
"""Dataset of `quality.py`, and leaves for the purities, and for accuracy and NMI."""

README = {
    "digits": ("TreeVAE", "Ward", "KMeans + Ward"),
    "mnist": ("TreeVAE", "Ward"),
    "mnist-images": ("TreeVAE",),
}
"""Datasets and methods in the README, with ten leaves."""

MARK = "<!-- quality -->\n"
"""Line of the README that is followed by the table."""

PIVOTS = {
    "overlap": ("log_loss", 3),
    "calibration": ("calibration_error", 3),
    "mixed": ("ari", 3),
    "binary": ("ari", 3),
    "tails": ("ari", 3),
}
"""Metric, and digits after the point, of the parts of `tables.py` by method."""


def quality_of(records: list[dict]) -> Rows:
    """Return a row for each dataset, method and number of leaves."""
    return summarize(records, quality.KEYS, quality.METRICS)


def beside_paper(records: list[dict]) -> Rows:
    """Return the figures of the paper and of the default, row by row."""
    rows = [["data", "method", "DP", "LP", "accuracy", "NMI"]]
    metrics = ("dendrogram_purity", "leaf_purity", "accuracy", "nmi")
    for name, figures in PAPER.items():
        rows.append([name, "paper", *figures])
        dataset, *leaves = OURS[name]
        values = [
            np.mean(
                [
                    r[metric]
                    for r in records
                    if (r["dataset"], r["method"], r["n_leaves"])
                    == (dataset, "TreeVAE", leaves[metric in ("accuracy", "nmi")])
                ]
            )
            for metric in metrics
        ]
        rows.append(["", "ours", *(f"{value:.3f}" for value in values)])
    return rows


def pivot(records: list[dict], metric: str, digits: int) -> Rows:
    """Return the means of a metric by data and method."""
    methods = list(dict.fromkeys(record["method"] for record in records))
    rows = [["", *methods]]
    for data in dict.fromkeys(record["data"] for record in records):
        cells = []
        for method in methods:
            values = [
                r[metric] for r in records if (r["data"], r["method"]) == (data, method)
            ]
            cells.append(f"{np.mean(values):.{digits}f}" if values else "-")
        rows.append([data, *cells])
    return rows


def density(records: list[dict]) -> Rows:
    """Return the densities by table and method, and the widths of the samples."""
    rows = pivot(records, "log_density", 3)
    ours = [record for record in records if record.get("width") is not None]
    for metric, head in (("width", "width, median"), ("max_width", "width, largest")):
        widths = {row[0]: row[1] for row in pivot(ours, metric, 2)[1:]}
        rows[0].append(head)
        for row in rows[1:]:
            row.append(widths[row[0]])
    return rows


def all_tables(results: Path) -> dict[str, Rows]:
    """Return the tables by the names of their files."""
    records = {
        name: read(results / f"{name}.jsonl")
        for name in (
            "quality",
            "shapes",
            "hierarchy",
            "generation",
            "tables",
            "topics",
            "scalability",
        )
    }
    parts = {
        part: [r for r in records["tables"] if r["part"] == part]
        for part in (*PIVOTS, "density")
    }
    return {
        "quality.csv": quality_of(records["quality"]),
        "quality_paper.csv": beside_paper(records["quality"]),
        "shapes.csv": shapes.table(records["shapes"], SHAPE_METHODS),
        "hierarchy.csv": summarize(
            records["hierarchy"], hierarchy.KEYS, hierarchy.METRICS
        ),
        "generation.csv": summarize(
            records["generation"], generation.KEYS, generation.METRICS
        ),
        "topics.csv": summarize(records["topics"], topics.KEYS, topics.METRICS),
        "scalability.csv": summarize(
            records["scalability"], scalability.KEYS, scalability.METRICS
        ),
        "tables.csv": summarize(records["tables"], tables.KEYS, tables.METRICS),
        "tables_density.csv": density(parts["density"]),
        **{f"tables_{part}.csv": pivot(parts[part], *PIVOTS[part]) for part in PIVOTS},
    }


def readme_table(rows: Rows) -> str:
    """Return the Markdown table of the README."""
    head, *body = rows
    columns = [head.index(name) for name in ("data", "method", "seeds")]
    columns += [head.index(name) for name in ("DP", "LP", "ACC", "NMI")]
    chosen = [
        row
        for data, methods in README.items()
        for row in body
        if row[0] == data and row[1] in methods and row[2] == "10"
    ]
    lines = [[row[column] for column in columns] for row in (head, *chosen)]
    lines.insert(1, ["---"] * len(columns))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def replace_table(text: str, table: str) -> str:
    """Return the text of the README with another table after the mark."""
    before, after = text.split(MARK)
    rest = after.splitlines(keepends=True)
    while rest and rest[0].startswith("|"):
        rest.pop(0)
    return before + MARK + table + "".join(rest)


def main(arguments: list[str] | None = None) -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--out", type=Path, help="folder; that of the results")
    parser.add_argument("--readme", type=Path, help="replace the table in this file")
    options = parser.parse_args(arguments)
    published = all_tables(options.results)
    for name, rows in published.items():
        with ((options.out or options.results) / name).open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
    if options.readme is not None:
        table = readme_table(published["quality.csv"])
        text = options.readme.read_text(encoding="utf-8")
        options.readme.write_text(replace_table(text, table), encoding="utf-8")


if __name__ == "__main__":
    main()
