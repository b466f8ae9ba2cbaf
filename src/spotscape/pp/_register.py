"""Registration of slices: coordinates of all slices in the frame of one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from spotscape._core import keys
from spotscape._core.anndata_io import record, write
from spotscape._core.arguments import public
from spotscape._core.geometry import spacing_by_slice
from spotscape._core.logging import logger, warn
from spotscape._core.provenance import joint_embedding, made_from, warn_if_changed
from spotscape._core.reading import read_embedding
from spotscape._core.validation import (
    as_groups,
    as_numbers,
    require_finite,
    require_key,
    require_record,
    slices_in_order,
)
from spotscape.pp._graph_build import SlicePositions, n_threads
from spotscape.registration._section import guiding_features, one_hot
from spotscape.registration._stack import Placement, measures, register, unit_ratios

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

_GUIDE = "Guide it by an embedding or by labels that are common to the slices (use_rep=..., labels_key=...) and look at"
_GUIDED = "Features guide it already; look at"
# Features of unrelated tumours, and of shuffled spots, agree by up to .11; of breast cancer, the least clear of our
# sections, by .41.
_UNLIKE = 0.15


@public
def register_slices(
    adata: AnnData,
    *,
    library_key: str,
    method: Literal["icp"] = "icp",
    policy: Literal["sequential", "star"] = "sequential",
    reference: str | None = None,
    library_order: Sequence[str] | None = None,
    allow_flip: bool = False,
    scale: bool = False,
    deform: Literal["smooth"] | None = None,
    use_rep: str | None = "auto",
    labels_key: str | None = None,
    spatial_key: str = "spatial",
    key_added: str = keys.SPATIAL_ALIGNED,
    n_jobs: int | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Register slices: rotate and shift them onto each other.

    This works for any arrangement and number of spots or cells, for any rotation, and for slices that show only a part
    of the same tissue. Every slice keeps its shape, unless you set ``deform="smooth"``.

    First the outline of the tissue is found. Then a Fourier transform scores all shifts at every fifth degree of
    rotation. The score measures how well outlines agree, how much of the smaller tissue lies on the other, and how
    features correlate there. Iterative closest points between outlines refine the best poses, together with the
    features, until spots move by less than a hundredth of their spacing. They match points to lines in both directions
    and are robust against edges without a counterpart. Single spots are not matched to each other, for two reasons:
    neighbouring slices contain different spots, and on a grid every shift by one spacing would fit.

    The result is the same in every run; no random numbers are used.

    Parameters
    ----------
    adata
        Spots of at least two slices. Expression is not used.
    library_key
        Column of ``adata.obs`` with the slice of every spot.
    method
        Only ``"icp"``.
    policy
        ``"sequential"`` registers every slice to its neighbour in ``library_order``, which is right for sections of a
        block. ``"star"`` registers every slice to the reference, so that errors do not add up.
    reference
        The slice that stays where it is. ``None`` means the first.
    library_order
        The slices from one end of the tissue to the other. ``None`` means the order of the categories.
    allow_flip
        Whether slices may lie mirrored on their slides. The default is ``False``, because mirrored slices are rare, and
        the mirror image of a nearly symmetric outline fits nearly as well.
    scale
        Whether slices may differ in size, or their coordinates in unit.
    deform
        ``"smooth"`` bends each slice after it was rotated and shifted, so that its features and outline agree best with
        those of its partner, under a penalty on bending and strain. This corrects deformations from cutting and
        mounting of up to about 5 spot spacings. Deformations that features do not show, such as a shift along layers,
        remain. If bending would fold the tissue, or would not improve the agreement of features, the slice is not bent,
        and the log says so. With ``policy="sequential"`` deformations accumulate from slice to slice; with ``"star"``
        each slice is bent once.
    use_rep
        Representation in ``adata.obsm`` that guides the registration: an embedding of all slices together, or principal
        components. The mean of each slice is subtracted. It decides between poses that fit the outline equally well.
        ``"auto"`` (default) takes the first of ``"X_spotscape"``, ``"X_spacross"`` and ``"X_smoothed_pca"`` that was
        made of all these slices. If there is none, or with ``None``, only outlines are used.
    labels_key
        Column of ``adata.obs`` that guides the registration: labels that mean the same in all slices.
    spatial_key
        Coordinates in ``adata.obsm``, in any unit that is the same for all slices; the first two columns are used.
    key_added
        Name of the result in ``adata.obsm`` and ``adata.uns``.

    Returns
    -------
    ``adata.obsm["spatial_aligned"]`` (or ``key_added``) : float64, shape ``(n_obs, 2)``
        Coordinates in the frame and unit of the reference.
    ``adata.uns["spatial_aligned"]`` (or ``key_added``) : dict
        ``transforms``, float64 ``(n_slices, 3, 3)``, which take column vectors ``(x, y, 1)`` of a slice to the frame of
        the reference; ``library``, ``partners`` (the slice that each was registered to; the reference to itself),
        ``reference``, ``policy``, ``spacing`` (of each slice, in the unit of the coordinates), and of each slice and
        its partner:

        - ``rmse``, ``rmse_before`` : float64, the root mean square distance of a spot to the nearest of the other
          slice, over all spots of both, after and before, in the unit of the coordinates. For slices on unrelated grids
          it stays above about 0.4 spacings even in a perfect registration. Spots where the other slice has no tissue
          count too, so it may rise although the registration is right: then look at ``feature_agreement``;
        - ``overlap`` : float64, the share of the spots that lie on the other's tissue (of the slice with the larger);
        - ``outline_agreement`` : float64, at most 1, the share of the outlines that coincides minus the share that runs
          beside the other;
        - ``feature_agreement`` : float64, the correlation of the features, NaN without guidance;
          ``feature_agreement_deformed`` that after bending, NaN where nothing was bent;
        - ``n_pairs`` : int64, pairs of spots that are each other's nearest and at most a spacing apart;
        - ``ambiguous`` : bool, whether another pose explains the slices about as well; ``poor`` : bool, whether none
          does well; ``mirrored`` : bool, whether features agree much better with the mirror image, which ``allow_flip``
          did not allow.

        With ``deform``, ``deformation``: a dict with a grid in the frame of the reference, its ``origin`` and ``step``,
        and the displacements there, ``values``, float64 ``(n_slices, 2, nx, ny)``, which follow ``transforms``.
        Beside them ``params``, ``version`` and ``made_from``.

    Raises
    ------
    ValueError
        If there is one slice only, a slice has fewer than three positions or all on a line, the unit of a slice differs
        (see ``scale``), ``reference`` or ``library_order`` do not fit the slices, coordinates or features are NaN or
        infinite, or there are no features to deform by.

    Warns
    -----
    UserWarning
        If a fit is poor, features do not agree, another pose explains two slices about as well, or a slice seems to lie
        mirrored.

    See Also
    --------
    spotscape.pp.apply_registration : Moves other points in the same way.
    spotscape.pl.registration : Draws the registration.

    References
    ----------
    Y. Chen, G. Medioni, Image and Vision Computing 10 (1992) 145-155 (points to lines); D. Chetverikov, D. Stepanov,
    P. Krsek, Image and Vision Computing 23 (2005) 299-309 (robust to partial overlap).

    Examples
    --------
    >>> import numpy as np
    >>> import spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_slices=2, n_spots=1200, n_genes=60, rotation=[0, 130])
    >>> sp.pp.prepare(adata, n_top_genes=None, library_key="slice")
    >>> sp.tl.smoothed_pca(adata, n_comps=10, library_key="slice")
    >>> sp.pp.register_slices(adata, library_key="slice", use_rep="X_smoothed_pca")
    >>> matrix = adata.uns["spatial_aligned"]["transforms"][1]
    >>> abs(round(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])) / 5) * 5)
    130
    """
    slices = read_slices(adata, library_key, spatial_key, library_order, reference, one_unit=not scale)
    names = [str(name) for name in slices.names]
    index = 0 if reference is None else names.index(reference)
    use_rep, features = read_features(adata, slices, use_rep=use_rep, labels_key=labels_key)
    if deform and features is None:
        msg = (
            f"deform={deform!r} needs features: name an embedding of all slices by use_rep, or labels by labels_key. "
            "The quickest embedding is sp.tl.smoothed_pca(adata, library_key=...)."
        )
        raise ValueError(msg)
    found = register(
        slices.slices,
        features=features,
        reference=index,
        policy=policy,
        allow_flip=allow_flip,
        scale=scale,
        deform=deform is not None,
        n_threads=n_threads(n_jobs),
    )
    moved = tuple(found.place(index, coords) for index, coords in enumerate(slices.slices))
    params = {
        "method": method, "library_key": library_key, "spatial_key": spatial_key, "allow_flip": allow_flip,
        "scale": scale, "deform": deform, "use_rep": use_rep, "labels_key": labels_key,
    }  # fmt: skip
    entry = record(
        params,
        transforms=found.transforms,
        library=np.array(names),
        partners=np.array([names[i] for i in found.partners]),
        reference=names[index],
        policy=policy,
        spacing=spacing_by_slice(slices.slices),
        made_from=made_from(adata, obs=[library_key], obsm=[spatial_key]),
        **measures(slices.slices, found),
        **found.deformation_record(),
    )
    placed = replace(slices, slices=moved).coordinates
    written = write(adata, {"obsm": {key_added: placed}, "uns": {key_added: entry}}, copy=copy)
    _report(entry, library_key)
    return written


@public
def apply_registration(
    adata: AnnData,
    *,
    points: np.ndarray,
    library: str,
    inverse: bool = False,
    key: str = keys.SPATIAL_ALIGNED,
) -> np.ndarray:
    """Apply the registration of a slice to other points, such as corners of its image, landmarks or borders of cells.

    Parameters
    ----------
    adata
        AnnData that :func:`register_slices` has been applied to.
    points
        Shape ``(n, 2)``, in the unit and frame of the slice's coordinates before registration.
    library
        The slice to which the points belong.
    inverse
        Whether to map points in the other direction, from the common frame to the slice's own.
    key
        Name of the registration in ``adata.uns``.

    Returns
    -------
    The points in the common frame (with ``inverse`` in the slice's own), float64 ``(n, 2)``. Nothing is written.

    Raises
    ------
    KeyError
        If there is no such registration or slice.
    ValueError
        If ``points`` are not finite numbers of shape ``(n, 2)``.

    Examples
    --------
    >>> import numpy as np
    >>> import spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_slices=2, n_spots=500, n_genes=60)
    >>> sp.pp.register_slices(adata, library_key="slice", labels_key="domain")
    >>> corners = np.array([[0.0, 0.0], [1000.0, 0.0]])
    >>> moved = sp.pp.apply_registration(adata, points=corners, library="slice_2")
    >>> round(float(np.linalg.norm(moved[1] - moved[0])))
    1000
    """
    hint = "Call sp.pp.register_slices(adata, library_key=...) first"
    entry = require_record(adata, key, ("library", "transforms"), hint)
    names = [str(name) for name in entry["library"]]
    if str(library) not in names:
        msg = f"{library!r} is not a slice of the registration adata.uns[{key!r}], which has: {names}."
        raise KeyError(msg)
    warn_if_changed(adata, entry, f"the registration {key!r}", "sp.pp.register_slices(adata, library_key=...)")
    coords = as_numbers(points, "points").astype(np.float64)
    if coords.ndim != 2 or coords.shape[1] != 2:
        msg = f"points must have the shape (n, 2), not {coords.shape}."
        raise ValueError(msg)
    require_finite(coords, "points")
    placement = Placement.of_record(entry, names.index(str(library)))
    return placement.move_back(coords) if inverse else placement.move(coords)


def _report(entry: dict[str, Any], library_key: str) -> None:
    """Say how well it went, and warn in words where it did not."""
    guided = entry["params"].get("use_rep") or entry["params"].get("labels_key")
    advice = f"{_GUIDED if guided else _GUIDE} sp.pl.registration(adata, library_key={library_key!r})"
    flip = "" if entry["params"]["allow_flip"] else "; if slices may lie mirrored, give allow_flip=True"
    pairs = zip(entry["library"].tolist(), entry["partners"].tolist(), strict=True)
    for i, (name, partner) in enumerate(pairs):
        if name == partner:
            continue
        rmse, before, overlap = entry["rmse"][i], entry["rmse_before"][i], entry["overlap"][i]
        features = entry["feature_agreement"][i]
        known = "" if np.isnan(features) else f", features agree by {features:.2f}"
        logger.info(
            "Registered slice %r to %r: overlap %.0f %%%s, RMSE %.3g (before %.3g).",
            name, partner, 100 * overlap, known, rmse, before,
        )  # fmt: skip
        if entry["params"].get("deform"):
            bent, rigid = entry["feature_agreement_deformed"][i], entry["feature_agreement"][i]
            said = "is not bent: it would fold, or agree no better" if np.isnan(bent) else f"agrees by {bent:.3f}, bent"
            logger.info("Slice %r %s. Features of the rigid pose agree by %.3f.", name, said, rigid)
        if entry["poor"][i]:
            warn(
                f"the registration of slice {name!r} to {partner!r} is poor: of their outlines "
                f"{max(0.0, entry['outline_agreement'][i]):.0%} agree, {overlap:.0%} of the tissue overlaps. "
                f"{advice}{flip}."
            )
        elif features < _UNLIKE:
            warn(
                f"the features of slices {name!r} and {partner!r} agree by {features:.2f} only, so the outlines alone "
                "say how the slices lie. Do they show the same tissue, and are spots and coordinates in one order? "
                f"{advice}{flip}."
            )
        elif entry["mirrored"][i]:
            warn(
                f"slice {name!r} fits {partner!r} much better as its mirror image. If it may lie mirrored on its "
                f"slide, give allow_flip=True. {advice}."
            )
        elif entry["ambiguous"][i]:
            warn(f"the registration of slice {name!r} to {partner!r} is ambiguous: others fit about as well. {advice}.")


# Three points determine an outline, and the spots of any slice worth registering are many more.
_FEWEST_SPOTS = 3


def read_slices(
    adata: AnnData,
    library_key: str,
    spatial_key: str,
    library_order: Sequence[str] | None,
    reference: str | None,
    *,
    one_unit: bool,
) -> SlicePositions:
    """The slices in the order of the tissue, in the plane; refuses those that could not be registered."""
    slices = SlicePositions.read(adata, spatial_key=spatial_key, library_key=library_key).in_plane()
    names = [str(name) for name in slices.names]
    slices = slices.take([names.index(name) for name in slices_in_order(names, library_order, library_key)])
    if len(names) < 2:
        msg = f"adata.obs[{library_key!r}] has one slice, {names[0]!r}; registration needs at least two."
        raise ValueError(msg)
    if reference is not None and reference not in names:
        msg = f"reference={reference!r} is not a slice; there are {list(slices.names)}."
        raise ValueError(msg)
    for name, coords in zip(slices.names, slices.slices, strict=True):
        positions = np.unique(coords, axis=0)
        if len(positions) < _FEWEST_SPOTS:
            msg = (
                f"slice {name!r} has spots at {len(positions)} position(s); registration needs at least "
                f"{_FEWEST_SPOTS}. Remove the slice: adata[adata.obs[{library_key!r}] != {name!r}]."
            )
            raise ValueError(msg)
        if np.linalg.matrix_rank(positions - positions.mean(axis=0), tol=1e-9 * np.ptp(positions)) < 2:
            msg = f"the spots of slice {name!r} lie on one line, which has no outline to register by."
            raise ValueError(msg)
    # Spacing and extent are both larger than the first slice's by the same factor.
    ratios = unit_ratios(slices.slices)
    other = np.flatnonzero(ratios != 1)
    if one_unit and len(other):
        index = int(other[0])
        msg = (
            f"the coordinates of slice {slices.names[index]!r} seem to be in another unit than those of "
            f"{slices.names[0]!r}: spot spacing and extent are both {ratios[index]:.3g} times as large. Divide them "
            f"by that number, convert all slices to micrometres, or call register_slices(..., scale=True)."
        )
        raise ValueError(msg)
    return slices


def read_features(
    adata: AnnData, slices: SlicePositions, *, use_rep: str | None, labels_key: str | None
) -> tuple[str | None, list[np.ndarray] | None]:
    """The representation that guides, and features slice by slice; ``None`` if there is nothing to guide."""
    if use_rep == "auto":
        use_rep = joint_embedding(adata) if labels_key is None else None
        if use_rep is not None:
            logger.info("Guided by `adata.obsm['%s']`; use_rep=None registers by the outlines alone.", use_rep)
    if use_rep is not None and labels_key is not None:
        msg = f"use_rep={use_rep!r} and labels_key={labels_key!r} exclude each other; give one of them."
        raise ValueError(msg)
    if use_rep is not None:
        hint = "use_rep names a representation common to all slices"
        values = read_embedding(adata, use_rep, hint=hint).astype(np.float64)
    elif labels_key is not None:
        require_key(adata.obs, labels_key, "adata.obs", hint="labels_key names labels that mean the same in all slices")
        labels = as_groups(adata.obs[labels_key], f"labels_key={labels_key!r}")
        values = one_hot(np.asarray(labels.codes), len(labels.categories))
    else:
        return None, None
    if not (values.std(axis=0) > 0).any():
        source = f"adata.obsm[{use_rep!r}]" if use_rep is not None else f"adata.obs[{labels_key!r}]"
        msg = f"{source} is the same for all spots, so that it cannot guide a registration."
        raise ValueError(msg)
    return use_rep, guiding_features([values[index] for index in slices.rows])
