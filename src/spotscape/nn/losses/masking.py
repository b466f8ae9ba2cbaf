r"""Masking of whole spots: what the encoder must work out from the neighbours.

A random share of the spots is masked; the complementary view masks exactly the others. Masked spots take a learned
token in place of their features, a few of them the features of another spot.

Source: SpaCross (Fang & Min, Communications Biology 2025, doi 10.1038/s42003-025-08810-5).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from spotscape._core.validation import require_in_range, require_positive_int


class Masking(NamedTuple):
    """What is masked in a view, and what stands there instead.

    Attributes
    ----------
    masked
        Which spots are masked, bool ``(N,)``.
    rows
        Their rows, int64 ``(M,)``, ascending.
    replaced, donors
        Rows of the masked spots that take another spot's features instead of the token, and of those other spots, int64
        ``(R,)``.
    """

    masked: Tensor
    rows: Tensor
    replaced: Tensor
    donors: Tensor

    def apply(self, features: Tensor) -> Tensor:
        """Features ``(N, p)``, zero where the token stands, and a column that is one there: ``(N, p + 1)``.

        Under weights W and below them ``token @ W``, that is the product of the view with W. It is one matrix for all
        encoders, whatever their tokens are, and asks for no gradient.
        """
        takes_token = self.masked.index_fill(0, self.replaced, value=False)[:, None]
        shown = features.index_copy(0, self.replaced, features.index_select(0, self.donors))
        return torch.cat([shown.masked_fill(takes_token, 0), takes_token.to(features.dtype)], dim=1)


def draw_masking(masked: Tensor, n_masked: int, replace_rate: float, generator: torch.Generator) -> Masking:
    """Draw which masked spots take another's features, and whose.

    Parameters
    ----------
    masked
        Which spots are masked, bool ``(N,)``: see :func:`draw_masked`.
    n_masked
        How many they are.
    replace_rate
        Share of them that takes the features of another spot, so that the encoder cannot tell from a spot's features
        alone that it may trust them; 0.05 in the paper.
    generator
        Source of randomness, on the device of ``masked``.
    """
    # Masked spots first, each kind in its order; of a shape that is known, so that nobody waits for a count.
    rows = (~masked).to(torch.uint8).argsort(stable=True)[:n_masked]
    order = torch.randperm(n_masked, generator=generator, device=masked.device)
    replaced = rows[order[: round(replace_rate * n_masked)]]
    donors = sample_negatives(len(masked), 1, generator, rows=replaced)[:, 0]
    return Masking(masked, rows, replaced, donors)


def draw_masked(n_spots: int, rate: float, generator: torch.Generator) -> tuple[Tensor, int]:
    """Choose the spots to mask: ``round(rate * n_spots)`` of them, at least one, and never all.

    Parameters
    ----------
    n_spots
        Number of spots N, at least 2, so that neither this view nor its complement ``~masked`` is empty.
    rate
        Share of the spots that is masked, between 0 and 1, both excluded.
    generator
        Source of randomness.

    Returns
    -------
    Which spots are masked, bool ``(N,)``, and how many.

    Raises
    ------
    ValueError
        If there are fewer than two spots, or the rate lies outside (0, 1).

    Examples
    --------
    >>> import torch
    >>> from spotscape.nn import draw_masked
    >>> masked, n_masked = draw_masked(10, 0.3, torch.Generator())
    >>> int(masked.sum()), n_masked
    (3, 3)
    """
    require_in_range(rate, "rate", low=0, high=1, above_low=True, below_high=True)
    if n_spots < 2:
        msg = f"n_spots={n_spots}; masking needs at least 2 spots, one to hide and one to see."
        raise ValueError(msg)
    n_masked = min(max(round(rate * n_spots), 1), n_spots - 1)
    order = torch.randperm(n_spots, generator=generator, device=generator.device)
    masked = torch.zeros(n_spots, dtype=torch.bool, device=generator.device)
    masked[order[:n_masked]] = True
    return masked, n_masked


def sample_negatives(n: int, n_others: int, generator: torch.Generator, *, rows: Tensor | None = None) -> Tensor:
    """Draw for each spot some other spots, uniformly and without replacement.

    Parameters
    ----------
    n
        Number of spots.
    n_others
        How many others each spot gets.
    generator
        Source of randomness.
    rows
        The spots to draw for, int64 ``(R,)``. ``None`` stands for all, in order.

    Returns
    -------
    Rows of the others, int64 ``(R, n_others)``, in random order; fewer, for all, where there are not as many.

    Examples
    --------
    >>> import torch
    >>> from spotscape.nn import sample_negatives
    >>> sample_negatives(3, 2, torch.Generator()).sort().values.tolist()
    [[1, 2], [0, 2], [0, 1]]
    """
    n_others = min(require_positive_int(n_others, "n_others"), max(n - 1, 0))
    taken = torch.arange(n, device=generator.device) if rows is None else rows
    taken, drawn = taken[:, None], []
    for count in range(1, n_others + 1):
        # The rank of the new spot among those not yet taken; each taken one that it meets on its way moves it by one.
        spot = torch.randint(n - count, (len(taken),), generator=generator, device=generator.device)
        for earlier in taken.sort(dim=1).values.unbind(1):
            spot += spot >= earlier
        drawn.append(spot)
        taken = torch.cat([taken, spot[:, None]], dim=1)
    return torch.stack(drawn, dim=1) if drawn else taken[:, :0]
