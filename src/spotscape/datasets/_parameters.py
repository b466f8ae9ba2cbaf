"""The arguments of a simulated tissue, checked once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spotscape._core.validation import require_positive_int
from spotscape.datasets._regions import domain_names

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from spotscape._core.randomness import Seed

_MIN_SPOTS_PER_DOMAIN = 10


@dataclass(frozen=True)
class Parameters:
    """What the user asked for; see :func:`spotscape.datasets.simulate_tissue`."""

    n_domains: int
    n_slices: int
    n_spots: int | Sequence[int]
    n_genes: int
    geometry: str
    layout: str
    difficulty: float
    library_size: float
    dropout: float
    batch_effect: float
    rotation: float | Sequence[float]
    shift: float | Sequence[Sequence[float]]
    flip: Collection[int]
    tears: int | Sequence[int]
    drift: float
    missing_domains: Mapping[int, Collection[str]]
    private_domains: Collection[int]
    n_heldout_genes: int
    random_state: Seed

    def __post_init__(self) -> None:
        require_positive_int(self.n_genes, "n_genes", minimum=10)
        self._check_sizes()
        self._check_placement()
        self._check_slices_and_domains()

    @property
    def spots_per_slice(self) -> list[int]:
        """``n_spots``, one number for each slice."""
        return _per_slice(self.n_spots, self.n_slices)

    @property
    def tears_per_slice(self) -> list[int]:
        """``tears``, one number for each slice."""
        return _per_slice(self.tears, self.n_slices)

    @property
    def total_genes(self) -> int:
        """Genes to simulate: the measured and the held-out ones."""
        return self.n_genes + self.n_heldout_genes

    def as_record(self) -> dict[str, Any]:
        """The parameters in types that ``uns`` can hold."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "random_state"}
        values["missing_domains"] = {str(key): sorted(names) for key, names in self.missing_domains.items()}
        for name in ("n_spots", "tears", "rotation", "shift", "flip", "private_domains"):
            if not np.isscalar(values[name]):
                values[name] = np.asarray(list(values[name]))
        return values

    def _check_sizes(self) -> None:
        for name, minimum in (("n_spots", self.n_domains * _MIN_SPOTS_PER_DOMAIN), ("tears", 0)):
            value = getattr(self, name)
            if np.ndim(value) > 0:
                self._check_length(name, value)
            for number in _per_slice(value, self.n_slices):
                require_positive_int(number, name, minimum=minimum)

    def _check_placement(self) -> None:
        if np.ndim(self.rotation) > 0:
            self._check_length("rotation", self.rotation)
        if np.ndim(self.shift) > 0:
            self._check_length("shift", self.shift)
            if np.shape(self.shift) != (self.n_slices, 2):
                msg = f"shift has shape {np.shape(self.shift)}; expected a number or one (x, y) for each slice."
                raise ValueError(msg)
        if not np.isfinite(self.shift).all():
            msg = "shift must be finite numbers."
            raise ValueError(msg)

    def _check_length(self, name: str, values: Any) -> None:
        if len(values) != self.n_slices:
            msg = f"{name} has {len(values)} entries for n_slices={self.n_slices}; give one for each slice."
            raise ValueError(msg)

    def _check_slices_and_domains(self) -> None:
        for name in ("flip", "private_domains", "missing_domains"):
            unknown = sorted(set(getattr(self, name)) - set(range(self.n_slices)), key=str)
            if unknown:
                msg = (
                    f"{name} names slices {unknown}; with n_slices={self.n_slices} there are 0 to {self.n_slices - 1}."
                )
                raise ValueError(msg)
        names, _ = domain_names(self.layout, self.n_domains)
        for index, missing in self.missing_domains.items():
            unknown = sorted({missing} if isinstance(missing, str) else set(missing) - set(names))
            if unknown or set(missing) == set(names):
                msg = f"missing_domains[{index}]={missing!r} must be a list of some, but not all, of {names}."
                raise ValueError(msg)


def _per_slice(value: int | Sequence[int], n_slices: int) -> list[int]:
    return list(value) if isinstance(value, Iterable) else [value] * n_slices
