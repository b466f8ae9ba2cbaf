"""Tissue in space as a mesh, for viewers of volumes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib.colors import to_rgba_array
from scipy.ndimage import gaussian_filter, map_coordinates

from spotscape._core import geometry, keys
from spotscape._core.arguments import public
from spotscape._core.lazy import extra
from spotscape._core.reading import domain_column
from spotscape._core.validation import require_data
from spotscape.pl._colors import Categories, read_values, store_colors
from spotscape.pl._panel import face_colors
from spotscape.pl._sheet import Look
from spotscape.pl._space import in_space

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from spotscape.pl._colors import Bound, Palette

_FORMATS = (".ply", ".vtk", ".vtp")
# Spots are spread over so many distances to their neighbours in the plane, and so much of the gap between slices.
_SMOOTH, _SMOOTH_BETWEEN = 1.0, 0.55
# The tissue ends where the density of spots has fallen to half of what it is at a typical spot, as it does at a border.
_EDGE = 0.5
_MOST_VOXELS, _ROUNDS = 2_000_000, 20


@public
def volume(
    adata: AnnData,
    color: str | None = None,
    *,
    kind: Literal["points", "surface"] = "points",
    library_key: str | None = None,
    spatial_key: str | None = None,
    slice_gap: float | None = None,
    groups: str | Sequence[Any] | None = None,
    palette: Palette | None = None,
    cmap: Any = "viridis",
    vmin: Bound = None,
    vmax: Bound = None,
    path: str | Path | None = None,
) -> Any:
    """Turn a block or a stack of slices into a mesh: to rotate, and to save for ParaView, MeshLab or Blender.

    Points are the spots themselves. Surfaces enclose the domains. For this, each spot is spread a little over its
    neighbourhood, and between slices over half of the gap. The surface of a domain lies where its local share overtakes
    that of the other domains.

    Parameters
    ----------
    adata
        Spots with three coordinates, or registered slices.
    kind
        ``"points"`` draws the spots. ``"surface"`` draws one closed surface for each category.
    spatial_key
        Coordinates in ``adata.obsm``. ``None`` means those of :func:`spotscape.pp.spatial_neighbors_3d`, or else of
        :func:`spotscape.pp.register_slices`, or else ``"spatial"``. Three columns are taken as they are.
    slice_gap
        Distance between slices in the unit of the coordinates, where they have two columns. ``None`` takes half the
        extent of the tissue. This is good for viewing, but do not measure distances on it.
    groups
        Categories to keep; all others are left out.
    path
        File to write as well: ``.ply`` (coordinates and colours, read by nearly all viewers), ``.vtk`` or ``.vtp``
        (with all arrays, for ParaView).

    Returns
    -------
    A :class:`pyvista.PolyData`, of which ``mesh.plot(scalars="rgb", rgb=True)`` opens a window. Its ``point_data`` have
    ``"rgb"``, uint8 ``(n, 3)``, and under the name ``color`` the number or the code of the category; the names of the
    categories are in ``mesh.field_data["categories"]``. Points also have ``"row"``, the row of the spot in ``adata``.
    New colours of categories are written to ``adata.uns["<color>_colors"]``.

    Raises
    ------
    ImportError
        If pyvista is not installed: ``pip install 'spotscape[volume]'``.
    ValueError
        If numbers are to have surfaces, no spot is left, or ``path`` ends with another suffix.

    See Also
    --------
    spotscape.pl.stack_3d : A figure of it.
    spotscape.pp.spatial_neighbors_3d : The graph of it.

    Examples
    --------
    >>> import spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_slices=3, n_domains=4, n_spots=200, n_genes=30)
    >>> mesh = sp.pl.volume(adata, "domain", kind="surface", slice_gap=100, path="tissue.ply")  # doctest: +SKIP
    """
    pv = extra("pyvista", "pyvista", "volume", "sp.pl.volume")
    require_data(adata, genes=False)
    if path is not None and Path(path).suffix.lower() not in _FORMATS:
        msg = f"path={str(path)!r} must end with one of {list(_FORMATS)}."
        raise ValueError(msg)
    if spatial_key is None and keys.SPATIAL_3D in adata.obsm:
        spatial_key = keys.SPATIAL_3D
    coords, pieces = in_space(adata, spatial_key, library_key, slice_gap)
    values = read_values(adata, color or domain_column(adata, None, "color"), palette=palette, vmin=vmin, vmax=vmax)
    shown = values.only(groups) if isinstance(values, Categories) else values
    if kind == "points":
        rows = np.arange(adata.n_obs)
        if groups is not None and isinstance(shown, Categories):
            rows = np.flatnonzero(shown.codes >= 0)
        if not len(rows):
            msg = f"no spot has one of these groups of {values.key!r}."
            raise ValueError(msg)
        mesh = pv.PolyData(coords[rows])
        mesh.point_data["row"] = rows
        mesh.point_data[values.key] = (shown.codes if isinstance(shown, Categories) else shown.values)[rows]
        mesh.point_data["rgb"] = _bytes(face_colors(shown, rows, Look(cmap=cmap)))
    elif isinstance(shown, Categories):
        mesh = _surfaces(pv, coords, [rows for _, rows in pieces], shown)
    else:
        msg = f"kind='surface' encloses categories, and {values.key!r} holds numbers; take kind='points'."
        raise ValueError(msg)
    if isinstance(shown, Categories):
        mesh.field_data["categories"] = shown.names
    if path is not None:
        mesh.save(path, **({"texture": "rgb"} if Path(path).suffix.lower() == ".ply" else {}))
    store_colors(adata, [values])
    return mesh


def _bytes(colors: np.ndarray) -> np.ndarray:
    return np.asarray(np.rint(255 * colors[:, :3]), dtype=np.uint8)


def _surfaces(pv: Any, coords: np.ndarray, slices: list[np.ndarray], values: Categories) -> Any:
    # By how much spots are spread along x, y and z: their distance in space, or in the plane and between slices.
    levels = np.sort([coords[rows, 2].mean() for rows in slices])
    if len(slices) == 1:
        # Expected distance of the sixth neighbour, with one cell in a unit of volume, or of area.
        pitch = float(np.median(geometry.nearest_distances(coords, 6)[:, -1])) / (9 / (2 * np.pi)) ** (1 / 3)
        sigma = np.full(3, _SMOOTH * pitch)
    else:
        large = [rows for rows in slices if len(rows) > 6]
        pitches = [np.median(geometry.nearest_distances(coords[rows, :2], 6)[:, -1]) for rows in large]
        pitch = float(np.median(pitches)) / np.sqrt(6 / np.pi)
        sigma = np.array([_SMOOTH * pitch, _SMOOTH * pitch, _SMOOTH_BETWEEN * float(np.median(np.diff(levels)))])
    low = coords.min(axis=0) - 3 * sigma
    extent = np.ptp(coords, axis=0) + 6 * sigma
    voxel = sigma / 3
    voxel = voxel * max(1.0, float(np.prod(extent / voxel) / _MOST_VOXELS) ** (1 / 3))
    shape = np.ceil(extent / voxel).astype(int) + 1
    edges = [start + step * (np.arange(n + 1) - 0.5) for start, step, n in zip(low, voxel, shape, strict=True)]

    def density(rows: np.ndarray) -> np.ndarray:
        counts = np.histogramdd(coords[rows], bins=edges)[0].astype(np.float32)
        return np.asarray(gaussian_filter(counts, sigma / voxel, mode="constant"))

    whole = density(np.arange(len(coords)))
    typical = float(np.median(map_coordinates(whole, ((coords - low) / voxel).T, order=1)))
    inside = whole / (_EDGE * typical) - 1
    codes = np.unique(values.codes[values.codes >= 0])
    shares = {code: density(np.flatnonzero(values.codes == code)) / np.maximum(whole, 1e-6 * typical) for code in codes}
    parts = []
    for code, share in shares.items():
        others = [other for name, other in shares.items() if name != code]
        rest = 1 - sum(others, share)
        lead = share - np.maximum.reduce([*others, rest])
        grid = pv.ImageData(dimensions=tuple(shape), spacing=tuple(voxel), origin=tuple(low))
        grid.point_data["lead"] = np.minimum(lead, inside).ravel(order="F")
        surface = grid.contour([0.0], scalars="lead")
        if surface.n_points:
            surface.clear_data()
            surface = surface.smooth_taubin(n_iter=_ROUNDS)
            surface.point_data[values.key] = np.full(surface.n_points, code)
            rgb = _bytes(to_rgba_array(values.colors[code]))
            surface.point_data["rgb"] = np.repeat(rgb, surface.n_points, axis=0)
            parts.append(surface)
    if not parts:
        msg = f"no category of {values.key!r} has enough spots together for a surface; take kind='points'."
        raise ValueError(msg)
    return parts[0].append_polydata(*parts[1:]) if len(parts) > 1 else parts[0]
