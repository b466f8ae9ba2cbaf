"""The page of errors names all that the package refuses, and nothing that it does not."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import spotscape as sp

PACKAGE = Path(sp.__file__).parent
PAGE = PACKAGE.parents[1] / "docs" / "errors.md"
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the documentation lies in a clone, not in an installation")
# What a user's data can lead to; the rest is for who extends the package.
RAISED = {"KeyError", "ValueError", "TypeError", "ImportError"}


def text_of(node: ast.AST, names: dict[str, str]) -> str:
    """Return what a message says, with ``{}`` for what is known at run time alone."""
    match node:
        case ast.Constant():
            return str(node.value)
        case ast.JoinedStr():
            return "".join(text_of(part, names) for part in node.values)
        case ast.BinOp():
            return text_of(node.left, names) + text_of(node.right, names)
        case ast.IfExp():
            return f"{text_of(node.body, names)} or {text_of(node.orelse, names)}"
        case ast.FormattedValue(value=ast.Name(id=name)) | ast.Name(id=name):
            return names.get(name, "{}")
    return "{}"


def messages() -> dict[str, str]:
    """Return every message that public functions can raise, by its place."""
    found = {}
    for folder in ("_core", "pp", "tl", "pl", "get"):
        for path in sorted((PACKAGE / folder).rglob("*.py")):
            for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(function, ast.FunctionDef):
                    found |= messages_of(function, path.relative_to(PACKAGE).as_posix())
    return found


def messages_of(function: ast.FunctionDef, path: str) -> dict[str, str]:
    names: dict[str, str] = {}
    found = {}
    statements = [node for node in ast.walk(function) if isinstance(node, ast.Assign | ast.Raise)]
    for node in sorted(statements, key=lambda node: node.lineno):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            names[node.targets[0].id] = text_of(node.value, names)
        elif isinstance(node, ast.Raise) and getattr(getattr(node.exc, "func", None), "id", None) in RAISED:
            found[f"{path}:{node.lineno}"] = text_of(node.exc.args[0], names)
    return found


def words() -> list[str]:
    rows = re.findall(r"^\| (`.*?) \|", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [phrase.replace("…", "{}") for row in rows for phrase in re.findall(r"`([^`]+)`", row)]


def test_every_error_is_on_the_page() -> None:
    known = words()
    missing = {place: text for place, text in messages().items() if not any(phrase in text for phrase in known)}
    assert not missing, "add them to docs/errors.md, with the reason, or handle what is harmless"


def test_the_page_names_no_error_that_is_gone() -> None:
    raised = list(messages().values())
    assert len(raised) > 150
    assert [phrase for phrase in words() if not any(phrase in text for text in raised)] == []
