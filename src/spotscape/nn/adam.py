r"""Adam (Kingma & Ba 2015) with an L2 penalty, and the schedules of its rate.

The same as in ``torch.optim``, whose import alone takes longer than a training on a small slice: it brings torch's
compiler. With gradient :math:`g` plus penalty, in step :math:`t`

.. math:: m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
          \theta \leftarrow \theta - \eta_t\,\frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon} .
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

Schedule = Literal["one_cycle", "constant"]

_BETAS, _EPS = (0.9, 0.999), 1e-8
# Smith & Topin (2019): up over 30 % of the steps from a 25th, then down to nearly nothing.
_WARM_UP, _START, _END = 0.3, 1 / 25, 1 / (25 * 1e4)


def rate(schedule: Schedule, step: int, n_steps: int) -> float:
    """The share of the peak rate in a step: ``"constant"`` is all of it, ``"one_cycle"`` rises and falls by cosines."""
    if schedule == "constant":
        return 1.0
    peak = _WARM_UP * n_steps - 1
    last = max(n_steps - 1, 1)
    if step <= peak:
        return _between(_START, 1.0, step / peak if peak > 0 else 1.0)
    return _between(1.0, _END, (step - peak) / max(last - peak, 1e-9))


def _between(first: float, last: float, share: float) -> float:
    return last + (first - last) / 2 * (1 + math.cos(math.pi * share))


class Adam:
    """Moves parameters in the direction of their gradients.

    Parameters
    ----------
    parameters
        What is trained; one without a gradient stays as it is.
    weight_decay
        The L2 penalty.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], weight_decay: float) -> None:
        self.parameters, self.weight_decay, self.n_steps = list(parameters), weight_decay, 0
        self.means = [torch.zeros_like(one) for one in self.parameters]
        self.squares = [torch.zeros_like(one) for one in self.parameters]

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """One step at the rate ``lr``; gradients are used up."""
        self.n_steps += 1
        first, second = (1 - beta**self.n_steps for beta in _BETAS)
        for one, mean, square in zip(self.parameters, self.means, self.squares, strict=True):
            if one.grad is None:
                continue
            gradient = one.grad.add(one, alpha=self.weight_decay)
            mean.lerp_(gradient, 1 - _BETAS[0])
            square.mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1 - _BETAS[1])
            one.addcdiv_(mean, (square / second).sqrt_().add_(_EPS), value=-lr / first)
            one.grad = None

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {"n_steps": self.n_steps, "means": self.means, "squares": self.squares}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it from a checkpoint."""
        self.n_steps = state["n_steps"]
        known: list[tuple[list[Tensor], list[Tensor]]] = [
            (self.means, state["means"]),
            (self.squares, state["squares"]),
        ]
        for mine, saved in known:
            for own, other in zip(mine, saved, strict=True):
                own.copy_(other)
