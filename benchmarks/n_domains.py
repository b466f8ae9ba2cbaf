"""Is the chosen number of domains right? Simulated tissue of 3 to 12 domains, and the curves of real tissue.

    python benchmarks/n_domains.py
    python benchmarks/n_domains.py --embedding spotscape --every 6
    python benchmarks/n_domains.py --method gmm
    python benchmarks/n_domains.py --real starmap dlpfc_151673
    python benchmarks/n_domains.py --annotated
    python benchmarks/n_domains.py --speed
    python benchmarks/n_domains.py --report

The rules were developed on the tissues of role `choose`; stability alone was then tried on 21 of role `seen`, where it
was right too seldom, so that they count as seen. `confirm` confirms: stability with an elbow was found before it was
run there. Agreement of two embeddings was found on 12 tissues of role `choose`, two of `confirm`, and all annotated
tissues, so that these do not confirm it. Roles differ in seed and in how sizes, layouts, geometries and difficulties
are combined. The embedding is `sp.tl.smoothed_pca` with its defaults, or an encoder's. `ari` is what the Gaussian
mixture reaches when it is told the true number. With `--annotated` all annotated tissues are tried with all defaults,
and a table for the documentation is written.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from rows import append

import spotscape as sp

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "n_domains.csv"
ANNOTATED = HERE / "results" / "n_domains_real.csv"
STATIC = HERE.parent / "docs" / "_static"
PLACES = tuple(itertools.product(("layers", "islands", "mixed"), ("hexagonal", "square", "irregular")))
ROLES = {"choose": 60, "seen": 21, "confirm": 60}
REAL = {"starmap": ("domain", "domain_banksy"), "dlpfc_151673": ("domain",)}
KEYS = ["role", "index", "embedding", "method"]


def main() -> None:
    """Do what is asked for; by default run what is missing of the simulated tissues."""
    arguments = _parse()
    torch.set_num_threads(arguments.threads)
    sp.settings.verbosity, sp.settings.progress_bar = "error", False
    if arguments.speed:
        speed()
    elif arguments.annotated:
        annotated(ANNOTATED, arguments.clusterer)
    elif arguments.real:
        for name in arguments.real:
            real(name, STATIC / f"n_domains_{name}.svg")
    else:
        if not arguments.report:
            for role, index in itertools.product(arguments.roles, range(0, 60, arguments.every)):
                if index >= ROLES[role]:
                    continue
                run(role, index, arguments.method, arguments.clusterer, arguments.out)
        print(table(pd.read_csv(arguments.out)).to_string())


def settings(role: str, index: int) -> dict[str, Any]:
    """Arguments of the simulation: 3 to 12 domains in turn, all else in cycles of other lengths."""
    if role == "choose":
        layout, geometry = PLACES[(index * 7 + index // 10) % 9]
        difficulty = (0.3, 0.5, 0.65)[(index // 3 + index) % 3]
        sizes, genes, seed = (2000, 3000, 1500)[index // 2 % 3], (500, 300)[index // 5 % 2], 100 + index
    else:
        step, first, seed = (4, 0, 5000 + index) if role == "seen" else (2, 1, 9000 + index)
        layout, geometry = PLACES[(index * step + index // 10 * 5 + first) % 9]
        difficulty = (0.4, 0.6, 0.5, 0.7)[(index + index // 10 + first) % 4]
        sizes, genes = (2500, 1800, 3500)[(index + index // 10 + first) % 3], (400, 600)[index // 5 % 2]
    return {
        "n_domains": 3 + index % 10,
        "n_spots": sizes,
        "n_genes": genes,
        "layout": layout,
        "geometry": geometry,
        "difficulty": difficulty,
        "library_size": (500, 300)[index % 2],
        "random_state": seed,
    }


def run(role: str, index: int, embedding: str, clusterer: str, out: Path) -> None:
    """Choose the number of domains of one tissue, unless that was done, and append the result."""
    keys = (role, index, embedding, clusterer)
    if out.exists() and keys in set(map(tuple, pd.read_csv(out)[KEYS].to_numpy().tolist())):
        return
    given = settings(role, index)
    adata = sp.datasets.simulate_tissue(**given)
    prepare(adata)
    getattr(sp.tl, embedding)(adata)
    key = f"X_{embedding}"
    started = time.perf_counter()
    sp.tl.choose_n_domains(adata, use_rep=key, method=clusterer)
    seconds = time.perf_counter() - started
    entry = adata.uns["n_domains"]
    sp.tl.domains(adata, n_domains=given["n_domains"], method="gmm", use_rep=key, key_added="found")
    score = sp.metrics.ari(adata.obs["domain"], adata.obs["found"])
    row = {**dict(zip(KEYS, keys, strict=True)), **given, "picked": entry["picked"], "clear": bool(entry["clear"])}
    append(out, {**row, "ari": round(score, 3), "seconds": round(seconds, 1)})


def prepare(adata: AnnData) -> None:
    """Turn counts into log-normalised expression with a graph of the 6 nearest neighbours."""
    import scanpy as sc

    sc.pp.filter_genes(adata, min_counts=1)
    sp.pp.prepare(adata)
    sp.pp.spatial_neighbors_knn(adata, n_neighs=6)


def table(results: pd.DataFrame) -> pd.DataFrame:
    """Shares of right choices, for all tissues and for those whose domains can be found when their number is known."""
    results = results.assign(off=results["picked"] - results["n_domains"])
    every = [("all", results), ("ari >= 0.7", results[results["ari"] >= 0.7])]
    every += [(f"{low} to {high}", results[results["n_domains"].between(low, high)]) for low, high in ((3, 7), (8, 12))]
    rows = []
    for name, part in every:
        for keys, group in part.groupby(["role", "embedding", "method"]):
            off = group["off"]
            measured = {"tissues": len(off), "exact": (off == 0).mean(), "within_1": (off.abs() <= 1).mean()}
            rows.append({"which": name, **dict(zip(("role", "embedding", "method"), keys, strict=True)), **measured})
            sure = off[group["clear"].astype("boolean").fillna(value=False)]
            rows[-1] |= {"mean_off": off.mean(), "clear": len(sure), "clear_within_1": (sure.abs() <= 1).mean()}
    return pd.DataFrame(rows).round(2)


def annotated(out: Path, method: str) -> None:
    """Choose the number of domains of every annotated tissue, with all defaults, and write the table of the page."""
    import defaults_study as study
    from markdown_tables import write_table

    known = set(pd.read_csv(out)[["tissue", "method"]].itertuples(index=False)) if out.exists() else set()
    for name in study.REAL:
        if (name, method) in known:
            continue
        adata, slices = study.load(name).copy(), study.library(name)
        sp.pp.spatial_neighbors_knn(adata, library_key=slices)
        row: dict[str, Any] = {"tissue": name, "method": method, "annotated": adata.obs["domain"].nunique()}
        for embedding in ("smoothed_pca", "spotscape"):
            getattr(sp.tl, embedding)(adata, library_key=slices)
            sp.tl.choose_n_domains(adata, use_rep=f"X_{embedding}", method=method)
            entry = adata.uns["n_domains"]
            row[embedding] = entry["picked"]
            row[f"{embedding}_clear"] = bool(entry["clear"])
            row[f"{embedding}_candidates"] = " ".join(map(str, entry["candidates"]))
        append(out, row)
        print(*row.values(), flush=True)
    rows = pd.read_csv(out)
    for rule, part in rows.groupby("method"):
        near = {name: int((part[name] - part["annotated"]).abs().le(1).sum()) for name in ("smoothed_pca", "spotscape")}
        print(rule, "within one of the annotation, of", len(part), "tissues:", near)
    rows = rows[rows["method"] == "agreement"]
    table = pd.DataFrame([_told(row) for row in rows.to_dict("records")]).set_index("tissue")
    write_table(STATIC.parent / "_tables" / "n_domains_real.md", table)


def _told(row: dict[str, Any]) -> dict[str, Any]:
    from methods_report import TISSUES

    told = {"tissue": TISSUES[row["tissue"]], "annotated": row["annotated"]}
    for embedding, name in (("smoothed_pca", "smoothed PCA"), ("spotscape", "Spotscape")):
        candidates = str(row[f"{embedding}_candidates"]).replace(" ", ", ")
        clear = "clear" if row[f"{embedding}_clear"] else f"not clear: {candidates}"
        told[name] = f"{row[embedding]} ({clear})"
    return told


def real(name: str, path: Path) -> None:
    """Draw the curves of a real tissue, prepared as for the table, for smoothed PCA and Spotscape, by both rules."""
    import matplotlib as mpl

    mpl.use("agg")
    import defaults_study as study
    import matplotlib.pyplot as plt

    adata = study.load(name).copy()
    sp.pp.spatial_neighbors_knn(adata)
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained", sharey=True)
    for ax, embedding in zip(axes, ("smoothed_pca", "spotscape"), strict=True):
        getattr(sp.tl, embedding)(adata)
        for color, method in (("#0072B2", "agreement"), ("#E69F00", "gmm")):
            sp.tl.choose_n_domains(adata, use_rep=f"X_{embedding}", method=method)
            entry = adata.uns["n_domains"]
            _curve(ax, entry, color, {"agreement": "agreement", "gmm": "stability"}[method])
            print(name, embedding, method, entry["picked"], np.round(entry["curve"]["mean"], 2).tolist())
            if method == "agreement":
                print(name, embedding, "largest elbow", round(float(np.max(entry["curve"]["elbow"])), 2))
        for column in REAL[name]:
            ax.axvline(adata.obs[column].nunique(), color="0.5", linewidth=1, linestyle=(0, (4, 3)))
        ax.set(title={"smoothed_pca": "smoothed PCA", "spotscape": "Spotscape"}[embedding], xlabel="number of domains")
    axes[0].set_ylabel("agreement (ARI)")
    mpl.rcParams["svg.hashsalt"] = "n_domains"
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _curve(ax: Axes, entry: dict[str, Any], color: str, label: str) -> None:
    curve, picked = entry["curve"], entry["picked"]
    ax.fill_between(curve["k"], curve["mean"] - curve["sd"], curve["mean"] + curve["sd"], color=color, alpha=0.15, lw=0)
    ax.plot(curve["k"], curve["mean"], color=color, marker="o", markersize=3, label=f"{label}: {picked}")
    ax.plot(picked, curve["mean"][curve["k"] == picked], color=color, marker="o", markersize=9, fillstyle="none")
    ax.set_ylim(0, 1.03)
    ax.set_xticks(range(2, 21, 2))
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", alpha=0.25)
    ax.legend(frameon=False, loc="lower right")


def speed(n_spots: int = 50_000, n_dims: int = 12) -> None:
    """Time the default choice on 50,000 spots of 10 overlapping groups."""
    rng = np.random.default_rng(0)
    adata = AnnData(np.zeros((n_spots, 1), dtype=np.float32))
    centres = 2.5 * rng.normal(size=(10, n_dims))
    adata.obsm["X"] = centres[rng.integers(10, size=n_spots)] + rng.normal(size=(n_spots, n_dims))
    started, processed = time.perf_counter(), time.process_time()
    sp.tl.choose_n_domains(adata, use_rep="X")
    elapsed, used = time.perf_counter() - started, time.process_time() - processed
    print(f"{n_spots:,} spots: {elapsed:.0f} s, {used:.0f} s of processor")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--roles", nargs="+", choices=list(ROLES), default=["confirm"])
    parser.add_argument("--embedding", dest="method", choices=("smoothed_pca", "spotscape"), default="smoothed_pca")
    parser.add_argument(
        "--method", dest="clusterer", choices=("agreement", "gmm", "kmeans"), default="agreement", help="rule"
    )
    parser.add_argument("--every", type=int, default=1, help="step between tissues, such as 4 for a quarter of them")
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--real", nargs="+", choices=list(REAL), help="draw the curves of real tissue")
    parser.add_argument("--annotated", action="store_true", help="all annotated tissues")
    parser.add_argument("--speed", action="store_true", help="time 50,000 spots")
    parser.add_argument("--report", action="store_true", help="print what has been run")
    return parser.parse_args()


if __name__ == "__main__":
    main()
