"""Compute embeddings, and from them domains, markers, trajectories, matches and imputed genes."""

from __future__ import annotations

from spotscape._core.lazy import lazy

# torch is loaded by the first tool that needs it.
__all__, __getattr__, __dir__ = lazy(
    __name__,
    {
        "_choose_n_domains": "choose_n_domains",
        "_consensus_domains": "consensus_domains",
        "_domains": "domains",
        "_embed": "embed transfer_domains",
        "_encoders": "spacross spotscape",
        "_impute": "impute",
        "_markers": "markers",
        "_match_slices": "integrate_slices match_slices",
        "_refine_domains": "refine_domains",
        "_smoothed_pca": "smoothed_pca",
        "_trajectory": "trajectory",
    },
)
