"""Sphinx settings; build with `make docs`.

The environment variable `DOCS_OFFLINE` leaves out the links to other packages, whose
addresses are read from the network.
"""

import os

from sktreevae import __version__

project = "sktreevae"
author = "The sktreevae developers"
copyright = "2026, the sktreevae developers"
release = version = __version__
extensions = [
    "matplotlib.sphinxext.plot_directive",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.extlinks",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx_gallery.gen_gallery",
]
extlinks = {"arxiv": ("https://arxiv.org/abs/%s", "arXiv %s")}
exclude_patterns = ["_build"]
templates_path = ["_templates"]
default_role = "obj"
html_theme = "pydata_sphinx_theme"
autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
numpydoc_xref_param_type = True
numpydoc_xref_aliases = {
    # numpydoc's own aliases of these are labels, which need the network.
    **{name: name for name in ("None", "True", "False", "bool", "callable")},
    **{name: name for name in ("dict", "float", "int", "list", "str", "tuple")},
    "array-like": "numpy.typing.ArrayLike",
    "array_like": "numpy.typing.ArrayLike",
    "path-like": "os.PathLike",
    "sequence": "collections.abc.Sequence",
    "Axes": "matplotlib.axes.Axes",
    "DataFrame": "pandas.DataFrame",
    "Figure": "matplotlib.figure.Figure",
    "RandomState": "numpy.random.RandomState",
    "ndarray": "numpy.ndarray",
    "torch.device": "torch.device",
}
numpydoc_xref_ignore = "all"
intersphinx_mapping = {
    "joblib": ("https://joblib.readthedocs.io/en/stable", None),
    "matplotlib": ("https://matplotlib.org/stable", None),
    "numpy": ("https://numpy.org/doc/stable", None),
    "pandas": ("https://pandas.pydata.org/docs", None),
    "python": ("https://docs.python.org/3", None),
    "scipy": ("https://docs.scipy.org/doc/scipy", None),
    "sklearn": ("https://scikit-learn.org/stable", None),
    "torch": ("https://docs.pytorch.org/docs/stable", None),
}
if os.environ.get("DOCS_OFFLINE"):
    intersphinx_mapping = {}
plot_formats = [("png", 150)]
plot_html_show_formats = False
plot_html_show_source_link = False
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"plot_",
    "parallel": 2,
}
