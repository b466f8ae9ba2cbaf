"""Hyper-parameters of Spotscape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from spotscape._core.arguments import check_fields, public
from spotscape._core.validation import require_choice
from spotscape.nn.trainer import Schedule, TrainingPlan

SpotscapePreset = Literal["default", "paper"]


@dataclass(frozen=True)
class SpotscapeConfig:
    """Hyper-parameters of :class:`Spotscape`; the defaults are meant to need no tuning.

    Attributes
    ----------
    hidden_size, latent_size
        Widths of the two graph convolutions (256 and 64 in the paper).
    n_encoders
        Encoders trained from different random weights. Distances between spots are averaged over them and the result is
        rotated onto its leading axes. Domains turn less on the seed, and training takes as many times as long; the
        paper trains one.
    latent_relu
        Whether the embedding passes through a ReLU, as in the paper. Without it an embedding uses both halves of each
        axis, no dimension can die, and the decoder loses nothing.
    n_axes, whitening
        The embeddings of all encoders are rotated onto their leading axes, and each axis is divided by its standard
        deviation to the power ``whitening``. Most of the variance lies in few axes, so without it k-means sees little
        else, and further axes are noise that a mixture takes as seriously as the others. ``n_axes=None`` keeps
        ``latent_size`` axes; with a ``whitening`` of 0 beside it, the embedding of a single encoder stays as it is, as
        in the paper.
    n_components
        The encoder sees expression through this many principal components of its scaled genes; genes are still dropped
        one by one, exactly. It denoises, and makes a step many times cheaper. ``None`` takes the expression as it is,
        as the paper does; the four fields below say nothing then.
    spatial_components
        Whether components are the directions in which means over neighbours differ most, rather than single spots:
        most of the difference between spots is noise, which is not shared by neighbours.
    linear_scale
        Whether logarithms are undone before the genes are scaled; values above 20 show that there are none. What is
        averaged over neighbours are counts then, not their logarithms. The paper takes logarithms.
    dispersion
        How much more than others a gene counts that varies beyond counting noise: 0 gives all genes the same variance,
        1 is what Pearson residuals do, and with ``None`` genes are not scaled and count by their variance
        (:class:`spotscape.nn.PrincipalComponents`). In between, both tissues that we chose by are served.
    clip
        Values this many standard deviations above the mean of their gene are cut off there; on the linear scale a few
        spots would otherwise rule a component. ``None``, as in the paper, leaves them.
    edge_drop, feature_drop
        Share of directed edges and of genes left out of each view (0.2 in the paper).
    telescope_weight, reconstruction_weight
        Weights of the two objectives (1 and 0.1 in the paper).
    scaling_weight, scaling_neighbors
        Weight of similarity scaling and the number of best matches it looks at (1 and 5 in the paper). For several
        slices only.
    scaling_spots
        Similarity scaling is averaged over this many spots, drawn in each step evenly from the slices: the expectation
        is that over all spots, at a cost linear in their number. ``None`` takes all spots, as the paper does.
    prototype_weight, prototype_temperature
        Weight and temperature of prototypical contrast (0.01 and 0.75 in the paper). For several slices only.
    n_prototypes
        The smallest of three granularities; the others are 1.5 and 2 times as many. The paper takes the number of
        annotated domains; here it need not be known, and no label is looked at.
    prototype_warmup
        Share of the epochs before prototypical contrast sets in (half in the paper): prototypes of an untrained
        embedding mean nothing.
    integrate
        Whether slice-specific offsets are taken off the embedding of several slices after training
        (:func:`spotscape.nn.integrate`). The paper has no such step.
    max_epochs, lr, schedule, weight_decay
        Training. The paper runs 1,000 epochs at a constant rate that is retuned for each data set,
        with a weight decay of 1e-4.
    max_grad_norm, patience, min_delta, precision
        See :class:`spotscape.nn.TrainingPlan`.
    batch_norm_momentum
        Weight of the newest batch in running statistics. They do not influence the embedding: after training the
        statistics are set from the whole, unmasked tissue.

    Examples
    --------
    >>> from spotscape.models import SpotscapeConfig
    >>> SpotscapeConfig(latent_size=32).hidden_size
    256
    """

    hidden_size: int = 256
    latent_size: int = 64
    n_encoders: int = 4
    latent_relu: bool = False
    n_components: int | None = 30
    linear_scale: bool = True
    spatial_components: bool = True
    dispersion: float | None = 0.5
    clip: float | None = 5.0
    n_axes: int | None = 12
    whitening: float = 0.25
    edge_drop: float = 0.2
    feature_drop: float = 0.2
    telescope_weight: float = 1.0
    reconstruction_weight: float = 1.0
    scaling_weight: float = 1.0
    scaling_neighbors: int = 5
    scaling_spots: int | None = 2048
    prototype_weight: float = 0.01
    prototype_temperature: float = 0.75
    n_prototypes: int = 10
    prototype_warmup: float = 0.5
    integrate: bool = True
    max_epochs: int = 200
    lr: float = 1e-3
    schedule: Schedule = "one_cycle"
    weight_decay: float = 1e-3
    max_grad_norm: float | None = None
    patience: int | None = None
    min_delta: float = 1e-3
    precision: Literal["float32", "bfloat16"] = "float32"
    batch_norm_momentum: float = 0.1

    def __post_init__(self) -> None:
        check_fields(self)
        if self.telescope_weight == 0 and self.reconstruction_weight == 0:
            msg = "telescope_weight and reconstruction_weight are both 0; there is nothing to train for."
            raise ValueError(msg)

    @classmethod
    def several_slices(cls, **changes: Any) -> Self:
        """The defaults for several slices: four encoders as for one, trained for half as long.

        One encoder of 300 epochs costs three quarters of that, but where its domains end depends on the seed (measured
        on four slices of human cortex).
        """
        return cls(**{"max_epochs": 100, **changes})

    @classmethod
    def large_tissue(cls, **changes: Any) -> Self:
        """The defaults for a slice of more than 10,000 spots: one encoder.

        Each further one takes as long again. Where seeds disagree, :func:`spotscape.tl.consensus_domains` steadies.
        """
        return cls(**{"n_encoders": 1, **changes})

    @classmethod
    def paper(cls, **changes: Any) -> Self:
        """The published setting: all genes, 1,000 epochs at a constant rate of 1e-4 (5e-4 for several slices)."""
        published = {
            "n_encoders": 1,
            "latent_relu": True,
            "n_components": None,
            "linear_scale": False,
            "spatial_components": False,
            "dispersion": 0.0,
            "clip": None,
            "n_axes": None,
            "whitening": 0.0,
            "reconstruction_weight": 0.1,
            "scaling_spots": None,
            "integrate": False,
            "max_epochs": 1000,
            "lr": 1e-4,
            "schedule": "constant",
            "weight_decay": 1e-4,
        }
        return cls(**{**published, **changes})

    @classmethod
    @public
    def of_preset(cls, preset: SpotscapePreset, *, several_slices: bool = False, large_tissue: bool = False) -> Self:
        """The configuration of that name for one slice, for several, or for one of more than 10,000 spots."""
        require_choice(preset, "preset", get_args(SpotscapePreset))
        if preset == "paper":
            return cls.paper(lr=5e-4) if several_slices else cls.paper()
        if several_slices:
            return cls.several_slices()
        return cls.large_tissue() if large_tissue else cls()

    @property
    def granularities(self) -> tuple[int, ...]:
        """Numbers of prototypes: K, 1.5 K and 2 K, rounded up."""
        return tuple(-(-self.n_prototypes * factor // 2) for factor in (2, 3, 4))

    def training_plan(self) -> TrainingPlan:
        """The part of the configuration that the trainer reads."""
        return TrainingPlan.of(self)
