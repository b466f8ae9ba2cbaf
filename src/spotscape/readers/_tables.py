"""Text tables to AnnData: counts of spots, their places beside them, and the molecules of Stereo-seq."""

from __future__ import annotations

import gzip
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from spotscape._core.genes import control_features
from spotscape._core.logging import logger
from spotscape._core.places import are_grid_names, columns_of_places

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

_TABLE = re.compile(r"(?i).*[.](csv|tsv|txt|tab|gem)([.]gz)?")
# Further columns of CosMx's table of counts that are no genes.
_COSMX_IDS = ["cell", "cell_id"]
# Entries of a table of counts, and rows of one of molecules, that are read at a time.
_ENTRIES, _MOLECULES = 20_000_000, 5_000_000
# Columns of a GEM file in lower case; spots of 0.5 µm along the side of a bin, and their distance.
_GEM, _GEM_CELLS = {"geneid", "x", "y"}, ("cellid", "cell", "label")
_BIN, _PITCH = 50, 0.5


def find(folder: Path, *patterns: str) -> list[Path]:
    """What has these names, but for the hidden files that macOS puts beside others on disks of other systems."""
    return sorted(path for one in patterns for path in folder.glob(one) if not path.name.startswith("."))


def is_table(path: Path) -> bool:
    """Whether a file is a text table by its name."""
    return path.is_file() and _TABLE.fullmatch(path.name) is not None


def has_all(path: Path) -> bool:
    """Whether a table has counts and places: molecules of Stereo-seq, or counts of spots called by their places."""
    with suppress(ValueError):
        head = _head(path)
        named = _lower(head).keys() >= _GEM or are_grid_names(head.columns[1:])
        return named or are_grid_names(pd.Index(head.iloc[:, 0]))
    return False


def read_table(path: Path, bin_size: int | None) -> tuple[str | None, AnnData]:
    """The platform, if it is known, and the spots of a table that has all."""
    head = _head(path)
    if _lower(head).keys() >= _GEM:
        return "Stereo-seq", _read_gem(path, _lower(head), bin_size)
    adata = _read_matrix(path)
    return None, genes_only(adata if are_grid_names(pd.Index(head.iloc[:, 0])) else _turned(adata))


def pair_of(folder: Path) -> tuple[Path, Path] | None:
    """The two tables of a folder, of counts and of places, as of Slide-seq; ``None`` if it holds anything else."""
    tables = [path for path in find(folder, "*") if is_table(path)]
    if len(tables) != 2:
        return None
    with suppress(ValueError):
        has_places = [bool(columns_of_places(_head(path))) for path in tables]
        if sum(has_places) == 1:
            return tables[has_places.index(False)], tables[has_places.index(True)]
    return None


def read_pair(counts: Path, places: Path) -> AnnData:
    """Spots in the rows or columns of one table, which a column of the other one names."""
    adata = _read_matrix(counts)
    table, names = (pd.read_csv(places, **_layout(places, dtype=kind)) for kind in (None, str))
    shared = {
        (axis, column): names[column].isin(found).sum()
        for axis, found in enumerate((adata.obs_names, adata.var_names))
        for column in names
    }
    axis, column = max(shared, key=lambda at: shared[at])
    adata = genes_only(_turned(adata) if axis else adata)
    require_unique(adata.obs_names, counts)
    return placed(adata, table.set_index(pd.Index(names[column])), places, *columns_of_places(table))


def _layout(path: Path, **options: Any) -> dict[str, Any]:
    """How pandas reads a table: lines of comments above it, what separates its columns, and their names.

    R's ``write.table`` leaves out the name of the first column.
    """
    comments = 0
    with gzip.open(path, "rt") if path.suffix.lower() == ".gz" else path.open(encoding="utf-8") as file:
        line = file.readline()
        while line.startswith("#") and "\t" not in line:
            comments, line = comments + 1, file.readline()
    if not line:
        msg = f"{path} is empty"
        raise ValueError(msg)
    options |= {"sep": next((mark for mark in "\t,; " if mark in line), ","), "skiprows": comments}
    head = pd.read_csv(path, nrows=1, **options)
    if not isinstance(head.index, pd.RangeIndex):
        options |= {"names": ["", *head.columns], "header": 0}
    return options


def _lower(head: pd.DataFrame) -> dict[str, str]:
    return {str(name).lower(): str(name) for name in head}


def _head(path: Path) -> pd.DataFrame:
    """The first rows."""
    rows: pd.DataFrame = pd.read_csv(path, nrows=5, **_layout(path))
    return rows


def _read_matrix(path: Path, *ids: str) -> AnnData:
    """A table of counts, of which no more than a part lies in memory with its zeros at any time.

    A row is called by the columns ``ids``, else by the first, all as text: numbers would lose the last of many digits.
    """
    from anndata import AnnData

    header = list(_head(path))
    named_by = list(ids) or header[:1]
    names, parts = [], []
    rows = max(1, _ENTRIES // len(header))
    for part in pd.read_csv(path, chunksize=rows, **_layout(path, converters=dict.fromkeys(named_by, str))):
        names += ["_".join(name) for name in part[named_by].to_numpy()]
        counts = part.drop(columns=[*named_by, *_COSMX_IDS], errors="ignore")
        text = counts.select_dtypes(exclude="number").columns
        if len(text):
            msg = f"{path} is no table of counts: it has text in the column {text[0]!r}"
            raise ValueError(msg)
        parts.append(sparse.csr_matrix(counts.to_numpy(np.float32)))
    adata = AnnData(sparse.vstack(parts, format="csr"))
    adata.obs_names, adata.var_names = pd.Index(names), counts.columns
    return adata


def read_counts(path: Path, *ids: str) -> AnnData:
    """A table of cells by genes."""
    adata = _read_matrix(path, *ids)
    require_unique(adata.obs_names, path)
    return genes_only(adata)


def _turned(adata: AnnData) -> AnnData:
    """Rows for columns."""
    adata.obs_names_make_unique()
    turned = adata.T.copy()
    turned.X = sparse.csr_matrix(turned.X)
    return turned


def _read_gem(path: Path, columns: dict[str, str], bin_size: int | None) -> AnnData:
    """Molecules of Stereo-seq, counted in the cells that the table names, or in bins; places in micrometres.

    A bin is called as stereopy calls it, and lies at its first corner.
    """
    from anndata import AnnData

    gene = columns.get("genename", columns["geneid"])
    number = next((name for key, name in columns.items() if key.startswith(("midcount", "umicount"))), None)
    cell = next((columns[key] for key in _GEM_CELLS if key in columns and bin_size is None), None)
    if number is None:
        msg = f"{path} has no column MIDCount, but {', '.join(columns.values())}"
        raise ValueError(msg)
    size = bin_size or _BIN
    logger.info("Counting the molecules of %s in %s.", path.name, f"bins of {size} spots" if cell is None else "cells")
    wanted = {gene: "gene", columns["x"]: "x", columns["y"]: "y", number: "n"} | (
        {} if cell is None else {cell: "cell"}
    )
    parts = []
    layout = _layout(path, keep_default_na=False, dtype={gene: str}, usecols=list(wanted))
    for part in pd.read_csv(path, chunksize=_MOLECULES, **layout):
        molecules = part.rename(columns=wanted)
        if cell is None:
            molecules[["x", "y"]] -= molecules[["x", "y"]] % size
            molecules["cell"] = molecules["x"] * 2**32 + molecules["y"]
        else:
            # The cell 0 is what belongs to no cell.
            molecules = molecules[molecules["cell"] != 0]
        molecules = molecules.assign(x=molecules["x"] * molecules["n"], y=molecules["y"] * molecules["n"])
        parts.append(molecules.groupby(["cell", "gene"])[["n", "x", "y"]].sum())
    table = pd.concat(parts).groupby(level=["cell", "gene"]).sum()
    cells, genes = (table.index.get_level_values(name) for name in ("cell", "gene"))
    (rows, names), (numbers, known) = pd.factorize(cells, sort=True), pd.factorize(genes, sort=True)
    counts = sparse.csr_matrix((table["n"].to_numpy(np.float32), (rows, numbers)), shape=(len(names), len(known)))
    sums = table.groupby(level="cell").sum()
    adata = AnnData(counts, obsm={"spatial": sums[["x", "y"]].to_numpy() / sums[["n"]].to_numpy()})
    adata.obs_names, adata.var_names = names.astype(str), known
    return in_micrometres(genes_only(adata), _PITCH, _PITCH)


def require_unique(names: pd.Index, path: Path) -> None:
    if not names.is_unique:
        msg = (
            f"{path} names {names[names.duplicated()][0]!r} more than once; remove rows that are there twice, or take "
            "the file as the instrument wrote it, if it was saved by a spreadsheet program"
        )
        raise ValueError(msg)


def genes_only(adata: AnnData) -> AnnData:
    adata.var_names_make_unique()
    others = control_features(adata)
    if not others.any():
        return adata
    kinds = adata.var["feature_types"][others].astype(str).value_counts() if "feature_types" in adata.var else {}
    named = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "controls, by their names"
    logger.info("Leaving out %d features that are no genes (%s).", others.sum(), named)
    return adata[:, ~others].copy()


def placed(adata: AnnData, table: pd.DataFrame, path: Path, x: str, y: str) -> AnnData:
    """Spots with their row of a table and their place in it; those that have none are left out."""
    lacking = [name for name in (x, y) if name not in table]
    if lacking:
        msg = f"{path} has no column {lacking[0]!r}, but {', '.join(map(str, table))}"
        raise ValueError(msg)
    require_unique(table.index, path)
    known = table.index[np.isfinite(table[[x, y]].to_numpy(np.float64)).all(axis=1)]
    placed = adata.obs_names.isin(known)
    if not placed.any():
        msg = f"{path} has no position for any of the {adata.n_obs} spots; is it of another run than the counts?"
        raise ValueError(msg)
    if not placed.all():
        logger.warning("Leaving out %d of %d spots, which have no position in %s.", (~placed).sum(), len(placed), path)
    adata = adata[placed].copy()
    adata.obs = table.loc[adata.obs_names].rename_axis(None)
    adata.obsm["spatial"] = adata.obs[[x, y]].to_numpy(np.float64)
    return adata


def in_micrometres(adata: AnnData, x: float = 1.0, y: float = 1.0) -> AnnData:
    """Say that the unit is a micrometre, after the coordinates were multiplied."""
    adata.obsm["spatial"] *= [x, y]
    adata.uns["spatial_unit"] = "micrometer"
    return adata
