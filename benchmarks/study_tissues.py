"""The tissues of the study, prepared in the same way for every method, and what each is for.

Settings are chosen on some tissues and confirmed on the others. A suffix degrades a tissue: `starmap@genes_0.7` keeps
70 % of the genes, `@counts_0.5` half of the counts, `@spots_0.8` 80 % of the spots; what is kept is drawn for each
seed, and the less is kept the smaller is the part of the same draw.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from tissues import mark_for_spacross, prepare_slices

import spotscape as sp

if TYPE_CHECKING:
    from anndata import AnnData

# Looked at while settings are chosen; looked at once they are.
SPLIT = {
    "choose": (
        "starmap",
        "dlpfc_151673",
        "sim_layers_hexagonal",
        "sim_layers_square",
        "sim_layers_irregular_faint",
        "sim_islands_hexagonal",
        "sim_islands_square_faint",
        "sim_mixed_irregular_many",
    ),
    "confirm": (
        "dlpfc_151674",
        "dlpfc_151675",
        "dlpfc_151676",
        "dlpfc_donor3",
        "seqfish",
        "sim_layers_hexagonal_faint",
        "sim_layers_irregular",
        "sim_islands_irregular",
        "sim_mixed_square_many",
        "sim_mixed_square_faint",
        "sim_mixed_irregular_faint",
    ),
}
# Graded by what the floor reaches: best ARI of 1, 3 and 6 hops and both clusterers in the comment.
SIMULATED = {
    "sim_layers_hexagonal": {"n_domains": 7, "n_spots": 3000, "n_genes": 500, "difficulty": 0.5, "library_size": 500},
    "sim_layers_square": {
        "n_domains": 10, "n_spots": 3000, "n_genes": 500, "difficulty": 0.7, "library_size": 300, "dropout": 0.3
    },
    "sim_layers_irregular_faint": {
        "n_domains": 8, "n_spots": 2000, "n_genes": 300, "difficulty": 0.75, "library_size": 100, "dropout": 0.3
    },
    "sim_islands_hexagonal": {"n_domains": 5, "n_spots": 2000, "n_genes": 1000, "difficulty": 0.7, "library_size": 300},
    "sim_islands_square_faint": {
        "n_domains": 5, "n_spots": 2000, "n_genes": 1000, "difficulty": 0.75, "library_size": 200, "dropout": 0.2
    },
    "sim_mixed_irregular_many": {
        "n_domains": 10, "n_spots": 3000, "n_genes": 500, "difficulty": 0.65, "library_size": 200
    },
    "sim_layers_hexagonal_faint": {
        "n_domains": 7, "n_spots": 2500, "n_genes": 1000, "difficulty": 0.75, "library_size": 200
    },
    "sim_layers_irregular": {"n_domains": 6, "n_spots": 2000, "n_genes": 300, "difficulty": 0.6, "library_size": 150},
    "sim_islands_irregular": {"n_domains": 6, "n_spots": 2500, "n_genes": 300, "difficulty": 0.6, "library_size": 200},
    "sim_mixed_square_many": {"n_domains": 12, "n_spots": 3000, "n_genes": 800, "difficulty": 0.6, "library_size": 400},
    "sim_mixed_square_faint": {
        "n_domains": 6, "n_spots": 2000, "n_genes": 1000, "difficulty": 0.8, "library_size": 300, "dropout": 0.3
    },
    "sim_mixed_irregular_faint": {
        "n_domains": 4, "n_spots": 1500, "n_genes": 300, "difficulty": 0.8, "library_size": 150
    },
}  # fmt: skip
LEVELS = {"genes": (0.85, 0.7, 0.5, 0.3), "counts": (0.75, 0.5, 0.25), "spots": (0.9, 0.8, 0.6)}
DEGRADED = ("starmap", "dlpfc_151673")
SEVERAL = ("dlpfc_donor3",)
THIN = {"dlpfc": ("Layer_2", "Layer_4")}
ROLES = {name: role for role, names in SPLIT.items() for name in names}
GROUPS = {
    **SPLIT,
    "real": tuple(name for name in ROLES if name not in SIMULATED),
    "simulated": tuple(SIMULATED),
    "degraded": tuple(
        f"{name}@{kind}_{share}" for name in DEGRADED for kind, shares in LEVELS.items() for share in shares
    ),
}


def expand(names: list[str]) -> list[str]:
    """Names with groups replaced by their members; unknown ones are refused."""
    found = [member for name in names for member in GROUPS.get(name, (name,))]
    for name in found:
        parts(name)
    return list(dict.fromkeys(found))


def parts(name: str) -> tuple[str, str, float]:
    """Tissue, what is degraded and the share that is kept: `("starmap", "", 1.0)` for the tissue as it is."""
    base, _, suffix = name.partition("@")
    kind, _, share = suffix.partition("_")
    if base not in ROLES or (suffix and kind not in LEVELS):
        msg = f"no tissue {name!r}; there are {', '.join([*ROLES, *GROUPS])}, and suffixes as in starmap@genes_0.7."
        raise SystemExit(msg)
    return base, kind, float(share or 1)


def load(name: str, seed: int) -> AnnData:
    """Return a tissue with log-normalised expression and its spatial graphs; `seed` draws what a suffix takes away."""
    import scanpy as sc

    base, kind, share = parts(name)
    adata = _read(base)
    if kind:
        adata = _degrade(adata, kind, share, np.random.default_rng([seed, sorted(LEVELS).index(kind)]))
        sc.pp.filter_cells(adata, min_counts=1)
    sc.pp.filter_genes(adata, min_counts=1)
    if base in SEVERAL:
        prepare_slices(adata)
        return adata
    sp.pp.prepare(adata)
    mark_for_spacross(adata)
    sp.pp.spatial_neighbors_knn(adata, n_neighs=6)
    return adata


def domain_annotations(name: str, adata: AnnData) -> list[str]:
    """Columns with known domains, to find and to score."""
    return [] if parts(name)[0] == "seqfish" else [key for key in ("domain", "domain_banksy") if key in adata.obs]


def separation_annotations(name: str, adata: AnnData) -> list[str]:
    """Columns whose categories should lie apart in the embedding (and slices together)."""
    if parts(name)[0] == "seqfish":
        return ["cell_type"]
    return ["domain"] if is_several(name) else []


def thin_domains(name: str, adata: AnnData) -> tuple[str, ...]:
    """Domains that smoothing loses first: layers 2 and 4 of cortex, the thinnest of simulated layers."""
    base = parts(name)[0]
    if base.startswith("sim_layers"):
        return (adata.obs["domain"].value_counts().idxmin(),)
    return next((thin for prefix, thin in THIN.items() if base.startswith(prefix)), ())


def is_several(name: str) -> bool:
    """Whether the tissue is a stack of slices."""
    return parts(name)[0] in SEVERAL


def _read(base: str) -> AnnData:
    if base in SIMULATED:
        _, layout, geometry, *_ = base.split("_")
        return sp.datasets.simulate_tissue(layout=layout, geometry=geometry, random_state=1, **SIMULATED[base])
    if base == "starmap":
        return sp.datasets.starmap()
    if base == "dlpfc_donor3":
        return sp.datasets.dlpfc(["151673", "151674", "151675", "151676"])
    if base.startswith("dlpfc_"):
        return sp.datasets.dlpfc(base.removeprefix("dlpfc_"))
    return _seqfish()


def _seqfish() -> AnnData:
    """One slice of the first of three mouse embryos; it has cell types, and no domains."""
    from anndata import read_h5ad

    file = Path(os.environ.get("SPOTSCAPE_DATA", "")) / "seqfish_mouse_embryo.h5ad"
    if not file.is_file():
        msg = "seqfish_mouse_embryo.h5ad is not in the folder that SPOTSCAPE_DATA names, and is not downloaded"
        raise FileNotFoundError(msg)
    adata = read_h5ad(file)
    return adata[adata.obs["slice"] == "embryo1_z0"].copy()


def _degrade(adata: AnnData, kind: str, share: float, rng: np.random.Generator) -> AnnData:
    if kind == "counts":
        counts = sparse.csr_matrix(adata.X, dtype=np.float32, copy=True)
        counts.data = rng.binomial(counts.data.astype(np.int64), share).astype(np.float32)
        counts.eliminate_zeros()
        adata.X = counts
        return adata
    number = adata.n_vars if kind == "genes" else adata.n_obs
    kept = np.sort(rng.permutation(number)[: round(share * number)])
    return adata[:, kept].copy() if kind == "genes" else adata[kept].copy()
