"""The picture of the README: ``python benchmarks/readme_picture.py`` runs its lines on a real slice."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import spotscape as sp

PICTURE = Path(__file__).parents[1] / "docs" / "_static" / "cortex.png"


def main() -> None:
    """Find seven domains in human cortex, print how well they agree with the layers, and draw both."""
    adata = sp.datasets.dlpfc("151673")
    sp.pp.prepare(adata)
    sp.pp.spatial_neighbors_knn(adata)
    sp.tl.spotscape(adata)
    sp.tl.domains(adata, n_domains=7)
    print(f"ARI {sp.metrics.ari(adata.obs['domain'], adata.obs['spotscape_domain']):.2f}")
    sp.pl.match_colors(adata, "spotscape_domain", to="domain")
    figure = sp.pl.domains(
        adata,
        ["domain", "spotscape_domain"],
        title=["Layers drawn by an anatomist", "Domains found by Spotscape"],
        show=False,
        return_fig=True,
    )
    figure.savefig(PICTURE, dpi=110, bbox_inches="tight")


if __name__ == "__main__":
    main()
