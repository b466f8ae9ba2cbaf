"""Tissue with a known truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import anndata
import numpy as np

from spotscape._core.anndata_io import record
from spotscape._core.arguments import public
from spotscape._core.randomness import RandomSource, Seed
from spotscape.datasets._regions import SPACING
from spotscape.datasets._tissue import Parameters, Tissue, cut_section

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from anndata import AnnData


@public
def simulate_tissue(
    *,
    n_domains: int = 6,
    n_slices: int = 1,
    n_spots: int | Sequence[int] = 2000,
    n_genes: int = 500,
    geometry: Literal["hexagonal", "square", "irregular"] = "hexagonal",
    layout: Literal["layers", "islands", "mixed"] = "layers",
    difficulty: float = 0.5,
    library_size: float = 500.0,
    dropout: float = 0.1,
    batch_effect: float = 0.3,
    rotation: float | Sequence[float] = 20.0,
    shift: float | Sequence[Sequence[float]] = 5.0,
    flip: Collection[int] = (),
    tears: int | Sequence[int] = 0,
    drift: float = 0.5,
    missing_domains: Mapping[int, Collection[str]] | None = None,
    private_domains: Collection[int] = (),
    n_heldout_genes: int = 0,
    random_state: Seed = 0,
) -> AnnData:
    r"""Simulate slices of a tissue whose domains are known.

    All slices are cut from one tissue, whose domains are curved bands, islands, or both. Spots lie at other places in
    each slice. Each slice is rotated and shifted on its slide, and may be mirrored or torn.

    Counts follow a zero-inflated negative binomial distribution. With :math:`w_{ud}` the share of domain :math:`d` at
    spot :math:`u` (1 inside it, blended over a fraction of a spacing at its boundary), :math:`c_{uk}` the shares of
    cell types, :math:`f_m` smooth fields and :math:`s(u)` the slice, gene :math:`g` has the log mean

    .. math::

        \log \mu_{ug} = b_g + \sum_d w_{ud} D_{dg} + \sum_k c_{uk} T_{kg} + \sum_m f_m(u) F_{mg} + B_{s(u)g}
        + \log \ell_u - \log Z_u,

    where :math:`Z_u` makes the means of a spot add up to its library size :math:`\ell_u`. Every domain has marker genes
    of its own and shares others with each domain that it touches. Cell types and the fields are independent of the
    domains, so clustering that ignores the positions of the spots finds them instead of the domains.

    Parameters
    ----------
    n_domains
        Number of domains of the tissue, at least 2.
    n_slices
        Number of slices.
    n_spots
        Number of spots: one number for all slices, or one for each. A smaller slice shows the middle of the tissue. A
        Visium slice has up to 4,992 spots.
    n_genes
        Number of genes in ``adata.X``.
    geometry
        ``"hexagonal"`` (Visium; 100 µm from centre to centre), ``"square"`` (binned arrays; 100 µm) or
        ``"irregular"`` (single cells about 15 µm apart, each of a single cell type).
    layout
        ``"layers"`` (as in cortex), ``"islands"`` (patches in a background, as in a tumour) or ``"mixed"``
        (layers with islands in them).
    difficulty
        Between 0 (domains differ strongly, and any method finds them) and 1 (domains hardly differ, and variation that
        is not spatial is strong). At the default, *k*-means on principal components fails, and *k*-means on components
        averaged over spatial neighbours does well.
    library_size
        Median of the expected total counts of a spot before dropout; spots, regions and slices vary around it. The
        default gives one count per gene and spot on average, with about two thirds of the entries zero.
    dropout
        The factor :math:`p` in the probability :math:`p \exp(-\mu/4)` that a gene is lost in a spot. With 0, counts are
        negative binomial without extra zeros.
    batch_effect
        Standard deviation, on the log scale, of the effect that a slice has on each gene. Effects average to zero over
        slices, so a single slice has none. With 0.3, a gene is typically a third higher or lower.
    rotation
        In degrees. With a number, the first slice is not rotated, and every other slice is rotated by a random angle up
        to this size. A sequence gives the angle of every slice.
    shift
        In spot spacings. With a number, the first slice is not shifted, and every other slice is shifted by a random
        distance up to this size. A sequence of ``(x, y)`` gives the shift of every slice.
    flip
        Slices, counted from 0, that are mirrored.
    tears
        Number of cracks from the inside to the edge of a slice: one number for all, or one for each.
    drift
        How far the boundaries of the domains move from one slice to the next, in spot spacings.
    missing_domains
        Dict from slice (counted from 0) to the names of the domains that it lacks. Adjacent domains take their place.
    private_domains
        Slices, counted from 0, with an additional domain that no other slice has: an island named
        ``"Private_<i + 1>"``.
    n_heldout_genes
        Number of additional genes that are not in ``adata.X``, to test imputation.
    random_state
        Seed. The same arguments and seed give the same bits.

    Returns
    -------
    The tissue, with the keys:

    - ``X`` : :class:`scipy.sparse.csr_matrix` (dtype ``float32``) -- raw counts.
    - ``obs["slice"]`` : ``category`` -- ``"slice_1"``, ``"slice_2"``, ...
    - ``obs["domain"]`` : ``category`` -- the true domain: ``"Layer_1"`` (at the surface), ... or ``"Background"``, then
      ``"Island_1"``, ..., then ``"Private_1"``, ...
    - ``obs["cell_type"]`` : ``category`` -- the most frequent cell type of the spot.
    - ``obs["library_size"]`` : ``float64`` -- expected total counts before dropout, held-out genes included.
    - ``obsm["spatial"]`` : ``float64 (n, 2)`` -- micrometres on the slice's own slide.
    - ``obsm["spatial_truth"]`` : ``float64 (n, 2)`` -- micrometres in the tissue's frame, one for all slices, whole
      where the slide is torn.
    - ``varm["domain_effect"]`` : ``float64 (n_genes, n_domains)`` -- :math:`D` above, in the order of the categories.
    - ``obsm["heldout_counts"]``, ``obsm["heldout_expected"]`` : :class:`pandas.DataFrame` of ``float32`` -- only with
      ``n_heldout_genes``: observed counts of these genes, and those expected in a spot of ``library_size`` without
      batch effect and dropout.
    - ``uns["simulation"]`` : ``dict`` -- ``params``, ``version``, ``random_state``, ``spacing`` (µm), ``transforms``, a
      ``float64 (n_slices, 3, 3)``: the homogeneous matrix that moves each slice from its slide back to the frame of
      the tissue (apart from tears), which registration has to find.

    Raises
    ------
    TypeError
        If a number of spots, genes, slices or domains is not an integer.
    ValueError
        If a value is out of its range, a sequence has another length than ``n_slices``, a slice or domain does not
        exist, or a slice has fewer than 10 spots per domain.

    Examples
    --------
    >>> import spotscape as sp
    >>> adata = sp.datasets.simulate_tissue(n_domains=4, n_slices=2, n_spots=[500, 300], n_genes=60)
    >>> adata.shape
    (800, 60)
    >>> adata.obs["domain"].cat.categories.to_list()
    ['Layer_1', 'Layer_2', 'Layer_3', 'Layer_4']

    A slice that was turned by 30 degrees is turned back by the stored matrix:

    >>> adata = sp.datasets.simulate_tissue(n_spots=300, n_genes=50, rotation=[30], shift=[(2, 0)])
    >>> matrix = adata.uns["simulation"]["transforms"][0]
    >>> restored = adata.obsm["spatial"] @ matrix[:2, :2].T + matrix[:2, 2]
    >>> bool(abs(restored - adata.obsm["spatial_truth"]).max() < 1e-9)
    True
    """
    parameters = Parameters(**dict(locals()) | {"missing_domains": missing_domains or {}})
    source = RandomSource(random_state)
    tissue = Tissue.draw(parameters, source)
    adata = anndata.concat([cut_section(tissue, index, source) for index in range(n_slices)], merge="same")
    sizes = adata.obs["domain"].value_counts(sort=False)
    absent = sizes.index[sizes == 0].to_list()
    if absent:
        msg = f"domains {absent} have no spots in any slice; raise n_spots, lower n_domains or change random_state."
        raise ValueError(msg)
    adata.varm["domain_effect"] = tissue.programs.domain.T[:n_genes].copy()
    spacing, transforms = SPACING[geometry], np.linalg.inv(tissue.placements)
    transforms[:, :2, 2] *= spacing
    entry = record(parameters.as_record(), random_state=source.seed, spacing=spacing, transforms=transforms)
    adata.uns["simulation"] = entry
    return adata
