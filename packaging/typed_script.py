"""A user's script: what type checkers and editors know about results. mypy checks it strictly, and a test runs it."""

from __future__ import annotations

from typing import Literal, assert_type

from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import spotscape as sp
from spotscape.models import SpaCross, Spotscape

adata = sp.datasets.simulate_tissue(n_spots=200, n_genes=60, n_domains=3, n_slices=2)
assert_type(sp.pp.prepare(adata, library_key="slice", copy=True), AnnData)
sp.pp.prepare(adata, library_key="slice")
sp.pp.spatial_neighbors_knn(adata, library_key="slice", copy=False)
copied = sp.tl.spotscape(adata, library_key="slice", max_epochs=2, copy=True)
assert_type(copied, AnnData)
shape: tuple[int, ...] = copied.obsm["X_spotscape"].shape
model = sp.tl.spotscape(adata, library_key="slice", max_epochs=2, lr=1e-3, n_encoders=1, return_model=True)
assert_type(model, Spotscape)
assert_type(sp.tl.spacross(adata, max_epochs=2, return_model=True), SpaCross)
n_axes: int | None = model.config.n_axes

sp.tl.domains(adata, n_domains=3, use_rep="X_spotscape")
names: list[str] = list(adata.obs["spotscape_domain"].cat.categories)
method: Literal["wilcoxon", "t-test"] = "wilcoxon"
sp.tl.markers(adata, method=method, neighbors_key=None)
genes: list[str] = list(sp.get.markers_df(adata, n_genes=3)["gene"])

figure = sp.pl.domains(adata, ["domain", "spotscape_domain"], return_fig=True)
assert_type(figure, Figure)
figure.set_size_inches(6, 3)
axes = sp.pl.domains(adata, "spotscape_domain", library_key="slice", show=False)
assert_type(axes, Axes | list[Axes])
curve = sp.pl.history(adata, key="spotscape", return_fig=True)
assert_type(curve, Figure)
share: float = sp.metrics.ari(adata, "domain", "spotscape_domain")
same: float = sp.metrics.ari(adata.obs["domain"], adata.obs["spotscape_domain"])
