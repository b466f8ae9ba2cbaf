"""The floors of the house, its sizes and its manners, read from the source."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import spotscape

PACKAGE = Path(spotscape.__file__).parent
ROOT = Path(__file__).parents[1]
SOURCES = sorted(PACKAGE.rglob("*.py"))

# What each floor may import from the package; itself is always allowed.
MAY_IMPORT = {
    "_core": set(),
    "_stats": {"_core"},
    "registration": {"_core"},
    "nn": {"_core", "_stats"},
    "models": {"_core", "_stats", "nn"},
    "metrics": {"_core"},
    "datasets": {"_core", "registration"},
    "readers": {"_core"},
    "get": {"_core"},
    "pp": {"_core", "_stats", "nn", "models", "registration"},
    "tl": {"_core", "_stats", "nn", "models", "metrics", "pp", "registration"},
    "pl": {"_core", "_stats", "nn", "models", "metrics", "get", "registration"},
    "cli": {"_core", "datasets", "get", "models", "nn", "pl", "pp", "readers", "tl"},
}
WITHOUT_ANNDATA = {"_stats", "registration", "nn", "models", "metrics"}
ANNDATA_SIDE = {"anndata", "scanpy", "squidpy", "spatialdata"}
MAX_FUNCTION_LINES = 50
MAX_FILE_LINES = 500


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def imported_modules(tree: ast.AST) -> set[str]:
    """Return every module that the source names in an import, ``from a import b`` as ``a`` and ``a.b``."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def wrong_floors(floor: str, modules: set[str]) -> set[str]:
    """Return the floors of the package that ``modules`` reach though ``floor`` may not."""
    reached = {module.split(".")[1] for module in modules if module.startswith("spotscape.")}
    return (reached & MAY_IMPORT.keys()) - MAY_IMPORT[floor] - {floor}


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function below its docstring."""
    first, *rest = function.body
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    start = (rest[0] if rest else first) if is_docstring else first
    return function.end_lineno - start.lineno + 1


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    return {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}


def test_imports_run_downward(trees: dict[str, ast.Module]) -> None:
    inside = {name: tree for name, tree in trees.items() if name.split("/")[0] in MAY_IMPORT}
    climbing = {name: wrong_floors(name.split("/")[0], imported_modules(tree)) for name, tree in inside.items()}
    assert {name: floors for name, floors in climbing.items() if floors} == {}


def test_the_table_of_the_contributing_page_is_true() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Architecture")[2].partition("## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|$", text, flags=re.MULTILINE)
    assert {name: set(re.findall(r"`(\w+)`", imported)) for name, imported in rows} == MAY_IMPORT
    above = [{name for name, _ in rows[:index]} for index in range(len(rows))]
    assert all(MAY_IMPORT[name] <= found for (name, _), found in zip(rows, above, strict=True))


def test_mathematics_knows_no_anndata(trees: dict[str, ast.Module]) -> None:
    pure = {name: tree for name, tree in trees.items() if name.split("/")[0] in WITHOUT_ANNDATA}
    roots = {name: {module.partition(".")[0] for module in imported_modules(tree)} for name, tree in pure.items()}
    assert {name: found & ANNDATA_SIDE for name, found in roots.items() if found & ANNDATA_SIDE} == {}
    plain = {name: found for name, found in roots.items() if name.split("/")[0] in {"_stats", "registration"}}
    assert [name for name, found in plain.items() if "torch" in found] == []


def test_functions_are_short(trees: dict[str, ast.Module]) -> None:
    functions = [
        (f"{name}:{node.name}", body_lines(node))
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert [found for found in functions if found[1] > MAX_FUNCTION_LINES] == []


def test_files_are_short() -> None:
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {name: length for name, length in lengths.items() if length > MAX_FILE_LINES} == {}


def test_no_assert(trees: dict[str, ast.Module]) -> None:
    found = [
        f"{name}:{node.lineno}" for name, t in trees.items() for node in ast.walk(t) if isinstance(node, ast.Assert)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("floor", "code", "wrong"),
    [
        ("nn", "from spotscape import tl", {"tl"}),
        ("nn", "import spotscape.models.config", {"models"}),
        ("models", "def f():\n    from spotscape.pp import prepare", {"pp"}),
        ("metrics", "from spotscape.nn import smooth", {"nn"}),
        ("tl", "from spotscape.models import Spotscape", set()),
        ("nn", "from spotscape._core.keys import SPATIAL", set()),
    ],
)
def test_a_wrong_floor_is_seen(floor: str, code: str, wrong: set[str]) -> None:
    assert wrong_floors(floor, imported_modules(ast.parse(code))) == wrong


def test_every_floor_is_known() -> None:
    floors = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert floors == set(MAY_IMPORT)


def test_the_package_says_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()


# A folder of somebody's machine, or an address that only one network knows.
PRIVATE = re.compile(
    r"(?<![\w.])/(?:home|root|tmp|work|opt|Users|mnt|srv)/[\w.-]|[A-Z]:\\Users|localhost:\d|\b10\.\d+\.\d+\.\d+\b"
)
TEXTS = {".py", ".md", ".toml", ".yaml", ".yml", ".cff", ".txt", ".ipynb", ".cfg", ".sh"}
FOLDERS = ("src", "docs", "notebooks", "benchmarks", "constraints", ".github", ".ci", "tests")
GENERATED = {"_build", "generated", "__pycache__", ".ipynb_checkpoints"}


def texts() -> list[Path]:
    inside = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
    files = [path for path in [*ROOT.iterdir(), *inside] if path.is_file() and not GENERATED & set(path.parts)]
    return [path for path in files if path.suffix in TEXTS or path.parent.name == ".ci"]


def test_no_private_paths_in_the_repository() -> None:
    hits = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in texts()
        if path != Path(__file__)
        for match in PRIVATE.finditer(path.read_text(encoding="utf-8"))
    ]
    assert hits == []


@pytest.mark.parametrize("text", ["see /home/anna/data", "cd /tmp/x", r"C:\Users\anna", "http://localhost:3141"])
def test_a_private_path_is_seen(text: str) -> None:
    assert PRIVATE.search(text)


@pytest.mark.parametrize("text", ["https://example.org/home/page", "a/tmp/b", "../opt/x", "and/or/work"])
def test_an_address_is_no_private_path(text: str) -> None:
    assert not PRIVATE.search(text)
