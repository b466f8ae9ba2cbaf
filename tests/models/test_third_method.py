"""A third method is its network and its loss, and a thin function on AnnData: everything else is there already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

import spotscape as sp
from spotscape import models
from spotscape.models._base import GraphEncoder
from spotscape.models._config import EncoderConfig
from spotscape.models._training import Network, Objective
from spotscape.nn.blocks import product
from spotscape.nn.graph import propagate
from spotscape.nn.losses import reconstruction_errors
from spotscape.nn.trainer import LossOutput
from spotscape.tl._embedding import train_on

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import torch
    from scipy import sparse

    from spotscape.models._training import Draw
    from spotscape.nn.batches import Batch, Reduce
    from spotscape.nn.blocks import WeightSource

    MakeTissue = Callable[..., tuple[np.ndarray, sparse.csr_array, np.ndarray]]


@dataclass(frozen=True, kw_only=True)
class MeanConfig(EncoderConfig):
    lr: float = 1e-2
    edge_drop: float = 0.2


class MeanNetwork(Network):
    """A linear map of means over neighbours, and a linear map back."""

    n_hops = 1

    def __init__(self, n_features: int, config: MeanConfig, source: WeightSource) -> None:
        super().__init__(n_features)
        self.first = source.glorot(n_features, config.latent_size)
        self.output = source.linear(config.latent_size, n_features)
        self.shift = source.constant(0.0, 1, n_features)

    def encode(
        self, batch: Batch, weights: torch.Tensor, mask: torch.Tensor | None = None, reduce: Reduce | None = None
    ) -> torch.Tensor:
        expanded = batch.features.multiply(self.first.expand(len(weights), -1, -1, -1))
        return propagate(batch.graph, weights, expanded)

    def decode(self, embedding: torch.Tensor, batch: Batch, reduce: Reduce | None = None) -> torch.Tensor:
        return product(embedding[..., : batch.n_inside, :], self.output[None], self.shift[None])


class MeanObjective(Objective):
    network: MeanNetwork
    config: MeanConfig

    def draw(self, batch: Batch, draw: Draw) -> torch.Tensor:
        return batch.graph.draw_weights(1, self.config.edge_drop, draw.own)

    def forward(self, batch: Batch, drawn: torch.Tensor, epoch: float) -> LossOutput:
        hidden = self.network.encode(batch, drawn)[..., : batch.n_inside, :]
        features = batch.features.first(batch.n_inside)
        errors = reconstruction_errors(features, hidden, self.network.output, self.network.shift)
        return LossOutput.weighted({"reconstruction": (1.0, self.mean(errors, batch.n_inside))})


class Mean(GraphEncoder[MeanConfig]):
    name = "Mean"
    _config_type, _network_type, _objective_type = MeanConfig, MeanNetwork, MeanObjective

    def __init__(self, config: MeanConfig | None = None, *, random_state: Any = 0) -> None:
        super().__init__(config or MeanConfig(), random_state)

    def _bytes_per_spot(self) -> int:
        return 16 * self.config.latent_size


def mean_of_neighbours(adata: Any, **training: Any) -> Any:
    """Write the embedding of the third method to an AnnData."""
    return train_on(adata, Mean, key_added="X_mean", decoded_layer="decoded", **training)


@pytest.mark.parametrize("batch_size", [None, 100], ids=["whole", "tiles"])
def test_it_trains_whole_and_in_tiles(tissue: MakeTissue, batch_size: int | None) -> None:
    expression, adjacency, truth = tissue()
    model = Mean().fit(expression, adjacency, batch_size=batch_size, progress_bar=False)
    loss = model.history["reconstruction"]
    assert loss[-1] < 0.9 * loss[0]
    found = KMeans(2, n_init=5, random_state=0).fit_predict(model.embed(expression, adjacency))
    assert adjusted_rand_score(truth, found) > 0.8


def test_a_model_that_was_saved_embeds_the_same(
    tissue: MakeTissue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expression, adjacency, _ = tissue()
    model = Mean(MeanConfig(max_epochs=5)).fit(expression, adjacency, progress_bar=False)
    model.save(tmp_path / "model")
    monkeypatch.setitem(models.METHODS, "Mean", Mean)
    restored = sp.models.load(tmp_path / "model")
    assert isinstance(restored, Mean)
    np.testing.assert_array_equal(restored.embed(expression, adjacency), model.embed(expression, adjacency))


def test_on_an_anndata_it_writes_embedding_record_and_decoded_expression() -> None:
    adata = sp.datasets.simulate_tissue(n_spots=300, n_genes=100, n_domains=3, random_state=0)
    sp.pp.prepare(adata)
    sp.pp.spatial_neighbors_knn(adata, n_neighs=6)
    mean_of_neighbours(adata, n_restarts=2, progress_bar=False)
    assert adata.obsm["X_mean"].shape == adata.obsm["X_mean_1"].shape == (300, 12)
    assert adata.uns["mean"]["restarts"]["use_reps"] == ["X_mean", "X_mean_1"]
    assert adata.layers["decoded"].shape == adata.shape
    sp.tl.domains(adata, n_domains=3, use_rep="X_mean")
    assert sp.metrics.ari(adata.obs["domain"], adata.obs["mean_domain"]) > 0.5
