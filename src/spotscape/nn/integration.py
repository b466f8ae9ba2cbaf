r"""Integration of slices: one mixture model describes all slices, and the offsets of each slice are subtracted.

*Model.* The embedding :math:`z_u` of spot :math:`u` in slice :math:`s` follows

.. math:: z_u \sim \sum_k \pi_{sk}\, N(\mu_k + b_s + c_{sk},\ \sigma^2 I), \qquad
          c_{sk} \sim N(0,\ \sigma^2 I / \lambda), \qquad \sum_s b_s = 0 ,

with prototypes :math:`\mu_k` common to all slices, proportions :math:`\pi_{sk}` of each slice, because it may hold more
or less of a region, the offset :math:`b_s` of the whole slice, and its deviation :math:`c_{sk}` in region :math:`k`,
shrunk as if :math:`\lambda` additional spots had none.

*Fit.* Expectation and maximisation start with a single prototype. Prototypes are split along their principal axis until
there are enough, then all once more, and the nearest ones merged. A composition and an offset can explain the same
difference between slices, and the start decides which is found, so the most likely of several starts is kept. The
result depends neither on the order of spots and slices nor on a seed.

*Correction.* :math:`b_s + \sum_k r_{uk} c_{sk}` is subtracted from spot :math:`u`, with :math:`r_{uk}` its
probabilities of the prototypes, in the spirit of Harmony (Korsunsky et al., Nature Methods 2019). A fixed reference
onto which new samples are moved is from Symphony (Kang et al., Nature Communications 2021).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from spotscape._core.validation import require_in_range, require_positive_int
from spotscape.nn.prototypes import LEAN, SpotBlocks, merge, single, split, step

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from spotscape.nn.prototypes import Mixture

# Spots that a prototype needs in each slice, on average.
_SPOTS_PER_PROTOTYPE = 60
# A smaller lean while starts are compared. Otherwise slices with little in common would be moved onto wrong regions.
_LEAN_AT_FIRST = 0.02
# Steps at most for each number of prototypes, and at the end; they stop once all rests to this share of sigma, and
# before the end to ten times as much.
_STEPS, _LAST_STEPS, _REST = 15, 100, 1e-4
# Where fits start: shifts as differences of means or as zero; the number of prototypes up to which they rest; whether
# prototypes have offsets of their own from the beginning. The likeliest with up to _FEW prototypes is chosen.
_STARTS = ((True, 1, False), (True, 4, False), (False, 8, False), (True, 1, True))
_FEW = 8
# How often prototypes are split and merged again at most.
_REGROUPINGS = 3


def integrate(
    embedding: np.ndarray,
    slices: np.ndarray,
    *,
    held: np.ndarray | None = None,
    n_prototypes: int = 8,
    ridge: float = 100.0,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Subtract slice-specific offsets from an embedding.

    Parameters
    ----------
    embedding
        Shape ``(N, d)``, finite.
    slices
        Slice of each spot, any labels, ``(N,)``.
    held
        Spots that are not moved, bool ``(N,)``, the same for all spots of a slice. The offsets of the other slices are
        then relative to these. ``None``: all slices are moved, and their offsets add up to zero.
    n_prototypes
        Largest number of prototypes, each with a deviation of its own. Fewer are used if there would be fewer than 60
        spots for each prototype in each slice, on average; the number is then a power of two.
    ridge
        The λ of the formula: number of spots by which the deviation of a prototype is shrunk. With ``inf`` only the
        offset of the whole slice is subtracted.
    device
        Device of the computation.

    Returns
    -------
    The integrated embedding, of the shape of ``embedding`` and of its type, if that is a floating-point type.

    Examples
    --------
    >>> import numpy as np
    >>> from spotscape.nn import integrate
    >>> spots = np.random.default_rng(0).normal(size=(500, 3))
    >>> twice = np.concatenate([spots, spots + [2.0, 0.0, 0.0]])
    >>> integrated = integrate(twice, np.repeat(["a", "b"], 500))
    >>> np.abs(integrated[0] - spots[0]).round(3).tolist()
    [1.0, 0.0, 0.0]
    """
    require_positive_int(n_prototypes, "n_prototypes")
    if ridge != np.inf:
        require_in_range(ridge, "ridge", low=0, above_low=True)
    # A copy: an array of that type would be written to otherwise.
    values = torch.tensor(np.asarray(embedding, np.float64), device=device)
    names = np.unique(slices)
    rows = [torch.from_numpy(np.flatnonzero(slices == name)).to(device) for name in names]
    fixed = [held is not None and bool(np.asarray(held)[slices == name].all()) for name in names]
    centre = torch.stack([values[own].mean(0) for own in rows]).mean(0)
    scale = (values - centre).square().mean().sqrt()
    # If all spots of a slice have one position, its offset cannot be told from its region.
    if len(rows) > 1 and scale > 0 and any((values[own] != values[own[0]]).any() for own in rows):
        spots = SpotBlocks.of([(values[own] - centre) / scale for own in rows])
        model = _fit(spots, torch.tensor(fixed, device=device), n_prototypes, ridge)
        for index, own in enumerate(rows):
            if not fixed[index]:
                values[own] -= scale * spots.correction(model, index)
    return values.cpu().numpy().astype(np.result_type(embedding, np.float32))


def place(
    embedding: np.ndarray,
    reference: np.ndarray,
    *,
    slices: np.ndarray | None = None,
    reference_slices: np.ndarray | None = None,
    n_prototypes: int = 8,
    ridge: float = 100.0,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Subtract the offsets of new slices to a reference from their embedding.

    This is :func:`integrate` with the reference held fixed. Each new slice is placed by itself, so its place does not
    depend on which other slices are embedded with it.

    Parameters
    ----------
    embedding
        New spots, ``(N, d)``, finite.
    reference
        Spots of the training, ``(R, d)``, finite; they stay where they are.
    slices
        Slice of each new spot, any labels, ``(N,)``; ``None`` for a single one.
    reference_slices
        Slice of each spot of the reference, ``(R,)``; ``None`` for a single one.
    n_prototypes, ridge, device
        As for :func:`integrate`.

    Returns
    -------
    The new spots without their offsets, float32 ``(N, d)``.

    Raises
    ------
    ValueError
        If the two embeddings differ in width.

    Examples
    --------
    >>> import numpy as np
    >>> from spotscape.nn import place
    >>> domains = np.repeat(6 * np.eye(3), 100, axis=0)
    >>> rng = np.random.default_rng(0)
    >>> reference, new = (domains + rng.normal(0, 0.5, (300, 3)) for _ in range(2))
    >>> placed = place(new + [1.0, -1.0, 0.5], reference)
    >>> round(float(np.linalg.norm((placed - reference).mean(0))), 1)
    0.0
    """
    if embedding.shape[1] != reference.shape[1]:
        found, wanted = embedding.shape[1], reference.shape[1]
        msg = f"the embedding has {found} axes, the reference {wanted}; both must be of one model."
        raise ValueError(msg)
    known = np.zeros(len(reference)) if reference_slices is None else reference_slices
    known = np.unique(known, return_inverse=True)[1]
    names = np.zeros(len(embedding)) if slices is None else np.asarray(slices)
    placed = np.empty(embedding.shape, np.float32)
    for name in np.unique(names):
        own = names == name
        codes = np.concatenate([known, np.full(own.sum(), -1)])
        both = np.concatenate([reference, embedding[own]])
        found = integrate(both, codes, held=codes >= 0, n_prototypes=n_prototypes, ridge=ridge, device=device)
        placed[own] = found[len(reference) :]
    return placed


def _fit(spots: SpotBlocks, held: Tensor, n_prototypes: int, ridge: float) -> Mixture:
    """The mixture for the spots of all slices, the most likely of several starts.

    With enough prototypes, a wrong shift is as likely as the right one. Starts are therefore compared by the Bayesian
    information criterion, after all superfluous prototypes were merged.
    """
    most = max(1, min(n_prototypes, spots.n_spots // (_SPOTS_PER_PROTOTYPE * len(spots.sizes))))
    few = 2 ** int(np.log2(min(most, _FEW)))
    settle = partial(_settle, spots=spots, held=held, lean=_LEAN_AT_FIRST)
    found = []
    for from_means, resting, local in _STARTS:
        strength = ridge if local else np.inf
        model = settle(single(spots, held, from_means=from_means), ridge=strength, free=resting == 1)
        while len(model.centres) < few:
            found.append(settle(model, ridge=ridge))
            model = split(model, spots)
            model = settle(model, ridge=strength, free=len(model.centres) >= min(resting, few))
        model = _regrouped(model, spots, partial(settle, ridge=ridge))
        found.append(settle(model, ridge=ridge, steps=_LAST_STEPS, rest=_REST))
    model = max(found, key=lambda each: _plausibility(each, spots, held, ridge))
    model = _settle(model, spots, held, ridge, steps=_LAST_STEPS, rest=_REST)
    while 2 * len(model.centres) <= most:
        model = _settle(split(model, spots), spots, held, ridge, steps=_LAST_STEPS, rest=_REST)
    return model


def _regrouped(model: Mixture, spots: SpotBlocks, settle: Callable[..., Mixture]) -> Mixture:
    """The same number of prototypes after splitting each and merging the nearest, while the likelihood rises.

    Splitting alone can leave two regions with one common prototype while others have two, and then shifts are wrong.
    """
    for _ in range(_REGROUPINGS):
        other = settle(split(model, spots), free=False)
        while len(other.centres) > len(model.centres):
            other = merge(other, spots)
        other = settle(other)
        if other.likelihood <= model.likelihood + 1:
            break
        model = other
    return model


def _plausibility(model: Mixture, spots: SpotBlocks, held: Tensor, ridge: float) -> float:
    """The Bayesian information criterion, after merging prototypes as long as that raises it."""
    log_n = float(np.log(spots.n_spots))
    best = model.likelihood - model.n_parameters / 2 * log_n
    while len(model.centres) > 1:
        model = _settle(merge(model, spots), spots, held, ridge, lean=_LEAN_AT_FIRST)
        found = model.likelihood - model.n_parameters / 2 * log_n
        if found <= best:
            break
        best = found
    return best


def _settle(
    model: Mixture,
    spots: SpotBlocks,
    held: Tensor,
    ridge: float,
    *,
    free: bool = True,
    lean: float = LEAN,
    steps: int = _STEPS,
    rest: float = 10 * _REST,
) -> Mixture:
    """Steps until prototypes and shifts hardly move. Without ``free`` the shifts are fixed."""
    for _ in range(steps):
        last, model = model, step(model, spots, held, ridge, free=free, lean=lean)
        pairs = ((model.centres, last.centres), (model.shifts, last.shifts))
        moved = max(float((new - old).norm(dim=1).max()) for new, old in pairs)
        if moved < rest * float(model.variance.sqrt()):
            break
    return model
