"""Number of domains: the agreement of domains of two embeddings of the tissue, for each number."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from math import floor
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from spotscape._core import keys
from spotscape._core.anndata_io import record, write
from spotscape._core.arguments import public
from spotscape._core.logging import logger, warn
from spotscape._core.provenance import made_from
from spotscape._core.randomness import RandomSource, Seed
from spotscape._core.reading import encoder_embedding, read_embedding
from spotscape._core.validation import require_data, require_positive_int
from spotscape.nn.clustering._agreement import agreement_curve
from spotscape.nn.clustering._stability import CLEAR, stability_curve
from spotscape.tl._smoothed_pca import comparison

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from spotscape.nn.clustering._stability import StabilityCurve

_K_RANGE = (2, 20)
# Fewest spots per domain at the upper end of a range: of one that was given, and of the default.
_SPOTS_PER_DOMAIN, _SPOTS_PER_DOMAIN_UNASKED, _LEAST_HIGH = 5, 40, 5


@public
def choose_n_domains(
    adata: AnnData,
    *,
    use_rep: str | None = None,
    k_range: tuple[int, int] | None = None,
    method: Literal["agreement", "gmm", "kmeans"] = "agreement",
    n_resamples: int = 6,
    key_added: str = keys.N_DOMAINS,
    random_state: Seed = 0,
    copy: bool = False,
) -> AnnData | None:
    """Choose the number of domains at which two embeddings of the tissue agree.

    The embedding is compared with smoothed PCA of the same tissue (:func:`spotscape.tl.smoothed_pca`), which is
    computed for this and not kept. Smoothed PCA itself is compared with smoothed PCA of half as many hops. Both are
    clustered into every number of domains, by k-means and four mixtures each. The function picks the number at which
    domains of the two agree best, by the mean adjusted Rand index; of numbers within .01 the largest. Any two
    embeddings agree on the coarsest division, so the smallest number is picked only if agreement falls from there on
    and does not rise again by .1.

    If regions are uniform, the likelihood of a mixture shows their number: it rises steeply up to this number and
    slowly beyond it. If this elbow is sharp in both embeddings (.8 or more on average), it decides.

    Look at the curve with :func:`spotscape.pl.n_domains`. Several peaks correspond to several levels of detail. Tissue
    that changes gradually has no definite number of domains. The page *Number of domains* of the documentation says how
    often the choice is right.

    An embedding without expression and graph beside it cannot be compared. The stability of its domains over samples of
    the spots decides then, as with ``method="gmm"``: samples of 65 % of the spots (3,000 at most) are clustered into
    every number of domains. To their mean adjusted Rand index a fifth of an elbow of the log-likelihood is added, and
    the largest number within .04 of the highest score is picked.

    Parameters
    ----------
    adata
        Annotated data with an embedding in ``obsm``.
    k_range
        Smallest and largest number of domains to try, both included. Leave room above what you expect. Default: 2 to
        20. The largest number is lower if 20 domains would have fewer than 40 spots each, but at least 5.
    method
        ``"agreement"`` (default) of two embeddings. ``"gmm"`` and ``"kmeans"`` take the stability over samples. Samples
        are clustered by the Gaussian mixture of :func:`spotscape.tl.domains` with fewer starts, or by k-means. On
        annotated tissue they find the number less often.
    n_resamples
        For the stability: half of the number of samples to begin with, at least 2. Samples are added, up to four times
        as many in total, until nine in ten bootstraps over the samples pick the same number.
    key_added
        Name of the record in ``uns``.
    random_state
        Seed; the same seed gives the same curve on any number of threads. ``None`` draws one and keeps it in the
        record.

    Returns
    -------
    ``None``, or with ``copy=True`` an AnnData, with

    - ``uns[key_added]`` : dict with ``params``, ``version``, ``picked`` (the number, ``int``), ``clear`` (whether nine
      in ten bootstraps over the clusterings pick it, domains agree by .9, and candidates differ from it by one at most;
      the log names the candidates if not), ``candidates`` (numbers that a tenth of the bootstraps picks, or whose
      agreement is within .05), ``checksum`` (``int``, of the embedding that the choice is for) and ``curve``, a dict of
      columns with a value for each number tried, which :class:`pandas.DataFrame` takes: ``k`` (``int64``), ``mean`` and
      ``sd`` of the agreement, ``elbow``, and ``share``, of the bootstraps that pick the number (``float64``). The
      stability has no ``elbow``, but ``score``, which decides, ``to_next``, the mean agreement of domains of different
      samples with ``k`` and ``k + 1`` domains (NaN for the last), and ``bic``, the mixture's Bayesian information
      criterion, a mean over samples, lower is better.

    Raises
    ------
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
    require_data(adata, genes=False)
    use_rep = encoder_embedding(adata, use_rep)
    embedding = read_embedding(adata, use_rep)
    low, high = _default_range(adata.n_obs) if k_range is None else k_range
    require_positive_int(high, "k_range[1]", minimum=low + 1)
    if high > adata.n_obs // _SPOTS_PER_DOMAIN:
        most = f"fewer than {_SPOTS_PER_DOMAIN} spots per domain for the {adata.n_obs} spots"
        msg = f"k_range={k_range} goes up to {most}."
        raise ValueError(msg)
    source = RandomSource(random_state)
    views = _views(adata, use_rep, embedding) if method == "agreement" else []
    entry = _choose(embedding, low, high, use_rep, source, views=views, method=method, n_resamples=n_resamples)
    entry["made_from"] = made_from(adata, obsm=[use_rep])
    return write(adata, {"uns": {key_added: entry}}, copy=copy)


def stored_or_chosen(
    adata: AnnData,
    embedding: np.ndarray,
    use_rep: str,
    source: RandomSource,
    *,
    views: Sequence[np.ndarray] | None = None,
) -> tuple[int, dict[str, dict[str, Any]]]:
    """The number of domains stored for this embedding; else a new choice, with the record to write.

    ``views`` are embeddings to compare, if there are several already; ``use_rep`` then names all of them, with `` + ``.
    """
    entry = adata.uns.get(keys.N_DOMAINS)
    if isinstance(entry, Mapping) and entry.get("checksum") == _checksum(embedding):
        picked = int(entry["picked"])
        logger.info("Using n_domains=%s from `adata.uns['%s']`.", picked, keys.N_DOMAINS)
        return picked, {}
    logger.info("No n_domains given and none stored for `adata.obsm['%s']`: choosing it.", use_rep)
    low, high = _default_range(adata.n_obs)
    views = _views(adata, use_rep, embedding) if views is None else views
    entry = _choose(embedding, low, high, use_rep, source, views=views)
    entry["made_from"] = made_from(adata, obsm=use_rep.split(" + "))
    return entry["picked"], {keys.N_DOMAINS: entry}


def _views(adata: AnnData, use_rep: str, embedding: np.ndarray) -> list[np.ndarray]:
    """The embedding, and smoothed PCA of the same expression and graph; nothing if there are none."""
    found = comparison(adata, use_rep)
    if isinstance(found, str):
        logger.info(
            "No second embedding to compare `adata.obsm['%s']` with (%s): its stability decides.", use_rep, found
        )
        return []
    return [embedding, found]


def _choose(
    embedding: np.ndarray,
    low: int,
    high: int,
    use_rep: str,
    source: RandomSource,
    *,
    views: Sequence[np.ndarray],
    method: Literal["agreement", "gmm", "kmeans"] = "agreement",
    n_resamples: int = 6,
) -> dict[str, Any]:
    numbers, seed = range(low, high + 1), source.integer("n_domains")
    if views:
        found = agreement_curve(views, numbers, seed=seed)
    else:
        method = "gmm" if method == "agreement" else method
        found = stability_curve(embedding, numbers, method=method, n_resamples=n_resamples, seed=seed)
    _report(found, low, high)
    params: dict[str, Any] = {
        "use_rep": use_rep,
        "k_range": np.array([low, high]),
        "method": method,
        "random_state": source.seed,
    }
    if not views:
        params["n_resamples"] = n_resamples
    columns = {name: getattr(found, name) for name in ("mean", "sd", "to_next", "bic", "score", "elbow", "share")}
    curve = {"k": found.numbers.astype(np.int64), **{name: each for name, each in columns.items() if each is not None}}
    return record(
        params,
        picked=found.picked,
        clear=found.is_clear,
        candidates=np.array(found.candidates),
        curve=curve,
        checksum=_checksum(embedding),
    )


def _report(found: StabilityCurve, low: int, high: int) -> None:
    # Rounded down, so that what is below a limit does not read as equal to it.
    agreement, share = (floor(100 * of[found.picked - low]) / 100 for of in (found.mean, found.share))
    compared = "different samples" if found.score is not None else "two embeddings"
    if found.is_clear:
        logger.info("Chose %s domains of %s to %s.", found.picked, low, high)
    else:
        others = [str(k) for k in found.candidates if k != found.picked]
        reasons = [f"{', '.join(others)} domains fit about as well"] if others else []
        if share < CLEAR:
            reasons.append(f"only {share:.0%} of repeated choices pick it (a clear number needs {CLEAR:.0%})")
        if agreement < CLEAR:
            needed = f"1 is full agreement; a clear number needs {CLEAR:.2f}"
            reasons.append(f"domains of {compared} agree by {agreement:.2f} only ({needed})")
        logger.warning(
            "No clear number of domains; took %d. Reasons: %s. Look at sp.pl.n_domains(adata). If you know the number, "
            "give n_domains.",
            found.picked,
            "; ".join(reasons),
        )
    if found.picked == high:
        advice = f"there may be more: widen k_range=({low}, {high})"
        if not found.is_clear:
            advice = (
                f"but domains of {compared} agree by {agreement:.2f} only, so the tissue may have no separate domains"
            )
        warn(f"the number chosen, {high}, is the largest tried; {advice}.")


def _default_range(n_obs: int) -> tuple[int, int]:
    low, high = _K_RANGE
    high = min(high, max(n_obs // _SPOTS_PER_DOMAIN_UNASKED, min(_LEAST_HIGH, n_obs // _SPOTS_PER_DOMAIN)))
    if high <= low:
        msg = f"{n_obs} spots are too few to choose the number of domains; give it: n_domains={low}."
        raise ValueError(msg)
    return low, high


def _checksum(embedding: np.ndarray) -> int:
    """What tells one embedding from another, also after a round trip through a file."""
    return zlib.crc32(np.ascontiguousarray(embedding, dtype=np.float32).tobytes())
