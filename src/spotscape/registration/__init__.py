"""Registration of slices: rigid motions found from the outline of the tissue, its interior, and features."""

from __future__ import annotations

from spotscape.registration._chain import (
    Alignment,
    Placement,
    Registration,
    align,
    measures,
    n_mutual_pairs,
    nearest_rmse,
    partners_of,
    register,
    unit_ratios,
)
from spotscape.registration._search import Score
from spotscape.registration._section import (
    about,
    angle_of,
    displacement,
    fit_rigid,
    grid_points,
    guiding_features,
    mirrors,
    motion,
    move,
    one_hot,
)
from spotscape.registration._smooth import Deformation, fit_deformation

__all__ = [
    "Alignment",
    "Deformation",
    "Placement",
    "Registration",
    "Score",
    "about",
    "align",
    "angle_of",
    "displacement",
    "fit_deformation",
    "fit_rigid",
    "grid_points",
    "guiding_features",
    "measures",
    "mirrors",
    "motion",
    "move",
    "n_mutual_pairs",
    "nearest_rmse",
    "one_hot",
    "partners_of",
    "register",
    "unit_ratios",
]
