r"""Batches: the part of a tissue that a training step sees, and how sums over parts become sums over the whole.

A batch holds some spots (*inside*, which count) and the spots around them that they depend on (*halo*). After
:math:`h` graph convolutions a spot depends on the spots within :math:`h` hops and on nothing else, and degrees are
those of the whole graph, so the inside spots get the values that they have in the whole tissue. The whole tissue is the
case of a single batch without a halo.

A loss that sums over all spots is completed by a :class:`Reduce`: by nothing where the batch is the whole tissue, by
what earlier batches had where it is a part, and by the other processes where each holds a part.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed, nn

from spotscape.nn.graph import SpotGraph, Structure, entries_of

if TYPE_CHECKING:
    from typing import Self

    import numpy as np

    from spotscape.nn.features import Features


@dataclass(frozen=True, eq=False)
class Batch:
    """Some spots of a tissue and their surroundings, as a small tissue.

    Attributes
    ----------
    features, graph
        Of the n spots of the batch.
    spots
        Rows in the whole tissue, int64 ``(n,)``: those inside first, ascending, then ring by ring.
    n_inside
        How many are inside.
    n_total
        Number of spots N of the whole tissue.
    places
        For each place of ``graph``'s edges that among the edges of the whole graph, int64 ``(E,)``.
    """

    features: Features
    graph: SpotGraph
    spots: Tensor
    n_inside: int
    n_total: int
    places: Tensor

    @classmethod
    def whole(cls, features: Features, graph: SpotGraph) -> Self:
        """All spots of a tissue."""
        spots = torch.arange(graph.n_spots, device=graph.device)
        return cls(
            features, graph, spots, graph.n_spots, graph.n_spots, torch.arange(graph.n_edges, device=graph.device)
        )

    @classmethod
    def around(cls, features: Features, graph: SpotGraph, inside: Tensor | np.ndarray, n_hops: int) -> Self:
        """Some spots of a tissue with as wide a halo as there are graph convolutions.

        Parameters
        ----------
        features, graph
            Of the whole tissue.
        inside
            Rows of distinct spots, int64.
        n_hops
            Width of the halo.
        """
        indptr, indices = graph.structure.indptr, graph.structure.indices
        rings = [torch.as_tensor(inside, dtype=torch.int64, device=graph.device).sort().values]
        place = torch.full((graph.n_spots,), -1, dtype=torch.int64, device=graph.device)
        place[rings[0]] = 0
        edges = [entries_of(indptr, rings[0])]
        for hop in range(n_hops):
            heard = indices[edges[-1]]
            new = heard[place[heard] < 0].unique()
            place[new] = 0
            rings.append(new)
            if hop < n_hops - 1:
                edges.append(entries_of(indptr, new))
        spots, places = torch.cat(rings), torch.cat(edges)
        place[spots] = torch.arange(len(spots), device=graph.device)
        counts = indptr.diff()[spots]
        if n_hops:
            counts[len(spots) - len(rings[-1]) :] = 0
        own = Structure(torch.cat([counts.new_zeros(1), counts.cumsum(0)]), place[indices[places]], len(spots))
        part = SpotGraph(own, graph.degrees[spots])
        return cls(features.take(spots), part, spots, len(rings[0]), graph.n_spots, places)

    @property
    def inside(self) -> Tensor:
        """Rows in the whole tissue of the spots inside."""
        return self.spots[: self.n_inside]


class Known:
    """Rows of all spots of a tissue, ``(B, N, d)``: those at hand, with a gradient, and a memory of the others.

    Parameters
    ----------
    rows
        Those at hand, ``(B, n, d)``.
    memory
        Of all spots, ``(B, N, d)``; ``None`` if all are at hand.
    inside
        Which spots are at hand, int64 ``(n,)``, ascending; only with a memory.
    """

    def __init__(self, rows: Tensor, memory: Tensor | None = None, inside: Tensor | None = None) -> None:
        self.rows, self.memory, self.inside = rows, memory, inside

    def take(self, wanted: Tensor) -> Tensor:
        """Rows of some spots, int64 ``(m,)``: ``(B, m, d)``."""
        if self.memory is None or self.inside is None:
            return self.rows[:, wanted]
        place = torch.searchsorted(self.inside, wanted).clamp_max(len(self.inside) - 1)
        here = (self.inside[place] == wanted).nonzero()[:, 0]
        return self.memory[:, wanted].index_copy(1, here, self.rows[:, place[here]])


class Reduce(nn.Module):
    """Completes sums over the spots of a batch to sums over the tissue. Here the batch is the whole tissue."""

    is_exact = True
    """Whether every step sees all spots, in one process or in all of them."""

    def total(self, sums: Tensor) -> Tensor:
        """A sum over the spots of the step: those of all processes that take part in it."""
        return sums

    def complete(self, name: str, sums: Tensor, batch: Batch) -> Tensor:
        """A sum over all spots of the tissue; ``name`` tells sums of different things apart."""
        del name, batch
        return self.total(sums)

    def share(self, name: str, rows: Tensor, batch: Batch, *, update: bool = True) -> Known:
        """Rows ``(B, n, d)`` of the batch, and with them what is known of all other spots.

        ``update`` remembers these rows, where anything is remembered, for later batches.
        """
        del name, update
        return Known(rows[:, : batch.n_inside])

    def remember(self, name: str, rows: Tensor) -> None:
        """Remember rows of all spots, ``(B, N, d)``, where anything is remembered."""

    def knows_all(self, epoch: float) -> bool:
        """Whether something is known of every spot by then."""
        del epoch
        return True


class RunningMean(Reduce):
    r"""Completes the sums of a batch by those of earlier ones.

    With :math:`G_b` the sum over the :math:`n` spots of the batch and :math:`\bar G` the running mean of earlier sums,
    scaled to the tissue of :math:`N`,

    .. math:: G = G_b + \tfrac{N - n}{N}\,\bar G, \qquad \bar G \leftarrow (1 - \tfrac nN)\,\bar G + G_b .

    The value is that of :math:`G`, and the gradient goes through :math:`G_b`, times :math:`N / n`: its share of the
    gradient, scaled up to that of all. :math:`\bar G` remembers about one sweep. It is delayed: it comes from earlier
    weights and other random views. Rows of spots outside of the batch are those last seen, without a gradient.
    """

    is_exact = False

    def _memory(self, name: str, like: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, bool]:
        """A buffer, so that a checkpoint holds it, and whether it is new."""
        known = dict(self.named_buffers())
        if name in known:
            return known[name], False
        self.register_buffer(name, like.new_zeros(shape))
        return self.get_buffer(name), True

    def complete(self, name: str, sums: Tensor, batch: Batch) -> Tensor:
        """:math:`G` for :math:`G_b`."""
        share = batch.n_inside / batch.n_total
        now = sums.detach() / share
        memory, is_new = self._memory(name, sums, tuple(sums.shape))
        if is_new:
            memory.copy_(now)
        total = sums.detach() + (1 - share) * memory + (sums - sums.detach()) / share
        memory.lerp_(now, share)
        return total

    def share(self, name: str, rows: Tensor, batch: Batch, *, update: bool = True) -> Known:
        """Those of the batch, and of other spots what was last seen of them; zeros until then."""
        rows = rows[:, : batch.n_inside]
        memory, _ = self._memory(name, rows, (len(rows), batch.n_total, rows.shape[-1]))
        if update:
            memory.index_copy_(1, batch.inside, rows.detach())
        return Known(rows, memory, batch.inside)

    def remember(self, name: str, rows: Tensor) -> None:
        """Rows of all spots, in place of what was known of them."""
        self._memory(name, rows, tuple(rows.shape))[0].copy_(rows)

    def knows_all(self, epoch: float) -> bool:
        """From the second sweep on."""
        return epoch >= 1

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *others: Any) -> None:
        # Memories are made when they are first needed; those of a checkpoint are taken as they are.
        for key in [key for key in state_dict if key.startswith(prefix)]:
            self.register_buffer(key.removeprefix(prefix), state_dict[key].clone())
        super()._load_from_state_dict(state_dict, prefix, *others)


class AllReduce(Reduce):
    """Completes the sums of a process by those of the others in its group; each spot is inside in one of them.

    Every process computes the same loss from a total, so what reaches a process are the gradients of all losses, as
    many times that of one as there are processes. Their mean over processes, which the trainer takes, is the gradient.
    """

    def total(self, sums: Tensor) -> Tensor:
        """The sum over processes, and of its gradient too."""
        from torch.distributed.nn.functional import all_reduce

        result: Tensor = all_reduce(sums.contiguous().clone())
        return result

    def share(self, name: str, rows: Tensor, batch: Batch, *, update: bool = True) -> Known:
        """What all processes know of their own spots; every number is added to zeros only, so all get the same bits."""
        del name, update
        rows = rows[:, : batch.n_inside]
        nothing = rows.new_zeros(len(rows), batch.n_total, rows.shape[-1])
        return Known(self.total(nothing.index_copy(1, batch.inside, rows)))


def average_gradients(parameters: list[nn.Parameter]) -> None:
    """Give every process the mean gradient: see :class:`AllReduce`."""
    gradients = [torch.zeros_like(one) if one.grad is None else one.grad for one in parameters]
    together = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(together)
    together /= distributed.get_world_size()
    for one, part in zip(parameters, together.split([one.numel() for one in parameters]), strict=True):
        one.grad = part.view_as(one).clone()


def in_group() -> bool:
    """Whether this process belongs to a group of several."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def join_group(device: torch.device, *, minutes: float = 30.0) -> torch.device:
    """Join the group that torchrun started this process in, if it did; return the device of this process.

    A process that is gone is noticed at once; the limit in minutes is for one that hangs.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or "RANK" not in os.environ:
        return device
    if str(device) == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if not distributed.is_initialized():
        backend = "nccl" if device.type == "cuda" else "gloo"
        distributed.init_process_group(backend, timeout=timedelta(minutes=minutes))
    return device
