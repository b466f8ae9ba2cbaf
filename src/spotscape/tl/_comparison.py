"""A second embedding of the same tissue, by which accidents of the first can be told from what is in the tissue."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

from spotscape._core import keys
from spotscape._core.settings import settings
from spotscape.tl._smoothed_pca import smoothed_components

if TYPE_CHECKING:
    import numpy as np
    from anndata import AnnData

# How records say what an embedding was made from.
_SOURCES = {"layer": "adata.layers['", "use_rep": "adata.obsm['"}


def comparison(adata: AnnData, use_rep: str) -> np.ndarray | str:
    """Smoothed components of the expression and the graph that an embedding was made from, or why there are none.

    Smoothed components are compared with those of half the hops.
    """
    made = adata.uns.get(use_rep.removeprefix("X_"))
    params = made.get("params") if isinstance(made, Mapping) else None
    params = params if isinstance(params, Mapping) else {}
    hops = 2
    if use_rep == keys.X_SMOOTHED_PCA or "n_hops" in params:
        hops = 1 if int(params.get("n_hops", 2)) > 1 else 2
    source = str(params.get("source"))
    reading = {name: source[len(start) : -2] for name, start in _SOURCES.items() if source.startswith(start)}
    graph = {name: params[name] for name in ("neighbors_key", "library_key") if isinstance(params.get(name), str)}
    # A graph that joins slices serves SpaCross only; the usual one does here.
    for given in ({**reading, **graph}, reading) if graph else (reading,):
        try:
            with settings.override(verbosity="error"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return smoothed_components(adata, n_hops=hops, **given)[0]
        except (KeyError, ValueError, TypeError) as error:
            reason = str(error.args[0])
    return reason
