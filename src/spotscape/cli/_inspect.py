"""What a tissue is: platform, slices, unit, counts, problems."""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from spotscape._core import keys
from spotscape._core.counts import layer_names
from spotscape._core.geometry import layout_of, shares_within
from spotscape.cli._plan import plan
from spotscape.cli._read import read

if TYPE_CHECKING:
    import argparse

    from anndata import AnnData

    from spotscape._core.geometry import Layout
    from spotscape.cli._plan import Step
    from spotscape.cli._read import Input

# Slices of which more than this share lies within the frame of another cannot lie in one plane side by side.
_OVER_EACH_OTHER = 0.3
_SAMPLE = 2_000
_CONTROLS = {
    "Xenium": ("NegControlProbe", "NegControlCodeword", "UnassignedCodeword", "BLANK_", "antisense_"),
    "MERSCOPE": ("Blank-",),
    "CosMx": ("SystemControl", "NegPrb", "Negative"),
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


def describe(tissue: Input, options: argparse.Namespace) -> Description:
    """Look at a tissue without changing it."""
    adata = tissue.adata
    problems: list[str] = []
    notes: list[str] = []
    coords = _coordinates(adata, options.spatial_key, problems)
    slices = _slices(adata, coords, options.slices, problems, notes)
    sizes = {} if slices is None else {str(k): int(v) for k, v in adata.obs[slices].value_counts(sort=False).items()}
    one = coords
    if coords is not None and slices is not None:
        one = coords[(adata.obs[slices].astype(str) == next(iter(sizes))).to_numpy()]
    layout = None if one is None else layout_of([one], adata)
    microns = None if layout is None else layout.um_per_unit
    unit = "unit not stated in the file" if microns is None else "µm" if microns == 1 else f"pixels of {microns:.3g} µm"
    counts, totals, per_gene = _counts(adata, options.layer, problems)
    n_empty = int(np.count_nonzero(per_gene == 0))
    return Description(
        n_spots=adata.n_obs,
        n_genes=adata.n_vars,
        platform=tissue.platform or _platform(adata, layout),
        arrangement="unknown" if layout is None else layout.kind + " lattice" * (layout.kind != "irregular"),
        spacing=float("nan") if layout is None else layout.spacing,
        unit="" if layout is None else unit,
        slices=slices,
        slice_sizes=sizes,
        counts=counts,
        median_counts=float(np.median(totals)) if len(totals) else 0.0,
        empty_genes=n_empty,
        empty_spots=int(np.count_nonzero(totals == 0)),
        problems=problems,
        notes=notes,
    )


def _coordinates(adata: AnnData, key: str, problems: list[str]) -> np.ndarray | None:
    if key not in adata.obsm:
        held = ", ".join(map(repr, adata.obsm)) or "nothing"
        problems.append(f"no coordinates: obsm[{key!r}] is missing, obsm has {held}; name them by --spatial-key")
        return None
    try:
        coords = np.asarray(adata.obsm[key], dtype=np.float64)
    except ValueError as error:
        problems.append(f"obsm[{key!r}] holds no numbers: {error}")
        return None
    broken = ~np.isfinite(coords).all(axis=1)
    if broken.any():
        problems.append(f"{broken.sum()} spots have no coordinates (NaN or infinite)")
        return None
    return coords


def _slices(
    adata: AnnData, coords: np.ndarray | None, wanted: str, problems: list[str], notes: list[str]
) -> str | None:
    if wanted == "none":
        return None
    if wanted != "auto":
        if wanted not in adata.obs:
            problems.append(f"obs has no column {wanted!r} for --slices; it has {', '.join(map(str, adata.obs))}")
            return None
        return wanted
    # In a table of SpatialData the region is the slice.
    for name in (*keys.SLICE_COLUMNS, "region"):
        if name not in adata.obs or coords is None:
            continue
        column = adata.obs[name]
        if column.isna().any() or not 2 <= column.nunique() <= len(column) // 20:
            continue
        shares = shares_within(coords[:, :2], column.astype(str).to_numpy())
        if shares.sum() > _OVER_EACH_OTHER * (shares.size - len(shares)):
            notes.append(f"obs[{name!r}] is taken for the slices, because these lie over each other in the coordinates")
            return name
        notes.append(
            f"obs[{name!r}] may be the slices, but they lie side by side in the coordinates: taken as one slice; "
            f"--slices {name} if they are several"
        )
    return None


def _counts(adata: AnnData, layer: str | None, problems: list[str]) -> tuple[str, np.ndarray, np.ndarray]:
    """Where the counts are, the totals of (a sample of) the spots, and of the genes."""
    if layer is not None and layer not in adata.layers:
        problems.append(f"there is no layer {layer!r} for --layer, but {', '.join(layer_names(adata)) or 'none'}")
        return "missing", np.empty(0), np.empty(0)
    values = adata.X if layer is None else adata.layers[layer]
    where = "X" if layer is None else f"layers[{layer!r}]"
    if values is None:
        problems.append("X is empty; name the layer with the counts by --layer")
        return "missing", np.empty(0), np.empty(0)
    step = max(1, adata.n_obs // _SAMPLE)
    sample = _dense_values(values[::step])
    totals, per_gene = np.asarray(values.sum(axis=1)).ravel(), np.asarray(values.sum(axis=0)).ravel()
    if sample.size and sample.min() < 0:
        problems.append(f"{where} has negative values: scaled data, not counts{_elsewhere(adata)}")
        return f"negative values in {where}", totals, per_gene
    if not np.array_equal(sample, np.floor(sample)):
        looks = "log-normalised" if sample.max(initial=0) < 21 else "fractions"
        problems.append(f"{where} holds {looks} values, not raw counts{_elsewhere(adata)}")
        return f"{looks} in {where}", totals, per_gene
    return f"raw counts in {where}", totals, per_gene


def _elsewhere(adata: AnnData) -> str:
    """Where counts are instead, as the end of a sentence."""
    for name in layer_names(adata):
        values = _dense_values(adata.layers[name][: min(_SAMPLE, adata.n_obs)])
        if values.size and values.min() >= 0 and np.array_equal(values, np.floor(values)):
            return f"; layers[{name!r}] holds counts: --layer {name}"
    return ""


def _dense_values(values: Any) -> np.ndarray:
    values = values.compute() if hasattr(values, "compute") else values
    return np.asarray(values.data if sparse.issparse(values) else values, dtype=np.float64).ravel()


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
            "steps": [str(step) for step in steps],
            "estimated_seconds": round(seconds),
            "estimated_gigabytes": round(gigabytes, 1),
        }
        # JSON has no NaN.
        content = {
            key: None if isinstance(value, float) and np.isnan(value) else value for key, value in content.items()
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
        ("steps", "\n".join(map(str, steps))),
        ("takes", f"about {duration(seconds)} and {gigabytes:.1f} GB of memory; a rough guess for {where}"),
    ]
    lines = []
    for name, value in rows:
        first, *more = value.split("\n")
        lines += [f"{name:<12}{first}", *(f"{'':<12}{line}" for line in more)]
    return "\n".join(lines) + "\n"


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
    """Seconds as people say them.

    >>> duration(42), duration(200), duration(9000)
    ('42 s', '3 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
