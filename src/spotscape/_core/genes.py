"""Names of genes in ``adata.var``, and what a matrix of their expression holds: raw counts, or else what."""

from __future__ import annotations

import math
import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy import sparse

from spotscape._core.rows import ChunkedMatrix, is_stored
from spotscape._core.validation import looks_like_counts, require_key

if TYPE_CHECKING:
    from anndata import AnnData

    from spotscape._core.rows import Summary


def symbols_of(var: pd.DataFrame, gene_symbols: str | None, where: str = "adata.var") -> pd.Index:
    """Names of the genes in the column ``gene_symbols``; without it those of the index."""
    if gene_symbols is None:
        return var.index
    require_key(var, gene_symbols, where, hint="gene_symbols names the column with names of genes")
    return pd.Index(var[gene_symbols].astype(str))


def nearest(var: pd.DataFrame, known: pd.Index, name: str, where: str = "adata.var") -> str:
    """A sentence for errors: where a gene that is not among ``known`` may be meant; empty if nowhere."""
    having = (var.iloc[:, index].astype(str).eq(name).any() for index in range(var.shape[1]))
    columns = [str(column) for column, has in zip(var.columns, having, strict=True) if has]
    if columns:
        return f" {where}[{columns[0]!r}] has it: gene_symbols={columns[0]!r}."
    # Written in another way, or with a letter amiss.
    written = {str(other).upper(): str(other) for other in known}
    close = get_close_matches(name.upper(), list(written), n=1, cutoff=0.7)
    return f" Did you mean {written[close[0]]!r}?" if close else ""


def identifiers_of(var: pd.DataFrame, names: pd.Index, gene_symbols: str | None, where: str) -> pd.Index:
    """The names in ``var.index`` of genes, each of which must be there once."""
    known = symbols_of(var, gene_symbols, where)
    unknown = names.difference(known, sort=False)
    if len(unknown):
        few = ", ".join(map(repr, unknown[:3]))
        place = f"{where}_names" if gene_symbols is None else f"{where}[{gene_symbols!r}]"
        hint = nearest(var, known, str(unknown[0]), where) or (
            " A gene that adata did not measure can be predicted from a reference that did: reference=<AnnData>."
        )
        msg = f"{len(unknown)} of {len(names)} genes are not in {place} (for example {few}).{hint}"
        raise KeyError(msg)
    several = names.intersection(known[known.duplicated()], sort=False)
    if len(several):
        theirs = list(var.index[known == several[0]][:3])
        msg = f"{several[0]!r} names several genes in {where}[{gene_symbols!r}]; name one by {where}_names: {theirs}."
        raise ValueError(msg)
    return var.index[known.get_indexer_for(names)]


_OF_SYMBOLS = re.compile(r"(real|external)?[._ ]?(gene|feature|hgnc|mgi)?[._ ]?(short)?[._ ]?(symbol|name)s?")


def column_of_symbols(var: pd.DataFrame) -> str | None:
    """The column with symbols, by its name, if the genes are named by Ensembl identifiers; else ``None``."""
    if var.index.astype(str).str.match(r"ENS[A-Z]*G\d{6}").mean() <= 0.5:
        return None
    return next((str(name) for name in var if _OF_SYMBOLS.fullmatch(str(name).lower())), None)


# Rows and genes of a matrix that are looked at to tell what it holds.
_SAMPLE = 500
# A whole multiple up to this can be told from any number, whatever the rounding to float32.
_LARGEST_MULTIPLE = 50
# Totals of normalised spots differ by rounding only.
_EVEN = 1e-3
_FEWEST_VALUES, _SAME, _MOST = 4, 1e-2, 0.8
# Zero spots where five were expected happens to one gene in 150 by chance, and losing that one does no harm.
_EXPECTED_SPOTS = 5
# Where the genes of a slice are found in a smaller share of the spots that were expected, its section has failed.
_FAILED = 0.2
# Names that platforms give to probes and barcodes that stand for no gene.
_CONTROL = re.compile(
    r"(?i:NegControl|NegPrb|NegProbe|Negative|Blank|UnassignedCodeword|DeprecatedCodeword|SystemControl|"
    r"FalseCode|GenomicControl|Intergenic[_.]|antisense[_.]|ERCC[-.]\d)"
)
Kind = Literal["counts", "scaled", "logarithm", "fractions", "negative"]


def kind_of(matrix: Any) -> Kind:
    """What the values of a matrix are, by the spots of a sample.

    Counts of a spot divided by one number (its volume, area or total) are whole multiples of the smallest of them;
    logarithms are once they are undone. Both are told from fractions that anything else has left.
    """
    part = _sample(matrix)
    values = part.data
    if values.size and values.min() < 0:
        return "negative"
    if np.array_equal(values, np.floor(values)):
        return "counts"
    if _are_multiples(part):
        return "scaled"
    return "fractions" if _base(part) is None else "logarithm"


def base_of(values: Any) -> float | None:
    """The base to which a matrix of an AnnData holds logarithms, as far as its values tell; else ``None``."""
    part = _sampled(values)
    return _base(part) if kind_of(part) == "logarithm" else None


def _base(part: sparse.csr_matrix) -> float | None:
    for base in (math.e, 2.0, 10.0):
        changed = part.copy()
        with np.errstate(over="ignore"):
            changed.data = np.expm1(part.data * np.log(base))
        totals = changed.sum(axis=1)[part.getnnz(axis=1) > 0]
        if np.isfinite(totals).all() and (_are_multiples(changed) or np.std(totals) < _EVEN * np.mean(totals)):
            return base
    return None


def looks_of(matrix: Any, summary: Summary) -> tuple[Kind, str]:
    """What the values of a matrix are that holds no raw counts, also in words."""
    kind = "negative" if summary.least < 0 else kind_of(matrix)
    return kind, {
        "negative": f"negative values (minimum {summary.least:g}), as scaled or corrected expression has",
        "logarithm": "logarithms, as normalised expression has",
        "scaled": "counts divided by a number of each spot, such as its volume, area or total",
    }.get(kind, f"fractions up to {summary.largest:g}")


def _sample(matrix: Any) -> sparse.csr_matrix:
    """Some of the rows, evenly drawn."""
    step = max(1, matrix.shape[0] // _SAMPLE)
    if isinstance(matrix, ChunkedMatrix):
        # Slices of a file are read whole; rows far apart would each cost a read.
        part = matrix.rows(0, min(_SAMPLE, matrix.shape[0]))
    else:
        part = (matrix.tocsr() if sparse.issparse(matrix) else matrix)[::step]
    return sparse.csr_matrix(part, dtype=np.float64)


def _are_multiples(part: sparse.csr_matrix) -> bool:
    """Whether in most rows every value is a whole multiple of the smallest, and not all are equal."""
    whole = tested = 0
    for row in range(part.shape[0]):
        values = part.data[part.indptr[row] : part.indptr[row + 1]]
        multiples = values[values > 0] / values[values > 0].min(initial=np.inf)
        multiples = multiples[multiples < _LARGEST_MULTIPLE]
        # Few values are multiples of each other by chance, and equal ones are no evidence.
        if len(multiples) < _FEWEST_VALUES or np.ptp(multiples) < _SAME:
            continue
        tested += 1
        whole += bool(np.abs(multiples - np.round(multiples)).max() < _SAME)
    return whole > _MOST * tested


def layer_names(adata: AnnData) -> list[str]:
    """Names of the layers; anndata 0.13 lists ``X`` among them, under ``None``."""
    return [name for name in adata.layers if name is not None]


def layer_with_counts(adata: AnnData, but: str | None) -> str | None:
    """Another layer that holds raw counts, ``"counts"`` if that is one, else that with most; ``None`` if there is none.

    Spliced counts lie beside unspliced and ambiguous ones, which are fewer.
    """
    others = [name for name in layer_names(adata) if name != but and _hold_counts(adata.layers[name])]
    if "counts" in others:
        return "counts"
    return max(others, key=lambda name: _sampled(adata.layers[name]).sum(), default=None)


def counts_elsewhere(adata: AnnData, but: str | None) -> str | None:
    """The call that takes raw counts from another place of the AnnData, ``None`` if none holds any."""
    name = layer_with_counts(adata, but)
    if name is not None:
        return f"adata.layers[{name!r}] holds counts: sp.pp.prepare(adata, layer={name!r})."
    if adata.raw is None or not _hold_counts(adata.raw.X):
        return None
    if not adata.raw.var_names.equals(adata.var_names):
        # The total of a spot is that of all genes, not of those that were chosen.
        held = f"adata.raw holds counts of {adata.raw.n_vars:,} genes"
        return f"{held}: adata = adata.raw.to_adata(), then sp.pp.prepare(adata)."
    return "adata.raw holds counts: adata.layers['counts'] = adata.raw.X, then sp.pp.prepare(adata, layer='counts')."


def _hold_counts(values: Any) -> bool:
    if not is_stored(values) and not sparse.issparse(values) and not isinstance(values, np.ndarray):
        return False
    return looks_like_counts(_sampled(values))


def _sampled(values: Any) -> sparse.csr_matrix:
    return _sample(ChunkedMatrix(values) if is_stored(values) else values)


def control_features(adata: AnnData) -> np.ndarray:
    """Which features are no genes, bool ``(n_vars,)``: control probes, blank barcodes, antibodies, guides.

    ``var["feature_types"]`` says so where it exists, and else the names that platforms give, as names or as symbols.
    """
    symbols = column_of_symbols(adata.var)
    names = [adata.var_names, *([] if symbols is None else [adata.var[symbols]])]
    matches = [[_CONTROL.match(str(name)) is not None for name in each] for each in names]
    controls = np.asarray(np.array(matches, dtype=bool).any(axis=0))
    if "feature_types" in adata.var:
        types = pd.Series(np.asarray(adata.var["feature_types"]).astype(str)).str.casefold()
        genes = (types == "gene expression").to_numpy()
        controls |= ~genes & genes.any()
    return controls & ~controls.all()


def n_detected(values: Any) -> np.ndarray:
    """Count, for every gene (column), the spots that have it."""
    return np.asarray((values > 0).sum(axis=0)).ravel()


def absent_genes(detected: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Which genes are zero in all spots of a slice although other slices have them, ``(n_slices, G)``.

    So looks a gene that is not in a slice's panel. ``detected`` holds the spots that have each gene by slice, ``sizes``
    the spots of each slice. Of a section that failed less is expected, so it lacks no gene.
    """
    spots = sizes[:, None]
    expected = (detected.sum(axis=0) - detected) * spots / np.maximum(spots.sum() - spots, 1)
    of_its_own = (expected * (detected > 0)).sum(axis=1, keepdims=True)
    depth = np.minimum(detected.sum(axis=1, keepdims=True), of_its_own) / np.where(of_its_own > 0, of_its_own, 1)
    # Between sections that did not fail, depth would make the rule depend on which genes are looked at.
    depth[(depth > _FAILED) | ((of_its_own == 0) & (detected.sum(axis=1, keepdims=True) > 0))] = 1
    return np.asarray((detected == 0) & (depth * expected >= _EXPECTED_SPOTS))
