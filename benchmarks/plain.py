"""Smoothed PCA as the field does it: the floor that everything is measured against."""

from __future__ import annotations

from typing import Any

# Arguments of `sp.tl.smoothed_pca` under which it is an ordinary PCA of logarithms, averaged over neighbours.
PLAIN: dict[str, Any] = {
    "n_comps": 30,
    "spatial_components": False,
    "linear_scale": False,
    "dispersion": None,
    "clip": None,
    "n_axes": None,
    "whitening": 0.0,
}
