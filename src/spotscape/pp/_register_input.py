"""What registration reads from an AnnData, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spotscape._core.coordinates import coordinates
from spotscape._core.groups import as_groups
from spotscape._core.logging import logger
from spotscape._core.provenance import joint_embedding
from spotscape._core.reading import read_embedding
from spotscape._core.validation import require_data, require_key, slice_labels, slices_in_order
from spotscape.nn.registration import guiding_features, one_hot, unit_ratios

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

# Three points determine an outline, and the spots of any slice worth registering are many more.
_FEWEST_SPOTS = 3


@dataclass(frozen=True)
class Slices:
    """Coordinates of every slice, in the order of the tissue, and the rows of the AnnData that they come from."""

    names: tuple[str, ...]
    rows: tuple[np.ndarray, ...]
    coords: tuple[np.ndarray, ...]
    n_obs: int

    @classmethod
    def read(cls, adata: AnnData, *, library_key: str, spatial_key: str, library_order: Sequence[str] | None) -> Slices:
        """Read and check coordinates and slices."""
        require_data(adata, genes=False)
        coords = coordinates(adata, spatial_key)[:, :2]
        labels = slice_labels(adata, library_key)
        if labels is None:
            msg = "library_key is None; name the column of adata.obs with the slice of each spot."
            raise ValueError(msg)
        found = [str(name) for name in labels.categories]
        names = slices_in_order(found, library_order, library_key)
        rows = tuple(np.flatnonzero(labels.codes == found.index(name)) for name in names)
        slices = cls(tuple(names), rows, tuple(coords[index] for index in rows), adata.n_obs)
        slices._require_shapes(library_key)
        return slices

    def position(self, reference: str | None) -> int:
        """Where the reference stands in the order."""
        if reference is None:
            return 0
        if str(reference) not in self.names:
            msg = f"reference={reference!r} is not a slice; there are {list(self.names)}."
            raise ValueError(msg)
        return self.names.index(str(reference))

    def require_one_unit(self) -> None:
        """Refuse slices whose spacing and extent are both larger than the first slice's by the same factor."""
        ratios = unit_ratios(self.coords)
        other = np.flatnonzero(ratios != 1)
        if len(other):
            index = int(other[0])
            msg = (
                f"the coordinates of slice {self.names[index]!r} seem to be in another unit than those of "
                f"{self.names[0]!r}: spot spacing and extent are both {ratios[index]:.3g} times as large. Divide them "
                f"by that number, convert all slices to micrometres, or call register_slices(..., scale=True)."
            )
            raise ValueError(msg)

    def _require_shapes(self, library_key: str) -> None:
        if len(self.names) < 2:
            msg = f"adata.obs[{library_key!r}] has one slice, {self.names[0]!r}; registration needs at least two."
            raise ValueError(msg)
        for name, coords in zip(self.names, self.coords, strict=True):
            positions = np.unique(coords, axis=0)
            if len(positions) < _FEWEST_SPOTS:
                msg = (
                    f"slice {name!r} has spots at {len(positions)} position(s); registration needs at least "
                    f"{_FEWEST_SPOTS}. Remove the slice: adata[adata.obs[{library_key!r}] != {name!r}]."
                )
                raise ValueError(msg)
            if np.linalg.matrix_rank(positions - positions.mean(axis=0), tol=1e-9 * np.ptp(positions)) < 2:
                msg = f"the spots of slice {name!r} lie on one line, which has no outline to register by."
                raise ValueError(msg)


def read_features(
    adata: AnnData, slices: Slices, *, use_rep: str | None, labels_key: str | None
) -> tuple[str | None, list[np.ndarray] | None]:
    """The representation that guides, and features slice by slice; ``None`` if there is nothing to guide."""
    if use_rep == "auto":
        use_rep = joint_embedding(adata) if labels_key is None else None
        if use_rep is not None:
            logger.info("Guided by `adata.obsm['%s']`; use_rep=None registers by the outlines alone.", use_rep)
    if use_rep is not None and labels_key is not None:
        msg = f"use_rep={use_rep!r} and labels_key={labels_key!r} exclude each other; give one of them."
        raise ValueError(msg)
    if use_rep is not None:
        hint = "use_rep names a representation common to all slices"
        values = read_embedding(adata, use_rep, hint=hint).astype(np.float64)
    elif labels_key is not None:
        require_key(adata.obs, labels_key, "adata.obs", hint="labels_key names labels that mean the same in all slices")
        labels = as_groups(adata.obs[labels_key], f"labels_key={labels_key!r}")
        values = one_hot(np.asarray(labels.codes), len(labels.categories))
    else:
        return None, None
    if not (values.std(axis=0) > 0).any():
        source = f"adata.obsm[{use_rep!r}]" if use_rep is not None else f"adata.obs[{labels_key!r}]"
        msg = f"{source} is the same for all spots, so that it cannot guide a registration."
        raise ValueError(msg)
    return use_rep, guiding_features([values[index] for index in slices.rows])
