"""What depends on the two constants of the integration: the number of prototypes and the ridge.

    python benchmarks/integration_constants.py

Three tissues on which neither was chosen: HER2+ tumours of four patients, mouse embryos, and mouse cortex. The linear
baseline of the slices, not centred, is integrated with each pair of constants. `moved` is how far spots move and
`differs` how far they end from where the defaults put them, as root mean squares in standard deviations of the
embedding within slices. cLISI is of regions that pathologists drew, and of cell types, where there are any.
"""

from __future__ import annotations

import argparse
import itertools
import os
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

import spotscape as sp
from spotscape.nn import integrate

RESULTS = Path(__file__).parent / "results" / "integration_constants.csv"
# File, column of the slices, column of labels that says what must stay apart.
TISSUES = {
    "her2st": ("her2st_4patients.h5ad", "slice", "domain"),
    "embryo": ("seqfish_mouse_embryo.h5ad", "slice", "cell_type"),
    "molcart": ("molcart_mouse_cortex_3slices.h5ad", "slice", None),
}
PROTOTYPES, RIDGES = (4, 8, 16), (30.0, 100.0, 300.0)


def main() -> None:
    """Run all and write the table."""
    arguments = _parse()
    sp.settings.verbosity = "error"
    rows = [row for tissue in arguments.tissues for row in run(tissue, arguments.spots)]
    found = pd.DataFrame(rows)
    found.to_csv(arguments.out, index=False)
    print(found.to_string())


def run(tissue: str, n_spots: int) -> list[dict[str, object]]:
    """Return a row for the embedding as it is and one for each pair of constants."""
    name, library_key, labels_key = TISSUES[tissue]
    adata = ad.read_h5ad(Path(os.environ["SPOTSCAPE_DATA"]) / name)
    sp.pp.prepare(adata, n_top_genes=2000 if adata.n_vars > 2000 else None, library_key=library_key)
    sp.pp.spatial_neighbors_knn(adata, library_key=library_key)
    sp.tl.smoothed_pca(adata, library_key=library_key, center_slices=False)
    drawn = np.sort(np.random.default_rng(0).permutation(adata.n_obs)[:n_spots])
    embedding = np.asarray(adata.obsm["X_smoothed_pca"], np.float64)[drawn]
    slices = adata.obs[library_key].astype(str).to_numpy()[drawn]
    labels = None if labels_key is None else adata.obs[labels_key].iloc[drawn]
    within = float(np.sqrt(np.mean([embedding[slices == one].var(axis=0).mean() for one in np.unique(slices)])))
    default = integrate(embedding, slices)
    rows = []
    for constants in (None, *itertools.product(PROTOTYPES, RIDGES)):
        found = embedding
        if constants is not None:
            found = integrate(embedding, slices, n_prototypes=constants[0], ridge=constants[1])
        row: dict[str, object] = {"tissue": tissue, "n_prototypes": constants and constants[0]}
        row |= {"ridge": constants and constants[1], "ilisi": sp.metrics.ilisi(slices, found)}
        row["clisi"] = np.nan if labels is None else sp.metrics.clisi(labels, found)
        row["moved"], row["differs"] = (_rms(found - other) / within for other in (embedding, default))
        rows.append({key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()})
    return rows


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.square(values).mean()))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tissues", nargs="+", choices=TISSUES, default=list(TISSUES))
    parser.add_argument("--spots", type=int, default=2500, help="spots of a tissue, drawn from all slices")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
