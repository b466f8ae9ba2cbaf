"""The steps of an analysis, as calls that can be run and printed."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spotscape._core import keys
from spotscape._core.logging import logger

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from spotscape.cli._inspect import Description
    from spotscape.readers._read import Input

# With fewer spots the number of domains cannot be chosen.
_FEW_SPOTS = 15
_MANY_SPOTS = 50_000
EMBEDDINGS = {"spotscape": keys.X_SPOTSCAPE, "spacross": keys.X_SPACROSS, "smoothed-pca": keys.X_SMOOTHED_PCA}


class _Picked:
    """The number of domains that is known only once it has been chosen."""

    def __repr__(self) -> str:
        return f"int(adata.uns[{keys.N_DOMAINS!r}]['picked'])"


@dataclass
class Step:
    """One call: ``spotscape.<space>.<name>(adata, **arguments)``, and what it took."""

    space: str
    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def __str__(self) -> str:
        arguments = "".join(f", {name}={value!r}" for name, value in self.arguments.items())
        data = "sdata" if "table_key" in self.arguments else "adata"
        return f"sp.{self.space}.{self.name}({data}{arguments})"

    def do(self, tissue: Input) -> None:
        """Run it."""
        import spotscape

        start = time.perf_counter()
        arguments = {
            name: int(tissue.adata.uns[keys.N_DOMAINS]["picked"]) if isinstance(value, _Picked) else value
            for name, value in self.arguments.items()
        }
        logger.debug("%s", self)
        getattr(getattr(spotscape, self.space), self.name)(tissue.data, **arguments)
        self.seconds = time.perf_counter() - start


def plan(options: argparse.Namespace, tissue: Input, found: Description) -> list[Step]:
    """The steps that lead from counts to domains."""
    slices = {} if found.slices is None else {"library_key": found.slices}
    place = {} if options.spatial_key == keys.SPATIAL else {"spatial_key": options.spatial_key}
    counts = {} if found.layer is None else {"layer": found.layer}
    neighbors = {} if options.neighbors is None else {"n_neighs": options.neighbors}
    seed = {} if options.seed == 0 else {"random_state": options.seed}
    recipe = {"recipe": "spacross"} if options.method == "spacross" else {}
    embedding = EMBEDDINGS[options.method]
    wanted = {
        "max_epochs": options.max_epochs,
        "device": None if options.device == "auto" else options.device,
        "n_restarts": None if options.restarts == 1 else options.restarts,
        "checkpoint": None if getattr(options, "checkpoint", None) is None else str(options.checkpoint),
    }
    is_trained = options.method != "smoothed-pca"
    training = {name: value for name, value in wanted.items() if is_trained and value is not None}
    steps = [
        *([] if found.is_normalised else [Step("pp", "prepare", {**recipe, **counts, **slices})]),
        Step("pp", "spatial_neighbors_knn", {**neighbors, **place, **slices}),
        Step("tl", options.method.replace("-", "_"), {**slices, **seed, **training}),
    ]
    if options.method == "smoothed-pca" and slices:
        steps.append(Step("tl", "integrate_slices", {"use_rep": embedding, "key_added": embedding, **slices, **seed}))
    if options.register:
        steps.append(Step("pp", "register_slices", {**slices, **place, "use_rep": embedding}))
    steps += _domains(options, found.n_spots, {"use_rep": embedding}, seed)
    if not options.no_markers:
        # Ranks and Moran's I of every gene take longer than the rest of the analysis, and copies of all expression.
        test = {"method": "t-test", "neighbors_key": None} if not slices and found.n_spots > _MANY_SPOTS else {}
        steps.append(Step("tl", "markers", {"key": domain_key(options), **test, **slices}))
    for step in steps:
        if tissue.container is not None:
            step.arguments["table_key"] = tissue.table
        step.arguments.update(options.steps.get(step.name, {}))
    return steps


def domain_key(options: argparse.Namespace) -> str:
    """The column of ``obs`` that the domains are written to."""
    return keys.CONSENSUS if _votes(options) else keys.domain_of(EMBEDDINGS[options.method])


def _votes(options: argparse.Namespace) -> bool:
    return bool(options.restarts > 1 and options.method != "smoothed-pca")


def _domains(options: argparse.Namespace, n_spots: int, embedding: dict[str, Any], seed: dict[str, Any]) -> list[Step]:
    number = {} if options.n_domains is None else {"n_domains": options.n_domains}
    if not number and 2 <= n_spots < _FEW_SPOTS:
        logger.warning("%d spots are too few to choose the number of domains by: taking 2.", n_spots)
        number = {"n_domains": 2}
    if not _votes(options):
        return [Step("tl", "domains", {**embedding, **number, **seed})]
    choice = [] if number else [Step("tl", "choose_n_domains", {**embedding, **seed})]
    return [*choice, Step("tl", "consensus_domains", {"n_domains": number.get("n_domains", _Picked()), **seed})]


def ways_to_read(options: argparse.Namespace) -> dict[str, Any]:
    """Arguments of :func:`spotscape.read` that are not the defaults."""
    layer = "X" if options.intensities else options.layer
    ways = {"table_key": options.table, "layer": layer, "bin_size": options.bin_size}
    others = {} if options.spatial_key == keys.SPATIAL else {"spatial_key": options.spatial_key}
    return {name: value for name, value in ways.items() if value is not None} | others


def python_of(options: argparse.Namespace, tissue: Input, steps: Sequence[Step]) -> list[str]:
    """The analysis as lines of Python."""
    paths = list(map(str, options.inputs))
    ways = "".join(f", {name}={value!r}" for name, value in ways_to_read(options).items())
    data = "adata" if tissue.container is None else "sdata"
    return [f"{data} = sp.read({paths if len(paths) > 1 else paths[0]!r}{ways})", *map(str, steps)]
