"""Other spots at random: distinct, never the spot itself, every choice as likely as any other."""

from __future__ import annotations

import torch
from torch import Tensor

from spotscape._core.validation import require_positive_int


def draw_others(
    n: int,
    n_others: int,
    generator: torch.Generator,
    *,
    rows: Tensor | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Draw for each spot some other spots, without replacement, uniformly, and without trying again.

    Parameters
    ----------
    n
        Number of spots.
    n_others
        How many others each spot gets.
    generator
        Source of randomness; the draw happens on its device.
    rows
        The spots to draw for, int64 ``(R,)``. ``None`` stands for all, in order.
    device
        Where the result is to live; ``None`` leaves it on the generator's device.

    Returns
    -------
    Rows of the others, int64 ``(R, n_others)``, in random order.

    Raises
    ------
    ValueError
        If there are not ``n_others`` other spots.

    Examples
    --------
    >>> import torch
    >>> from spotscape.nn import draw_others
    >>> draw_others(3, 2, torch.Generator()).sort().values.tolist()
    [[1, 2], [0, 2], [0, 1]]
    """
    require_positive_int(n_others, "n_others")
    if n_others > n - 1:
        msg = f"n_others={n_others} distinct other spots cannot be drawn from {n} spots; each has {max(n - 1, 0)}."
        raise ValueError(msg)
    taken = torch.arange(n, device=generator.device) if rows is None else rows.to(generator.device)
    taken, drawn = taken[:, None], []
    for count in range(1, n_others + 1):
        # The rank of the new spot among those not yet taken; each taken one that it meets on its way moves it by one.
        spot = torch.randint(n - count, (len(taken),), generator=generator, device=generator.device)
        for earlier in taken.sort(dim=1).values.unbind(1):
            spot += spot >= earlier
        drawn.append(spot)
        taken = torch.cat([taken, spot[:, None]], dim=1)
    return torch.stack(drawn, dim=1).to(device or generator.device)
