"""Which slices are matched with which, and how their matches enter an AnnData."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from spotscape._core.groups import as_groups
from spotscape._core.logging import logger, warn
from spotscape._core.validation import require_key, several_slices
from spotscape.nn.matching import vote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from spotscape.nn.matching import Matches


@dataclass(frozen=True)
class Pairing:
    """Rows of the reference and of each query slice, and the labels of the reference."""

    n_obs: int
    reference: str
    reference_rows: np.ndarray
    queries: list[str]
    query_rows: list[np.ndarray]
    labels: pd.Categorical | None

    @classmethod
    def read(
        cls, adata: AnnData, library_key: str, reference: str, query: str | Sequence[str] | None, labels_key: str | None
    ) -> Pairing:
        """Look the slices up by name and refuse what cannot be matched."""
        slices = _slices(adata, library_key)
        reference, queries = _names(list(slices), reference, query, library_key)
        rows = slices[reference]
        labels = None if labels_key is None else _labels(adata, labels_key, rows, reference)
        return cls(adata.n_obs, reference, rows, queries, [slices[name] for name in queries], labels)


def best_matches(
    obs_names: pd.Index, pairing: Pairing, found: Sequence[Matches], key_added: str
) -> dict[str, pd.Categorical | np.ndarray]:
    """Make the columns with the first match of each spot and its similarity."""
    best = np.full(pairing.n_obs, -1, dtype=np.int64)
    similarity = np.full(pairing.n_obs, np.nan, dtype=np.float32)
    for rows, one in zip(pairing.query_rows, found, strict=True):
        best[rows] = one.indices[:, 0].cpu().numpy()
        similarity[rows] = one.similarities[:, 0].cpu().numpy()
    used, codes = np.unique(best[best >= 0], return_inverse=True)
    names = np.full(pairing.n_obs, -1, dtype=np.int64)
    names[best >= 0] = codes
    categories = pd.Index(obs_names[pairing.reference_rows[used]].astype(str))
    return {key_added: pd.Categorical.from_codes(names, categories), f"{key_added}_similarity": similarity}


def transferred_labels(
    pairing: Pairing, found: Sequence[Matches], key_added: str
) -> dict[str, pd.Categorical | np.ndarray]:
    """Make the columns with the label that the matches of each spot agree on, and how much they do."""
    if pairing.labels is None:
        return {}
    codes = np.full(pairing.n_obs, -1, dtype=np.int64)
    confidence = np.full(pairing.n_obs, np.nan, dtype=np.float32)
    given = torch.from_numpy(pairing.labels.codes[pairing.reference_rows].astype(np.int64))
    for rows, one in zip(pairing.query_rows, found, strict=True):
        votes = vote(one, given.to(one.indices.device), len(pairing.labels.categories))
        codes[rows], confidence[rows] = votes.labels.cpu().numpy(), votes.confidence.cpu().numpy()
    labels = pd.Categorical.from_codes(codes, dtype=pairing.labels.dtype)
    return {f"{key_added}_label": labels, f"{key_added}_confidence": confidence}


def pair_matrix(pairing: Pairing, found: Sequence[Matches]) -> sparse.csr_matrix:
    """All matches: row of the query, column of the reference, value of the similarity."""
    rows, columns, values = [], [], []
    for query_rows, one in zip(pairing.query_rows, found, strict=True):
        indices = one.indices.cpu().numpy()
        row, rank = np.nonzero(indices >= 0)
        rows.append(query_rows[row])
        columns.append(pairing.reference_rows[indices[row, rank]])
        values.append(one.similarities.cpu().numpy()[row, rank].astype(np.float32))
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return sparse.csr_matrix(entries, shape=(pairing.n_obs, pairing.n_obs))


def report(pairing: Pairing, n_query: np.ndarray, n_matched: np.ndarray) -> None:
    """Log how many spots of each slice were matched; warn of slices without a single match."""
    for name, total, matched in zip(pairing.queries, n_query, n_matched, strict=True):
        logger.info("Slice %r: %d of %d spots matched in %r.", name, matched, total, pairing.reference)
    empty = [name for name, matched in zip(pairing.queries, n_matched, strict=True) if matched == 0]
    if empty:
        warn(
            f"no spot of {empty} has a match in {pairing.reference!r}; with spatial_key the slices may not lie over "
            f"each other (compare their coordinates), with mutual=True a larger n_matches may help."
        )


def _slices(adata: AnnData, library_key: str) -> dict[str, np.ndarray]:
    labels = several_slices(adata, library_key)
    return {str(name): np.flatnonzero(labels.codes == code) for code, name in enumerate(labels.categories)}


def _names(
    known: list[str], reference: str, query: str | Sequence[str] | None, library_key: str
) -> tuple[str, list[str]]:
    reference = str(reference)
    if query is None:
        queries = [name for name in known if name != reference]
    else:
        queries = [query] if isinstance(query, str) or np.isscalar(query) else list(query)
        queries = list(dict.fromkeys(str(name) for name in queries))
    unknown = [name for name in (reference, *queries) if name not in known]
    if unknown:
        msg = f"{unknown[0]!r} is no slice of adata.obs[{library_key!r}], which has: {', '.join(map(repr, known))}."
        raise ValueError(msg)
    if not queries:
        msg = f"query is empty; name slices out of {known}, or leave it out for all but the reference."
        raise ValueError(msg)
    if reference in queries:
        msg = f"reference={reference!r} is also among the queries; a slice is matched with another one."
        raise ValueError(msg)
    return reference, queries


def _labels(adata: AnnData, labels_key: str, rows: np.ndarray, reference: str) -> pd.Categorical:
    require_key(adata.obs, labels_key, "adata.obs", hint="labels_key names the column whose values are transferred")
    labels = as_groups(adata.obs[labels_key], f"labels_key={labels_key!r}")
    missing = int((labels.codes[rows] < 0).sum())
    if missing == len(rows):
        msg = (
            f"no spot of the reference {reference!r} has a label in adata.obs[{labels_key!r}]; take another reference."
        )
        raise ValueError(msg)
    if missing:
        logger.info("%d of %d spots of %r have no label and do not vote.", missing, len(rows), reference)
    return labels
