"""Matches as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from spotscape._core import keys
from spotscape._core.arguments import public
from spotscape._core.provenance import warn_if_changed
from spotscape._core.validation import require_key, require_positive_int

if TYPE_CHECKING:
    from anndata import AnnData


@public
def matches_df(adata: AnnData, *, key: str = keys.MATCH, max_rank: int | None = None) -> pd.DataFrame:
    """Matches between slices as a table, one row for each pair of spots.

    Parameters
    ----------
    adata
        With the results of :func:`spotscape.tl.match_slices`; a subset shows the pairs of which it has both spots.
    key
        Their name, ``key_added`` there.
    max_rank
        Give the best matches of each spot up to this one only, such as 1. ``None`` gives all.

    Returns
    -------
    Table with the columns ``query`` and ``reference`` (names of the spots), ``rank`` (1 for the best match of the
    query) and ``similarity``; in the order of the spots, best matches first.

    Raises
    ------
    KeyError
        If there are no such results.
    TypeError
        If ``max_rank`` is not an integer.
    ValueError
        If ``max_rank`` is below 1.

    See Also
    --------
    spotscape.tl.match_slices : Makes the matches.

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
    if max_rank is None:
        return table
    limit = require_positive_int(max_rank, "max_rank")
    return table[table["rank"] <= limit].reset_index(drop=True)
