"""Smooth deformations: known ones in simulated tissue, and real slices beside the rigid pose and PASTE2.

    python benchmarks/deformation.py
    python benchmarks/deformation.py --real
    python benchmarks/deformation.py --real --paste2 PYTHON
    python benchmarks/deformation.py --report

A known deformation is a random smooth field whose largest displacement is 1, 2.5 or 5 spot spacings, after a rotation;
it is recovered if the root mean square distance of the spots from where they belong is at most one spacing. Real slices
are judged by what no fit has seen: whether a spot and the nearest of the other slice have the same annotation, and how
expression that was held out correlates (every other gene makes the embedding that guides, the rest is compared,
averaged over six neighbours). ``PYTHON`` is an interpreter with ``paste2``, in an environment of its own.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import read_h5ad
from rows import append
from scipy.spatial import cKDTree
from simulated_pairs import GEOMETRIES, LAYOUTS
from skimage.transform import estimate_transform

import spotscape as sp
from spotscape.registration._section import motion, move

if TYPE_CHECKING:
    from anndata import AnnData

RESULTS = Path(__file__).parent / "results"
KNOWN, REAL = RESULTS / "deformation.csv", RESULTS / "deformation_real.csv"
AMPLITUDES = (1.0, 2.5, 5.0)
TISSUES = {"dlpfc_donor3": "domain", "st_breast_cancer": None, "molcart_mouse_cortex_3slices": None}
# PASTE2 compares all spots with all others; more than these do not fit in minutes.
MOST_FOR_PASTE2 = 1500

PASTE2 = """
import sys, numpy as np, anndata as ad, scanpy as sc
from paste2 import PASTE2
one, two = ad.read_h5ad(sys.argv[1]), ad.read_h5ad(sys.argv[2])
for part in (one, two):
    sc.pp.filter_genes(part, min_counts=15)
plan = PASTE2.partial_pairwise_align(one, two, s=float(sys.argv[3]))
from paste2 import projection
moved = projection.partial_stack_slices_pairwise([one, two], [plan])
np.savez(sys.argv[4], one=moved[0].obsm["spatial"], two=moved[1].obsm["spatial"])
"""


def main() -> None:
    """Run what is missing, then print the tables."""
    arguments = _parse()
    sp.settings.verbosity = "warning"
    warnings.filterwarnings("ignore", message="the registration of slice")
    if not arguments.report:
        run_real(REAL, arguments.paste2, arguments.tissues) if arguments.real else run_known(arguments.seeds, KNOWN)
    if KNOWN.exists():
        print(summary(pd.read_csv(KNOWN)).to_string(index=False))
    if REAL.exists():
        print(real_summary(pd.read_csv(REAL)).to_string(index=False))


def run_known(n_seeds: int, out: Path) -> None:
    """Bend slices by known fields, and lay them back."""
    done = set(map(tuple, pd.read_csv(out)[["seed", "amplitude"]].to_numpy().tolist())) if out.exists() else set()
    for seed, amplitude in itertools.product(range(n_seeds), AMPLITUDES):
        if (seed, amplitude) in done:
            continue
        geometry, layout = GEOMETRIES[seed % 3], LAYOUTS[seed // 3 % 3]
        adata, truth, spacing = bent_pair(geometry, layout, amplitude, seed)
        started = time.perf_counter()
        sp.pp.register_slices(adata, library_key="slice", use_rep="X_smoothed_pca", deform="smooth")
        seconds = time.perf_counter() - started
        rows = (adata.obs["slice"] == "slice_2").to_numpy()
        entry = adata.uns["spatial_aligned"]
        rigid = move(entry["transforms"][1], adata.obsm["spatial"][rows])
        own = adata.obsm["spatial"][rows]
        best = move(estimate_transform("euclidean", own, truth).params, own)
        row = {"seed": seed, "geometry": geometry, "layout": layout, "amplitude": amplitude}
        for name, places in (("best_rigid", best), ("rigid", rigid), ("bent", adata.obsm["spatial_aligned"][rows])):
            row[name] = round(rms(places, truth) / spacing, 3)
        append(out, {**row, "flagged": bool(entry["ambiguous"][1]), "seconds": round(seconds, 2)})


def bent_pair(geometry: str, layout: str, amplitude: float, seed: int) -> tuple[AnnData, np.ndarray, float]:
    """Two slices of one tissue of which the second is turned and bent; where its spots belong; the spacing."""
    adata = sp.datasets.simulate_tissue(
        n_domains=7, n_slices=2, n_spots=2500, n_genes=300, library_size=2000.0, geometry=geometry, layout=layout,
        rotation=0.0, shift=0.0, drift=0.0, random_state=seed,
    )  # fmt: skip
    spacing = float(adata.uns["simulation"]["spacing"])
    rows = (adata.obs["slice"] == "slice_2").to_numpy()
    truth = adata.obsm["spatial_truth"][rows]
    rng = np.random.default_rng([7, seed])
    bent = truth + amplitude * spacing * field(truth, rng)
    coords = adata.obsm["spatial_truth"].copy()
    coords[rows] = move(motion(float(rng.uniform(0, 360)), rng.uniform(-20, 20, 2) * spacing), bent)
    adata.obsm["spatial"] = coords
    sp.pp.prepare(adata, n_top_genes=None, library_key="slice")
    sp.pp.spatial_neighbors_knn(adata, library_key="slice")
    sp.tl.smoothed_pca(adata, n_comps=15, library_key="slice")
    return adata, truth, spacing


def field(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random displacement, at most 1 in length, whose waves are at least as long as the tissue is wide."""
    width = np.ptp(points, axis=0).max()
    waves = rng.normal(size=(6, 2))
    waves *= rng.uniform(0.3, 1.0, (6, 1)) * 2 * np.pi / width / np.linalg.norm(waves, axis=1, keepdims=True)
    moved = np.sin(points @ waves.T + rng.uniform(0, 2 * np.pi, 6)) @ rng.normal(size=(6, 2))
    moved -= moved.mean(axis=0)
    return np.asarray(moved / np.linalg.norm(moved, axis=1).max())


def rms(one: np.ndarray, other: np.ndarray) -> float:
    """Root mean square distance."""
    return float(np.sqrt(((one - other) ** 2).sum(axis=1).mean()))


def run_real(out: Path, paste2: str | None, tissues: list[str]) -> None:
    """Register adjacent slices rigidly, bent, and by PASTE2 if there is an interpreter with it."""
    done = (
        set(map(tuple, pd.read_csv(out)[["tissue", "pair", "method"]].to_numpy().tolist())) if out.exists() else set()
    )
    for tissue in tissues:
        annotation = TISSUES[tissue]
        adata = read_h5ad(Path(os.environ["SPOTSCAPE_DATA"]) / f"{tissue}.h5ad")
        names = adata.obs["slice"].cat.categories
        for below, above in itertools.pairwise(names):
            pair = adata[adata.obs["slice"].isin([below, above])].copy()
            pair.obs["slice"] = pair.obs["slice"].cat.remove_unused_categories()
            shown, held_out = halves(pair)
            for method in ("rigid", "bent", *(["paste2"] if paste2 else [])):
                if f"{tissue}|{above} on {below}|{method}" in done:
                    continue
                started = time.perf_counter()
                if method == "paste2":
                    if len(pair) > 2 * MOST_FOR_PASTE2:
                        continue
                    coords = by_paste2(shown, [below, above], str(paste2))
                else:
                    embedded = shown.copy()
                    sp.pp.prepare(embedded, n_top_genes=None, library_key="slice")
                    sp.pp.spatial_neighbors_knn(embedded, library_key="slice")
                    sp.tl.smoothed_pca(embedded, n_comps=15, library_key="slice")
                    deform = "smooth" if method == "bent" else None
                    sp.pp.register_slices(embedded, library_key="slice", deform=deform)
                    coords = embedded.obsm["spatial_aligned"]
                seconds = round(time.perf_counter() - started, 1)
                row = {"tissue": tissue, "pair": f"{above} on {below}", "method": method}
                append(out, {**row, **judged(pair, coords, held_out, annotation, (below, above)), "seconds": seconds})


def halves(pair: AnnData) -> tuple[AnnData, np.ndarray]:
    """Every other gene to guide, and the expression of the others, averaged over six neighbours of the slice."""
    detected = np.asarray((pair.X > 0).mean(axis=0)).ravel() > 0.02
    genes = np.flatnonzero(detected)
    rest = pair[:, genes[1::2]].copy()
    sp.pp.prepare(rest, n_top_genes=None, library_key="slice")
    values = np.asarray(rest.X.todense() if hasattr(rest.X, "todense") else rest.X)
    smooth = np.empty_like(values)
    for name in pair.obs["slice"].cat.categories:
        rows = np.flatnonzero(pair.obs["slice"] == name)
        near = cKDTree(pair.obsm["spatial"][rows]).query(pair.obsm["spatial"][rows], k=7)[1]
        smooth[rows] = values[rows][near].mean(axis=1)
    return pair[:, genes[::2]].copy(), smooth


def judged(
    pair: AnnData, coords: np.ndarray, expression: np.ndarray, annotation: str | None, names: tuple[str, str]
) -> dict[str, float]:
    """Agreement of a spot with the nearest of the other slice, where the slices overlap."""
    below, above = (np.flatnonzero(pair.obs["slice"] == name) for name in names)
    spacing = np.median(cKDTree(coords[below]).query(coords[below], k=2)[0][:, 1])
    distance, nearest = cKDTree(coords[below]).query(coords[above])
    near = distance < 3 * spacing
    one, two = expression[above[near]], expression[below[nearest[near]]]
    one, two = one - one.mean(axis=0), two - two.mean(axis=0)
    sizes = np.sqrt((one**2).sum(axis=0) * (two**2).sum(axis=0))
    found = {"overlap": round(float(near.mean()), 3)}
    found["correlation"] = round(float(np.mean((one * two).sum(axis=0)[sizes > 0] / sizes[sizes > 0])), 4)
    found["same_label"] = float("nan")
    if annotation is not None:
        labels = pair.obs[annotation].astype("string").fillna("").to_numpy()
        here, there = labels[above[near]], labels[below[nearest[near]]]
        known = (here != "") & (there != "")
        found["same_label"] = round(float((here == there)[known].mean()), 4)
    return found


def by_paste2(pair: AnnData, names: list[str], python: str) -> np.ndarray:
    """Coordinates by PASTE2 with an overlap of 90 %, in a process of its own."""
    coords = np.empty((pair.n_obs, 2))
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/{index}.h5ad" for index in range(2)]
        for name, path in zip(names, paths, strict=True):
            pair[pair.obs["slice"] == name].write_h5ad(path)
        subprocess.run([python, "-c", PASTE2, *paths, "0.9", f"{folder}/moved.npz"], check=True)
        moved = np.load(f"{folder}/moved.npz")
        for name, key in zip(names, ("one", "two"), strict=True):
            coords[(pair.obs["slice"] == name).to_numpy()] = moved[key]
    return coords


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Errors in spacings by amplitude and layout."""
    rows = rows.assign(recovered=rows["bent"] <= 1)
    parts = [rows.assign(layout="all"), rows]
    columns = {"pairs": ("seed", "count"), "best_rigid": ("best_rigid", "median"), "rigid": ("rigid", "median")}
    columns |= {"bent": ("bent", "median"), "recovered": ("recovered", "mean"), "seconds": ("seconds", "median")}
    return pd.concat([part.groupby(["layout", "amplitude"]).agg(**columns).reset_index() for part in parts]).round(3)


def real_summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over adjacent pairs."""
    groups = rows.drop_duplicates(["tissue", "pair", "method"]).groupby(["tissue", "method"], sort=False)
    means = groups[["overlap", "correlation", "same_label", "seconds"]].mean()
    return means.assign(pairs=groups.size()).round(4).reset_index()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=18)
    parser.add_argument("--real", action="store_true", help="the real slices in SPOTSCAPE_DATA instead")
    parser.add_argument("--tissues", nargs="*", default=list(TISSUES), choices=list(TISSUES))
    parser.add_argument("--paste2", help="an interpreter with paste2")
    parser.add_argument("--report", action="store_true", help="print what has been run")
    return parser.parse_args()


if __name__ == "__main__":
    main()
