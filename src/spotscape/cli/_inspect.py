"""What a tissue is: platform, slices, unit, counts and problems; and what ``spotscape info`` prints of it."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from spotscape._core import keys
from spotscape._core.genes import counts_elsewhere, layer_names, layer_with_counts, looks_of
from spotscape._core.geometry import layout_of, shares_within
from spotscape._core.places import coordinates
from spotscape._core.rows import ChunkedMatrix, is_stored, summarise
from spotscape._core.validation import slice_labels
from spotscape.cli._plan import plan, python_of, ways_to_read
from spotscape.readers._read import read_input

if TYPE_CHECKING:
    import argparse

    from anndata import AnnData

    from spotscape._core.geometry import Layout
    from spotscape._core.rows import Summary
    from spotscape.cli._plan import Step
    from spotscape.readers._read import Input

# Slices of which more than this share lies within the frame of another cannot lie in one plane side by side.
_OVER_EACH_OTHER = 0.3
_CONTROLS = {
    "Xenium": ("NegControlProbe", "NegControlCodeword", "UnassignedCodeword", "BLANK_", "antisense_"),
    "MERSCOPE": ("Blank-",),
    "CosMx": ("SystemControl", "NegPrb", "Negative"),
}
_WITHOUT_COUNTS = {
    "fractions": (
        "if they are intensities, as of proteins, on a scale like that of logarithms, as arcsinh(X / 5) makes it, say "
        "so by --intensities; counts='assume' in the table [prepare] of a file named by --config takes them as counts"
    ),
    "negative": "they are analysed in Python: sc.pp.pca(adata), then sp.tl.spotscape(adata, use_rep='X_pca')",
}
_BY_LATTICE = {
    "hexagonal": "Visium (by its lattice)",
    "square": "ST or bins (by its lattice)",
    "irregular": "single cells or beads (irregular)",
}


@dataclass(frozen=True)
class Description:
    """What :func:`describe` finds, in the words in which it is printed."""

    n_spots: int
    n_genes: int
    platform: str
    arrangement: str
    spacing: float
    unit: str
    slices: str | None
    slice_sizes: dict[str, int]
    counts: str
    median_counts: float
    empty_genes: int
    empty_spots: int
    problems: list[str]
    notes: list[str]
    layer: str | None  # With the counts; ``None`` for X
    is_normalised: bool  # Logarithms in X, which are used as they are


def read(options: argparse.Namespace) -> Input:
    """Read the inputs; several of them become the slices of one AnnData."""
    return read_input(options.inputs if len(options.inputs) > 1 else options.inputs[0], **ways_to_read(options))


def describe(tissue: Input, options: argparse.Namespace) -> Description:
    """Look at a tissue without changing it."""
    adata = tissue.adata
    problems: list[str] = []
    notes: list[str] = []
    coords = None
    try:
        coords = coordinates(adata, options.spatial_key)
    except (KeyError, ValueError) as error:
        problems.append(f"{str(error.args[0]).rstrip('.')}; --spatial-key names coordinates")
    slices = _slices(adata, coords, options.slices, problems, notes)
    labels = slice_labels(adata, slices)
    sizes = {} if labels is None else dict(zip(labels.categories, np.bincount(labels.codes).tolist(), strict=True))
    one = coords if coords is None or labels is None else coords[labels.codes == 0]
    layout = None if one is None else layout_of([one], adata)
    microns = None if layout is None else layout.um_per_unit
    unit = "unit not stated in the file" if microns is None else "µm" if microns == 1 else f"pixels of {microns:.3g} µm"
    layer, is_normalised, counts, summary = _counts(adata, options, problems, notes)
    totals, per_gene = (np.zeros(0),) * 2 if summary is None else (summary.row_sums, summary.column_sums)
    return Description(
        n_spots=adata.n_obs,
        n_genes=adata.n_vars,
        platform=tissue.platform or _platform(adata, layout),
        arrangement="unknown" if layout is None or one is None else _arrangement(layout.kind, one.shape[1]),
        spacing=float("nan") if layout is None else layout.spacing,
        unit="" if layout is None else unit,
        slices=slices,
        slice_sizes=sizes,
        counts=counts,
        median_counts=float(np.median(totals)) if len(totals) else 0.0,
        empty_genes=int(np.count_nonzero(per_gene == 0)),
        empty_spots=int(np.count_nonzero(totals == 0)),
        problems=problems,
        notes=notes,
        layer=layer,
        is_normalised=is_normalised,
    )


def _slices(
    adata: AnnData, coords: np.ndarray | None, wanted: str, problems: list[str], notes: list[str]
) -> str | None:
    if wanted == "none":
        return None
    if wanted != "auto":
        if wanted not in adata.obs:
            problems.append(f"obs has no column {wanted!r} for --slices; it has {', '.join(map(str, adata.obs))}")
            return None
        try:
            slice_labels(adata, wanted)
        except (TypeError, ValueError) as error:
            problems.append(str(error).rstrip("."))
            return None
        return wanted
    # In a table of SpatialData the region is the slice.
    for name in (*keys.slice_columns(adata.obs), *(["region"] if "region" in adata.obs else [])):
        if coords is None:
            continue
        column = adata.obs[name].dropna()
        n_missing = len(coords) - len(column)
        if not 2 <= column.nunique() <= len(column) // 20:
            continue
        named = coords[adata.obs[name].notna().to_numpy(), :2]
        shares = shares_within(named, column.astype(str).to_numpy())
        overlap = shares.sum() > _OVER_EACH_OTHER * (shares.size - len(shares))
        if overlap and n_missing:
            notes.append(
                f"obs[{name!r}] seems to hold slices, because their coordinates overlap, but is missing for "
                f"{n_missing} of {len(coords)} spots: it is not used; leave those spots out, or fill in their slice"
            )
        elif overlap:
            notes.append(f"obs[{name!r}] is taken for the slices, because their coordinates overlap")
            return name
        elif not n_missing:
            notes.append(
                f"obs[{name!r}] may be the slices, but they lie side by side in the coordinates: taken as one slice; "
                f"--slices {shlex.quote(name)} if they are several"
            )
    return None


def _counts(
    adata: AnnData, options: argparse.Namespace, problems: list[str], notes: list[str]
) -> tuple[str | None, bool, str, Summary | None]:
    """The layer with the counts, whether there are logarithms alone, where the counts are, and what they sum up to.

    Without ``--layer`` it is the one that has counts where X has none.
    """
    layer, other = options.layer, layer_with_counts(adata, options.layer)
    layer = other if layer is None and adata.X is None else layer
    if adata.X is None if layer is None else layer not in adata.layers:
        lacks = f"there is no layer {layer!r} for --layer, but {', '.join(layer_names(adata)) or 'none'}"
        problems.append("X is empty; name the layer with the counts by --layer" if layer is None else lacks)
        return layer, False, "missing", None
    where, summary = "X" if layer is None else f"layers[{layer!r}]", _summary(adata, layer)
    if summary.n_broken:
        problems.append(f"{where} has {summary.n_broken} NaN or infinite values; remove or replace them")
        return layer, False, f"with NaN or infinite values, in {where}", None
    if options.intensities and layer is None and summary.least >= 0:
        notes.append(
            f"the intensities in X, up to {summary.largest:.4g}, are used as they are, and so are all proteins; their "
            "scale should be like that of logarithms, as arcsinh(X / 5) makes it"
        )
        return layer, True, "none; intensities in X", summary
    if summary.whole and summary.least >= 0:
        return layer, False, f"raw counts in {where}", summary
    kind, looks = looks_of(adata.X if layer is None else adata.layers[layer], summary)
    if layer is None and other is not None:
        notes.append(f"X holds {looks}; the counts are taken from layers[{other!r}]")
        return other, False, f"raw counts in layers[{other!r}]", _summary(adata, other)
    held = f"layers[{other!r}] holds counts: --layer {other}" if other is not None else counts_elsewhere(adata, layer)
    is_normalised = kind == "logarithm" and layer is None and held is None
    if is_normalised:
        notes.append("there are no counts: the logarithms in X are used as they are, and so are all genes")
    elif kind != "negative" and options.steps.get("prepare", {}).get("counts") == "assume":
        notes.append(f"{where} holds {looks}, and is taken as counts")
    elif kind != "scaled" or other is not None:
        mend = held or _WITHOUT_COUNTS.get(kind)
        problems.append(f"{where} is not raw counts: it holds {looks}" + (f"; {mend}" if mend else ""))
    return layer, is_normalised, f"{'none; ' * is_normalised}{looks}, in {where}", summary


def _summary(adata: AnnData, layer: str | None) -> Summary:
    values = adata.X if layer is None else adata.layers[layer]
    return summarise(ChunkedMatrix(values) if is_stored(values) else values)


def _platform(adata: AnnData, layout: Layout | None) -> str:
    names = pd.Index(adata.var_names.astype(str))
    for platform, starts in _CONTROLS.items():
        if names.str.startswith(starts).any():
            return f"{platform} (by its control probes)"
    if layout is None:
        return "unknown"
    return layout.platform or _BY_LATTICE[layout.kind]


def info(options: argparse.Namespace) -> int:
    """Print what the inputs are; the exit status is 1 if they could not be analysed."""
    tissue = read(options)
    found = describe(tissue, options)
    steps = plan(options, tissue, found)
    if options.json:
        seconds, gigabytes = estimate(found, options)
        content = dataclasses.asdict(found) | {
            "input": [str(path) for path in options.inputs],
            "kind": tissue.kind,
            "spacing": None if np.isnan(found.spacing) else found.spacing,  # JSON has no NaN
            "steps": python_of(options, tissue, steps),
            "estimated_seconds": round(seconds),
            "estimated_gigabytes": round(gigabytes, 1),
        }
        sys.stdout.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(text_of(options, tissue, found, steps))
    return 1 if found.problems else 0


def text_of(options: argparse.Namespace, tissue: Input, found: Description, steps: list[Step]) -> str:
    """All of it as lines for people."""
    seconds, gigabytes = estimate(found, options)
    where = "this machine's GPU" if options.device.startswith("cuda") else "2 cores without a GPU"
    rows = [
        ("input", f"{', '.join(map(str, options.inputs))} ({tissue.kind})"),
        *rows_of(found),
        ("problems", "\n".join(found.problems) or "none"),
        ("notes", "\n".join(found.notes) or "none"),
        ("steps", "\n".join(python_of(options, tissue, steps))),
        ("takes", f"about {duration(seconds)} and {gigabytes:.1f} GB of memory; a rough guess for {where}"),
    ]
    lines = []
    for name, value in rows:
        first, *more = value.split("\n")
        lines += [f"{name:<12}{first}", *(f"{'':<12}{line}" for line in more)]
    return "\n".join(lines) + "\n"


def _arrangement(kind: str, n_axes: int) -> str:
    return kind + " lattice" * (kind != "irregular") + " in three dimensions" * (n_axes == 3)


def rows_of(found: Description) -> list[tuple[str, str]]:
    """Names and values of what was found, as ``info`` and the report show them."""
    sizes = ", ".join(f"{name} ({size:,})" for name, size in list(found.slice_sizes.items())[:12])
    more = "" if len(found.slice_sizes) <= 12 else f" and {len(found.slice_sizes) - 12} more"
    slices = "one" if found.slices is None else f"{len(found.slice_sizes)} in obs[{found.slices!r}]: {sizes}{more}"
    spacing = (
        "unknown" if np.isnan(found.spacing) else f"{found.arrangement}, spacing {found.spacing:.4g}; {found.unit}"
    )
    empty = f"{found.empty_genes:,} genes and {found.empty_spots:,} spots without counts"
    return [
        ("size", f"{found.n_spots:,} spots × {found.n_genes:,} genes"),
        ("platform", found.platform),
        ("coordinates", spacing),
        ("slices", slices),
        ("counts", f"{found.counts}; median {found.median_counts:,.0f} per spot; {empty}"),
    ]


# Seconds of processor time for a thousand spots: `benchmarks/visium_hd.py --bins 5000`.
_SECONDS = {"spotscape": 1.0, "spacross": 4.2, "smoothed-pca": 0.1}
# Choosing the number of domains and finding markers; reading and importing.
_OTHER_STEPS, _START = 0.5, 8.0


def estimate(found: Description, options: argparse.Namespace) -> tuple[float, float]:
    """Seconds and gigabytes."""
    thousands = found.n_spots / 1000
    training = _SECONDS[options.method] * thousands * (1 if options.method == "smoothed-pca" else options.restarts)
    # Libraries, and some six arrays of 8 bytes for every count that is not zero.
    gigabytes = 0.9 + 48e-9 * found.n_spots * min(found.n_genes, found.median_counts)
    return _START + training + _OTHER_STEPS * thousands, gigabytes


def duration(seconds: float) -> str:
    """Seconds as people say them: 42 s, 3 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
