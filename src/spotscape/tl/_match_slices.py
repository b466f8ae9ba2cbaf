"""Slices against each other: batch effects subtracted from an embedding, and spots matched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy import sparse

from spotscape._core import keys
from spotscape._core.anndata_io import record, write
from spotscape._core.arguments import public
from spotscape._core.colors import carried_colors
from spotscape._core.geometry import spot_spacing
from spotscape._core.logging import logger, warn
from spotscape._core.places import coordinates
from spotscape._core.provenance import made_from, signature
from spotscape._core.reading import encoder_embedding, read_embedding
from spotscape._core.settings import resolve_device
from spotscape._core.validation import as_groups, require_data, require_key, several_slices
from spotscape._stats.components import smooth
from spotscape.tl._embedding import graph_or_default

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from anndata import AnnData


@public
def integrate_slices(
    adata: AnnData,
    *,
    library_key: str,
    use_rep: str = keys.X_SMOOTHED_PCA,
    n_prototypes: int = 8,
    ridge: float = 100.0,
    key_added: str | None = None,
    device: str | torch.device | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Correct batch effects: subtract slice-specific offsets from an embedding.

    Afterwards, the same region has the same place in the embedding of all slices. One mixture model describes all
    slices. The slices share its prototypes. Each slice has proportions and an offset of its own, and the offset may
    differ between regions. The offsets are subtracted. A slice may hold more or less of a region, or none of it. Slices
    without a batch effect are not changed, and spots are not averaged. No labels, reference slice or random numbers are
    used.

    :func:`spotscape.tl.spotscape` and :func:`spotscape.tl.spacross` include this step. Use the function for other
    embeddings, such as that of :func:`spotscape.tl.smoothed_pca`.

    Parameters
    ----------
    adata
        Annotated data with an embedding of all slices in ``obsm``, computed on them together.
    library_key
        Column of ``adata.obs`` with the slice of each spot, at least 2 of them.
    use_rep
        Key of the embedding in ``adata.obsm``. The default is the baseline.
    n_prototypes
        Number of prototypes, at least 2. More of them let offsets differ more between regions. Fewer are used if a
        slice would have fewer than 60 spots for each.
    ridge
        Strength of the assumption that a slice has the same offset everywhere, as a number of spots. The deviation of a
        region is shrunk as if the region had this many additional spots without deviation. With ``1e9``, the same
        offset is subtracted everywhere.
    key_added
        Name of the result in ``adata.obsm``; ``None`` appends ``_integrated`` to ``use_rep``.

    Returns
    -------
    ``obsm['X_smoothed_pca_integrated']`` (or ``key_added``)
        The embedding without the offsets, of the shape and dtype of that in ``use_rep``.
    ``uns['smoothed_pca_integrated']``
        Dict with ``params``, ``version``, ``made_from``; the name is that in ``obsm`` without ``X_``.

    Raises
    ------
    ValueError
        If there is only one slice, if the embedding is not finite, or an argument is out of range.

    See Also
    --------
    spotscape.tl.spotscape, spotscape.tl.spacross : Encoders that integrate slices themselves.
    spotscape.nn.integrate : The same on arrays, with the formula.

    Examples
    --------
    >>> import spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_spots=300, n_genes=100, n_domains=4, n_slices=2)
    >>> sp.pp.prepare(adata, library_key="slice")
    >>> sp.tl.smoothed_pca(adata, n_comps=10, library_key="slice")
    >>> sp.tl.integrate_slices(adata, library_key="slice")
    >>> adata.obsm["X_smoothed_pca_integrated"].shape
    (600, 10)

    References
    ----------
    Offsets weighted by soft memberships are in the spirit of Harmony: Korsunsky et al., Nature Methods 2019. The
    mixture model, in which slices differ in composition, is this package's.
    """
    from spotscape.nn.integration import integrate

    require_data(adata, genes=False)
    slices = several_slices(adata, library_key)
    hint = "use_rep names an embedding of all slices together"
    values = read_embedding(adata, use_rep, hint=hint, library_key=library_key)
    integrated = integrate(values, slices.codes, n_prototypes=n_prototypes, ridge=ridge, device=resolve_device(device))
    if not np.isfinite(integrated).all():
        msg = f"integrating adata.obsm[{use_rep!r}] overflows {integrated.dtype}; scale it down or store it as float64."
        raise ValueError(msg)
    key = f"{use_rep}_integrated" if key_added is None else key_added
    params = {"library_key": library_key, "use_rep": use_rep, "n_prototypes": n_prototypes, "ridge": ridge}
    summary = record(
        params,
        made_from=made_from(adata, obs=[library_key], obsm=[use_rep]),
        written=signature(adata.obs_names, {("obsm", key): integrated}),
    )
    return write(adata, {"obsm": {key: integrated}, "uns": {key.removeprefix("X_"): summary}}, copy=copy)


# Registration is good to about half a spacing, and tissue differs from slice to slice by some more.
_RADIUS_IN_SPACINGS = 5
_HINT = (
    "Name the embedding by use_rep, or make one of all slices: sp.tl.spotscape(adata, library_key=...) or "
    "sp.tl.spacross(adata, library_key=...)"
)


@public
def match_slices(
    adata: AnnData,
    *,
    library_key: str,
    reference: str,
    query: str | Sequence[str] | None = None,
    use_rep: str | None = None,
    n_matches: int = 10,
    labels_key: str | None = None,
    offset: Literal["mutual", "mean", "none"] = "mutual",
    mutual: bool = False,
    spatial_key: str | None = None,
    radius: float | None = None,
    n_hops: int = 0,
    neighbors_key: str = "spatial_neighbors",
    key_added: str = keys.MATCH,
    device: str | torch.device | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Match spots between slices: find the most similar spots of a reference slice, and transfer labels from them.

    The search is exact: every spot is compared with every spot of the reference, by the cosine of their embeddings,
    without a matrix of all similarities.

    Parameters
    ----------
    adata
        All slices, with one embedding that was made of them together.
    library_key
        Column of ``adata.obs`` with the slice of each spot.
    reference
        Slice in which to look.
    query
        Slices whose spots are matched, each by itself. ``None`` takes all but the reference.
    n_matches
        Number of matches of each spot, fewer if the reference has fewer spots. On four slices of human cortex the
        transfer of layers improved up to about 10.
    labels_key
        Column of ``adata.obs`` whose values are transferred. It is read in the reference only, and spots there may lack
        a value.
    offset
        Offset between slices that is subtracted before they are compared, because a joint embedding may still contain a
        batch effect. ``"mutual"`` (default): the mean difference over pairs of spots that are among each other's
        nearest. A region that only one slice contains thus does not count. ``"mean"``: the mean of each slice. It is
        slightly better if both slices contain the same regions in the same shares, and worse otherwise. ``"none"``
        subtracts nothing.
    mutual
        Keep a match only if the query spot is also among the ``n_matches`` best of the reference spot. Spots without
        such a match get no results. Use it to find anchors between slices; leave it off to transfer labels.
    spatial_key
        Coordinates in ``adata.obsm`` in which all slices are aligned, such as ``"spatial_aligned"``. Matches
        then lie within ``radius`` of the spot, and their similarity is lowered by ``(distance / radius)²``. Use it
        if the registration is good to a fraction of ``radius``.
    radius
        For ``spatial_key``, in the unit of its coordinates. Default: 5 spot spacings of the reference.
    n_hops
        How often each embedding is averaged over the spot and its neighbours before the search. Use 1 or 2 for an
        embedding without spatial information, such as ``"X_pca"``.
    neighbors_key
        For ``n_hops``, record of the spatial graph in ``adata.uns``; built by
        :func:`spotscape.pp.spatial_neighbors_knn` if there is none of the default name.
    key_added
        Name of the results. The names of all results begin with it.

    Returns
    -------
    If ``copy=True`` a new :class:`~anndata.AnnData`, otherwise ``None``; with these keys, whose values are missing
    (NaN) in the reference and for spots without a match:

    ``obs['spotscape_match']`` (or ``key_added``)
        Name of the best match, category.
    ``obs['spotscape_match_similarity']``
        Its similarity, float32; at most 1.
    ``obs['spotscape_match_label']``
        With ``labels_key``: transferred label, category with the categories of ``labels_key`` and, in ``uns``, their
        colours. Each match votes with its similarity.
    ``obs['spotscape_match_confidence']``
        With ``labels_key``: share of the vote that the label won, float32 between 0 and 1. Spots of a region that the
        reference lacks get the label of the most similar region, often with a confidence of 1. With ``mutual=True``,
        most of them have no match.
    ``obsp['spotscape_match_similarity']``
        All matches, float32 CSR matrix ``(n_obs, n_obs)``: row of the query, column of the reference.
        :func:`spotscape.get.matches_df` makes a table of it.
    ``uns['spotscape_match']``
        Dict with ``params``, ``version``, ``n_query`` and ``n_matched`` (number of spots, in the order of
        ``params["query"]``).
    ``obsp['spatial_connectivities']``, ``obsp['spatial_distances']``, ``uns['spatial_neighbors']``
        The spatial graph, only if ``n_hops`` needs it and there was none.

    Raises
    ------
    ValueError
        If there is one slice only, no slice of that name, the reference is among the queries, the embedding is not
        finite, no spot of the reference has a label, or ``radius`` is given without ``spatial_key``.

    See Also
    --------
    spotscape.tl.spotscape, spotscape.tl.spacross : Embeddings of all slices together.
    spotscape.get.matches_df : The matches as a table.
    spotscape.pl.matching : The matches as a picture.

    Examples
    --------
    >>> import spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_slices=2, n_spots=300, n_genes=100, n_domains=3, difficulty=0.2)
    >>> sp.pp.prepare(adata)
    >>> sp.pp.spatial_neighbors_knn(adata, library_key="slice")
    >>> sp.tl.smoothed_pca(adata, n_comps=10, library_key="slice")
    >>> sp.tl.match_slices(
    ...     adata, library_key="slice", reference="slice_1", use_rep="X_smoothed_pca", labels_key="domain"
    ... )
    >>> query = adata.obs[adata.obs["slice"] == "slice_2"]
    >>> bool((query["spotscape_match_label"].astype(str) == query["domain"].astype(str)).mean() > 0.9)
    True
    """
    require_data(adata, genes=False, unique=["obs"])
    pairing = Pairing.read(adata, library_key, reference, query, labels_key)
    positions, radius = _space(adata, spatial_key, radius, pairing.reference_rows)
    use_rep = encoder_embedding(adata, use_rep)
    embedding = read_embedding(adata, use_rep, hint=_HINT, library_key=library_key).astype(np.float32, order="C")
    graph, built = graph_or_default(adata, neighbors_key, library_key) if n_hops else (None, {})
    values = smooth(embedding, graph, n_hops) if n_hops else embedding
    search: dict[str, Any] = {"offset": offset, "mutual": mutual, "radius": radius}
    indices, similarities = _search(values, pairing, positions, n_matches, device, **search)
    params = {
        "library_key": library_key, "reference": pairing.reference, "query": pairing.queries, "use_rep": use_rep,
        "n_matches": n_matches, "labels_key": labels_key, "offset": offset, "mutual": mutual,
        "spatial_key": spatial_key, "radius": radius, "n_hops": n_hops,
    }  # fmt: skip
    counts = {
        "n_query": np.array([len(rows) for rows in pairing.query_rows]),
        "n_matched": np.array([np.count_nonzero(indices[rows, 0] >= 0) for rows in pairing.query_rows]),
    }
    source = made_from(adata, obs=[library_key], obsm=[use_rep, spatial_key])
    results = {
        "obs": _columns(adata.obs_names, pairing, indices, similarities, key_added),
        "obsp": built.get("obsp", {}) | {f"{key_added}_similarity": _as_matrix(pairing, indices, similarities)},
        "uns": built.get("uns", {}) | {key_added: record(params, **counts, made_from=source)},
    }
    if labels_key is not None and pairing.labels is not None:
        results["uns"] |= carried_colors(adata, labels_key, [*pairing.labels.categories], adata, f"{key_added}_label")
    # Labels of an earlier call would belong to other matches.
    outdated = [("obs", f"{key_added}_{name}") for name in ("label", "confidence")] if labels_key is None else []
    written = write(adata, results, outdated=outdated, copy=copy)
    _report(pairing, **counts)
    return written


def _space(
    adata: AnnData, spatial_key: str | None, radius: float | None, reference_rows: np.ndarray
) -> tuple[np.ndarray | None, float | None]:
    if spatial_key is None:
        if radius is not None:
            msg = f"radius={radius} needs coordinates in which all slices are aligned: spatial_key='spatial_aligned'."
            raise ValueError(msg)
        return None, None
    require_key(adata.obsm, spatial_key, "adata.obsm", hint="Registered coordinates: sp.pp.register_slices(adata, ...)")
    coords = coordinates(adata, spatial_key)
    if radius is not None:
        return coords, radius
    spacing = spot_spacing(coords[reference_rows])
    if not np.isfinite(spacing):
        msg = f"adata.obsm[{spatial_key!r}] has one position for the whole reference slice; give radius."
        raise ValueError(msg)
    return coords, _RADIUS_IN_SPACINGS * spacing


@dataclass(frozen=True)
class Pairing:
    """Rows of the reference and of each query slice, and the labels of the reference."""

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
        column = several_slices(adata, library_key)
        slices = {str(name): np.flatnonzero(column.codes == code) for code, name in enumerate(column.categories)}
        asked = [name for name in slices if name != reference] if query is None else query
        queries = list(dict.fromkeys([asked] if isinstance(asked, str) else asked))
        unknown = [name for name in (reference, *queries) if name not in slices]
        if unknown:
            known = ", ".join(map(repr, slices))
            msg = f"{unknown[0]!r} is no slice of adata.obs[{library_key!r}], which has: {known}."
            raise ValueError(msg)
        if not queries:
            msg = f"query is empty; name slices out of {list(slices)}, or leave it out for all but the reference."
            raise ValueError(msg)
        if reference in queries:
            msg = f"reference={reference!r} is also among the queries; a slice is matched with another one."
            raise ValueError(msg)
        rows, labels = slices[reference], None
        if labels_key is not None:
            require_key(adata.obs, labels_key, "adata.obs", hint="labels_key names the column that is transferred")
            labels = as_groups(adata.obs[labels_key], f"labels_key={labels_key!r}")
            missing = int((labels.codes[rows] < 0).sum())
            if missing == len(rows):
                lacking = f"no spot of the reference {reference!r} has a label in adata.obs[{labels_key!r}]"
                msg = f"{lacking}; take another reference."
                raise ValueError(msg)
            if missing:
                logger.info("%d of %d spots of %r have no label and do not vote.", missing, len(rows), reference)
        return cls(reference, rows, queries, [slices[name] for name in queries], labels)


def _search(
    embedding: np.ndarray,
    pairing: Pairing,
    positions: np.ndarray | None,
    n_matches: int,
    device: str | torch.device | None,
    **how: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """Matches of each spot among those of the reference, and similarities, ``(n_obs, n_matches)``; −1 and NaN if none.

    ``how`` are further arguments of :func:`spotscape.nn.match`.
    """
    import torch

    from spotscape.nn.matching import match

    values = torch.from_numpy(embedding).to(resolve_device(device))
    near = pairing.reference_rows
    indices = np.full((len(values), min(n_matches, len(near))), -1, dtype=np.int64)
    similarities = np.full(indices.shape, np.nan, dtype=np.float32)
    for rows in pairing.query_rows:
        places = None if positions is None else (positions[rows], positions[near])
        found = match(values[rows], values[near], n_matches, positions=places, **how)
        indices[rows], similarities[rows] = found.indices.cpu().numpy(), found.similarities.cpu().numpy()
    return indices, similarities


def _as_matrix(pairing: Pairing, indices: np.ndarray, similarities: np.ndarray) -> sparse.csr_matrix:
    """All matches, a row for each query spot and a column for each reference spot, ``(n_obs, n_obs)``."""
    query, rank = np.nonzero(indices >= 0)
    places = query, pairing.reference_rows[indices[query, rank]]
    return sparse.csr_matrix((similarities[query, rank], places), shape=(len(indices),) * 2)


def _columns(
    names: pd.Index, pairing: Pairing, indices: np.ndarray, similarities: np.ndarray, key_added: str
) -> dict[str, Any]:
    """The first match of each spot and its similarity; the label that its matches agree on, and how much they do."""
    import torch

    from spotscape.nn.matching import Matches, vote

    used, codes = np.unique(np.append(indices[:, 0], -1), return_inverse=True)
    best = pd.Categorical.from_codes(codes[:-1] - 1, pd.Index(names[pairing.reference_rows[used[1:]]].astype(str)))
    columns: dict[str, Any] = {key_added: best, f"{key_added}_similarity": similarities[:, 0]}
    if pairing.labels is not None:
        given = torch.from_numpy(pairing.labels.codes[pairing.reference_rows].astype(np.int64))
        matches = Matches(torch.from_numpy(indices), torch.from_numpy(similarities))
        votes = vote(matches, given, len(pairing.labels.categories))
        columns[f"{key_added}_label"] = pd.Categorical.from_codes(votes.labels.numpy(), dtype=pairing.labels.dtype)
        columns[f"{key_added}_confidence"] = votes.confidence.numpy()
    return columns


def _report(pairing: Pairing, n_query: np.ndarray, n_matched: np.ndarray) -> None:
    """Log how many spots of each slice were matched; warn of slices without a single match."""
    for name, total, matched in zip(pairing.queries, n_query, n_matched, strict=True):
        logger.info("Slice %r: %d of %d spots matched in %r.", name, matched, total, pairing.reference)
    empty = [name for name, matched in zip(pairing.queries, n_matched, strict=True) if matched == 0]
    if empty:
        warn(
            f"no spot of {empty} has a match in {pairing.reference!r}; with spatial_key the slices may not be "
            f"aligned (compare their coordinates), with mutual=True a larger n_matches may help."
        )
