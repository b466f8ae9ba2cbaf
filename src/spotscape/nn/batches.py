"""Batches: the part of a tissue that a training step sees, and sums over the tissue from sums over its parts.

After :math:`h` graph convolutions a spot depends on the spots within :math:`h` hops only. A batch holds some spots
(*inside*), which enter the loss, and those around them (*halo*), so they get the same values as in the whole tissue.
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
    """Some spots of a tissue and the spots around them, as a small tissue.

    Attributes
    ----------
    features, graph
        Features and graph of the n spots of the batch.
    spots
        Rows in the whole tissue, int64 ``(n,)``: first the inside spots, ascending, then the halo, ring by ring.
    n_inside
        Number of inside spots.
    n_total
        Number of spots N of the whole tissue.
    places
        For each edge of ``graph`` its position among the edges of the whole graph, int64 ``(E,)``.
    """

    features: Features
    graph: SpotGraph
    spots: Tensor
    n_inside: int
    n_total: int
    places: Tensor

    @classmethod
    def whole(cls, features: Features, graph: SpotGraph) -> Self:
        """A batch of all spots of a tissue."""
        spots = torch.arange(graph.n_spots, device=graph.device)
        return cls(
            features, graph, spots, graph.n_spots, graph.n_spots, torch.arange(graph.n_edges, device=graph.device)
        )

    @classmethod
    def around(cls, features: Features, graph: SpotGraph, inside: Tensor | np.ndarray, n_hops: int) -> Self:
        """A batch of some spots, with a halo as wide as there are graph convolutions.

        Parameters
        ----------
        features, graph
            Features and graph of the whole tissue.
        inside
            Rows of distinct spots, int64.
        n_hops
            Width of the halo, in steps of the graph.
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
        """Rows of the inside spots in the whole tissue."""
        return self.spots[: self.n_inside]


class Known:
    """Embeddings of all spots: current ones of the batch, with gradients, and stored ones of all other spots."""

    def __init__(self, rows: Tensor, memory: Tensor | None = None, inside: Tensor | None = None) -> None:
        # (B, n, d) of the n spots of the batch; (B, N, d) of all spots; rows of the batch among them, ascending.
        self.rows, self.memory, self.inside = rows, memory, inside

    def take(self, wanted: Tensor) -> Tensor:
        """Embeddings of the spots ``(m,)``, int64: ``(B, m, d)``."""
        if self.memory is None or self.inside is None:
            return self.rows[:, wanted]
        place = torch.searchsorted(self.inside, wanted).clamp_max(len(self.inside) - 1)
        here = (self.inside[place] == wanted).nonzero()[:, 0]
        return self.memory[:, wanted].index_copy(1, here, self.rows[:, place[here]])


class Reduce(nn.Module):
    """Completes sums over the spots of a batch to sums over the tissue. In this class the batch is the whole tissue."""

    is_exact = True
    """Whether every step sees all spots, in one process or in all of them."""

    def total(self, sums: Tensor) -> Tensor:
        """A sum over the spots of all processes that take part in the step."""
        return sums

    def complete(self, name: str, sums: Tensor, batch: Batch) -> Tensor:
        """A sum over all spots of the tissue. ``name`` distinguishes sums of different quantities."""
        del name, batch
        return self.total(sums)

    def share(self, name: str, rows: Tensor, batch: Batch, *, update: bool = True) -> Known:
        """Rows ``(B, n, d)`` of the batch together with the stored rows of all other spots.

        With ``update``, the rows are stored for later batches, if this class stores rows.
        """
        del name, update
        return Known(rows[:, : batch.n_inside])

    def remember(self, name: str, rows: Tensor) -> None:
        """Store rows of all spots, ``(B, N, d)``, if this class stores rows."""

    def knows_all(self, epoch: float) -> bool:
        """Whether a row of every spot is stored by then."""
        del epoch
        return True


class RunningMean(Reduce):
    r"""Completes the sum :math:`G_b` over a batch by the running mean :math:`\bar G` of earlier sums.

    .. math:: G = G_b + \tfrac{N - n}{N}\,\bar G, \qquad \bar G \leftarrow (1 - \tfrac nN)\,\bar G + G_b .

    The gradient flows through :math:`G_b` only and is multiplied by :math:`N / n`, because the batch holds :math:`n` of
    the :math:`N` spots.
    """

    is_exact = False

    def _memory(self, name: str, like: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, bool]:
        """A buffer, which a checkpoint includes, and whether it is new."""
        known = dict(self.named_buffers())
        if name in known:
            return known[name], False
        self.register_buffer(name, like.new_zeros(shape))
        return self.get_buffer(name), True

    def complete(self, name: str, sums: Tensor, batch: Batch) -> Tensor:
        """The completed sum :math:`G` of :math:`G_b`."""
        share = batch.n_inside / batch.n_total
        now = sums.detach() / share
        memory, is_new = self._memory(name, sums, tuple(sums.shape))
        if is_new:
            memory.copy_(now)
        total = sums.detach() + (1 - share) * memory + (sums - sums.detach()) / share
        memory.lerp_(now, share)
        return total

    def share(self, name: str, rows: Tensor, batch: Batch, *, update: bool = True) -> Known:
        """Rows of the batch, and the last rows seen of the other spots; zeros for spots not seen yet."""
        rows = rows[:, : batch.n_inside]
        memory, _ = self._memory(name, rows, (len(rows), batch.n_total, rows.shape[-1]))
        if update:
            memory.index_copy_(1, batch.inside, rows.detach())
        return Known(rows, memory, batch.inside)

    def remember(self, name: str, rows: Tensor) -> None:
        """Replace the stored rows of all spots."""
        self._memory(name, rows, tuple(rows.shape))[0].copy_(rows)

    def knows_all(self, epoch: float) -> bool:
        """True from the second sweep on."""
        return epoch >= 1

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *others: Any) -> None:
        # Memories are made when they are first needed; those of a checkpoint are taken as they are.
        for key in [key for key in state_dict if key.startswith(prefix)]:
            self.register_buffer(key.removeprefix(prefix), state_dict[key].clone())
        super()._load_from_state_dict(state_dict, prefix, *others)


class AllReduce(Reduce):
    """Completes the sums of a process by those of the other processes. Each spot is inside in exactly one process.

    All compute the same loss from the total, so each gets the gradient times the number of processes; the trainer takes
    the mean over processes, which is the gradient of the loss.
    """

    def total(self, sums: Tensor) -> Tensor:
        """The sum over processes, and the sum of its gradients."""
        from torch.distributed.nn.functional import all_reduce

        result: Tensor = all_reduce(sums.contiguous().clone())
        return result

    def share(self, name: str, rows: Tensor, batch: Batch, *, update: bool = True) -> Known:
        """The rows of all processes. Each number is added to zeros only, so all processes get the same bits."""
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
    """Whether this process belongs to a group of several processes."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def join_group(device: torch.device, *, minutes: float = 30.0) -> torch.device:
    """Join the group in which torchrun started this process, if it did; return the device of this process.

    If a process ends, the others notice at once. The time limit is for a process that no longer responds.
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
