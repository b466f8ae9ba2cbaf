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
POSITIONAL = {"tl.embed": ["model"]}
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


def each(found: dict[str, Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("name", "function"), list(found.items()), ids=list(found))


on_anndata = each(functions(*ON_ANNDATA))
every_function = each(functions(*NAMESPACES))
every_object = each(public_objects(*NAMESPACES))


@on_anndata
def test_adata_comes_first_and_the_rest_is_keyword_only(name: str, function: Callable[..., Any]) -> None:
    first, *rest = inspect.signature(function).parameters.values()
    assert first.name == "adata"
    free = [parameter.name for parameter in rest if parameter.kind is not inspect.Parameter.KEYWORD_ONLY]
    assert free == POSITIONAL.get(name, [])


@on_anndata
def test_copy_is_off_and_its_result_is_announced(name: str, function: Callable[..., Any]) -> None:
    signature = inspect.signature(function)
    if name.startswith("pl.") or name in ONLY_RETURN:
        assert "copy" not in signature.parameters
        return
    assert "copy" in signature.parameters, f"{name} takes no copy"
    assert signature.parameters["copy"].default is False
    assert re.fullmatch(r".+ \| None|None \| .+", str(signature.return_annotation)), signature.return_annotation


@every_function
def test_everything_is_annotated(name: str, function: Callable[..., Any]) -> None:
    signature = inspect.signature(function)
    bare = [p.name for p in signature.parameters.values() if p.annotation is inspect.Parameter.empty]
    assert bare == []
    assert signature.return_annotation is not inspect.Signature.empty


@every_function
def test_every_parameter_is_documented(name: str, function: Callable[..., Any]) -> None:
    parameters = set(inspect.signature(function).parameters)
    assert parameters - documented_parameters(function.__doc__) == set()


@every_function
def test_no_parameter_is_documented_that_does_not_exist(name: str, function: Callable[..., Any]) -> None:
    parameters = set(inspect.signature(function).parameters)
    assert documented_parameters(function.__doc__) - parameters == set()


@every_function
def test_the_docstring_has_its_sections(name: str, function: Callable[..., Any]) -> None:
    wanted = SECTIONS.get(name.partition(".")[0], ())
    assert [section for section in wanted if section not in sections_of(function.__doc__)] == []


@every_function
def test_examples_can_be_run(name: str, function: Callable[..., Any]) -> None:
    examples = sections_of(function.__doc__).get("Examples")
    assert examples is None or ">>> " in examples


@every_object
def test_every_public_object_has_a_summary(name: str, function: Any) -> None:
    if not (inspect.isclass(function) or inspect.isfunction(function)):
        pytest.skip("a value or a type alias, which Python gives the docstring of its class")
    summary = (function.__doc__ or "").strip().partition("\n")[0]
    assert summary.endswith(".")


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_public_names_are_sorted_and_exist(namespace: str) -> None:
    names = public_names(namespace)
    assert names == sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    assert [name for name in names if not hasattr(getattr(sp, namespace), name)] == []


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_the_api_page_names_what_is_public(namespace: str) -> None:
    listed = listed_names(API_PAGE.read_text(encoding="utf-8"))
    on_page = {name.partition(".")[2] for name in listed if name.startswith(f"{namespace}.")}
    assert on_page == set(public_names(namespace))


def test_the_api_page_names_no_other_namespace() -> None:
    listed = listed_names(API_PAGE.read_text(encoding="utf-8"))
    assert {name for name in listed if name.partition(".")[0] not in NAMESPACES} == {"settings"}


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
