"""Kernels in Triton, for CUDA devices; imported only where they are asked for, since Triton may not be installed."""

from __future__ import annotations

__all__: list[str] = []
