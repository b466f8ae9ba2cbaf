"""Masking of whole spots, for SpaCross: the encoder has to predict them from their neighbours.

In each step a random share of the spots is masked in the online view, and all others in the target view.

Source: SpaCross (Fang & Min, Communications Biology 2025, doi 10.1038/s42003-025-08810-5).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from spotscape._core.validation import require_in_range, require_positive_int


class Masking(NamedTuple):
    """Which spots a view masks, and what replaces their features."""

    masked: Tensor  # Which of the N spots are masked, bool (N,)
    rows: Tensor  # Rows of the M masked spots, int64 (M,), ascending
    replaced: Tensor  # Rows of those that take the features of another spot instead of the token, int64 (R,)
    donors: Tensor  # Rows of these other spots, int64 (R,)

    def apply(self, features: Tensor) -> Tensor:
        """Features ``(N, p)``, zero where the token stands, and a column that is 1 there: ``(N, p + 1)``.

        It is the same for all encoders; a row ``token @ W`` below the weights W adds the token of each.
        """
        takes_token = self.masked.index_fill(0, self.replaced, value=False)[:, None]
        shown = features.index_copy(0, self.replaced, features.index_select(0, self.donors))
        return torch.cat([shown.masked_fill(takes_token, 0), takes_token.to(features.dtype)], dim=1)


def draw_masking(masked: Tensor, n_masked: int, replace_rate: float, generator: torch.Generator) -> Masking:
    """Draw which masked spots get the features of another spot, and of which one.

    Parameters
    ----------
    masked
        Which spots are masked, bool ``(N,)``: see :func:`draw_masked`.
    n_masked
        Number of masked spots.
    replace_rate
        Share of the masked spots that get the features of another spot, 0.05 in the paper. Because of these spots, the
        encoder cannot rely on the features of a spot alone.
    generator
        Source of randomness, on the device of ``masked``.
    """
    # Masked spots first, each kind in its order. The shape is known in advance, so the device is not waited for.
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
        msg = f"n_spots={n_spots}; masking needs at least 2 spots, one masked and one not."
        raise ValueError(msg)
    n_masked = min(max(round(rate * n_spots), 1), n_spots - 1)
    order = torch.randperm(n_spots, generator=generator, device=generator.device)
    masked = torch.zeros(n_spots, dtype=torch.bool, device=generator.device)
    masked[order[:n_masked]] = True
    return masked, n_masked


def sample_negatives(n: int, n_others: int, generator: torch.Generator, *, rows: Tensor | None = None) -> Tensor:
    """Draw other spots for each spot, uniformly and without replacement.

    Parameters
    ----------
    n
        Number of spots.
    n_others
        How many others each spot gets.
    generator
        Source of randomness.
    rows
        The spots to draw for, int64 ``(R,)``. ``None`` means all spots in order, R = ``n``.

    Returns
    -------
    Rows of the others, int64 ``(R, n_others)``, in random order. If there are fewer than ``n_others`` other spots, each
    spot gets all of them.

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
        # The rank of the new spot among those not yet taken. Each taken spot with a lower or equal row adds one to it.
        spot = torch.randint(n - count, (len(taken),), generator=generator, device=generator.device)
        for earlier in taken.sort(dim=1).values.unbind(1):
            spot += spot >= earlier
        drawn.append(spot)
        taken = torch.cat([taken, spot[:, None]], dim=1)
    return torch.stack(drawn, dim=1) if drawn else taken[:, :0]
