r"""Do the tests notice when the code is changed? Mutants of modules, one change each, against their tests.

    nox -s mutation -- src/spotscape/_stats/differential.py --tests tests/_stats/test_differential.py
    python benchmarks/mutation.py src/spotscape/metrics --tests tests/metrics --sample 60

Comparisons, arithmetic, logic and constants are changed, messages and annotations left alone. Tests are collected once.
Each mutant then runs them in a fork of its own, quickest first, until one fails. It is killed if one fails or if they
take ten times their usual time. Options that are not its own, such as ``-k``, go to pytest. Survivors are printed: a
missing test, or a change without a meaning. ``equivalent_mutants.csv`` lists the latter with the reason. They do not
count. The score goes to
``results/mutation.csv``, from which ``page.py`` makes the table of the contributing page.
"""

from __future__ import annotations

import argparse
import ast
import csv
import importlib
import os
import random
import resource
import sys
import types
from collections import Counter
from dataclasses import dataclass
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
_EQUIVALENT = Path(__file__).with_name("equivalent_mutants.csv")
_SCORES = Path(__file__).parent / "results" / "mutation.csv"
# Seconds of the processor that a mutant may take at least, and how often those of the unchanged code.
_LEAST, _TIMES = 10, 10


@dataclass(frozen=True)
class Mutant:
    """One change of a file."""

    path: Path
    source: str
    line: int
    what: str
    change: Callable[[ast.Module], None]

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"

    @property
    def key(self) -> tuple[str, str, str]:
        """How the list of changes without a meaning names it."""
        return self.path.as_posix(), self.source.splitlines()[self.line - 1].strip(), self.what

    def apply(self) -> None:
        """Put the changed code in the place of what is loaded."""
        tree = ast.parse(self.source)
        self.change(tree)
        name = _module_name(self.path)
        loaded, changed = sys.modules[name], types.ModuleType(name)
        changed.__dict__.update(__file__=str(self.path), __package__=loaded.__package__)
        sys.modules[name] = changed
        exec(compile(ast.fix_missing_locations(tree), str(self.path), "exec"), changed.__dict__)
        sys.modules[name] = loaded
        _replace(loaded, changed)


def main() -> None:
    """Run the mutants, print survivors and the share that was killed, and add it to the table of scores."""
    arguments = _parse()
    files = [file for path in arguments.modules for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]
    with _EQUIVALENT.open(encoding="utf-8") as file:
        equivalent = {(row["module"], row["line"], row["change"]) for row in csv.DictReader(file)}
    sources = {file: file.read_text(encoding="utf-8") for file in files}
    every = [Mutant(file, text, *found) for file, text in sources.items() for found in changes(ast.parse(text))]
    mutants = [each for each in every if each.key not in equivalent]
    score = {"code": arguments.name or arguments.modules[0].as_posix(), "changes": len(every)}
    score["without_meaning"] = len(every) - len(mutants)
    if arguments.sample and arguments.sample < len(mutants):
        mutants = random.Random(0).sample(mutants, arguments.sample)
    for file in files:
        importlib.import_module(_module_name(file))
    options = ["-s", "-m", "not slow", "--timeout=0", "-p", "no:cacheprovider", "-qq", "--no-summary"]
    loop = _Loop(mutants)
    code = pytest.main([*options, *arguments.tests], plugins=[loop])
    if code:
        sys.exit(f"pytest ended with {code}")
    rows = {}
    if _SCORES.exists():
        with _SCORES.open(encoding="utf-8") as file:
            rows = {row["code"]: row for row in csv.DictReader(file)}
    rows[score["code"]] = {**score, "drawn": len(mutants), "killed": loop.killed}
    with _SCORES.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[score["code"]]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[name] for name in sorted(rows))


class _Loop:
    """Takes the place of pytest's loop over the tests that it has collected."""

    def __init__(self, mutants: list[Mutant]) -> None:
        self.mutants, self.report, self.seconds, self.killed = mutants, -1, Counter[str](), 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Say to the parent how long a test took."""
        if self.report >= 0:
            os.write(self.report, f"{report.nodeid}\t{report.duration}\n".encode())

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the tests on the code as it is, and then on every mutant."""
        passed, seconds = self._time(session)
        if not passed:
            sys.exit("the tests fail without any change")
        items = sorted(session.items, key=lambda item: self.seconds[item.nodeid])
        print(f"{len(items)} tests, {seconds:.1f} s of the processor; {len(self.mutants)} mutants", flush=True)
        survivors = []
        for number, mutant in enumerate(self.mutants, 1):
            print(f"{number} of {len(self.mutants)}", end="\r", file=sys.stderr, flush=True)
            if _passes(session, items, mutant, int(_LEAST + _TIMES * seconds)):
                survivors.append(mutant)
                print("survived", mutant, flush=True)
        for path in sorted({mutant.path for mutant in self.mutants}):
            total = sum(mutant.path == path for mutant in self.mutants)
            print(f"{path}: {total - sum(mutant.path == path for mutant in survivors)} of {total} killed")
        self.killed = len(self.mutants) - len(survivors)
        print(f"{self.killed} of {len(self.mutants)} killed ({self.killed / max(len(self.mutants), 1):.0%})")
        return True

    def _time(self, session: pytest.Session) -> tuple[bool, float]:
        reading, self.report = os.pipe()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with os.fdopen(reading) as lines:
            passed = _passes(session, session.items, None, 3600, wait=lambda: self._listen(lines))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.report = -1
        return passed, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def _listen(self, lines: Any) -> None:
        os.close(self.report)
        for line in lines:
            name, duration = line.rsplit("\t", 1)
            self.seconds[name] += float(duration)


def _passes(
    session: pytest.Session,
    items: list[pytest.Item],
    mutant: Mutant | None,
    limit: int,
    wait: Callable[[], None] = lambda: None,
) -> bool:
    """Whether the tests pass, in a fork."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
            for stream in (1, 2):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
            if mutant is not None:
                mutant.apply()
            for index, item in enumerate(items):
                following = items[index + 1] if index + 1 < len(items) else None
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                if session.testsfailed:
                    break
            code = int(session.testsfailed > 0)
        finally:
            os._exit(code)
    wait()
    return os.waitpid(child, 0)[1] == 0


def _module_name(path: Path) -> str:
    parts = path.resolve().with_suffix("").parts
    return ".".join(parts[len(parts) - parts[::-1].index("src") :]).removesuffix(".__init__")


def _replace(loaded: Any, changed: Any) -> None:
    """Give functions and classes of a module, which others have imported by name, the code of its changed copy."""
    for name, new in list(vars(changed).items()):
        old = vars(loaded).get(name)
        if (name.startswith("__") and name not in {"__init__", "__post_init__", "__call__"}) or old is new:
            continue
        if isinstance(old, type):
            if old.__module__ == changed.__name__:
                _replace(old, new)
        elif not _recode(old, new):
            setattr(loaded, name, new)
            if isinstance(old, (bool, int, float, str, tuple, type(None))):
                continue
            for module in [module for key, module in sys.modules.items() if key.startswith("spotscape")]:
                for key, value in list(vars(module).items()):
                    if value is old:
                        setattr(module, key, new)


def _recode(old: Any, new: Any) -> bool:
    """Whether a function could be given the code of another."""
    for attribute in ("__wrapped__", "fget", "func", "__func__"):
        if hasattr(old, attribute) and hasattr(new, attribute):
            return _recode(getattr(old, attribute), getattr(new, attribute))
    if not isinstance(old, types.FunctionType) or len(old.__code__.co_freevars) != len(new.__code__.co_freevars):
        return False
    old.__code__, old.__defaults__, old.__kwdefaults__ = new.__code__, new.__defaults__, new.__kwdefaults__
    return True


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


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="+", type=Path, help="files or folders below src/")
    parser.add_argument("--tests", nargs="+", required=True, help="tests that should notice")
    parser.add_argument("--name", help="of the code in the table of scores; default: the first module")
    parser.add_argument("--sample", type=int, help="mutants at most, drawn once and for all; default: every one")
    arguments, options = parser.parse_known_args()
    arguments.tests += options
    return arguments


if __name__ == "__main__":
    main()
