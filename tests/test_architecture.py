"""Direction of imports, absence of circles, and parameters of functions."""

import ast
import graphlib
from pathlib import Path

import pytest

import sktreevae

PACKAGE = Path(sktreevae.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

MAY_IMPORT = {
    # From the bottom to the top.
    "_version": set(),
    "exceptions": set(),
    "utils": {"exceptions"},
    "tree": {"utils"},
    "model": {"tree", "utils"},
    "data": {"exceptions", "model", "utils"},
    "graph": {"data", "tree", "utils"},
    "training": {"data", "exceptions", "graph", "model", "utils"},
    "inspection": {
        "data",
        "exceptions",
        "graph",
        "model",
        "training",
        "tree",
        "utils",
    },
    "display": {"data", "inspection", "tree", "utils"},
    "io": {"_version", "data", "inspection", "model", "training", "tree", "utils"},
    "datasets": {"exceptions", "utils"},
    "metrics": {"tree"},
    "estimator": {
        "_version",
        "data",
        "display",
        "exceptions",
        "inspection",
        "io",
        "model",
        "training",
        "tree",
        "utils",
    },
    "callbacks": {"estimator", "exceptions", "utils"},
    "__init__": {"_version", "display", "estimator", "inspection", "training", "tree"},
}
"""Modules and subpackages that each module or subpackage may import, besides itself."""

MAY_IMPORT_IN_FUNCTIONS = {"tree": {"display"}}

MUST_NOT_IMPORT = {
    "model": {"joblib", "matplotlib", "pandas", "sklearn"},
    "graph": {"matplotlib", "pandas"},
    "training": {"matplotlib", "pandas", "sklearn"},
    "tree": {"sklearn", "torch"},
    "display": {"torch"},
    "datasets": {"torch"},
    "metrics": {"torch"},
    "exceptions": {"torch", "sklearn"},
}
"""Other packages that a module or subpackage does not import."""


def module_name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


def place(module):
    """Return the subpackage, or the module of the top level, that a module is in."""
    return "__init__" if module == PACKAGE.name else module.split(".")[1]


def imported_names(node, path):
    """Return the full names in an import statement: `a.b.c` for `from a.b import c`."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    base = []
    if node.level:
        parts = module_name(path).split(".")
        base = parts[: len(parts) - node.level + (path.name == "__init__.py")]
    if node.module:
        base = [*base, node.module]
    return [".".join([*base, alias.name]) for alias in node.names]


def imports(path):
    """Yield the full names that a file imports, and whether inside a function.

    Imports for annotations count as all others do.
    """
    in_functions = {
        child
        for function in ast.walk(TREES[path])
        if isinstance(function, FUNCTION)
        for child in ast.walk(function)
    }
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name in imported_names(node, path):
                yield name, node in in_functions


def imported_modules(path):
    """Yield the imported modules of this package, and whether inside a function."""
    for name, in_function in imports(path):
        if name.split(".")[0] == PACKAGE.name:
            while name not in MODULES:
                name = name.rpartition(".")[0]
            yield name, in_function


def files(places=None):
    """Parametrize a test by the files in some places, or by all files."""
    paths = [p for p in FILES if places is None or place(module_name(p)) in places]
    return pytest.mark.parametrize("path", paths, ids=module_name)


def test_every_module_of_the_top_level_and_every_subpackage_has_a_layer():
    assert {place(module) for module in MODULES} == MAY_IMPORT.keys()


def test_layers_have_an_order():
    try:
        graphlib.TopologicalSorter(MAY_IMPORT).prepare()
    except graphlib.CycleError as error:
        pytest.fail("circle of layers: " + " <- ".join(error.args[1]))


@files()
def test_imports_point_down(path):
    importer = place(module_name(path))
    for module, in_function in imported_modules(path):
        target = place(module)
        allowed = MAY_IMPORT[importer] | {importer}
        if in_function:
            allowed |= MAY_IMPORT_IN_FUNCTIONS.get(importer, set())
        assert target in allowed, f"{importer} imports {module}"


def test_no_circle_of_imports():
    graph = {
        name: {module for module, _ in imported_modules(path)} - {name}
        for name, path in MODULES.items()
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail("circle of imports: " + " <- ".join(error.args[1]))


@files(MUST_NOT_IMPORT)
def test_other_packages_stay_where_they_are_needed(path):
    packages = {name.split(".")[0] for name, _ in imports(path)}
    assert not packages & MUST_NOT_IMPORT[place(module_name(path))]


@files()
def test_no_private_names_of_other_packages(path):
    for name, _ in imports(path):
        if name.split(".")[0] not in (PACKAGE.name, "__future__"):
            assert not any(part.startswith("_") for part in name.split(".")), name
