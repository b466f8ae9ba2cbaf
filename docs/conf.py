"""Sphinx settings; ``nox -s docs`` builds the site without a network."""

from __future__ import annotations

import os
import re
import shutil
import warnings
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HERE = Path(__file__).parent

# The extension calls what Sphinx 10 will have renamed, once for every parameter.
warnings.filterwarnings("ignore", message="'sphinx_autodoc_typehints")

project = "spotscape"
author = "The spotscape developers"
copyright = f"2026, {author}"
version = release = version_of("spotscape")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx_autodoc_typehints",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx-mathjax-offline",  # formulas without a network
]
exclude_patterns = ["_build", "_tables"]
templates_path = ["_templates"]

# API pages
autosummary_generate = True
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
always_use_bars_union = True
typehints_defaults = "braces"
typehints_document_rtype = False  # what is returned, or written, is said in words
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_custom_sections = ["Result"]  # see _keep_results

# Pages and notebooks: outputs are stored, `nox -s notebooks` makes them
nb_execution_mode = "off"
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath", "linkify"]
myst_heading_anchors = 3


def _collect_notebooks() -> None:
    """Copy the notebooks next to the pages, where Sphinx can see them."""
    target = HERE / "notebooks"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for notebook in (HERE.parent / "notebooks").glob("*.ipynb"):
        shutil.copy2(notebook, target)


_collect_notebooks()
suppress_warnings = [
    "config.cache",  # typehints_formatter is a function
    "ref.footnote",  # numbered references at the end of a docstring need not be cited in it
    "sphinx_autodoc_typehints.forward_reference",
    "sphinx_autodoc_typehints.guarded_import",  # modules that are imported for type checking only
]

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
_OTHERS = (
    "anndata|collections|leidenalg|logging|matplotlib|networkx|np|numpy|pandas|pathlib|pd|scanpy|scipy|sklearn|sparse|"
    "jscatter|plotly|pyvista|squidpy|torch|torch_geometric|torch_sparse|typing|tqdm"
)
nitpick_ignore_regex = [
    ("py:.*", rf"({_OTHERS})(\..*)?"),
    (
        "py:class",
        r"spotscape\.(pl\._sheet\.\w+|nn\.batches\.Known|nn\.trainer\.Checkpoint|nn\.graph\.Structure|nn\.losses(\.scaling)?\.(Masking|Meeting))",
    ),
    ("py:attr", r"spotscape\.settings\..*"),  # described on the page of the object
    ("py:.*", r"[A-Z]\w*|[a-z]\w*"),  # built-ins and names without a module, as short annotations show them
]

html_theme = "sphinx_book_theme"
html_title = "spotscape"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_theme_options = {
    "home_page_in_toc": False,
    "navbar_persistent": [],
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
}


def typehints_formatter(annotation: Any, config: Any) -> str | None:
    """Write what NumPy accepts as an array as one name, instead of the dozen types that it stands for."""
    if "_SupportsArray" not in str(annotation):
        return None
    others = [kind for kind in ("spmatrix", "sparray") if kind in str(annotation)]
    none = ["None"] if type(None) in getattr(annotation, "__args__", ()) else []
    return " | ".join(f"``{name}``" for name in ("array_like", *others, *none))


def _mend_literals(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Keep two kinds of entries readable that napoleon passes on.

    ``adata.obs["key"]`` as an entry of Returns becomes bold, which does not nest, and of fields that share a
    description, ``:ivar a, b:``, Sphinx takes the first for the type of the last.
    """
    lines[:] = [re.sub(r"\*\*(``.+?``)\*\*", r"\1", line) for line in lines]
    lines[:] = [re.sub(r"^:ivar ([\w, ]+):", lambda found: found[0].replace(", ", ","), line) for line in lines]


def _keep_results(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Show a section Returns as it is written: napoleon would take each line of a paragraph for a name or a type."""
    for index, line in enumerate(lines[:-1]):
        if line == "Returns" and set(lines[index + 1]) == {"-"}:
            lines[index : index + 2] = ["Result", "------"]


def _keep_numbers(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Keep ``.59 ± .02`` in a cell of a table on one line."""
    for cell in doctree.findall(nodes.entry):
        if re.fullmatch(r"[-–.\d][-–.\d\s±%/(),a-zA-Z]{0,22}", cell.astext()):
            for text in list(cell.findall(nodes.Text)):
                text.parent.replace(text, nodes.Text(text.astext().replace(" ", "\N{NO-BREAK SPACE}")))


def setup(app: Sphinx) -> None:
    """Connect what is ours to Sphinx."""
    app.connect("doctree-resolved", _keep_numbers)
    app.connect("autodoc-process-docstring", _keep_results, priority=400)
    app.connect("autodoc-process-docstring", _mend_literals, priority=900)
