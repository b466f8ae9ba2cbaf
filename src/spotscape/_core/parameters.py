"""What the parameters of all public functions may be, declared once by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from spotscape._core import keys, kinds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

    from spotscape._core.arguments import Rule

# Images, counts and what preprocessing left belong to the user and to other tools.
_TAKEN = {keys.SPATIAL, keys.COUNTS, keys.PREPARE, "log1p", "hvg", "neighbors", "pca"}
# Columns and matrices that a call reads and must not write over.
_INPUTS = ("library_key", "layer", "z_key", "condition", "key")


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
    kinds.texts: "use_reps genes labelings",
    kinds.label: "root query group groups sample checkerboard",
    kinds.library: "library",
    kinds.labels: "library_order",
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
    kinds.file_to_write: "checkpoint",
    kinds.instance: "config model",
    kinds.colormap: "cmap",
    kinds.palette: "palette",
    kinds.axes: "ax",
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
    kinds.integer(1): "n_neighs n_neighs_between n_neighbors n_comps n_matches n_passes n_restarts"
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
