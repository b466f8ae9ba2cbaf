"""What the configurations of all methods have in common: their fields, the checks of these, and how they are told."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar

from spotscape._core.arguments import check_fields
from spotscape._core.validation import require_choice
from spotscape.nn.trainer import Schedule  # noqa: TC001 - its choices are read

if TYPE_CHECKING:
    from collections.abc import Mapping

K = TypeVar("K", bound="type[EncoderConfig]")

_SHARED = """\
n_encoders
    Encoders trained side by side from different random weights. Distances between spots are averaged over them and the
    result is rotated onto its leading axes. Domains turn less on the seed, and training takes nearly as many times as
    long; the paper trains one.
n_axes, whitening
    The embeddings of all encoders are rotated onto their leading axes, and each axis is divided by its standard
    deviation to the power ``whitening``. Most of the variance lies in few axes, so without it k-means sees little
    else, and further axes are noise that a mixture takes as seriously as the others. ``n_axes=None`` keeps
    ``latent_size`` axes; with a ``whitening`` of 0 beside it, the embedding of a single encoder stays as it is, as
    in the paper.
n_components
    The encoder sees expression through this many principal components of its scaled genes. It denoises, and makes a
    step many times cheaper. ``None`` takes the input as it is; the four fields below say nothing then.
spatial_components
    Whether components are the directions in which means over neighbours differ most, rather than single spots:
    most of the difference between spots is noise, which is not shared by neighbours.
linear_scale
    Whether logarithms are undone before the genes are scaled. What is averaged over neighbours are counts then, not
    their logarithms. The paper takes logarithms.
dispersion
    How much more than others a gene counts that varies beyond counting noise: 0 gives all genes the same variance,
    1 is what Pearson residuals do, and with ``None`` genes are not scaled and count by their variance
    (:class:`spotscape.nn.PrincipalComponents`).
clip
    Values this many standard deviations above the mean of their gene are cut off there; on the linear scale a few
    spots would otherwise rule a component. ``None``, as in the paper, leaves them.
integrate
    Whether slice-specific offsets are taken off the embedding of several slices after training
    (:func:`spotscape.nn.integrate`). The paper has no such step.
max_epochs, lr, schedule, weight_decay, max_grad_norm, patience, min_delta, precision
    Training; see :class:`spotscape.nn.TrainingPlan`."""


def tells_shared_fields(kind: K) -> K:
    """Put the text on the shared fields where the docstring of a configuration says ``{shared}``."""
    text = inspect.cleandoc(kind.__doc__ or "")
    kind.__doc__ = text.replace("{shared}", _SHARED)
    return kind


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """The fields that all methods have; see the configuration of each."""

    SEVERAL: ClassVar[Mapping[str, Any]] = {}
    """What is different for several slices."""
    LARGE: ClassVar[Mapping[str, Any]] = {"n_encoders": 1}
    """What is different for a slice of more than 10,000 spots."""

    hidden_size: int = 64
    latent_size: int = 32
    n_encoders: int = 4
    n_components: int | None = 30
    linear_scale: bool = True
    spatial_components: bool = True
    dispersion: float | None = 0.5
    clip: float | None = 5.0
    n_axes: int | None = 12
    whitening: float = 0.25
    reconstruction_weight: float = 1.0
    integrate: bool = True
    max_epochs: int = 100
    lr: float = 1e-3
    schedule: Schedule = "one_cycle"
    weight_decay: float = 1e-3
    max_grad_norm: float | None = None
    patience: int | None = None
    min_delta: float = 1e-3
    precision: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        check_fields(self)

    @classmethod
    def several_slices(cls, **changes: Any) -> Self:
        """The defaults for several slices, with changes."""
        return cls(**{**cls.SEVERAL, **changes})

    @classmethod
    def large_tissue(cls, **changes: Any) -> Self:
        """The defaults for a slice of more than 10,000 spots, with changes.

        It has one encoder. Where seeds disagree, :func:`spotscape.tl.consensus_domains` steadies.
        """
        return cls(**{**cls.LARGE, **changes})

    @classmethod
    def _choose(cls, preset: str, *, several_slices: bool, large_tissue: bool) -> Self:
        presets = cls.presets(several_slices=several_slices)
        require_choice(preset, "preset", ("default", *presets))
        if preset != "default":
            return presets[preset]
        if several_slices:
            return cls.several_slices()
        return cls.large_tissue() if large_tissue else cls()

    @classmethod
    def presets(cls, *, several_slices: bool = False) -> dict[str, Self]:
        """The presets beside the default, by name."""
        del several_slices
        return {}
