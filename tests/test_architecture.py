"""Imports point one way, and private names stay where they belong."""

import ast
from pathlib import Path

import pytest

import sktreevae

PACKAGE = Path(sktreevae.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


FORBIDDEN = {
    "model": ("sklearn", "..training", "..clustering", "joblib"),
    "training": ("sklearn", "..clustering"),
    "dendrogram.py": ("torch", ".model", ".training", ".clustering"),
    "metrics.py": ("torch", ".model", ".training", ".clustering"),
    "plotting.py": ("torch", ".model", ".training", ".clustering"),
}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    place = path.relative_to(PACKAGE).parts[0]
    for module in imported_modules(path):
        for forbidden in FORBIDDEN.get(place, ()):
            assert module != forbidden
            assert not module.startswith(forbidden + ".")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_private_names_of_other_packages(path):
    for module in imported_modules(path):
        if not module.startswith((".", "__future__")):
            assert not any(part.startswith("_") for part in module.split("."))
