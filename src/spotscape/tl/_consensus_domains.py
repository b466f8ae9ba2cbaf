"""Consensus domains of several trainings or methods."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from spotscape._core import keys
from spotscape._core.anndata_io import record, write
from spotscape._core.arguments import public
from spotscape._core.logging import logger
from spotscape._core.provenance import made_from
from spotscape._core.randomness import RandomSource, Seed
from spotscape._core.reading import read_embedding
from spotscape._core.validation import require_data
from spotscape.nn.clustering._consensus import combine_clusterings
from spotscape.tl._choose_n_domains import stored_or_chosen
from spotscape.tl._domains import categories, check_n_domains, cluster, second_embedding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

ConsensusMethod = Literal["auto", "both", "kmeans", "gmm"]
_CLUSTERERS = {"both": ("kmeans", "gmm")}
_HINT = "Run a second method, train several times, sp.tl.spotscape(adata, n_restarts=5), or name embeddings by use_reps"


@public
def consensus_domains(
    adata: AnnData,
    *,
    n_domains: int | None = None,
    use_reps: Sequence[str] | None = None,
    method: ConsensusMethod = "auto",
    key_added: str = keys.CONSENSUS,
    random_state: Seed = 0,
    copy: bool = False,
) -> AnnData | None:
    """Combine several embeddings into consensus domains, with a confidence for each spot.

    Use it to see which spots depend on the seed (several trainings) or on the method (several methods). Every embedding
    is clustered by itself, and the clusters of all runs are matched. Each spot takes the domain that most runs give it;
    its confidence is the share of runs that agree. Runs disagree mostly at borders.

    Parameters
    ----------
    adata
        Annotated data with several embeddings of the same spots in ``obsm``.
    n_domains
        Number of domains, at least 2. Exactly as many come out, none of them empty. ``None`` (default) chooses the
        number at which domains of these embeddings agree best, as :func:`spotscape.tl.choose_n_domains` does.
    use_reps
        Keys of the embeddings in ``obsm``, from any methods. Default: all that :func:`spotscape.tl.spotscape`,
        :func:`spotscape.tl.spacross` and :func:`spotscape.tl.smoothed_pca` have written, including restarts.
    method
        How each embedding is clustered: ``"auto"`` (default) as :func:`spotscape.tl.domains` does by default,
        ``"kmeans"``, ``"gmm"`` (the tied mixture), or ``"both"`` of these.
    key_added
        Name of the column in ``obs`` and of the record in ``uns``.
    random_state
        Seed of the clusterers; the same seed gives the same domains on any number of threads.

    Returns
    -------
    ``None``, or with ``copy=True`` an AnnData, with

    - ``obs[key_added]`` : category of strings ``"0"``, ``"1"``, ... in natural order, shape ``(n_obs,)``. ``"0"`` is
      the largest domain.
    - ``obs[f"{key_added}_confidence"]`` : float32 in (0, 1], shape ``(n_obs,)``: share of the runs that give the spot
      its consensus domain. See Notes for what it means.
    - ``obs[f"{key_added}_entropy"]`` : float32 in [0, 1]: how much the runs disagree; 0 where all agree, 1 where they
      are spread as widely as possible. Draw it with :func:`spotscape.pl.domains`.
    - ``uns["n_domains"]`` : the record of the choice, only if it was made here.
    - ``uns[key_added]`` : dict with ``params``, ``version``, ``mean_confidence``, ``runs`` (embedding and clusterer of
      each run, such as ``"X_spotscape kmeans"``) and ``run_agreement`` (float64, the share of spots on which each run
      agrees with the consensus).

    Raises
    ------
    KeyError
        If there is no such embedding, or fewer than two if ``use_reps`` names none.
    TypeError
        If ``n_domains`` is not an integer, or ``use_reps`` is a string.
    ValueError
        If ``n_domains`` is below 2, above the number of spots or above the number of distinct positions in an
        embedding; if an embedding holds NaN or infinite values; if fewer than two embeddings are named, or one twice;
        if there is no such method.

    See Also
    --------
    spotscape.tl.spotscape, spotscape.tl.spacross : Encoders; ``n_restarts`` trains several times.
    spotscape.tl.domains : The domains of one embedding.
    spotscape.pl.domains : Shows them; ``confidence`` fades spots.

    Notes
    -----
    The confidence says how well the runs reproduce each other. It is a fraction of few runs and not the probability
    that a domain is right or real. All runs share the data and the graph, so they can agree on an error, and they can
    agree on domains of noise. Clusters are matched so that runs agree as far as possible, so the confidence is at least
    one over the number of runs: with two runs it is .5 or 1, and its mean is high even where the runs have little in
    common. Use five runs or more, and compare the confidence of spots with each other, not with a fixed limit.

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
    require_data(adata, genes=False)
    check_n_domains(n_domains, adata.n_obs)
    chosen = _present(adata) if use_reps is None else list(use_reps)
    if len(chosen) < 2 or len(set(chosen)) < len(chosen):
        msg = f"use_reps={chosen} must name two or more different embeddings; for one call sp.tl.domains."
        raise ValueError(msg)
    embeddings = [read_embedding(adata, key, hint=_HINT) for key in chosen]
    source = RandomSource(random_state)
    records: dict[str, dict[str, Any]] = {}
    if n_domains is None:
        # All embeddings as one, each with the same total variance.
        centred = [each - each.mean(axis=0) for each in embeddings]
        spreads = [max(float(np.sqrt((each**2).sum(axis=1).mean())), 1e-300) for each in centred]
        joined = np.hstack([each / spread for each, spread in zip(centred, spreads, strict=True)])
        n_domains, records = stored_or_chosen(adata, joined, " + ".join(chosen), source, views=embeddings)
    names, runs = [], []
    for key, embedding in zip(chosen, embeddings, strict=True):
        logger.info("Using `adata.obsm['%s']`.", key)
        for clusterer in _CLUSTERERS.get(method, (method,)):
            names.append(f"{key} {clusterer}")
            second = partial(second_embedding, adata, key)
            runs.append(cluster(embedding, n_domains, clusterer, source, second=second)[0].labels)
    found = combine_clusterings(np.stack(runs))
    mean = float(found.confidence.mean())
    logger.info("On average, %.1f %% of the %d runs give a spot its consensus domain.", 100 * mean, len(runs))
    records[key_added] = record(
        {"n_domains": n_domains, "use_reps": chosen, "method": method, "random_state": source.seed},
        mean_confidence=mean,
        runs=names,
        run_agreement=found.run_agreement,
        made_from=made_from(adata, obsm=chosen),
    )
    columns = {
        key_added: categories(found.labels),
        keys.confidence_of(key_added): found.confidence.astype(np.float32),
        keys.entropy_of(key_added): found.entropy.astype(np.float32),
    }
    return write(adata, {"obs": columns, "uns": records}, copy=copy)


def _present(adata: AnnData) -> list[str]:
    """Keys of the embeddings of all methods, with their restarts."""
    found: list[str] = []
    for key in (*keys.X_ENCODERS, keys.X_SMOOTHED_PCA):
        if key in adata.obsm:
            entry = adata.uns.get(key.removeprefix("X_"))
            restarts = entry.get("restarts") if isinstance(entry, Mapping) else None
            found += [key] if restarts is None else [str(name) for name in restarts["use_reps"]]
    if len(found) < 2:
        msg = f"adata.obsm has {' and '.join(map(repr, found)) or 'no embedding'}; a consensus needs two. {_HINT}."
        raise KeyError(msg)
    logger.info("Using %s of `adata.obsm`.", ", ".join(map(repr, found)))
    return found
