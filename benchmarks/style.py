"""Colours, names and settings that the pictures of the benchmarks share."""

from __future__ import annotations

COLORS = {"best smoother": "#8A8A8A", "smoothed_pca": "#009E73", "spotscape": "#0072B2", "spacross": "#D55E00"}
NAMES = {"smoothed_pca": "smoothed PCA", "spotscape": "Spotscape", "spacross": "SpaCross", "consensus": "consensus"}
STYLE = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.axisbelow": True,
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "grid.color": "#E4E4E4",
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "spotscape",
}
