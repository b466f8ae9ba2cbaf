"""Do the tests notice when the code is changed? Mutants of a module, one change each, against its tests.

    nox -s mutation -- src/spotscape/_stats/differential.py tests/_stats/test_differential.py
    python benchmarks/mutation.py src/spotscape/nn/integration.py tests/nn/test_integration.py --sample 100

Comparisons, arithmetic, logic and constants are changed, messages and annotations left alone. Each mutant runs the
tests, which stop at the first failure, in a process of its own; it is killed if they fail or take too long. Survivors
are printed: a missing test, or a change without a meaning (a tolerance, a bound that nothing reaches).
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.abc
import importlib.util
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SWAPS: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.Add: ast.Sub, ast.Sub: ast.Add,
    ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult,
    ast.And: ast.Or, ast.Or: ast.And, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip


# The libraries are there before pytest, which would rather rewrite their assertions.
_QUIETLY = ("-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")


def main() -> None:
    """Run the mutants and print survivors and the share that was killed."""
    arguments = _parse()
    tree = ast.parse(arguments.module.read_text(encoding="utf-8"))
    mutants = list(changes(tree))
    if arguments.sample and arguments.sample < len(mutants):
        mutants = sorted(random.Random(0).sample(mutants, arguments.sample), key=lambda each: each[0])
    _import_libraries()
    started = time.perf_counter()
    if _survives(tree, arguments, seconds=None) is False:
        sys.exit("the tests fail without any change")
    limit = int(5 * (time.perf_counter() - started)) + 30
    survivors = []
    for line, what, change in mutants:
        mutant = copy.deepcopy(tree)
        change(mutant)
        if _survives(mutant, arguments, seconds=limit):
            survivors.append(f"{arguments.module}:{line}: {what}")
            print("survived", survivors[-1], flush=True)
    killed = len(mutants) - len(survivors)
    print(f"{arguments.module}: {killed} of {len(mutants)} killed ({killed / max(len(mutants), 1):.0%})")


def changes(tree: ast.Module) -> Iterator[tuple[int, str, Callable[[ast.Module], None]]]:
    """Line, description, and what applies the change to a copy of the tree."""
    for index, node in enumerate(_walk(tree)):
        for what, attribute, value in _of(node):
            line = getattr(node, "lineno", 0)
            yield line, f"{ast.unparse(node)}  ->  {what}", _setter(index, attribute, value)


def _setter(index: int, attribute: str, value: Any) -> Callable[[ast.Module], None]:
    def change(tree: ast.Module) -> None:
        node = list(_walk(tree))[index]
        if attribute == "ops":
            node.ops = [value, *node.ops[1:]]  # type: ignore[attr-defined]
        else:
            setattr(node, attribute, value)

    return change


def _of(node: ast.AST) -> Iterator[tuple[str, str, Any]]:
    """Changes of one node: what it says then, and the attribute with its new value."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _SWAPS:
        swapped = _SWAPS[type(node.ops[0])]
        yield swapped.__name__, "ops", swapped()
    elif isinstance(node, (ast.BinOp, ast.BoolOp, ast.AugAssign)) and type(node.op) in _SWAPS:
        swapped = _SWAPS[type(node.op)]
        yield swapped.__name__, "op", swapped()
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "no minus", "op", ast.UAdd()
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield str(not node.value), "value", not node.value
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        changed = node.value + 1 if isinstance(node.value, int) else 2 * node.value or 1.0
        yield str(changed), "value", changed


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """All that runs, in a fixed order: no annotations, messages or imports for types."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "decorator_list", "type_params"}:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not isinstance(child, (ast.JoinedStr, ast.Raise, ast.ImportFrom)):
                yield from _walk(child)


def _survives(tree: ast.Module, arguments: argparse.Namespace, seconds: int | None) -> bool:
    """Whether the tests pass with this code, in a fork that has the libraries but not yet the package."""
    child = os.fork()
    if child == 0:
        signal.alarm(seconds or 0)
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        sys.meta_path.insert(0, _Mutated(arguments.module.resolve(), tree))
        os._exit(int(pytest.main(["-xqm", "not slow", *_QUIETLY, *arguments.tests])))
    return os.waitpid(child, 0)[1] == 0


class _Mutated(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads one module from a syntax tree."""

    def __init__(self, path: Path, tree: ast.Module) -> None:
        self.path, self.tree = path, ast.fix_missing_locations(tree)
        parts = path.with_suffix("").parts
        self.name = ".".join(parts[len(parts) - parts[::-1].index("src") :]).removesuffix(".__init__")

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        """Answer for that module only."""
        del path, target
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self)

    def exec_module(self, module: Any) -> None:
        """Run the tree as the module."""
        exec(compile(self.tree, str(self.path), "exec"), module.__dict__)


def _import_libraries() -> None:
    import anndata  # noqa: F401
    import scanpy  # noqa: F401
    import scipy.stats  # noqa: F401
    import sklearn.cluster  # noqa: F401
    import torch

    torch.set_num_threads(1)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("module", type=Path, help="a file below src/")
    parser.add_argument("tests", nargs="+", help="test files that should notice, and options of pytest")
    parser.add_argument("--sample", type=int, help="mutants at most, drawn once and for all; default: every one")
    return parser.parse_args()


if __name__ == "__main__":
    main()
