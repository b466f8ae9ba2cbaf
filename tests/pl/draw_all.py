"""A script, as a user would write one, that saves every plot: ``python tests/pl/draw_all.py FOLDER``.

With ``--thumbnails`` it also renews the small pictures in ``tests/pl/pictures`` that tests compare with.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np

import spotscape as sp

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData

PICTURES = Path(__file__).parent / "pictures"
# Wide enough to see what is where, too coarse for letters.
WIDTH = 64


def tissue() -> AnnData:
    """Two slices of five domains with everything that plots show."""
    adata = sp.datasets.simulate_tissue(
        n_slices=2, n_spots=400, n_domains=5, n_genes=60, layout="layers", rotation=[0, 40], random_state=3
    )
    # As if the second slice had been stretched when it was mounted.
    stretched = (adata.obs["slice"] == "slice_2").to_numpy()
    adata.obsm["spatial"][stretched, 0] += 250 * np.sin(adata.obsm["spatial"][stretched, 1] / 500)
    sp.pp.prepare(adata, n_top_genes=None, library_key="slice")
    sp.pp.spatial_neighbors_knn(adata, n_neighs=6, library_key="slice")
    sp.pp.choose_scale(adata, library_key="slice")
    sp.tl.smoothed_pca(adata, n_comps=10, library_key="slice")
    sp.tl.choose_n_domains(adata, use_rep="X_smoothed_pca", k_range=(2, 6), n_resamples=2, method="kmeans")
    sp.tl.domains(adata, n_domains=5, use_rep="X_smoothed_pca", method="gmm")
    sp.pl.match_colors(adata, "smoothed_pca_domain", to="domain")
    sp.pp.register_slices(adata, library_key="slice", use_rep="X_smoothed_pca", deform="smooth")
    sp.tl.match_slices(
        adata, library_key="slice", reference="slice_1", use_rep="X_smoothed_pca", labels_key="domain"
    )  # fmt: skip
    sp.tl.markers(adata, key="domain", method="t-test", neighbors_key=None)
    sp.tl.trajectory(adata, root="Layer_1", key="domain", use_rep="X_smoothed_pca", n_dcs=4)
    config = sp.models.SpotscapeConfig(
        max_epochs=5, n_encoders=1, n_comps=10, hidden_size=8, latent_size=4, integrate=False
    )
    sp.tl.spotscape(adata, config=config)
    return adata


def plots(adata: AnnData) -> dict[str, Callable[[], object]]:
    """Every plot, under the name of its picture."""
    plane = adata.obsm["X_smoothed_pca"][:, :2]
    adata.obsm["X_plane"] = np.asarray(plane, dtype=np.float64)
    found, gene = "smoothed_pca_domain", adata.var_names[0]
    return {
        "domains": lambda: sp.pl.domains(adata, ["domain", found]),
        "genes": lambda: sp.pl.domains(adata, [gene, adata.var_names[1]], cmap="magma"),
        "similarity": lambda: sp.pl.similarity(adata, 10, use_rep="X_smoothed_pca"),
        "embedding": lambda: sp.pl.embedding(adata, ["domain", "slice"], basis="X_plane"),
        "markers": lambda: sp.pl.markers(adata),
        "markers_tissue": lambda: sp.pl.markers(adata, kind="tissue", group=["Layer_1", "Layer_2"]),
        "confidence": lambda: sp.pl.confidence(adata, found),
        "disagreement": lambda: sp.pl.disagreement(adata, ["domain", found]),
        "composition": lambda: sp.pl.composition(adata, "domain", library_key="slice"),
        "crosstab": lambda: sp.pl.crosstab(adata, found, to="domain"),
        "n_domains": lambda: sp.pl.n_domains(adata),
        "scale": lambda: sp.pl.scale(adata),
        "history": lambda: sp.pl.history(adata),
        "registration": lambda: sp.pl.registration(adata, checkerboard="domain"),
        "stack_3d": lambda: sp.pl.stack_3d(adata, "domain"),
        "matching": lambda: sp.pl.matching(adata),
        "trajectory": lambda: sp.pl.trajectory(adata),
    }


def thumbnail(path: Path) -> np.ndarray:
    """The picture as coarse blocks, values between 0 and 1."""
    from PIL import Image

    with Image.open(path) as picture:
        plain = picture.convert("RGB")
        height = round(WIDTH * plain.height / plain.width)
        return np.asarray(plain.resize((WIDTH, height), Image.Resampling.BOX)) / 255


def main(folder: Path) -> None:
    """Save each plot by pyplot, which has the figure that was drawn last."""
    sp.settings.verbosity = "warning"
    adata = tissue()
    for name, draw in plots(adata).items():
        draw()
        plt.savefig(folder / f"{name}.png", dpi=50)
        plt.close("all")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    if "--thumbnails" in sys.argv:
        from PIL import Image

        for drawn in sorted(Path(sys.argv[1]).glob("*.png")):
            small = np.uint8(np.rint(255 * thumbnail(drawn)))
            Image.fromarray(small).save(PICTURES / drawn.name, optimize=True)
