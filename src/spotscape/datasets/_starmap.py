"""Mouse visual cortex measured with STARmap."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData, OldFormatWarning, read_h5ad
from scipy import sparse

from spotscape._core import keys
from spotscape._core.arguments import public
from spotscape._core.geometry import coordinates
from spotscape._core.logging import logger
from spotscape.datasets._download import fetch, local_file, read_local

if TYPE_CHECKING:
    from pathlib import Path

_URL = "https://raw.githubusercontent.com/prabhakarlab/Banksy_py/43e2d692db6705c0195039764194473912e4cfc2/data/starmap"
_COUNTS = "starmap_BY3_1k.h5ad"
_ANNOTATION = "Starmap_BY3_1k_meta_annotated_18oct22.csv"
_SHA256 = {
    _COUNTS: "05b7619677b4d65324ae7594d80a703996b97ec5c20e7f81cd9fc93be8be933b",
    _ANNOTATION: "e82e8a1b43437c6f15be1821bcc43537f4216806d6e9c5a32abbb55f3a394c5f",
}
_PREPARED = "starmap_visual_cortex.h5ad"
_SLICE = "BY3_1k"
_DEPTH_ORDER = ["L1", "L2/3", "L4", "L5", "L6", "CC", "cc", "HPC"]


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
    prepared = local_file(_PREPARED)
    adata = read_local(prepared, _check) if prepared is not None else _from_upstream()
    for annotation in {"domain", "domain_banksy"} & set(adata.obs):
        labels = adata.obs[annotation]
        present = [name for name in _DEPTH_ORDER if name in set(labels.cat.categories)]
        adata.obs[annotation] = labels.cat.set_categories(present)
    return adata


def _check(adata: AnnData) -> None:
    for annotation in ("domain", "domain_banksy"):
        foreign = set(adata.obs[annotation].dropna()) - set(_DEPTH_ORDER)
        if foreign:
            msg = f"its obs[{annotation!r}] has {sorted(map(str, foreign))[:5]}"
            raise ValueError(msg)
    coordinates(adata)


def _from_upstream() -> AnnData:
    counts, annotation = (fetch(f"{_URL}/{name}", f"starmap/{name}", sha256=sha) for name, sha in _SHA256.items())
    logger.info("The downloaded STARmap files hold the annotation `domain_banksy` only, not `domain`.")
    return _assemble(counts, annotation)


def _assemble(counts: Path, annotation: Path) -> AnnData:
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
                "slice": pd.Categorical([_SLICE] * len(cells)),
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
                "url": _URL,
                "files": list(_SHA256),
                "sha256": list(_SHA256.values()),
            }
        },
    )
