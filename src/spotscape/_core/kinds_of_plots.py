"""What the looks of a plot may be: colours, scales, axes and titles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spotscape._core.kinds import ONE, is_list, label, number, text
from spotscape._core.validation import described

if TYPE_CHECKING:
    from spotscape._core.arguments import Hint


def colormap(value: Any, name: str, hint: Hint) -> Any:
    """A colormap of matplotlib, by name or as an object."""
    from matplotlib import colormaps
    from matplotlib.colors import Colormap

    if isinstance(value, Colormap) or (isinstance(value, str) and value in colormaps):
        return value
    msg = f"{name}={described(value)} is not a colormap of matplotlib."
    raise ValueError(msg) if isinstance(value, str) else TypeError(msg)


def palette(value: Any, name: str, hint: Hint) -> Any:
    """Colours of categories; which of them are colours is looked at where the categories are known."""
    from matplotlib.colors import Colormap

    if isinstance(value, (str, Mapping, Colormap)):
        return value
    if is_list(value):
        return list(value)
    msg = f"{name} must be the name of a colormap, a list of colours or a dict, not {described(value)}."
    raise TypeError(msg)


def color(value: Any, name: str, hint: Hint) -> Any:
    """A colour of matplotlib."""
    from matplotlib.colors import is_color_like

    if not is_color_like(value):
        msg = f"{name}={described(value)} is not a colour of matplotlib."
        raise ValueError(msg)
    return value


def axes(value: Any, name: str, hint: Hint) -> Any:
    """Axes of matplotlib, or several."""
    from matplotlib.axes import Axes

    if hint.several and is_list(value):
        return [axes(one, f"{name}[{index}]", ONE) for index, one in enumerate(value)]
    if not isinstance(value, Axes):
        msg = f"{name} must be an Axes of matplotlib, not {described(value)}."
        raise TypeError(msg)
    return value


def shown(value: Any, name: str, hint: Hint) -> Any:
    """What colours show: columns or genes; ``None`` stands for a panel without."""
    if hint.several and is_list(value):
        return [None if one is None else text(one, f"{name}[{index}]", ONE) for index, one in enumerate(value)]
    return text(value, name, hint)


def groups(value: Any, name: str, hint: Hint) -> Any:
    """A column with groups, or, where several may be given, the names of the groups."""
    return label(value, name, hint) if hint.several else text(value, name, hint)


def scalebar(value: Any, name: str, hint: Hint) -> Any:
    """A length in micrometres, or ``False`` for none."""
    return value if value is False else number(0, above_low=True)(value, name, hint)


def bound(value: Any, name: str, hint: Hint) -> Any:
    """An end of a scale: a number, or a percentile as text."""
    return value if isinstance(value, str) else number()(value, name, hint)


def title(value: Any, name: str, hint: Hint) -> Any:
    """Text to be shown, or several; an empty one is a title too."""
    if hint.several and is_list(value):
        return [title(one, f"{name}[{index}]", ONE) for index, one in enumerate(value)]
    return value if isinstance(value, str) and not value else text(value, name, hint)
