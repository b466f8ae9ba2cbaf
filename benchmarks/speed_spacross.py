"""An epoch of SpaCross: the default against a dense-graph version of the same step, and the way between them.

    python benchmarks/speed_spacross.py --spots 5000 10000 20000 --threads 1 2

Simulated spots, 50 principal components. The dense version is written here from the formulas, with each matrix over
pairs of spots built: the propagation matrix, all cosines and their top k, the counts of clusterings that put two spots
together, the adjacency that asks who is next to whom, and the scores of every spot with every summary. What does not
touch pairs (k-means, linear layers, drawing of masks) is the same code for all, and so is the spatial graph, which all
are given. With 20,000 spots the run takes about 12 GB.

From there to the default one change is made at a time. The row-wise contrast is another loss; all else is the same
step, computed otherwise. Before it times anything, the script asserts it: from one state of the random generator all
settings agree in reconstruction and consistency, and in the contrast all that pair alike.

Settings are timed in turns, and medians are shown. An epoch's time has its share of the search for neighbourhoods,
which comes every 50 epochs (``refresh_every``) and stands apart as well.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import torch
from scipy import sparse
from tissues import hardware
from torch import Tensor, nn
from torch.nn.functional import normalize, softplus

import spotscape as sp
from spotscape.models import SpaCross, SpaCrossConfig
from spotscape.models._graph_encoder import Tissue
from spotscape.models._spacross_network import SpaCrossNetwork, SpaCrossObjective
from spotscape.nn import Neighborhoods, SpotGraph, consensus_clusterings
from spotscape.nn.layers import build_seeded
from spotscape.nn.objectives.contrast import summaries

if TYPE_CHECKING:
    from collections.abc import Callable

    from spotscape.nn.features import DenseFeatures
    from spotscape.nn.layers import GraphConvolution

RESULTS = Path(__file__).parent / "results" / "speed_spacross.csv"
DEFAULT = SpaCrossConfig()
ALL_PAIRS = dataclasses.replace(DEFAULT, pairing="all")
N_GENES = 500


class DensePairs(SpaCrossObjective):
    """Neighbourhoods, and the contrast of all pairs, with every matrix built; the propagation is sparse."""

    def _contrast(self, embedding: Tensor, epoch: int) -> Tensor:
        if self.config.pairing == "row":
            return super()._contrast(embedding, epoch)
        if epoch % self.config.refresh_every == 0:
            self.neighborhoods.current = self._find_neighborhoods()
        known, head = self.neighborhoods.current, self.contrast
        projected = summaries(embedding, known) @ head.weight.T
        shuffled = torch.randperm(known.n_anchors, generator=self.generator)
        anchors = embedding[known.anchors]
        # With beta -1 this is the log of the sigmoid, and there is no matrix of negated scores.
        positives = -softplus(torch.addmm(head.bias, anchors, projected.T), beta=-1).mean()
        return positives + softplus(torch.addmm(head.bias, anchors[shuffled], projected.T)).mean()

    @torch.no_grad()
    def _find_neighborhoods(self) -> Neighborhoods:
        config = self.config
        embedding = self.network.encode(self.tissue.features, self.adjacency)
        clusterings = consensus_clusterings(embedding, config.n_clusters, config.n_clusterings, self.generator)
        directions = normalize(embedding, dim=1)
        similarity = (directions @ directions.T).fill_diagonal_(-torch.inf)
        best = similarity.topk(config.n_similar, dim=1).indices
        similar = torch.zeros(similarity.shape, dtype=torch.bool).scatter_(1, best, 1)
        del similarity
        together = torch.zeros(similar.shape, dtype=torch.int8)
        for labels in clusterings:
            together += labels[:, None] == labels
        pairs = (similar & ((together >= config.quorum) | self._adjacent())).nonzero()
        anchors, counts = pairs[:, 0].unique_consecutive(return_counts=True)
        return Neighborhoods(anchors, torch.cat([counts.new_zeros(1), counts.cumsum(0)]), pairs[:, 1])

    def _adjacent(self) -> Tensor:
        return self.adjacency.to_dense() > 0


class DenseGraph(DensePairs):
    """The same, and a dense matrix for the propagation."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.adjacency = dense_adjacency(self.tissue.graph)
        for name in ("graph_1", "graph_2", "gather"):
            setattr(self.network, name, DenseConvolution(getattr(self.network, name)))

    def _adjacent(self) -> Tensor:
        return self.adjacency > 0


@functools.lru_cache(maxsize=1)
def dense_adjacency(graph: SpotGraph) -> Tensor:
    """The propagation matrix, dense ``(N, N)``, held once for all settings."""
    return graph.normalized().to_dense()


class DenseConvolution(nn.Module):
    """``Â X W`` with a dense ``Â`` and the weights of a sparse one."""

    def __init__(self, convolution: GraphConvolution) -> None:
        super().__init__()
        self.lin = convolution.lin

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        """Propagate ``(N, F_in)`` to ``(N, F_out)``."""
        return adjacency @ self.lin(x)


# Each line with the change before it kept, but for the last.
STEPS: dict[str, tuple[type[SpaCrossObjective], SpaCrossConfig]] = {
    "dense-graph version": (DenseGraph, ALL_PAIRS),
    "row-wise contrast": (DenseGraph, DEFAULT),
    "sparse propagation": (DensePairs, DEFAULT),
    "streamed neighbourhoods (default)": (SpaCrossObjective, DEFAULT),
    'default with `pairing="all"`, in tiles': (SpaCrossObjective, ALL_PAIRS),
}
SHORT = "streamed neighbourhoods (default)"


class Training:
    """One encoder in training, its seed the same whatever its setting."""

    def __init__(self, kind: type[SpaCrossObjective], config: SpaCrossConfig, tissue: Tissue[DenseFeatures]) -> None:
        n_features, self.config = tissue.features.shape[1], config
        source = SpaCross(config).random_source
        generator = source.torch("views 0")
        network = build_seeded(lambda: SpaCrossNetwork(n_features, config), source.integer("weights 0"))
        self.objective = build_seeded(lambda: kind(network, tissue, config, generator), source.integer("contrast"))
        self.optimizer = torch.optim.Adam(
            self.objective.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True
        )

    def step(self, epoch: int) -> dict[str, float]:
        """One epoch, as the trainer does it; the losses."""
        output = self.objective(epoch)
        self.optimizer.zero_grad()
        output.total.backward()
        nn.utils.clip_grad_norm_(self.objective.parameters(), self.config.max_grad_norm)
        self.optimizer.step()
        return {name: part.item() for name, part in output.parts.items()}


def measure(tissue: Tissue[DenseFeatures], epochs: int, short_epochs: int) -> pd.DataFrame:
    """Seconds of each setting, a row for each."""
    trainings = {setting: Training(*made, tissue) for setting, made in STEPS.items()}
    require_same_step({setting: training.step(0) for setting, training in trainings.items()})
    steps: dict[str, list[float]] = {setting: [] for setting in STEPS}
    searches: dict[str, list[float]] = {setting: [] for setting in STEPS}
    for _ in range(epochs):
        for setting, training in trainings.items():
            repeats = short_epochs if setting == SHORT else 1
            steps[setting] += [seconds(lambda used=training: used.step(1)) for _ in range(repeats)]
            searches[setting].append(seconds(training.objective._find_neighborhoods))
    rows = pd.DataFrame({"setting": list(STEPS)})
    rows["s_step"] = [statistics.median(steps[setting]) for setting in STEPS]
    rows["s_search"] = [statistics.median(searches[setting]) for setting in STEPS]
    rows["s_per_epoch"] = rows["s_step"] + rows["s_search"] / DEFAULT.refresh_every
    rows["times_faster"] = rows["s_per_epoch"].iloc[0] / rows["s_per_epoch"]
    return rows.assign(timed_steps=[len(steps[setting]) for setting in STEPS], spots=tissue.graph.n_spots)


def require_same_step(losses: dict[str, dict[str, float]]) -> None:
    """Assert that all settings compute the same losses from the same random numbers."""
    print(pd.DataFrame(losses).T.to_string())
    for setting, found in losses.items():
        for other, expected in losses.items():
            pair_alike = STEPS[setting][1] == STEPS[other][1]
            for name in expected if pair_alike else ("reconstruction", "consistency"):
                torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-5)


def seconds(run: Callable[[], object]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def simulated(n_spots: int) -> Tissue[DenseFeatures]:
    """Principal components and the graph of the 6 nearest neighbours."""
    adata = sp.datasets.simulate_tissue(n_spots=n_spots, n_genes=N_GENES, random_state=0)
    sp.pp.prepare(adata, recipe="spacross", n_top_genes=None)
    sp.pp.spatial_neighbors_knn(adata)
    model, device = SpaCross(DEFAULT), torch.device("cpu")
    features = model._features(adata.X, model._reduce(adata.X, device), device)
    return Tissue(features, SpotGraph.from_adjacency(sparse.csr_array(adata.obsp["spatial_connectivities"])), ())


def main() -> None:
    """Time all settings on tissues of several sizes and with several numbers of threads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spots", type=int, nargs="+", default=[5_000, 10_000, 20_000])
    parser.add_argument("--threads", type=int, nargs="+", default=[torch.get_num_threads()])
    parser.add_argument("--epochs", type=int, default=3, help="of each setting, in turns")
    parser.add_argument("--short-epochs", type=int, default=10, help="of the default in each turn")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    sp.settings.verbosity, sp.settings.progress_bar = "warning", False
    rows = []
    for n_spots in arguments.spots:
        tissue = simulated(n_spots)
        for threads in arguments.threads:
            torch.set_num_threads(threads)
            rows.append(measure(tissue, arguments.epochs, arguments.short_epochs).assign(**hardware()))
            print(rows[-1].round(4).to_string(index=False), flush=True)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    pd.concat(rows).round(4).to_csv(arguments.out, index=False)


if __name__ == "__main__":
    main()
