"""A default fit against the dense formulation at the released schedule: one run, side by side, and who brings what.

    python benchmarks/speed.py --tissue dlpfc_151673 --threads 2

The dense formulation is written here from the formulas of the paper, with nothing saved: every view holds its own
masked copy of the expression, the decoder builds all genes of all spots, and the telescope compares all N×N cosines.
Its embedding is clustered like ours, so the table shows time and agreement of both. `--epochs 1000` is the released
schedule; with fewer, its time is extrapolated and its agreement is not shown. The same holds for the steps in between
and `--timed-epochs`. The first of them computes the same losses (the tests prove it), so its agreement is that of the
published formulation.

Then the way from there to the default, one change at a time: seconds per epoch, epochs, and seconds of the whole. And
the first encoder of the default with fewer epochs, means over three seeds: how long it takes to be as good as the dense
formulation is in the end.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import torch
from scipy import sparse
from tissues import TISSUES, hardware, load
from torch.nn.functional import normalize

import spotscape as sp
from spotscape._core.randomness import RandomSource
from spotscape.models import Spotscape, SpotscapeConfig
from spotscape.models._spotscape_network import SpotscapeNetwork
from spotscape.nn import SpotGraph, as_features
from spotscape.nn.layers import build_seeded, calibrate_batch_norm

if TYPE_CHECKING:
    import numpy as np
    from anndata import AnnData

RESULTS = Path(__file__).parent / "results" / "speed.csv"
PAPER = SpotscapeConfig.paper()
# From the published setting to the default, each line with the change before it kept.
STEPS = {
    "exact linear objectives, no copies": PAPER,
    "30 components": dataclasses.replace(PAPER, n_components=SpotscapeConfig().n_components),
    "default": SpotscapeConfig(),
}
SHORT = (10, 25, 50, 100, 200)
SEEDS = 3


class DenseSpotscape:
    """The published formulation, quadratic in spots and with every matrix built."""

    def __init__(self, expression: np.ndarray, adjacency: sparse.csr_array, seed: int) -> None:
        self.x = torch.from_numpy(expression)
        self.graph = SpotGraph.from_adjacency(adjacency)
        source = RandomSource(seed)
        self.network = build_seeded(lambda: SpotscapeNetwork(self.x.shape[1], PAPER), source.integer("weights"))
        self.generator = source.torch("views")
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=PAPER.lr, weight_decay=PAPER.weight_decay)

    def step(self) -> None:
        """One epoch of the dense formulation."""
        loss = self.loss([self._view() for _ in range(2)])
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def loss(self, views: list[torch.Tensor]) -> torch.Tensor:
        """Telescope over all pairs, and reconstruction of all genes."""
        a, b = (normalize(view) for view in views)
        telescope = (a @ b.T - b @ a.T).square().sum() / len(a) ** 2
        decoded = [self.network.output(self.network.decode_hidden(view)) for view in views]
        reconstruction = torch.stack([(self.x - other).square().mean() for other in decoded]).mean()
        return telescope + PAPER.reconstruction_weight * reconstruction

    def _view(self) -> torch.Tensor:
        keep_gene = torch.rand(self.x.shape[1], generator=self.generator) >= PAPER.feature_drop
        keep_edge = torch.rand(self.graph.n_edges, generator=self.generator) >= PAPER.edge_drop
        return self.network.encode(as_features((self.x * keep_gene).numpy()), self.graph.normalized(keep_edge))

    def embed(self) -> np.ndarray:
        """Embed the whole tissue."""
        features, whole = as_features(self.x.numpy()), self.graph.normalized()
        calibrate_batch_norm(self.network, lambda: self.network.encode(features, whole))
        self.network.eval()
        with torch.no_grad():
            return self.network.encode(features, whole).numpy()


def agreement(adata: AnnData, embedding: np.ndarray) -> dict[str, float]:
    """Score an embedding under both clusterers."""
    adata.obsm["X_timed"] = embedding
    truth, found = adata.obs["domain"], {}
    for method in ("kmeans", "gmm"):
        sp.tl.domains(adata, n_domains=truth.nunique(), method=method, use_rep="X_timed")
        found[f"ari_{method}"] = round(sp.metrics.ari(truth, adata.obs["spotscape_domain"]), 3)
    return found


def shortened(
    adata: AnnData, expression: sparse.csr_matrix, adjacency: sparse.csr_array, epochs: int
) -> dict[str, float]:
    """Seconds and agreement of one encoder of the default, trained for fewer epochs."""
    config = SpotscapeConfig(n_encoders=1, max_epochs=epochs)
    runs = []
    for seed in range(SEEDS):
        started = time.perf_counter()
        embedding = Spotscape(config, random_state=seed).fit(expression, adjacency).embed(expression, adjacency)
        runs.append({"seconds": time.perf_counter() - started, **agreement(adata, embedding)})
    means = pd.DataFrame(runs).mean().to_dict()
    return {
        "setting": f"one encoder, {epochs} epochs",
        "epochs": epochs,
        "s_per_epoch": means["seconds"] / epochs,
        **means,
    }


def main() -> None:
    """Time the dense formulation, then each step towards the default."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tissue", choices=TISSUES, default="dlpfc_151673")
    parser.add_argument("--epochs", type=int, default=PAPER.max_epochs, help="epochs of the dense formulation to run")
    parser.add_argument("--timed-epochs", type=int, default=10, help="epochs to time the steps in between by")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    sp.settings.verbosity, sp.settings.progress_bar = "warning", False
    adata = load(arguments.tissue)
    expression = adata.X[:, adata.var["highly_variable"].to_numpy()]
    adjacency = sparse.csr_array(adata.obsp["spatial_connectivities"])

    dense = DenseSpotscape(expression.toarray(), adjacency, seed=0)
    started = time.perf_counter()
    for _ in range(arguments.epochs):
        dense.step()
    each = (time.perf_counter() - started) / arguments.epochs
    rows = [{"setting": "dense formulation", "epochs": PAPER.max_epochs, "s_per_epoch": each}]
    rows[0]["seconds"] = each * PAPER.max_epochs
    if arguments.epochs == PAPER.max_epochs:
        rows[0] |= agreement(adata, dense.embed())

    for setting, config in STEPS.items():
        is_default = config == SpotscapeConfig()
        run = config if is_default else dataclasses.replace(config, max_epochs=arguments.timed_epochs)
        whole = run.max_epochs == config.max_epochs
        started = time.perf_counter()
        model = Spotscape(run).fit(expression, adjacency)
        embedding = model.embed(expression, adjacency)
        seconds = time.perf_counter() - started
        each = seconds / run.max_epochs
        row = {"setting": setting, "epochs": config.max_epochs, "s_per_epoch": each}
        row["seconds"] = each * config.max_epochs
        rows.append(row | (agreement(adata, embedding) if whole else {}))
    rows += [shortened(adata, expression, adjacency, epochs) for epochs in SHORT]

    results = pd.DataFrame(rows)
    results["times_faster"] = results["seconds"].iloc[0] / results["seconds"]
    results = results.assign(tissue=arguments.tissue, **hardware())
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    results.round(4).to_csv(arguments.out, index=False)
    print(results.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
