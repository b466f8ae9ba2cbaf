"""Input of imputation: one AnnData with slices to fit to, or two, of which one is the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from spotscape._core import keys
from spotscape._core.genes import identifiers_of, n_detected
from spotscape._core.logging import logger, warn
from spotscape._core.randomness import drawn_by_name
from spotscape._core.reading import ALIKE, expression_values, read_embedding, read_expression
from spotscape._core.rows import expm1
from spotscape._core.validation import require_data, require_finite, require_key, slice_labels
from spotscape.tl._embedding import scale_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

_FEWEST_SHARED = 2
# Genes that are named in a line of the log.
_NAMED = 5
# Enough shared genes to see how well a transfer works, whatever the size of the panel.
_N_TESTED = 200
_JOINT = (
    "Embed both together: put them into one AnnData with anndata.concat, run sp.tl.spotscape(..., library_key=...), "
    "and split it again"
)


@dataclass(frozen=True)
class ImputeInput:
    """Expression and embedding of all spots, those of the AnnData first, and the genes to predict."""

    features: Any  # Expression that spots are compared by, ``(N, G)``
    names: pd.Index  # Names of its genes
    embedding: np.ndarray  # ``(N, k)``
    # Number of the slice of each spot, and of those onto which the others are shifted.
    slices: np.ndarray
    anchors: np.ndarray
    targets: pd.Index  # Names of the genes to predict
    measured: Any  # Expression of the targets, ``(N, T)``
    is_measured: np.ndarray  # In which slices a target may be fitted, bool ``(n_slices, T)``
    imputed: np.ndarray  # Which targets are asked for; the others only test the transfer, bool ``(T,)``


def read_own(
    adata: AnnData,
    *,
    genes: Sequence[str] | None,
    gene_symbols: str | None,
    reference: Sequence[str] | None,
    use_rep: str,
    library_key: str | None,
    layer: str | None,
    mask_var: str | np.ndarray | None,
) -> ImputeInput:
    """Read an AnnData whose own slices are fitted to: all of them, or those of ``reference``."""
    labels = slice_labels(adata, library_key)
    expression = read_expression(adata, layer=layer, use_rep=None, mask_var=mask_var, slices=labels)
    targets = adata.var_names if genes is None else _asked(genes, adata.var, gene_symbols, "adata.var")
    slices = _slice_numbers(adata, labels)
    measured = _columns(adata, targets, layer)
    known = detected_in(measured, slices)
    anchors = np.array([0])
    if reference is None:
        _report_absent(known, targets, labels)
        # Genes that are zero in all slices count as measured everywhere, and are predicted as zero.
        known[:, ~known.any(axis=0)] = True
    else:
        if labels is None:
            msg = f"reference={reference!r} names slices, but library_key is None; name the column with the slices."
            raise ValueError(msg)
        wanted = [str(name) for name in ([reference] if np.isscalar(reference) else reference)]
        if not wanted or not set(wanted) <= set(labels.categories):
            there = f"the slices of adata.obs[{library_key!r}]: {list(labels.categories)}"
            msg = f"reference={reference!r} is not among {there}."
            raise ValueError(msg)
        anchors = np.sort(labels.categories.get_indexer(pd.Index(wanted)))
        known[np.setdiff1d(np.arange(len(known)), anchors)] = False
    _require_known(known, targets, reference)
    embedding = read_embedding(adata, use_rep)
    names = adata.var_names[expression.genes]
    imputed = np.ones(len(targets), dtype=bool)
    return ImputeInput(expression.matrix, names, embedding, slices, anchors, targets, measured, known, imputed)


def read_pair(
    adata: AnnData,
    other: AnnData,
    *,
    genes: Sequence[str] | None,
    gene_symbols: str | None,
    use_rep: str,
    library_key: str | None,
    layer: str | None,
    mask_var: str | np.ndarray | None,
    seed: int,
) -> ImputeInput:
    """Read an AnnData, and a reference from which genes are transferred; a part of the shared genes tests that."""
    require_data(other, unique=["var"])
    labels = slice_labels(adata, library_key)
    expression = read_expression(adata, layer=layer, use_rep=None, mask_var=mask_var, slices=labels)
    values: Any = expression.matrix
    shared, own = _shared(adata, other, expression.genes, layer)
    theirs = read_expression(other[:, shared], layer=layer, use_rep=None, mask_var=None).matrix
    _require_one_unit((adata, values[:, own]), (other, theirs), layer)
    missing = other.var_names.difference(adata.var_names, sort=False)
    asked = missing if genes is None else _asked(genes, other.var, gene_symbols, "reference.var")
    if not len(asked):
        msg = f"all {other.n_vars} genes of the reference are in adata; name the genes to predict: genes=[...]."
        raise ValueError(msg)
    tested = shared.difference(asked, sort=False)
    tested = tested[drawn_by_name(tested, seed) < _N_TESTED]
    targets = asked.append(tested)
    below = _columns(other, targets, layer)
    empty = sparse.csr_array((adata.n_obs, len(asked)), dtype=np.float32)
    above = sparse.hstack([empty, sparse.csr_array(_columns(adata, tested, layer))], format="csr")
    ours = _slice_numbers(adata, labels)
    # A reference may be a single slice and need not say so.
    reference_slices = _slice_numbers(other, slice_labels(other, library_key if library_key in other.obs else None))
    slices = np.concatenate([ours, reference_slices + ours.max() + 1])
    anchors = np.arange(ours.max() + 1, slices.max() + 1)
    measured = _stack(above, below)
    known = detected_in(measured, slices)
    known[: anchors[0]] = False
    _require_known(known, targets, None)
    return ImputeInput(
        _stack(values[:, own], theirs),
        shared,
        _embedded_together(adata, other, use_rep),
        slices,
        anchors,
        targets,
        measured,
        known,
        np.arange(len(targets)) < len(asked),
    )


def _embedded_together(adata: AnnData, other: AnnData, use_rep: str) -> np.ndarray:
    """The embedding of the spots of both, those of ``adata`` first."""
    require_key(other.obsm, use_rep, "reference.obsm", hint=_JOINT)
    own, beside = read_embedding(adata, use_rep), read_embedding(other, use_rep, hint=_JOINT)
    if own.shape[1] != beside.shape[1]:
        msg = f"obsm[{use_rep!r}] has {own.shape[1]} axes in adata and {beside.shape[1]} in reference. {_JOINT}."
        raise ValueError(msg)
    return np.concatenate([own, beside])


def _slice_numbers(adata: AnnData, labels: pd.Categorical | None) -> np.ndarray:
    return np.zeros(adata.n_obs, dtype=np.int64) if labels is None else labels.codes.astype(np.int64)


def detected_in(measured: Any, slices: np.ndarray) -> np.ndarray:
    """Which genes have a value above zero in each slice, bool ``(n_slices, g)``."""
    return np.stack([n_detected(measured[slices == number]) > 0 for number in range(slices.max() + 1)])


def _report_absent(known: np.ndarray, targets: pd.Index, labels: pd.Categorical | None) -> None:
    """Say which genes some slices lack, because zeros do not show whether a gene was measured."""
    lost = targets[np.flatnonzero(known.any(axis=0) & ~known.all(axis=0))]
    if labels is None or not len(lost):
        return
    named = ", ".join(map(repr, lost[:_NAMED])) + (f" and {len(lost) - _NAMED} others" if len(lost) > _NAMED else "")
    lacking = zip(labels.categories, (~known & known.any(axis=0)).sum(axis=1), strict=True)
    panels = ", ".join(f"{name!r} lacks {count}" for name, count in lacking if count)
    logger.info("Predicted in some slices from the others, because all values there are zero: %s (%s).", named, panels)


def _require_one_unit(ours: tuple[AnnData, Any], theirs: tuple[AnnData, Any], layer: str | None) -> None:
    """Refuse expression of which only one has logarithms; warn where totals differ over the genes of both."""
    source = keys.place_of(layer)
    here, there = (scale_of(matrix, each, source) for each, matrix in (ours, theirs))
    if here != there:
        msg = (
            f"{source} is on the scale {here!r} in adata and {there!r} in reference; prepare both alike, such as by "
            "sp.pp.prepare."
        )
        raise ValueError(msg)
    totals = [float((expm1(part) if here == "logarithm" else part).sum() / part.shape[0]) for _, part in (ours, theirs)]
    ratio = totals[0] / max(totals[1], np.finfo(float).tiny)
    if not 1 / ALIKE <= ratio <= ALIKE:
        warn(
            f"spots of adata have {ratio:.2g} times as much expression as those of reference in the genes that both "
            "measured. Were they normalised to one total (target_sum), over the same genes? Put both into one AnnData "
            "and call sp.pp.prepare(..., library_key=...)."
        )


def _asked(genes: Sequence[str], var: pd.DataFrame, gene_symbols: str | None, where: str) -> pd.Index:
    asked = pd.Index(genes).astype(str).unique()
    if asked.empty:
        msg = "genes names no gene; leave it out for all."
        raise ValueError(msg)
    return identifiers_of(var, asked, gene_symbols, where)


def _columns(adata: AnnData, names: pd.Index, layer: str | None) -> Any:
    columns = expression_values(adata, layer, columns=adata.var_names.get_indexer(names))
    require_finite(columns, keys.place_of(layer))
    return columns


def _require_known(known: np.ndarray, targets: pd.Index, reference: object) -> None:
    lost = ~known.any(axis=0)
    if lost.any():
        msg = (
            f"{lost.sum()} of {len(targets)} genes (for example {targets[int(lost.argmax())]!r}) have no value above "
            f"zero in reference={reference!r}; leave them out of genes, or take another reference."
        )
        raise ValueError(msg)


def _shared(adata: AnnData, other: AnnData, genes: np.ndarray | None, layer: str | None) -> tuple[pd.Index, np.ndarray]:
    """Names of the genes that both measured, and their columns among those of ``adata`` that are used."""
    used = adata.var_names[genes]
    shared = used.intersection(other.var_names, sort=False)
    if len(shared):
        shared = shared[n_detected(_columns(other, shared, layer)) > 0]
    if len(shared) < _FEWEST_SHARED:
        msg = (
            f"adata and reference share {len(shared)} of the {len(used)} genes of adata that are used (mask_var); "
            f"genes are compared by name, such as {used[0]!r} and {other.var_names[0]!r}."
        )
        raise ValueError(msg)
    logger.info("Comparing spots by %s genes that both measured.", f"{len(shared):,}")
    return shared, used.get_indexer(shared)


def _stack(above: Any, below: Any) -> Any:
    if sparse.issparse(above) or sparse.issparse(below):
        return sparse.csr_array(sparse.vstack([sparse.csr_array(above), sparse.csr_array(below)]))
    return np.concatenate([above, below])
