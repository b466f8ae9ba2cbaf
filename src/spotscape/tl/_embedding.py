"""The common part of all embeddings of a spatial graph on AnnData: how input is read and results are written."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from spotscape._core import keys
from spotscape._core.anndata_io import record, say_outdated, unsaid, write
from spotscape._core.genes import base_of, n_detected
from spotscape._core.graphs import crosses_on_purpose, library_of_graph, read_graph
from spotscape._core.logging import logger, warn
from spotscape._core.places import coordinates
from spotscape._core.provenance import changed, signature
from spotscape._core.reading import is_logarithm, read_expression
from spotscape._core.rows import LARGEST_LOGARITHM, ChunkedMatrix
from spotscape._core.validation import looks_like_counts, params_of, require_data, slice_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    from anndata import AnnData

    from spotscape._core.randomness import Seed
    from spotscape.models import TrainingRecord
    from spotscape.models._base import GraphEncoder
    from spotscape.models._config import EncoderConfig

# From this number of spots on, fewer encoders are trained, to save time.
LARGE_TISSUE = 10_000


@dataclass(frozen=True)
class EmbeddingInput:
    """Expression and spatial graph, their parameters, and the graph to write if it had to be built.

    ``genes`` holds the columns of the AnnData that the features are, ``None`` for those of a representation.
    """

    matrix: np.ndarray | sparse.csr_array | ChunkedMatrix
    genes: np.ndarray | None
    graph: sparse.csr_array
    params: dict[str, Any]
    built: dict[str, dict[str, Any]]


def read_input(
    adata: AnnData,
    *,
    neighbors_key: str,
    library_key: str | None,
    layer: str | None,
    use_rep: str | None,
    mask_var: str | np.ndarray | None,
    slices: pd.Categorical | None,
    across_slices: bool = False,
) -> EmbeddingInput:
    """Read the input of an embedding; ``across_slices`` allows a stored graph that joins slices."""
    expression = read_expression(adata, layer=layer, use_rep=use_rep, mask_var=mask_var, slices=slices, stream=True)
    graph, built = graph_or_default(adata, neighbors_key, library_key, across_slices=across_slices)
    params = {
        "source": expression.source,
        "mask_var": mask_var if isinstance(mask_var, str) or mask_var is None else "array",
        "neighbors_key": neighbors_key,
        "library_key": library_key,
    }
    return EmbeddingInput(expression.matrix, expression.genes, graph, params, built)


def choose_config(
    adata: AnnData,
    kind: type[EncoderConfig],
    config: EncoderConfig | None,
    preset: Any,
    *,
    slices: pd.Categorical | None,
    layer: str | None,
    use_rep: str | None,
    changes: Mapping[str, Any],
) -> EncoderConfig:
    """The configuration of the training; ``changes`` are single fields, of which ``None`` leaves one as it is.

    A representation is used as it is: its logarithm is not undone, and its columns are not scaled.
    """
    if config is not None and preset != "default":
        msg = f"preset={preset!r} and config exclude each other; give one of them."
        raise ValueError(msg)
    several_slices = slices is not None and len(slices.categories) > 1
    chosen = config or kind._choose(preset, several_slices=several_slices, large_tissue=adata.n_obs > LARGE_TISSUE)
    if use_rep not in (None, "X"):
        chosen = dataclasses.replace(chosen, n_comps=None)
    if not undo_logarithm(adata, layer, wanted=chosen.linear_scale and chosen.n_comps is not None):
        chosen = dataclasses.replace(chosen, linear_scale=False)
    return dataclasses.replace(chosen, **{name: value for name, value in changes.items() if value is not None})


def undo_logarithm(adata: AnnData, layer: str | None, *, wanted: bool) -> bool:
    """Whether a logarithm is to be undone. Without a record of one, the values decide."""
    is_log, values = is_logarithm(adata, layer), adata.X if layer is None else adata.layers.get(layer)
    if not wanted or is_log is not None or values is None:
        return wanted and is_log is not False
    where, base = keys.place_of(layer), base_of(values)
    none = "has no record of sp.pp.prepare or sc.pp.log1p, and its values look like"
    if base is None:
        logger.info(
            "`%s` %s no logarithms of counts, so they are used as they are. If they are logarithms, have them in "
            "adata.X and say so: adata.uns['log1p'] = {}.",
            where, none,
        )  # fmt: skip
    elif base == math.e:
        undone = (
            "`%s` %s logarithms, which are undone first. If they are none, set linear_scale=False in the configuration."
        )
        logger.info(undone, where, none)
    else:
        warn(
            f"{where} {none} logarithms to base {base:g}, which are undone as if they were natural ones. Make them so: "
            f"{where} = {where} * np.log({base:g})."
        )
    return base is not None


def train_on(
    adata: AnnData,
    method: type[GraphEncoder[Any]],
    *,
    key_added: str,
    neighbors_key: str = "spatial_neighbors",
    library_key: str | None = None,
    across_slices: bool = False,
    layer: str | None = None,
    use_rep: str | None = None,
    mask_var: str | np.ndarray | None = None,
    decoded_layer: str | None = None,
    preset: str = "default",
    config: EncoderConfig | None = None,
    max_epochs: int | None = None,
    lr: float | None = None,
    n_encoders: int | None = None,
    random_state: Seed = 0,
    n_restarts: int = 1,
    return_model: bool = False,
    copy: bool = False,
    **training: Any,
) -> Any:
    """Read an AnnData, train a method on it, and write embedding, record and, if requested, decoded expression.

    ``n_restarts`` is the total number of trainings, each with another seed. All results except the embeddings are those
    of the first. ``training`` are arguments of the model's ``fit``.
    """
    require_data(adata)
    library_key = library_of_graph(adata, neighbors_key, library_key, across_slices=across_slices)
    labels = _read_slices(adata, library_key)
    reading: dict[str, Any] = {"slices": labels, "layer": layer, "use_rep": use_rep}
    changes = {"max_epochs": max_epochs, "lr": lr, "n_encoders": n_encoders}
    chosen = choose_config(adata, method._config_type, config, preset, changes=changes, **reading)
    reading |= {"neighbors_key": neighbors_key, "library_key": library_key, "mask_var": mask_var}
    tissue = read_input(adata, across_slices=across_slices, **reading)
    _check_results(tissue, decoded_layer, copy=copy, return_model=return_model)
    slices = None if labels is None else labels.codes
    model, *restarts = _models(method, chosen, random_state, n_restarts)
    training |= {"slices": slices, "restarts": tuple(restarts), "remember": return_model}
    embedding, *further = model._fit_embed(tissue.matrix, tissue.graph, **training)
    layers = {} if decoded_layer is None else {decoded_layer: _decode(model, adata, tissue, slices)}
    params = {"preset": preset if config is None else None, **dataclasses.asdict(chosen), **tissue.params}
    params |= {"n_features": tissue.matrix.shape[1], "decoded_layer": decoded_layer}
    summary = record(params, history=model.history, random_state=model.random_source.seed)
    model.training = _training_record(model, adata, tissue) if return_model else None
    others: dict[str, np.ndarray] = {f"{key_added}_{number}": one for number, one in enumerate(further, start=1)}
    if others:
        seeds = [each.random_source.seed for each in (model, *restarts)]
        summary["restarts"] = {"use_reps": [key_added, *others], "random_states": seeds}
    entry = adata.uns.get(key_added.removeprefix("X_"))
    outdated = [("obsm", key) for key in _earlier_trainings(entry) if key not in {key_added, *others}]
    built = {**tissue.built, "layers": layers, "obsm": others}
    written = write_embedding(adata, embedding, summary, key_added=key_added, built=built, outdated=outdated, copy=copy)
    _say_decoded_before(adata if written is None else written, entry, key_added, decoded_layer)
    return model if return_model else written


def _models(
    method: type[GraphEncoder[Any]], config: EncoderConfig, random_state: Seed, n_restarts: int
) -> list[GraphEncoder[Any]]:
    """A model for each training; the seeds of all but the first follow from that of the first."""
    first = method(config, random_state=random_state)
    seeds = (first.random_source.integer(f"restart {number}") for number in range(1, n_restarts))
    return [first, *(method(config, random_state=seed) for seed in seeds)]


def _read_slices(adata: AnnData, library_key: str | None) -> pd.Categorical | None:
    """The slices; those of one spot, whose features cannot be centred, are refused here, where they have names."""
    labels = slice_labels(adata, library_key)
    if labels is not None and 1 in (sizes := np.bincount(labels.codes)) and len(sizes) > 1:
        name = str(labels.categories[int(sizes.argmin())])
        column = f"adata.obs[{library_key!r}]"
        msg = f"slice {name!r} of {column} has a single spot; leave it out: adata = adata[{column} != {name!r}].copy()."
        raise ValueError(msg)
    return labels


def _say_decoded_before(adata: AnnData, entry: Any, key_added: str, decoded_layer: str | None) -> None:
    """Tell that a layer of another name was decoded by an earlier training, which the record ``entry`` is of."""
    decoded = params_of(entry).get("decoded_layer")
    if decoded not in {None, decoded_layer} and decoded in adata.layers and changed(adata, entry, "written"):
        say_outdated([f"adata.obsm[{key_added!r}]"], [f"adata.layers[{decoded!r}]"])


def _earlier_trainings(entry: Any) -> list[str]:
    """Names of the embeddings that the record of an earlier call lists."""
    restarts = entry.get("restarts") if isinstance(entry, Mapping) else None
    return sorted(map(str, restarts.get("use_reps", ()))) if isinstance(restarts, Mapping) else []


def _check_results(tissue: EmbeddingInput, decoded_layer: str | None, *, copy: bool, return_model: bool) -> None:
    """Refuse results that there cannot be, before any training."""
    if copy and return_model:
        msg = "copy=True and return_model=True exclude each other: there is one result. Copy first: adata.copy()."
        raise ValueError(msg)
    if decoded_layer is not None and tissue.genes is None:
        msg = f"decoded_layer={decoded_layer!r} needs genes, but the input is {tissue.params['source']}; drop use_rep."
        raise ValueError(msg)
    if tissue.params["source"] == f"adata.layers[{decoded_layer!r}]":
        msg = f"decoded_layer={decoded_layer!r} would overwrite measured expression; choose another name."
        raise ValueError(msg)


def _decode(model: GraphEncoder[Any], adata: AnnData, tissue: EmbeddingInput, slices: np.ndarray | None) -> np.ndarray:
    """Decoded expression in all columns of the AnnData, NaN for genes that the model has not seen."""
    layer = np.full(adata.shape, np.nan, dtype=np.float32)
    decoded = np.maximum(model.reconstruct(tissue.matrix, tissue.graph, slices=slices), 0)
    layer[:, tissue.genes] = decoded
    if decoded.shape[1] < adata.n_vars:
        logger.info("The %s genes that were used are decoded; the others are NaN.", f"{decoded.shape[1]:,}")
    return layer


def write_embedding(
    adata: AnnData,
    embedding: np.ndarray,
    summary: dict[str, Any],
    *,
    key_added: str,
    built: dict[str, dict[str, Any]],
    outdated: Sequence[tuple[str, str]] = (),
    copy: bool,
) -> AnnData | None:
    """Write embedding, record and other results at once, to ``adata`` or to a copy that is returned."""
    embeddings = {key_added: embedding, **built.get("obsm", {})}
    written = signature(adata.obs_names, {("obsm", key): values for key, values in embeddings.items()})
    uns = {**built.get("uns", {}), key_added.removeprefix("X_"): {**summary, "written": written}}
    return write(adata, {**built, "obsm": embeddings, "uns": uns}, outdated=outdated, copy=copy)


_DEFAULT, _CONNECTIVITIES, _DISTANCES = keys.graph_keys(keys.SPATIAL)


def graph_or_default(
    adata: AnnData, neighbors_key: str, library_key: str | None, *, across_slices: bool = False
) -> tuple[sparse.csr_array, dict[str, dict[str, Any]]]:
    """Connectivities of the named graph, and the entries to write if the default graph had to be built.

    ``across_slices`` allows a stored graph that joins slices. The default graph never does.
    """
    graph = read_graph(adata, neighbors_key, library_key, across_slices=across_slices)
    if graph is not None:
        if library_key is None and crosses_on_purpose(adata.uns[neighbors_key]):
            warn(
                f"the graph {neighbors_key!r} joins slices, but library_key is None: all spots are taken to be of one "
                "slice. Name the column with the slice of each spot: library_key=..."
            )
        return graph, {}
    across = [key for key, entry in adata.uns.items() if crosses_on_purpose(entry)] if across_slices else []
    if across:
        warn(f"the graph across slices is not used; to use it, name it: neighbors_key={across[0]!r}.")
    from spotscape.pp import spatial_neighbors_knn
    from spotscape.pp._graph_build import SlicePositions
    from spotscape.pp._scale import stored_or_chosen_scale

    positions = SlicePositions.read(adata, spatial_key=keys.SPATIAL, library_key=library_key)
    n_neighs, chosen = stored_or_chosen_scale(adata, positions)
    logger.info("No spatial graph yet: building the default, the %d nearest neighbours of each spot.", n_neighs)
    graph, built = build_aside(adata, spatial_neighbors_knn, library_key=library_key, n_neighs=n_neighs)
    built["uns"] |= chosen
    return graph, built


def build_aside(
    adata: AnnData, builder: Callable[..., Any], *, spatial_key: str = keys.SPATIAL, **arguments: Any
) -> tuple[sparse.csr_array, dict[str, dict[str, Any]]]:
    """Connectivities by one of ``pp.spatial_neighbors_*``, and what to write later, under the default names."""
    from anndata import AnnData as NewAnnData

    coords = coordinates(adata, spatial_key)
    # On a stand-in without expression, so that the user's AnnData stays as it is until everything has succeeded.
    scratch = NewAnnData(obs=adata.obs, obsm={spatial_key: coords})
    with unsaid():
        builder(scratch, spatial_key=spatial_key, **arguments)
    built = {
        "obsp": {_CONNECTIVITIES: scratch.obsp[_CONNECTIVITIES], _DISTANCES: scratch.obsp[_DISTANCES]},
        "uns": {_DEFAULT: scratch.uns[_DEFAULT]},
    }
    return sparse.csr_array(scratch.obsp[_CONNECTIVITIES]), built


def _training_record(model: GraphEncoder[Any], adata: AnnData, tissue: EmbeddingInput) -> TrainingRecord | None:
    """How the genes of a training, its expression and its graph were made; ``None`` for a representation."""
    from spotscape.models import TrainingRecord

    if tissue.genes is None:
        return None
    matrix = tissue.matrix
    detected = matrix.summary.detected.sum(axis=0) if isinstance(matrix, ChunkedMatrix) else n_detected(matrix)
    entry = {**dict(adata.uns), **tissue.built.get("uns", {})}[tissue.params["neighbors_key"]]
    return TrainingRecord(
        genes=tuple(map(str, adata.var_names[tissue.genes])),
        scale=scale_of(matrix, adata, tissue.params["source"]),
        prepare=prepare_params(adata, tissue.params["source"]),
        graph=dict(entry.get("params", {})),
        mean_degree=tissue.graph.nnz / tissue.graph.shape[0],
        means=model.neutral_values(matrix),
        detected=(detected / matrix.shape[0]).astype(np.float32),
    )


def scale_of(matrix: Any, adata: AnnData, source: str) -> str:
    """``"counts"``, ``"logarithm"`` or ``"linear"``, from the record of ``adata.X`` or else from its values."""
    if looks_like_counts(matrix):
        return "counts"
    is_log = is_logarithm(adata, None) if source == "adata.X" else None
    return "logarithm" if (matrix.max() <= LARGEST_LOGARITHM if is_log is None else is_log) else "linear"


def prepare_params(adata: AnnData, source: str) -> Mapping[str, Any] | None:
    """How ``pp.prepare`` made ``adata.X``; ``None`` if it did not, or if another matrix was read."""
    return (dict(params_of(adata.uns.get(keys.PREPARE))) or None) if source == "adata.X" else None
