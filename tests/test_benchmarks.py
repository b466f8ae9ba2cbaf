"""Scripts in `benchmarks/` are run seldom, so this file reads what they import and call, and how pages run them.

Names imported from the package and from other scripts exist. Calls of the package fit the signatures, with the keys of
dictionaries that are passed by ``**`` and the fields of configurations. Commands in pages have options that exist.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

import spotscape
from spotscape.models import SpaCrossConfig, SpotscapeConfig
from spotscape.pl import _sheet

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
SCRIPTS = {path.stem: path for path in sorted((ROOT / "benchmarks").glob("*.py"))}
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "benchmarks" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "how_it_works").glob("*.md")),
    *SCRIPTS.values(),
]
FIELDS = {field.name for kind in (SpotscapeConfig, SpaCrossConfig) for field in dataclasses.fields(kind)}
# Run through `getattr(sp.tl, name)`.
METHODS = [spotscape.tl.smoothed_pca, spotscape.tl.spotscape, spotscape.tl.spacross]


def faults(source: str) -> list[str]:
    """What a script imports or calls that is not there."""
    tree = ast.parse(source)
    known, found = _imported(tree)
    shared = _tables(tree.body, {name: [value] for name, value in known.items() if isinstance(value, ast.Dict)})
    for scope in tree.body:
        tables = _tables(list(ast.walk(scope)), shared)
        for call in ast.walk(scope):
            if not isinstance(call, ast.Call):
                continue
            try:
                problems = [_problem(function, call, tables) for function in _called(call, known)]
            except AttributeError as error:
                problems = [str(error)]
            # A method that is chosen by name may be any of several.
            if problems and all(problems):
                found.append(f"line {call.lineno}: {ast.unparse(call.func)}: {problems[0]}")
    # Scripts that are run by another process.
    inner = [one.value for one in ast.walk(tree) if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    return found + [fault for text in inner if "import spotscape" in text and "=" in text for fault in faults(text)]


def _imported(tree: ast.Module) -> tuple[dict[str, Any], list[str]]:
    """Objects of the package by the names that a script gives them, sources of other scripts' names, and faults."""
    known: dict[str, Any] = {}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            ours = [alias for alias in node.names if alias.name.split(".")[0] == "spotscape"]
            known |= {alias.asname or "spotscape": spotscape for alias in ours}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {alias.name: alias.asname or alias.name for alias in node.names}
            if node.module.split(".")[0] == "spotscape":
                module = importlib.import_module(node.module)
                lacking = [name for name in names if not hasattr(module, name)]
                known |= {own: getattr(module, name, None) for name, own in names.items()}
            elif node.module in SCRIPTS:
                there = _defined(ast.parse(SCRIPTS[node.module].read_text(encoding="utf-8")))
                lacking = [name for name in names if name not in there]
                known |= {own: there.get(name) for name, own in names.items()}
            else:
                continue
            found += [f"line {node.lineno}: {node.module} has no {name}" for name in lacking]
    return known, found


def _defined(tree: ast.Module) -> dict[str, ast.AST]:
    """Names at the top of a script, with the value if they are assigned one."""
    there: dict[str, ast.AST] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            there[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
            there |= dict.fromkeys(names, node.value)
    return there


def _tables(nodes: list[Any], outer: dict[str, list[ast.Dict]]) -> dict[str, list[ast.Dict]]:
    """Dictionaries by the names to which they are assigned in a function, and before it those of the module."""
    tables: dict[str, list[ast.Dict]] = {}
    for node in nodes:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    tables.setdefault(target.id, []).extend(_displays(node.value))
    return outer | tables


def _displays(node: ast.expr) -> list[ast.Dict]:
    """The dictionaries that an expression may be, as they are written."""
    if isinstance(node, ast.IfExp):
        return _displays(node.body) + _displays(node.orelse)
    return [node] if isinstance(node, ast.Dict) else []


def _called(call: ast.Call, known: dict[str, Any]) -> list[Any]:
    """The functions of the package that may be called; none if it is anything else."""
    node = call.func
    if isinstance(node, ast.Call) and ast.unparse(node).startswith("getattr(sp.tl, "):
        return METHODS
    if ast.unparse(node) == "dataclasses.replace":
        return [dataclasses.replace]
    function = _object(node, known)
    plain = function.func if isinstance(function, functools.partial) else function
    return [function] if getattr(plain, "__module__", "").startswith("spotscape") else []


def _object(node: ast.expr, known: dict[str, Any]) -> Any:
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.Call):
        kind = _object(node.func, known)
        return kind if inspect.isclass(kind) else None
    if isinstance(node, ast.Attribute):
        owner = _object(node.value, known)
        if owner is None or not (isinstance(owner, ModuleType) or inspect.isclass(owner)):
            return None
        found = getattr(owner, node.attr)
        of_instance = isinstance(node.value, ast.Call) and inspect.isfunction(found)
        return functools.partial(found, None) if of_instance else found
    return None


def _problem(function: Any, call: ast.Call, tables: dict[str, list[ast.Dict]]) -> str:
    """Why the call does not fit the signature, as far as its arguments can be read; empty if it does."""
    given = {keyword.arg for keyword in call.keywords if keyword.arg}
    given |= set().union(*(_keys(keyword.value, tables) for keyword in call.keywords if keyword.arg is None))
    if function is dataclasses.replace:
        unknown = given - FIELDS
        return f"no field {sorted(unknown)}" if unknown else ""
    signature = inspect.signature(function)
    if unknown := given - _accepted(signature):
        return f"no argument {sorted(unknown)}"
    if not any(isinstance(argument, ast.Starred) for argument in call.args):
        try:
            signature.bind_partial(*[None] * len(call.args), **dict.fromkeys(given))
        except TypeError as error:
            return str(error)
    return ""


def _keys(node: ast.expr, tables: dict[str, list[ast.Dict]]) -> set[str]:
    """Keys of a dictionary that is written in the script; those that are computed cannot be read."""
    if isinstance(node, ast.Name):
        rest = {name: value for name, value in tables.items() if name != node.id}
        return set().union(*(_keys(table, rest) for table in tables.get(node.id, [])))
    if not isinstance(node, ast.Dict):
        return set()
    found = {key.value for key in node.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}
    nested = [value for key, value in zip(node.keys, node.values, strict=True) if key is None]
    return found.union(*(_keys(value, tables) for value in nested))


def _accepted(signature: inspect.Signature) -> set[str]:
    """Names of arguments, with the fields of a configuration or a plot's common options where there are such."""
    names = set(signature.parameters)
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            options = re.findall(r"Unpack\[(\w+)\]", str(parameter.annotation))
            names |= set(getattr(_sheet, options[0]).__annotations__) if options else FIELDS
    return names


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_a_script_imports_and_calls_exists(name: str) -> None:
    assert faults(SCRIPTS[name].read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("from plain import PLAIN\nimport spotscape as sp\nsp.tl.spotscape(a, **PLAIN)", "clip"),
        ("import spotscape as sp\noptions = {'n_domain': 7}\nsp.tl.domains(a, **options)", "n_domain"),
        ("import spotscape as sp\ngetattr(sp.tl, name)(a, hops=3)", "hops"),
        ("from spotscape.nn import PrincipalComponents\nPrincipalComponents.fit(x, 30, exact=True)", "exact"),
        ("from spotscape.models import SpotscapeConfig\nSpotscapeConfig(hops=3)", "hops"),
        ("from spotscape.models import SpotscapeConfig\nSpotscapeConfig.several_slices(hops=3)", "hops"),
        ("from spotscape.models import Spotscape\nSpotscape().fit(x, graph, slice=codes)", "slice"),
        ("RUN = 'import spotscape as sp; sp.tl.domains(a, k=7)'", "'k'"),
        ("import dataclasses\ndataclasses.replace(config, epochs=3)", "epochs"),
        ("import spotscape as sp\nsp.tl.absent(a)", "absent"),
        ("import spotscape as sp\nsp.tl.domains(a, 7)", "positional"),
        ("from spotscape.nn import absent", "absent"),
        ("from speed import DenseSpotscape", "DenseSpotscape"),
    ],
)
def test_a_fault_is_found(code: str, fault: str) -> None:
    (found,) = faults(code)
    assert fault in found


def commands() -> Iterator[tuple[str, str, set[str]]]:
    """Every command in pages and docstrings that runs a script: where, which, and its options."""
    for page in PAGES:
        text = re.sub(r"\s+", " ", page.read_text(encoding="utf-8")) if page.suffix == ".md" else page.read_text()
        for script, rest in re.findall(r"python benchmarks/(\w+)\.py([^`\n#|&;]*)", text):
            yield page.name, script, set(re.findall(r"(?<=\s)--[\w-]+", rest))


def test_commands_in_pages_have_options_that_exist() -> None:
    found = list(commands())
    assert len(found) > 40
    for page, script, options in found:
        assert script in SCRIPTS, f"{page} runs benchmarks/{script}.py, which does not exist"
        there = set(re.findall(r"\"(--[\w-]+)\"", SCRIPTS[script].read_text(encoding="utf-8")))
        assert options <= there, f"{page}: benchmarks/{script}.py has no {sorted(options - there)}"
