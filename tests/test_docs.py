"""What the documentation says about defaults is what the code does."""

from __future__ import annotations

import ast
import inspect
import json
import operator
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import spotscape as sp
from spotscape.models import SpaCrossConfig, SpotscapeConfig
from spotscape.pl import _sheet

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES = Path(__file__).parents[1] / "docs" / "how_it_works"
CONFIGS = {"spotscape": SpotscapeConfig, "spacross": SpaCrossConfig}
TABLE = re.compile(r"^\| field \| paper \| here \|.*\n\|[-|]+\n((?:\|.*\n)+)", flags=re.MULTILINE)
ROW = re.compile(r"^\| `(\w+)` \| `([^`]+)` \| `([^`]+)` \|", flags=re.MULTILINE)


def documented_rows(page: str) -> set[str]:
    """The rows ``| field | paper | here |`` of the page, without what follows."""
    (table,) = TABLE.findall((PAGES / f"{page}.md").read_text(encoding="utf-8"))
    return {_row(*cells) for cells in ROW.findall(table)}


def expected_rows(config: Any) -> set[str]:
    """The rows that the page has to have: one for each field in which the defaults are not those of the paper."""
    ours, theirs = vars(config()), vars(config.paper())
    return {_row(name, _literal(theirs[name]), _literal(ours[name])) for name in ours if ours[name] != theirs[name]}


def _row(name: str, paper: str, here: str) -> str:
    return f"| `{name}` | `{paper}` | `{here}` |"


def _literal(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


@pytest.mark.parametrize("page", CONFIGS)
def test_every_changed_default_is_documented_as_it_is(page: str) -> None:
    documented, expected = documented_rows(page), expected_rows(CONFIGS[page])
    missing, wrong = sorted(expected - documented), sorted(documented - expected)
    assert documented == expected, "\n".join(
        [f"docs/how_it_works/{page}.md lacks these rows:", *missing, "and has these, which are not so:", *wrong]
    )


def test_what_the_released_code_does_is_documented_as_it_is() -> None:
    text = (PAGES / "spacross.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^\| field \| paper \| released code \|\n\|[-|]+\n((?:\|.*\n)+)", text, flags=re.MULTILINE)
    paper, released = vars(SpaCrossConfig.paper()), vars(SpaCrossConfig.released())
    expected = {
        _row(name, _literal(paper[name]), _literal(released[name])) for name in paper if paper[name] != released[name]
    }
    rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \| `([^`]+)`", table, flags=re.MULTILINE)
    assert {_row(*cells) for cells in rows} == expected


@pytest.mark.parametrize("page", CONFIGS)
def test_fields_that_a_page_names_exist(page: str) -> None:
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    first_cells = re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE)
    assert first_cells
    assert set(first_cells) <= set(vars(CONFIGS[page]()))


# What pages and notebooks call exists, with these arguments.

ROOT = Path(__file__).parents[1]
CALLING = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "how_it_works").glob("*.md")),
]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def snippets(path: Path) -> list[str]:
    """Code of a page, its blocks and what stands between backticks, or of the cells of a notebook."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        marked = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"] + snippets_of_text(marked)
    return snippets_of_text(text)


def snippets_of_text(text: str) -> list[str]:
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return blocks + [code for code in re.findall(r"`([^`\n]+)`", prose) if code.startswith("sp.") and "..." not in code]


def calls(code: str) -> Iterator[tuple[str, ast.Call]]:
    """Calls of the public interface, such as ``("tl.domains", ...)``."""
    try:
        tree = ast.parse(code)
    except SyntaxError:  # a piece of prose that is no code
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (name := ast.unparse(node.func)).startswith("sp.") and "(" not in name:
            yield name.removeprefix("sp."), node


def accepted(function: Any) -> set[str]:
    """Names of arguments, those of a plot's common options included."""
    parameters = inspect.signature(function).parameters
    names = set(parameters)
    for parameter in parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            kind = re.sub(r"Unpack\[(\w+)\]", r"\1", str(parameter.annotation))
            options = getattr(_sheet, kind)
            names |= set(options.__annotations__)
    return names


@pytest.mark.parametrize("path", [*CALLING, *NOTEBOOKS], ids=lambda path: path.name)
def test_calls_in_pages_and_notebooks_have_arguments_that_exist(path: Path) -> None:
    for code in snippets(path):
        for name, call in calls(code):
            function = operator.attrgetter(name)(sp)
            if not name.startswith(("pp.", "tl.", "pl.", "get.", "datasets.", "metrics.")):
                continue
            unknown = {keyword.arg for keyword in call.keywords if keyword.arg} - accepted(function)
            assert not unknown, f"sp.{name} has no {sorted(unknown)}"


OF_OTHERS = {"img_key", "connectivity_key", "size_key"}  # scanpy's and squidpy's, in a comparison


@pytest.mark.parametrize("path", [*CALLING, *NOTEBOOKS], ids=lambda path: path.name)
def test_keys_that_pages_name_are_parameters(path: Path) -> None:
    functions = [getattr(module, name) for module in (sp.pp, sp.tl, sp.pl, sp.get) for name in module.__all__]
    known = set().union(*(accepted(function) for function in functions if not inspect.isclass(function)))
    text = path.read_text(encoding="utf-8")
    assert set(re.findall(r"`(\w+_key)`", text)) <= known | OF_OTHERS


# The language of pages, notebooks, docstrings, log lines and errors.

BANNED = (
    r"tak(?:es?|en|ing) off",
    r"\bhears?\b",
    r"\bvoices?\b",
    r"\bsaid aloud\b",
    r"\b(?:no|the same) say\b",
    r"let(?:s|ting)? (?:them )?expect",
    r"logarithmised",
    r"the genes decide",
    r"nothing of each other",
    r"\byardsticks?\b",
    r"smoothing floor",
    r"are no trouble",
    r"\banew\b",
    r"\b(?:lies?|lay|laid|lays) (?:over|on) (?:each other|the wrong)",
    r"\bnobody (?:can )?(?:knows?|foresaw)",
    r"\basks? for no\b",
    r"\bgives? (?:itself |them )?away\b",
    r"\bsays? nothing\b",
    r"\blest\b",
    r"\blights? up\b",
    r"\b(?:is|are) not truth\b",
    r"\bhardly meet\b",
    r"\b(?:read it|goes|stands) beside\b",
    r"\bhas accidents\b",
    r"\blose the vote\b",
    r"\b(?:it )?is open (?:which|what|whether)\b",
)
SPOKEN = [
    *CALLING,
    *NOTEBOOKS,
    *sorted((ROOT / "src").rglob("*.py")),
    *sorted((ROOT / "benchmarks").glob("*.py")),
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "benchmarks" / "README.md",
]


def test_no_private_idioms() -> None:
    """The style page of CONTRIBUTING.md: words of the field, no riddles."""
    phrases = re.compile("|".join(BANNED), flags=re.IGNORECASE)
    hits = [
        f"{path.relative_to(ROOT)}: {found[0]!r}"
        for path in SPOKEN
        for found in phrases.finditer(" ".join(_own_words(path).split()))
    ]
    assert hits == []


def _own_words(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])


def test_lines_of_see_also_with_several_names_have_no_comma_behind_the_colon() -> None:
    """Sphinx takes the words behind such a comma for a further name and links it to nothing."""
    lines = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in sorted((ROOT / "src").rglob("*.py"))
        for block in re.findall(r"See Also\n\s+-+\n((?:.*\S.*\n)+)", path.read_text(encoding="utf-8"))
        for line in block.splitlines()
        if re.match(r"\s*[\w.]+(, [\w.]+)+ :.*,", line)
    ]
    assert lines == []


def test_the_installation_page_has_all_extras() -> None:
    page = (ROOT / "docs" / "installation.md").read_text(encoding="utf-8")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE)) == set(extras)


WANTED = (
    "Visium HD, Xenium, MERSCOPE, MERFISH, CosMx, Stereo-seq, Slide-seq, conda, CUDA, Apple silicon, GPU, FAQ, "
    "number of domains, clustering, batch correction, registration, marker, trajectories, imputation, "
    "reproducibility, new slices, citing, large data, which method, confidence"
)


@pytest.mark.parametrize("wanted", WANTED.split(", "))
def test_headings_have_the_words_that_users_search_for(wanted: str) -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in CALLING)
    headings = re.findall(r"^#{1,3} (.+)$", text, flags=re.MULTILINE)
    assert any(wanted.lower() in heading.lower() for heading in headings)


@pytest.mark.parametrize(
    "path", [*CALLING, *sorted((ROOT / "docs" / "_tables").glob("*.md"))], ids=lambda path: path.name
)
def test_numbers_called_the_default_are(path: Path) -> None:
    """Rows of older settings must not be called those of the default."""
    now = {
        "components": {SpotscapeConfig().n_comps},
        "singular directions": {SpotscapeConfig().n_comps},
        "axes": {SpotscapeConfig().n_axes},
        "epochs": {kind().max_epochs for kind in CONFIGS.values()},
        "encoders": {kind().n_encoders for kind in CONFIGS.values()},
    }
    text = path.read_text(encoding="utf-8")
    for number, what in re.findall(rf"\b([\d,]+) ({'|'.join(now)}) \(default\)", text):
        assert int(number.replace(",", "")) in now[what], f"{number} {what} are not the default, which is {now[what]}"
