"""The mixture of prototypes with offsets of slices that `integration` fits: its parameters, and one step of its fit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Tensor

# Spots of one block; and of as many blocks as have their probabilities in memory at a time.
_BLOCK, _AT_A_TIME = 256, 65_536
# A slice's proportions lean by this share towards those of all slices: of two shifts that fit equally well, the one
# under which the slices overlap is taken.
LEAN = 0.05


@dataclass(frozen=True)
class Mixture:
    """Parameters of the mixture for ``S`` slices and ``K`` prototypes, and its log-likelihood."""

    centres: Tensor  # (K, d)
    shifts: Tensor  # (S, d)
    local: Tensor  # (S, K, d)
    logs: Tensor  # (S, K), of the proportions
    variance: Tensor
    likelihood: float = -np.inf

    @property
    def n_parameters(self) -> int:
        """Number of free parameters in prototypes and proportions. Offsets are few, or shrunk, and do not count."""
        return self.centres.numel() + self.logs.numel()

    def means(self) -> Tensor:
        """Where spots of a slice under a prototype lie on average, ``(S, K, d)``."""
        return self.centres + self.shifts[:, None] + self.local

    def probabilities(self, spots: Tensor, slices: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities of the prototypes for blocks of spots ``(B, K, n)``, and the log-likelihood of each spot.

        The log-likelihood is short of what does not depend on the prototype: -|z|² / 2σ² and -d log σ.
        """
        means = self.means()
        constant = self.logs - means.square().sum(2) / (2 * self.variance)
        joint = torch.baddbmm(constant[slices][..., None], (means / self.variance)[slices], spots.mT)
        # One exponential for both; `logsumexp` and `softmax` would take one each.
        most = joint.amax(1, keepdim=True)
        found = joint.sub_(most).exp_()
        total = found.sum(1, keepdim=True)
        return found.div_(total), (total.log_() + most)[:, 0]


@dataclass(frozen=True)
class SpotBlocks:
    """The spots of ``S`` slices in ``B`` blocks, so that a step takes as many operations for one slice as for forty.

    Each block is of one slice. The last block of a slice is filled up with zeros.
    """

    values: Tensor  # (B, n, d)
    real: Tensor  # (B, n), 1 for spots and 0 for what fills up
    slices: Tensor  # (B,), the slice of each block
    members: Tensor  # (S, B), 1 for the blocks of a slice and 0 for others
    squares: float  # sum of all squared values

    @classmethod
    def of(cls, parts: list[Tensor]) -> SpotBlocks:
        """From the coordinates of each slice, ``(n, d)``."""
        numbers = [number for number, part in enumerate(parts) for _ in range(0, len(part), _BLOCK)]
        slices = torch.tensor(numbers, device=parts[0].device)
        values = parts[0].new_zeros(len(slices), _BLOCK, parts[0].shape[1])
        real = parts[0].new_zeros(len(slices), _BLOCK)
        for part, first in zip(parts, np.searchsorted(numbers, range(len(parts))), strict=True):
            values[first:].flatten(0, 1)[: len(part)] = part
            real[first:].flatten()[: len(part)] = 1
        members = torch.nn.functional.one_hot(slices, len(parts)).T.to(values.dtype)
        return cls(values, real, slices, members, float(values.square().sum()))

    @cached_property
    def sizes(self) -> Tensor:
        """Number of spots of each slice."""
        return self.members @ self.real.sum(1)

    @cached_property
    def n_spots(self) -> int:
        """Number of spots of all slices."""
        return int(self.real.sum())

    def chunks(self) -> list[slice]:
        """Blocks that are worked on at a time."""
        step = _AT_A_TIME // _BLOCK
        return [slice(start, start + step) for start in range(0, len(self.values), step)]

    def correction(self, model: Mixture, index: int) -> Tensor:
        """The vectors that are subtracted from the spots of a slice."""
        blocks = (self.slices == index).nonzero()[:, 0]
        moved = [
            model.probabilities(self.values[own], self.slices[own])[0].mT @ model.local[index]
            for own in blocks.split(_AT_A_TIME // _BLOCK)
        ]
        return model.shifts[index] + torch.cat(moved).flatten(0, 1)[: int(self.sizes[index])]


def single(spots: SpotBlocks, held: Tensor, *, from_means: bool) -> Mixture:
    """A single prototype. Slices start at their means, or without a shift."""
    sums = spots.members @ spots.values.sum(1)
    means = sums / spots.sizes[:, None]
    centre = (means[held] if held.any() else means).mean(0, keepdim=True)
    shifts = (means - centre) * (from_means & ~held)[:, None]
    at = centre + shifts
    squares = spots.squares - 2 * (at * sums).sum() + (spots.sizes * at.square().sum(1)).sum()
    variance = squares / (spots.n_spots * at.shape[1])
    return Mixture(centre, shifts, torch.zeros_like(means)[:, None], means.new_zeros(len(means), 1), variance)


def step(
    model: Mixture, spots: SpotBlocks, held: Tensor, ridge: float, *, free: bool = True, lean: float = LEAN
) -> Mixture:
    """One step of expectation and maximisation. Without ``free`` the shifts of the slices are fixed."""
    counts = torch.zeros_like(model.logs)
    sums = torch.zeros_like(model.local)
    n_values = spots.n_spots * model.centres.shape[1]
    likelihood = -spots.squares / (2 * model.variance) - n_values / 2 * model.variance.log()
    for own in spots.chunks():
        values, real, members = spots.values[own], spots.real[own], spots.members[:, own]
        probabilities, logs = model.probabilities(values, spots.slices[own])
        probabilities *= real[:, None]
        counts += members @ probabilities.sum(2)
        sums += (members @ (probabilities @ values).flatten(1)).view_as(sums)
        likelihood += (logs * real).sum()
    penalty = model.local.square().sum() * (ridge if np.isfinite(ridge) else 0) / (2 * model.variance)
    share = counts.sum(0) / counts.sum()
    prior = lean * (counts.sum(1, keepdim=True) * share * model.logs).sum()
    means = sums / counts.clamp(min=1e-12)[..., None]
    # A prototype's own offset makes many spots of one slice worth no more than `ridge` of them.
    weights = torch.where(held[:, None], counts, counts / (1 + counts / ridge))
    shifts = _shifts(means, weights, held) if free else model.shifts
    centres = ((means - shifts[:, None]) * weights[..., None]).sum(0) / weights.sum(0).clamp(min=1e-12)[:, None]
    local = (means - shifts[:, None] - centres) * (~held[:, None] * counts / (counts + ridge))[..., None]
    at = centres + shifts[:, None] + local
    left = spots.squares - 2 * (at * sums).sum() + (counts * at.square().sum(2)).sum()
    proportions = (counts / counts.sum(1, keepdim=True) + lean * share) / (1 + lean)
    return Mixture(
        centres,
        shifts,
        local,
        proportions.clamp(min=1e-300).log(),
        (left / n_values).clamp(min=1e-12),
        float(likelihood - penalty + prior),
    )


def _shifts(means: Tensor, weights: Tensor, held: Tensor) -> Tensor:
    r"""Shifts :math:`b_s` that minimise :math:`\sum_{sk} w_{sk} \lVert m_{sk} - \mu_k - b_s \rVert^2`, ``(S, d)``.

    Those of held slices are zero; without held slices, they add up to zero.
    """
    own, of_prototype = weights.sum(1), weights.sum(0).clamp(min=1e-12)
    middle = (weights[..., None] * means).sum(0) / of_prototype[:, None]
    target = (weights[..., None] * (means - middle)).sum(1)
    normal = torch.diag(own * (1 + 1e-6)) - (weights / of_prototype) @ weights.T
    free = ~held
    if free.all():
        normal = normal + own.mean() / len(own)
    shifts = torch.zeros_like(target)
    shifts[free] = torch.linalg.solve(normal[free][:, free], target[free])
    return shifts - shifts.mean(0) if free.all() else shifts


def split(model: Mixture, spots: SpotBlocks) -> Mixture:
    """Two prototypes for each, half a standard deviation to either side along its principal axis."""
    n_axes = model.centres.shape[1]
    counts = torch.zeros_like(model.logs[0])
    moments = model.centres.new_zeros(len(counts), n_axes, n_axes)
    for chunk in spots.chunks():
        values, slices, real = spots.values[chunk], spots.slices[chunk], spots.real[chunk] > 0
        own = model.probabilities(values, slices)[0].argmax(1)
        away = (values - model.means()[slices[:, None], own])[real]
        for k in range(len(counts)):
            moments[k] += away[own[real] == k].T @ away[own[real] == k]
        counts += torch.bincount(own[real], minlength=len(counts))
    squares, axes = torch.linalg.eigh(moments / counts.clamp(min=1)[:, None, None])
    step = axes[:, :, -1] * squares[:, -1:].clamp(min=0).sqrt() / 2
    return replace(
        model,
        centres=torch.cat([model.centres + step, model.centres - step]),
        local=model.local.repeat(1, 2, 1),
        logs=model.logs.repeat(1, 2) - float(np.log(2)),
    )


def merge(model: Mixture, spots: SpotBlocks) -> Mixture:
    """Merge the two prototypes whose merging moves their spots least (Ward's criterion)."""
    counts = spots.sizes @ model.logs.exp()
    loss = torch.cdist(model.centres, model.centres).square() / (1 / counts[:, None] + 1 / counts)
    loss.fill_diagonal_(np.inf)
    first, second = divmod(int(loss.argmin()), len(counts))
    rest = [k for k in range(len(counts)) if k not in (first, second)]
    pair = [first, second]
    share = (counts[pair] / counts[pair].sum())[:, None]
    return replace(
        model,
        centres=torch.cat([model.centres[rest], (share * model.centres[pair]).sum(0, keepdim=True)]),
        local=torch.cat([model.local[:, rest], (share * model.local[:, pair]).sum(1, keepdim=True)], dim=1),
        logs=torch.cat([model.logs[:, rest], model.logs[:, pair].logsumexp(1, keepdim=True)], dim=1),
    )
