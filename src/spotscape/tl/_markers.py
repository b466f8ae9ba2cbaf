"""Marker genes of domains, and of conditions within a domain."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from spotscape._core import keys
from spotscape._core.anndata_io import record, write
from spotscape._core.arguments import public
from spotscape._core.genes import n_detected
from spotscape._core.graphs import read_graph
from spotscape._core.logging import logger, warn
from spotscape._core.provenance import made_from
from spotscape._core.reading import checked_expression, domain_column, find_absent
from spotscape._core.validation import (
    read_groups,
    require_choice,
    require_data,
    slice_labels,
)
from spotscape.tl._marker_tests import Contrast, Matrix, Task, for_scanpy, morans_i, run_tests

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy import sparse

Method = Literal["auto", "pseudobulk", "wilcoxon", "t-test", "t-test_overestim_var"]
_LIKE_DONORS = re.compile("donor|patient|subject|individual|participant|animal|mouse|mice")
_NAMED = 10
_HINT = "key names a column with the domain of each spot, such as that of sp.tl.domains(adata, ...)"


@public
def markers(
    adata: AnnData,
    *,
    key: str | None = None,
    condition: str | None = None,
    reference: str | None = None,
    library_key: str | None = None,
    donor_key: str | None = None,
    method: Method = "auto",
    layer: str | None = None,
    n_genes: int | None = None,
    min_spots: int = 10,
    min_share: float = 0.1,
    min_fold_change: float = 1.5,
    neighbors_key: str | None = "spatial_neighbors",
    key_added: str = keys.MARKERS,
    copy: bool = False,
) -> AnnData | None:
    """Find marker genes of each domain, or genes that differ between conditions within a domain.

    With several slices, slices are replicates: counts are summed over the spots of a domain in a slice, and these sums
    are compared (pseudo-bulk). With one slice there are no replicates, and scanpy's tests compare spots.

    **P-values are too small where the domains were found from the same genes**, as they are by
    :func:`spotscape.tl.domains`: clustering creates differences even in noise, and the test finds them. Tests between
    spots are also too optimistic because neighbouring spots are not independent. Use such p-values as a ranking. They
    are valid for domains from another source (an annotation, an image) and, with caution, for conditions compared over
    replicates.

    Parameters
    ----------
    adata
        Annotated data with log-normalised expression and, for pseudo-bulk, counts.
    key
        Column of ``adata.obs`` with the domain of each spot. Spots without one are left out. Default: the only
        domains that :func:`spotscape.tl.domains` or :func:`spotscape.tl.consensus_domains` has found, those of an
        encoder before those of smoothed PCA; if there are several, name one.
    condition
        Column of ``adata.obs`` with the condition of each spot, the same for all spots of a slice. Each condition is
        compared with ``reference``, within each domain. ``None`` compares each domain with all others.
    reference
        Condition with which the others are compared. Default: the first category.
    library_key
        Column of ``adata.obs`` with the slice of each spot. Genes that a slice has not measured are left out. So are
        genes that are silent in a whole slice, such as *XIST* in that of a man. Pseudo-bulk leaves them out only where
        this slice takes part, so a marker of a tumour needs no slice without tumour. The log names them.
    donor_key
        Column of ``adata.obs`` with the donor of each spot. Serial sections of a donor are not independent replicates:
        their counts are added up, and donors are compared. If at least two donors have both conditions, each of them is
        compared with itself; without ``library_key``, conditions may then differ within a slice. ``None`` treats
        slices as independent.
    method
        Which test to use.

        - ``"auto"`` (default) takes pseudo-bulk if there are counts of replicates that share a domain, else
          ``"wilcoxon"``. If it takes ``"wilcoxon"`` for conditions, a warning appears.
        - ``"pseudobulk"`` applies moderated t-tests to log2 counts per million. Depths are medians of ratios, so that
          a few strong genes do not lower all others. Sums of few counts vary more by chance and have less weight. Genes
          with fewer than 10 counts, once the deeper side is scaled down to the shallower one, are not tested. A domain
          is compared with the rest of the same slice (paired); conditions are compared over slices. Each side needs at
          least 2 slices.
        - ``"wilcoxon"``, ``"t-test"`` and ``"t-test_overestim_var"`` are scanpy's tests between spots, the first with
          its correction for ties (``tie_correct=True``).
    layer
        Layer with the expression. ``None`` means ``adata.X``. Pseudo-bulk takes its counts from there if these are
        counts, else from ``adata.layers["counts"]``, where :func:`spotscape.pp.prepare` keeps them.
    n_genes
        Keep the best genes of each comparison only. ``None`` keeps all that were tested.
    min_spots
        Smallest number of spots of a domain: per slice for pseudo-bulk, in total for other tests. Domains with fewer
        spots are left out. Default: 10, because sums over fewer spots are mostly noise.
    min_share, min_fold_change
        Genes rank first if they are detected in this share of a domain's spots (between conditions, in the spots of
        either side) and their expression is higher by this factor. The other genes follow. Both groups are ordered by
        score. A gene that is detected in only a few spots may have a large statistic but marks no domain. With 0 and 1,
        the score alone decides.
    neighbors_key
        Name of the spatial graph in ``adata.uns`` for Moran's I. ``None`` leaves it out, as does the default if there
        is no such graph.
    key_added
        Name of the results in ``uns``.

    Returns
    -------
    - ``uns[key_added]`` : dict with ``params`` (``method`` is the one used), ``version``, ``groups`` (names of the
      domains), ``left_out`` (domains not tested) and ``table``, a dict of arrays with an entry for each comparison and
      gene. :func:`spotscape.get.markers_df` gives it as a table, and says what its columns are. Scanpy's plots and
      :func:`scanpy.get.rank_genes_groups_df` read it as well: ``sc.pl.rank_genes_groups(adata, key=key_added)``.

    Raises
    ------
    ValueError
        If there is nothing to compare, ``method="pseudobulk"`` has no replicates, ``reference`` is not a condition,
        counts are missing or given where logarithms are expected, expression is negative or not finite, or an
        argument has no such choice.

    Warns
    -----
    UserWarning
        If domains are left out, conditions are compared without replicates, or slices are compared that seem to be of
        fewer donors.

    See Also
    --------
    spotscape.get.markers_df : The result as a table.

    Notes
    -----
    Moderated t-tests borrow strength from all genes, which needs some hundred genes. If fewer than ten genes have ten
    counts in every sum, the depth is the sum of all counts, and a gene that is a large part of it lowers all others a
    little.

    Examples
    --------
    >>> import spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_domains=3, n_slices=2, n_spots=300, n_genes=100, difficulty=0.2)
    >>> with sp.settings.override(verbosity="warning"):
    ...     sp.pp.prepare(adata, library_key="slice")
    ...     sp.tl.markers(adata, key="domain", library_key="slice")
    >>> adata.uns["spotscape_markers"]["params"]["method"]
    'pseudobulk'
    >>> sp.get.markers_df(adata, group="Layer_1", n_genes=2)[["group", "gene", "rank"]]
         group     gene  rank
    0  Layer_1  gene_75     1
    1  Layer_1  gene_37     2

    References
    ----------
    Smyth, *Linear models and empirical Bayes methods for assessing differential expression*, Stat. Appl. Genet. Mol.
    Biol. 2004; Squair et al., *Confronting false discoveries in single-cell differential expression*, Nature
    Communications 2021.
    """
    require_data(adata, unique=["var"])
    key = domain_column(adata, key, "key")
    task = _read(
        adata, key, condition, reference, library_key=library_key, donor_key=donor_key, layer=layer, min_spots=min_spots
    )
    graph = _graph(adata, neighbors_key, library_key)
    contrasts = _contrasts(task)
    used, frames = run_tests(task, contrasts, method, condition)
    left_out = _report_left_out(contrasts, frames, used, min_spots)
    tested = [(contrast, frame) for contrast, frame in zip(contrasts, frames, strict=True) if frame is not None]
    _report_absent(task, [frame for _, frame in tested])
    ranked = {each.name: _ranked(task, each, frame, min_share, min_fold_change)[:n_genes] for each, frame in tested}
    table = pd.concat(ranked.values(), ignore_index=True)
    if graph is not None:
        slices = np.zeros(adata.n_obs) if task.slices is None else np.asarray(task.slices.codes)
        wanted = np.flatnonzero(adata.var_names.isin(table["gene"]))
        table["moran_i"] = morans_i(task.expression, adata.var_names, wanted, graph, slices)[table["gene"]].to_numpy()
    params = {
        "key": key, "condition": condition, "reference": task.reference or "rest", "library_key": library_key,
        "donor_key": donor_key, "method": used, "layer": layer, "n_genes": n_genes, "min_spots": min_spots,
        "min_share": min_share, "min_fold_change": min_fold_change, "neighbors_key": neighbors_key,
        "groupby": key, "use_raw": False, "corr_method": "benjamini-hochberg",
    }  # fmt: skip
    summary = record(
        params,
        groups=list(task.domains.categories),
        left_out=sorted(left_out),
        table=_columns(table),
        made_from=made_from(adata, obs=[key, condition, library_key, donor_key]),
        **for_scanpy(ranked),
    )
    return write(adata, {"uns": {key_added: summary}}, copy=copy)


def _columns(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """The columns of a table as files store them."""
    numbers = {"i": np.int64, "f": np.float64}
    return {str(name): table[name].to_numpy(dtype=numbers.get(table[name].dtype.kind, object)) for name in table}


def _read(
    adata: AnnData,
    key: str,
    condition: str | None,
    reference: str | None,
    *,
    library_key: str | None,
    donor_key: str | None,
    layer: str | None,
    min_spots: int,
) -> Task:
    domains = read_groups(adata, key, argument="key", hint=_HINT)
    conditions = None
    if condition is not None:
        conditions = read_groups(adata, condition, argument="condition")
        if len(conditions.categories) < 2:
            msg = f"adata.obs[{condition!r}] has one condition, {conditions.categories[0]!r}; two are needed."
            raise ValueError(msg)
        reference = conditions.categories[0] if reference is None else reference
        require_choice(reference, "reference", list(conditions.categories))
    elif reference is not None:
        msg = f"reference={reference!r} is a condition, but condition=None; name the column: condition=..."
        raise ValueError(msg)
    elif len(domains.categories) < 2:
        msg = f"adata.obs[{key!r}] has one domain; there is nothing to compare it with. {_HINT}."
        raise ValueError(msg)
    expression: Matrix = checked_expression(adata, layer)
    donors = None if donor_key is None else read_groups(adata, donor_key, argument="donor_key")
    slices = donors if library_key is None else slice_labels(adata, library_key)
    absent = None
    if slices is not None:
        if donors is not None:
            pairs = pd.crosstab(np.asarray(slices), np.asarray(donors)) > 0
            mixed = pairs.index[pairs.sum(axis=1) > 1]
            if len(mixed):
                msg = f"slice {mixed[0]!r} has spots of several donors; each slice needs one."
                raise ValueError(msg)
        absent = find_absent(expression, slices, keys.place_of(layer))
    if conditions is not None and donors is None and slices is not None:
        _warn_of_donors(adata, slices)
    return Task(adata, domains, conditions, slices, donors, reference, layer, expression, absent, min_spots)


def _graph(adata: AnnData, neighbors_key: str | None, library_key: str | None) -> sparse.csr_array | None:
    graph = None if neighbors_key is None else read_graph(adata, neighbors_key, library_key, across_slices=True)
    if graph is None and neighbors_key is not None:
        logger.info("No spatial graph, so no Moran's I; build one first: sp.pp.spatial_neighbors_knn(adata).")
    return graph


def _warn_of_donors(adata: AnnData, slices: pd.Categorical) -> None:
    """Warn where a column looks like donors of whom some have several slices, which are then no replicates."""
    for index, name in enumerate(map(str, adata.obs.columns)):
        column = adata.obs.iloc[:, index]
        if _LIKE_DONORS.search(name.lower()) is None or pd.api.types.is_float_dtype(column.dtype):
            continue
        owners = pd.crosstab(np.asarray(slices), np.asarray(column.astype(str))) > 0
        if (owners.sum(axis=1) == 1).all() and 1 < owners.shape[1] < owners.shape[0]:
            warn(
                f"the {owners.shape[0]} slices belong to {owners.shape[1]} groups of adata.obs[{name!r}]. If these are "
                "donors, slices of one donor are not independent, and p-values are wrong. Name them: "
                f"donor_key={name!r}."
            )
            return


def _contrasts(task: Task) -> list[Contrast]:
    found = []
    for name in task.domains.categories:
        own = np.asarray(task.domains == name)
        if task.conditions is None:
            found.append(Contrast(name, None, None, own, ~own & (task.domains.codes >= 0)))
            continue
        others = [condition for condition in task.conditions.categories if condition != task.reference]
        base = own & np.asarray(task.conditions == task.reference)
        found += [Contrast(name, one, task.reference, own & np.asarray(task.conditions == one), base) for one in others]
    return found


def _report_left_out(
    contrasts: list[Contrast], frames: list[pd.DataFrame | None], method: str, min_spots: int
) -> set[str]:
    """Warn of domains that were not tested, and return them; refuse if none was."""
    left_out = [contrast.group for contrast, frame in zip(contrasts, frames, strict=True) if frame is None]
    need = f"{min_spots} spots" + (" in at least 2 slices on either side" if method == "pseudobulk" else "")
    if len(left_out) == len(contrasts):
        msg = f"no domain has {need}; there is nothing to compare. Lower min_spots, or merge domains."
        raise ValueError(msg)
    if left_out:
        warn(f"domains that do not have {need} are left out: {', '.join(map(repr, dict.fromkeys(left_out)))}.")
    return set(left_out)


def _report_absent(task: Task, frames: list[pd.DataFrame]) -> None:
    """Name the genes that were not tested, or not everywhere, because a slice lacks them."""
    if task.absent is None or not task.absent.any():
        return
    lost = task.adata.var_names[task.absent.any(axis=0)]
    tested = np.logical_or.reduce([lost.isin(frame["gene"]) for frame in frames])
    partly = "Tested only where all slices that take part have them"
    for said, names in (("Not tested, because a slice lacks them", lost[~tested]), (partly, lost[tested])):
        more = f" and {len(names) - _NAMED} others" if len(names) > _NAMED else ""
        if len(names):
            logger.info("%s: %s%s.", said, ", ".join(map(repr, names[:_NAMED])), more)


def _ranked(
    task: Task, contrast: Contrast, frame: pd.DataFrame, min_share: float, min_fold_change: float
) -> pd.DataFrame:
    """Rank: genes that are up in a domain first; between conditions those that differ most, either way."""
    columns = task.adata.var_names.get_indexer(pd.Index(frame["gene"]))
    sides = np.flatnonzero(contrast.inside), np.flatnonzero(contrast.outside)
    shares = [n_detected(task.expression[rows])[columns] / max(1, len(rows)) for rows in sides]
    table = frame.assign(share=shares[0], share_rest=shares[1])
    score, change, seen = table["score"], table["log2_fold_change"], table["share"]
    if task.conditions is not None:
        score, change, seen = score.abs(), change.abs(), table[["share", "share_rest"]].max(axis=1)
    first = (seen >= min_share) & ((change >= np.log2(min_fold_change)) | (min_fold_change == 1))
    order = np.lexsort([-score.to_numpy(dtype=np.float64), ~first.to_numpy()])
    table = table.iloc[order].reset_index(drop=True)
    table.insert(0, "group", contrast.group)
    if contrast.condition is not None:
        table.insert(1, "condition", contrast.condition)
        table.insert(2, "reference", contrast.reference)
    table["rank"] = np.arange(1, len(table) + 1)
    return table
