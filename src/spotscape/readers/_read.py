"""Files and folders to AnnData, whatever they are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spotscape._core import keys
from spotscape._core.arguments import public
from spotscape._core.genes import base_of, kind_of, layer_with_counts
from spotscape._core.logging import logger
from spotscape._core.places import off_tissue, places_elsewhere
from spotscape._core.spatial_data import table_of
from spotscape.readers._folders import TABLES, instead_of, read_folder
from spotscape.readers._tables import has_all, is_table, read_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from spatialdata import SpatialData

SLICE = "slice"


@public
def read(
    paths: str | Path | Sequence[str | Path] | Mapping[str, str | Path],
    *,
    table_key: str | None = None,
    layer: str | None = None,
    spatial_key: str = keys.SPATIAL,
    bin_size: int | None = None,
) -> AnnData | SpatialData:
    """Read a file, or the output folder of an instrument, as the other functions take it.

    The log says what was assumed. Counts that are in a layer or ``adata.raw`` but not in ``adata.X``, and coordinates
    in columns of ``obs``, in ``obsm`` under another name or in names of spots such as ``10x12``, are put in their usual
    places. Logarithms to other bases become natural ones. Control probes of a folder, spots outside the tissue and
    cells without coordinates are left out. The command line reads in the same way.

    Parameters
    ----------
    paths
        An ``.h5ad``, ``.h5mu`` or ``.zarr`` file; the output folder of Visium, Visium HD, Xenium, MERSCOPE or CosMx
        with the names that the instrument gave its files; a GEM file of Stereo-seq; a text table of counts whose spots
        are called by their places, as of ST; or a folder with two text tables, of counts and of places, as of
        Slide-seq. Several paths become the slices of one AnnData, which has the genes that all of them share;
        ``obs["slice"]`` has their names, the keys of a mapping or the last parts of the paths.
    table_key
        Table of a SpatialData with several tables, or modality of an ``.h5mu`` file (``"rna"`` if there is one).
    layer
        Layer with raw counts, for :func:`spotscape.pp.prepare`. Other layers and ``adata.raw`` are not searched then,
        and ``adata.X`` stays as it is; so it does with ``"X"``, for example if it holds intensities of proteins.
    spatial_key
        Key of the coordinates in ``adata.obsm``. They are searched elsewhere only under the default.
    bin_size
        Side of the bins of Visium HD in µm, 8 by default (those of 2 µm have only a few counts each), or of a GEM file
        in spots of 0.5 µm. By default a GEM file is read as cells if it names them, and else as bins of 50.

    Returns
    -------
    The spots: an AnnData in memory, or the SpatialData that a zarr store holds. Coordinates of Xenium, MERSCOPE,
    CosMx and GEM files are in µm, those of Visium and Visium HD in pixels of the full image, whose scale is in
    ``uns["spatial"]``, and those of other tables as they are.

    Raises
    ------
    FileNotFoundError
        If there is no such path, or a folder lacks a file.
    ValueError
        If the content is not recognised. The message names what was found and what to give instead.

    See Also
    --------
    spotscape.pp.prepare : The next step.
    squidpy.read.visium : Readers of squidpy, whose results all functions take too.

    Examples
    --------
    >>> import tempfile
    >>> import spotscape as sp
    >>> tissue = sp.datasets.simulate_tissue(n_spots=300, n_genes=100, n_domains=4)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tissue.write_h5ad(f"{folder}/tissue.h5ad")
    ...     adata = sp.read(f"{folder}/tissue.h5ad")
    ...     both = sp.read({"young": f"{folder}/tissue.h5ad", "old": f"{folder}/tissue.h5ad"})
    >>> adata.shape
    (300, 100)
    >>> both.obs["slice"].value_counts().to_dict()
    {'young': 300, 'old': 300}
    """
    checked: Any = paths  # Paths, by now
    return read_input(checked, table_key=table_key, layer=layer, spatial_key=spatial_key, bin_size=bin_size).data


@dataclass
class Input:
    """What was read."""

    adata: AnnData  # The spots
    kind: str  # What the input is, in a word or two
    platform: str | None = None  # Name of the instrument if the input says it
    container: Any = None  # The SpatialData that ``adata`` is a table of, named ``table``
    table: str | None = None

    @property
    def data(self) -> Any:
        """What functions are called on: the SpatialData, or the AnnData."""
        return self.adata if self.container is None else self.container


def read_input(
    paths: Path | Sequence[Path] | Mapping[str, Path],
    *,
    table_key: str | None = None,
    layer: str | None = None,
    spatial_key: str = keys.SPATIAL,
    bin_size: int | None = None,
) -> Input:
    """Read what is at a path; several of them become the slices of one AnnData."""
    if isinstance(paths, Path):
        tissue = _read_as_it_is(paths, table_key, bin_size)
        if tissue.container is None:
            tissue.adata = _put_in_place(tissue.adata, layer, spatial_key)
        return tissue
    named = dict(paths) if isinstance(paths, Mapping) else dict(zip(_names(paths), paths, strict=True))
    how: Any = {"table_key": table_key, "layer": layer, "spatial_key": spatial_key, "bin_size": bin_size}
    tissues = {name: read_input(path, **how) for name, path in named.items()}
    for name, tissue in tissues.items():
        logger.info("Slice %s: %s, %d spots.", name, named[name], tissue.adata.n_obs)
    platforms = {tissue.platform for tissue in tissues.values()}
    return Input(
        _join({name: tissue.adata for name, tissue in tissues.items()}),
        f"{len(tissues)} inputs, {next(iter(tissues.values())).kind}",
        platforms.pop() if len(platforms) == 1 else None,
    )


def _put_in_place(adata: AnnData, layer: str | None, spatial_key: str) -> AnnData:
    """Take coordinates and counts from where other tools keep them, and leave out spots without coordinates."""
    lines = []  # The same in Python
    is_usual = spatial_key == keys.SPATIAL and keys.SPATIAL not in adata.obsm
    found = places_elsewhere(adata) if is_usual else None
    if found is not None:
        adata.obsm[keys.SPATIAL] = found[0]
        lines.append(f"adata.obsm['spatial'] = {found[1]}")
    is_better, other = False, layer_with_counts(adata, None)
    has_counts = layer is not None or other is not None
    # What sp.pp.prepare has written stays as it is.
    if layer is None and other is not None and keys.PREPARE not in adata.uns and not _has_counts(adata):
        adata.X = adata.layers[other]
        lines.append(f"adata.X = adata.layers[{other!r}]")
    if adata.raw is not None and not has_counts:
        here, there = None if adata.X is None else kind_of(adata.X), kind_of(adata.raw.X)
        is_better = here != "counts" and (there == "counts" or (here == "negative" and there != "negative"))
    # Counts that are nowhere else, or expression of which X holds scaled values.
    if is_better:
        adata = adata.raw.to_adata()
        lines.append("adata = adata.raw.to_adata()")
    base = None if has_counts or adata.X is None else base_of(adata.X)
    if base not in (None, math.e):
        # Methods undo natural logarithms.
        adata.X = adata.X * np.log(base)
        lines.append(f"adata.X = adata.X * np.log({base:g})")
    coords = adata.obsm.get(spatial_key)
    if isinstance(coords, np.ndarray) and coords.dtype.kind == "f":
        known = np.asarray(np.isfinite(coords).all(axis=1))
        if known.any() and not known.all():
            logger.warning("Leaving out %d of %d spots, which have no coordinates.", (~known).sum(), len(known))
            adata = adata[known].copy()
    outside = off_tissue(adata)
    if outside.any() and not outside.all():
        logger.info("Leaving out %d of %d spots outside the tissue.", outside.sum(), len(outside))
        adata = adata[~outside].copy()
    for line in lines:
        logger.info("Reading the file: `%s`.", line)
    return adata


def _has_counts(adata: AnnData) -> bool:
    return adata.X is not None and kind_of(adata.X) == "counts"


def _read_as_it_is(path: Path, table_key: str | None, bin_size: int | None) -> Input:
    import anndata

    if not path.exists():
        msg = f"{path} does not exist"
        raise FileNotFoundError(msg)
    try:
        if path.suffix == ".h5ad" and path.is_file():
            return Input(anndata.read_h5ad(path), "h5ad")
        if path.suffix == ".h5mu" and path.is_file():
            return Input(_read_modality(path, table_key), "h5mu")
    except OSError as error:
        msg = f"{path} cannot be opened; if it is damaged or incomplete, copy or download it again: {error}"
        raise OSError(msg) from error
    if is_table(path) and has_all(path):
        platform, adata = read_table(path, bin_size)
        return Input(adata, f"table of {platform or 'spots'}", platform)
    if path.is_file():
        msg = f"{path} is of no kind that spotscape reads. {instead_of(path)}"
        raise ValueError(msg)
    if (path / "zarr.json").exists() or (path / ".zgroup").exists():
        import zarr

        if zarr.open_group(path, mode="r").attrs.get("encoding-type") == "anndata":
            return Input(anndata.read_zarr(path), "zarr of AnnData")
        import spatialdata

        container = spatialdata.read_zarr(path)
        chosen = _the_one(table_key, list(container.tables), f"{path} has the tables")
        return Input(table_of(container, chosen), "SpatialData", container=container, table=chosen)
    name, adata = read_folder(path, bin_size)
    return Input(adata, f"folder of {name}", None if name == TABLES else name)


def _read_modality(path: Path, name: str | None) -> AnnData:
    """One modality of a MuData file, which is laid out as an AnnData."""
    import h5py
    from anndata.io import read_elem

    with h5py.File(path) as file:
        held = list(file["mod"])
        if name is None and len(held) > 1 and "rna" in held:
            name = "rna"
            logger.info("Taking the modality 'rna' of %s; choose another by table_key (--table).", held)
        chosen = _the_one(name, held, f"{path} has the modalities")
        adata: AnnData = read_elem(file["mod"][chosen])
        for key in ("obs", "obsm"):
            # What all modalities share, such as coordinates, may stand outside of them.
            shared = read_elem(file[key]) if key in file else {}
            here = getattr(adata, key)
            for column in shared:
                if column not in here and column not in held and len(shared[column]) == adata.n_obs:
                    here[column] = shared[column].to_numpy() if key == "obs" else shared[column]
    return adata


def _the_one(name: str | None, held: Sequence[str], found: str) -> str:
    if name in held:
        return str(name)
    if name is None and len(held) == 1:
        return held[0]
    msg = f"{found} {', '.join(held) or 'nothing'}; name one of them by table_key (--table)"
    raise ValueError(msg)


def _names(paths: Sequence[Path]) -> list[str]:
    """A name for every input: the last part of its path that tells it from the others."""
    absolute = [path.absolute().with_suffix("").parts for path in paths]
    for depth in range(1, max(map(len, absolute)) + 1):
        names = [parts[max(0, len(parts) - depth)] for parts in absolute]
        if len(set(names)) == len(names):
            return names
    msg = "the same input is given twice"
    raise ValueError(msg)


def _join(parts: dict[str, AnnData]) -> AnnData:
    import anndata

    for name, part in parts.items():
        if SLICE in part.obs and len(part.obs[SLICE].dropna().unique()) > 1:
            msg = f"{name} holds several slices already; give one input, or inputs of one slice each"
            raise ValueError(msg)
        if not part.var_names.is_unique:
            part.var_names_make_unique()
            logger.info("Slice %s: gene names that occur twice were numbered.", name)
    shared = set.intersection(*(set(part.var_names) for part in parts.values()))
    if not shared:
        firsts = ", ".join(part.var_names[0] for part in parts.values())
        msg = f"the inputs share no gene; they name them {firsts}, ..."
        raise ValueError(msg)
    logger.info("The inputs share %d genes; those that some of them lack are left out.", len(shared))
    images = {}
    for name, part in parts.items():
        stored = part.uns.get("spatial")
        if isinstance(stored, dict) and len(stored) == 1:
            images[name] = next(iter(stored.values()))
    joined: AnnData = anndata.concat(parts, label=SLICE, join="inner", index_unique="-", merge="same")
    if images:
        joined.uns["spatial"] = images
    units = {str(part.uns.get("spatial_unit", "")) for part in parts.values()}
    if len(units) == 1 and units != {""}:
        joined.uns["spatial_unit"] = units.pop()
    return joined
