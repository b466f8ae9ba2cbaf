r"""Masking of whole spots: what the encoder must work out from the neighbours.

A random share of the spots is masked; the complementary view masks exactly the others. Masked spots take a learned
token :math:`t` in place of their features, a few of them the features of another spot. Masking rows commutes with the
first linear layer: with :math:`m` the indicator of the masked spots and :math:`M = \mathrm{diag}(1 - m)`,

.. math:: (M X + m\,t^\top)\,W = M\,(X W) + m\,(t^\top W) ,

so the mask goes onto the product, and X, whatever its storage, is neither copied nor changed.

Source: SpaCross (Fang & Min, Communications Biology 2025, doi 10.1038/s42003-025-08810-5).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from spotscape._core.validation import require_in_range
from spotscape.nn.objectives.others import draw_others

if TYPE_CHECKING:
    from typing import Self

    from spotscape.nn.features import FeatureMatrix


def draw_masked(
    n_spots: int, rate: float, generator: torch.Generator, *, device: torch.device | str | None = None
) -> Tensor:
    """Choose the spots to mask: ``round(rate * n_spots)`` of them, at least one, and never all.

    Parameters
    ----------
    n_spots
        Number of spots N, at least 2, so that neither this view nor its complement ``~masked`` is empty.
    rate
        Share of the spots that is masked, between 0 and 1, both excluded.
    generator
        Source of randomness; the draw happens on its device.
    device
        Where the result is to live; ``None`` leaves it on the generator's device.

    Returns
    -------
    Which spots are masked, bool ``(N,)``.

    Raises
    ------
    ValueError
        If there are fewer than two spots, or the rate lies outside (0, 1).

    Examples
    --------
    >>> import torch
    >>> from spotscape.nn import draw_masked
    >>> masked = draw_masked(10, 0.3, torch.Generator())
    >>> int(masked.sum()), int((~masked).sum())
    (3, 7)
    """
    require_in_range(rate, "rate", low=0, high=1, above_low=True, below_high=True)
    if n_spots < 2:
        msg = f"n_spots={n_spots}; masking needs at least 2 spots, one to hide and one to see."
        raise ValueError(msg)
    n_masked = min(max(round(rate * n_spots), 1), n_spots - 1)
    masked = torch.zeros(n_spots, dtype=torch.bool, device=generator.device)
    masked[torch.randperm(n_spots, generator=generator, device=generator.device)[:n_masked]] = True
    return masked.to(device or generator.device)


@dataclass(frozen=True, eq=False)
class MaskedSpots:
    """A view of X in which masked spots have other features: the token, or those of another spot.

    Attributes
    ----------
    features
        The expression X, ``(N, G)``, shared and not copied.
    masked
        Which spots are masked, bool ``(N,)``.
    token
        What masked spots take, ``(G,)``; a gradient flows into it.
    replaced
        Rows of the masked spots that take another spot's features instead, int64 ``(R,)``.
    donors
        Rows of those other spots, int64 ``(R,)``; of the whole tissue.
    donated
        The features of those other spots, ``(R, G)``, where ``features`` does not hold them; ``None`` where it does.
    """

    features: FeatureMatrix
    masked: Tensor
    token: Tensor
    replaced: Tensor
    donors: Tensor
    donated: FeatureMatrix | None = None

    def matmul(self, weight: Tensor) -> Tensor:
        """The masked X times ``weight``: ``(G, h)`` to ``(N, h)``."""
        seen = self.features.matmul(weight)
        product = torch.where(self.masked[:, None], self.token @ weight, seen)
        given = seen[self.donors] if self.donated is None else self.donated.matmul(weight)
        return product.index_copy(0, self.replaced, given.to(product.dtype))

    def within(self, rows: Tensor, features: FeatureMatrix) -> Self:
        """The same view of some spots only, for one of several processes; donors may be any spots of the tissue.

        Parameters
        ----------
        rows
            The spots, int64 ``(n,)``.
        features
            Theirs, ``(n, G)``.
        """
        place = torch.full_like(self.masked, -1, dtype=torch.int64)
        place[rows] = torch.arange(len(rows), device=place.device)
        replaced = place[self.replaced]
        here = replaced >= 0
        donors = self.donors[here]
        return replace(
            self,
            features=features,
            masked=self.masked[rows],
            replaced=replaced[here],
            donors=donors,
            donated=self.features.take(donors) if len(donors) else None,
        )


class MaskToken(nn.Module):
    """The learned stand-in for the features of a masked spot, and the view in which it stands there.

    It starts at zero, which for centred features is the average spot: nothing is known, and nothing is drawn at random.
    There is no symmetry to break, since the token is one vector and its gradient comes through the first weights.

    Parameters
    ----------
    n_features
        Number of features G.
    replace_rate
        Share of the masked spots that take the features of another spot, drawn at random, in place of the token, so
        that the encoder cannot tell from a spot's features alone that it may trust them; 0.05 in the paper.
    """

    def __init__(self, n_features: int, *, replace_rate: float = 0.05) -> None:
        super().__init__()
        self.replace_rate = require_in_range(replace_rate, "replace_rate", low=0, high=1)
        self.token = nn.Parameter(torch.zeros(n_features))

    def forward(self, features: FeatureMatrix, masked: Tensor, generator: torch.Generator) -> MaskedSpots:
        """Mask some spots of ``features`` ``(N, G)``.

        Parameters
        ----------
        features
            The expression, on the device of the token.
        masked
            Which spots are masked, bool ``(N,)``: see :func:`draw_masked`.
        generator
            Source of randomness for which masked spots take another's features, and whose.
        """
        rows = masked.nonzero()[:, 0]
        order = torch.randperm(len(rows), generator=generator, device=generator.device).to(rows.device)
        replaced = rows[order[: round(self.replace_rate * len(rows))]]
        if len(replaced) == 0:
            return MaskedSpots(features, masked, self.token, replaced, replaced)
        donors = draw_others(len(masked), 1, generator, rows=replaced, device=rows.device)[:, 0]
        return MaskedSpots(features, masked, self.token, replaced, donors)
