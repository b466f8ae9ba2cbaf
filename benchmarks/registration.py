"""Registration of pairs with a known pose.

    python benchmarks/registration.py --pairs 120
    python benchmarks/registration.py --pairs 300 --partial
    python benchmarks/registration.py --report

A pose is recovered if the root mean square distance between where it puts the query's spots and where they belong is
below half a spot spacing. ``icp`` has the coordinates only, ``guided`` a joint embedding as well (smoothed principal
components). Overlap is intersection over union. Whether an outline is symmetric is decided by its formula, without
spots, and not by what is measured. Real slices are in ``deformation.py``.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from rows import append
from simulated_pairs import SYMMETRIC_FROM, draw_pair, embedding

import spotscape as sp
from spotscape.registration._section import displacement

RESULTS = Path(__file__).parent / "results"
PAIRS = RESULTS / "registration.csv"
METHODS = {"icp": None, "guided": "X_guide"}
GROUPS = ([], ["shown"], ["outline", "shown"])


def main() -> None:
    """Run what is missing, then print the tables."""
    arguments = _parse()
    sp.settings.verbosity = "warning"
    warnings.filterwarnings("ignore", message="the registration of slice")
    methods = {"guided": "X_guide"} if arguments.guided else METHODS
    if not arguments.report:
        run_pairs(arguments.pairs, PAIRS, methods, partial=arguments.partial)
    if PAIRS.exists():
        print(summary(pd.read_csv(PAIRS)).to_string())


def run_pairs(n_pairs: int, out: Path, methods: dict[str, str | None], *, partial: bool) -> None:
    """Register pair after pair, or only those that overlap in part, and append each result at once."""
    done = set(map(tuple, pd.read_csv(out)[["seed", "method"]].to_numpy().tolist())) if out.exists() else set()
    for seed in range(n_pairs):
        missing = {method: use_rep for method, use_rep in methods.items() if (seed, method) not in done}
        if not missing:
            continue
        pair = draw_pair(seed)
        if partial and pair.settings["overlap"] == 1:
            continue
        embedding(pair.adata)
        query = pair.adata.obs["slice"] == "query"
        spots = pair.adata.obsm["spatial"][query.to_numpy()]
        for method, use_rep in missing.items():
            started = time.perf_counter()
            sp.pp.register_slices(
                pair.adata, library_key="slice", reference="reference", allow_flip=True, use_rep=use_rep
            )
            seconds = time.perf_counter() - started
            entry = pair.adata.uns["spatial_aligned"]
            i = list(entry["library"]).index("query")
            error = displacement(entry["transforms"][i], pair.matrix, spots) / pair.spacing
            found = {"error": round(error, 3), "ambiguous": bool(entry["ambiguous"][i]), "poor": bool(entry["poor"][i])}
            append(out, {"seed": seed, "method": method, **pair.settings, **found, "seconds": round(seconds, 2)})


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """Shares recovered and flagged by method, symmetry and overlap."""
    results = results.assign(
        outline=np.where(results["self_similarity"] < SYMMETRIC_FROM, "asymmetric", "symmetric"),
        shown=np.where(results["overlap"] == 1, "whole", "part"),
        recovered=results["error"] < 0.5,
        flagged=results["ambiguous"] | results["poor"],
    )
    results["within_1"] = results["error"] < 1
    results["wrong_unflagged"] = (results["error"] >= 3) & ~results["flagged"]
    measured = ["recovered", "within_1", "flagged", "wrong_unflagged"]
    columns = {name: (name, "mean") for name in measured} | {
        "pairs": ("seed", "count"),
        "seconds": ("seconds", "median"),
    }
    rows = [results.groupby(["method", *by]).agg(**columns) for by in GROUPS]
    rows = [row.reset_index() for row in rows]
    order = ["method", "outline", "shown", "pairs", *measured, "seconds"]
    return pd.concat(rows).reindex(columns=order).fillna("all").sort_values(order[:3]).round(3).reset_index(drop=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=300)
    parser.add_argument("--partial", action="store_true", help="only pairs that overlap in part")
    parser.add_argument("--guided", action="store_true", help="only with an embedding")
    parser.add_argument("--report", action="store_true", help="print what has been run")
    return parser.parse_args()


if __name__ == "__main__":
    main()
