"""Modules that are loaded when one of their names is first used, and packages that are extras."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def lazy(package: str, modules: Mapping[str, str]) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """``__all__``, ``__getattr__`` and ``__dir__`` of a package, given the public names of each of its modules."""
    home = {name: module for module, names in modules.items() for name in names.split()}

    def get(name: str) -> Any:
        if name in home:
            return getattr(import_module(f".{home[name]}", package), name)
        msg = f"module {package!r} has no attribute {name!r}"
        raise AttributeError(msg)

    return sorted(home), get, lambda: sorted(home)


def extra(module: str, package: str, name: str, what: str) -> Any:
    """Import what an extra of this name brings; an ImportError says how ``what`` gets it."""
    try:
        return import_module(module)
    except ImportError as error:
        msg = f"{what} needs {package}, which is not installed: pip install 'spotscape[{name}]'."
        raise ImportError(msg) from error
