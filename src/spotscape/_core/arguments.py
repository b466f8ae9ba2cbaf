"""What every public function checks before it does anything: its arguments, and whether it could write its results.

What a parameter may be is declared once, by its name, in :mod:`spotscape._core.parameters`. The annotation in the
signature says the rest: whether ``None`` or several values are allowed, and the choices of a ``Literal``.
"""

from __future__ import annotations

import ast
import functools
import inspect
import typing
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from anndata import AnnData

F = TypeVar("F", bound=Callable[..., Any])
Check = Callable[[Any], Any]
# Reads one value: what was given, the name of the parameter, what its annotation says; returns what the function gets.
Rule = Callable[[Any, str, "Hint"], Any]

_SEVERAL = {"Sequence", "Collection", "Iterable", "list", "tuple", "set", "frozenset"}


@dataclass(frozen=True)
class Hint:
    """What an annotation says about the values of a parameter."""

    nullable: bool  # Whether ``None`` is one of them
    choices: tuple[str, ...]  # The texts of a ``Literal``
    classes: tuple[str, ...]  # Names of the other classes, as they are written: ``"int"``, ``"Path"``, ``"np.ndarray"``
    several: bool  # Whether several values may be given at once
    length: int | None  # How many these have to be; ``None`` for any number

    @classmethod
    def of(cls, annotation: str, namespace: Mapping[str, Any]) -> Hint:
        """Read an annotation as it stands in the source; names of ``Literal`` are looked up in ``namespace``."""
        nullable, several, length = False, False, None
        choices: list[str] = []
        classes: list[str] = []
        for node in _alternatives(ast.parse(annotation, mode="eval").body):
            text = ast.unparse(node)
            head, _, inner = text.partition("[")
            if text == "None":
                nullable = True
            elif head == "Literal":
                choices += map(str, ast.literal_eval(f"[{inner}"))
            elif typing.get_origin(namespace.get(text)) is typing.Literal:
                choices += map(str, typing.get_args(namespace[text]))
            elif head in _SEVERAL:
                several = True
                is_fixed = head == "tuple" and isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple)
                length = len(node.slice.elts) if is_fixed and "..." not in inner else None  # type: ignore[attr-defined]
            else:
                classes.append(head)
        return cls(nullable, tuple(choices), tuple(classes), several, length)


def public(function: F) -> F:
    """Check the arguments of a public function before it runs; its signature and types stay.

    Values are handed on as plain Python objects: a NumPy integer as ``int``, a generator of random numbers as a seed. A
    SpatialData is taken where an AnnData is, and an AnnData with names where a metric takes arrays.
    """
    from spotscape._core import spatial_data
    from spotscape._core.parameters import RENAMED, documentation_of

    checks = checks_of(function)
    renamed = RENAMED.get(f"{function.__module__}.{function.__name__}", {})
    signature = inspect.signature(function)
    declared = signature.parameters
    in_order = tuple(map(checks.get, declared))
    check_writing = _writing_check(function)
    options = spatial_data.options_of(function)
    for_tables = {name: check_of(name, Hint.of(text, {})) for name, text in options.items()}
    homes = homes_of(function)
    # All names are known but for functions that look at their options themselves.
    is_open = checks.keys() <= declared.keys() and any(one.kind is one.VAR_KEYWORD for one in declared.values())

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        if not renamed.keys().isdisjoint(kwargs):
            kwargs = _with_new_names(function.__name__, renamed, kwargs)
        if homes and spatial_data.is_given(args, {}):
            args = (spatial_data.table_of(args[0], kwargs.pop("table_key", None)), *args[1:])
        if homes and args and any(kind.__name__ == "AnnData" for kind in type(args[0]).__mro__):
            args, kwargs = (), look_up(function, homes, args, kwargs)
        if homes:
            _require_one_order(dict(zip(declared, args, strict=False)) | kwargs, homes)
        if for_tables and (spatial_data.is_given(args, kwargs) or not for_tables.keys().isdisjoint(kwargs)):
            given = {name: for_tables[name](value) for name, value in kwargs.items() if name in for_tables}
            return spatial_data.call_on_table(checked, *args, **(kwargs | given))
        in_place = tuple(value if check is None else check(value) for check, value in zip(in_order, args, strict=False))
        args = in_place + args[len(in_place) :]
        for name, value in kwargs.items():
            if name in checks:
                kwargs[name] = checks[name](value)
            elif not is_open:
                msg = f"{function.__name__}() got an unexpected keyword argument {name!r}; it takes {sorted(checks)}."
                raise TypeError(msg)
        check_writing(*args, **kwargs)
        return function(*args, **kwargs)

    checked.__signature__ = spatial_data.with_options(signature, options)  # type: ignore[attr-defined]
    required = [name for name in homes if declared[name].default is inspect.Parameter.empty]
    checked.__doc__ = documentation_of(checked, [_example_of(checked, name) for name in required])
    return cast("F", checked)


def _with_new_names(function: str, renamed: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call under their present names; a warning names those that were given under former ones."""
    for old, new in renamed.items():
        if old in given and new in given:
            msg = f"{function}() got {new!r} twice: {old!r} is its former name; leave {old!r} out."
            raise TypeError(msg)
        if old in given:
            msg = f"{function}({old}=...) is now {function}({new}=...); the former name goes in the next version."
            warnings.warn(msg, FutureWarning, stacklevel=3)
    return {renamed.get(name, name): value for name, value in given.items()}


def checks_of(function: Callable[..., Any]) -> dict[str, Check]:
    """The check of each parameter; a LookupError for one that is not declared."""
    namespace = getattr(function, "__globals__", {})
    return {name: check_of(name, Hint.of(text, namespace)) for name, text in annotations_of(function).items()}


def annotations_of(function: Callable[..., Any]) -> dict[str, str]:
    """The annotation of each parameter, those of ``**options: Unpack[...]`` one by one."""
    found: dict[str, str] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        text = str(parameter.annotation)
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            options = getattr(function, "__globals__", {}).get(text.removeprefix("Unpack[").removesuffix("]"))
            found |= {
                key: str(getattr(value, "__forward_arg__", value))
                for key, value in getattr(options, "__annotations__", {}).items()
            }
        elif name not in {"self", "cls"}:
            found[name] = text
    return found


def check_of(name: str, hint: Hint) -> Check:
    """What reads the values of a parameter of this name and annotation."""
    from spotscape._core.kinds import choice
    from spotscape._core.parameters import RULES

    if name not in RULES:
        msg = f"{name!r} is not declared in spotscape._core.parameters; say there what it may be."
        raise LookupError(msg)
    rule = RULES[name]
    if rule is choice and not hint.choices:
        msg = f"the choices of {name!r} are unknown; annotate it with a Literal that is imported at run time."
        raise LookupError(msg)

    def check(value: Any) -> Any:
        if value is None and hint.nullable:
            return None
        return rule(value, name, hint)

    return check


def check_fields(config: Any) -> None:
    """Check the fields of a dataclass as arguments of the same names, and keep them as plain Python objects."""
    kind: Any = type(config)
    for name, check in _checks_of_fields(kind).items():
        object.__setattr__(config, name, check(getattr(config, name)))


@functools.cache
def _checks_of_fields(kind: Any) -> dict[str, Check]:
    import sys

    # A field that is inherited is annotated with names of the module that it comes from.
    namespace = {
        name: value for one in reversed(kind.__mro__) for name, value in vars(sys.modules[one.__module__]).items()
    }
    return {field.name: check_of(field.name, Hint.of(str(field.type), namespace)) for field in fields(kind)}


def _alternatives(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp):
        return [*_alternatives(node.left), *_alternatives(node.right)]
    return [node]


def _writing_check(function: Callable[..., Any]) -> Callable[..., None]:
    """What refuses, before any work, a call whose results could not be written."""
    from spotscape._core.parameters import require_target, say_replaced
    from spotscape._core.validation import require_writable

    signature = inspect.signature(function)
    makes_copy = "AnnData" in str(signature.return_annotation)
    defaults = {name: parameter.default for name, parameter in signature.parameters.items()}
    # Their names begin with X_, the names of their records do not.
    is_embedding = str(defaults.get("key_added")).startswith("X_")

    def check(adata: AnnData, *_: Any, copy: bool = False, **given: Any) -> None:
        if makes_copy or not copy:
            require_writable(adata, copy=copy)
        # Graphs take the name as a prefix; nothing of that name itself is written.
        if makes_copy and given.get("key_added") is not None:
            require_target(adata, {**defaults, **given})
            say_replaced(adata, given["key_added"], defaults, is_embedding=is_embedding)

    return check if {"adata", "copy"} <= defaults.keys() else lambda *_, **__: None


# Where the values of a parameter lie in an AnnData, and a name that they often have there.
_HOMES = {
    "labels_true": ("obs", "domain"),
    "labels_pred": ("obs", "spotscape_domain"),
    "labels_transferred": ("obs", "spotscape_match_label"),
    "labels": ("obs", "spotscape_domain"),
    "library": ("obs", "slice"),
    "coordinates": ("obsm", "spatial"),
    "embedding": ("obsm", "X_spotscape"),
    "graph": ("obsp", "spatial_connectivities"),
    "truth": ("layers", "counts"),
    "imputed": ("layers", "imputed"),
}
# Metrics whose ``labels`` are known domains: found ones were made from the embedding that is scored.
_OF_KNOWN = {"clisi", "f1_lisi", "label_asw", "batch_asw", "graph_connectivity"}


def _example_of(function: Callable[..., Any], name: str) -> str:
    return _HOMES["labels_true" if name == "labels" and function.__name__ in _OF_KNOWN else name][1]


def homes_of(function: Callable[..., Any]) -> dict[str, str]:
    """The parameters of a metric that may be names, with the part of an AnnData in which they are looked up."""
    if not function.__module__.startswith("spotscape.metrics."):
        return {}
    return {name: _HOMES[name][0] for name in inspect.signature(function).parameters if name in _HOMES}


def look_up(
    function: Callable[..., Any], homes: Mapping[str, str], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments of a call ``metric(adata, "domain", ...)`` by name, with arrays instead of names."""
    from spotscape._core.validation import require_key

    adata: AnnData = args[0]
    given = inspect.signature(function).bind(*args[1:], **kwargs).arguments
    for name, value in given.items():
        if name in homes and isinstance(value, str):
            held = getattr(adata, homes[name])
            require_key(held, value, f"adata.{homes[name]}")
            given[name] = held[value]
    return given


def _require_one_order(given: Mapping[str, Any], homes: Mapping[str, str]) -> None:
    """Refuse tables and columns whose names say that they have the same spots, or genes, in another order."""
    tables = {name: value for name, value in given.items() if name in homes and hasattr(value, "iloc")}
    for axis, what in (("index", "spots"), ("columns", "genes")):
        names = {name: getattr(value, axis) for name, value in tables.items() if hasattr(value, axis)}
        first = next(iter(names), "")
        for name, other in names.items():
            own = names[first]
            if len(own) == len(other) and not own.equals(other) and own.isin(other).all() and other.isin(own).all():
                wanted = f"{name}.loc[{first}.index]" if axis == "index" else f"{name}[{first}.columns]"
                msg = (
                    f"{name} has the {what} of {first} in another order; give {wanted}, or {name}.to_numpy() if its "
                    "names are wrong."
                )
                raise ValueError(msg)
