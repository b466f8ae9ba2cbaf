r"""Similarity telescope: every spot-to-spot similarity should be the same, whichever view either spot is seen in.

With row-normalised embeddings :math:`A, B` (N×d) of two views, the loss compares all :math:`N^2` cross-view cosines:

.. math:: L = \frac{1}{N^2}\,\lVert A B^\top - B A^\top \rVert_F^2 .

Write :math:`M = A - B` and :math:`P = A + B`. Then :math:`A B^\top - B A^\top = \tfrac12 (M P^\top - P M^\top)`,
and the squared norm of that needs three d×d Gram matrices and nothing of size N×N:

.. math:: L = \frac{\operatorname{tr}(M^\top M\,P^\top P) - \operatorname{tr}(P^\top M\,P^\top M)}{2 N^2}.

Gram matrices of parts of a tissue add up to those of the whole, so the loss stays exact over chunks and machines.
:math:`M` is formed before it is multiplied: late in training the views nearly agree, and a difference of large
products would lose half of the digits. The matrices are summed in float64, which d columns make nearly free, so that
float32 embeddings lose nothing here.

Source: the objective is from Oh et al., ICML 2025 (arXiv 2506.15698); the closed form is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch.nn.functional import normalize

if TYPE_CHECKING:
    from typing import Self

    from torch import Tensor


@dataclass(frozen=True)
class TelescopeGrams:
    """The three Gram matrices, float64 ``(d, d)``, that hold all there is to know of two views; they add over spots."""

    mm: Tensor
    pp: Tensor
    pm: Tensor
    n_spots: int

    @classmethod
    def of_views(cls, first: Tensor, second: Tensor) -> Self:
        """Gram matrices of two views' embeddings, each ``(N, d)``, rows of any length."""
        a, b = normalize(first.double(), dim=1), normalize(second.double(), dim=1)
        m, p = a - b, a + b
        return cls(m.T @ m, p.T @ p, p.T @ m, len(a))

    def __add__(self, other: Self) -> Self:
        return type(self)(self.mm + other.mm, self.pp + other.pp, self.pm + other.pm, self.n_spots + other.n_spots)

    def loss(self) -> Tensor:
        """The telescope loss of all spots that went into the matrices, a scalar."""
        return ((self.mm * self.pp).sum() - (self.pm * self.pm.T).sum()) / (2 * self.n_spots**2)


def telescope_loss(first: Tensor, second: Tensor) -> Tensor:
    """Similarity telescope loss of two views, in O(N d²) time and O(N d) memory.

    Parameters
    ----------
    first, second
        Embeddings of the same spots in two views, each ``(N, d)``; rows of any length.

    Returns
    -------
    A scalar of the type of ``first``.
    """
    return TelescopeGrams.of_views(first, second).loss().to(first.dtype)
