"""Every public function looks like its siblings, and the API page of the docs names exactly what is public."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import spotscape as sp

if TYPE_CHECKING:
    from collections.abc import Callable

NAMESPACES = ("pp", "tl", "pl", "get", "datasets", "metrics", "models", "nn")
ON_ANNDATA = ("pp", "tl", "pl")
SECTIONS = {"pp": ("Parameters", "Returns", "Examples"), "tl": ("Parameters", "Returns", "Examples")}
SECTIONS |= {
    "pl": SECTIONS["tl"],
    "get": SECTIONS["tl"],
    "metrics": SECTIONS["tl"],
    "datasets": ("Returns", "Examples"),
}
# They compute something from an AnnData and hand it back; there is nothing to copy.
ONLY_RETURN = {"pp.apply_registration"}
# The second thing that they need is no option.
POSITIONAL = {
    "tl.embed": ["model"],
    "pl.composition": ["key"],
    "pl.confidence": ["key"],
    "pl.crosstab": ["key"],
    "pl.disagreement": ["labelings"],
    "pl.domains": ["color"],
    "pl.embedding": ["color"],
    "pl.explore": ["color"],
    "pl.match_colors": ["key"],
    "pl.matching": ["query"],
    "pl.similarity": ["anchors"],
    "pl.stack_3d": ["color"],
    "pl.volume": ["color"],
}
# Options that plots share arrive as typed keywords.
NAMED = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD)
API_PAGE = Path(__file__).parents[1] / "docs" / "api.md"


def public_names(namespace: str) -> list[str]:
    return list(getattr(import_module(f"spotscape.{namespace}"), "__all__", ()))


def public_objects(*namespaces: str) -> dict[str, Any]:
    """Return every public object by its name as a user writes it, ``tl.spotscape``."""
    return {
        f"{space}.{name}": getattr(getattr(sp, space), name) for space in namespaces for name in public_names(space)
    }


def functions(*namespaces: str) -> dict[str, Callable[..., Any]]:
    return {name: value for name, value in public_objects(*namespaces).items() if inspect.isfunction(value)}


def sections_of(docstring: str | None) -> dict[str, str]:
    """Split a numpydoc docstring into its sections."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}\n", inspect.cleandoc(docstring or ""), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def documented_parameters(docstring: str | None) -> set[str]:
    entries = re.findall(r"^(\*{0,2}\w[\w, *]*?)(?: ?:.*)?$", sections_of(docstring).get("Parameters", ""), flags=re.M)
    return {name.strip().lstrip("*") for entry in entries for name in entry.split(",")}


def listed_names(page: str) -> set[str]:
    """Return the names in the autosummary lists of the API page."""
    lists = re.findall(r"^\.\. autosummary::\n((?:[ ]{3}.*\n|\n)+)", page, flags=re.MULTILINE)
    return {entry for text in lists for entry in re.findall(r"^ {3}([a-z]\w*(?:\.\w+)?)$", text, flags=re.MULTILINE)}


ON_ANNDATA_FUNCTIONS = functions(*ON_ANNDATA)
FUNCTIONS = functions(*NAMESPACES) | {"read": sp.read}


VERBS = frozenset(
    {
        "Apply",
        "Build",
        "Choose",
        "Cluster",
        "Combine",
        "Compute",
        "Contrast",
        "Correct",
        "Cut",
        "Draw",
        "Embed",
        "Estimate",
        "Explore",
        "Find",
        "Give",
        "Impute",
        "Load",
        "Match",
        "Move",
        "Order",
        "Prepare",
        "Read",
        "Register",
        "Replace",
        "Return",
        "Scale",
        "Show",
        "Simulate",
        "Smooth",
        "Subtract",
        "Sum",
        "Transfer",
        "Turn",
    }
)


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_docstrings_of_functions_open_with_a_verb(namespace: str) -> None:
    first = {name: (function.__doc__ or " ").split()[0] for name, function in functions(namespace).items()}
    assert {name: word for name, word in first.items() if word not in VERBS} == {}


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_completion_shows_public_names_only(namespace: str) -> None:
    assert dir(getattr(sp, namespace)) == sorted(public_names(namespace))


def test_adata_comes_first_and_the_rest_is_keyword_only() -> None:
    offenders = {}
    for name, function in ON_ANNDATA_FUNCTIONS.items():
        first, *rest = inspect.signature(function).parameters.values()
        free = [parameter.name for parameter in rest if parameter.kind not in NAMED]
        if first.name != "adata" or free != POSITIONAL.get(name, []):
            offenders[name] = [first.name, *free]
    assert offenders == {}


def test_copy_is_off_and_its_result_is_announced() -> None:
    offenders = {}
    for name, function in ON_ANNDATA_FUNCTIONS.items():
        signature = inspect.signature(function)
        copy = signature.parameters.get("copy")
        if name.startswith("pl.") or name in ONLY_RETURN:
            fine = copy is None
        else:
            announced = re.fullmatch(r".+ \| None|None \| .+", str(signature.return_annotation))
            fine = copy is not None and copy.default is False and announced
        if not fine:
            offenders[name] = str(signature)
    assert offenders == {}


def test_parameters_and_documentation_name_the_same() -> None:
    offenders = {}
    for name, function in FUNCTIONS.items():
        parameters, documented = set(inspect.signature(function).parameters), documented_parameters(function.__doc__)
        if parameters != documented:
            offenders[name] = {"undocumented": parameters - documented, "unknown": documented - parameters}
    assert offenders == {}


def test_docstrings_have_their_sections_and_examples_that_run() -> None:
    offenders = {}
    for name, function in FUNCTIONS.items():
        sections = sections_of(function.__doc__)
        missing = [section for section in SECTIONS.get(name.partition(".")[0], ()) if section not in sections]
        if missing or ">>> " not in sections.get("Examples", ">>> "):
            offenders[name] = missing or ["Examples cannot be run"]
    assert offenders == {}


def test_every_public_object_has_a_summary() -> None:
    objects = {name: value for name, value in public_objects(*NAMESPACES).items() if callable(value)}
    summaries = {name: (value.__doc__ or "").strip().partition("\n")[0] for name, value in objects.items()}
    assert {name: text for name, text in summaries.items() if not text.endswith(".")} == {}


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_public_names_are_sorted_and_exist(namespace: str) -> None:
    names = public_names(namespace)
    assert names == sorted(names)
    assert [name for name in names if not hasattr(getattr(sp, namespace), name)] == []


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_the_api_page_names_what_is_public(namespace: str) -> None:
    listed = listed_names(API_PAGE.read_text(encoding="utf-8"))
    on_page = {name.partition(".")[2] for name in listed if name.startswith(f"{namespace}.")}
    assert on_page == set(public_names(namespace))


def test_the_api_page_names_no_other_namespace() -> None:
    listed = listed_names(API_PAGE.read_text(encoding="utf-8"))
    assert {name for name in listed if name.partition(".")[0] not in NAMESPACES} == {"read", "settings"}


class TestThePolicyBites:
    """A rule that cannot fail is none."""

    def test_a_section(self) -> None:
        found = sections_of(
            "Do.\n\n    Parameters\n    ----------\n    a\n        First.\n\n    Returns\n    -------\n    It."
        )
        assert found.keys() == {"Parameters", "Returns"}

    def test_parameters(self) -> None:
        text = "Do.\n\nParameters\n----------\nadata\n    Data, a comma.\nx, y : float\n    Two.\n*rest\n    More: all."
        assert documented_parameters(text) == {"adata", "x", "y", "rest"}

    def test_a_list_of_names(self) -> None:
        page = ".. autosummary::\n   :toctree: generated\n   :nosignatures:\n\n   tl.spotscape\n   settings\n\ntext\n"
        assert listed_names(page) == {"tl.spotscape", "settings"}
