"""The number of domains: how well domains of different samples of the spots agree, for each number."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from spotscape._core import keys
from spotscape._core.anndata_io import record, write
from spotscape._core.arguments import public
from spotscape._core.logging import logger, warn
from spotscape._core.randomness import RandomSource, Seed
from spotscape._core.reading import encoder_embedding, read_embedding
from spotscape._core.validation import require_data, require_positive_int
from spotscape.nn.clustering import stability_curve

if TYPE_CHECKING:
    from anndata import AnnData

    from spotscape.nn.clustering import StabilityCurve

_HINT = "Name the embedding by use_rep, or make one: sp.tl.spotscape(adata) or sp.tl.spacross(adata)"
_K_RANGE = (2, 20)
# Fewest spots per domain at the upper end of a range: of one that was given, and of the default.
_SPOTS_PER_DOMAIN, _SPOTS_PER_DOMAIN_UNASKED, _LEAST_HIGH = 5, 40, 5


@public
def choose_n_domains(
    adata: AnnData,
    *,
    use_rep: str | None = None,
    k_range: tuple[int, int] | None = None,
    method: Literal["gmm", "kmeans"] = "gmm",
    n_resamples: int = 6,
    key_added: str = keys.N_DOMAINS,
    random_state: Seed = 0,
    copy: bool = False,
) -> AnnData | None:
    """Choose the number of domains by their stability over samples of the spots.

    Samples of 65 % of the spots (3,000 at most) are clustered into every number of domains, and the clusters are
    extended to all spots. The stability is the mean adjusted Rand index between pairs of samples. The elbow is the
    logarithm of the ratio of two gains in log-likelihood: that from the last two domains, and that from the next three.
    The score is the stability plus a fifth of the elbow. The function picks the largest number whose score is within
    0.04 of the highest score.

    Look at the curve with :func:`spotscape.pl.n_domains`. Several peaks correspond to several levels of detail. The
    choice uses only the embedding, and tissue that changes gradually has no definite number of domains. The page
    *Number of domains* of the documentation says how often the choice is right.

    Parameters
    ----------
    adata
        Annotated data with an embedding in ``obsm``.
    use_rep
        Key of the embedding in ``obsm``. Default: ``"X_spotscape"`` or ``"X_spacross"``, whichever is there; if both
        are, name one. Without them: ``"X_smoothed_pca"``.
    k_range
        Smallest and largest number of domains to try, both included. Leave room above what you expect. Default: 2 to
        20. The largest number is lower if 20 domains would have fewer than 40 spots each, but at least 5.
    method
        Clusterer of the samples. ``"gmm"`` (default) is the Gaussian mixture of :func:`spotscape.tl.domains` with fewer
        starts. ``"kmeans"`` finds the right number less often.
    n_resamples
        Half of the number of samples to begin with, at least 2. Samples are added, up to four times as many in total,
        until nine in ten bootstraps over the samples pick the same number.
    key_added
        Name of the record in ``uns``.
    random_state
        Seed; the same seed gives the same curve on any number of threads. ``None`` draws one and keeps it in the
        record.
    copy
        Return a copy with the record instead of writing to ``adata``.

    Returns
    -------
    ``None``, or with ``copy=True`` an AnnData, with

    - ``uns[key_added]`` : dict with ``params``, ``version``, ``picked`` (the number, ``int``), ``clear`` (whether nine
      in ten bootstraps over the samples pick it and samples agree on its domains by .9; the log names the candidates if
      not), ``candidates`` (numbers that a tenth of the bootstraps picks), ``checksum`` (``int``, of the embedding that
      the choice is for) and ``curve``, a dict of columns with a value for each number tried, which
      :class:`pandas.DataFrame` takes: ``k`` (``int64``), ``mean`` and ``sd`` of the stability over pairs of samples,
      ``to_next``, the mean agreement of domains of different samples with ``k`` and ``k + 1`` domains (NaN for the
      last), ``bic``, the mixture's Bayesian information criterion, a mean over samples, lower is better, ``score``,
      stability plus a fifth of the elbow, and ``share``, of the bootstraps that pick the number (``float64``).

    Raises
    ------
    KeyError
        If there is no such embedding.
    TypeError
        If an end of ``k_range`` or ``n_resamples`` is not an integer.
    ValueError
        If ``k_range`` is not two numbers in ascending order, begins below 2 or ends too high for the spots; if the
        embedding holds NaN or infinite values; if there are embeddings of both encoders and ``use_rep`` names none; if
        an argument has no such choice.

    See Also
    --------
    spotscape.tl.domains : Takes the number from here if none is given.
    spotscape.pl.n_domains : The curve.

    Examples
    --------
    >>> import spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_domains=4, n_spots=800, n_genes=200)
    >>> with sp.settings.override(verbosity="warning"):
    ...     sp.pp.prepare(adata)
    ...     sp.tl.smoothed_pca(adata)
    ...     sp.tl.choose_n_domains(adata, use_rep="X_smoothed_pca", k_range=(2, 8))
    >>> adata.uns["n_domains"]["picked"]
    4

    References
    ----------
    Lange et al., *Stability-based validation of clustering solutions*, Neural Computation 2004; Ben-Hur et al., *A
    stability based method for discovering structure in clustered data*, PSB 2002. Agreement with the next number is
    what CellCharter looks at: Varrone et al., Nature Genetics 2024.
    """
    require_data(adata)
    use_rep = encoder_embedding(adata, use_rep)
    embedding = read_embedding(adata, use_rep, hint=_HINT)
    low, high = _default_range(adata.n_obs) if k_range is None else _check_range(k_range, adata.n_obs)
    source = RandomSource(random_state)
    entry = _choose(embedding, low, high, use_rep, source, method=method, n_resamples=n_resamples)
    target = adata.copy() if copy else adata
    write(target, {"uns": {key_added: entry}})
    return target if copy else None


def stored_or_chosen(
    adata: AnnData, embedding: np.ndarray, use_rep: str, source: RandomSource
) -> tuple[int, dict[str, dict[str, Any]]]:
    """The number of domains stored for this embedding; else a new choice, with the record to write."""
    entry = adata.uns.get(keys.N_DOMAINS)
    if isinstance(entry, Mapping) and entry.get("checksum") == _checksum(embedding):
        picked = int(entry["picked"])
        logger.info("Using n_domains=%s from `adata.uns['%s']`.", picked, keys.N_DOMAINS)
        return picked, {}
    logger.info("No n_domains given and none stored for `adata.obsm['%s']`: choosing by stability.", use_rep)
    low, high = _default_range(adata.n_obs)
    entry = _choose(embedding, low, high, use_rep, source)
    return entry["picked"], {keys.N_DOMAINS: entry}


def _choose(
    embedding: np.ndarray,
    low: int,
    high: int,
    use_rep: str,
    source: RandomSource,
    *,
    method: Literal["gmm", "kmeans"] = "gmm",
    n_resamples: int = 6,
) -> dict[str, Any]:
    found = stability_curve(
        embedding, range(low, high + 1), method=method, n_resamples=n_resamples, seed=source.integer("n_domains")
    )
    _report(found, low, high)
    params = {
        "use_rep": use_rep,
        "k_range": np.array([low, high]),
        "method": method,
        "n_resamples": n_resamples,
        "random_state": source.seed,
    }
    curve = {
        "k": found.numbers.astype(np.int64),
        "mean": found.mean,
        "sd": found.sd,
        "to_next": found.to_next,
        "bic": found.bic,
        "score": found.score,
        "share": found.share,
    }
    return record(
        params,
        picked=found.picked,
        clear=found.is_clear,
        candidates=np.array(found.candidates),
        curve=curve,
        checksum=_checksum(embedding),
    )


def _report(found: StabilityCurve, low: int, high: int) -> None:
    agreement = found.mean[found.picked - low]
    if found.is_clear:
        logger.info("Chose %s domains of %s to %s.", found.picked, low, high)
    else:
        others = [f"{k}: {found.share[k - low]:.0%}" for k in found.candidates if k != found.picked]
        logger.warning(
            "No clear number of domains: taking %d, which %.0f%% of the resamples pick%s. Domains of different samples "
            "agree by %.2f; 1 is full agreement. Look at sp.pl.n_domains(adata), and give n_domains if you know it.",
            found.picked,
            100 * found.share[found.picked - low],
            f" ({', '.join(others)})" if others else "",
            agreement,
        )
    if found.picked == high:
        advice = f"there may be more: widen k_range=({low}, {high})"
        if not found.is_clear:
            advice = f"but samples agree by {agreement:.2f} only, so the tissue may have no separate domains"
        warn(f"the number chosen, {high}, is the largest tried; {advice}.")


def _default_range(n_obs: int) -> tuple[int, int]:
    low, high = _K_RANGE
    high = min(high, max(n_obs // _SPOTS_PER_DOMAIN_UNASKED, min(_LEAST_HIGH, n_obs // _SPOTS_PER_DOMAIN)))
    if high <= low:
        msg = f"{n_obs} spots are too few to choose the number of domains by; say how many: n_domains={low}."
        raise ValueError(msg)
    return low, high


def _check_range(k_range: tuple[int, int], n_obs: int) -> tuple[int, int]:
    if np.shape(k_range) != (2,):
        msg = f"k_range={k_range!r} must be two numbers, the smallest and the largest number of domains."
        raise ValueError(msg)
    low = require_positive_int(k_range[0], "k_range[0]", minimum=2)
    high = require_positive_int(k_range[1], "k_range[1]", minimum=low + 1)
    if high > n_obs // _SPOTS_PER_DOMAIN:
        msg = f"k_range={k_range} goes up to fewer than {_SPOTS_PER_DOMAIN} spots per domain for the {n_obs} spots."
        raise ValueError(msg)
    return low, high


def _checksum(embedding: np.ndarray) -> int:
    """What tells one embedding from another, also after a round trip through a file."""
    return zlib.crc32(np.ascontiguousarray(embedding, dtype=np.float32).tobytes())
