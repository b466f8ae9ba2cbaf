"""Write the stubs that tell type checkers and editors what ``copy=True``, ``return_model=True`` and plots return.

``python packaging/stubs.py`` writes ``__init__.pyi`` of ``pp``, ``tl``, ``pl``, ``get``, ``metrics``, ``nn`` from the
sources, and a test compares them. The sources stay free of overloads, of which there would be three for each function.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "spotscape"
NAMESPACES = ("pp", "tl", "pl", "get", "metrics", "nn")
sys.path.insert(0, str(PACKAGE.parent))

# What a plot takes beside its own arguments; what it returns depends on two of them.
_SHOWN = {"show": "bool | None", "return_fig": "Literal[False]"}
_ALWAYS = [
    "from collections.abc import Sequence",
    "from typing import Any, Literal, TypedDict, TypeVar, Unpack, overload",
    "from anndata import AnnData",
    "from matplotlib.axes import Axes",
    "from matplotlib.figure import Figure",
    "from spatialdata import SpatialData",
]
_HEAD = "# Written by packaging/stubs.py from the sources; change those.\n"


def stub_of(namespace: str) -> str:
    """The text of ``__init__.pyi``."""
    module = import_module(f"spotscape.{namespace}")
    imports, functions, public = list(_ALWAYS), [], list(module.__all__)
    listed = textwrap.indent(textwrap.fill(", ".join(f'"{name}"' for name in sorted(public)), 116), "    ")
    listed = f"__all__ = [\n{listed},\n]\n"
    if namespace == "nn":  # Tensors in and out: the sources say all.
        lines = [f"from {getattr(module, name).__module__} import {name} as {name}" for name in public]
        return _HEAD + "\n".join(sorted(lines)) + f"\n\n{listed}"
    for name in public:
        home = getattr(module, name).__module__
        source = ast.parse(Path(import_module(home).__file__).read_text(encoding="utf-8"))
        imports += [ast.unparse(one) for one in ast.walk(source) if isinstance(one, ast.ImportFrom | ast.Import)]
        one = next(one for one in source.body if getattr(one, "name", None) == name)
        if isinstance(one, ast.FunctionDef):
            written = _overloads(one, namespace)
            functions += [f"@overload\n{text}" for text in written] if len(written) > 1 else written
        if isinstance(one, ast.ClassDef):
            imports.append(f"from {home} import {name} as {name}")
    options = _options() if namespace == "pl" else []
    body = "\n".join([*options, 'Data = TypeVar("Data", AnnData, SpatialData)', "", *functions])
    head = _HEAD + "\n".join(_used(imports, body, public))
    return f"{head}\n\n{listed}\n{body}\n"


def _used(imports: list[str], body: str, public: list[str]) -> list[str]:
    """An import for each name that the stub uses, texts of a ``Literal`` left aside."""
    body = re.sub(r"'[^']*'|\"[^\"]*\"", "''", body)
    lines: dict[str, str] = {}
    defined = set(re.findall(r"^class (\w+)", body, flags=re.MULTILINE))
    for text in imports:
        statement = ast.parse(text).body[0]
        for alias in statement.names:
            name = alias.asname or alias.name
            is_public = name in public
            if name in defined:
                continue
            if is_public != (alias.asname == alias.name) or not (is_public or re.search(rf"\b{name}\b", body)):
                continue
            what = f"import {alias.name}" + (f" as {name}" if alias.asname else "")
            lines.setdefault(name, f"from {statement.module} {what}" if isinstance(statement, ast.ImportFrom) else what)
    return sorted(set(lines.values()))


def _options() -> list[str]:
    """The options that plots share, without those on which the type of the result depends."""
    source = ast.parse((PACKAGE / "pl" / "_sheet.py").read_text(encoding="utf-8"))
    text = []
    for one in source.body:
        if isinstance(one, ast.ClassDef) and one.name in {"Output", "Looks", "Panels"}:
            one.body = [part for part in one.body if isinstance(part, ast.AnnAssign) and part.target.id not in _SHOWN]
            text += [ast.unparse(one), ""]
    return text


def _overloads(node: ast.FunctionDef, namespace: str) -> list[str]:
    from spotscape._core.arguments import homes_of
    from spotscape._core.spatial_data import ANNOTATIONS, options_of

    function = getattr(import_module(f"spotscape.{namespace}"), node.name)
    returned = ast.unparse(node.returns) if node.returns else "None"
    parameters = _parameters(_Spelled(inspect.unwrap(function).__globals__).visit(node))
    takes_data = "adata" in parameters
    if takes_data:
        parameters["adata"] = "Data" if "AnnData" in returned else "AnnData | SpatialData"
        extra = {name: ANNOTATIONS[name] for name in ANNOTATIONS if name in options_of(function)}
        parameters = _with_keywords(parameters, extra)
    if homes := homes_of(function):
        names = {name: f"str | {kind}" if name in homes else kind for name, kind in parameters.items()}
        return [_write(node, parameters, returned, {}), _write(node, {"adata": "AnnData", **names}, returned, {})]
    if namespace == "pl" and "Shown" in returned:
        if "show" not in parameters:
            parameters = _with_keywords(parameters, _SHOWN)
        axes, figure = "Axes | list[Axes]", "Figure"
        if "Any" in returned:  # an interactive figure is plotly's
            return [_write(node, parameters, "Any", {"return_fig": "bool"})]
        return [
            _write(node, parameters, figure, {"return_fig": "Literal[True]"}),
            _write(node, parameters, axes, {"show": "Literal[False]", "return_fig": "Literal[False]"}),
            _write(node, parameters, "None", {"show": "Literal[True] | None", "return_fig": "Literal[False]"}),
            _write(node, parameters, f"{figure} | {axes} | None", {"show": "bool | None", "return_fig": "bool"}),
        ]
    if "copy" not in parameters:
        return [_write(node, parameters, returned, {})]
    done = [_write(node, parameters, "None", {"copy": "Literal[False]", "return_model": "Literal[False]"})]
    kinds = [kind.replace("AnnData", "Data") for kind in returned.split(" | ") if kind != "None"]
    copied = "Data" if "Data" in kinds else " | ".join(kinds)
    done.append(_write(node, parameters, copied, {"copy": "Literal[True]", "return_model": "Literal[False]"}))
    if "return_model" in parameters:
        model = " | ".join(kind for kind in kinds if kind != "Data")
        done.append(_write(node, parameters, model, {"copy": "Literal[False]", "return_model": "Literal[True]"}))
    done.append(_write(node, parameters, returned.replace("AnnData", "Data"), {}))
    return done


class _Spelled(ast.NodeTransformer):
    """Replaces names of choices, such as ``Method = Literal[...]``, by the choices: modules use the same names."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        self.namespace = namespace

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """One name of an annotation."""
        value = self.namespace.get(node.id)
        if get_origin(value) is not Literal:
            return node
        return ast.parse(f"Literal{list(get_args(value))!r}", mode="eval").body


def _parameters(node: ast.FunctionDef) -> dict[str, str]:
    """Annotations of the parameters in order; ``*`` and ``**`` stand before names, ``=`` after those with a default."""
    given, found = node.args, {}
    optional = {one.arg for one in given.args[len(given.args) - len(given.defaults) :]}
    optional |= {
        one.arg for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True) if default is not None
    }
    for one in given.args:
        found[one.arg] = ast.unparse(one.annotation) + (" =" if one.arg in optional else "")
    if given.kwonlyargs or given.kwarg:
        found["*"] = ""
    for one in given.kwonlyargs:
        found[one.arg] = ast.unparse(one.annotation) + (" =" if one.arg in optional else "")
    if given.kwarg:
        found["**"] = f"{given.kwarg.arg}: {ast.unparse(given.kwarg.annotation)}"
    return found


def _with_keywords(parameters: dict[str, str], extra: dict[str, str]) -> dict[str, str]:
    rest = {name: kind for name, kind in parameters.items() if name == "**"}
    own = {name: kind for name, kind in parameters.items() if name != "**"}
    star = {} if "*" in own or not extra else {"*": ""}
    return {**own, **star, **{name: f"{kind} =" for name, kind in extra.items()}, **rest}


def _write(node: ast.FunctionDef, parameters: dict[str, str], returned: str, fixed: dict[str, str]) -> str:
    """One signature. A ``Literal[True]`` has no default, because it is the argument that decides."""
    parts = []
    for name, kind in parameters.items():
        text = kind.removesuffix(" =")
        default = " = ..." if kind.endswith(" =") else ""
        if name in fixed:
            text = fixed[name]
            if text == "Literal[True]" or (name == "show" and text == "Literal[False]"):
                default = ""
        parts.append(name if name == "*" else f"**{text}" if name == "**" else f"{name}: {text}{default}")
    inner = textwrap.fill(", ".join(parts), 116, break_long_words=False, break_on_hyphens=False)
    return f"def {node.name}(\n{textwrap.indent(inner, '    ')},\n) -> {returned}: ..."


def main() -> None:
    """Write all stubs."""
    for namespace in NAMESPACES:
        (PACKAGE / namespace / "__init__.pyi").write_text(stub_of(namespace), encoding="utf-8")


if __name__ == "__main__":
    main()
