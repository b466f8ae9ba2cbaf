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
    "nn": {"_core"},
    "models": {"_core", "nn"},
    "metrics": {"_core"},
    "datasets": {"_core"},
    "get": {"_core"},
    "pp": {"_core", "nn", "models"},
    "tl": {"_core", "nn", "models", "metrics", "pp"},
    "pl": {"_core", "nn", "models", "metrics"},
    "distributed": {"_core", "nn", "models", "tl"},
}
WITHOUT_ANNDATA = {"nn", "models", "metrics"}
ANNDATA_SIDE = {"anndata", "scanpy", "squidpy", "spatialdata"}
MAX_FUNCTION_LINES = 80
MAX_FILE_LINES = 500
# The one place that stands in for `print` while nobody has set up logging.
MAY_PRINT = {"_core/logging.py"}


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def floor_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


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


@pytest.fixture(params=SOURCES, ids=name_of, scope="module")
def source(request: pytest.FixtureRequest) -> tuple[Path, ast.Module]:
    return request.param, ast.parse(request.param.read_text(encoding="utf-8"))


def test_imports_run_downward(source: tuple[Path, ast.Module]) -> None:
    path, tree = source
    if floor_of(path) in MAY_IMPORT:
        assert wrong_floors(floor_of(path), imported_modules(tree)) == set()


def test_mathematics_knows_no_anndata(source: tuple[Path, ast.Module]) -> None:
    path, tree = source
    if floor_of(path) in WITHOUT_ANNDATA:
        assert {module.partition(".")[0] for module in imported_modules(tree)} & ANNDATA_SIDE == set()


def test_functions_are_short(source: tuple[Path, ast.Module]) -> None:
    functions = [node for node in ast.walk(source[1]) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert [f.name for f in functions if body_lines(f) > MAX_FUNCTION_LINES] == []


def test_files_are_short(source: tuple[Path, ast.Module]) -> None:
    assert len(source[0].read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES


def test_no_assert(source: tuple[Path, ast.Module]) -> None:
    assert [node.lineno for node in ast.walk(source[1]) if isinstance(node, ast.Assert)] == []


def test_no_print(source: tuple[Path, ast.Module]) -> None:
    path, tree = source
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    assert name_of(path) in MAY_PRINT or [call.lineno for call in calls if call.func.id == "print"] == []


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
