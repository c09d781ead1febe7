"""Direction of imports, absence of circles, and sizes of modules and functions."""

import ast
import graphlib
from pathlib import Path

import pytest

import sktreevae

PACKAGE = Path(sktreevae.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

BASE = {"exceptions", "devices", "_random", "_cache", "_indexing"}

MAY_IMPORT = {
    # Subpackages, from the bottom to the top.
    "model": {"_indexing", "_random"},
    "data": BASE | {"_chunks", "_threads", "model"},
    "graph": BASE | {"data"},
    "training": BASE | {"data", "graph", "model"},
    "display": {"_dendrogram_export", "_effects", "_files", "_tree_arrays", "data"},
    "datasets": {"exceptions"},
    "metrics": {"dendrogram"},
    # Modules of the top level, from the bottom to the top.
    "_version": set(),
    "exceptions": set(),
    "_random": set(),
    "_indexing": set(),
    "_threads": set(),
    "_chunks": set(),
    "_files": set(),
    "_cache": set(),
    "_archive": {"_files"},
    "_fit_context": set(),
    "_score_mixin": set(),
    "devices": {"exceptions"},
    "_dendrogram_export": set(),
    "_effects": {"_chunks", "data"},
    "_tree_arrays": set(),
    "_dendrogram_html": {"_dendrogram_export"},
    "dendrogram": {"_dendrogram_export", "_dendrogram_html", "_tree_arrays"},
    "_parameters": {"exceptions", "model"},
    "_validation": {"_parameters", "data"},
    "hierarchy": BASE | {"data", "dendrogram", "model"},
    "explanation": {"display"},
    "diagnostics": BASE | {"data", "dendrogram", "graph", "model", "training"},
    "_options": BASE | {"data", "model", "training"},
    "_callback_support": {"training"},
    "_stored_parameters": {"training"},
    "_stored_schema": {"_parameters", "diagnostics", "hierarchy", "model"},
    "_stored_state": {
        "_archive",
        "_parameters",
        "_stored_parameters",
        "_stored_schema",
        "_version",
        "dendrogram",
    },
    "_signatures": {
        "_effects",
        "_validation",
        "data",
        "dendrogram",
        "diagnostics",
        "hierarchy",
        "model",
    },
    "_fitted_attributes": {
        "_random",
        "data",
        "dendrogram",
        "diagnostics",
        "hierarchy",
        "model",
        "training",
    },
    "_hierarchy_mixin": {"_tree_arrays", "dendrogram"},
    "_html_mixin": {"_effects", "_validation", "dendrogram", "display"},
    "_explanation_mixin": {
        "_dendrogram_export",
        "_effects",
        "_parameters",
        "_signatures",
        "_tree_arrays",
        "_validation",
        "data",
        "dendrogram",
        "diagnostics",
        "explanation",
        "model",
    },
    "persistence": {
        "_archive",
        "_parameters",
        "_stored_parameters",
        "_stored_schema",
        "_stored_state",
        "_version",
        "data",
        "devices",
        "diagnostics",
        "model",
        "training",
    },
    "clustering": BASE
    | {
        "_callback_support",
        "_explanation_mixin",
        "_fit_context",
        "_fitted_attributes",
        "_hierarchy_mixin",
        "_html_mixin",
        "_options",
        "_parameters",
        "_score_mixin",
        "_threads",
        "_validation",
        "data",
        "diagnostics",
        "hierarchy",
        "model",
        "persistence",
        "training",
    },
    "callbacks": {"_parameters", "clustering", "exceptions"},
    "__init__": {"_version", "clustering", "dendrogram", "training"},
}
"""Modules and subpackages that each module or subpackage may import, besides itself."""

MAY_IMPORT_IN_FUNCTIONS = {"dendrogram": {"display"}, "_dendrogram_html": {"display"}}

MUST_NOT_IMPORT = {
    "model": {"joblib", "matplotlib", "pandas", "sklearn"},
    "graph": {"matplotlib", "pandas"},
    "training": {"matplotlib", "pandas", "sklearn"},
    "display": {"torch"},
    "dendrogram": {"torch"},
    "explanation": {"torch"},
    "_chunks": {"torch", "sklearn"},
    "_effects": {"torch"},
    "_dendrogram_export": {"torch"},
    "_dendrogram_html": {"torch"},
    "_tree_arrays": {"torch"},
    "_archive": {"torch", "sklearn"},
    "_files": {"torch", "sklearn"},
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
