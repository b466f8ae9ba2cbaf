"""Input of a trained model on new slices: its genes in its order, on its scale, and a graph as in the training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from scipy.stats import spearmanr

from spotscape._core import keys
from spotscape._core.genes import n_detected
from spotscape._core.graphs import read_graph
from spotscape._core.logging import logger, warn
from spotscape._core.reading import ALIKE, checked_expression, expression_values
from spotscape._core.rows import expm1
from spotscape.tl._embedding import build_aside, prepare_params, scale_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from anndata import AnnData

    from spotscape.models import TrainingRecord

# If so many spots are expected to have a gene, it is not by chance that none has it.
_EXPECTED_SPOTS = 20
# Totals of so many spots are looked at; they differ by less than this if they were all scaled to the same.
_SAMPLE, _EQUAL = 500, 0.02
# Ranks of genes by their means correlate by .9 between a layer and its cortex, by .7 between tumours of two patients,
# and by .3 between cortex and tumour.
_OTHER_TISSUE, _ENOUGH_GENES = 0.5, 20
_SHOWN = 5
_SIMILAR_DEGREE = 2.0
_MEND = {
    "counts": "the model was trained on raw counts, name the layer that has them: layer='counts'",
    "logarithm": "bring the new slices to it: sp.pp.prepare(adata)",
    "linear": "bring the new slices to it: sp.pp.prepare(adata, log1p=False)",
}


@dataclass(frozen=True)
class NewExpression:
    """Expression for the model, its source, and the genes that were measured or filled."""

    matrix: np.ndarray | sparse.csr_array
    source: str
    filled: list[str]
    measured: np.ndarray


def read_genes(
    adata: AnnData,
    training: TrainingRecord,
    *,
    layer: str | None,
    slices: np.ndarray | None,
    fill: bool,
    max_missing: float,
) -> NewExpression:
    """The model's genes in its order. Genes that were not measured get their mean of the training, if allowed."""
    source = keys.place_of(layer)
    columns = adata.var_names.get_indexer(list(training.genes))
    measured = columns >= 0
    if not measured.any():
        msg = (
            f"adata has none of the {len(training.genes)} genes of the model. They are called "
            f"{_some(list(training.genes))}, here {_some(list(map(str, adata.var_names)))}; bring adata.var_names to "
            "the same kind of name."
        )
        raise ValueError(msg)
    found = checked_expression(adata, layer, columns=columns[measured])
    empty = np.asarray(found.sum(axis=1)).ravel() == 0
    if empty.any():
        logger.info(
            "%s of %s spots have none of the genes of the model; they are embedded from their neighbours.",
            np.count_nonzero(empty),
            len(empty),
        )
    names = np.array(training.genes)
    silent = _silent_genes(found, training.detected[measured], slices)
    if silent.any() and fill:
        found = found[:, ~silent]
        measured[np.flatnonzero(measured)[silent]] = False
    elif silent.any():
        warn(
            f"{silent.sum()} genes of the model are zero throughout a slice in {source} "
            f"({_some(names[measured][silent].tolist())}), although many spots of the training have them. If they were "
            "not measured, set missing_genes='fill'."
        )
    missing = names[~measured].tolist()
    if missing:
        _check_missing(missing, len(names), fill=fill, max_missing=max_missing)
        found = _filled(found, measured, training.means)
    return NewExpression(found, source, missing, measured)


def _silent_genes(found: Any, detected: np.ndarray, slices: np.ndarray | None) -> np.ndarray:
    """Genes that are zero in all spots of a slice although spots with them are expected from the training."""
    silent = np.zeros(found.shape[1], dtype=bool)
    codes = np.zeros(found.shape[0], dtype=int) if slices is None else np.asarray(slices)
    for own in (found[codes == code] for code in np.unique(codes)):
        silent |= (n_detected(own) == 0) & (detected * own.shape[0] >= _EXPECTED_SPOTS)
    return silent


def _filled(found: Any, measured: np.ndarray, means: np.ndarray) -> Any:
    """The measured genes, and the means of the others, in the order of the model."""
    order = np.argsort(np.concatenate([np.flatnonzero(measured), np.flatnonzero(~measured)]))
    constant = np.tile(means[~measured], (found.shape[0], 1))
    if sparse.issparse(found):
        return sparse.csr_array(sparse.hstack([found, sparse.csr_array(constant)], format="csc")[:, order])
    return np.ascontiguousarray(np.hstack([found, constant])[:, order], dtype=np.float32)


def check_preprocessing(
    adata: AnnData, training: TrainingRecord, found: NewExpression, layer: str | None, slices: pd.Categorical | None
) -> None:
    """Refuse expression on another scale than that of the training; mention totals and tissue that look like it."""
    present = found.matrix[:, found.measured]
    scale = scale_of(present, adata, found.source)
    if scale != training.scale:
        mend = _MEND[training.scale]
        msg = f"{found.source} is on the scale {scale!r}, the training was on {training.scale!r}; {mend}."
        raise ValueError(msg)
    here = prepare_params(adata, found.source)
    if here is not None and training.prepare is not None:
        for name in ("log1p", "target_sum"):
            if here.get(name) != training.prepare.get(name):
                wanted = training.prepare.get(name)
                msg = (
                    f"adata was prepared with {name}={here.get(name)!r}, the training with {wanted!r}; prepare it "
                    f"alike: sp.pp.prepare(adata, layer='counts', {name}={wanted!r})."
                )
                raise ValueError(msg)
    if here is None and scale == "logarithm" and training.prepare is not None:
        # Totals of all spots are equal if they were normalised to another total.
        totals = np.asarray(expm1(expression_values(adata[:_SAMPLE], layer)).sum(axis=1), dtype=np.float64).ravel()
        total: Any = training.prepare.get("target_sum")
        totals = totals[totals > 0]
        low, middle, high = np.quantile(totals, [0.05, 0.5, 0.95]) if len(totals) else (0.0, 0.0, 1.0)
        off = isinstance(total, (int, float)) and abs(middle - total) > _EQUAL * total
        if off and high - low < _EQUAL * middle:
            msg = (
                f"the spots of {found.source} are normalised to a total of {middle:.4g}, those of the training to "
                f"{total:g}; from raw counts, sp.pp.prepare(adata) or scanpy.pp.normalize_total(adata, "
                f"target_sum={total:g}) and scanpy.pp.log1p(adata) bring them to it."
            )
            raise ValueError(msg)
    ratio = _total(present, scale) / max(_total(training.means[found.measured][None], scale), np.finfo(float).tiny)
    if not 1 / ALIKE <= ratio <= ALIKE:
        warn(
            f"spots have {ratio:.2g} times as much expression in the model's genes as in the training. Were the new "
            "slices normalised to another total (target_sum), or on fewer genes? Normalise on all genes, as in the "
            "training."
        )
    _warn_of_other_tissue(expm1(present) if scale == "logarithm" else present, training.means[found.measured], slices)


def _warn_of_other_tissue(linear: Any, means: np.ndarray, slices: pd.Categorical | None) -> None:
    """Warn of slices in which other genes are high than in the training; aligned, they look like any other slice."""
    if len(means) < _ENOUGH_GENES:
        return
    groups = {"adata": np.arange(linear.shape[0])}
    if slices is not None:
        groups = {f"slice {name!r}": np.flatnonzero(slices == name) for name in slices.categories}
    for name, rows in groups.items():
        ranks = spearmanr(np.asarray(linear[rows].sum(axis=0)).ravel(), means).statistic
        if ranks < _OTHER_TISSUE:
            warn(
                f"the genes that are high in {name} are not those of the training (rank correlation {ranks:.2f}). If "
                "this is another tissue, it still gets positions among the spots of the training, and transferred "
                "domains mean nothing, however high their confidence."
            )


def _total(matrix: Any, scale: str) -> float:
    if scale == "logarithm":
        matrix = expm1(matrix)
    return float(matrix.sum(dtype=np.float64) / matrix.shape[0])


def _check_missing(missing: list[str], n_genes: int, *, fill: bool, max_missing: float) -> None:
    share = len(missing) / n_genes
    found = f"{len(missing)} of the {n_genes} genes of the model ({share:.1%}) were not measured here: {_some(missing)}"
    if not fill:
        mend = "missing_genes='fill'" + (f", max_missing={_up(share)}" if share > max_missing else "")
        msg = f"{found}. If the names are right, fill the genes with their means of the training: {mend}."
        raise ValueError(msg)
    if share > max_missing:
        msg = (
            f"{found}. That is more than max_missing={max_missing:g}: train on the genes that all slices have, or "
            f"raise the limit and compare the result with a training of its own (max_missing={_up(share)})."
        )
        raise ValueError(msg)
    logger.info("%s; they get their means of the training.", found)


def _up(share: float) -> float:
    return float(np.ceil(share * 100) / 100)


def _some(names: list[str]) -> str:
    return ", ".join(map(repr, names[:_SHOWN])) + (", ..." if len(names) > _SHOWN else "")


def graph_as_trained(
    adata: AnnData, training: TrainingRecord, neighbors_key: str, library_key: str | None, *, across_slices: bool
) -> tuple[sparse.csr_array, dict[str, dict[str, Any]]]:
    """The stored graph, or one built as in the training, with the entries to write."""
    graph = read_graph(adata, neighbors_key, library_key, across_slices=across_slices)
    built: dict[str, dict[str, Any]] = {}
    if graph is None:
        from spotscape.pp import spatial_neighbors_delaunay, spatial_neighbors_knn, spatial_neighbors_radius

        params, mode = training.graph, training.graph.get("mode", "knn")
        radius = params.get("radius")
        radius = tuple(map(float, radius)) if isinstance(radius, list | tuple | np.ndarray) else radius
        builder: Callable[..., Any] = spatial_neighbors_knn
        arguments: dict[str, Any] = {"n_neighs": int(params.get("n_neighbors") or 0)}
        if mode in ("radius", "delaunay"):
            builder = {"radius": spatial_neighbors_radius, "delaunay": spatial_neighbors_delaunay}[mode]
            arguments = {"radius": radius}
        elif mode != "knn" or not params.get("n_neighbors"):
            msg = (
                f"the graph of the training ({dict(params)}) cannot be built from the new slices alone; build one, "
                "within slices with sp.pp.spatial_neighbors_knn or across them with sp.pp.spatial_neighbors_3d, and "
                "name it by neighbors_key."
            )
            raise ValueError(msg)
        said = ", ".join(f"{name}={value}" for name, value in arguments.items())
        logger.info("No spatial graph yet: building it as in the training, %s(%s).", builder.__name__, said)
        place = training.graph.get("spatial_key") or keys.SPATIAL
        graph, built = build_aside(adata, builder, spatial_key=place, library_key=library_key, **arguments)
    degree = graph.nnz / graph.shape[0]
    if not 1 / _SIMILAR_DEGREE <= degree / training.mean_degree <= _SIMILAR_DEGREE:
        warn(
            f"spots have {degree:.1f} neighbours, in the training {training.mean_degree:.1f}; the model was trained on "
            "neighbourhoods of that size. Remove the graph to have it built as in the training."
        )
    return graph, built
