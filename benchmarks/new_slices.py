"""A trained model on a slice that it has not seen, against a training on all slices together.

    python benchmarks/new_slices.py --seeds 3
    python benchmarks/new_slices.py --report

The model is trained on three slices of the human cortex (donor 3: 151673, 151674, 151675), and the fourth, 151676, is
embedded: with its offset to the training subtracted (`new`), without (`new_unaligned`), and with a part of the model's
genes missing and filled (`missing_...`). `joint` is the training on all four. Every row scores the fourth slice:
`carried` takes the domains found on the training slices (for `joint`: found on all four), `alone` clusters the
embedding of the fourth slice by itself. Labels give the number of domains and the scores; no method sees them. Trained
models are kept in the folder that `--models` names, and trained if they are not there.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scanpy as sc
import torch
from rows import append

import spotscape as sp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

    from spotscape.models import SpaCross, Spotscape

RESULTS = Path(__file__).parent / "results" / "new_slices.csv"
TRAINING, HELD_OUT = ("151673", "151674", "151675"), "151676"
METHODS = ("spotscape", "spacross")
MISSING = (0.05, 0.1, 0.2, 0.4)
N_DOMAINS = 7
KEYS = ["method", "seed", "setting"]


def main() -> None:
    """Run what is missing, then print the table."""
    arguments = _parse()
    if not arguments.report:
        torch.set_num_threads(arguments.threads)
        sp.settings.verbosity = "error"
        sp.settings.progress_bar = False
        for seed in range(arguments.first_seed, arguments.seeds):
            for method in arguments.methods:
                run(method, seed, arguments)
    print(table(pd.read_csv(arguments.out)).to_string())


def run(method: str, seed: int, arguments: argparse.Namespace) -> None:
    """Score what is not yet in the file of results."""
    out: Path = arguments.out
    done = set(map(tuple, pd.read_csv(out)[KEYS].to_numpy().tolist())) if out.exists() else set()
    settings = ("new", "new_unaligned", *(f"missing_{share}" for share in MISSING), "joint")
    todo = {name for name in settings if (method, seed, name) not in done}
    if todo - {"joint"}:
        for name, scores in embedded(method, seed, arguments.models):
            if name in todo:
                append(out, {"method": method, "seed": seed, "setting": name, **scores})
    if "joint" in todo:
        append(out, {"method": method, "seed": seed, "setting": "joint", **joint(method, seed, arguments.models)})


def embedded(method: str, seed: int, models: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """Train on three slices and embed the fourth."""
    trained, new = read(TRAINING, method), read((HELD_OUT,), method)
    model = train(trained, method, seed, models / f"{method}_{seed}_three")
    key = f"X_{method}"
    for name, align in (("new", True), ("new_unaligned", False)):
        # A gene without a count in the new slice was removed before it was prepared.
        sp.tl.embed(new, model, library_key="slice", missing_genes="fill", align=align)
        yield name, carried_and_alone(trained, new, key, seed)
    for share in MISSING:
        genes = list(model.training.genes) if model.training else []
        lost = np.random.default_rng(seed).choice(genes, int(share * len(genes)), replace=False)
        less = new[:, ~new.var_names.isin(lost)].copy()
        sp.tl.embed(less, model, library_key="slice", missing_genes="fill", max_missing=1.0)
        yield f"missing_{share}", carried_and_alone(trained, less, key, seed)


def joint(method: str, seed: int, models: Path) -> dict[str, float]:
    """Train on all four slices."""
    adata = read((*TRAINING, HELD_OUT), method)
    train(adata, method, seed, models / f"{method}_{seed}_four")
    held_out = (adata.obs["slice"] == HELD_OUT).to_numpy()
    scores = {}
    for clusterer in ("kmeans", "gmm"):
        sp.tl.domains(
            adata, n_domains=N_DOMAINS, use_rep=f"X_{method}", method=clusterer, key_added="found", random_state=seed
        )
        found = adata.obs[held_out]
        scores[f"carried_{clusterer}"] = sp.metrics.ari(found["domain"], found["found"])
    return rounded(scores | alone(adata[held_out].copy(), f"X_{method}", seed))


def read(slices: tuple[str, ...], method: str) -> AnnData:
    """Some slices, prepared by themselves: the new one is not looked at for the others' choice of genes."""
    adata = sp.datasets.dlpfc(list(slices))
    sc.pp.filter_genes(adata, min_counts=1)
    sp.pp.prepare(adata, recipe=method, library_key="slice")
    sp.pp.spatial_neighbors_knn(adata, library_key="slice")
    return adata


def train(adata: AnnData, method: str, seed: int, folder: Path) -> Spotscape | SpaCross:
    """The trained model, from its folder if it is there; its embedding is written."""
    if not folder.exists():
        model = getattr(sp.tl, method)(adata, library_key="slice", random_state=seed, return_model=True)
        model.save(folder)
        return model
    model = sp.models.load(folder)
    # So few spots are all kept, in their order.
    adata.obsm[f"X_{method}"] = model.reference.embedding
    return model


def carried_and_alone(trained: AnnData, new: AnnData, key: str, seed: int) -> dict[str, float]:
    """Agreement of the fourth slice with its layers, by domains of the other three and by its own."""
    scores = {}
    for clusterer in ("kmeans", "gmm"):
        sp.tl.domains(trained, n_domains=N_DOMAINS, use_rep=key, method=clusterer, key_added="found", random_state=seed)
        sp.tl.transfer_domains(new, reference=trained, use_rep=key, labels_key="found", key_added="carried")
        scores[f"carried_{clusterer}"] = sp.metrics.ari(new.obs["domain"], new.obs["carried"])
    return rounded(scores | alone(new, key, seed))


def alone(new: AnnData, key: str, seed: int) -> dict[str, float]:
    """Agreement of domains that are found in the fourth slice by itself."""
    scores = {}
    for clusterer in ("kmeans", "gmm"):
        sp.tl.domains(new, n_domains=N_DOMAINS, use_rep=key, method=clusterer, key_added="found", random_state=seed)
        scores[f"alone_{clusterer}"] = sp.metrics.ari(new.obs["domain"], new.obs["found"])
    return scores


def rounded(scores: dict[str, float]) -> dict[str, float]:
    """As many digits as mean something."""
    return {name: round(value, 4) for name, value in scores.items()}


def table(results: pd.DataFrame) -> pd.DataFrame:
    """Mean ± SD over seeds, settings by method."""
    names = [name for name in results if name.startswith(("carried", "alone"))]
    grouped = results.groupby(["method", "setting"], sort=False)[names]
    mean, spread = grouped.mean(), grouped.std()
    text: dict[str, Any] = {
        name: [
            f"{m:.3f}" if np.isnan(s) else f"{m:.3f} ± {s:.3f}" for m, s in zip(mean[name], spread[name], strict=True)
        ]
        for name in names
    }
    shown = pd.DataFrame(text, index=mean.index)
    shown.insert(0, "seeds", grouped.size())
    return shown


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--models", type=Path, default=Path("benchmarks") / "models")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--report", action="store_true", help="print the table of what has been run")
    return parser.parse_args()


if __name__ == "__main__":
    main()
