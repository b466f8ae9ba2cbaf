"""Arguments that plots share, and what they return."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Shown = Figure | Axes | list[Axes] | None


class Output(TypedDict, total=False):
    """Where a plot goes, see :func:`spotscape.pl.domains`."""

    figsize: tuple[float, float] | None
    dpi: float | None
    ax: Axes | Sequence[Axes] | None
    show: bool | None
    return_fig: bool


class Looks(Output, total=False):
    """How spots look, see :func:`spotscape.pl.domains`."""

    size: float | None
    alpha: float
    cmap: Any
    na_color: Any
    invert_y: bool
    legend_loc: str | None
    legend_fontsize: float | None
    colorbar: bool


class Panels(Looks, total=False):
    """How slices are laid out, see :func:`spotscape.pl.domains`."""

    library_key: str | None
    spatial_key: str
    ncols: int
    img: bool
    img_res_key: str | None
    img_alpha: float
    img_contrast: tuple[float, float] | None
    crop_coord: tuple[float, float, float, float] | None
    scalebar: float | None
    frameon: bool
    title: str | Sequence[str] | None


def require_known(options: Mapping[str, Any], known: type, function: str) -> None:
    """Refuse arguments that a plot would leave unread, as Python does."""
    names = sorted(known.__annotations__)
    unknown = [name for name in options if name not in names]
    if unknown:
        msg = f"sp.pl.{function}() got an unexpected argument {unknown[0]!r}; beside its own it takes {names}."
        raise TypeError(msg)
