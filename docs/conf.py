"""Sphinx settings; ``nox -s docs`` builds the site without a network."""

from __future__ import annotations

import os
import shutil
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).parent

project = "spotscape"
author = "The spotscape developers"
copyright = f"2026, {author}"
version = release = version_of("spotscape")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_autodoc_typehints",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]

# API pages
autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
always_use_bars_union = True
typehints_defaults = "braces"
typehints_use_rtype = False
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True

# Pages and notebooks: outputs are stored, `nox -s notebooks` makes them
nb_execution_mode = "off"
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath", "linkify"]
myst_heading_anchors = 3


def _collect_notebooks() -> list[str]:
    """Copy the notebooks next to the pages, where Sphinx can see them."""
    target = HERE / "notebooks"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    found = sorted((HERE.parent / "notebooks").glob("*.ipynb"))
    return [shutil.copy2(path, target).name for path in found]


suppress_warnings = ["sphinx_autodoc_typehints.guarded_import"]
if not _collect_notebooks():
    suppress_warnings.append("toc.empty_glob")

# Links into other projects need their inventories, hence a network; the site builds and is complete without.
intersphinx_mapping = (
    {
        "anndata": ("https://anndata.readthedocs.io/en/stable/", None),
        "matplotlib": ("https://matplotlib.org/stable/", None),
        "numpy": ("https://numpy.org/doc/stable/", None),
        "pandas": ("https://pandas.pydata.org/pandas-docs/stable/", None),
        "python": ("https://docs.python.org/3", None),
        "scanpy": ("https://scanpy.readthedocs.io/en/stable/", None),
        "scipy": ("https://docs.scipy.org/doc/scipy/", None),
        "sklearn": ("https://scikit-learn.org/stable/", None),
        "squidpy": ("https://squidpy.readthedocs.io/en/stable/", None),
        "torch": ("https://docs.pytorch.org/docs/stable/", None),
    }
    if os.environ.get("READTHEDOCS")
    else {}
)
nitpicky = True
# Every name of our own has to lead somewhere; those of others do so with a network only.
_OTHERS = "anndata|collections|leidenalg|logging|matplotlib|networkx|np|numpy|pandas|pathlib|pd|scanpy|scipy|sklearn|sparse|squidpy|torch|typing|tqdm"
nitpick_ignore_regex = [
    ("py:.*", rf"({_OTHERS})(\..*)?"),
    ("py:.*", r"[A-Z]\w*|[a-z]\w*"),  # built-ins and names without a module, as short annotations show them
]

html_theme = "sphinx_book_theme"
html_title = "spotscape"
html_static_path = ["_static"]
html_theme_options = {
    "home_page_in_toc": False,
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
}
