"""What is compared: one line for each setting.

A setting is a method, changes of its configuration, and whatever else differs from the plain call. To add one, add a
line to the group it belongs to; `spotscape(latent_size=32)` is the default with one change, `spotscape("paper")` the
published setting, and `n_neighs`, `after` and arguments of the function (`call`) can be given beside. With several
slices the same changes are made to the defaults for several slices.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from plain import PLAIN

from spotscape.models import SpaCrossConfig, SpotscapeConfig

if TYPE_CHECKING:
    from collections.abc import Callable

Config = SpotscapeConfig | SpaCrossConfig
# What makes a configuration for one slice, and what for several.
PRESETS: dict[tuple[str, str], tuple[Callable[..., Config], Callable[..., Config]]] = {
    ("spotscape", "default"): (SpotscapeConfig, SpotscapeConfig.several_slices),
    ("spotscape", "paper"): (SpotscapeConfig.paper, functools.partial(SpotscapeConfig.paper, lr=5e-4)),
    ("spacross", "default"): (SpaCrossConfig, SpaCrossConfig.several_slices),
    ("spacross", "paper"): (SpaCrossConfig.paper, SpaCrossConfig.paper),
    ("spacross", "released"): (SpaCrossConfig.released, functools.partial(SpaCrossConfig.released, quorum=0)),
}
# Where a new field of a configuration has a default under which all is as it was, give field and value here, and what
# was measured before the field existed stays valid. (None, False and 0 need not be listed.)
AS_BEFORE: dict[str, Any] = {}


@dataclass(frozen=True)
class Setting:
    """A method, its configuration, and how its input and output are treated."""

    method: str
    preset: str = "default"
    changes: dict[str, Any] = field(default_factory=dict)
    factor: tuple[str, float] | None = None
    n_neighs: int = 6
    after: Callable[[np.ndarray], np.ndarray] | None = None
    call: dict[str, Any] = field(default_factory=dict)

    def config(self, *, several: bool) -> Config | None:
        """The configuration for one slice or several; a floor has none."""
        if self.method == "floor":
            return None
        config = PRESETS[self.method, self.preset][several](**self.changes)
        if self.factor is None:
            return config
        name, factor = self.factor
        return dataclasses.replace(config, **{name: moved(config, name, factor)})

    def applies(self, *, several: bool) -> bool:
        """Whether there is anything to run that the default is not: one slice has no weights between slices."""
        if self.method == "floor" or self.n_neighs != 6:
            return not (several and self.method == "spacross")
        moves = {*self.changes, *([self.factor[0]] if self.factor else [])}
        if self.after or self.call or not moves:
            return True
        if moves <= SEVERAL_ONLY and not several:
            return False
        return self.config(several=several) != PRESETS[self.method, self.preset][several]()

    def fingerprint(self, *, several: bool) -> str:
        """Eight characters that change whenever what is run does."""
        values = vars(self.config(several=several) or _Empty())
        told: dict[str, Any] = {name: value for name, value in values.items() if value and AS_BEFORE.get(name) != value}
        told |= {
            "method": self.method,
            "n_neighs": self.n_neighs,
            "call": self.call,
            "after": getattr(self.after, "__name__", None),
        }
        return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:8]


class _Empty:
    pass


def floor(n_hops: int, *, n_neighs: int = 6, **call: Any) -> Setting:
    """A plain smoother; further arguments are those of `sp.tl.smoothed_pca`."""
    return Setting("floor", n_neighs=n_neighs, call={"n_hops": n_hops, **PLAIN, **call})


def _encoder(method: str, preset: str = "default", **given: Any) -> Setting:
    own = {name: given.pop(name) for name in ("n_neighs", "after", "call", "factor") if name in given}
    return Setting(method, preset, changes=given, **own)


spotscape = functools.partial(_encoder, "spotscape")
spacross = functools.partial(_encoder, "spacross")


def unit_length(embedding: np.ndarray) -> np.ndarray:
    """Spots on the sphere: what a cosine sees."""
    return embedding / np.maximum(np.linalg.norm(embedding, axis=1, keepdims=True), 1e-12)


FLOORS = {"floor_1": floor(1), "floor_3": floor(3), "floor_6": floor(6)}
# Smoothed PCA as it comes: the input of the encoders, without a network.
LINEAR = {"smoothed_pca": Setting("floor")}
DEFAULTS = {"spotscape": spotscape(), "spacross": spacross()}
PUBLISHED = {
    "spotscape_paper": spotscape("paper"),
    "spacross_paper": spacross("paper"),
    "spacross_released": spacross("released"),
}
# Each takes one of our changes back or moves one default. They have one encoder, so that an effect is not averaged
# away, and are compared with `spotscape_one`.
ABLATIONS_SPOTSCAPE = {
    "spotscape_one": spotscape(n_encoders=1),
    "logarithm": spotscape(n_encoders=1, linear_scale=False),
    "components_of_single_spots": spotscape(n_encoders=1, spatial_components=False),
    "standardised": spotscape(n_encoders=1, dispersion=0.0),
    "pearson": spotscape(n_encoders=1, dispersion=1.0),
    "all_genes": spotscape(n_encoders=1, n_components=None),
    "components_50": spotscape(n_encoders=1, n_components=50),
    "not_whitened": spotscape(n_encoders=1, whitening=0.0),
    "half_whitened": spotscape(n_encoders=1, whitening=0.5),
    "all_axes": spotscape(n_encoders=1, n_axes=None),
    "latent_relu": spotscape(n_encoders=1, latent_relu=True),
    "epochs_100": spotscape(n_encoders=1, max_epochs=100),
    "no_telescope": spotscape(n_encoders=1, telescope_weight=0.0),
    "no_reconstruction": spotscape(n_encoders=1, reconstruction_weight=0.0),
    "paper_weights": spotscape(n_encoders=1, reconstruction_weight=0.1),
    "unit_length": spotscape(n_encoders=1, after=unit_length),
}
# These have one encoder as well, and are compared with `spacross_one`.
ABLATIONS_SPACROSS = {
    "spacross_one": spacross(n_encoders=1),
    "spacross_logarithm": spacross(n_encoders=1, linear_scale=False),
    "spacross_components_of_single_spots": spacross(n_encoders=1, spatial_components=False),
    "spacross_dispersion": spacross(n_encoders=1, dispersion=0.5),
    "spacross_quarter_whitened": spacross(n_encoders=1, whitening=0.25),
    "spacross_all_axes": spacross(n_encoders=1, n_axes=None),
    "spacross_components_200": spacross(n_encoders=1, n_components=200),
    "spacross_mask_0.5": spacross(n_encoders=1, mask_rate=0.5),
    "spacross_no_reconstruction": spacross(n_encoders=1, reconstruction_weight=0.0),
    "spacross_no_consistency": spacross(n_encoders=1, consistency_weight=0.0),
    "spacross_no_contrast": spacross(n_encoders=1, contrast_weight=0.0),
    "spacross_quorum_any": spacross(n_encoders=1, quorum=1),
    "spacross_no_quorum": spacross(n_encoders=1, quorum=0),
    "spacross_pairing_all": spacross(n_encoders=1, pairing="all"),
    "spacross_momentum_0.9": spacross(n_encoders=1, target_momentum=0.9),
    "spacross_momentum_0.99": spacross(n_encoders=1, target_momentum=0.99),
    "spacross_no_clip": spacross(n_encoders=1, clip=None),
}

# What else was tried to bring SpaCross past the floor; with all encoders, and compared with `spacross`.
SEARCH_SPACROSS = {
    "spacross4_one_cycle": spacross(schedule="one_cycle"),
    "spacross4_one_cycle_lr_3e-3": spacross(schedule="one_cycle", lr=3e-3),
    "spacross4_epochs_100": spacross(max_epochs=100),
    "spacross4_epochs_600": spacross(max_epochs=600),
    "spacross4_momentum_0.99": spacross(target_momentum=0.99),
    "spacross4_mask_0.5": spacross(mask_rate=0.5),
    "spacross4_no_dropout": spacross(dropout=0.0),
    "spacross4_no_clip": spacross(clip=None),
    "spacross4_components_50": spacross(n_components=50),
    "spacross4_dispersion": spacross(dispersion=0.5),
    "spacross4_dispersion_components_15": spacross(dispersion=0.5, n_components=15),
    "spacross4_dispersion_one_cycle": spacross(dispersion=0.5, schedule="one_cycle"),
    "spacross4_latent_32": spacross(latent_size=32),
    "spacross4_wide": spacross(latent_size=64, hidden_size=256, feature_size=128),
    "spacross4_wide_one_cycle": spacross(latent_size=64, hidden_size=256, feature_size=128, schedule="one_cycle"),
    "spacross4_consistency_0.1": spacross(consistency_weight=0.1),
    "spacross4_no_consistency": spacross(consistency_weight=0.0),
    "spacross4_no_contrast": spacross(contrast_weight=0.0),
    "spacross4_only_reconstruction": spacross(consistency_weight=0.0, contrast_weight=0.0),
    "spacross4_only_consistency": spacross(reconstruction_weight=0.0, contrast_weight=0.0),
}

# The defaults for several slices until four encoders of 100 epochs took their place.
ONE_JOINTLY = {
    "spotscape_one_300": spotscape(n_encoders=1, max_epochs=300),
    "spacross_one_300": spacross(n_encoders=1, max_epochs=300),
}

# Shares below one; doubled past it they go half of the way instead.
RATES = {"edge_drop", "feature_drop", "dropout", "mask_rate", "replace_rate", "prototype_warmup", "target_momentum"}
LOWEST = {"n_prototypes": 2, "n_clusters": 2}
# The first is without effect unless training may stop early, the second as statistics are set anew after training.
WITHOUT_EFFECT = {"min_delta"}
# Fields that the objectives between slices read, or that nothing reads on tissue of a few thousand spots.
SEVERAL_ONLY = {
    "scaling_weight",
    "scaling_neighbors",
    "scaling_spots",
    "prototype_weight",
    "prototype_temperature",
    "n_prototypes",
    "prototype_warmup",
    "contrast_spots",
}


def moved(config: Config, name: str, factor: float) -> float:
    """A field times a factor, within what the field may be."""
    value = getattr(config, name)
    if isinstance(value, int):
        highest = {"quorum": config.n_clusterings} if isinstance(config, SpaCrossConfig) else {}
        lowest = {"n_clusterings": config.quorum} if isinstance(config, SpaCrossConfig) else {}
        low, high = {**LOWEST, **lowest}.get(name, 1), highest.get(name, float("inf"))
        return int(min(high, max(low, int(value * factor))))
    if name in RATES and value * factor >= 1:
        return round((1 + value) / 2, 6)
    return float(f"{value * factor:.6g}")


def robustness(method: str) -> dict[str, Setting]:
    """Every number of the default halved and doubled; where that cannot be, the name says what it became."""
    config = PRESETS[method, "default"][False]()
    found = {}
    for one in dataclasses.fields(config):
        value = getattr(config, one.name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not value or one.name in WITHOUT_EFFECT:
            continue
        for factor, sign in ((0.5, "/2"), (2.0, "*2")):
            new = moved(config, one.name, factor)
            if new == value:
                continue
            exact = np.isclose(new, value * factor)
            name = f"{method}*{one.name}{sign if exact else f'={new:g}'}"
            found[name] = _encoder(method, factor=(one.name, factor)) if exact else _encoder(method, **{one.name: new})
    return found


ROBUSTNESS = {**robustness("spotscape"), **robustness("spacross")}
SETTINGS = {
    **FLOORS,
    **LINEAR,
    **DEFAULTS,
    **PUBLISHED,
    **ABLATIONS_SPOTSCAPE,
    **ABLATIONS_SPACROSS,
    **SEARCH_SPACROSS,
    **ONE_JOINTLY,
    **ROBUSTNESS,
}
GROUPS = {
    "floors": tuple(FLOORS),
    "linear": tuple(LINEAR),
    "defaults": tuple(DEFAULTS),
    "published": tuple(PUBLISHED),
    "ablations": (*ABLATIONS_SPOTSCAPE, *ABLATIONS_SPACROSS),
    "search": tuple(SEARCH_SPACROSS),
    "one_jointly": tuple(ONE_JOINTLY),
    "robustness": tuple(ROBUSTNESS),
}


def expand(names: list[str]) -> list[str]:
    """Names with groups replaced by their members; unknown ones are refused."""
    found = list(dict.fromkeys(member for name in names for member in GROUPS.get(name, (name,))))
    unknown = [name for name in found if name not in SETTINGS]
    if unknown:
        msg = f"no methods {unknown}; groups are {', '.join(GROUPS)}, and there are {', '.join(SETTINGS)}."
        raise SystemExit(msg)
    return found
