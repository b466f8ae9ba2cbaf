r"""Spotscape in steps over tiles.

**What is exact.** Each region has its two-hop halo and the degrees of the whole graph, so views are those of the whole
tissue.

**What is an estimate.** A step over a batch of tiles takes statistics of normalisation, reconstruction and prototypes
from the batch, tiles from all over the tissue. Similarity scaling looks for the best matches of the batch among
embeddings of all spots as they were last seen, from the second sweep on: within a batch a spot would have its
surroundings, but not its counterpart in another slice. The telescope compares the batch with *all* spots: with
:math:`G_b` the Gram matrices of the batch of :math:`n` spots and :math:`\bar G` their running mean over earlier
batches, scaled to the tissue, the loss is that of

.. math:: G = G_b + \tfrac{N - n}{N}\,\bar G, \qquad \bar G \leftarrow (1 - \tfrac nN)\,\bar G + G_b ,

with the gradient through :math:`G_b`, times :math:`N / n`. :math:`\bar G` remembers about one sweep. It is delayed: it
comes from earlier weights and other random views.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import normalize

from spotscape.models._spotscape_network import SpotscapeObjective
from spotscape.nn.features import MaskedFeatures
from spotscape.nn.normalization import counting
from spotscape.nn.objectives import reconstruction_loss
from spotscape.nn.objectives.scaling import anchored_scaling_loss
from spotscape.nn.objectives.telescope import TelescopeGrams
from spotscape.nn.tiles import Region
from spotscape.nn.trainer import LossOutput

if TYPE_CHECKING:
    from spotscape.models._graph_encoder import Tissue
    from spotscape.models._spotscape_config import SpotscapeConfig
    from spotscape.models._spotscape_network import SpotscapeNetwork
    from spotscape.models._tiling import TilePlan
    from spotscape.nn.features import FeatureMatrix

N_HOPS = 2
# Spots of all slices together among which the matches of a batch are sought; the search costs in proportion.
_MOST_CANDIDATES = 20_000


class TiledSpotscapeObjective(SpotscapeObjective):
    """The loss of a step over a batch of tiles; see above for what of it is exact."""

    def __init__(
        self,
        network: SpotscapeNetwork,
        tissue: Tissue[FeatureMatrix],
        config: SpotscapeConfig,
        generator: torch.Generator,
        plan: TilePlan,
    ) -> None:
        super().__init__(network, tissue, config, generator)
        self.plan, self.n_steps = plan, plan.n_steps(config.max_epochs)
        if tissue.slices and config.scaling_weight:
            # As last seen; zero, of no length, until then.
            self.register_buffer("seen", torch.zeros(tissue.graph.n_spots, config.latent_size))
        self.register_buffer("earlier", torch.zeros(3, config.latent_size, config.latent_size, dtype=torch.float64))

    def forward(self, epoch: int) -> LossOutput:
        config, tissue = self.config, self.tissue
        region = Region.around(tissue.graph, self.plan.batch(epoch), N_HOPS)
        features = tissue.features.take(region.spots)
        with counting(self.network, region.n_inside):
            views = [self._embed_region(features, region) for _ in range(2)]
            hidden = [self.network.decode_hidden(view).float() for view in views]
        first, second = (view.float() for view in views)
        output = self.network.output
        error = reconstruction_loss(tissue.features.take(region.inside), hidden, output.weight.T, output.bias)
        weighted = {"telescope": (config.telescope_weight, self._telescope(first, second))}
        weighted["reconstruction"] = (config.reconstruction_weight, error)
        if tissue.slices:
            now = epoch * config.max_epochs / self.n_steps
            weighted["scaling"] = (config.scaling_weight, self._scaling(first, second, region.inside, epoch))
            weighted |= self._prototypes(first, second, now)
        return LossOutput.weighted(weighted)

    def _embed_region(self, features: FeatureMatrix, region: Region) -> Tensor:
        config, device = self.config, region.indices.device
        keep = torch.rand(features.shape[1], generator=self.generator, device=device) >= config.feature_drop
        adjacency = region.thinned(config.edge_drop, self.generator)
        return self.network.encode(MaskedFeatures(features, keep), adjacency)[: region.n_inside]

    def _telescope(self, first: Tensor, second: Tensor) -> Tensor:
        """The telescope of the batch and the spots of earlier batches."""
        grams = TelescopeGrams.of_views(first, second)
        n_spots, share = self.tissue.graph.n_spots, len(first) / self.tissue.graph.n_spots
        now = torch.stack([grams.mm, grams.pp, grams.pm]).detach() / share
        earlier = self.get_buffer("earlier")
        if not earlier.any():
            earlier.copy_(now)
        mm, pp, pm = (1 - share) * earlier
        others = TelescopeGrams(mm, pp, pm, n_spots - len(first))
        loss = (grams + others).loss()
        earlier.lerp_(now, share)
        # The share of the gradient that goes through this batch, scaled up to that of all.
        return (loss.detach() + (loss - loss.detach()) / share).to(first.dtype)

    def _scaling(self, first: Tensor, second: Tensor, inside: Tensor, step: int) -> Tensor:
        """Similarity scaling of the batch, against spots of all slices as they were last seen."""
        if not self.config.scaling_weight:
            return first.new_zeros(())
        seen, anchors = self.get_buffer("seen"), normalize(first, dim=1)
        now = normalize(second, dim=1)
        seen[inside] = now.detach()
        if step < self.plan.n_batches:
            return first.new_zeros(())
        place = torch.full((len(seen),), -1, dtype=torch.int64, device=inside.device)
        place[inside] = torch.arange(len(inside), device=inside.device)
        sampled = [self._draw_spots(rows) for rows in self.tissue.slices]
        chosen, places, candidates = [], [], []
        for rows in sampled:
            here = (place[rows] >= 0).nonzero()[:, 0]
            own = self._draw_anchors(here)
            chosen.append(anchors[place[rows[own]]])
            places.append(own)
            candidates.append(seen[rows].index_copy(0, here, now[place[rows[here]]]))
        if not any(map(len, chosen)):
            return first.new_zeros(())
        return anchored_scaling_loss(chosen, places, candidates, n_neighbors=self.config.scaling_neighbors)

    def _draw_spots(self, rows: Tensor) -> Tensor:
        """Rows of a slice to look for matches among: all, or evenly many of each slice of a large tissue."""
        share = max(_MOST_CANDIDATES // len(self.tissue.slices), 2)
        if len(rows) <= share:
            return rows
        return rows[torch.randperm(len(rows), generator=self.generator, device=rows.device)[:share]]

    def _draw_anchors(self, here: Tensor) -> Tensor:
        budget = self.config.scaling_spots
        share = len(here) if budget is None else -(-budget // len(self.tissue.slices))
        if share >= len(here):
            return here
        return here[torch.randint(len(here), (share,), generator=self.generator, device=here.device)]
