"""Draw tissue, domains, genes, confidence, markers, matches, registrations and trajectories."""

from __future__ import annotations

from spotscape._core.lazy import lazy

# matplotlib is loaded by the first plot.
__all__, __getattr__, __dir__ = lazy(
    __name__,
    {
        "_colors": "match_colors",
        "_composition": "composition confidence crosstab disagreement",
        "_curves": "history n_domains scale",
        "_domains": "domains embedding similarity",
        "_explore": "explore",
        "_markers": "markers",
        "_matching": "matching",
        "_registration": "registration",
        "_space": "stack_3d",
        "_trajectory": "trajectory",
        "_volume": "volume",
    },
)
