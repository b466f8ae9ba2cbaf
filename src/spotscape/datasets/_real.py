"""Real tissue, fetched once: human prefrontal cortex (Visium) and mouse visual cortex (STARmap)."""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, Final

import anndata as ad
import numpy as np
import pandas as pd
from anndata import AnnData, OldFormatWarning, read_h5ad
from scipy import sparse

from spotscape._core import keys
from spotscape._core.arguments import public
from spotscape._core.logging import logger
from spotscape._core.places import coordinates
from spotscape.datasets._download import fetch, read_prepared, refuse_external

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_COUNTS_URL = "https://spatial-dlpfc.s3.us-east-2.amazonaws.com/h5"
_HUMAN_PILOT_URL = (
    "https://raw.githubusercontent.com/LieberInstitute/HumanPilot/044446d6bd8fc154aa74f7be62ec67effb1ec376/10X"
)
_SAMPLES: Final = tuple(str(number) for number in [*range(151507, 151511), *range(151669, 151677)])
_DLPFC_PREPARED: Final = {
    "151673": "dlpfc_151673.h5ad",
    **dict.fromkeys(["151674", "151675", "151676"], "dlpfc_donor3.h5ad"),
}
_LAYERS: Final = {**{f"L{i}": f"Layer_{i}" for i in range(1, 7)}, "WM": "WM"}
_LEAST_TISSUE = 0.9
_POSITION_COLUMNS = ["barcode", "in_tissue", "array_row", "array_col", "pxl_row", "pxl_col"]
_LABEL_COLUMNS = ["barcode", "slice", "layer"]


@public
def dlpfc(sample: str | int | Sequence[str | int] = "151673") -> AnnData:
    """Load slices of human dorsolateral prefrontal cortex (DLPFC), measured with 10x Visium.

    There are twelve slices of three donors: 151507 to 151510, 151669 to 151672, and 151673 to 151676. Their six
    cortical layers and the white matter were annotated by hand.

    The counts of a slice (about 10 MB, 33,538 genes), its positions and its labels are downloaded once from the
    authors' storage and repository [2]_ to ``spotscape.settings.datasetdir``. The authors publish no checksums, so
    a checksum is recorded at the first download and verified whenever the file is read again.

    If the environment variable ``SPOTSCAPE_DATA`` names a folder with prepared files, they are read instead:
    ``dlpfc_151673.h5ad`` (8,513 genes), and ``dlpfc_donor3.h5ad`` for 151674 to 151676 (the 3,851 genes that all four
    slices share). The counts of the spots are the same; only the number of genes differs.

    Parameters
    ----------
    sample
        Number of a slice, or a list of several, which are concatenated over the genes that they share. The default is
        the slice that most methods are tested on.

    Returns
    -------
    The slice or slices, with the keys:

    - ``X`` : :class:`scipy.sparse.csr_matrix` (dtype ``float32``) -- raw counts.
    - ``obs["slice"]`` : ``category`` -- name of the slice.
    - ``obs["domain"]`` : ``category`` -- ``"Layer_1"`` (the surface) to ``"Layer_6"``, ``"WM"``; NaN where unlabelled.
    - ``obs["array_row"]``, ``obs["array_col"]`` : ``int64`` -- place in Visium's hexagonal array.
    - ``obs["sum_umi"]``, ``obs["sum_gene"]`` : ``float64`` -- counts and genes detected over the whole transcriptome.
    - ``obs["barcode"]`` : ``category`` -- barcode of the spot.
    - ``var["gene_ids"]`` : Ensembl identifiers; symbols that occur twice got a number in ``var_names``.
    - ``obsm["spatial"]`` : ``float64 (n, 2)`` -- column and row of the full-resolution image, in pixels; neighbouring
      spots are 100 µm apart.
    - ``uns["source"]`` : ``dict`` -- where the data come from, by slice if there are several.

    Names of spots are barcodes, followed by ``_<slice>`` if there are several slices.

    Raises
    ------
    ValueError
        If a slice is unknown or named twice, or the downloaded file is not the expected one.
    ConnectionError
        If a file cannot be downloaded.

    References
    ----------
    .. [1] Maynard, K. R. et al. Transcriptome-scale spatial gene expression in the human dorsolateral prefrontal
       cortex. *Nature Neuroscience* 24, 425-436 (2021). doi:10.1038/s41593-020-00787-0
    .. [2] https://github.com/LieberInstitute/HumanPilot

    Examples
    --------
    >>> import spotscape as sp
    >>> adata = sp.datasets.dlpfc("151673")  # doctest: +SKIP
    >>> adata.n_obs  # doctest: +SKIP
    3639
    >>> donor = sp.datasets.dlpfc(["151673", "151674", "151675", "151676"])  # doctest: +SKIP
    """
    samples = [str(name) for name in np.atleast_1d(sample)]
    unknown = [name for name in samples if name not in _SAMPLES]
    if unknown or not samples:
        msg = f"sample={unknown or samples} is not among the 12 slices: {', '.join(_SAMPLES)}."
        raise ValueError(msg)
    if len(set(samples)) < len(samples):
        msg = f"sample={samples} names a slice more than once."
        raise ValueError(msg)
    slices = {name: _load(name) for name in samples}
    if np.ndim(sample) == 0:
        return slices[samples[0]]
    joint = ad.concat(slices, join="inner", merge="same", index_unique="_")
    joint.obs["slice"] = joint.obs["slice"].astype("category").cat.set_categories(samples)
    joint.obs["domain"] = _ordered(joint.obs["domain"])
    joint.uns["source"] = {name: part.uns["source"] for name, part in slices.items()}
    return joint


def _load(sample: str) -> AnnData:
    def check(adata: AnnData) -> None:
        known = adata.obs["slice"].cat.categories
        if sample not in known:
            msg = f"it holds the slices {list(known)[:5]}, not {sample!r}"
            raise ValueError(msg)
        _require_domains(adata, ["domain"], _LAYERS.values())

    adata = read_prepared(_DLPFC_PREPARED[sample], check) if sample in _DLPFC_PREPARED else None
    if adata is None:
        adata = _dlpfc_from_upstream(sample)
    elif len(adata.obs["slice"].cat.categories) > 1:
        adata = adata[adata.obs["slice"] == sample].copy()
        adata.obs_names = adata.obs["barcode"].astype(str)
        adata.obs_names.name = None
    adata.obs["domain"] = _ordered(adata.obs["domain"])
    return adata


def _require_domains(adata: AnnData, annotations: Iterable[str], known: Iterable[str]) -> None:
    """Refuse another tissue, which has other domains, or no coordinates."""
    for annotation in annotations:
        foreign = set(adata.obs[annotation].dropna()) - set(known)
        if foreign:
            msg = f"its obs[{annotation!r}] has {sorted(map(str, foreign))[:5]}"
            raise ValueError(msg)
    coordinates(adata)


def _dlpfc_from_upstream(sample: str) -> AnnData:
    counts_url = f"{_COUNTS_URL}/{sample}_filtered_feature_bc_matrix.h5"
    positions_url = f"{_HUMAN_PILOT_URL}/{sample}/tissue_positions_list.txt"
    labels_url = f"{_HUMAN_PILOT_URL}/barcode_level_layer_map.tsv"
    counts = fetch(counts_url, f"dlpfc/{sample}_counts.h5", _read_counts)
    read_positions = partial(_read_positions, barcodes=counts.obs_names, sample=sample)
    positions = fetch(positions_url, f"dlpfc/{sample}_positions.csv", read_positions)
    labels = fetch(labels_url, "dlpfc/labels.tsv", _read_labels)
    adata = _assemble(sample, counts, positions, labels[labels["slice"] == sample])
    adata.uns["source"] = {
        "citation": "Maynard KR et al. Nat Neurosci 24:425-436 (2021)",
        "url": [counts_url, positions_url, labels_url],
    }
    return adata


def _assemble(sample: str, counts: AnnData, positions: pd.DataFrame, labels: pd.DataFrame) -> AnnData:
    barcodes = counts.obs_names
    positions = positions.loc[barcodes]
    matrix = sparse.csr_matrix(counts.X, dtype=np.float32)
    obs = pd.DataFrame(
        {
            "domain": pd.Categorical(labels["layer"].map(_LAYERS).reindex(barcodes)),
            "slice": pd.Categorical([sample] * len(barcodes)),
            "barcode": pd.Categorical(barcodes),
            "array_row": positions["array_row"],
            "array_col": positions["array_col"],
            "sum_umi": np.asarray(matrix.sum(axis=1), dtype=np.float64).ravel(),
            "sum_gene": np.diff(matrix.indptr).astype(np.float64),
        },
        index=barcodes,
    )
    spatial = positions[["pxl_col", "pxl_row"]].to_numpy(dtype=np.float64)
    return AnnData(matrix, obs=obs, var=counts.var[["gene_ids"]].copy(), obsm={keys.SPATIAL: spatial})


def _ordered(labels: pd.Series) -> pd.Series:
    present = set(labels.dropna())
    return labels.astype("category").cat.set_categories([name for name in _LAYERS.values() if name in present])


def _read_counts(path: Path) -> AnnData:
    import scanpy as sc

    try:
        refuse_external(path)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Variable names are not unique")
            adata = sc.read_10x_h5(path)
    except Exception as error:
        msg = f"not a 10x HDF5 file of counts: {error}"
        raise ValueError(msg) from error
    values = adata.X.data
    if not adata.n_obs or not np.isfinite(values).all() or (values < 0).any() or (values % 1 != 0).any():
        msg = f"a table of {adata.n_obs} spots whose values are not all counts"
        raise ValueError(msg)
    adata.var_names_make_unique()
    return adata


def _read_positions(path: Path, barcodes: pd.Index, sample: str) -> pd.DataFrame:
    table = _read_table(path, _POSITION_COLUMNS, separator=",").set_index("barcode")
    text = table.columns[[not pd.api.types.is_integer_dtype(dtype) for dtype in table.dtypes]]
    if len(text):
        msg = f"{text[0]!r} holds {table[text[0]].iloc[0]!r} where whole numbers are expected"
        raise ValueError(msg)
    without = barcodes.difference(table.index)
    if len(without) or not table.index.is_unique:
        msg = f"{len(without)} spots of slice {sample} have no position (for example {[*without, 'one twice'][0]!r})"
        raise ValueError(msg)
    # Every slice has its spots at some of the same places: those under tissue tell it from the others.
    tissue = table.index[table["in_tissue"] == 1]
    if len(tissue.intersection(barcodes)) < _LEAST_TISSUE * max(len(tissue), len(barcodes)):
        msg = f"its {len(tissue)} spots under tissue are not the {len(barcodes)} of slice {sample}"
        raise ValueError(msg)
    return table


def _read_labels(path: Path) -> pd.DataFrame:
    table = _read_table(path, _LABEL_COLUMNS, separator="\t")
    unknown = sorted(set(table["layer"]) - set(_LAYERS))
    if unknown:
        msg = f"unknown layers {unknown}"
        raise ValueError(msg)
    return table.set_index("barcode")


def _read_table(path: Path, columns: list[str], *, separator: str) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, sep=separator, header=None, dtype={0: str}, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        msg = f"no table of text ({error})"
        raise ValueError(msg) from error
    if table.shape[1] != len(columns):
        msg = f"a table with {table.shape[1]} instead of the columns {columns}"
        raise ValueError(msg)
    return table.set_axis(columns, axis=1).astype({"slice": str} if "slice" in columns else {})


_STARMAP_URL = (
    "https://raw.githubusercontent.com/prabhakarlab/Banksy_py/43e2d692db6705c0195039764194473912e4cfc2/data/starmap"
)
_STARMAP_COUNTS = "starmap_BY3_1k.h5ad"
_STARMAP_ANNOTATION = "Starmap_BY3_1k_meta_annotated_18oct22.csv"
_STARMAP_SHA256 = {
    _STARMAP_COUNTS: "05b7619677b4d65324ae7594d80a703996b97ec5c20e7f81cd9fc93be8be933b",
    _STARMAP_ANNOTATION: "e82e8a1b43437c6f15be1821bcc43537f4216806d6e9c5a32abbb55f3a394c5f",
}
_STARMAP_PREPARED = "starmap_visual_cortex.h5ad"
_STARMAP_SLICE = "BY3_1k"
_STARMAP_DEPTH = ["L1", "L2/3", "L4", "L5", "L6", "CC", "cc", "HPC"]


@public
def starmap() -> AnnData:
    """Load a slice of mouse visual cortex, measured with STARmap (1,207 cells, 1,020 genes).

    The counts and an annotation (3 MB) are downloaded once from the repository of the authors of BANKSY [2]_ to
    ``spotscape.settings.datasetdir``, and verified with known checksums. If the environment variable ``SPOTSCAPE_DATA``
    names a folder with ``starmap_visual_cortex.h5ad``, this file is read instead.

    Two annotations of the layers were published, and they agree only in part (adjusted Rand index 0.63).
    ``"domain_banksy"`` is that of the authors of BANKSY. ``"domain"`` is used by several benchmarks. It is not part of
    the download, so **only the prepared file has it**.

    Returns
    -------
    The slice, with the keys:

    - ``X`` : :class:`scipy.sparse.csr_matrix` (dtype ``float32``) -- raw counts.
    - ``obs["slice"]`` : ``category`` -- name of the slice.
    - ``obs["domain_banksy"]`` : ``category`` -- layers from the surface inwards, ``"cc"`` corpus callosum, ``"HPC"``
      hippocampus.
    - ``obs["domain"]`` : ``category`` -- the other annotation, in the prepared file only; NaN where unlabelled.
    - ``obs["cell_type"]`` : ``category`` -- type of the cell.
    - ``obsm["spatial"]`` : ``float64 (n, 2)`` -- in the units of the downloaded file, *y* pointing up.
    - ``uns["source"]`` : ``dict`` -- where the data come from.

    Raises
    ------
    ConnectionError
        If a file cannot be downloaded.
    ValueError
        If the downloaded file is not the expected one.

    References
    ----------
    .. [1] Wang, X. et al. Three-dimensional intact-tissue sequencing of single-cell transcriptional states. *Science*
       361, eaat5691 (2018). doi:10.1126/science.aat5691
    .. [2] Singhal, V. et al. BANKSY unifies cell typing and tissue domain segmentation for scalable spatial omics data
       analysis. *Nature Genetics* 56, 431-441 (2024). https://github.com/prabhakarlab/Banksy_py

    Examples
    --------
    >>> import spotscape as sp
    >>> adata = sp.datasets.starmap()  # doctest: +SKIP
    >>> adata.shape  # doctest: +SKIP
    (1207, 1020)
    >>> adata.obs["domain_banksy"].cat.categories.to_list()  # doctest: +SKIP
    ['L1', 'L2/3', 'L4', 'L5', 'L6', 'cc', 'HPC']
    """
    check = partial(_require_domains, annotations=("domain", "domain_banksy"), known=_STARMAP_DEPTH)
    prepared = read_prepared(_STARMAP_PREPARED, check)
    adata = _starmap_from_upstream() if prepared is None else prepared
    for annotation in {"domain", "domain_banksy"} & set(adata.obs):
        labels = adata.obs[annotation]
        present = [name for name in _STARMAP_DEPTH if name in set(labels.cat.categories)]
        adata.obs[annotation] = labels.cat.set_categories(present)
    return adata


def _starmap_from_upstream() -> AnnData:
    counts, annotation = (
        fetch(f"{_STARMAP_URL}/{name}", f"starmap/{name}", sha256=sha) for name, sha in _STARMAP_SHA256.items()
    )
    logger.info("The downloaded STARmap files hold the annotation `domain_banksy` only, not `domain`.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OldFormatWarning)
        upstream = read_h5ad(counts)
    cells = pd.read_csv(annotation, index_col=0)
    cells.index = cells.index.astype(str)
    kept = upstream[cells.index]
    # The image counts its rows downwards.
    spatial = cells[["x", "y"]].to_numpy(dtype=np.float64) * [1, -1]
    return AnnData(
        sparse.csr_matrix(kept.X, dtype=np.float32),
        obs=pd.DataFrame(
            {
                "slice": pd.Categorical([_STARMAP_SLICE] * len(cells)),
                "cell_type": pd.Categorical(cells["cluster_name"]),
                "domain_banksy": pd.Categorical(cells["smoothed_manual"]),
            },
            index=cells.index,
        ),
        var=pd.DataFrame(index=kept.var_names),
        obsm={keys.SPATIAL: spatial},
        uns={
            "source": {
                "citation": "Wang X et al. Science 361:eaat5691 (2018), STARmap mouse visual cortex 20180505_BY3_1k",
                "url": _STARMAP_URL,
                "files": list(_STARMAP_SHA256),
                "sha256": list(_STARMAP_SHA256.values()),
            }
        },
    )
