"""Colours of categories and numbers: what is read from a table, which colour each value gets, and matched colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import Colormap, Normalize, TwoSlopeNorm, is_color_like, to_hex
from scipy import sparse

from spotscape._core.anndata_io import write
from spotscape._core.arguments import public
from spotscape._core.colors import default_colors, matched_colors
from spotscape._core.genes import nearest, symbols_of
from spotscape._core.logging import logger, warn
from spotscape._core.provenance import warn_of_old_labels
from spotscape._core.validation import as_groups, natural_order, require_data, require_key

if TYPE_CHECKING:
    from anndata import AnnData

# Without these limits a few spots would decide the colours of all others.
_PERCENTILES = ("p1", "p99")
Bound = float | str | None


@dataclass(frozen=True)
class Categories:
    """Category of every spot (-1: none), the names and colours of the categories, and how sure each spot is.

    ``confidence`` lies between 0 and 1, NaN counting as 0; ``None`` shows all spots in full colour. ``rest`` names the
    spots without a category, and ``origin`` says whether the colours were stored, given or are new.
    """

    key: str
    codes: np.ndarray
    names: list[str]
    colors: list[str]
    confidence: np.ndarray | None = None
    rest: str = "unlabelled"
    origin: str = "new"

    def only(self, groups: Sequence[Any] | str | None) -> Categories:
        """These groups alone; all other spots lose their colour."""
        if groups is None or not self.names:
            return self
        wanted = [str(name) for name in ([groups] if isinstance(groups, str) else groups)]
        unknown = [name for name in wanted if name not in self.names]
        if unknown:
            msg = f"groups={unknown} are no categories of {self.key!r}, which has {self.names}."
            raise ValueError(msg)
        return replace(self.taken([name for name in self.names if name in wanted]), rest="other")

    def in_order(self) -> Categories:
        """The same with 2 before 10, where pandas has sorted the names as text."""
        return self.taken(natural_order(self.names)) if self.names == sorted(self.names) else self

    def taken(self, names: list[str]) -> Categories:
        """These categories, in this order."""
        kept = [self.names.index(name) for name in names]
        places = np.full(len(self.names) + 1, -1)
        places[kept] = np.arange(len(kept))
        return replace(self, codes=places[self.codes], names=names, colors=[self.colors[code] for code in kept])


@dataclass(frozen=True)
class Numbers:
    """A number for every spot (NaN: unknown), and the scale that all panels share."""

    key: str
    values: np.ndarray
    norm: Normalize


def read_values(
    adata: AnnData,
    key: str,
    *,
    layer: str | None = None,
    gene_symbols: str | None = None,
    palette: Palette | None = None,
    vmin: Bound = None,
    vmax: Bound = None,
    vcenter: float | None = None,
) -> Categories | Numbers:
    """Read a column of ``obs`` or a gene. Nothing is written: :func:`store_colors` does that once a plot stands."""
    if key in adata.obs:
        column = adata.obs[key]
        if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
            values = column.to_numpy(dtype=np.float64, na_value=np.nan)
            return Numbers(key, values, scale(values, vmin, vmax, vcenter))
        return read_categories(adata, key, palette, empty=True)
    values = _gene(adata, key, layer, gene_symbols)
    return Numbers(key, values, scale(values, vmin, vmax, vcenter))


def read_categories(
    adata: AnnData,
    key: str,
    palette: Palette | None = None,
    *,
    values: pd.Categorical | None = None,
    empty: bool = False,
) -> Categories:
    """Read domains or other groups in a column of ``obs``, or what it stands for; ``empty`` allows one without any."""
    require_key(adata.obs, key, "adata.obs", hint="Make domains first: sp.tl.domains(adata, n_domains=...)")
    warn_of_old_labels(adata, key)
    categories = as_categories(adata.obs[key]) if values is None else values
    if not empty and (categories.codes < 0).all():
        msg = f"adata.obs[{key!r}] is missing for all spots."
        raise ValueError(msg)
    colors, origin = category_colors(adata, key, categories, palette)
    return Categories(key, np.asarray(categories.codes), list(categories.categories), colors, origin=origin)


def matched(columns: Sequence[Categories | Numbers]) -> list[Categories | Numbers]:
    """Columns drawn side by side: those without colours of their own take them from the first, by shared spots."""
    named = [one for one in columns if isinstance(one, Categories) and one.names]
    first = next((one for one in named if one.origin != "new"), named[0] if named else None)
    if first is None:
        return list(columns)
    return [
        replace(one, colors=matched_colors(one.codes, len(one.names), first.codes, first.colors))
        if isinstance(one, Categories) and one.names and one.origin == "new" and one.key != first.key
        else one
        for one in columns
    ]


def store_colors(adata: AnnData, columns: Sequence[Categories | Numbers]) -> None:
    """Keep new colours in ``uns`` as scanpy does; a view, which writing would copy, is left alone."""
    new = {
        f"{one.key}_colors": list(one.colors)
        for one in columns
        if isinstance(one, Categories)
        and one.origin != "stored"
        and one.key in adata.obs
        and isinstance(adata.obs[one.key].dtype, pd.CategoricalDtype)
    }
    if new and not adata.is_view:
        write(adata, {"uns": new}, log=False)


def read_confidence(adata: AnnData, key: str) -> np.ndarray:
    """A column of ``obs`` with numbers between 0 and 1; unknown ones are NaN."""
    hint = "sp.tl.consensus_domains writes one; so does sp.tl.domains, but not with method='kmeans' or 'leiden'"
    require_key(adata.obs, key, "adata.obs", hint=hint)
    column = adata.obs[key]
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        msg = f"adata.obs[{key!r}] has dtype {column.dtype}; confidence must be numbers between 0 and 1."
        raise TypeError(msg)
    values: np.ndarray = column.to_numpy(dtype=np.float64, na_value=np.nan)
    if np.nanmin(values, initial=0) < 0 or np.nanmax(values, initial=0) > 1:
        msg = f"adata.obs[{key!r}] lies between {np.nanmin(values):g} and {np.nanmax(values):g}; expected 0 to 1."
        raise ValueError(msg)
    return values


def _gene(adata: AnnData, key: str, layer: str | None, gene_symbols: str | None) -> np.ndarray:
    if layer is not None:
        require_key(adata.layers, layer, "adata.layers")
    named = symbols_of(adata.var, gene_symbols)
    places = np.flatnonzero(named == key)
    matrix = adata.X if layer is None else adata.layers[layer]
    if (not len(places) or matrix is None) and layer is None and adata.raw is not None:
        # As in scanpy: genes that were filtered from X are still in raw.
        names = gene_symbols if gene_symbols in adata.raw.var else None
        places, matrix = np.flatnonzero(symbols_of(adata.raw.var, names) == key), adata.raw.X
    if not len(places):
        existing = ", ".join(repr(str(name)) for name in adata.obs) or "nothing"
        place = "_names" if gene_symbols is None else f"[{gene_symbols!r}]"
        msg = (
            f"color={key!r} is neither a column of adata.obs, which has: {existing}; nor one of the {adata.n_vars} "
            f"genes in adata.var{place}.{nearest(adata.var, named, key)}"
        )
        raise KeyError(msg)
    if len(places) > 1:
        column, remedy = "var_names", "make them so: adata.var_names_make_unique()"
        if gene_symbols is not None:
            column = f"var[{gene_symbols!r}]"
            remedy = f"name one by adata.var_names: {list(adata.var_names[places][:3])}"
        msg = f"color={key!r} names {len(places)} genes, because adata.{column} are not unique; {remedy}."
        raise ValueError(msg)
    if matrix is None:
        msg = f"adata.X is None, so there is no expression of {key!r}; name a layer: layer=... (adata has " + (
            f"{list(adata.layers)})." if len(adata.layers) else "none)."
        )
        raise KeyError(msg)
    column = matrix[:, [int(places[0])]]
    for method in ("compute", "to_memory", "get"):
        if hasattr(column, method) and not sparse.issparse(column):
            column = getattr(column, method)()
    return np.asarray(column.todense() if sparse.issparse(column) else column, dtype=np.float64).ravel()


def scale(values: np.ndarray, vmin: Bound, vmax: Bound, vcenter: float | None = None) -> Normalize:
    """The scale of numbers, between their 1st and 99th percentile unless told otherwise."""
    finite = values[np.isfinite(values)]
    low, high = (_bound(finite, bound) for bound in _PERCENTILES)
    if low == high and finite.size:
        low, high = float(finite.min()), float(finite.max())
    low = low if vmin is None else _bound(finite, vmin)
    high = high if vmax is None else _bound(finite, vmax)
    if low > high:
        msg = f"the colours would begin at vmin={low:g} and end at vmax={high:g}; give both, the lower one as vmin."
        raise ValueError(msg)
    if vcenter is None:
        # Without a width, the colour bar would not show the one value that there is where it is drawn.
        return Normalize(low, high if high > low else low + (abs(low) or 1.0))
    # The middle colour needs room on both sides.
    reach = max(high - vcenter, vcenter - low, 1e-12)
    low, high = (low if low < vcenter else vcenter - reach), (high if high > vcenter else vcenter + reach)
    return TwoSlopeNorm(vcenter, low, high)


def _bound(finite: np.ndarray, bound: float | str) -> float:
    """An end of the scale: a number, or a percentile written as in scanpy, ``"p99"``."""
    if not isinstance(bound, str):
        return float(bound)
    try:
        percentile = float(bound.removeprefix("p")) if bound.startswith("p") else np.nan
    except ValueError:
        percentile = np.nan
    if not 0 <= percentile <= 100:
        msg = f"{bound!r} is no end of a scale; give a number, or a percentile such as 'p99'."
        raise ValueError(msg)
    return float(np.percentile(finite, percentile)) if finite.size else percentile / 100


# A name, a list, a mapping from category to colour, or a Colormap or Cycler object.
Palette = str | Mapping[Any, Any] | Sequence[Any] | Any

# Up to this many colours can be told apart without help; beyond, names are written on the tissue.
READABLE = 12


def as_categories(column: pd.Series) -> pd.Categorical:
    """A column as categories named by strings, unused ones kept: their colours have places in ``uns``."""
    return as_groups(column, f"adata.obs[{str(column.name)!r}]", unused=True)


def category_colors(adata: AnnData, key: str, values: pd.Categorical, palette: Palette | None) -> tuple[list[str], str]:
    """Colours of the categories of ``obs[key]``, and where they are from: ``"stored"``, ``"given"`` or ``"new"``."""
    names = list(values.categories)
    if palette is not None:
        return _hex(_from_palette(palette, names), "palette"), "given"
    stored = adata.uns.get(f"{key}_colors")
    if stored is not None:
        if isinstance(stored, Mapping):
            stored = {str(name): color for name, color in stored.items()}
            stored = [stored[name] for name in names] if set(names) <= stored.keys() else []
        colors = [str(color) for color in np.ravel(np.asarray(stored, dtype=object))]
        if len(colors) >= len(names):
            return _hex(colors[: len(names)], f"adata.uns['{key}_colors']"), "stored"
        warn(f"adata.uns['{key}_colors'] has {len(colors)} colours for {len(names)} categories; new ones replace them.")
    # Another column with the same names on most of the same spots, such as domains before refinement.
    for other in adata.obs:
        stored = adata.uns.get(f"{other}_colors")
        named = isinstance(adata.obs[other].dtype, pd.CategoricalDtype)
        if other == key or not named or stored is None or isinstance(stored, Mapping):
            continue
        kin = as_categories(adata.obs[other])
        same = set(kin.categories) == set(names) and len(stored) == len(names)
        if same and np.mean(np.asarray(kin.astype(str)) == np.asarray(values.astype(str))) > 0.5:
            return [str(stored[kin.categories.get_loc(name)]) for name in names], "new"
    return default_colors(len(names)), "new"


def _from_palette(palette: Palette, names: list[str]) -> list[Any]:
    if isinstance(palette, str):
        if palette not in colormaps:
            msg = f"palette={palette!r} is not a colormap of matplotlib; give its name, a list of colours or a dict."
            raise ValueError(msg)
        palette = colormaps[palette]
    if isinstance(palette, Colormap):
        # Qualitative maps such as tab20 are lists of a few colours, meant to be taken one after the other.
        if len(names) <= palette.N <= 40:
            return [palette(index) for index in range(len(names))]
        return [palette(position) for position in np.linspace(0, 1, len(names))]
    if isinstance(palette, Mapping):
        named = {str(name): color for name, color in palette.items()}
        missing = [name for name in names if name not in named]
        if missing:
            msg = f"palette has no colour for the categories {missing}; it has {list(palette)}."
            raise ValueError(msg)
        return [named[name] for name in names]
    colors = list(palette)
    if len(colors) < len(names):
        given = {str(color).upper() for color in colors}
        spare = [color for color in default_colors(len(names) + len(colors)) if color not in given]
        logger.info("The palette has %d colours for %d categories; default colours follow.", len(colors), len(names))
        colors += spare
    return colors[: len(names)]


def _hex(colors: list[Any], where: str) -> list[str]:
    wrong = [color for color in colors if not is_color_like(color)]
    if wrong:
        msg = f"{where} has {wrong[0]!r}, which is not a colour of matplotlib."
        raise ValueError(msg)
    return [to_hex(color) for color in colors]


@public
def match_colors(adata: AnnData, key: str | Sequence[str], *, to: str) -> None:
    """Give domains the colours of an annotation that they match.

    Each category of ``key`` is paired with the category of ``to`` that it shares most spots with, one to one, so that
    as many spots as possible have the same colour in both. A category without a partner gets a colour that ``to``
    does not use. All plots of spotscape, scanpy and squidpy then show these colours.

    Parameters
    ----------
    adata
        Annotated data with both columns.
    key
        Column of ``adata.obs`` whose colours are chosen, or several.
    to
        Column of ``adata.obs`` whose colours are taken over; it gets default colours if it has none.

    Returns
    -------
    ``None``. It writes

    ``adata.uns["<key>_colors"]``, and ``adata.uns["<to>_colors"]`` where it is missing : list of str
        Hex colours in the order of the categories.

    See Also
    --------
    spotscape.pl.domains : Draws columns side by side, with matched colours where they have none.

    Examples
    --------
    >>> import anndata as ad, numpy as np, spotscape as sp
    >>> adata = ad.AnnData(np.zeros((6, 1), dtype="float32"))
    >>> adata.obs["annotation"] = ["cortex", "cortex", "cortex", "tract", "tract", "tract"]
    >>> adata.obs["found"] = ["1", "1", "1", "1", "0", "0"]
    >>> sp.pl.match_colors(adata, "found", to="annotation")
    >>> adata.uns["annotation_colors"], adata.uns["found_colors"]
    (['#0072b2', '#e69f00'], ['#e69f00', '#0072b2'])
    """
    require_data(adata, genes=False)
    names = [key] if isinstance(key, str) else list(key)
    for name in [*names, to]:
        require_key(adata.obs, name, "adata.obs")
    reference = as_categories(adata.obs[to])
    colors, origin = category_colors(adata, to, reference, None)
    colors = [color.lower() for color in colors]
    results = {} if origin == "stored" else {f"{to}_colors": colors}
    for name in names:
        values = as_categories(adata.obs[name])
        results[f"{name}_colors"] = matched_colors(
            np.asarray(values.codes), len(values.categories), np.asarray(reference.codes), colors
        )
    write(adata, {"uns": results}, log=False)
