"""Whether the consensus of five trainings is as good as one, and steadier.

    python benchmarks/consensus.py --tissues starmap dlpfc_151673 --seeds 10

Repeats are sets of five seeds without a common one; single trainings are scored seed by seed. `--encoders 1` trains one
encoder instead of the four of the default, as is done for large tissue. Embeddings are kept in a folder, so that a
second call trains what is missing only. A summary is printed.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import study_tissues as tissues
import torch
from rows import append

import spotscape as sp
from spotscape.models import SpotscapeConfig

if TYPE_CHECKING:
    from anndata import AnnData

METHODS = ("kmeans", "gmm", "both")
SET = 5
KEYS = ["tissue", "encoders", "annotation", "domains", "clusterer", "seeds"]


def main() -> None:
    """Train, score, print."""
    arguments = _arguments()
    torch.set_num_threads(1)
    sp.settings.verbosity, sp.settings.progress_bar = "error", False
    for name in tissues.expand(arguments.tissues):
        adata = tissues.load(name, 0)
        train(adata, name, arguments.encoders, arguments.seeds, arguments.cache)
        score(adata, name, arguments.encoders, arguments.seeds, arguments.out)
    print(summary(pd.read_csv(arguments.out)).to_string())


def train(adata: AnnData, name: str, n_encoders: int, n_seeds: int, cache: Path) -> None:
    """Write the embedding of every seed to `obsm["X_<seed>"]`."""
    cache.mkdir(parents=True, exist_ok=True)
    for seed in range(n_seeds):
        file = cache / f"{name}_{n_encoders}_{seed}.npy"
        if not file.exists():
            sp.tl.spotscape(adata, random_state=seed, config=SpotscapeConfig(n_encoders=n_encoders))
            np.save(file, adata.obsm["X_spotscape"])
        adata.obsm[f"X_{seed}"] = np.load(file)


def score(adata: AnnData, name: str, n_encoders: int, n_seeds: int, out: Path) -> None:
    """Append what the file does not have yet: single trainings, and the consensus of each set of five."""
    done = set() if not out.exists() else set(map(tuple, pd.read_csv(out, dtype=str)[KEYS].to_numpy().tolist()))
    sets = [range(first, first + SET) for first in range(0, n_seeds - SET + 1, SET)]
    for annotation in tissues.domain_annotations(name, adata):
        truth = adata.obs[annotation]
        jobs = [("single", method, range(seed, seed + 1)) for seed in range(n_seeds) for method in METHODS[:2]]
        jobs += [("consensus", method, seeds) for seeds in sets for method in METHODS]
        for domains, method, seeds in jobs:
            row = dict(
                zip(KEYS, (name, str(n_encoders), annotation, domains, method, " ".join(map(str, seeds))), strict=True)
            )
            if tuple(row.values()) in done:
                continue
            found = _find(adata, truth.nunique(), domains, method, seeds)
            append(out, {**row, "ari": round(sp.metrics.ari(truth, found), 4)})


def _find(adata: AnnData, n_domains: int, domains: str, method: str, seeds: range) -> pd.Series:
    keys = [f"X_{seed}" for seed in seeds]
    options = {"n_domains": n_domains, "method": method, "key_added": "found", "random_state": seeds[0]}
    if domains == "single":
        sp.tl.domains(adata, use_rep=keys[0], **options)
    else:
        sp.tl.consensus_domains(adata, use_reps=keys, **options)
    return adata.obs["found"]


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean and SD of the ARI, with the number of repeats."""
    return rows.groupby(KEYS[:-1], sort=False)["ari"].agg(["mean", "std", "count"]).round(4)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tissues", nargs="+", default=["starmap", "dlpfc_151673"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--encoders", type=int, default=SpotscapeConfig().n_encoders)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "spotscape_consensus")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "consensus.csv")
    return parser.parse_args()


if __name__ == "__main__":
    main()
