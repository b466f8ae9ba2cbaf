r"""A target network that follows the online one: the slow average of its weights.

With momentum :math:`m`, every parameter and every floating-point buffer :math:`\theta` (statistics of batch
normalisation are such buffers) moves by

.. math:: \theta_{target} \leftarrow m\,\theta_{target} + (1 - m)\,\theta_{online} .

:math:`m = 0` is a copy, bit for bit, and :math:`m = 1` a target that stands still. No gradient flows.

Source: SpaCross (Fang & Min, Communications Biology 2025) for the use, where :math:`m = 0`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from spotscape._core.validation import require_in_range

if TYPE_CHECKING:
    from torch import Tensor, nn


@torch.no_grad()
def follow(target: nn.Module, online: nn.Module, momentum: float) -> None:
    """Move every parameter and buffer of ``target`` towards that of ``online``.

    Parameters
    ----------
    target
        The module that follows; changed in place.
    online
        The module that is trained, of the same structure.
    momentum
        Share in [0, 1] of its own state that the target keeps. Whole numbers, such as the batches that normalisation
        has seen, are copied whatever the momentum.

    Raises
    ------
    ValueError
        If the momentum lies outside [0, 1], or the two modules do not have the same tensors.

    Examples
    --------
    >>> import torch
    >>> from spotscape.nn import follow
    >>> target, online = (torch.nn.Linear(1, 1, bias=False) for _ in range(2))
    >>> _ = torch.nn.init.constant_(target.weight, 1.0), torch.nn.init.constant_(online.weight, 3.0)
    >>> follow(target, online, 0.75)
    >>> target.weight.item()
    1.5
    """
    require_in_range(momentum, "momentum", low=0, high=1)
    states = _state(target), _state(online)
    _require_same_tensors(*states)
    for mine, theirs in zip(*(state.values() for state in states), strict=True):
        if momentum == 0 or not mine.is_floating_point():
            mine.copy_(theirs)
        else:
            mine.lerp_(theirs, 1 - momentum)


def _state(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, those too that a checkpoint leaves out."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _require_same_tensors(target: dict[str, Tensor], online: dict[str, Tensor]) -> None:
    mine, theirs = ({(name, tuple(tensor.shape)) for name, tensor in state.items()} for state in (target, online))
    if mine != theirs:
        name, shape = min(mine ^ theirs)
        where = "target" if (name, shape) in mine else "online"
        msg = f"only {where} has {name!r} of shape {shape}; target and online must be copies of one module."
        raise ValueError(msg)
