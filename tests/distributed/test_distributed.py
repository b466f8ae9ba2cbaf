"""Several processes compute the loss and the gradients that one computes."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="gloo and signals as on Linux and macOS")

# Loss and gradients of one step on one slice and on two, in a group of any size, in both precisions.
PROGRAM = """
import sys
import numpy as np
import torch
from scipy import sparse
from sklearn.neighbors import kneighbors_graph
from torch import distributed
from spotscape.models import SpaCross, SpaCrossConfig, Spotscape, SpotscapeConfig
from spotscape.models._training import Tissue
from spotscape.models._spacross import CrossMasks
from spotscape.models._spotscape import Views
from spotscape.models._training import Draw, Steps, slice_rows
from spotscape.nn import Batch, Features, SpotGraph, draw_meetings
from spotscape.nn.batches import average_gradients
from spotscape.nn.blocks import WeightSource
from spotscape.nn.losses import Masking

rank, size, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
if size > 1:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store{size}", rank=rank, world_size=size)
rng = np.random.default_rng(0)
graph = sparse.block_diag([kneighbors_graph(rng.random((150, 2)), 6) for _ in range(2)], format="csr")
scores, loadings = rng.normal(size=(300, 10)), np.linalg.qr(rng.normal(size=(40, 10)))[0]
genes = rng.poisson(0.5, (300, 40)).astype(float)
whole_keep = torch.from_numpy(rng.random((2, 6 * 300 + 300)) < 0.8)
kept_genes = torch.from_numpy(rng.random((2, 40)) < 0.8)
masked = torch.from_numpy(rng.random(300) < 0.6)
few = torch.zeros(300, dtype=torch.bool)
few[[3, 70, 200]] = True
few_config = dict(decoder="graph", target_momentum=0.9, contrast_spots=120, dropout=0, n_encoders=2)
alone = dict(reconstruction_weight=0, contrast_weight=0, dropout=0)
METHODS = {
    "spotscape": (Spotscape, SpotscapeConfig(scaling_spots=100, n_encoders=2), 99, None),
    "all genes": (Spotscape, SpotscapeConfig.paper(hidden_size=32, latent_size=8), 999, None),
    "spacross": (SpaCross, SpaCrossConfig(dropout=0, n_encoders=2), 0, masked),
}
# Three masked spots are none in some of four processes.
CORNERS = {
    "few masked": (SpaCross, SpaCrossConfig(**few_config), 0, few),
    "consistency alone": (SpaCross, SpaCrossConfig(**alone), 0, masked),
}


def step(kind, config, epoch, hidden, slices):
    dtype = torch.get_default_dtype()
    if kind is SpaCross:
        features = Features.of(scores, dtype=dtype)
    elif config.n_comps is None:
        features = Features.of(sparse.csr_array(genes), dtype=dtype)
    else:
        features = Features.of(scores, loadings=loadings, unit=None, dtype=dtype)
    whole = Batch.whole(features, SpotGraph.from_adjacency(graph))
    tissue = Tissue(whole, slice_rows(slices, torch.device("cpu")), None, 40)
    model = kind(config)
    network = model._network_type(features.shape[1], config, WeightSource(range(config.n_encoders))).to(dtype)
    steps = Steps(whole, graph, model.random_source, n_hops=network.n_hops, batch_size=None, slices=tissue.codes)
    how = {"reduce": steps.reduce, "source": model.random_source, "max_epochs": config.max_epochs}
    objective = model._objective_type(network, tissue, config, **how).to(dtype).train()
    batch = steps.batch(0)
    if kind is Spotscape:
        # Edges are dropped alike in all processes, which has each know the thinned degrees of its outermost spots.
        degrees = whole.graph.structure.row_sums(whole_keep | whole.graph.is_loop)
        weights = batch.graph.weights(whole_keep[:, batch.places], degrees[:, batch.spots])
        meetings = draw_meetings(tissue.slices, config.scaling_spots, 0) if tissue.slices else []
        drawn = Views(weights, features.mask(kept_genes), meetings, 0)
    else:
        here, none = hidden[batch.spots], torch.empty(0, dtype=torch.int64)
        rows = here[: batch.n_inside].nonzero()[:, 0]
        # Without negatives, which each process draws among its own spots.
        online, target = (Masking(view, view.nonzero()[:, 0], none, none) for view in (here, ~here))
        common = torch.Generator().manual_seed(0)
        negatives = torch.empty(len(rows), 0, dtype=torch.int64)
        drawn = CrossMasks(online, target, rows, negatives, Draw(common, common, 0))
    output = objective(batch, drawn, epoch)
    output.total.sum().backward()
    parameters = [one for one in objective.parameters() if one.requires_grad]
    if size > 1:
        average_gradients(parameters)
    found = {f"loss {name}": part.detach().numpy() for name, part in output.parts.items()}
    for name, value in objective.named_parameters():
        if value.requires_grad:
            found[f"gradient {name}"] = (torch.zeros_like(value) if value.grad is None else value.grad).numpy()
    if hasattr(objective, "neighborhoods"):
        found["neighbourhoods"] = objective.neighborhoods.current[0].indices.numpy()
    return found


found = {}
for precision, cases in ((torch.float32, METHODS), (torch.float64, METHODS | CORNERS)):
    torch.set_default_dtype(precision)
    for name, case in cases.items():
        for slices in (None, np.repeat([0, 1], 150)):
            title = f"{str(precision)[6:]}|{name}|{1 if slices is None else 2}"
            found |= {f"{title}|{key}": value for key, value in step(*case, slices).items()}
np.savez(f"{folder}/{size}.{rank}.npz", **found)
if size > 1:
    distributed.barrier()
    distributed.destroy_process_group()
"""
# Of a loss, of the gradient of a parameter, and of the gradient as a whole, as norms. Where a gradient is zero but for
# rounding, which is so before a normalisation, it is compared with the whole.
WITHIN = {"float64": (1e-12, 1e-12, 1e-12), "float32": (1e-6, 5e-5, 5e-6)}
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
SAID = {"SPOTSCAPE_PROGRESS_BAR": "false", "SPOTSCAPE_VERBOSITY": "info", "PYTHONWARNINGS": "ignore"}


def run_group(size: int, folder: Path) -> None:
    """Run the program in so many processes at once."""
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    group = [
        subprocess.Popen([*command, str(rank), str(size), str(folder)], env=os.environ | ONE_THREAD, stderr=-1)
        for rank in range(size)
    ]
    errors = [process.communicate(timeout=120)[1].decode() for process in group]
    assert [process.returncode for process in group] == [0] * size, errors


def read(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """What was found in each case."""
    cases: dict[str, dict[str, np.ndarray]] = {}
    with np.load(path) as stored:
        for key in stored.files:
            case, name = key.rsplit("|", 1)
            cases.setdefault(case, {})[name] = stored[key]
    return cases


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, np.ndarray]]:
    """Loss and gradients of a single process."""
    folder = tmp_path_factory.mktemp("alone")
    run_group(1, folder)
    return read(folder / "1.0.npz")


def norm(values: dict[str, np.ndarray]) -> float:
    return float(np.sqrt(sum(np.square(value, dtype=np.float64).sum() for value in values.values())))


def gradients(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: value for name, value in found.items() if name.startswith("gradient")}


@pytest.mark.parametrize("size", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_loss_and_gradients_are_those_of_one_process(
    size: int, alone: dict[str, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    run_group(size, tmp_path)
    for rank in range(size):
        group = read(tmp_path / f"{size}.{rank}.npz")
        assert group.keys() == alone.keys()
        for case, expected in alone.items():
            compare(group[case], expected, *WITHIN[case.split("|")[0]], case=f"{case} in process {rank}")


def compare(
    found: dict[str, np.ndarray],
    expected: dict[str, np.ndarray],
    of_loss: float,
    of_parameter: float,
    of_all: float,
    *,
    case: str,
) -> None:
    """Refuse what is further from the expected than that, relative to it."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if name.startswith("loss"):
            np.testing.assert_allclose(found[name], value, rtol=of_loss, err_msg=f"{name}, {case}")
    whole = gradients(expected)
    away = {name: found[name] - value for name, value in whole.items()}
    assert norm(away) <= of_all * norm(whole), case
    for name, value in whole.items():
        own = norm({name: value})
        scale = own if own > 1e-6 * norm(whole) else norm(whole)
        assert norm({name: away[name]}) <= of_parameter * scale, f"{name}, {case}"
        if value.dtype == np.float32:
            np.testing.assert_allclose(found[name], value, atol=1e-6, rtol=5e-5, err_msg=f"{name}, {case}")
    np.testing.assert_array_equal(found.get("neighbourhoods", 0), expected.get("neighbourhoods", 0), err_msg=case)


def test_there_is_something_to_compare(alone: dict[str, dict[str, np.ndarray]]) -> None:
    found = {f"{case}|{name}" for case, values in alone.items() for name, value in values.items() if np.any(value)}
    assert "float64|few masked|2|neighbourhoods" in found
    for precision in WITHIN:
        parts = {f"spotscape|1|loss {name}" for name in ("telescope", "reconstruction")}
        parts |= {f"spotscape|2|loss {name}" for name in ("scaling", "prototypes")}
        for case in ("spacross|1", "spacross|2"):
            parts |= {f"{case}|loss {name}" for name in ("reconstruction", "consistency", "contrast")}
            parts.add(f"{case}|neighbourhoods")
        assert {f"{precision}|{name}" for name in parts} <= found
        for case in ("spotscape|2", "spacross|2"):
            own = gradients(alone[f"{precision}|{case}"])
            assert all(np.abs(value).max() > 1e-5 for name, value in own.items() if "bias" not in name)
