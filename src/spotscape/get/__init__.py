"""Return results that are stored in an AnnData as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from spotscape._core import keys
from spotscape._core.arguments import public
from spotscape._core.genes import symbols_of
from spotscape._core.provenance import new_names, warn_if_changed
from spotscape._core.validation import require_key, require_record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

__all__ = ["markers_df", "matches_df"]


@public
def markers_df(
    adata: AnnData,
    *,
    key: str = keys.MARKERS,
    group: str | Sequence[str] | None = None,
    n_genes: int | None = None,
    max_pvalue_adj: float | None = None,
    gene_symbols: str | None = None,
) -> pd.DataFrame:
    """Return the markers as a table, with one row for each comparison and gene.

    Parameters
    ----------
    adata
        Annotated data with the results of :func:`spotscape.tl.markers`.
    key
        Name of these results, the ``key_added`` of that function.
    group
        Domain, or list of domains, to keep. ``None`` keeps all.
    n_genes
        Number of genes to keep for each comparison, best first. ``None`` keeps all.
    max_pvalue_adj
        Largest adjusted p-value of the genes to keep. ``None`` keeps all.
    gene_symbols
        Column of ``adata.var`` with other names of the genes, such as symbols where ``adata.var_names`` are
        identifiers. They become the column ``symbol`` of the table.

    Returns
    -------
    Table with the columns

    - ``group``: the domain, a category, by its name of today; with conditions also ``condition`` and the
      ``reference`` it is compared with;
    - ``gene`` and ``rank``, 1 for the best of a comparison;
    - ``score``: the statistic of the test (t, or z of Wilcoxon's test), positive for genes with higher expression;
    - ``log2_fold_change``, ``pvalue`` and ``pvalue_adj`` (Benjamini–Hochberg, within a comparison);
    - ``share`` and ``share_rest``: share of the spots in which the gene is detected, inside the domain and outside;
    - ``moran_i``, if there was a spatial graph: Moran's I of the gene within slices, near 1 for a smooth pattern and
      near 0 for none.

    Raises
    ------
    KeyError
        If there are no such results.
    ValueError
        If a ``group`` has no results, ``n_genes`` is below 1 or ``max_pvalue_adj`` is not between 0 and 1.

    See Also
    --------
    spotscape.tl.markers : Finds the markers, and says how far p-values can be trusted.

    Examples
    --------
    >>> import spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_domains=3, n_spots=300, n_genes=100, difficulty=0.2)
    >>> with sp.settings.override(verbosity="warning"):
    ...     sp.pp.prepare(adata)
    ...     sp.tl.markers(adata, key="domain")
    >>> sp.get.markers_df(adata, n_genes=1)[["group", "rank"]]
         group  rank
    0  Layer_1     1
    1  Layer_2     1
    2  Layer_3     1
    """
    hint = "Find markers first: sp.tl.markers(adata, ...)"
    entry = require_record(adata, key, ("table", "groups"), hint)
    warn_if_changed(adata, entry, f"the table {key!r}", "sp.tl.markers(adata, ...)")
    renamed = new_names(adata, entry)
    names = list(renamed.values())
    arrays = {name: np.asarray(values) for name, values in entry["table"].items()}
    # A zarr store may give text back in NumPy's type of variable length, which is not cast to a fixed one.
    texts = {name: one for name, one in arrays.items() if one.dtype.kind not in "fiu"}
    table = pd.DataFrame(arrays | {name: np.array([*map(str, one)], dtype=object) for name, one in texts.items()})
    table = table[[*(name for name in _ORDER if name in table), *(name for name in table if name not in _ORDER)]]
    table["group"] = table["group"].map(renamed)
    kept = np.ones(len(table), dtype=bool)
    if group is not None:
        wanted = [group] if isinstance(group, str) else list(group)
        tested = set(table["group"])
        unknown = [name for name in wanted if name not in tested]
        if unknown:
            msg = (
                f"group={unknown[0]!r} has no markers; there are some of {[name for name in names if name in tested]}."
            )
            raise ValueError(msg)
        kept &= table["group"].isin(wanted).to_numpy()
    if n_genes is not None:
        kept &= (table["rank"] <= n_genes).to_numpy()
    if max_pvalue_adj is not None:
        kept &= (table["pvalue_adj"] <= max_pvalue_adj).to_numpy()
    table["group"] = pd.Categorical(table["group"], categories=names)
    if gene_symbols is not None:
        symbols = dict(zip(adata.var_names, symbols_of(adata.var, gene_symbols), strict=True))
        table.insert(list(table).index("gene") + 1, "symbol", [symbols.get(gene, gene) for gene in table["gene"]])
    return table[kept].reset_index(drop=True)


# Stored by name, and a file gives them back in the order of the alphabet.
_ORDER = (
    "group", "condition", "reference", "gene", "rank", "score", "log2_fold_change", "pvalue", "pvalue_adj", "share",
    "share_rest", "moran_i",
)  # fmt: skip


@public
def matches_df(adata: AnnData, *, key: str = keys.MATCH, max_rank: int | None = None) -> pd.DataFrame:
    """Return the matches between slices as a table, with one row for each pair of spots.

    Parameters
    ----------
    adata
        Annotated data with the results of :func:`spotscape.tl.match_slices`. For a subset of the spots, the table has
        only the pairs whose two spots both belong to the subset.
    key
        Name of these results, the ``key_added`` of that function.
    max_rank
        Number of matches to keep for each spot, best first. ``None`` keeps all.

    Returns
    -------
    Table with the columns ``query`` and ``reference`` (names of the spots), ``rank`` (1 for the best match of the
    query) and ``similarity``; in the order of the spots, best matches first.

    Raises
    ------
    KeyError
        If there are no such results.
    ValueError
        If ``max_rank`` is below 1.

    See Also
    --------
    spotscape.tl.match_slices : Finds the matches.

    Examples
    --------
    >>> import anndata as ad, numpy as np, pandas as pd, spotscape as sp
    >>> adata = ad.AnnData(np.zeros((4, 1), dtype="float32"), obs=pd.DataFrame(index=["a", "b", "c", "d"]))
    >>> adata.obs["slice"] = pd.Categorical(["s1", "s1", "s2", "s2"])
    >>> adata.obsm["X_example"] = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [1.0, 0.0]])
    >>> sp.tl.match_slices(adata, library_key="slice", reference="s1", use_rep="X_example", offset="none")
    >>> sp.get.matches_df(adata).round(2)
      query reference  rank  similarity
    0     c         b     1         0.8
    1     c         a     2         0.6
    2     d         a     1         1.0
    3     d         b     2         0.0
    """
    stored = f"{key}_similarity"
    require_key(adata.obsp, stored, "adata.obsp", hint="Make matches first: sp.tl.match_slices(adata, ...)")
    warn_if_changed(adata, adata.uns.get(key), f"the match {key!r}", "sp.tl.match_slices(adata, ...)")
    pairs = sparse.coo_matrix(adata.obsp[stored])
    # Of equals the one that comes first in adata.
    order = np.lexsort((pairs.col, -pairs.data, pairs.row))
    rows, columns = pairs.row[order], pairs.col[order]
    starts = np.searchsorted(rows, rows)
    names = adata.obs_names.to_numpy()
    table = pd.DataFrame(
        {
            "query": names[rows],
            "reference": names[columns],
            "rank": np.arange(len(rows)) - starts + 1,
            "similarity": pairs.data[order],
        }
    )
    return table if max_rank is None else table[table["rank"] <= max_rank].reset_index(drop=True)


def __dir__() -> list[str]:
    return sorted(__all__)
