"""Hyper-parameters of SpaCross."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from spotscape._core.arguments import check_fields, public
from spotscape._core.validation import require_choice
from spotscape.nn.objectives.contrast import Pairing  # noqa: TC001 - its choices are read
from spotscape.nn.trainer import Schedule, TrainingPlan

Decoder = Literal["linear", "graph"]
SpaCrossPreset = Literal["default", "paper", "released"]


@dataclass(frozen=True)
class SpaCrossConfig:
    """Hyper-parameters of :class:`SpaCross`; one set of defaults for all data, meant to need no tuning.

    Attributes
    ----------
    hidden_size, feature_size, latent_size
        Widths: features → hidden → feature (linear layers) → hidden → latent (graph convolutions); 64, 32 and 16 in the
        paper.
    n_encoders
        Encoders trained from different random weights. Distances between spots are averaged over them and the result is
        rotated onto its leading axes; the paper trains one.
    n_axes, whitening
        The embeddings of all encoders are rotated onto their leading axes, and each axis is divided by its standard
        deviation to the power ``whitening``. Most of the variance lies in few axes, so without it k-means sees little
        else, and further axes are noise that a mixture takes as seriously as the others. ``n_axes=None`` keeps
        ``latent_size`` axes; with a ``whitening`` of 0 beside it, the embedding of a single encoder stays as it is, as
        in the paper.
    n_components
        Genes are scaled and reduced to this many principal components, 200 in the paper: fewer leave out noise that a
        cosine between spots counts in full. ``None`` takes the input as it is.
    spatial_components
        Whether components are the directions in which means over neighbours differ most, rather than single spots:
        most of the difference between spots is noise, which is not shared by neighbours.
    linear_scale
        Whether logarithms are undone before the genes are scaled; values above 20 show that there are none. What is
        averaged over neighbours are counts then, not their logarithms. The paper takes logarithms, its released
        notebooks do not.
    dispersion
        How much more than others a gene counts that varies beyond counting noise: 0 gives all genes the same variance,
        1 is what Pearson residuals do, and with ``None`` genes are not scaled and count by their variance
        (:class:`spotscape.nn.PrincipalComponents`). Better for Spotscape, worse here.
    clip
        Values this many standard deviations above the mean of their gene are cut off there; on the linear scale a few
        spots would otherwise rule a component. ``None``, as in the paper, leaves them.
    dropout
        Share of the activations left out after each layer.
    mask_rate
        Share of the spots that the online view masks (0.5 in the paper); the target view masks the others.
    replace_rate
        Share of the masked spots that take another spot's features instead of the learned token.
    target_momentum
        Share of itself that the target encoder keeps in each step; 0, as in the released code, is a copy.
    decoder
        ``"linear"``, or ``"graph"`` for a graph convolution.
    reconstruction_weight, consistency_weight, contrast_weight
        Weights of the three objectives.
    n_negatives
        Other spots that each masked spot is told apart from.
    n_similar
        Size of the candidate neighbourhood: the most similar spots in the current embedding; with several slices as
        many within the slice as between slices.
    n_clusters, n_clusterings, quorum
        A candidate counts as a semantic neighbour if it shares the cluster in at least ``quorum`` of ``n_clusterings``
        runs of k-means with ``n_clusters`` clusters. The number of domains need not be known. A quorum of 1 ("any") is
        what the released code does for one slice, 0 (no filter) what it does for several.
    refresh_every
        Epochs after which the neighbourhoods are found anew in the current embedding.
    contrast_spots
        With more spots than this, the neighbourhoods of as many are found, drawn anew each time, so that time stays
        linear in the number of spots. ``None`` takes all.
    pairing
        ``"row"`` scores each spot with its own summary; ``"all"`` with every summary, as the released code does, in
        quadratic time.
    integrate
        Whether slice-specific offsets are taken off the embedding of several slices after training
        (:func:`spotscape.nn.integrate`). The paper has no such step.
    max_epochs, lr, schedule, weight_decay, max_grad_norm
        Training, as in the paper.
    patience, min_delta, precision
        See :class:`spotscape.nn.TrainingPlan`.
    batch_norm_momentum
        Weight of the newest batch in running statistics. They do not influence the embedding: after training the
        statistics are set from the whole, unmasked tissue.

    Examples
    --------
    >>> from spotscape.models import SpaCrossConfig
    >>> SpaCrossConfig(latent_size=32).mask_rate
    0.7
    """

    hidden_size: int = 64
    feature_size: int = 32
    latent_size: int = 16
    n_encoders: int = 4
    n_components: int | None = 30
    linear_scale: bool = True
    spatial_components: bool = True
    dispersion: float | None = 0.0
    clip: float | None = 5.0
    n_axes: int | None = 12
    whitening: float = 0.0
    dropout: float = 0.2
    mask_rate: float = 0.7
    replace_rate: float = 0.05
    target_momentum: float = 0.0
    decoder: Decoder = "linear"
    reconstruction_weight: float = 0.6
    consistency_weight: float = 0.5
    n_negatives: int = 2
    contrast_weight: float = 0.3
    n_similar: int = 20
    n_clusters: int = 10
    n_clusterings: int = 5
    quorum: int = 3
    refresh_every: int = 50
    contrast_spots: int | None = 20_000
    pairing: Pairing = "row"
    integrate: bool = True
    max_epochs: int = 300
    lr: float = 1e-3
    schedule: Schedule = "constant"
    weight_decay: float = 3e-4
    max_grad_norm: float | None = 5.0
    patience: int | None = None
    min_delta: float = 1e-3
    precision: Literal["float32", "bfloat16"] = "float32"
    batch_norm_momentum: float = 0.1

    def __post_init__(self) -> None:
        check_fields(self)
        if self.quorum > self.n_clusterings:
            msg = f"quorum={self.quorum} is more than n_clusterings={self.n_clusterings}; no pair could ever meet it."
            raise ValueError(msg)
        if self.reconstruction_weight == 0 and self.consistency_weight == 0:
            msg = "reconstruction_weight and consistency_weight are both 0; there is nothing to train for."
            raise ValueError(msg)

    @classmethod
    def several_slices(cls, **changes: Any) -> Self:
        """The defaults for several slices: four encoders as for one, trained for a third as long.

        One encoder of 300 epochs costs three quarters of that, and is worse from some seeds (measured on four slices of
        human cortex).
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
        """The published setting: logarithms, 200 components, half of the spots masked."""
        published = {
            "n_encoders": 1,
            "n_components": 200,
            "spatial_components": False,
            "n_axes": None,
            "whitening": 0.0,
            "linear_scale": False,
            "clip": None,
            "mask_rate": 0.5,
            "contrast_spots": None,
            "integrate": False,
        }
        return cls(**{**published, **changes})

    @classmethod
    def released(cls, **changes: Any) -> Self:
        """The published setting with what the released code does where it differs from the text.

        No logarithm is taken, all pairs of spots and summaries are scored, and one of the clusterings is enough for a
        semantic neighbour; for several slices pass ``quorum=0``, since there it filters nothing.
        """
        return cls.paper(**{"linear_scale": True, "pairing": "all", "quorum": 1, **changes})

    @classmethod
    @public
    def of_preset(cls, preset: SpaCrossPreset, *, several_slices: bool = False, large_tissue: bool = False) -> Self:
        """The configuration of that name for one slice, for several, or for one of more than 10,000 spots."""
        require_choice(preset, "preset", get_args(SpaCrossPreset))
        if preset == "paper":
            return cls.paper()
        if preset == "released":
            return cls.released(quorum=0) if several_slices else cls.released()
        if several_slices:
            return cls.several_slices()
        return cls.large_tissue() if large_tissue else cls()

    def training_plan(self) -> TrainingPlan:
        """The part of the configuration that the trainer reads."""
        return TrainingPlan.of(self)
