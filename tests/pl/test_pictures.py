"""Every plot saved by a script, as a user writes one: something is on it, and it looks as it did.

After a change that is meant, look at the new pictures and keep them:
``python tests/pl/draw_all.py FOLDER --thumbnails``.
"""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import spotscape as sp

SCRIPT = Path(__file__).with_name("draw_all.py")
PICTURES, thumbnail, draw_all = (runpy.run_path(str(SCRIPT))[name] for name in ("PICTURES", "thumbnail", "main"))
NAMES = sorted(path.stem for path in PICTURES.glob("*.png"))
# What fonts and versions of matplotlib may move, on coarse pictures: so much of all that is drawn.
TOLERANCE = 0.3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures of the script."""
    folder = tmp_path_factory.mktemp("pictures")
    with sp.settings.override(verbosity="warning", progress_bar=False, device="cpu"):
        draw_all(folder)
    return folder


def stored(name: str) -> np.ndarray:
    with Image.open(PICTURES / f"{name}.png") as picture:
        return np.asarray(picture.convert("RGB")) / 255


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """How much two coarse pictures differ, as a share of what is drawn on the second."""
    if abs(one.shape[0] - other.shape[0]) > 2:
        return 1.0
    height = min(one.shape[0], other.shape[0])
    return float(np.abs(one[:height] - other[:height]).sum() / (1 - other[:height]).sum())


def test_the_script_saves_every_plot(folder: Path) -> None:
    assert sorted(path.stem for path in folder.glob("*.png")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_something_is_on_it(folder: Path, name: str) -> None:
    with Image.open(folder / f"{name}.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert (pixels != 255).any(axis=2).mean() > 0.02
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20


@pytest.mark.parametrize("name", NAMES)
def test_it_looks_as_it_did(folder: Path, name: str) -> None:
    assert difference(thumbnail(folder / f"{name}.png"), stored(name)) < TOLERANCE


def test_the_comparison_sees_other_pictures() -> None:
    """Emptied, turned over, in other colours, or of another plot: none would pass."""
    domains = stored("domains")
    changed = [np.ones_like(domains), domains[:, ::-1], domains[..., ::-1], stored("genes")]
    assert [difference(one, domains) > TOLERANCE for one in changed] == [True] * 4
    lines = stored("n_domains")
    assert difference(np.ones_like(lines), lines) > TOLERANCE < difference(lines[:, ::-1], lines)
