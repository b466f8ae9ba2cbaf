"""One epoch on several slices: the dense formulation with masks beside ours, in one run.

    python benchmarks/speed_slices.py --threads 1

Simulated slices (3 of 2,000 spots, 3,000 genes). The dense formulation is written here from the formulas: masked
copies of the expression, decoded matrices, all N×N cosines, a masked copy of them for each ordered pair of slices, and
k-means from scratch at three granularities in each epoch. Times are seconds of the processor, which other work on the
machine hardly changes. Memory of the dense formulation grows with the square of the spots.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from sklearn.cluster import KMeans
from tissues import hardware
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

import spotscape as sp
from spotscape.models import Spotscape, SpotscapeConfig

RESULTS = Path(__file__).parent / "results" / "speed_slices.csv"
# Prototypes from the first epoch on, so that a few epochs show the cost of the later half, the dearer one.
PAPER = SpotscapeConfig.paper(prototype_warmup=0.0)
STEPS = {
    "exact linear objectives, all spots": PAPER,
    f"scaling over {SpotscapeConfig().scaling_spots:,} spots": dataclasses.replace(
        PAPER, scaling_spots=SpotscapeConfig().scaling_spots
    ),
    "30 components (default)": SpotscapeConfig.several_slices(prototype_warmup=0.0, integrate=False),
}


class DenseNetwork(nn.Module):
    """Two graph convolutions, and a decoder of two layers, with batch normalisation between layers."""

    def __init__(self, n_genes: int) -> None:
        super().__init__()
        hidden, latent = PAPER.hidden_size, PAPER.latent_size
        self.first, self.second = nn.Linear(n_genes, hidden, bias=False), nn.Linear(hidden, latent, bias=False)
        self.first_norm, self.second_norm = nn.BatchNorm1d(hidden), nn.BatchNorm1d(latent)
        self.decode = nn.Sequential(
            nn.Linear(latent, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, n_genes)
        )

    def forward(self, expression: Tensor, graph: Tensor) -> Tensor:
        """Embed all spots."""
        hidden = self.first_norm(graph @ self.first(expression)).relu()
        embedding: Tensor = self.second_norm(graph @ self.second(hidden)).relu()
        return embedding


class DenseSlices:
    """The published formulation for several slices, with every matrix built."""

    def __init__(self, expression: np.ndarray, adjacency: sparse.csr_array, codes: np.ndarray) -> None:
        torch.manual_seed(0)
        self.rng = np.random.default_rng(0)
        self.x = torch.from_numpy(expression)
        self.edges = adjacency.tocoo()
        self.codes = torch.from_numpy(codes.astype(np.int64))
        self.network = DenseNetwork(self.x.shape[1])
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=PAPER.lr, weight_decay=PAPER.weight_decay)

    def step(self) -> None:
        """One epoch."""
        loss = self.loss(*(self._view() for _ in range(2)))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def loss(self, one: Tensor, other: Tensor) -> Tensor:
        """Telescope over all pairs of spots, reconstruction of all genes, scaling and contrast."""
        a, b = normalize(one), normalize(other)
        telescope = (a @ b.T - b @ a.T).square().sum() / len(a) ** 2
        errors = [(self.x - self.network.decode(view)).square().mean() for view in (one, other)]
        contrast = torch.stack([self._contrast(a, b, k) for k in PAPER.granularities]).mean()
        linear = telescope + PAPER.reconstruction_weight * torch.stack(errors).mean()
        return linear + PAPER.scaling_weight * self._scaling(a, b) + PAPER.prototype_weight * contrast

    def _view(self) -> Tensor:
        """An embedding of expression without some of the genes, on a graph without some of the edges."""
        kept = torch.rand(self.x.shape[1]) >= PAPER.feature_drop
        n_spots, edges = len(self.x), self.rng.random(self.edges.nnz) >= PAPER.edge_drop
        places = (self.edges.row[edges], self.edges.col[edges])
        graph = sparse.coo_array((np.ones(edges.sum()), places), shape=(n_spots, n_spots)) + sparse.eye_array(n_spots)
        scale = sparse.diags_array(1 / np.sqrt(graph.sum(axis=1)))
        graph = (scale @ graph @ scale).tocoo()
        indices = torch.from_numpy(np.stack(graph.coords).astype(np.int64))
        values = torch.from_numpy(graph.data.astype(np.float32))
        averaging = torch.sparse_coo_tensor(indices, values, graph.shape, check_invariants=False).coalesce()
        seen: Tensor = self.network(self.x * kept, averaging)
        return seen

    def _scaling(self, a: Tensor, b: Tensor) -> Tensor:
        similarities = a @ b.T
        similarities = similarities.masked_fill(torch.eye(len(a), dtype=torch.bool), -torch.inf)
        terms = []
        for i, j in itertools.permutations(range(int(self.codes.max()) + 1), 2):
            rows = self.codes == i
            inside, other = (
                similarities.masked_fill(~(rows[:, None] & (self.codes == name)), -torch.inf)[rows].topk(5)[0].mean(1)
                for name in (i, j)
            )
            terms.append((inside - other).square().mean())
        return torch.stack(terms).mean()

    def _contrast(self, a: Tensor, b: Tensor, k: int) -> Tensor:
        found = KMeans(k, n_init=1, random_state=0).fit(b.detach().numpy())
        centres = normalize(torch.from_numpy(found.cluster_centers_), dim=1)
        labels = torch.from_numpy(found.labels_.astype(np.int64))
        return cross_entropy(a @ centres.T / PAPER.prototype_temperature, labels)


def main() -> None:
    """Time both and print seconds per epoch and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spots", type=int, default=2000, help="of each slice")
    parser.add_argument("--slices", type=int, default=3)
    parser.add_argument("--genes", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=10, help="of our formulation")
    parser.add_argument("--dense-epochs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    sp.settings.verbosity, sp.settings.progress_bar = "warning", False
    adata = sp.datasets.simulate_tissue(
        n_slices=arguments.slices, n_spots=arguments.spots, n_genes=arguments.genes, random_state=0
    )
    sp.pp.prepare(adata, n_top_genes=None, library_key="slice")
    sp.pp.spatial_neighbors_knn(adata, library_key="slice")
    torch.set_num_threads(arguments.threads)
    adjacency = sparse.csr_array(adata.obsp["spatial_connectivities"])
    codes = np.asarray(adata.obs["slice"].cat.codes)
    dense = DenseSlices(adata.X.toarray(), adjacency, codes)
    rows = [{"setting": "dense formulation", "s_per_epoch": seconds_per_epoch(dense.step, arguments.dense_epochs)}]
    for setting, config in STEPS.items():
        run = dataclasses.replace(config, max_epochs=arguments.epochs)
        # The time to one epoch more: what is done once, such as the singular directions, is not an epoch's.
        once = dataclasses.replace(config, max_epochs=1)
        seconds = [
            seconds_per_epoch(lambda used=used: Spotscape(used).fit(adata.X, adjacency, slices=codes), 1)
            for used in (once, run)
        ]
        rows.append({"setting": setting, "s_per_epoch": (seconds[1] - seconds[0]) / (arguments.epochs - 1)})
    results = pd.DataFrame(rows)
    results["times_faster"] = results["s_per_epoch"].iloc[0] / results["s_per_epoch"]
    results = results.assign(spots=adata.n_obs, genes=adata.n_vars, slices=arguments.slices, **hardware())
    results.round(4).to_csv(arguments.out, index=False)
    print(results.to_string(index=False))


def seconds_per_epoch(run: object, epochs: int) -> float:
    """Processor seconds of one call out of ``epochs``."""
    started = time.process_time()
    for _ in range(epochs):
        run()  # type: ignore[operator]
    return (time.process_time() - started) / epochs


if __name__ == "__main__":
    main()
