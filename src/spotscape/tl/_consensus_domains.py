"""Domains on which several trainings agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from spotscape._core import keys
from spotscape._core.anndata_io import record, write
from spotscape._core.arguments import public
from spotscape._core.logging import logger
from spotscape._core.provenance import made_from
from spotscape._core.randomness import RandomSource, Seed
from spotscape._core.reading import read_embedding
from spotscape._core.validation import require_choice, require_data, require_positive_int
from spotscape.nn.clustering import combine_clusterings, gaussian_mixture, kmeans
from spotscape.tl._domains import categories

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

ConsensusMethod = Literal["both", "kmeans", "gmm"]
_CLUSTERERS = {"both": ("kmeans", "gmm"), "kmeans": ("kmeans",), "gmm": ("gmm",)}
_HINT = "Train several times, sp.tl.spotscape(adata, n_restarts=5), or name embeddings by use_reps"


@public
def consensus_domains(
    adata: AnnData,
    *,
    n_domains: int,
    use_reps: Sequence[str] | None = None,
    method: ConsensusMethod = "both",
    key_added: str = keys.CONSENSUS,
    random_state: Seed = 0,
    copy: bool = False,
) -> AnnData | None:
    """Find the domains on which several embeddings agree, and how sure each spot is of its domain.

    Every embedding is clustered by itself. The clusters of all runs are matched, and each spot takes the domain that
    most runs give it; its confidence is the share of runs that do. Where they disagree, at borders mostly, a single
    training would have decided by its seed.

    Parameters
    ----------
    adata
        Annotated data with several embeddings of the same spots in ``obsm``.
    n_domains
        Number of domains, at least 2. Exactly as many come out, none of them empty.
    use_reps
        Keys of the embeddings in ``obsm``, of any methods. Default: the restarts of whichever encoder was run with
        ``n_restarts``; if both were, name them.
    method
        How each embedding is clustered: ``"kmeans"``, ``"gmm"`` (the tied mixture, see :func:`spotscape.tl.domains`),
        or ``"both"``.
    key_added
        Name of the column in ``obs`` and of the record in ``uns``.
    random_state
        Seed of the clusterers; the same seed gives the same domains on any number of threads.
    copy
        Return a copy with the domains instead of writing to ``adata``.

    Returns
    -------
    ``None``, or with ``copy=True`` an AnnData, with

    - ``obs[key_added]`` : category of strings ``"0"``, ``"1"``, ... in natural order, shape ``(n_obs,)``. ``"0"`` is
      the largest domain.
    - ``obs[f"{key_added}_confidence"]`` : float32 in (0, 1], shape ``(n_obs,)``: share of the runs that agree. A
      fraction of few runs, and no probability: trainings may agree on what is wrong.
    - ``uns[key_added]`` : dict with ``params``, ``version``, ``mean_confidence``, ``runs`` (embedding and clusterer of
      each run, such as ``"X_spotscape kmeans"``) and ``run_agreement`` (float64, the share of spots on which each run
      agrees with the consensus).

    Raises
    ------
    KeyError
        If there is no such embedding, or no encoder was run with ``n_restarts``.
    TypeError
        If ``n_domains`` is not an integer, or ``use_reps`` is a string.
    ValueError
        If ``n_domains`` is below 2, above the number of spots or above the number of distinct positions in an
        embedding; if an embedding holds NaN or infinite values; if fewer than two embeddings are named, or one twice;
        if restarts of both encoders are there and ``use_reps`` names none; if there is no such method.

    See Also
    --------
    spotscape.tl.spotscape, spotscape.tl.spacross : Encoders, with ``n_restarts``.
    spotscape.tl.domains : The domains of one embedding.
    spotscape.pl.domains : Shows them; ``confidence`` fades spots.

    Examples
    --------
    >>> import anndata as ad, numpy as np, spotscape as sp
    >>> rng = np.random.default_rng(0)
    >>> adata = ad.AnnData(np.zeros((60, 1), dtype="float32"))
    >>> for key in ("X_a", "X_b", "X_c"):
    ...     adata.obsm[key] = rng.normal(size=(60, 3)) + 9 * (np.arange(60) >= 20)[:, None]
    >>> with sp.settings.override(verbosity="warning"):
    ...     sp.tl.consensus_domains(adata, n_domains=2, use_reps=["X_a", "X_b", "X_c"])
    >>> adata.obs["consensus_domain"].value_counts().to_dict()
    {'0': 40, '1': 20}
    >>> float(adata.obs["consensus_domain_confidence"].min())
    1.0
    """
    require_data(adata, unique=False)
    require_choice(method, "method", tuple(_CLUSTERERS))
    require_positive_int(n_domains, "n_domains", minimum=2)
    if n_domains > adata.n_obs:
        msg = f"n_domains={n_domains} is more than the {adata.n_obs} spots of adata."
        raise ValueError(msg)
    chosen = _restarts(adata) if use_reps is None else _named(use_reps)
    embeddings = [read_embedding(adata, key, hint=_HINT) for key in chosen]
    source = RandomSource(random_state)
    names, runs = [], []
    for key, embedding in zip(chosen, embeddings, strict=True):
        for clusterer in _CLUSTERERS[method]:
            names.append(f"{key} {clusterer}")
            runs.append(_cluster(embedding, n_domains, clusterer, source))
    found = combine_clusterings(np.stack(runs))
    mean = float(found.confidence.mean())
    logger.info("%d runs agree on a spot by %.1f %% on average.", len(runs), 100 * mean)
    params = {"n_domains": n_domains, "use_reps": chosen, "method": method, "random_state": source.seed}
    summary = record(
        params,
        mean_confidence=mean,
        runs=names,
        run_agreement=found.run_agreement,
        made_from=made_from(adata, obsm=chosen),
    )
    target = adata.copy() if copy else adata
    confidence = found.confidence.astype(np.float32)
    columns = {key_added: categories(found.labels), keys.confidence_of(key_added): confidence}
    write(target, {"obs": columns, "uns": {key_added: summary}})
    return target if copy else None


def _restarts(adata: AnnData) -> list[str]:
    """Keys of the restarts of the one encoder that was run with several."""
    records = {key: adata.uns[key]["restarts"] for key in keys.ENCODERS if "restarts" in (adata.uns.get(key) or ())}
    if not records:
        msg = f"adata.uns has no restarts of {' or '.join(map(repr, keys.ENCODERS))}. {_HINT}."
        raise KeyError(msg)
    found = {key: [str(name) for name in entry["use_reps"]] for key, entry in records.items()}
    if len(found) > 1:
        msg = f"adata.uns has restarts of {' and '.join(map(repr, found))}; name the embeddings: use_reps=[...]."
        raise ValueError(msg)
    chosen = next(iter(found.values()))
    logger.info("Using %s of `adata.obsm`.", ", ".join(map(repr, chosen)))
    return chosen


def _named(use_reps: Sequence[str]) -> list[str]:
    if isinstance(use_reps, str):
        msg = f"use_reps={use_reps!r} must be a list of keys of adata.obsm; for one embedding call sp.tl.domains."
        raise TypeError(msg)
    chosen = list(use_reps)
    if len(chosen) < 2 or len(set(chosen)) < len(chosen):
        msg = f"use_reps={chosen} must name two or more different embeddings; for one call sp.tl.domains."
        raise ValueError(msg)
    return chosen


def _cluster(embedding: np.ndarray, n_domains: int, clusterer: str, source: RandomSource) -> np.ndarray:
    fit = kmeans if clusterer == "kmeans" else gaussian_mixture
    return fit(embedding, n_domains, seed=source.integer(clusterer)).labels
