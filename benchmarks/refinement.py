"""Where the vote of neighbours helps, and where it hurts.

    python benchmarks/refinement.py

Domains of smoothed PCA with one hop, which are ragged, and with three, which are not; agreement with the
annotation over all spots, at boundaries and in thin domains, before and after passes of `sp.tl.refine_domains`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
import study_tissues as tissues
from rows import append

import spotscape as sp

TISSUES = ("dlpfc_151673", "starmap", "sim_layers_hexagonal", "sim_islands_hexagonal")
PASSES = (0, 1, 3, 10)


def main() -> None:
    """Score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "refinement.csv")
    out = parser.parse_args().out
    sp.settings.verbosity = "error"
    for name in TISSUES:
        run(name, out)
    print(pd.read_csv(out).to_string())


def run(name: str, out: Path) -> None:
    """Score one tissue."""
    adata = tissues.load(name, 0)
    truth, graph = adata.obs["domain"], adata.obsp["spatial_connectivities"]
    thin = list(tissues.thin_domains(name, adata))
    for n_hops in (1, 3):
        sp.tl.smoothed_pca(adata, n_hops=n_hops, key_added="X_floor")
        sp.tl.domains(adata, n_domains=truth.nunique(), method="kmeans", use_rep="X_floor", key_added="found")
        for n_passes in PASSES:
            if n_passes:
                sp.tl.refine_domains(adata, key="found", n_passes=n_passes)
            found = adata.obs["found_refined" if n_passes else "found"]
            scores = {
                "ari": sp.metrics.ari(truth, found),
                "accuracy_boundary": sp.metrics.boundary_accuracy(truth, found, graph),
                "accuracy_interior": sp.metrics.interior_accuracy(truth, found, graph),
                "recall_thin": sp.metrics.domain_scores(truth, found).loc[thin, "recall"].mean() if thin else None,
            }
            rounded = {key: "" if value is None else round(float(value), 4) for key, value in scores.items()}
            changed = int((found != adata.obs["found"]).sum())
            row = {"tissue": name, "n_hops": n_hops, "n_passes": n_passes, "changed": changed}
            append(out, {**row, **rounded})


if __name__ == "__main__":
    main()
