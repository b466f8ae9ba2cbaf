"""One method on one tissue, in a process of its own: what `peers.py` starts, with the interpreter of the package.

    python benchmarks/peer_methods.py METHOD TISSUE.h5ad ANSWER --seed 0 --threads 1 --domains 7

The tissue has raw counts and coordinates, and no annotation. Timed is all from the counts in memory to the embedding:
what the method's own documentation says of normalising, choosing genes and building a graph, then the method.
Libraries, those too that a package would import at first need, are imported before.
Beside ANSWER are left ANSWER.npz (the embedding, and the labels of the package's own clusterer if it has one) and
ANSWER.json (seconds, memory, versions). Nothing of Spotscape is imported for another package.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import sys
import time
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from anndata import AnnData

_UNIT = 1 if sys.platform == "darwin" else 1024
KEY = "X_measured"


@dataclass(frozen=True)
class Method:
    """A way to embed a tissue, the package's own clusterer, and the packages whose versions matter."""

    embed: Callable[[AnnData, int], Any]
    cluster: Callable[[Any, int, int], np.ndarray] | None
    imports: tuple[str, ...]
    packages: tuple[str, ...]


def smoothed_pca(adata: AnnData, seed: int) -> AnnData:
    """The linear baseline of this package."""
    return _ours(adata, "smoothed_pca", seed)


def spotscape(adata: AnnData, seed: int) -> AnnData:
    """Spotscape with its defaults."""
    return _ours(adata, "spotscape", seed)


def spacross(adata: AnnData, seed: int) -> AnnData:
    """SpaCross with its defaults."""
    return _ours(adata, "spacross", seed)


def _ours(adata: AnnData, name: str, seed: int) -> AnnData:
    import spotscape as sp

    sp.settings.progress_bar = False
    library = "slice" if adata.uns["several"] else None
    seeded = {} if name == "smoothed_pca" else {"random_state": seed}
    sp.pp.prepare(adata, library_key=library)
    sp.pp.spatial_neighbors_knn(adata, library_key=library)
    getattr(sp.tl, name)(adata, library_key=library, key_added=KEY, **seeded)
    return adata


def nichepca(adata: AnnData, seed: int) -> AnnData:
    """NichePCA with the 25 neighbours of its documentation, which several slices correct by Harmony."""
    import nichepca as npc

    _seed_globally(seed)
    npc.wf.nichepca(adata, knn=25, sample_key="slice" if adata.uns["several"] else None)
    adata.obsm[KEY] = adata.obsm["X_npca"]
    return adata


def stagate(adata: AnnData, seed: int) -> AnnData:
    """STAGATE as in its tutorials: 3,000 genes, about six neighbours; slices lie apart, so that none are joined."""
    import STAGATE_pyG as stagate_pyg

    _normalise(adata)
    stagate_pyg.Cal_Spatial_Net(adata, k_cutoff=6, model="KNN", verbose=False)
    stagate_pyg.train_STAGATE(adata, random_seed=seed, verbose=False, device="cpu")
    adata.obsm[KEY] = adata.obsm["STAGATE"]
    return adata


def graphst(adata: AnnData, seed: int) -> AnnData:
    """GraphST with its defaults; what it embeds is the reconstruction, of which its clusterer takes 20 components."""
    import torch
    from GraphST.GraphST import GraphST
    from sklearn.decomposition import PCA

    if adata.n_vars <= 3000:
        _normalise(adata)
    found = GraphST(adata, device=torch.device("cpu"), random_seed=seed).train()
    adata.obsm[KEY] = PCA(n_components=20, random_state=42).fit_transform(found.obsm["emb"])
    return adata


def domino(adata: AnnData, seed: int) -> AnnData:
    """DOMINO with its defaults; like GraphST it embeds the reconstruction, of which 20 components are clustered."""
    import torch
    from domino_spatial import DOMINO
    from sklearn.decomposition import PCA

    _seed_globally(seed)
    found = DOMINO.DOMINO(adata, device=torch.device("cpu")).train()
    adata.obsm[KEY] = PCA(n_components=20, random_state=42).fit_transform(found.obsm["emb"])
    return adata


def cosmim(adata: AnnData, seed: int) -> AnnData:
    """CoSMIM with the settings of its paper, but no cell is left out; 30 components of its feature, as it clusters."""
    import cosmim as package
    from sklearn.decomposition import PCA

    _seed_globally(seed)
    _, chosen = package.spatial_preprocess_pipeline(adata.copy(), min_counts=0)
    features, _ = package.compute_cosmim(chosen, n_jobs=1)
    adata.obsm["cosmim"] = features
    adata.obsm[KEY] = PCA(n_components=30, random_state=seed).fit_transform(features)
    return adata


def cosmim_cluster(adata: AnnData, n_domains: int, seed: int) -> np.ndarray:
    """CoSMIM's Leiden, with its own search for the resolution."""
    import cosmim as package
    import numpy as np

    labels = package.run_leiden_partition(adata.obsm["cosmim"], max_labels=n_domains, random_state=1234 + seed)
    return np.unique(np.asarray(labels), return_inverse=True)[1]


def spatialleiden(adata: AnnData, seed: int) -> AnnData:
    """The components and the two graphs of SpatialLeiden's tutorials; the components are its embedding."""
    import scanpy as sc
    import squidpy as sq
    from spatialleiden import distance2connectivity

    _normalise(adata)
    sc.pp.pca(adata, n_comps=min(30, adata.n_vars - 1), random_state=seed)
    sc.pp.neighbors(adata, random_state=seed)
    if adata.uns["visium"]:
        sq.gr.spatial_neighbors(adata, coord_type="grid", n_neighs=6)
    else:
        sq.gr.spatial_neighbors(adata, coord_type="generic", n_neighs=10)
        adata.obsp["spatial_connectivities"] = distance2connectivity(adata.obsp["spatial_distances"])
    adata.obsm[KEY] = adata.obsm["X_pca"]
    return adata


def spatialleiden_cluster(adata: AnnData, n_domains: int, seed: int) -> np.ndarray:
    """Leiden on both graphs, with its own search for the two resolutions."""
    import numpy as np
    from spatialleiden import search_resolution
    from spatialleiden import spatialleiden as cluster

    ratio = {"layer_ratio": 1.8, "directed": (False, True), "random_state": seed}
    found = search_resolution(adata, n_domains, latent_kwargs={"random_state": seed}, spatial_kwargs={**ratio})
    cluster(adata, resolution=found, **ratio)
    return np.unique(adata.obs["spatialleiden"].to_numpy(), return_inverse=True)[1]


def cellcharter_pca(adata: AnnData, seed: int) -> AnnData:
    """CellCharter on principal components, as many as scVI has latent variables.

    Of scaled and unscaled genes, 10 and 50 components, unscaled and 10 agreed best with the annotations of both real
    tissues, so this choice is in CellCharter's favour.
    """
    import scanpy as sc

    _mark_variable(adata, 5000)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    sc.pp.pca(adata, n_comps=10, mask_var="highly_variable", random_state=seed)
    adata.obsm["X_input"] = adata.obsm["X_pca"]
    return _aggregate(adata)


def cellcharter_scvi(adata: AnnData, seed: int) -> AnnData:
    """CellCharter on the latent space of scVI, as in its tutorials of transcriptomics: counts, early stopping."""
    import scvi

    scvi.settings.seed = seed
    _mark_variable(adata, 5000)
    chosen = adata[:, adata.var["highly_variable"]].copy()
    scvi.model.SCVI.setup_anndata(chosen)
    model = scvi.model.SCVI(chosen)
    model.train(early_stopping=True, enable_progress_bar=False, accelerator="cpu")
    adata.obsm["X_input"] = model.get_latent_representation(chosen).astype("float32")
    return _aggregate(adata)


def _aggregate(adata: AnnData) -> AnnData:
    """Cell and three layers of neighbours: the grid of Visium, else triangulated and cut as in its documentation."""
    import cellcharter as cc
    import squidpy as sq

    if adata.uns["visium"]:
        sq.gr.spatial_neighbors(adata, coord_type="grid", n_neighs=6)
    else:
        sq.gr.spatial_neighbors(adata, coord_type="generic", delaunay=True)
        cc.gr.remove_long_links(adata)
    cc.gr.aggregate_neighbors(adata, n_layers=3, use_rep="X_input", out_key=KEY)
    return adata


def cellcharter_cluster(adata: AnnData, n_domains: int, seed: int) -> np.ndarray:
    """CellCharter's Gaussian mixture."""
    import cellcharter as cc
    import numpy as np

    _seed_globally(seed)
    model = cc.tl.Cluster(n_clusters=n_domains, random_state=seed)
    model.fit(adata, use_rep=KEY)
    return np.asarray(model.predict(adata, use_rep=KEY)).astype(int)


def banksy(adata: AnnData, seed: int) -> dict[Any, Any]:
    """BANKSY for domains: its Visium vignette on Visium, else the settings of its STARmap notebook."""
    import scanpy as sc
    from banksy.embed_banksy import generate_banksy_matrix
    from banksy.initialize_banksy import initialize_banksy
    from banksy_utils.umap_pca import pca_umap

    _seed_globally(seed)
    visium = bool(adata.uns["visium"])
    neighbours, share, gradient = (6, 0.2, 0) if visium else (15, 0.8, 1)
    _mark_variable(adata, 2000)
    sc.pp.normalize_total(adata, target_sum=5000 if visium else None)
    chosen = adata[:, adata.var["highly_variable"]].copy()
    chosen.X = chosen.X.toarray()
    plots = dict.fromkeys(("plt_edge_hist", "plt_nbr_weights", "plt_agf_angles", "plt_theta"), False)
    found = initialize_banksy(chosen, ("x", "y", "spatial"), neighbours, "scaled_gaussian", gradient, **plots)
    found, _ = generate_banksy_matrix(chosen, found, [share], gradient, verbose=False)
    pca_umap(found, pca_dims=[20], plt_remaining_var=False)
    adata.obsm[KEY] = found["scaled_gaussian"][share]["adata"].obsm["reduced_pc_20"]
    adata.uns["banksy"] = found
    return adata


def banksy_cluster(adata: AnnData, n_domains: int, seed: int) -> np.ndarray:
    """BANKSY's Leiden, with its own search for the resolution that gives a number of clusters."""
    import numpy as np
    from banksy.cluster_methods import run_Leiden_partition

    found, _ = run_Leiden_partition(
        adata.uns["banksy"], [], num_nn=50, partition_seed=1234 + seed, match_labels=False, max_labels=n_domains
    )
    return np.asarray(found["labels"].iloc[0].dense)


def _mark_variable(adata: AnnData, number: int) -> None:
    """Genes that vary most by their counts, or all of a panel that is no larger."""
    import scanpy as sc

    adata.var["highly_variable"] = True
    if adata.n_vars > number:
        sc.pp.highly_variable_genes(adata, n_top_genes=number, flavor="seurat_v3")


def _normalise(adata: AnnData) -> None:
    """3,000 variable genes, logarithms of counts scaled to 10,000."""
    import scanpy as sc

    _mark_variable(adata, 3000)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)


def _seed_globally(seed: int) -> None:
    """For packages that draw from the global generators."""
    import numpy as np
    import torch

    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)


_OURS = (("scanpy", "squidpy", "spotscape.models", "spotscape.tl"), ("spotscape",))
_CELLCHARTER = ("scanpy", "squidpy", "cellcharter")
METHODS = {
    "nichepca": Method(nichepca, None, ("scanpy", "nichepca"), ("nichepca",)),
    "stagate": Method(stagate, None, ("scanpy", "STAGATE_pyG"), ("stagate-modern",)),
    "graphst": Method(graphst, None, ("scanpy", "GraphST.GraphST"), ("graphst-modern",)),
    "domino": Method(domino, None, ("scanpy", "domino_spatial.DOMINO"), ("domino-spatial",)),
    "cosmim": Method(cosmim, cosmim_cluster, ("scanpy", "cosmim"), ("cosmim",)),
    "spatialleiden": Method(
        spatialleiden, spatialleiden_cluster, ("scanpy", "squidpy", "spatialleiden"), ("spatialleiden",)
    ),
    "smoothed_pca": Method(smoothed_pca, None, *_OURS),
    "spotscape": Method(spotscape, None, *_OURS),
    "spacross": Method(spacross, None, *_OURS),
    "cellcharter_pca": Method(cellcharter_pca, cellcharter_cluster, _CELLCHARTER, ("cellcharter", "scanpy")),
    "cellcharter_scvi": Method(
        cellcharter_scvi, cellcharter_cluster, (*_CELLCHARTER, "scvi"), ("cellcharter", "scvi-tools")
    ),
    "banksy": Method(
        banksy,
        banksy_cluster,
        ("scanpy", "banksy.initialize_banksy", "banksy.embed_banksy", "banksy.cluster_methods", "umap"),
        ("pybanksy", "leidenalg"),
    ),
}


def measure(name: str, tissue: Path, answer: Path, *, seed: int, threads: int, domains: list[int]) -> None:
    """Embed and cluster, and leave what was found."""
    import importlib

    import anndata
    import numpy as np
    import torch

    method = METHODS[name]
    torch.set_num_threads(threads)
    for module in method.imports:
        importlib.import_module(module)
    adata = anndata.read_h5ad(tissue)
    before, wall, cpu = _peak(), time.perf_counter(), time.process_time()
    adata = method.embed(adata, seed)
    found = {
        "seconds": round(time.perf_counter() - wall, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "gb_before": round(before, 3),
        "gb_peak": round(_peak(), 3),
        "cluster_seconds": {},
        "packages": " ".join(f"{package}={version(package)}" for package in method.packages),
    }
    arrays = {"embedding": np.asarray(adata.obsm[KEY], dtype=np.float32)}
    for n_domains in domains if method.cluster else ():
        started = time.perf_counter()
        arrays[f"own_{n_domains}"] = method.cluster(adata, n_domains, seed)
        found["cluster_seconds"][n_domains] = round(time.perf_counter() - started, 2)
    np.savez(answer.with_suffix(".npz"), **arrays)
    answer.with_suffix(".json").write_text(json.dumps(found))


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT / 1e9


def main() -> None:
    """Measure one method; other packages' own reports are not shown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", choices=METHODS)
    parser.add_argument("tissue", type=Path)
    parser.add_argument("answer", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--domains", type=int, nargs="+", default=[])
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    options = {"seed": given.seed, "threads": given.threads, "domains": given.domains}
    with Path(os.devnull).open("w") as nothing, contextlib.redirect_stdout(nothing):
        measure(given.method, given.tissue, given.answer, **options)


if __name__ == "__main__":
    main()
