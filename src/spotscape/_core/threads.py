"""The number of threads that torch works with belongs to the user."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def torch_threads_kept() -> Iterator[None]:
    """Restore torch's number of threads, which numba (called by scanpy) changes in the OpenMP library they share."""
    import torch

    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)
