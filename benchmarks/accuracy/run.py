"""Run what is missing and append the scores of each run at once."""

from __future__ import annotations

import functools
import itertools
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from rows import append
from tissues import SPACROSS_GENES

import spotscape as sp
from accuracy import tissues
from accuracy.settings import SETTINGS

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

    from accuracy.settings import Setting

KEY = "X_study"
CLUSTERERS = ("auto", "kmeans", "gmm")
KEYS = ["tissue", "method", "settings", "seed"]
COLUMNS = (
    *KEYS,
    "annotation",
    "clusterer",
    "ari",
    "ari_slices",
    "accuracy",
    "accuracy_boundary",
    "accuracy_interior",
    "recall_thin",
    "f1_thin",
    "f1_thin_each",
    "clisi",
    "label_asw",
    "ilisi",
    "seconds",
)


def study(
    names: list[str], methods: list[str], seeds: int, out: Path, *, threads: int, embeddings: Path | None = None
) -> int:
    """Run all methods on all tissues and return 1 if a run failed, else 0; `embeddings` keeps what was trained."""
    torch.set_num_threads(threads)
    sp.settings.verbosity = "error"
    sp.settings.progress_bar = False
    failed = [failure for name in names for failure in run_tissue(name, methods, seeds, out, embeddings)]
    if failed:
        print("failed:", *failed, sep="\n  ", file=sys.stderr)
    return int(bool(failed))


def run_tissue(name: str, methods: list[str], seeds: int, out: Path, embeddings: Path | None) -> list[str]:
    """Run the methods on one tissue, seed by seed, and return what failed."""
    several = tissues.is_several(name)
    applying = [method for method in methods if SETTINGS[method].applies(several=several)]
    jobs = [(seed, method) for seed, method in itertools.product(range(seeds), applying)]
    # What a suffix takes away is drawn for each seed; other tissues are always the same.
    loaded = functools.lru_cache(maxsize=1)(tissues.load)
    failed = []
    for seed, method in jobs:
        if is_done(out, name, method, seed) or copied(out, name, method, seed):
            continue
        try:
            adata = loaded(name, seed if "@" in name else 0)
        except (FileNotFoundError, ConnectionError) as error:
            print(f"{name} is left out: {error}.", file=sys.stderr)
            return failed
        try:
            run_one(adata, name, method, seed, out, embeddings=embeddings)
        except (ValueError, RuntimeError, FloatingPointError) as error:
            failed.append(f"{name} {method} seed {seed}: {error}")
    return failed


def is_done(out: Path, name: str, method: str, seed: int) -> bool:
    """Whether the run is in the file, where other processes may have written since; with the settings of today."""
    settings = SETTINGS[method].fingerprint(several=tissues.is_several(name))
    return (name, method, settings, seed) in _done(out, _changed(out))


def _changed(out: Path) -> int:
    return out.stat().st_mtime_ns if out.exists() else 0


@functools.lru_cache(maxsize=1)
def _done(out: Path, _at: int) -> set[tuple[Any, ...]]:
    if not out.exists():
        return set()
    keys = pd.read_csv(out, usecols=KEYS, dtype={"settings": str})[KEYS]
    return set(map(tuple, keys.to_numpy().tolist()))


def copied(out: Path, name: str, method: str, seed: int) -> bool:
    """Copy the rows of another method that is the same on this tissue, and say whether there were any."""
    settings = SETTINGS[method].fingerprint(several=tissues.is_several(name))
    if not any((name, settings, seed) == (one[0], *one[2:]) for one in _done(out, _changed(out))):
        return False
    rows = pd.read_csv(out, dtype=str, keep_default_na=False)
    rows = rows[(rows["tissue"] == name) & (rows["settings"] == settings) & (rows["seed"] == str(seed))]
    rows = rows[rows["method"] == rows["method"].iloc[0]].assign(method=method)
    append(out, *rows.to_dict("records"))
    return True


def run_one(adata: AnnData, name: str, method: str, seed: int, out: Path, *, embeddings: Path | None) -> None:
    """Embed, score and write."""
    setting = SETTINGS[method]
    settings = setting.fingerprint(several=tissues.is_several(name))
    kept = None if embeddings is None else embeddings / f"{name}~{settings}~{seed}.npz"
    seconds = embed_or_read(adata, setting, seed, kept, several=tissues.is_several(name))
    run = {"tissue": name, "method": method, "settings": settings, "seed": seed, "seconds": seconds}
    rows = [*agreement(adata, name, KEY, seed), *separation(adata, name, KEY)]
    append(out, *({**dict.fromkeys(COLUMNS, ""), **run, **_rounded(row)} for row in rows))


def embed_or_read(adata: AnnData, setting: Setting, seed: int, kept: Path | None, *, several: bool) -> float:
    """Write the embedding of one setting, from the file that an earlier run left or anew; the seconds it took."""
    if kept is not None and kept.exists():
        with np.load(kept) as found:
            adata.obsm[KEY] = found["embedding"]
            return float(found["seconds"])
    started = time.perf_counter()
    embed(adata, setting, seed, several=several)
    seconds = round(time.perf_counter() - started, 2)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, embedding=np.asarray(adata.obsm[KEY]), seconds=seconds)
    return seconds


def embed(adata: AnnData, setting: Setting, seed: int, *, several: bool) -> None:
    """Write the embedding of one setting."""
    call = {"neighbors_key": _graph(adata, setting, several=several), "library_key": "slice" if several else None}
    if setting.method == "floor":
        sp.tl.smoothed_pca(adata, random_state=seed, key_added=KEY, **{**call, **setting.call})
    else:
        genes = SPACROSS_GENES if setting.method == "spacross" else "highly_variable"
        call |= {"mask_var": genes, "config": setting.config(several=several), **setting.call}
        getattr(sp.tl, setting.method)(adata, random_state=seed, key_added=KEY, **call)
    if setting.after is not None:
        adata.obsm[KEY] = setting.after(np.asarray(adata.obsm[KEY]))


def _graph(adata: AnnData, setting: Setting, *, several: bool) -> str:
    """Record of the graph: SpaCross sees registered slices in 3-D."""
    if setting.n_neighs == 6:
        return "spatial_3d_neighbors" if several and setting.method == "spacross" else "spatial_neighbors"
    prefix = f"spatial_{setting.n_neighs}"
    if f"{prefix}_neighbors" not in adata.uns:
        library = "slice" if several else None
        sp.pp.spatial_neighbors_knn(adata, n_neighs=setting.n_neighs, library_key=library, key_added=prefix)
    return f"{prefix}_neighbors"


def agreement(adata: AnnData, name: str, key: str, seed: int) -> list[dict[str, Any]]:
    """Score the domains of both clusterers against every annotation."""
    rows = []
    for annotation, clusterer in itertools.product(tissues.domain_annotations(name, adata), CLUSTERERS):
        truth = adata.obs[annotation]
        n_domains = truth.nunique()
        sp.tl.domains(adata, n_domains=n_domains, method=clusterer, use_rep=key, key_added="found", random_state=seed)
        rows.append({"annotation": annotation, "clusterer": clusterer, **scores(adata, name, annotation)})
    return rows


def scores(adata: AnnData, name: str, annotation: str) -> dict[str, Any]:
    """Agreement over all spots, by slice, at boundaries, away from them and in thin domains."""
    truth, found, graph = adata.obs[annotation], adata.obs["found"], adata.obsp["spatial_connectivities"]
    row: dict[str, Any] = {
        "ari": sp.metrics.ari(truth, found),
        "accuracy": sp.metrics.clustering_accuracy(truth, found),
        "accuracy_boundary": sp.metrics.boundary_accuracy(truth, found, graph),
        "accuracy_interior": sp.metrics.interior_accuracy(truth, found, graph),
    }
    if tissues.is_several(name):
        slices = adata.obs["slice"]
        parts = [sp.metrics.ari(truth[slices == one], found[slices == one]) for one in slices.cat.categories]
        row["ari_slices"] = np.mean(parts)
    thin = tissues.thin_domains(name, adata)
    if thin:
        each = sp.metrics.domain_scores(truth, found).loc[list(thin)]
        row |= {"recall_thin": each["recall"].mean(), "f1_thin": each["f1"].mean()}
        row["f1_thin_each"] = " ".join(f"{domain}={value:.4f}" for domain, value in each["f1"].items())
    return row


def separation(adata: AnnData, name: str, key: str) -> list[dict[str, Any]]:
    """How far categories lie apart in the embedding, and whether slices lie together; without a clusterer."""
    rows = []
    for annotation in tissues.separation_annotations(name, adata):
        known = adata.obs[annotation].notna().to_numpy()
        labels, embedding = adata.obs[annotation][known], np.asarray(adata.obsm[key])[known]
        row = {
            "annotation": annotation,
            "clusterer": "none",
            "clisi": sp.metrics.clisi(labels, embedding),
            "label_asw": sp.metrics.label_asw(labels, embedding, max_spots=5000),
        }
        if tissues.is_several(name):
            row["ilisi"] = sp.metrics.ilisi(adata.obs["slice"][known], embedding)
        rows.append(row)
    return rows


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value if isinstance(value, str) else round(float(value), 4) for name, value in row.items()}
