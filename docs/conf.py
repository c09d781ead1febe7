"""Sphinx settings; build with `make docs`."""

from sktreevae import __version__

project = "sktreevae"
author = "The sktreevae developers"
copyright = "2026, the sktreevae developers"
release = version = __version__
extensions = [
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.extlinks",
    "sphinx.ext.mathjax",
    "sphinx_gallery.gen_gallery",
]
extlinks = {"arxiv": ("https://arxiv.org/abs/%s", "arXiv %s")}
exclude_patterns = ["_build"]
html_theme = "pydata_sphinx_theme"
autosummary_generate = True
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"plot_",
    "parallel": 2,
}
