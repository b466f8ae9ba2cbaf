"""From counts to a picture of a tissue with its domains: ``python -m spotscape.demo``.

A tissue is simulated, so that nothing has to be downloaded and the true domains are known; the steps are then those
that a user takes with her own data.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import spotscape as sp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

# What is clustered, the column that the domains found in it are written to, and the clusterer that suits it.
EMBEDDINGS = {"X_spotscape": "spotscape_domain", "X_smoothed_pca": "smoothed_pca_domain"}
CLUSTERERS: dict[str, Literal["auto", "gmm"]] = {"X_spotscape": "auto", "X_smoothed_pca": "gmm"}


def find_domains(adata: AnnData, *, n_domains: int, random_state: int) -> None:
    """Run the package's main job on raw counts: prepare, graph, Spotscape and its baseline, domains of both."""
    sp.pp.prepare(adata)
    sp.pp.spatial_neighbors_knn(adata, n_neighs=6)
    sp.tl.spotscape(adata, random_state=random_state)
    sp.tl.smoothed_pca(adata, random_state=random_state)
    for use_rep, key_added in EMBEDDINGS.items():
        sp.tl.domains(
            adata,
            n_domains=n_domains,
            method=CLUSTERERS[use_rep],
            use_rep=use_rep,
            key_added=key_added,
            random_state=random_state,
        )


def agreement(adata: AnnData, key: str) -> float:
    """Return the adjusted Rand index of the domains in ``adata.obs[key]`` and the true ones."""
    return sp.metrics.ari(adata.obs["domain"], adata.obs[key])


def scores(adata: AnnData) -> str:
    """Return a table of how well the domains agree with the true ones, and how coherent they are in space."""
    lines = [f"{'domains of':<16}{'ARI':>8}{'NMI':>8}{'PAS':>8}"]
    for use_rep, key in EMBEDDINGS.items():
        true, found = adata.obs["domain"], adata.obs[key]
        values = agreement(adata, key), sp.metrics.nmi(true, found), sp.metrics.pas(found, adata.obsm["spatial"])
        lines.append(f"{use_rep:<16}" + "".join(f"{value:8.3f}" for value in values))
    return "\n".join(lines)


def save(adata: AnnData, folder: Path) -> tuple[Path, Path]:
    """Write the picture and the annotated data, and return where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    picture, data = folder / "domains.png", folder / "tissue.h5ad"
    columns = ["domain", *EMBEDDINGS.values()]
    titles = ["true domains", *(f"{key}\nARI {agreement(adata, key):.2f}" for key in EMBEDDINGS.values())]
    sp.pl.match_colors(adata, list(EMBEDDINGS.values()), to="domain")
    figure = sp.pl.domains(adata, columns, title=titles, return_fig=True)
    figure.savefig(picture, dpi=150, bbox_inches="tight")
    adata.write_h5ad(data)
    return picture, data


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, run the demonstration, and say what came out and where it is."""
    parser = argparse.ArgumentParser(
        prog="python -m spotscape.demo", description="Find the domains of a simulated tissue."
    )
    parser.add_argument(
        "--output", type=Path, default=Path("spotscape-demo"), help="folder for results (default: %(default)s)"
    )
    parser.add_argument("--n-domains", type=int, default=6, help="domains in the tissue (default: %(default)s)")
    parser.add_argument("--n-spots", type=int, default=2000, help="spots in the tissue (default: %(default)s)")
    parser.add_argument(
        "--random-state", type=int, default=0, help="seed of tissue and training (default: %(default)s)"
    )
    options = parser.parse_args(arguments)

    adata = sp.datasets.simulate_tissue(
        n_domains=options.n_domains, n_spots=options.n_spots, random_state=options.random_state
    )
    find_domains(adata, n_domains=options.n_domains, random_state=options.random_state)
    picture, data = save(adata, options.output)
    sys.stdout.write(f"\n{scores(adata)}\n\npicture: {picture}\ndata:    {data}\n")


if __name__ == "__main__":
    main()
