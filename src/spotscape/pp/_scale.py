"""The spatial scale of domains: how many neighbours a spot has in the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from spotscape._core import geometry, keys
from spotscape._core.anndata_io import record, write
from spotscape._core.arguments import public
from spotscape._core.logging import logger
from spotscape._core.provenance import changed, made_from
from spotscape._core.randomness import RandomSource, Seed
from spotscape._core.reading import HIGHLY_VARIABLE, in_memory, read_mask
from spotscape._core.rows import Normalisation
from spotscape._core.validation import looks_like_counts, require_key, stored
from spotscape._stats.components import PrincipalComponents
from spotscape._stats.scale import are_alike, predicted_share
from spotscape.pp._graph_build import SlicePositions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

# Whole rings of a lattice, as kNN has them; the first ring suits spots of several cells, twelve suit single cells.
_SIZES = {
    "hexagonal": (6, 12, 18, 30, 36, 54),
    "square": (4, 8, 12, 20, 24, 36, 56),
    "irregular": (6, 9, 12, 18, 25, 36, 50),
}
_USUAL = {"hexagonal": 6, "square": 8, "irregular": 12}
# Numbers of neighbours that reach this share of the highest prediction count as equally good.
_FLAT = 0.9
_N_COMPONENTS = 30
_TARGET_SUM = 1e4
# Large tissue is looked at in windows: what neighbours tell does not change with the size of the tissue.
_WINDOWS, _WINDOW_SPOTS = 10, 2_000
# With fewer spots, predictions are too noisy to compare numbers of neighbours.
_FEWEST_SPOTS = 100


@public
def choose_scale(
    adata: AnnData,
    *,
    n_neighs: Sequence[int] | None = None,
    library_key: str | None = None,
    spatial_key: str = keys.SPATIAL,
    layer: str | None = None,
    use_rep: str | None = None,
    mask_var: str | np.ndarray | None = HIGHLY_VARIABLE,
    key_added: str = keys.SCALE,
    random_state: Seed = 0,
    copy: bool = False,
) -> AnnData | None:
    """Choose the number of neighbours for the spatial graph, without labels.

    Each spot is predicted by the mean of its neighbours over two steps of the graph, without the spot itself. Few
    neighbours predict badly because their mean is noisy. Many neighbours predict badly because some lie in other
    domains. In between, many numbers predict about equally well. Of the numbers that reach 0.9 of the highest value,
    the one closest to the default is taken. The default is the first ring of a grid (6 neighbours on a hexagonal grid,
    8 on a square one) and 12 neighbours for single cells. Sparse data lead to more neighbours, and thin structures lead
    to fewer. A warning tells you if neighbours are no more alike than spots at shuffled places.

    :func:`spotscape.pp.spatial_neighbors_knn` calls this function if ``n_neighs`` is not given. Call it yourself to
    draw the curve with :func:`spotscape.pl.scale`, or to try other numbers.

    Parameters
    ----------
    adata
        Spots with coordinates and expression. Counts are log-transformed here.
    n_neighs
        Numbers of neighbours to try, in any order. Default: the rings of the grid, or 6 to 50 for cells.
    library_key
        Column of ``adata.obs`` with the slice of each spot. ``None`` for a single slice.
    spatial_key
        Coordinates in ``adata.obsm``, any unit.
    layer, use_rep, mask_var
        Expression to use, as in :func:`spotscape.tl.spotscape`. It is reduced to 30 principal components; a
        representation is used as it is.
    key_added
        Name of the record in ``adata.uns``.
    random_state
        Seed for choosing windows: if the tissue has more than 20,000 spots, only ten windows of 2,000 spots are
        examined.

    Returns
    -------
    - ``uns[key_added]`` : dict with ``params``, ``version``, ``n_neighs`` (the number chosen), ``radius`` (median
      distance of the last of them, in the unit of the coordinates), ``geometry`` (``"hexagonal"``, ``"square"`` or
      ``"irregular"``), ``reason`` (how the number was found) and ``curve``, a dict of columns ``n_neighs``, ``radius``
      and ``predicted`` (predicted share of the variance that neighbours have in common, at most 1).

    Raises
    ------
    ValueError
        If numbers of neighbours are not positive, or coordinates are NaN or infinite.

    See Also
    --------
    spotscape.pp.spatial_neighbors_knn : The graph, which has this number of neighbours by default.
    spotscape.pl.scale : The curve.

    Examples
    --------
    >>> import spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_spots=500, n_genes=100, n_domains=3, geometry="irregular")
    >>> sp.pp.prepare(adata)
    >>> sp.pp.choose_scale(adata)
    >>> adata.uns["scale"]["n_neighs"]
    12
    """
    tissue = SlicePositions.read(adata, spatial_key=spatial_key, library_key=library_key)
    sizes = None if n_neighs is None else sorted(set(n_neighs))
    source = RandomSource(random_state)
    entry = _choose(adata, tissue, sizes, source, layer=layer, use_rep=use_rep, mask_var=mask_var)
    return write(adata, {"uns": {key_added: entry}}, copy=copy)


def stored_or_chosen_scale(adata: AnnData, tissue: SlicePositions) -> tuple[int, dict[str, dict[str, Any]]]:
    """The number of neighbours stored for these coordinates and slices; else a new choice, with the record to write."""
    entry = adata.uns.get(keys.SCALE)
    if isinstance(entry, Mapping) and "n_neighs" in entry and not changed(adata, entry):
        params = entry["params"]
        if (params["spatial_key"], params.get("library_key")) == (tissue.spatial_key, tissue.library_key):
            logger.info("Using n_neighs=%d from `adata.uns['%s']`.", entry["n_neighs"], keys.SCALE)
            return int(entry["n_neighs"]), {}
    # A caller that takes all genes sets this itself.
    mask_var = HIGHLY_VARIABLE if HIGHLY_VARIABLE in adata.var else None
    chosen = _choose(adata, tissue, None, RandomSource(0), layer=None, use_rep=None, mask_var=mask_var)
    return int(chosen["n_neighs"]), {keys.SCALE: chosen}


def _choose(
    adata: AnnData, tissue: SlicePositions, sizes: list[int] | None, source: RandomSource, **expression: Any
) -> dict[str, Any]:
    layout = geometry.layout_of(tissue.slices, adata)
    # Slices of few spots do not take part in the choice if there are larger ones.
    enough = [index for index, coords in enumerate(tissue.slices) if len(coords) >= _FEWEST_SPOTS]
    if enough:
        slices, rows_of = (tuple(each[index] for index in enough) for each in (tissue.slices, tissue.rows))
        tissue = replace(tissue, slices=slices, rows=rows_of, names=tuple(tissue.names[index] for index in enough))
    largest = max(tissue.slices, key=len)
    kind = layout.kind if largest.shape[1] == 2 else "irregular"
    fewest = min(map(len, tissue.slices))
    possible = [size for size in (_SIZES[kind] if sizes is None else sizes) if size < fewest]
    # If all other spots were neighbours, the means of all spots would be about the same.
    usual = min(_USUAL[kind], max((len(largest) - 1) // 2, 1))
    share = reach = np.empty(0)
    rng = np.random.default_rng(source.integer("windows"))
    windows = _windows(tissue, rng)
    if tissue.n_spots < _FEWEST_SPOTS or len(possible) < 2:
        reason = "there are too few spots to choose"
    elif isinstance(values := _components(adata, windows, **expression), str):
        reason = values
    else:
        rows = np.cumsum([0, *(len(part) for part, _ in windows)])
        parts = [(np.arange(*rows[i : i + 2]), coords) for i, (_, coords) in enumerate(windows)]
        share, reach, reason = _predictions(values, parts, possible, rng, tissue.spatial_key)
    chosen = usual
    if reason:
        reason = f"the default for {_CALLED[kind]}, because {reason}"
    else:
        flat = [size for size, value in zip(possible, share, strict=True) if value >= _FLAT * share.max()]
        chosen = min(flat, key=lambda size: abs(np.log(size / usual)))
        well, numbers = ("about equally well", f"{flat[0]} to {flat[-1]}") if len(flat) > 1 else ("best", chosen)
        reason = f"{numbers} neighbours predict a spot {well}; the default for {_CALLED[kind]} is {usual}"
    at = possible.index(chosen) if chosen in possible and len(reach) else None
    radius = float(np.median(geometry.nearest_distances(largest, chosen)[:, -1]) if at is None else reach[at])
    scale, unit = radius, " in the unit of the coordinates"
    if layout.um_per_unit is not None:
        scale, unit = radius * layout.um_per_unit, " µm"
    logger.info("Chose %d neighbours, within %.3g%s (%s).", chosen, scale, unit, reason)
    params = {
        "spatial_key": tissue.spatial_key,
        "library_key": tissue.library_key,
        **{name: value if value is None or isinstance(value, str) else "array" for name, value in expression.items()},
        "random_state": source.seed,
    }
    curve = {"n_neighs": np.array(possible[: len(share)], np.int64), "radius": reach, "predicted": share}
    extra = {"n_neighs": chosen, "radius": radius, "geometry": kind, "reason": reason, "curve": curve}
    return record(params, **extra, made_from=made_from(adata, obs=[tissue.library_key], obsm=[tissue.spatial_key]))


def _predictions(
    values: np.ndarray,
    parts: list[tuple[np.ndarray, np.ndarray]],
    sizes: list[int],
    rng: np.random.Generator,
    spatial_key: str,
) -> tuple[np.ndarray, np.ndarray, str]:
    """How well neighbours predict, how far they reach, and a reason not to go by it where they predict nothing."""
    share, reach = predicted_share(values, parts, sizes)
    # Domains may be too faint to be told from noise. They need many neighbours, which the curve says nevertheless.
    if not are_alike(values, parts, sizes, rng):
        logger.warning(
            "Neighbours are no more alike than other spots. So there are hardly any domains in space, or the "
            "coordinates belong to other spots: are the rows of `adata.obsm['%s']` in the order of the spots?",
            spatial_key,
        )
    # In 100 spots, ten neighbours reach nearly all others in two steps, and their mean predicts nothing even if
    # adjacent spots are alike.
    return share, reach, "" if np.nanmax(np.append(share, 0)) > 0 else "neighbours do not predict each other"


_CALLED = {"hexagonal": "a hexagonal grid", "square": "a square grid", "irregular": "cells"}


def _windows(tissue: SlicePositions, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows and coordinates of whole slices, or of windows of large tissue."""
    if tissue.n_spots <= _WINDOWS * _WINDOW_SPOTS:
        return list(zip(tissue.rows, tissue.slices, strict=True))
    shares = np.array([len(rows) for rows in tissue.rows]) / tissue.n_spots
    found = []
    for index in rng.choice(len(shares), _WINDOWS, p=shares):
        coords = tissue.slices[index]
        centre = coords[rng.integers(len(coords))]
        distances = ((coords - centre) ** 2).sum(axis=1)
        near = np.sort(np.argpartition(distances, min(_WINDOW_SPOTS, len(coords)) - 1)[:_WINDOW_SPOTS])
        found.append((tissue.rows[index][near], coords[near]))
    return found


def _components(
    adata: AnnData,
    windows: list[tuple[np.ndarray, np.ndarray]],
    *,
    layer: str | None,
    use_rep: str | None,
    mask_var: str | np.ndarray | None,
) -> np.ndarray | str:
    """Principal components of the spots of the windows, one window after the other; or why there are none."""
    for container, key, where in ((adata.layers, layer, "adata.layers"), (adata.obsm, use_rep, "adata.obsm")):
        if key is not None:
            require_key(container, key, where)
    represented = use_rep is not None
    values = adata.obsm[use_rep] if represented else adata.X if layer is None else adata.layers[layer]
    if values is None or adata.n_vars == 0:
        return "there is no expression"
    rows, order = np.unique(np.concatenate([part for part, _ in windows]), return_inverse=True)
    taken = values if len(rows) == adata.n_obs else values.iloc[rows] if hasattr(values, "iloc") else values[rows]
    matrix: Any = in_memory(taken)
    if represented:
        return (matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix))[order]
    mask = read_mask(adata, mask_var)
    matrix = matrix if mask is None else matrix[:, mask]
    if not np.isfinite(stored(matrix)).all():
        return "expression has missing values"
    if looks_like_counts(matrix):
        # As pp.prepare does it; spots without counts stay as they are.
        totals = np.asarray(matrix.sum(axis=1)).ravel()
        factors = np.divide(_TARGET_SUM, totals, out=np.zeros_like(totals), where=totals > 0)
        matrix = Normalisation(factors, log1p=True).apply(matrix)
    components = PrincipalComponents.fit(matrix, _N_COMPONENTS, scale=False)
    return components.project(matrix)[order]
