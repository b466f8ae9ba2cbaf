"""How long an analysis takes and how much memory, roughly."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from spotscape.cli._inspect import Description

# Seconds of processor time for a thousand spots: `benchmarks/visium_hd.py --bins 5000`.
_SECONDS = {"spotscape": 1.0, "spacross": 4.2, "smoothed-pca": 0.1}
# Choosing the number of domains and finding markers; reading and importing.
_OTHER_STEPS, _START = 0.5, 8.0


def estimate(found: Description, options: argparse.Namespace) -> tuple[float, float]:
    """Seconds and gigabytes."""
    thousands = found.n_spots / 1000
    training = _SECONDS[options.method] * thousands * (1 if options.method == "smoothed-pca" else options.restarts)
    # Libraries, and some six arrays of 8 bytes for every count that is not zero.
    gigabytes = 0.9 + 48e-9 * found.n_spots * min(found.n_genes, found.median_counts)
    return _START + training + _OTHER_STEPS * thousands, gigabytes


def duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> duration(42), duration(200), duration(9000)
    ('42 s', '3 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
