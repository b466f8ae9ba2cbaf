"""What the parameters of all public functions may be, declared once by name."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from spotscape._core import keys
from spotscape._core.arguments import Hint
from spotscape._core.randomness import seed_of
from spotscape._core.validation import described, require_choice, require_in_range, require_positive_int

if TYPE_CHECKING:
    from anndata import AnnData

    from spotscape._core.arguments import Rule

# Squares of longer distances are no finite numbers.
_FAR = 1e150
# One value of several.
_ONE = Hint(nullable=False, choices=(), classes=("str",), several=False, length=None)
# Names that h5ad or zarr give a meaning of their own.
_TAKEN_BY_FILES = {"_index", ".", "..", "zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata"}
# Images, counts and what preprocessing left belong to the user and to other tools.
_TAKEN = {keys.SPATIAL, keys.COUNTS, keys.PREPARE, "log1p", "hvg", "neighbors", "pca"}
# Columns and matrices that a call reads and must not write over.
_INPUTS = ("library_key", "layer", "z_key", "condition", "groups")


def require_writable(adata: AnnData, *, copy: bool) -> None:
    """Refuse an AnnData that could not take the results, or not be copied."""
    if not adata.isbacked or not (copy or adata.is_view):
        return
    what = "is a view of" if adata.is_view else "is backed by"
    cannot = "cannot be copied in memory as it is" if copy else "cannot take results"
    msg = f"adata {what} the file {str(adata.filename)!r} and {cannot}; load it first: adata = adata.to_memory()."
    raise ValueError(msg)


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
        msg = (
            f"key_added={key!r} is the name of the index of adata.obs; choose another, or adata.obs_names.name = None."
        )
        raise ValueError(msg)


def key_name(value: Any, name: str, hint: Hint) -> str:
    """The name of a result: a text that h5ad and zarr can hold as a key."""
    if not isinstance(value, str):
        msg = f"{name} must be a text, not {described(value)}."
        raise TypeError(msg)
    if not value.strip() or "/" in value or "\0" in value or value in _TAKEN_BY_FILES:
        msg = f"{name}={value!r} cannot be a key of an h5ad file or zarr store: no slash, not empty, not '_index'."
        raise ValueError(msg)
    return str(value)


def layer_to_write(value: Any, name: str, hint: Hint) -> str:
    """The name of a layer of results, which is not that of the counts."""
    if key_name(value, name, hint) == keys.COUNTS:
        msg = f"{name}={value!r} would overwrite measured expression; choose another name."
        raise ValueError(msg)
    return str(value)


def text(value: Any, name: str, hint: Hint) -> Any:
    """A text, the name of something that exists; or several, where the signature says so."""
    if isinstance(value, str):
        if not value:
            msg = f"{name} is empty; give a name, or leave it out."
            raise ValueError(msg)
        return str(value)
    if hint.several and _is_list(value):
        return [text(one, f"{name}[{index}]", _ONE) for index, one in enumerate(value)]
    if "np.ndarray" in hint.classes and hasattr(value, "__array__"):
        return value
    expected = "a text or a list of texts" if hint.several else "a text"
    msg = f"{name} must be {expected}, not {described(value)}."
    raise TypeError(msg)


def texts(value: Any, name: str, hint: Hint) -> list[str]:
    """A list of texts; a single one is not taken for its letters."""
    if isinstance(value, str):
        msg = f"{name}={value!r} must be a list of names: {name}=[{value!r}]."
        raise TypeError(msg)
    several: list[str] = text(value, name, hint)
    return several


def label(value: Any, name: str, hint: Hint) -> Any:
    """The name of a slice, domain or group; compared as text, so that 1 means "1"."""
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return str(int(value))
    if hint.several and _is_list(value):
        return [label(one, f"{name}[{index}]", _ONE) for index, one in enumerate(value)]
    return text(value, name, hint)


def labels(value: Any, name: str, hint: Hint) -> list[str]:
    """A list of names of slices, domains or groups."""
    if isinstance(value, str) or not _is_list(value):
        msg = f"{name} must be a list of names, not {described(value)}."
        raise TypeError(msg)
    several: list[str] = label(value, name, hint)
    return several


def integer(minimum: int = 1) -> Rule:
    """A whole number from ``minimum`` on, or one of the texts of the signature."""

    def rule(value: Any, name: str, hint: Hint) -> Any:
        if isinstance(value, str) and value in hint.choices:
            return value
        if hint.several and _is_list(value):
            _require_length(value, name, hint)
            return [require_positive_int(one, f"{name}[{i}]", minimum=minimum) for i, one in enumerate(value)]
        if hint.several and "int" not in hint.classes:
            msg = f"{name} must be {hint.length or 'several'} numbers, not {described(value)}."
            raise TypeError(msg)
        return require_positive_int(value, name, minimum=minimum)

    return rule


def number(low: float = -np.inf, high: float = np.inf, *, above_low: bool = False, below_high: bool = False) -> Rule:
    """A finite number in an interval, or one of the texts of the signature."""
    above_low, below_high = above_low or low == -np.inf, below_high or high == np.inf

    def one(value: Any, name: str) -> float:
        return require_in_range(value, name, low=low, high=high, above_low=above_low, below_high=below_high)

    def rule(value: Any, name: str, hint: Hint) -> Any:
        if isinstance(value, str) and value in hint.choices:
            return value
        if hint.several and _is_list(value):
            _require_length(value, name, hint)
            several = [one(entry, f"{name}[{index}]") for index, entry in enumerate(value)]
            return tuple(several) if hint.length is not None else several
        if hint.several and "float" not in hint.classes:
            msg = f"{name} must be {hint.length or 'several'} numbers, not {described(value)}."
            raise TypeError(msg)
        return one(value, name)

    return rule


def radius(value: Any, name: str, hint: Hint) -> Any:
    """A distance, or the smallest and the largest one."""
    pair = tuple(value) if hint.several and _is_list(value) else (0.0, value)
    if any(isinstance(one, (bool, str)) or not isinstance(one, (int, float, np.integer, np.floating)) for one in pair):
        msg = f"{name} must be a number{' or (smallest, largest)' if hint.several else ''}, not {described(value)}."
        raise TypeError(msg)
    if len(pair) != 2 or not 0 <= min(pair) < max(pair) < _FAR or not np.isfinite(pair).all():
        or_pair = ", or (smallest, largest)" if hint.several else ""
        msg = f"{name}={value!r} must be a positive number in the unit of the coordinates{or_pair}."
        raise ValueError(msg)
    return (float(min(pair)), float(max(pair))) if isinstance(value, Iterable) else float(value)


def flag(value: Any, name: str, hint: Hint) -> bool:
    """``True`` or ``False``."""
    if not isinstance(value, (bool, np.bool_)):
        msg = f"{name} must be True or False, not {described(value)}."
        raise TypeError(msg)
    return bool(value)


def choice(value: Any, name: str, hint: Hint) -> str:
    """One of the texts of the ``Literal`` in the signature."""
    return require_choice(value, name, hint.choices)


def seed(value: Any, name: str, hint: Hint) -> int | None:
    """A seed, or what one can be drawn from."""
    return seed_of(value, name)


def device(value: Any, name: str, hint: Hint) -> Any:
    """A device that torch can use here."""
    from spotscape._core.device import resolve_device

    resolve_device(value)
    return value


def threads(value: Any, name: str, hint: Hint) -> int:
    """A number of threads, or -1 for all cores."""
    return require_n_jobs(value, name)


def require_n_jobs(value: Any, name: str = "n_jobs") -> int:
    """Return a number of threads as an int; TypeError or ValueError if it is none."""
    found = require_positive_int(value, name, minimum=-(2**31))
    if found == 0 or found < -1:
        msg = f"{name}={found} is neither a positive number of threads nor -1 (all cores)."
        raise ValueError(msg)
    return found


def path(value: Any, name: str, hint: Hint) -> Path:
    """A path, as text or as an object."""
    if not isinstance(value, (str, os.PathLike)) or isinstance(os.fspath(value), bytes):
        msg = f"{name} must be a path, not {described(value)}."
        raise TypeError(msg)
    if not os.fspath(value) or "\0" in str(value):
        msg = f"{name}={value!r} is no path."
        raise ValueError(msg)
    return Path(value)


def file_to_write(value: Any, name: str, hint: Hint) -> Path:
    """A path at which a file can be written."""
    file = path(value, name, hint)
    if file.is_dir():
        msg = f"{name}={str(file)!r} is a folder; name a file in it: {str(file / 'training.pt')!r}."
        raise ValueError(msg)
    if not file.absolute().parent.is_dir():
        msg = f"{name}={str(file)!r} lies in a folder that does not exist; make it first."
        raise ValueError(msg)
    return file


def array(value: Any, name: str, hint: Hint) -> Any:
    """Numbers or labels of spots; what they hold is looked at by who reads them."""
    if value is None or (not _is_list(value) and not hasattr(value, "shape")):
        msg = f"{name} must be an array, not {described(value)}."
        raise TypeError(msg)
    return value


def instance(value: Any, name: str, hint: Hint) -> Any:
    """An object of one of the classes that the signature names."""
    wanted = {kind.rpartition(".")[2] for kind in hint.classes}
    if not inspect.isclass(value) and {kind.__name__ for kind in type(value).__mro__} & wanted:
        return value
    if isinstance(value, Mapping) and "Mapping" in wanted:
        return value
    msg = f"{name} must be {' or '.join(_with_article(kind) for kind in sorted(wanted))}, not {described(value)}."
    raise TypeError(msg)


def library(value: Any, name: str, hint: Hint) -> Any:
    """The name of a slice, or the slice of each spot."""
    return array(value, name, hint) if "ArrayLike" in hint.classes else label(value, name, hint)


def anndata(value: Any, name: str, hint: Hint) -> Any:
    """The AnnData to work on; where the signature allows it, what stands for one."""
    if "AnnData" in hint.classes and not inspect.isclass(value) and hasattr(value, "obsm"):
        from anndata import AnnData

        if isinstance(value, AnnData):
            return value
    if hint.classes == ("AnnData",):
        msg = f"{name} must be an AnnData, not {described(value)}."
        raise TypeError(msg)
    return instance(value, name, hint) if "Mapping" in hint.classes else label(value, name, hint)


def colormap(value: Any, name: str, hint: Hint) -> Any:
    """A colormap of matplotlib, by name or as an object."""
    from matplotlib import colormaps
    from matplotlib.colors import Colormap

    if isinstance(value, Colormap) or (isinstance(value, str) and value in colormaps):
        return value
    msg = f"{name}={described(value)} is not a colormap of matplotlib."
    raise ValueError(msg) if isinstance(value, str) else TypeError(msg)


def palette(value: Any, name: str, hint: Hint) -> Any:
    """Colours of categories; which of them are colours is looked at where the categories are known."""
    from matplotlib.colors import Colormap

    if isinstance(value, (str, Mapping, Colormap)):
        return value
    if _is_list(value):
        return list(value)
    msg = f"{name} must be the name of a colormap, a list of colours or a dict, not {described(value)}."
    raise TypeError(msg)


def color(value: Any, name: str, hint: Hint) -> Any:
    """A colour of matplotlib."""
    from matplotlib.colors import is_color_like

    if not is_color_like(value):
        msg = f"{name}={described(value)} is not a colour of matplotlib."
        raise ValueError(msg)
    return value


def axes(value: Any, name: str, hint: Hint) -> Any:
    """Axes of matplotlib, or several."""
    from matplotlib.axes import Axes

    if hint.several and _is_list(value):
        return [axes(one, f"{name}[{index}]", _ONE) for index, one in enumerate(value)]
    if not isinstance(value, Axes):
        msg = f"{name} must be an Axes of matplotlib, not {described(value)}."
        raise TypeError(msg)
    return value


def shown(value: Any, name: str, hint: Hint) -> Any:
    """What colours show: columns or genes; ``None`` stands for a panel without."""
    if _is_list(value):
        return [None if one is None else text(one, f"{name}[{index}]", _ONE) for index, one in enumerate(value)]
    return text(value, name, hint)


def groups(value: Any, name: str, hint: Hint) -> Any:
    """A column with groups, or, where several may be given, the names of the groups."""
    return label(value, name, hint) if hint.several else text(value, name, hint)


def scalebar(value: Any, name: str, hint: Hint) -> Any:
    """A length in micrometres, or ``False`` for none."""
    return value if value is False else number(0, above_low=True)(value, name, hint)


def bound(value: Any, name: str, hint: Hint) -> Any:
    """An end of a scale: a number, or a percentile as text."""
    return value if isinstance(value, str) else number()(value, name, hint)


def title(value: Any, name: str, hint: Hint) -> Any:
    """Text to be shown, or several; an empty one is a title too."""
    if hint.several and _is_list(value):
        return [title(one, f"{name}[{index}]", _ONE) for index, one in enumerate(value)]
    return value if value == "" and isinstance(value, str) else text(value, name, hint)


def anything(value: Any, name: str, hint: Hint) -> Any:
    """What the function looks at itself, because only it knows what fits."""
    return value


def _is_list(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping)) and not inspect.isclass(value)


def _require_length(value: Any, name: str, hint: Hint) -> None:
    if hint.length is not None and len(list(value)) != hint.length:
        msg = f"{name} must be {hint.length} numbers, not {described(value)}."
        raise ValueError(msg)


def _with_article(kind: str) -> str:
    return f"{'an' if kind[0] in 'AEIOU' else 'a'} {kind}"


_POSITIVE = number(0, above_low=True)
_NOT_NEGATIVE = number(0)
_SHARE = number(0, 1)

_NAMES: Final[dict[Rule, str]] = {
    anndata: "adata reference",
    key_name: "key_added",
    layer_to_write: "decoded_layer",
    text: "table_key coordinate_system library_key spatial_key neighbors_key labels_key z_key use_rep layer mask_var"
    " condition key confidence gene_symbols img_res_key to",
    shown: "color",
    groups: "groups",
    texts: "use_reps genes",
    label: "root query group sample checkerboard",
    library: "library",
    labels: "library_order",
    choice: "method policy recipe preset layout geometry offset start missing_genes decoder pairing schedule precision"
    " style counts",
    flag: "keep_controls copy align allow_flip average across_slices mutual return_model inverse invert_y log1p scale"
    " overwrite progress_bar count_unmatched spatial_components linear_scale latent_relu integrate several_slices"
    " large_tissue img colorbar frameon show return_fig",
    seed: "random_state",
    device: "device",
    threads: "n_jobs",
    path: "directory",
    file_to_write: "checkpoint",
    instance: "config model",
    colormap: "cmap",
    palette: "palette",
    axes: "ax",
    title: "title legend_loc",
    color: "na_color",
    scalebar: "scalebar",
    bound: "vmin vmax",
    array: "labels labels_true labels_pred labels_transferred coordinates embedding expression adjacency"
    " slices truth imputed mask graph points",
    integer(0): "min_cells min_counts n_hops n_heldout_genes quorum tears",
    integer(1): "n_neighs n_neighs_between n_neighbors n_comps n_components n_matches n_passes n_restarts n_rounds"
    " n_top_genes n_genes n_lines ncols max_rank max_epochs patience n_axes n_encoders hidden_size feature_size"
    " latent_size scaling_neighbors scaling_spots contrast_spots n_clusterings n_negatives n_similar refresh_every"
    " n_slices n_spots",
    integer(2): "n_domains k_range n_dcs n_resamples min_spots max_spots batch_size n_clusters n_prototypes",
    _POSITIVE: "resolution ridge clip target_sum size linewidth slice_gap lr max_grad_norm prototype_temperature"
    " library_size legend_fontsize",
    _NOT_NEGATIVE: "dispersion telescope_weight reconstruction_weight scaling_weight prototype_weight weight_decay"
    " min_delta contrast_weight consistency_weight batch_effect drift",
    _SHARE: "img_alpha whitening max_missing min_connectivity max_pvalue_adj prototype_warmup replace_rate"
    " target_momentum difficulty",
    number(0, 1, below_high=True): "dropout edge_drop feature_drop",
    number(0, 1, above_low=True): "alpha",
    number(0, 1, above_low=True, below_high=True): "mask_rate",
    radius: "radius",
    number(1): "perplexity",
    number(): "rotation vcenter img_contrast crop_coord",
    number(0, 1000, above_low=True): "figsize",
    number(1, 2400): "dpi",
    anything: "shift flip missing_domains private_domains",
}

RULES: Final[dict[str, Rule]] = {name: rule for rule, names in _NAMES.items() for name in names.split()}
