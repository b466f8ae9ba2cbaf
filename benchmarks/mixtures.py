"""Tissue whose domains are mixtures of the same real cell types, for checking what was not chosen on it.

Places and domains are simulated. Each cell is a measured one, drawn from a file of annotated cells, so that noise,
abundances and correlations of genes are real. In each domain, the share of each type is its abundance to the power 1/2,
times the exponential of a normal number. The standard deviation of this number is 1.5 in *clear* tissue and 0.8 in
*faint* tissue. Domains have no type of their own, and nothing else sets them apart.

Names are mix_SOURCE_LAYOUT_STRENGTH, and `methods_study.py` and `defaults_study.py` take them under --tissues:

    python benchmarks/methods_study.py --tissues mixtures
"""

from __future__ import annotations

import os
from functools import cache
from itertools import product
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

import spotscape as sp

N_CELLS = 4_000
SOURCES = {"seqfish": "seqfish_mouse_embryo.h5ad", "osmfish": "osmfish_ssctx.h5ad"}
N_DOMAINS = {"layers": 6, "islands": 5, "mixed": 7}
STRENGTHS = {"clear": 1.5, "faint": 0.8}
NAMES = tuple("_".join(("mix", *parts)) for parts in product(SOURCES, N_DOMAINS, STRENGTHS))


def read(name: str) -> ad.AnnData:
    """Counts of drawn cells at simulated places, and the domain of each."""
    _, source, layout, strength = name.split("_")
    cells, types = _cells(source)
    place = sp.datasets.simulate_tissue(
        n_spots=N_CELLS,
        n_genes=20,
        n_domains=N_DOMAINS[layout],
        layout=layout,
        geometry="irregular",
        random_state=1,
    )
    rng = np.random.default_rng(NAMES.index(name))
    names, abundance = np.unique(types, return_counts=True)
    drawn = np.empty(place.n_obs, dtype=np.int64)
    for rows in place.obs.groupby("domain", observed=True).indices.values():
        share = np.sqrt(abundance) * np.exp(STRENGTHS[strength] * rng.standard_normal(len(names)))
        kinds = rng.choice(len(names), len(rows), p=share / share.sum())
        for kind in np.unique(kinds):
            mine = rows[kinds == kind]
            drawn[mine] = rng.choice(np.flatnonzero(types == names[kind]), len(mine))
    obs = pd.DataFrame({"domain": place.obs["domain"], "cell_type": types[drawn], "slice": "1"}, index=place.obs_names)
    adata = ad.AnnData(cells.X[drawn], obs=obs, var=cells.var[[]])
    adata.obsm["spatial"] = place.obsm["spatial"]
    return adata


@cache
def _cells(source: str) -> tuple[ad.AnnData, np.ndarray]:
    adata = ad.read_h5ad(Path(os.environ["SPOTSCAPE_DATA"]) / SOURCES[source])
    known = adata.obs["cell_type"].notna() & (adata.obs["cell_type"] != "Low quality")
    if source == "seqfish":
        known &= adata.obs["slice"].astype(str).str.startswith("embryo1")
    adata = adata[known.to_numpy()].copy()
    return adata, adata.obs["cell_type"].astype(str).to_numpy()
