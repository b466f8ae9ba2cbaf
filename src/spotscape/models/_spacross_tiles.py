"""SpaCross in steps over tiles.

Each region has the whole graph's degrees and a halo as deep as the layers between a spot and its decoded features, so
only what is random, and what is taken from the batch, tells a step from one on the whole tissue: masks, statistics of
normalisation and negatives are of the batch. Neighbourhoods are sought in the whole tissue, in embeddings of one sweep
over batches; in the contrast, positives outside the batch have the embeddings of that sweep, which are delayed by up to
``refresh_every`` epochs and carry no gradient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from spotscape.models._spacross_network import SpaCrossObjective
from spotscape.nn.averaging import follow
from spotscape.nn.neighborhoods import Neighborhoods
from spotscape.nn.normalization import counting
from spotscape.nn.objectives import consistency_loss, cosine_reconstruction_loss, draw_masked, draw_others
from spotscape.nn.tiles import Region
from spotscape.nn.trainer import LossOutput

if TYPE_CHECKING:
    from spotscape.models._graph_encoder import Tissue
    from spotscape.models._spacross_config import SpaCrossConfig
    from spotscape.models._spacross_network import SpaCrossNetwork
    from spotscape.models._tiling import TilePlan
    from spotscape.nn.features import DenseFeatures


class TiledSpaCrossObjective(SpaCrossObjective):
    """The loss of a step over a batch of tiles."""

    def __init__(
        self,
        network: SpaCrossNetwork,
        tissue: Tissue[DenseFeatures],
        config: SpaCrossConfig,
        generator: torch.Generator,
        plan: TilePlan,
    ) -> None:
        super().__init__(network, tissue, config, generator)
        self.plan = plan
        n_steps = plan.n_steps(config.max_epochs)
        self.refresh_steps = max(1, round(config.refresh_every * n_steps / config.max_epochs))
        self.register_buffer("known", torch.zeros(tissue.graph.n_spots, config.latent_size))

    def forward(self, epoch: int) -> LossOutput:
        config, network = self.config, self.network
        region = Region.around(self.tissue.graph, self.plan.batch(epoch), network.n_hops)
        features, adjacency, n_inside = self.tissue.features.take(region.spots), region.normalized(), region.n_inside
        masked = draw_masked(region.n_spots, config.mask_rate, self.generator)
        rows = masked[:n_inside].nonzero()[:, 0]
        weighted = {}
        with counting(self, n_inside):
            embedding = network.encode(network.token(features, masked, self.generator), adjacency, self.generator)
            projection = network.project(embedding, adjacency, masked)
            if config.reconstruction_weight:
                decoded = network.decode(projection, adjacency, rows)
                loss = cosine_reconstruction_loss(decoded, features.values[rows])
                weighted["reconstruction"] = (config.reconstruction_weight, loss)
            if config.consistency_weight:
                target = self._target(features, adjacency, masked)[rows]
                negatives = draw_others(len(rows), config.n_negatives, self.generator)
                loss = consistency_loss(projection[rows], target, negatives)
                weighted["consistency"] = (config.consistency_weight, loss)
        if config.contrast_weight:
            loss = self._contrast_batch(embedding[:n_inside], region.inside, epoch)
            weighted["contrast"] = (config.contrast_weight, loss)
        return LossOutput.weighted(weighted)

    @torch.no_grad()
    def _target(self, features: DenseFeatures, adjacency: Tensor, masked: Tensor) -> Tensor:
        """What the target encoder makes of the spots that are masked, to which exactly these are shown."""
        target = self.network
        if self.target is not None:
            follow(self.target, self.network, self.config.target_momentum)
            target = self.target
        return target.encode(target.token(features, ~masked, self.generator), adjacency, self.generator)

    def _contrast_batch(self, embedding: Tensor, inside: Tensor, step: int) -> Tensor:
        if step % self.refresh_steps == 0:
            self._sweep(step)
            self.neighborhoods.current = self._find_neighborhoods(self.get_buffer("known"))
        rows, known = local_neighborhoods(self.neighborhoods.current, inside)
        outside = self.get_buffer("known")[rows[len(inside) :]]
        everything = torch.cat([embedding, outside.to(embedding.dtype)])
        negatives = draw_others(len(inside), 1, self.generator, rows=known.anchors)[:, 0]
        return self.contrast(everything, known, negatives, pairing=self.config.pairing)  # type: ignore[no-any-return]

    @torch.no_grad()
    def _sweep(self, step: int) -> None:
        """Embed all spots, batch by batch, with the statistics of each."""
        first = step - step % self.plan.n_batches
        for number in range(first, first + self.plan.n_batches):
            region = Region.around(self.tissue.graph, self.plan.batch(number), self.network.n_hops)
            with counting(self.network, region.n_inside):
                values = self.network.encode(self.tissue.features.take(region.spots), region.normalized())
            self.get_buffer("known")[region.inside] = values[: region.n_inside].float()


def local_neighborhoods(whole: Neighborhoods, inside: Tensor) -> tuple[Tensor, Neighborhoods]:
    """The neighbourhoods of the anchors among some spots, in rows of their own.

    Parameters
    ----------
    whole
        Neighbourhoods of all anchors.
    inside
        Rows of the spots, int64 ``(n,)``, ascending.

    Returns
    -------
    The rows of the tissue that take part, those of ``inside`` first, and the neighbourhoods in places among these.
    """
    chosen = torch.isin(whole.anchors, inside)
    counts = whole.indptr.diff()
    positives = whole.indices[torch.repeat_interleave(chosen, counts)]
    others = positives.unique()
    others = others[~torch.isin(others, inside)]
    rows = torch.cat([inside, others])
    order = rows.argsort()
    anchors, indices = (order[torch.searchsorted(rows[order], wanted)] for wanted in (whole.anchors[chosen], positives))
    indptr = torch.cat([counts.new_zeros(1), counts[chosen].cumsum(0)])
    return rows, Neighborhoods(anchors, indptr, indices)
