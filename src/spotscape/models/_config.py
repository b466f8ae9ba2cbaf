"""The configuration fields that all methods have, with their checks and their documentation."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar

from spotscape._core.arguments import check_fields
from spotscape._core.validation import require_choice
from spotscape.nn.trainer import Schedule  # noqa: TC001 - its choices are read

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

K = TypeVar("K", bound=type)

FIELDS = """\
n_encoders
    Number of encoders that are trained side by side from different random weights. Distances between spots are averaged
    over them. More encoders make domains depend less on the seed and take longer to train. The paper trains one.
n_axes, whitening
    The embeddings of all encoders are rotated onto their leading axes, and each axis is divided by its standard
    deviation to the power ``whitening``. Otherwise a few axes would dominate k-means, and the last axes are noise.
    ``n_axes=None`` keeps ``latent_size`` axes; together with a ``whitening`` of 0, the embedding of a single encoder
    stays as it is, as in the paper.
n_comps
    Number of principal components of the scaled genes through which the encoder sees expression. This removes noise and
    makes a step much faster. ``None`` takes the input as it is; the next four fields then have no effect.
spatial_components
    Whether components are the directions in which means over neighbours differ most, instead of those in which single
    spots do. Most differences between single spots are noise, which neighbours do not share.
linear_scale
    Whether the log transform is undone before genes are scaled, so that counts are averaged over neighbours. The paper
    keeps the log transform.
dispersion
    Weight of genes that vary beyond counting noise. 0 gives all genes the same variance, and 1 is close to Pearson
    residuals. ``None`` does not scale genes (:class:`spotscape.nn.PrincipalComponents`).
clip
    Values are clipped at this many standard deviations above the mean of their gene, so that a few spots do not
    dominate a component. ``None``, as in the paper, does not clip.
integrate
    Whether offsets of several slices are subtracted (:func:`spotscape.nn.integrate`), from the components before
    training and from the embedding after it. The paper has no such step.
max_epochs, lr, schedule, weight_decay, max_grad_norm, patience, min_delta, precision
    Training; see :class:`spotscape.nn.TrainingPlan`."""


MODEL = """\
Parameters
----------
config
    Hyper-parameters; ``None`` takes the defaults.
random_state
    Seed of all random numbers; the same seed gives the same result on the same CPU.

Attributes
----------
network
    The trained encoders with their decoders, a :class:`torch.nn.Module`; ``None`` before :meth:`fit`.
history
    Losses and learning rate, one float64 array per name, one value per epoch: the mean over encoders.
training, reference
    What new slices need: :class:`TrainingRecord` and :class:`Reference`. Set by the function on AnnData that
    returns the model; ``None`` after :meth:`fit`."""


def shares(passage: str) -> Callable[[K], K]:
    """Put what all methods have in common where the docstring of a class has ``{shared}``."""

    def filled(kind: K) -> K:
        kind.__doc__ = inspect.cleandoc(kind.__doc__ or "").replace("{shared}", passage)
        return kind

    return filled


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
    n_comps: int | None = 30
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

        It has fewer encoders. If seeds disagree, use :func:`spotscape.tl.consensus_domains`.
        """
        return cls(**{**cls.LARGE, **changes})

    @classmethod
    def _choose(cls, preset: str, *, several_slices: bool, large_tissue: bool) -> Self:
        default = cls.several_slices() if several_slices else cls.large_tissue() if large_tissue else cls()
        presets = {"default": default, **cls.presets(several_slices=several_slices)}
        return presets[require_choice(preset, "preset", presets)]

    @classmethod
    def presets(cls, *, several_slices: bool = False) -> dict[str, Self]:
        """The presets beside the default, by name."""
        del several_slices
        return {}
