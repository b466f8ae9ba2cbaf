"""One colour for the domains that two columns share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spotscape._core.anndata_io import write
from spotscape._core.arguments import public
from spotscape._core.colors import matched_colors
from spotscape._core.validation import require_data, require_key
from spotscape.pl._palette import as_categories, category_colors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData


@public
def match_colors(adata: AnnData, key: str | Sequence[str], *, to: str) -> None:
    """Give domains the colours of the annotation that they match.

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

    Raises
    ------
    KeyError
        If a column does not exist.

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
