"""What the parameters of all public functions may be, and what docstrings say of them: once, by name."""

from __future__ import annotations

import inspect
import re
import textwrap
from typing import TYPE_CHECKING, Any, Final

from spotscape._core import keys, kinds
from spotscape._core.logging import logger
from spotscape._core.validation import params_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from anndata import AnnData

    from spotscape._core.arguments import Rule


# Images, counts and what preprocessing left belong to the user and to other tools.
_TAKEN = {keys.SPATIAL, keys.COUNTS, keys.PREPARE, "log1p", "hvg", "neighbors", "pca"}
# Columns and matrices that a call reads and must not write over.
_INPUTS = ("library_key", "layer", "z_key", "condition", "key")
# What a record has for scanpy, beside the parameters of the function that made it.
_FOR_SCANPY = ("groupby", "use_raw", "corr_method")
# What the records of all embeddings have, and no others.
_OF_EMBEDDINGS = "whitening"


# Former names of arguments, by function. They are taken with a warning for one version.
RENAMED: Final[dict[str, dict[str, str]]] = {
    "spotscape.tl._impute.impute": {"n_components": "n_comps"},
    "spotscape.tl._markers.markers": {"groups": "key"},
    "spotscape.tl._trajectory.trajectory": {"groups": "key"},
}


def require_target(adata: AnnData, values: Mapping[str, Any]) -> None:
    """Refuse a ``key_added`` that would write over data."""
    key = values["key_added"]
    if key.removeprefix("X_") in _TAKEN:
        msg = f"key_added={key!r} would write over data of that name; choose another name."
        raise ValueError(msg)
    for name in _INPUTS:
        if values.get(name) == key:
            msg = f"key_added={key!r} would write over {name}={key!r}, which is read; choose another name."
            raise ValueError(msg)
    if key == adata.obs_names.name:
        msg = f"key_added={key!r} is the name of the index of adata.obs; choose another or adata.obs_names.name = None."
        raise ValueError(msg)


def say_replaced(adata: AnnData, key: str, declared: Collection[str], *, is_embedding: bool) -> None:
    """Log that the record of another result is replaced: one with parameters that the function does not take.

    The records of embeddings have those of their settings too.
    """
    key = key.removeprefix("X_") if is_embedding else key
    found = params_of(adata.uns.get(key))
    if found and not (_OF_EMBEDDINGS in found if is_embedding else found.keys() <= {*declared, *_FOR_SCANPY}):
        logger.warning(
            "`adata.uns['%s']`, which describes another result, is replaced. Another key_added keeps both.", key
        )


_POSITIVE = kinds.number(0, above_low=True)
_NOT_NEGATIVE = kinds.number(0)
_SHARE = kinds.number(0, 1)

_NAMES: Final[dict[Rule, str]] = {
    kinds.anndata: "adata reference",
    kinds.key_name: "key_added",
    kinds.layer_to_write: "decoded_layer",
    kinds.text: "table_key coordinate_system library_key donor_key spatial_key neighbors_key labels_key z_key use_rep"
    " layer mask_var condition key confidence gene_symbols img_res_key to confidence_key basis",
    kinds.shown: "color",
    kinds.list_of(kinds.text): "use_reps genes labelings",
    kinds.label: "root query group groups sample checkerboard",
    kinds.library: "library",
    kinds.list_of(kinds.label): "library_order",
    kinds.choice: "method policy deform recipe preset layout geometry offset start missing_genes decoder pairing"
    " schedule precision style counts kind normalize standard_scale",
    kinds.flag: "keep_controls copy align allow_flip across_slices mutual return_model inverse invert_y log1p"
    " scale overwrite progress_bar count_unmatched spatial_components linear_scale latent_relu integrate"
    " center_slices several_slices large_tissue img colorbar frameon show return_fig interactive"
    " deformation",
    kinds.seed: "random_state",
    kinds.device: "device",
    kinds.threads: "n_jobs",
    kinds.path: "directory path",
    kinds.paths: "paths",
    kinds.file_to_write: "checkpoint",
    kinds.instance: "config model",
    kinds.colormap: "cmap",
    kinds.palette: "palette",
    kinds.listed(kinds.instance): "ax",
    kinds.title: "title legend_loc",
    kinds.color: "na_color",
    kinds.scalebar: "scalebar",
    kinds.bound: "vmin vmax",
    kinds.array: "truth imputed mask points",
    kinds.points: "coordinates embedding",
    kinds.graph: "graph",
    kinds.expression: "expression",
    kinds.adjacency: "adjacency",
    kinds.slices: "slices",
    kinds.labels_of_spots: "labels labels_true labels_pred labels_transferred",
    kinds.integer(0): "min_cells min_counts n_hops n_heldout_genes quorum tears",
    kinds.integer(1): "bin_size n_neighs n_neighs_between n_neighbors n_comps n_matches n_passes n_restarts"
    " n_top_genes n_genes n_lines ncols max_rank max_epochs patience n_axes n_encoders hidden_size"
    " feature_size latent_size scaling_neighbors scaling_mutual scaling_spots contrast_spots n_clusterings"
    " n_negatives n_similar refresh_every n_slices n_spots",
    kinds.integer(2): "n_domains k_range n_dcs n_resamples min_spots max_spots batch_size n_clusters n_prototypes",
    _POSITIVE: "resolution ridge clip target_sum size linewidth slice_gap lr max_grad_norm prototype_temperature"
    " library_size",
    _NOT_NEGATIVE: "telescope_weight reconstruction_weight scaling_weight prototype_weight weight_decay"
    " min_delta contrast_weight consistency_weight batch_effect drift",
    _SHARE: "min_share whitening max_missing min_connectivity max_pvalue_adj prototype_warmup replace_rate"
    " target_momentum difficulty",
    kinds.number(0, 1, below_high=True): "dropout edge_drop feature_drop",
    kinds.number(0, 1, above_low=True): "alpha img_alpha",
    kinds.number(0, 1, above_low=True, below_high=True): "mask_rate",
    kinds.radius: "radius",
    kinds.number(1): "perplexity min_fold_change",
    kinds.number(): "rotation vcenter img_contrast crop_coord elev azim",
    kinds.number(0, 1000, above_low=True): "figsize legend_fontsize",
    # A power: 1 gives each gene its variance over its mean as a weight.
    kinds.number(0, 10): "dispersion",
    kinds.number(20, 2400): "dpi",
    kinds.anything: "anchors shift flip missing_domains private_domains",
}

RULES: Final[dict[str, Rule]] = {name: rule for rule, names in _NAMES.items() for name in names.split()}


_PLACES = "Column of ``adata.obs`` with the slice of every spot"
_DEVICES = '``"auto"`` (CUDA if usable, else CPU), ``"cpu"``, ``"cuda"`` or ``"cuda:1"``'
_TRAINING = {
    "batch_size": "Number of spots in a training step. Steps then see tiles from all over the tissue (see *Large "
    "data* in the documentation). ``None`` takes all spots in every step if that needs less than about 0.3 GB, "
    "else 16,384.",
    "device": f"{_DEVICES}. ``None`` takes ``spotscape.settings.device``.",
    "progress_bar": "Show epochs and remaining time; ``None`` takes ``spotscape.settings.progress_bar``.",
    "checkpoint": "File in which the training is saved regularly. If it exists, the training resumes from it; a "
    "file of other data, another configuration or another seed is refused. Further trainings of ``n_restarts`` have "
    "files of their own, with ``.restart1``, ``.restart2`` and so on after the name.",
}
PARAMETERS: Final[dict[str, dict[str, str]]] = {
    "metrics": {
        "labels_true": "Known domain of each spot. Spots that are unlabelled (NaN or None) here or in ``labels_pred`` "
        "are left out.",
        "labels_pred": "Found domain of each spot; names need not match those of ``labels_true``.",
        "labels": "Domain of each spot; unlabelled (NaN or None) spots are left out.",
        "library": "Slice of each spot.",
        "embedding": "Position of each spot, shape ``(n_spots, n_dims)``.",
        "coordinates": "Coordinates in any unit (the value does not depend on it), shape ``(n_spots, 2 or 3)``.",
        "perplexity": "Effective number of neighbours, as in :func:`lisi`.",
        "labels_transferred": "Label that each spot got from its match, under the same names; NaN or None where it has "
        "no match.",
        "random_state": "Seed of the sample.",
    },
    "pp": {
        "library_key": f"{_PLACES}; no edge joins two slices. ``None`` means a single slice.",
        "spatial_key": "Coordinates in ``adata.obsm``, shape ``(n_obs, 2)`` or ``(n_obs, 3)``, in any unit.",
        "key_added": "Prefix of the keys that are written.",
        "n_jobs": "Threads over the slices, -1 for all cores; ``None`` means :attr:`spotscape.settings.n_jobs`. The "
        "result does not depend on it.",
        "copy": "Whether to return the result (a graph, or a new AnnData) instead of writing it to ``adata``.",
    },
    "tl": {
        **_TRAINING,
        "library_key": f"{_PLACES}. ``None`` for a single slice.",
        "layer": "Layer to use instead of ``adata.X``.",
        "use_rep": 'Key of the embedding in ``adata.obsm``. Default: ``"X_spotscape"`` or ``"X_spacross"``, '
        'whichever is there; if both are, name one. Without them: ``"X_smoothed_pca"``.',
        "mask_var": "Boolean column of ``adata.var``, or boolean array, of the genes to use. By default "
        '``"highly_variable"``, if it exists; ``None`` uses all genes.',
        "key_added": "Name of the embedding in ``adata.obsm``. The record in ``adata.uns`` has the same name without "
        "``X_``.",
        "neighbors_key": "Record of the spatial graph in ``adata.uns``. If there is none of the default name, that of "
        ":func:`spotscape.pp.spatial_neighbors_knn` is built, written, and mentioned in the log.",
        "return_model": "Return the trained model, the first of several, to be saved and for "
        ":func:`spotscape.tl.embed` on new slices. It remembers gene names, preprocessing and graph. Not together "
        "with ``copy``.",
        "decoded_layer": "Name of a layer for decoded (denoised) expression, a dense array. ``None`` writes none.",
        "config": "All hyper-parameters, instead of ``preset``.",
        "max_epochs": "Epochs of each encoder; overrides ``preset`` and ``config``, as do the next two.",
        "lr": "Learning rate: the peak of the schedule.",
        "n_encoders": "Number of encoders that are trained side by side. With more of them, domains depend less on the "
        "seed, and training takes longer.",
        "random_state": "Seed of all random numbers. The same seed gives the same result on the same CPU. The global "
        "state of NumPy and torch is not changed. ``None`` draws a seed and records it.",
        "n_restarts": "How often to train, with different seeds, for :func:`spotscape.tl.consensus_domains`. The first "
        "training equals a single one.",
        "copy": "Whether to return a copy with the results instead of writing them to ``adata``.",
    },
    "models": _TRAINING,
    "pl": {
        "library_key": f"{_PLACES}. ``None`` takes the one by which the data were processed.",
        "spatial_key": "Coordinates in ``adata.obsm``; the first two columns are shown.",
        "color": "Column of ``adata.obs`` or gene. ``None`` means the domains that :func:`spotscape.tl.domains` has "
        "found.",
        "palette": "Colours of categories, as in :func:`spotscape.pl.domains`.",
        "output": "``figsize``, ``dpi``, ``ax``, ``show`` and ``return_fig``, as in :func:`spotscape.pl.domains`.",
        "ncols": "Largest number of panels side by side.",
        "use_rep": 'Key of the embedding in ``adata.obsm``. ``None`` means ``"X_spotscape"`` or ``"X_spacross"``, '
        'whichever is there. Without them: ``"X_smoothed_pca"``.',
        "layer": "Layer with the expression. ``None`` means ``adata.X``.",
        "gene_symbols": "Column of ``adata.var`` with other names of the genes, such as symbols.",
        "cmap": "Colormap.",
        "vmin": "Lower end of the scale of numbers, as in :func:`spotscape.pl.domains`.",
        "vmax": "Upper end of the scale of numbers.",
        "looks": "``size``, ``alpha``, ``cmap``, ``na_color``, ``invert_y``, ``legend_loc``, ``legend_fontsize``, "
        "``colorbar``, ``figsize``, ``dpi``, ``ax``, ``show`` and ``return_fig``, as in :func:`spotscape.pl.domains`.",
    },
}
_KEYS = "If a column, embedding, layer, record or another key does not exist; the message lists those that do."
_TYPES = (
    "If an argument is of another type than expected, or a column that should name slices or groups holds measurements."
)
RAISES: Final[dict[str, dict[str, str]]] = {
    "metrics": {
        "TypeError": "If an argument is of another type than expected.",
        "ValueError": "If lengths or shapes differ, no spot is labelled, an argument is out of its range, points are "
        "NaN, or there is nothing to compare: a single domain or slice, or no label in common.",
    },
    **{space: {"KeyError": _KEYS, "TypeError": _TYPES} for space in ("get", "pp", "tl", "pl")},
}

_SPATIALDATA = {
    "table_key": "Name of the table if ``adata`` is a SpatialData; not needed if it has one table. Several, as a list, "
    "are joined as the slices of ``library_key``. Results are written into the table.",
    "coordinate_system": "Coordinate system of a SpatialData. Centroids of the elements that the table annotates are "
    'taken in it and kept in ``obsm["spatial_<system>"]``. ``None`` takes ``obsm["spatial"]`` if it exists.',
}
# How a result is handed out, beside the keys that are written.
_COPIED = "``None``, or with ``copy=True`` a new :class:`~anndata.AnnData`. Written are:"
_SHOWN = "``None``, the axes or the figure, as :func:`spotscape.pl.domains` does."
_COLORED = 'New colours of categories are written to\n``adata.uns["<column>_colors"]``, in the order of the categories.'
# What stands for a line ``{graph}`` of a docstring. ``<key>`` is the default of ``key_added``, ``<name>`` the function.
PASSAGES: Final = {
    "graph": """\
If ``copy=True``, a :class:`SpatialGraph` with fields ``connectivities`` and ``distances``.

Otherwise ``None``, and these are written (squidpy's layout):

``adata.obsp["<key>_connectivities"]`` : csr_matrix float32, shape ``(n_obs, n_obs)``
    1.0 per edge, zero diagonal; row ``i`` holds the neighbours of spot ``i``.
``adata.obsp["<key>_distances"]`` : csr_matrix float64, shape ``(n_obs, n_obs)``
    Edge lengths in the unit of the coordinates. Same sparsity: an edge between spots at the same place is an explicit
    zero (squidpy drops it).
``adata.uns["<key>_neighbors"]`` : dict
    ``connectivities_key``, ``distances_key`` and ``params``.""",
    "training": """\
If ``copy=True`` a new :class:`~anndata.AnnData`, if ``return_model=True`` the trained model, otherwise ``None``; with
these keys:

``obsm['<key>']`` (or ``key_added``)
    Embedding, float32 array ``(n_obs, 12)``; the width is ``n_axes`` of the configuration.
``uns['<name>']``
    Dict with ``params`` (among them ``preset``, ``None`` if ``config`` was given), ``history`` (losses and learning
    rate by epoch), ``random_state``, ``version``.
``obsm['<key>_1']``, ``obsm['<key>_2']``, ...
    Embeddings of the further trainings, only with ``n_restarts`` above 1; ``uns['<name>']`` then has ``restarts`` with
    the keys of all (``use_reps``) and their seeds (``random_states``).
{graph_if_built}
``layers[decoded_layer]``
    Decoded expression, float32 ``(n_obs, n_vars)``, in the units of the input, not below 0; NaN for genes that are not
    in ``mask_var`` or that a slice did not measure. Only on request.

Nothing is written if the call fails or is interrupted.""",
    "training_fails": """\
If the expression is raw counts, negative, not finite, or the same in all spots; if the graph has no edges, or joins
slices that the method keeps apart; if there is no such preset, or ``config`` is given beside one; if both ``copy`` and
``return_model`` are asked for; if the device cannot be used; if ``decoded_layer`` is asked of a representation, or
would overwrite ``"counts"`` or the layer that is read; if the checkpoint belongs to another training.""",
    "graph_if_built": """\
``obsp['spatial_connectivities']``, ``obsp['spatial_distances']``, ``uns['spatial_neighbors']``
    The spatial graph, only if it was built here.""",
}


def documentation_of(function: Callable[..., Any], names: Sequence[str] = ()) -> str:
    """The docstring of a function with what it leaves to this file: parameters, errors, and results as ``{graph}``.

    ``names`` are those that a metric takes in the place of arrays.
    """
    space, signature = function.__module__.split(".")[1], inspect.signature(function)
    # Python 3.13 strips the indentation of docstrings when it compiles them, earlier ones do not.
    summary, *found = re.split(r"\n\n(?=[A-Z][\w ]*\n---)", inspect.cleandoc(function.__doc__ or ""))
    if names:
        first, blank, rest = summary.partition("\n\n")
        said = "Give an AnnData first to name what it holds instead of passing arrays:\n"
        said += f"``sp.metrics.{function.__name__}(adata, " + ", ".join(f'"{name}"' for name in names) + ")``."
        summary = f"{first}\n\n{said}{blank}{rest}"
    sections = {text.partition("\n")[0]: text for text in found}
    shown = {name: "**" * (each.kind is each.VAR_KEYWORD) + name for name, each in signature.parameters.items()}
    texts = {shown[name]: text for name, text in (_SPATIALDATA | PARAMETERS.get(space, {})).items() if name in shown}
    sections["Parameters"] = _completed("Parameters", sections, texts, list(shown.values()))
    own, kind = sections.get("Returns", ""), str(signature.return_annotation)
    if space == "pl" and kind == "Shown" and not own:
        own = f"Returns\n-------\n{_SHOWN} {_COLORED if 'palette' in signature.parameters else 'Nothing is written.'}"
    if "copy" in signature.parameters and kind == "AnnData | None" and "``copy" not in own:
        own = own.replace("-------\n", f"-------\n{_COPIED}\n\n", 1)
    sections["Returns"] = own
    sections["Raises"] = _completed("Raises", sections, RAISES.get(space, {}) if found else {}, None)
    order = dict.fromkeys(["Parameters", "Returns", "Raises", *sections])
    filled = "\n\n".join([summary, *(sections[title] for title in order if sections.get(title))])
    key = getattr(signature.parameters.get("key_added"), "default", "")
    for name, passage in PASSAGES.items():
        said = passage.replace("<key>", str(key)).replace("<name>", function.__name__)
        for indent in ("    ", ""):
            filled = filled.replace(f"\n{indent}{{{name}}}\n", f"\n{textwrap.indent(said, indent)}\n")
    return filled


def _completed(title: str, sections: Mapping[str, str], texts: Mapping[str, str], order: Sequence[str] | None) -> str:
    """A section with the entries of ``texts`` that it lacks, in this order or that of the alphabet."""
    # An entry may be of several parameters: "vmin, vmax".
    entries = re.split(r"\n(?=\S)", sections.get(title, ""))[2:]
    own = {name: entry for entry in entries for name in entry.partition("\n")[0].split(", ")}
    own |= {
        name: f"{name}\n{textwrap.indent(textwrap.fill(text, 112), '    ')}"
        for name, text in texts.items()
        if name not in own
    }
    said = dict.fromkeys(own[name] for name in order or sorted(own) if name in own)
    return "\n".join([title, "-" * len(title), *said]) if said else ""
