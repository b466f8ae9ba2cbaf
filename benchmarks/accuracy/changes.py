"""What the defaults change against the papers, why, and which row of the study tells what it brings."""

from __future__ import annotations

from typing import NamedTuple


class Change(NamedTuple):
    """A change, its reason, and the ablation that takes it back."""

    what: str
    why: str
    without: str


SPOTSCAPE = (
    Change(
        "30 components instead of all genes",
        "Leaves out noise, and makes a step many times cheaper.",
        "all_genes",
    ),
    Change(
        "Components that neighbours share",
        "The directions in which means over neighbours differ most; most of what single spots differ by is noise.",
        "components_of_single_spots",
    ),
    Change(
        "Linear scale",
        "What is averaged over neighbours are counts; with few counts a logarithm hardly tells more than presence.",
        "logarithm",
    ),
    Change(
        "Genes weighted by dispersion, to the power of .5",
        "Between equal weights (0), which serve Visium, and Pearson residuals (1), which serve STARmap.",
        "standardised",
    ),
    Change("… and not 1", "As above.", "pearson"),
    Change(
        "No ReLU after the last block",
        "No dimension can die, and the clusterer sees both halves of each axis.",
        "latent_relu",
    ),
    Change("12 leading axes", "Further axes are noise that a mixture takes as seriously as the others.", "all_axes"),
    Change(
        "Axes divided by the fourth root of their variance (whitening .25)",
        "One or two axes hold most of the variance, and k-means would go by them alone.",
        "not_whitened",
    ),
    Change("… and not by its square root (.5)", "As above.", "half_whitened"),
    Change(
        "Reconstruction at weight 1 instead of .1",
        "The embedding has to say what a spot expresses, not only whom it resembles.",
        "paper_weights",
    ),
    Change("200 epochs instead of 100", "Steadier; the paper has 1,000 at a tenth of the rate.", "epochs_100"),
    Change("The telescope itself", "The idea of the paper.", "no_telescope"),
    Change("Reconstruction itself", "Part of the paper.", "no_reconstruction"),
)
SPACROSS = (
    Change(
        "30 components instead of 200",
        "A cosine between spots counts noise in full.",
        "spacross_components_200",
    ),
    Change("Components that neighbours share", "As for Spotscape.", "spacross_components_of_single_spots"),
    Change("Linear scale", "As for Spotscape.", "spacross_logarithm"),
    Change("All genes weighted alike", "Other than for Spotscape.", "spacross_dispersion"),
    Change("12 leading axes", "As for Spotscape.", "spacross_all_axes"),
    Change("No whitening", "Other than for Spotscape.", "spacross_quarter_whitened"),
    Change("Mask rate .7 instead of .5", "Less is left to copy from.", "spacross_mask_0.5"),
    Change("Reconstruction itself", "Part of the paper.", "spacross_no_reconstruction"),
    Change("Consistency itself", "Part of the paper.", "spacross_no_consistency"),
    Change("Contrast on the hybrid graph itself", "Part of the paper.", "spacross_no_contrast"),
    Change("A quorum of clusterings", "Part of the paper.", "spacross_no_quorum"),
)
