"""Markers: genes that tell a domain from the rest, or a condition from another within a domain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from spotscape._core import keys
from spotscape._core.anndata_io import record, write
from spotscape._core.arguments import public
from spotscape._core.groups import read_groups
from spotscape._core.logging import logger, warn
from spotscape._core.provenance import made_from
from spotscape._core.reading import domain_column, expression_values, in_memory, read_graph
from spotscape._core.validation import (
    looks_like_counts,
    require_choice,
    require_data,
    require_finite,
    require_key,
    require_nonnegative,
    require_positive_int,
    slice_labels,
)
from spotscape.tl._marker_tests import (
    Contrast,
    Matrix,
    PseudoBulk,
    compare_conditions,
    compare_domain,
    compare_spots,
    detected_share,
    frame_of,
    morans_i,
)

if TYPE_CHECKING:
    from anndata import AnnData

Method = Literal["auto", "pseudobulk", "wilcoxon", "t-test", "t-test_overestim_var"]
_METHODS = ("auto", "pseudobulk", "wilcoxon", "t-test", "t-test_overestim_var")
_HINT = "groups names a column with the domain of each spot, such as that of sp.tl.domains(adata, ...)"


@dataclass(frozen=True)
class _Task:
    """What was asked for, read and checked."""

    adata: AnnData
    domains: pd.Categorical
    conditions: pd.Categorical | None
    slices: pd.Categorical | None
    reference: str | None
    layer: str | None
    expression: Matrix
    min_spots: int


@public
def markers(
    adata: AnnData,
    *,
    groups: str | None = None,
    condition: str | None = None,
    reference: str | None = None,
    library_key: str | None = None,
    method: Method = "auto",
    layer: str | None = None,
    n_genes: int | None = None,
    min_spots: int = 10,
    neighbors_key: str | None = "spatial_neighbors",
    key_added: str = keys.MARKERS,
    copy: bool = False,
) -> AnnData | None:
    """Find genes that mark each domain, or that differ between conditions within a domain.

    With several slices, they are the replicates: counts are summed over the spots of a domain in a slice, and these
    sums are compared (pseudo-bulk). With one slice there is no replicate, and scanpy's tests compare spots.

    **P-values are too small where the domains were found from the same genes**, as they are by
    :func:`spotscape.tl.domains`: clustering makes differences where there are none, and the test finds them. Between
    spots it is worse, because neighbouring spots are no independent observations. Read such p-values as a ranking.
    They hold for domains from elsewhere (an annotation, an image) or, with caution, for conditions compared over
    replicates.

    Parameters
    ----------
    adata
        Annotated data with log-normalised expression and, for pseudo-bulk, counts.
    groups
        Column of ``adata.obs`` with the domain of each spot. Spots without one are left out. Default: the domains of
        the one method that :func:`spotscape.tl.domains` was run on; if there are several, name one.
    condition
        Column of ``adata.obs`` with the condition of each spot, the same for all spots of a slice. Each condition is
        compared with ``reference``, within each domain. ``None`` compares each domain with all others.
    reference
        Condition with which the others are compared. Default: the first category.
    library_key
        Column of ``adata.obs`` with the slice of each spot, dtype category.
    method
        ``"pseudobulk"``: moderated t-tests on log2 counts per million; domains are compared with the rest of the same
        slice (paired), conditions over slices; at least 2 slices each. ``"wilcoxon"``, ``"t-test"``,
        ``"t-test_overestim_var"``: scanpy's, between spots. ``"auto"`` (default): pseudo-bulk where there are
        replicates, else ``"wilcoxon"``, and for conditions you are then warned.
    layer
        Layer with the expression. ``None`` means ``adata.X``. Pseudo-bulk takes its counts from there if these are
        counts, else from ``adata.layers["counts"]``, where :func:`spotscape.pp.prepare` keeps them.
    n_genes
        Keep the best genes of each comparison only. ``None`` keeps all that were tested.
    min_spots
        Least spots of a domain, in a slice for pseudo-bulk, in all else; what has fewer is left out. Default: 10, below
        which sums of counts are mostly noise.
    neighbors_key
        Name of the spatial graph in ``adata.uns`` for Moran's I. ``None`` leaves it out, as does the default if there
        is no such graph.
    key_added
        Name of the results in ``uns``.
    copy
        Return a copy with the results instead of writing to ``adata``.

    Returns
    -------
    ``None``, or with ``copy=True`` an AnnData, with

    - ``uns[key_added]`` : dict with ``params`` (``method`` is the one used), ``version``, ``groups`` (names of the
      domains), ``left_out`` (domains not tested) and ``table``, a dict of arrays with an entry for each comparison and
      gene. :func:`spotscape.get.markers_df` gives it as a table, and says what its columns are.

    Raises
    ------
    KeyError
        If there is no such column, layer or graph.
    TypeError
        If ``groups`` or ``condition`` names numbers, ``library_key`` is not categorical, or a number is not an integer.
    ValueError
        If there is nothing to compare, ``method="pseudobulk"`` has no replicates, ``reference`` is no condition, counts
        are missing or given where logarithms are expected, expression is negative or not finite, or an argument has no
        such choice.

    Warns
    -----
    UserWarning
        If domains are left out, or conditions are compared without replicates.

    See Also
    --------
    spotscape.get.markers_df : The result as a table.

    Notes
    -----
    Log counts per million take the sum of all counts of a domain as its depth, so a gene that is a large part of it
    pushes all others down a little. Moderated t-tests borrow strength from all genes, which takes some hundred.

    Examples
    --------
    >>> import spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_domains=3, n_slices=2, n_spots=300, n_genes=100, difficulty=0.2)
    >>> with sp.settings.override(verbosity="warning"):
    ...     sp.pp.prepare(adata, library_key="slice")
    ...     sp.tl.markers(adata, groups="domain", library_key="slice")
    >>> adata.uns["spotscape_markers"]["params"]["method"]
    'pseudobulk'
    >>> sp.get.markers_df(adata, group="Layer_1", n_genes=2)[["group", "gene", "rank"]]
         group     gene  rank
    0  Layer_1  gene_37     1
    1  Layer_1  gene_75     2

    References
    ----------
    Smyth, *Linear models and empirical Bayes methods for assessing differential expression*, Stat. Appl. Genet. Mol.
    Biol. 2004; Squair et al., *Confronting false discoveries in single-cell differential expression*, Nature
    Communications 2021.
    """
    require_data(adata)
    require_choice(method, "method", _METHODS)
    if n_genes is not None:
        require_positive_int(n_genes, "n_genes")
    require_positive_int(min_spots, "min_spots", minimum=2)
    groups = domain_column(adata, groups, "groups")
    task = _read(adata, groups, condition, reference, library_key, layer=layer, min_spots=min_spots)
    graph = None if neighbors_key is None else _graph(adata, neighbors_key, library_key)
    used = _resolve(method, task, condition)
    contrasts = _contrasts(task)
    frames = _pseudobulk(task, contrasts) if used == "pseudobulk" else _spots(task, contrasts, used)
    left_out = [contrast for contrast, frame in zip(contrasts, frames, strict=True) if frame is None]
    _report_left_out(left_out, len(contrasts), used, min_spots)
    pairs = zip(contrasts, frames, strict=True)
    finished = [_finish(task, contrast, frame, n_genes) for contrast, frame in pairs if frame is not None]
    table = pd.concat(finished, ignore_index=True)
    if graph is not None:
        wanted = np.flatnonzero(adata.var_names.isin(table["gene"]))
        codes = np.zeros(adata.n_obs) if task.slices is None else np.asarray(task.slices.codes)
        table["moran_i"] = (
            morans_i(task.expression, adata.var_names, wanted, graph, codes).loc[table["gene"]].to_numpy()
        )
    params = {
        "groups": groups, "condition": condition, "reference": task.reference, "library_key": library_key,
        "method": used, "layer": layer, "n_genes": n_genes, "min_spots": min_spots, "neighbors_key": neighbors_key,
    }  # fmt: skip
    extra = {
        "groups": list(task.domains.categories),
        "left_out": sorted({contrast.group for contrast in left_out}),
        "table": {str(name): _array(table[name]) for name in table},
    }
    extra["made_from"] = made_from(adata, obs=[groups, condition, library_key])
    target = adata.copy() if copy else adata
    write(target, {"uns": {key_added: record(params, **extra)}})
    return target if copy else None


def _read(
    adata: AnnData,
    groups: str,
    condition: str | None,
    reference: str | None,
    library_key: str | None,
    *,
    layer: str | None,
    min_spots: int,
) -> _Task:
    domains = read_groups(adata, groups, argument="groups", hint=_HINT)
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
        msg = f"adata.obs[{groups!r}] has one domain; there is nothing to compare it with. {_HINT}."
        raise ValueError(msg)
    expression = _expression(adata, layer)
    slices = slice_labels(adata, library_key)
    return _Task(adata, domains, conditions, slices, reference, layer, expression, min_spots)


def _expression(adata: AnnData, layer: str | None) -> Matrix:
    where = "adata.X" if layer is None else f"adata.layers[{layer!r}]"
    matrix: Matrix = expression_values(adata, layer)
    require_finite(matrix, where)
    require_nonnegative(matrix, where, hint="Expected is normalised expression, or counts")
    return matrix


def _counts(task: _Task) -> Matrix:
    if looks_like_counts(task.expression):
        return task.expression
    stored = task.adata.layers.get(keys.COUNTS)
    if stored is None or not looks_like_counts(in_memory(stored)):
        msg = (
            "method='pseudobulk' adds up counts, and neither the expression nor adata.layers['counts'] holds any; "
            "sp.pp.prepare(adata) keeps them there. Or compare spots: method='wilcoxon'."
        )
        raise ValueError(msg)
    return in_memory(stored)


def _graph(adata: AnnData, neighbors_key: str, library_key: str | None) -> Matrix | None:
    graph = read_graph(adata, neighbors_key, library_key, across_slices=True)
    if graph is None and neighbors_key != "spatial_neighbors":
        require_key(adata.uns, neighbors_key, "adata.uns", hint="Build it: sp.pp.spatial_neighbors_knn(adata)")
    if graph is None:
        logger.info("No spatial graph, so no Moran's I; build one first: sp.pp.spatial_neighbors_knn(adata).")
    return graph


def _resolve(method: str, task: _Task, condition: str | None) -> str:
    """The test to use: pseudo-bulk needs replicates."""
    if method not in {"auto", "pseudobulk"}:
        return method
    lacking = _lacks_replicates(task, condition)
    if lacking is None:
        return "pseudobulk"
    if method == "pseudobulk":
        msg = f"method='pseudobulk' needs replicates: {lacking}. Spots are compared by method='wilcoxon'."
        raise ValueError(msg)
    if condition is None:
        logger.info("Comparing spots by Wilcoxon's test, as there are no replicates: %s.", lacking)
    else:
        warn(
            f"conditions are compared without replicates: {lacking}. Spots of one slice are no independent samples, so "
            "p-values are far too small, and what differs between slices is taken for an effect of the condition."
        )
    return "wilcoxon"


def _lacks_replicates(task: _Task, condition: str | None) -> str | None:
    if task.slices is None:
        return "library_key names no slices"
    if task.conditions is None:
        return None if len(task.slices.categories) > 1 else "there is one slice"
    pairs = pd.crosstab(np.asarray(task.slices), np.asarray(task.conditions)) > 0
    mixed = pairs.index[pairs.sum(axis=1) > 1]
    if len(mixed):
        return f"slice {mixed[0]!r} has spots of several conditions of adata.obs[{condition!r}]"
    few = pairs.columns[pairs.sum(axis=0) < 2]
    return f"condition {few[0]!r} has one slice, and 2 are the least" if len(few) else None


def _contrasts(task: _Task) -> list[Contrast]:
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


def _pseudobulk(task: _Task, contrasts: list[Contrast]) -> list[pd.DataFrame | None]:
    if task.slices is None:
        msg = "pseudo-bulk without slices"
        raise AssertionError(msg)
    bulk = PseudoBulk.of(_counts(task), task.slices, task.domains)
    frames: list[pd.DataFrame | None] = []
    for contrast in contrasts:
        group = list(task.domains.categories).index(contrast.group)
        if task.conditions is None:
            tested = compare_domain(bulk, group, task.min_spots)
        else:
            sides = [_slices_of(task.slices, task.conditions == each) for each in (contrast.condition, task.reference)]
            tested = compare_conditions(bulk, group, sides[0], sides[1], task.min_spots)
        frames.append(None if tested is None else frame_of(task.adata.var_names[tested[0]], tested[1]))
    return frames


def _slices_of(slices: pd.Categorical, rows: np.ndarray) -> np.ndarray:
    return np.unique(np.asarray(slices.codes)[np.asarray(rows)])


def _spots(task: _Task, contrasts: list[Contrast], method: str) -> list[pd.DataFrame | None]:
    if looks_like_counts(task.expression):
        msg = (
            f"method={method!r} expects log-normalised expression, and "
            f"{'adata.X' if task.layer is None else f'adata.layers[{task.layer!r}]'} looks like raw counts; call "
            "sp.pp.prepare(adata) first."
        )
        raise ValueError(msg)
    entry = task.adata.uns.get("log1p")
    base = entry.get("base") if isinstance(entry, dict) else None
    names, genes = [contrast.group for contrast in contrasts], task.adata.var_names
    large = [min(c.inside.sum(), c.outside.sum()) >= task.min_spots for c in contrasts]
    if not any(large):
        return [None] * len(contrasts)
    if task.conditions is None:
        tested = compare_spots(
            task.expression,
            genes,
            _without_small(task.domains, names, large),
            method=method,
            reference="rest",
            base=base,
        )
        return [tested.get(name) for name in names]
    frames: list[pd.DataFrame | None] = []
    for contrast, enough in zip(contrasts, large, strict=True):
        side = np.select([contrast.inside, contrast.outside], ["inside", "outside"], "")
        labels = pd.Categorical(side, categories=["inside", "outside"])
        tested = {}
        if enough:
            tested = compare_spots(task.expression, genes, labels, method=method, reference="outside", base=base)
        frames.append(tested.get("inside"))
    return frames


def _without_small(domains: pd.Categorical, names: list[str], large: list[bool]) -> pd.Categorical:
    """Domains with too few spots count among the rest of the others, and are not tested themselves."""
    small = [name for name, enough in zip(names, large, strict=True) if not enough]
    kept = [name for name in names if name not in small]
    values = np.asarray(domains, dtype=object)
    if small:
        values = np.where(np.isin(domains, small), "\0small", values)
    return pd.Categorical(values, categories=[*kept, *(["\0small"] if small else [])])


def _report_left_out(left_out: list[Contrast], n_contrasts: int, method: str, min_spots: int) -> None:
    if not left_out:
        return
    what = ", ".join(repr(name) for name in dict.fromkeys(contrast.group for contrast in left_out))
    need = f"{min_spots} spots" + (" in at least 2 slices on either side" if method == "pseudobulk" else "")
    if len(left_out) == n_contrasts:
        msg = f"no domain has {need}; there is nothing to compare. Lower min_spots, or merge domains."
        raise ValueError(msg)
    warn(f"left out, because they do not have {need}: {what}.")


def _finish(task: _Task, contrast: Contrast, frame: pd.DataFrame, n_genes: int | None) -> pd.DataFrame:
    """Rank: genes that are up in a domain first; between conditions those that differ most, either way."""
    by = frame["score"] if task.conditions is None else frame["score"].abs()
    order = np.argsort(-by.to_numpy(dtype=np.float64), kind="stable")
    table = frame.iloc[order[:n_genes]].reset_index(drop=True)
    columns = task.adata.var_names.get_indexer(pd.Index(table["gene"]))
    table.insert(0, "group", contrast.group)
    if contrast.condition is not None:
        table.insert(1, "condition", contrast.condition)
        table.insert(2, "reference", contrast.reference)
    table["rank"] = np.arange(1, len(table) + 1)
    table["share"] = detected_share(task.expression, contrast.inside)[columns]
    table["share_rest"] = detected_share(task.expression, contrast.outside)[columns]
    return table


def _array(column: pd.Series) -> np.ndarray:
    if pd.api.types.is_integer_dtype(column):
        return column.to_numpy(dtype=np.int64)
    if pd.api.types.is_float_dtype(column):
        return column.to_numpy(dtype=np.float64)
    return column.to_numpy(dtype=object)
