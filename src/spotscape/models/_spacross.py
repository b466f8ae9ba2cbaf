"""SpaCross: a graph autoencoder that predicts masked spots from their neighbours."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

import torch
from torch import Tensor, nn, relu_
from torch.nn.functional import elu, elu_

from spotscape._core.arguments import public
from spotscape.models._base import GraphEncoder
from spotscape.models._config import FIELDS, MODEL, EncoderConfig, shares
from spotscape.models._reduction import to_units
from spotscape.models._training import Network, Objective, Tissue
from spotscape.nn import losses
from spotscape.nn.batches import Batch, Reduce
from spotscape.nn.blocks import SpotNorm, WeightSource, drop_out, ema_update, in_rows, product
from spotscape.nn.graph import propagate
from spotscape.nn.hybrid import HybridMemory, within_batch
from spotscape.nn.losses.contrast import Pairing  # noqa: TC001 - its choices are read
from spotscape.nn.losses.cosine import at_least_float32
from spotscape.nn.trainer import LossOutput, Schedule

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from spotscape._core.randomness import Seed
    from spotscape.models._training import Draw
    from spotscape.nn.features import Features

Decoder = Literal["linear", "graph"]
SpaCrossPreset = Literal["default", "paper", "released"]


@shares(FIELDS)
@dataclass(frozen=True, kw_only=True)
class SpaCrossConfig(EncoderConfig):
    """Hyper-parameters of :class:`SpaCross`. The defaults are meant for all data, without tuning.

    Attributes
    ----------
    hidden_size, feature_size, latent_size
        Widths: features → hidden → feature (linear layers) → hidden → latent (graph convolutions); 64, 32 and 16 in the
        paper.
    dropout
        Share of the activations left out after each layer, to the nearest 1/256.
    mask_rate
        Share of the spots that the online view masks (0.5 in the paper); the target view masks the others.
    replace_rate
        Share of the masked spots that take another spot's features instead of the learned token.
    target_momentum
        Share of its old weights that the target encoder keeps in each step. 0, as in the released code, makes it a copy
        of the encoder.
    decoder
        ``"linear"``, or ``"graph"`` for a graph convolution.
    reconstruction_weight, consistency_weight, contrast_weight
        Weights of the three objectives.
    n_negatives
        Number of other spots from which each masked spot has to be distinguished.
    n_similar
        Size of the candidate neighbourhood: the most similar spots in the current embedding; with several slices as
        many within the slice as between slices.
    n_clusters, n_clusterings, quorum
        A candidate counts as a semantic neighbour if it shares the cluster in at least ``quorum`` of ``n_clusterings``
        runs of k-means with ``n_clusters`` clusters. The number of domains need not be known. A quorum of 1 ("any") is
        what the released code does for one slice, 0 (no filter) what it does for several.
    refresh_every
        Number of epochs after which the neighbourhoods are searched again in the current embedding.
    contrast_spots
        Largest number of spots whose neighbourhoods are searched. If there are more, this number is drawn each time, so
        that time is linear in the number of spots. ``None`` takes all spots.
    pairing
        ``"row"`` scores each spot with its own summary; ``"all"`` with every summary, as the released code does, in
        quadratic time.
    max_epochs
        The paper trains one encoder for 300. Each of four encoders gets 90 here, and each of the two of large tissue
        100, which bounds the time.
    {shared}

    Examples
    --------
    >>> from spotscape.models import SpaCrossConfig
    >>> SpaCrossConfig(latent_size=16).mask_rate
    0.7
    """

    LARGE: ClassVar[Mapping[str, Any]] = {"n_encoders": 2, "max_epochs": 100}

    hidden_size: int = 64
    feature_size: int = 32
    dispersion: float | None = 0.0
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
    contrast_spots: int | None = 2048
    pairing: Pairing = "row"
    schedule: Schedule = "constant"
    max_epochs: int = 90
    weight_decay: float = 3e-4
    max_grad_norm: float | None = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quorum > self.n_clusterings:
            msg = f"quorum={self.quorum} is more than n_clusterings={self.n_clusterings}; no pair could ever meet it."
            raise ValueError(msg)
        if self.reconstruction_weight == 0 and self.consistency_weight == 0:
            msg = "reconstruction_weight and consistency_weight are both 0; there is nothing to train for."
            raise ValueError(msg)

    @classmethod
    def paper(cls, **changes: Any) -> Self:
        """The published setting: logarithms, 200 components, half of the spots masked."""
        published = {
            "latent_size": 16,
            "n_encoders": 1,
            "n_comps": 200,
            "spatial_components": False,
            "n_axes": None,
            "linear_scale": False,
            "clip": None,
            "mask_rate": 0.5,
            "contrast_spots": None,
            "integrate": False,
            "max_epochs": 300,
            "lr": 1e-3,
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
        return cls._choose(preset, several_slices=several_slices, large_tissue=large_tissue)

    @classmethod
    def presets(cls, *, several_slices: bool = False) -> dict[str, Self]:
        """The published setting, and that of the released code."""
        return {"paper": cls.paper(), "released": cls.released(**({"quorum": 0} if several_slices else {}))}


class SpaCrossNetwork(Network):
    """Encoders of two linear layers and two graph convolutions, with a projector and a decoder.

    Shapes: features ``(N, p)`` → hidden → feature → hidden → embedding ``(N, d)`` → projection ``(N, d)`` → features.
    """

    def __init__(self, n_features: int, config: SpaCrossConfig, source: WeightSource) -> None:
        super().__init__(n_features)
        hidden, feature, latent = config.hidden_size, config.feature_size, config.latent_size
        self.dropout, self.graph_decoder = config.dropout, config.decoder == "graph"
        self.n_hops = 4 if self.graph_decoder else 3
        # It starts at zero, which for centred features is the average spot: there is no symmetry to break.
        self.token = source.constant(0.0, 1, n_features)
        self.linear_1, self.linear_2 = source.linear(n_features, hidden), source.linear(hidden, feature)
        self.graph_1, self.graph_2 = source.glorot(feature, hidden), source.glorot(hidden, latent)
        self.norms = nn.ModuleList(SpotNorm(len(source), size) for size in (hidden, feature, hidden, latent))
        self.widen, self.gather = source.linear(latent, 2 * latent), source.glorot(2 * latent, latent)
        start = source.glorot if self.graph_decoder else source.linear
        self.output, self.output_shift = start(latent, n_features), source.constant(0.0, 1, n_features)

    def encode(
        self,
        batch: Batch,
        weights: Tensor,
        mask: Tensor | None = None,
        reduce: Reduce | None = None,
        *,
        masking: losses.Masking | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Embeddings, ``(1, B, n, latent)``, with the spots of ``masking`` masked. A generator switches dropout on."""
        del mask
        reduce, values = reduce or Reduce(), batch.features.values
        shown: Tensor = values
        weight: Tensor = self.linear_1
        if masking is not None:
            shown, weight = masking.apply(values), torch.cat([weight, self.token @ weight], dim=1)

        def dropped(rows: Tensor) -> Tensor:
            return drop_out(rows, self.dropout, generator)

        def two_layers(x: Tensor, first: Tensor, norm: Any, activate_: Any, second: Tensor) -> Tensor:
            weight, shift = norm.folded(first[None], x, batch.n_inside, reduce)
            return in_rows(lambda rows: product(dropped(product(rows, weight, shift, activate_)), second[None]), x)

        x = shown[None, None]
        if batch.features.is_narrow:
            x = two_layers(x, weight, self.norms[0], elu_, self.linear_2)
        else:
            x = self.norms[0](product(x, weight[None]), batch.n_inside, reduce)
            x = product(dropped(elu(x)), self.linear_2[None])
        x = dropped(elu_(self.norms[1](x, batch.n_inside, reduce)))
        x = two_layers(propagate(batch.graph, weights, x), self.graph_1, self.norms[2], relu_, self.graph_2)
        return dropped(self.norms[3](propagate(batch.graph, weights, x), batch.n_inside, reduce))

    def project(self, embedding: Tensor, batch: Batch, weights: Tensor, masked: Tensor | None = None) -> Tensor:
        """Projection from the neighbours of a spot, ``(1, B, n, latent)``, without ``masked`` ones, bool ``(n,)``."""
        # The two linear layers between which rows are masked are one: masking rows commutes with them.
        said = product(embedding, (self.widen @ self.gather)[None])
        if masked is not None:
            said = said.masked_fill(masked[:, None], 0)
        return propagate(batch.graph, weights, said)

    def decode_rows(self, projection: Tensor, batch: Batch, weights: Tensor, rows: Tensor | None = None) -> Tensor:
        """Decoded features of some spots or of all, ``(1, B, n, p)``."""
        if self.graph_decoder:
            decoded = propagate(batch.graph, weights, product(projection, self.output[None])) + self.output_shift
            return decoded if rows is None else decoded[..., rows, :]
        chosen = projection if rows is None else projection.index_select(-2, rows)
        return product(chosen, self.output[None], self.output_shift[None])

    def decode(self, embedding: Tensor, batch: Batch, reduce: Reduce | None = None) -> Tensor:
        """Decoded features, ``(1, B, n, p)``."""
        del reduce
        weights = batch.graph.whole_weights
        return self.decode_rows(self.project(embedding, batch, weights), batch, weights)


class CrossMasks(NamedTuple):
    """The random numbers of a step."""

    online: losses.Masking  # What each view masks
    target: losses.Masking
    rows: Tensor  # Rows of the masked spots inside the batch, int64 (M,)
    negatives: Tensor  # For each of them the positions of other spots in ``rows``, int64 (M, K)
    source: Draw  # Of further random numbers


class SpaCrossObjective(Objective):
    r"""Masked spots are decoded, agree with a view that sees them, and are recognised by their neighbourhoods.

    .. math:: L = \lambda_r L_{reconstruction} + \lambda_c L_{consistency} + \lambda_n L_{contrast} .
    """

    network: SpaCrossNetwork
    config: SpaCrossConfig

    def __init__(self, network: SpaCrossNetwork, tissue: Tissue, config: SpaCrossConfig, **how: Any) -> None:
        super().__init__(network, tissue, config, **how)
        weights = WeightSource([self.source.integer(f"discriminator {number}") for number in range(config.n_encoders)])
        self.discriminator = weights.glorot(config.latent_size, config.latent_size)
        self.discriminator_bias = weights.constant(0.0)
        self.neighborhoods = HybridMemory(config.n_encoders)
        # Without momentum the target is the encoder itself.
        self.target = copy.deepcopy(network).requires_grad_(False) if config.target_momentum else None  # noqa: FBT003
        # Epochs between two searches; steps over tiles have fewer.
        self.refresh_every = config.refresh_every * (self.max_epochs / config.max_epochs)

    def draw(self, batch: Batch, draw: Draw) -> CrossMasks:
        """Draw the masks; none, if there is a single spot."""
        n_spots, rate = batch.graph.n_spots, self.config.mask_rate
        masked, n_masked = torch.zeros(n_spots, dtype=torch.bool, device=batch.spots.device), 0
        if n_spots > 1:
            masked, n_masked = losses.draw_masked(n_spots, rate, draw.own)
        online = losses.draw_masking(masked, n_masked, self.config.replace_rate, draw.own)
        target = losses.draw_masking(~masked, n_spots - n_masked, self.config.replace_rate, draw.own)
        rows = online.rows if batch.n_inside == n_spots else online.rows[online.rows < batch.n_inside]
        negatives = losses.sample_negatives(len(rows), self.config.n_negatives, draw.own)
        return CrossMasks(online, target, rows, negatives, draw)

    def forward(self, batch: Batch, drawn: CrossMasks, epoch: float) -> LossOutput:
        config, network, weights, rows = self.config, self.network, batch.graph.whole_weights, drawn.rows
        how: Any = {"reduce": self.reduce, "generator": drawn.source.own}
        with torch.autocast(batch.spots.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            embedding = network.encode(batch, weights, masking=drawn.online, **how)
            projection = network.project(embedding, batch, weights, drawn.online.masked)
        weighted = {}
        if config.reconstruction_weight:
            decoded = network.decode_rows(projection, batch, weights, rows)[0]
            errors = losses.cosine_reconstruction_loss(decoded, batch.features.values.index_select(0, rows))
            weighted["reconstruction"] = (config.reconstruction_weight, self.mean(errors.sum(1), len(rows)))
        if config.consistency_weight:
            with torch.no_grad():
                if self.target is not None:
                    ema_update(self.target, network, config.target_momentum)
                # The target sees exactly the masked spots.
                target = (self.target or network).encode(batch, weights, masking=drawn.target, **how)[0]
            seen, said = target.index_select(1, rows), projection[0].index_select(1, rows)
            errors = losses.consistency_loss(said, seen, drawn.negatives)
            weighted["consistency"] = (config.consistency_weight, self.mean(errors.sum(1), len(rows)))
        if config.contrast_weight:
            weighted["contrast"] = (config.contrast_weight, self._contrast(embedding[0], batch, drawn, epoch))
        return LossOutput.weighted(weighted)

    def _contrast(self, embedding: Tensor, batch: Batch, drawn: CrossMasks, epoch: float) -> Tensor:
        config, source = self.config, drawn.source
        if self.neighborhoods.is_due(epoch, self.refresh_every):
            with torch.no_grad():
                whole = self.tissue.whole  # Without masks
                embeddings = at_least_float32(self.network.encode(whole, whole.graph.whole_weights)[0])
                self.reduce.remember("contrast", embeddings)
                sizes: Any = {"most": config.contrast_spots, "n_similar": config.n_similar, "quorum": config.quorum}
                sizes |= {"clusterings": (config.n_clusters, config.n_clusterings), "slices": self.tissue.codes}
                self.neighborhoods.search(embeddings, whole.graph, seed=source.seed, **sizes)
        known = self.reduce.share("contrast", at_least_float32(embedding), batch, update=False)
        each = []
        for number, found in enumerate(self.neighborhoods.current):
            rows, local = within_batch(found, batch, known)
            everything = known.rows[number] if rows is None else known.take(rows)[number]
            n_spots = len(everything) if rows is None else batch.n_inside
            if local.n_anchors == 0 or n_spots < 2:
                each.append(everything.sum() * 0 + 0 * self.discriminator[number].sum())
                continue
            if config.pairing == "all":
                order = torch.randperm(local.n_anchors, generator=source.common, device=local.anchors.device)
                negatives = local.anchors[order]
            else:
                # In the same state for every encoder and process.
                generator = torch.Generator(source.common.device).manual_seed(source.seed)
                negatives = losses.sample_negatives(n_spots, 1, generator, rows=local.anchors)[:, 0]
            by = self.discriminator[number], self.discriminator_bias[number]
            each.append(losses.contrast_loss(everything, local, negatives, *by, pairing=config.pairing).mean())
        return torch.stack(each)


@shares(MODEL)
class SpaCross(GraphEncoder[SpaCrossConfig]):
    """Embed the spots of a tissue from their expression and their spatial graph.

    The graph may connect slices (:func:`spotscape.pp.spatial_neighbors_3d`). With several slices, similar spots are
    searched separately within and between slices.

    {shared}

    Examples
    --------
    >>> import numpy as np
    >>> from scipy import sparse
    >>> from spotscape.models import SpaCross, SpaCrossConfig
    >>> expression = np.random.default_rng(0).random((50, 20), dtype=np.float32)
    >>> ring = sparse.eye_array(50, k=1) + sparse.eye_array(50, k=-1)
    >>> model = SpaCross(SpaCrossConfig(max_epochs=5))
    >>> model.fit(expression, ring, progress_bar=False).embed(expression, ring).shape
    (50, 12)

    References
    ----------
    Fang & Min, *SpaCross*, Communications Biology 2025, doi 10.1038/s42003-025-08810-5. Written from its formulas;
    what is different here: "How it works" in the documentation.
    """

    name = "SpaCross"
    _config_type, _network_type, _objective_type = SpaCrossConfig, SpaCrossNetwork, SpaCrossObjective
    unit, needs_dense = 1.0, True

    @public
    def __init__(self, config: SpaCrossConfig | None = None, *, random_state: Seed = 0) -> None:
        super().__init__(SpaCrossConfig() if config is None else config, random_state)

    def _bytes_per_spot(self) -> int:
        config = self.config
        # The online view and what its gradients need, and a target view without them.
        return 4 * (12 * config.hidden_size + 8 * config.feature_size + 30 * config.latent_size)

    def _to_scale(self, decoded: Tensor, features: Features) -> Tensor:
        """Multiply decoded features, of which the cosine loss determines directions only, by the one best factor."""
        products, squares = ((decoded * other).sum((1, 2), keepdim=True) for other in (features.values, decoded))
        return decoded * (products / squares.clamp(min=torch.finfo(squares.dtype).tiny))

    def _to_genes(self, decoded: np.ndarray, expression: Any) -> np.ndarray:
        return to_units(decoded, expression) if self._reduction is None else super()._to_genes(decoded, expression)
