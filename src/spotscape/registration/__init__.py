"""Registration of slices: rotations and shifts found from the outline of the tissue, its interior, and features."""

from __future__ import annotations

from spotscape.registration._pair import Alignment, align
from spotscape.registration._search import Score
from spotscape.registration._section import about, displacement, grid_points, guiding_features, motion, move, one_hot
from spotscape.registration._smooth import Deformation, fit_deformation
from spotscape.registration._stack import (
    Placement,
    Registration,
    measures,
    n_mutual_pairs,
    nearest_rmse,
    partners_of,
    register,
    unit_ratios,
)

__all__ = [
    "Alignment",
    "Deformation",
    "Placement",
    "Registration",
    "Score",
    "about",
    "align",
    "displacement",
    "fit_deformation",
    "grid_points",
    "guiding_features",
    "measures",
    "motion",
    "move",
    "n_mutual_pairs",
    "nearest_rmse",
    "one_hot",
    "partners_of",
    "register",
    "unit_ratios",
]
