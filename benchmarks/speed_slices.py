"""One epoch on several slices: the dense formulation with masks beside ours, in one run.

    python benchmarks/speed_slices.py --threads 2

Simulated slices (3 of 4,000 spots, 3,000 genes). The dense formulation is written here from the formulas: masked
copies of the expression, decoded matrices, all N×N cosines, a masked copy of them for each ordered pair of slices, and
k-means from scratch at three granularities in each epoch. It needs about 15 GB of memory.
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
from speed import DenseSpotscape
from tissues import hardware
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


class DenseSlices(DenseSpotscape):
    """The published formulation for several slices."""

    def __init__(self, expression: np.ndarray, adjacency: sparse.csr_array, codes: np.ndarray) -> None:
        super().__init__(expression, adjacency, seed=0)
        self.codes = torch.from_numpy(codes.astype(np.int64))

    def loss(self, views: list[torch.Tensor]) -> torch.Tensor:
        """All terms, every matrix built."""
        a, b = (normalize(view) for view in views)
        contrast = torch.stack([self._contrast(a, b, k) for k in PAPER.granularities]).mean()
        return super().loss(views) + PAPER.scaling_weight * self._scaling(a, b) + PAPER.prototype_weight * contrast

    def _scaling(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
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

    def _contrast(self, a: torch.Tensor, b: torch.Tensor, k: int) -> torch.Tensor:
        found = KMeans(k, n_init=1, random_state=0).fit(b.detach().numpy())
        centres = normalize(torch.from_numpy(found.cluster_centers_), dim=1)
        labels = torch.from_numpy(found.labels_.astype(np.int64))
        return cross_entropy(a @ centres.T / PAPER.prototype_temperature, labels)


def main() -> None:
    """Time both and print seconds per epoch and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spots", type=int, default=4000, help="of each slice")
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
    """Seconds of one call out of ``epochs``."""
    started = time.perf_counter()
    for _ in range(epochs):
        run()  # type: ignore[operator]
    return (time.perf_counter() - started) / epochs


if __name__ == "__main__":
    main()
