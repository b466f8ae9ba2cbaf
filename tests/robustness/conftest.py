"""A tissue on which every public function runs, a call of each, and what a call with broken input may do.

It may succeed, with a finite result that a file can hold, or raise one of our own errors and leave the AnnData as it
was. Everything else is a failure: an error from inside another library, a changed AnnData, or no end.
"""

from __future__ import annotations

import copy
import linecache
import signal
import warnings
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import spotscape as sp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PACKAGE = str(Path(sp.__file__).parent)
LIMIT = 60
OURS = (KeyError, ValueError, TypeError, ImportError, OSError, RuntimeError)
# Python's own words on how a function is called are clear enough.
OF_PYTHON = ("unexpected keyword", "missing", "positional argument", "multiple values")
SLOTS = ("obs", "var", "obsm", "varm", "obsp", "layers", "uns")
COUNTS: Counter[str] = Counter()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many broken inputs were tried and what became of them."""
    if COUNTS:
        terminalreporter.section("broken input")
        terminalreporter.write_line(", ".join(f"{name}: {count:,}" for name, count in sorted(COUNTS.items())))


@pytest.fixture(scope="session")
def good() -> ad.AnnData:
    """Two slices of 60 spots with everything that any function reads."""
    with sp.settings.override(verbosity="error", progress_bar=False), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata = sp.datasets.simulate_tissue(
            n_slices=2, n_spots=64, n_genes=40, n_domains=3, difficulty=0.2, library_size=400
        )
        sp.pp.prepare(adata, n_top_genes=30, library_key="slice")
        sp.pp.spatial_neighbors_knn(adata, library_key="slice")
        sp.pp.choose_scale(adata, n_neighs=[4, 6, 8], library_key="slice")
        config = small(sp.models.SpotscapeConfig)
        sp.tl.spotscape(adata, config=config, library_key="slice", n_restarts=2)
        sp.tl.spacross(adata, config=small(sp.models.SpaCrossConfig), library_key="slice")
        sp.tl.smoothed_pca(adata, n_comps=5, n_axes=None, library_key="slice")
        sp.pp.register_slices(adata, library_key="slice", labels_key="domain")
        sp.pp.spatial_neighbors_3d(adata, library_key="slice", slice_gap=50.0, n_neighs=4)
        sp.tl.choose_n_domains(adata, use_rep="X_spotscape", k_range=(2, 4), n_resamples=2, method="kmeans")
        sp.tl.domains(adata, n_domains=3, use_rep="X_spotscape", method="kmeans", key_added="found")
        reps = ["X_spotscape", "X_spacross"]
        sp.tl.consensus_domains(adata, n_domains=3, use_reps=reps, method="kmeans", key_added="agreed")
        sp.tl.match_slices(adata, library_key="slice", reference="slice_1", use_rep="X_spotscape", labels_key="domain")
        sp.tl.markers(adata, key="domain", method="wilcoxon")
        sp.tl.trajectory(adata, root="Layer_1", key="domain", use_rep="X_spotscape", n_dcs=4)
    adata.obs["z"] = np.where(adata.obs["slice"] == "slice_1", 0.0, 9.0)
    adata.obs["half"] = pd.Categorical(np.where(np.arange(adata.n_obs) % 2, "a", "b"))
    return adata


def small(kind: type[Any]) -> Any:
    """Return a configuration that trains in an instant."""
    sizes = {"hidden_size": 8, "latent_size": 4, "n_encoders": 1, "n_comps": 5, "n_axes": 3, "max_epochs": 1}
    further = {"n_prototypes": 3} if kind is sp.models.SpotscapeConfig else {"feature_size": 4, "n_clusters": 3}
    return kind(**sizes, **further)


@pytest.fixture(scope="session")
def model(good: ad.AnnData) -> sp.models.Spotscape:
    with sp.settings.override(verbosity="error", progress_bar=False), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sp.tl.spotscape(good.copy(), config=small(sp.models.SpotscapeConfig), return_model=True)


@pytest.fixture(scope="session")
def calls(good: ad.AnnData, model: sp.models.Spotscape) -> dict[str, dict[str, Any]]:
    """The arguments of a call of every function on an AnnData that succeeds; ``adata`` itself left out."""
    slices: dict[str, Any] = {"library_key": "slice"}
    rep: dict[str, Any] = {"use_rep": "X_spotscape"}
    return {
        "pp.apply_registration": {"points": np.ones((3, 2)), "library": "slice_2"},
        "pp.choose_scale": {"n_neighs": [4, 6], **slices},
        "pp.prepare": {"layer": "counts", "n_top_genes": 20, **slices},
        "pp.register_slices": {"labels_key": "domain", **slices},
        "pp.spatial_neighbors_3d": {"slice_gap": 50.0, "n_neighs": 4, **slices},
        "pp.spatial_neighbors_delaunay": slices,
        "pp.spatial_neighbors_knn": slices,
        "pp.spatial_neighbors_radius": {"radius": 150.0, **slices},
        "tl.choose_n_domains": {"k_range": (2, 3), "n_resamples": 2, "method": "kmeans", **rep},
        "tl.consensus_domains": {"n_domains": 3, "use_reps": ["X_spotscape", "X_spacross"], "method": "kmeans"},
        "tl.domains": {"n_domains": 3, "method": "kmeans", **rep},
        "tl.embed": {"model": model},
        "tl.impute": {"genes": ["gene_1", "gene_2"], "n_comps": 4, **slices, **rep},
        "tl.integrate_slices": {"use_rep": "X_spotscape", "n_prototypes": 5, **slices},
        "tl.markers": {"key": "domain", "method": "wilcoxon"},
        "tl.match_slices": {"reference": "slice_1", "labels_key": "domain", **slices, **rep},
        "tl.refine_domains": {"key": "domain"},
        "tl.smoothed_pca": {"n_comps": 5, "n_axes": None, **slices},
        "tl.spacross": {"config": small(sp.models.SpaCrossConfig), **slices},
        "tl.spotscape": {"config": small(sp.models.SpotscapeConfig), **slices},
        "tl.trajectory": {"root": "Layer_1", "key": "domain", "n_dcs": 4, **rep},
        "tl.transfer_domains": {"reference": good, "labels_key": "domain", "key_added": "transferred", **rep},
        "pl.composition": {"key": "domain", **slices},
        "pl.confidence": {"key": "agreed"},
        "pl.crosstab": {"key": "found", "to": "domain"},
        "pl.disagreement": {"labelings": ["found", "domain"]},
        "pl.embedding": {"color": "domain", "basis": "X_spotscape"},
        "pl.explore": {"color": "domain", **slices},
        "pl.markers": {},
        "pl.similarity": {"anchors": 3, **rep},
        "pl.stack_3d": {"color": "domain", **slices},
        "pl.volume": {"color": "domain", **slices},
        "pl.domains": {"color": "domain", **slices},
        "pl.history": {"key": "spotscape"},
        "pl.match_colors": {"key": "found", "to": "domain"},
        "pl.matching": {},
        "pl.n_domains": {},
        "pl.registration": slices,
        "pl.scale": {},
        "pl.trajectory": slices,
        "get.markers_df": {},
        "get.matches_df": {},
    }


@dataclass
class Attempts:
    """Tries calls and collects what should not have happened."""

    folder: Path
    faults: list[str]
    results: int = 0

    def try_(self, what: str, function: Callable[..., Any], adata: Any, kwargs: dict[str, Any]) -> None:
        """Call ``function`` and judge what comes of it."""
        given = () if adata is None else (adata,)
        before = snapshot(adata) if isinstance(adata, ad.AnnData) else None
        try:
            with limited():
                result = function(*given, **kwargs)
        except Hang:
            self.faults.append(f"{what}: no end within {LIMIT} s")
        except OURS as error:
            COUNTS["clear errors"] += 1
            if not is_ours(error):
                self.faults.append(f"{what}: raw {type(error).__name__}: {short(error)} {place(error)}")
            if before is not None and (changed := differences(before, snapshot(adata))):
                self.faults.append(f"{what}: failed, and changed {changed}")
        except Exception as error:  # noqa: BLE001 - every other kind is a fault, whatever it is
            self.faults.append(f"{what}: {type(error).__name__}: {short(error)} {place(error)}")
        else:
            COUNTS["results"] += 1
            self.results += 1
            for found in (result, adata):
                if problem := self._problem(found, before if found is adata else None, function.__doc__ or ""):
                    self.faults.append(f"{what}: {problem}")

    def conclude(self) -> None:
        """Fail with all that was found."""
        COUNTS["faults"] += len(self.faults)
        if self.faults:
            pytest.fail(f"{len(self.faults)} faults\n" + "\n".join(self.faults), pytrace=False)

    def _problem(self, found: Any, before: dict[str, Any] | None, documentation: str) -> str | None:
        if isinstance(found, ad.AnnData):
            new = {
                place: value for place, value in snapshot(found).items() if not same(value, (before or {}).get(place))
            }
            broken = [place for place, value in new.items() if is_broken(place, value)]
            return f"not finite: {broken}" if broken else self._unwritable(found, new)
        if isinstance(found, (float, np.ndarray)):
            numbers = np.asarray(found, dtype=float)
            if np.isinf(numbers).any() or (np.isnan(numbers).any() and "NaN" not in documentation):
                return f"not finite: {short(found)}"
        return None

    def _unwritable(self, adata: ad.AnnData, new: dict[str, Any]) -> str | None:
        """Why a file cannot hold the new entries, put by themselves into an AnnData of the same spots."""
        names = adata.obs_names.astype(str) if adata.obs_names.is_unique else map(str, range(adata.n_obs))
        bare = ad.AnnData(obs=pd.DataFrame(index=pd.Index(list(names), dtype=object)))
        for (slot, key), value in new.items():
            if slot in {"obs", "obsm", "obsp", "uns"} and key:
                indexed = slot == "obsm" and isinstance(value, pd.DataFrame)
                here = value.set_axis(bare.obs_names) if indexed else value
                getattr(bare, slot)[key] = value.array if slot == "obs" else here
        try:
            bare.write_h5ad(self.folder / "result.h5ad")
        except Exception as error:  # noqa: BLE001 - whatever the reason is
            return f"cannot be written: {short(error)}"
        return None


@pytest.fixture
def attempts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Attempts]:
    """Collect the faults of many calls; some take a word for a file and write it where they run."""
    monkeypatch.chdir(tmp_path)
    found = Attempts(tmp_path, [])
    with sp.settings.override(verbosity="error"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield found


class Hang(BaseException):
    """A call that takes too long; no ``except Exception`` stops it."""


@contextmanager
def limited() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def is_ours(error: BaseException) -> bool:
    """Whether a statement of the package raised it, or Python refused the call itself."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or not trace.tb_frame.f_code.co_filename.startswith(PACKAGE):
        return False
    line = linecache.getline(trace.tb_frame.f_code.co_filename, trace.tb_lineno).strip()
    return line.startswith("raise ") or any(words in str(error) for words in OF_PYTHON)


def place(error: BaseException) -> str:
    """Where the package called what failed."""
    found, trace = "", error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if name.startswith(PACKAGE):
            found = f"({name.removeprefix(PACKAGE)[1:]}:{trace.tb_lineno})"
        trace = trace.tb_next
    return found


def short(value: object) -> str:
    return " ".join(str(value).split())[:160]


def snapshot(adata: ad.AnnData) -> dict[tuple[str, str], Any]:
    """All that an AnnData holds, by slot and key; what is in a file stays there."""
    found: dict[tuple[str, str], Any] = {("view", ""): adata.is_view}
    if not adata.isbacked:
        found["X", ""] = copy.copy(adata.X)
    for slot in SLOTS if not adata.isbacked else ("obs", "var", "uns"):
        entries = getattr(adata, slot)
        if isinstance(entries, pd.DataFrame):
            found |= {
                (slot, f"{name}#{i}" if entries.columns.duplicated().any() else name): entries.iloc[:, i].copy()
                for i, name in enumerate(entries.columns)
            }
            found[slot, ""] = entries.index.copy()
        else:
            found |= {
                (slot, key): copy.deepcopy(dict(value) if slot == "uns" and hasattr(value, "keys") else value)
                for key, value in entries.items()
            }
    return found


def differences(before: dict[tuple[str, str], Any], after: dict[tuple[str, str], Any]) -> list[tuple[str, str]]:
    return [key for key in before.keys() | after.keys() if not same(before.get(key), after.get(key))]


def same(a: Any, b: Any) -> bool:  # noqa: PLR0911 - a case for each container
    """Whether two values are the same, type and all."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, (pd.DataFrame, pd.Series, pd.Index)):
        return a.equals(b) and getattr(a, "dtype", None) == getattr(b, "dtype", None)
    if sparse.issparse(a):
        return a.shape == b.shape and a.dtype == b.dtype and same(a.data, b.data) and same(a.indices, b.indices)
    if isinstance(a, np.ndarray):
        if a.shape != b.shape or a.dtype != b.dtype:
            return False
        if a.dtype == object:
            return repr(a.tolist()) == repr(b.tolist())
        return bool(np.array_equal(a, b, equal_nan=a.dtype.kind in "fc"))
    return a is b or repr(a) == repr(b)


def is_broken(place: tuple[str, str], value: Any) -> bool:
    """Whether a result has values that are not numbers; in some, such as matches, missing ones have a meaning."""
    slot, _ = place
    data = value.data if sparse.issparse(value) else value
    if isinstance(data, float) or getattr(getattr(data, "dtype", None), "kind", "") == "f":
        numbers = np.asarray(data, dtype=float)
        if slot in {"obsm", "obsp"}:
            return not np.isfinite(numbers).all()
        return bool(np.isinf(numbers).any())
    return False
