"""What depends on the two constants of the integration: the number of prototypes and the ridge.

    python benchmarks/integration_constants.py

Three tissues on which neither was chosen: HER2+ tumours of four patients, mouse embryos, and mouse cortex. The linear
baseline of the slices, not centred, is integrated with each pair of constants. `moved` is how far spots move and
`differs` how far they end from where the defaults put them, as root mean squares in standard deviations of the
embedding within slices. cLISI is of regions that pathologists drew, and of cell types, where there are any.

`--overlap` simulates two slices of 1,000 spots with four kinds of spots each, 8 of their SD apart, under a
shift of 2 SD. A share of the spots is of the two kinds that both slices have. The error is that of the shift that is
found, in SD.
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
OVERLAP = RESULTS.with_name("integration_overlap.csv")
SHARES, SEEDS, N_SPOTS, SD, APART, SHIFT = (0.1, 0.15, 0.2, 0.3, 0.5, 1.0), 5, 1000, 0.5, 8, 2


def main() -> None:
    """Run all and write the table."""
    arguments = _parse()
    sp.settings.verbosity = "error"
    if arguments.overlap:
        rows = [
            {"share": share, "seed": seed, "error": overlap(share, seed)} for share in SHARES for seed in range(SEEDS)
        ]
        pd.DataFrame(rows).to_csv(OVERLAP, index=False)
        print(pd.DataFrame(rows).pivot_table("error", "share", "seed").to_string())
        return
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


def overlap(share: float, seed: int) -> float:
    """How far off the shift is that is found, for slices with this share of spots in common."""
    rng = np.random.default_rng(seed)
    common, own = share / 2, (1 - share) / 2
    proportions = ([own, own, common, common, 0, 0], [0, 0, common, common, own, own])
    kinds = np.concatenate([rng.choice(6, N_SPOTS, p=each) for each in proportions])
    spots = APART * SD / np.sqrt(2) * np.eye(6)[kinds] + SD * rng.standard_normal((2 * N_SPOTS, 6))
    slices = np.repeat([0, 1], N_SPOTS)
    shift = rng.standard_normal(6)
    shift *= SHIFT * SD / np.linalg.norm(shift)
    shifted = spots + slices[:, None] * shift
    taken = shifted - integrate(shifted, slices)
    found = taken[slices == 1].mean(axis=0) - taken[slices == 0].mean(axis=0)
    return round(float(np.linalg.norm(found - shift)) / SD, 2)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.square(values).mean()))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tissues", nargs="+", choices=TISSUES, default=list(TISSUES))
    parser.add_argument("--spots", type=int, default=2500, help="spots of a tissue, drawn from all slices")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--overlap", action="store_true", help="simulate slices with little in common instead")
    return parser.parse_args()


if __name__ == "__main__":
    main()
