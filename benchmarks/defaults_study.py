"""What the defaults for scale, clusterer and slices rest on, on the linear baseline, which needs no training.

    python benchmarks/defaults_study.py                  all parts on all tissues that there are
    python benchmarks/defaults_study.py --part scale     the number of neighbours that is chosen, and the ARI of others
    python benchmarks/defaults_study.py --part clusterer k-means, five others and their agreement, several seeds
    python benchmarks/defaults_study.py --part slices    several slices together, with and without their means
    python benchmarks/defaults_study.py --summary        tables of what has been run

Rows are appended to benchmarks/results/defaults_study.csv; what is there is not run again. Labels give the number of
domains and the score only. All tissues were looked at while the rules were compared, so
that other tissue has to confirm them.
"""

from __future__ import annotations

import argparse
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import mixtures
import numpy as np
import pandas as pd
import scanpy as sc
import study_tissues as tissues
from rows import append
from scipy import sparse

import spotscape as sp

if TYPE_CHECKING:
    from collections.abc import Iterator

RESULTS = Path(__file__).parent / "results" / "defaults_study.csv"
REAL = {
    "osmfish": ("osmfish_ssctx.h5ad", None),
    "starmap": ("starmap_visual_cortex.h5ad", None),
    **{f"mpfc_{index}": ("starmap_mpfc.h5ad", index) for index in range(3)},
    "mpfc": ("starmap_mpfc.h5ad", None),
    "dlpfc_151673": ("dlpfc_151673.h5ad", None),
    **{f"dlpfc_{151673 + index}": ("dlpfc_donor3.h5ad", index) for index in range(1, 4)},
    "dlpfc_donor3": ("dlpfc_donor3.h5ad", None),
    **{f"her2st_{index}": ("her2st_4patients.h5ad", index) for index in range(4)},
    "her2st": ("her2st_4patients.h5ad", None),
}
JOINT = ("mpfc", "dlpfc_donor3", "her2st")
CHOSEN_ON = (
    "starmap",
    "dlpfc_151673",
    "osmfish",
    "mpfc_0",
    *(n for n in tissues.SIMULATED if n in tissues.SPLIT["choose"]),
)
SIZES = (6, 8, 12, 18, 25)
# Domains that differ only by the shares of cell types need more.
MORE = (36, 50)
CLUSTERERS = ("auto", "kmeans", "gmm")
KEYS = ["part", "tissue", "setting", "clusterer", "annotation", "seed"]


def main() -> None:
    """Run what is missing, or print what there is."""
    arguments = _arguments()
    if arguments.summary:
        summary(pd.read_csv(arguments.out))
        return
    sp.settings.verbosity, sp.settings.progress_bar = "error", False
    for name in expand(arguments.tissues):
        for part in arguments.part:
            for row in PARTS[part](name, done(arguments.out)):
                append(arguments.out, {"chosen": "", "ari": "", **row})
                print(*row.values(), flush=True)


def scale(name: str, ready: set[tuple[str, ...]]) -> Iterator[dict[str, Any]]:
    """The number of neighbours chosen, also of half of the counts and 80 % of the spots; ARI of all numbers."""
    for change in ("", "counts_0.5", "spots_0.8"):
        key = ("scale", name, f"chosen@{change}" if change else "chosen", "", "", "0")
        if key not in ready:
            adata = load(name, change)
            sp.pp.choose_scale(adata, library_key=library(name))
            yield {**dict(zip(KEYS, key, strict=True)), "chosen": adata.uns["scale"]["n_neighs"]}
    for size in (*SIZES, *(MORE if name in mixtures.NAMES else ())):
        yield from _score(name, "scale", f"n_neighs={size}", size, ready, seeds=5, clusterers=("auto",))


def clusterer(name: str, ready: set[tuple[str, ...]]) -> Iterator[dict[str, Any]]:
    """Clusterers at the scale that is chosen."""
    yield from _score(name, "clusterer", "default", None, ready, seeds=3)


def slices(name: str, ready: set[tuple[str, ...]]) -> Iterator[dict[str, Any]]:
    """Several slices jointly, with and without their means."""
    if name in JOINT:
        for center in (True, False):
            yield from _score(name, "slices", f"center_slices={center}", None, ready, seeds=3, center_slices=center)


PARTS = {"scale": scale, "clusterer": clusterer, "slices": slices}


def _score(
    name: str,
    part: str,
    setting: str,
    n_neighs: int | None,
    ready: set[tuple[str, ...]],
    *,
    seeds: int,
    clusterers: tuple[str, ...] = CLUSTERERS,
    **call: Any,
) -> Iterator[dict[str, Any]]:
    keys = [
        (part, name, setting, method, annotation, str(seed))
        for annotation in ("domain", "domain_banksy")
        if annotation in load(name).obs
        for seed in range(seeds)
        for method in clusterers
    ]
    if all(key in ready for key in keys):
        return
    adata = load(name).copy()
    sp.pp.spatial_neighbors_knn(adata, n_neighs=n_neighs, library_key=library(name))
    sp.tl.smoothed_pca(adata, library_key=library(name), **call)
    for key in keys:
        if key in ready:
            continue
        *_, method, annotation, seed = key
        truth = adata.obs[annotation]
        options = {"method": method, "use_rep": "X_smoothed_pca", "key_added": "found", "random_state": int(seed)}
        sp.tl.domains(adata, n_domains=truth.nunique(), **options)
        yield {**dict(zip(KEYS, key, strict=True)), "ari": round(sp.metrics.ari(truth, adata.obs["found"]), 4)}


def expand(names: list[str]) -> list[str]:
    """Names of tissues, with "mixtures" replaced by all of them."""
    return [member for name in names for member in (mixtures.NAMES if name == "mixtures" else (name,))]


def library(name: str) -> str | None:
    """The column with the slices, of several."""
    return "slice" if name in JOINT else None


@cache
def load(name: str, change: str = "") -> ad.AnnData:
    """A tissue with log-normalised expression, with fewer counts or spots on request."""
    if name in REAL:
        file, index = REAL[name]
        adata = ad.read_h5ad(Path(os.environ["SPOTSCAPE_DATA"]) / file)
        adata.obs["slice"] = adata.obs["slice"].astype("category")
        if index is not None:
            adata = adata[adata.obs["slice"] == adata.obs["slice"].cat.categories[index]].copy()
    else:
        adata = mixtures.read(name) if name in mixtures.NAMES else tissues._read(name)
    kind, _, share = change.partition("_")
    rng = np.random.default_rng(0)
    if kind == "counts":
        counts = sparse.csr_matrix(adata.X, dtype=np.float32, copy=True)
        counts.data = rng.binomial(counts.data.astype(np.int64), float(share)).astype(np.float32)
        adata.X = counts
    elif kind == "spots":
        adata = adata[np.sort(rng.permutation(adata.n_obs)[: round(float(share) * adata.n_obs)])].copy()
    sc.pp.filter_cells(adata, min_counts=100 if name.startswith("her2st") else 5)
    sc.pp.filter_genes(adata, min_cells=5)
    sp.pp.prepare(adata, library_key=library(name))
    return adata


def done(out: Path) -> set[tuple[str, ...]]:
    """What the file has."""
    if not out.exists():
        return set()
    return set(map(tuple, pd.read_csv(out, dtype=str, keep_default_na=False)[KEYS].to_numpy().tolist()))


def summary(rows: pd.DataFrame) -> None:
    """Print each part."""
    for part, found in rows.groupby("part", sort=False):
        print(f"\n{part}")
        chosen = found[found["chosen"].notna()]
        if len(chosen):
            print(chosen.pivot_table(index="tissue", columns="setting", values="chosen").to_string())
        scored = found[found["ari"].notna()]
        index = ["tissue", "annotation"]
        print(scored.pivot_table(index=index, columns=["setting", "clusterer"], values="ari").round(3).to_string())
        if part == "scale":
            print(_below_best(scored, chosen).round(3).to_string())
        by = scored.groupby([*index, "setting", "clusterer"])["ari"]
        print("largest SD over seeds", by.std().groupby("clusterer").max().round(3).to_dict())


def _below_best(scored: pd.DataFrame, chosen: pd.DataFrame) -> pd.DataFrame:
    """How far the ARI at the number chosen, and at fixed ones, is below that at the best: all tissue, and each kind.

    Between two numbers that were scored, the ARI is interpolated.
    """
    sizes = scored["setting"].str.removeprefix("n_neighs=").astype(int)
    ari = scored.assign(size=sizes).pivot_table(index=["tissue", "annotation"], columns="size", values="ari")
    picked = chosen[chosen["setting"] == "chosen"].set_index("tissue")["chosen"]
    at = [np.interp(picked[row[0]], ari.columns, ari.loc[row]) for row in ari.index]
    below = pd.DataFrame({"chosen": at, **{f"{size}": ari[size] for size in ari}}, index=ari.index)
    below = below.rsub(ari.max(axis=1), axis=0)
    names = below.index.get_level_values("tissue")
    groups = {
        "real": names.isin(REAL),
        "simulated": names.str.startswith("sim"),
        "mixtures": names.str.startswith("mix"),
    }
    lines = {"all": below, **{group: below[rows] for group, rows in groups.items() if rows.any()}}
    return pd.DataFrame(
        {
            name: {
                "tissues": len(part),
                **part.mean(skipna=False),
                "chosen within .02": (part["chosen"] <= 0.02).mean(),
            }
            for name, part in lines.items()
        }
    ).T


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tissues", nargs="+", default=[*REAL, *tissues.SIMULATED])
    parser.add_argument("--part", nargs="+", default=[*PARTS], choices=[*PARTS])
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--summary", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
