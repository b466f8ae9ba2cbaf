"""Settings, records, writing, devices and randomness."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch

import spotscape as sp
from spotscape._core.anndata_io import record, to_uns, write
from spotscape._core.genes import column_of_symbols
from spotscape._core.randomness import RandomSource
from spotscape._core.settings import resolve_device


class TestSettings:
    def test_override_puts_back_even_after_an_error(self) -> None:
        before = repr(sp.settings)
        seen = []

        def fail() -> None:
            with sp.settings.override(verbosity="error", n_jobs=2):
                seen.append((sp.settings.verbosity, sp.settings.n_jobs))
                raise RuntimeError

        with pytest.raises(RuntimeError):
            fail()
        assert seen == [("error", 2)]
        assert repr(sp.settings) == before

    @pytest.mark.parametrize(
        ("name", "value", "error", "message"),
        [
            ("verbosity", "loud", ValueError, "verbosity='loud' is not one of"),
            ("verbosity", 5, ValueError, "nor a number from 0 to 4"),
            ("n_jobs", 0, ValueError, "n_jobs=0 is neither a positive number of threads nor -1"),
            ("n_jobs", -2, ValueError, "n_jobs=-2 is neither"),
            ("colour", "red", AttributeError, r"unknown settings \['colour'\]; there are \['verbosity'"),
        ],
    )
    def test_refusals(self, name: str, value: object, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message), sp.settings.override(**{name: value}):
            pass

    @pytest.mark.parametrize(("value", "name"), [(0, "error"), (2, "info"), (3, "debug"), ("hint", "debug")])
    def test_verbosity_as_scanpy_has_it(self, value: object, name: str) -> None:
        with sp.settings.override(verbosity=value):
            assert sp.settings.verbosity == name

    def test_environment(self) -> None:
        names = ("verbosity", "progress_bar", "device", "n_jobs")
        code = f"import json, spotscape as sp; print(json.dumps([getattr(sp.settings, n) for n in {names}]))"
        wanted = {"VERBOSITY": "error", "PROGRESS_BAR": "no", "DEVICE": "cpu", "N_JOBS": "3"}
        environment = os.environ | {f"SPOTSCAPE_{name}": value for name, value in wanted.items()}
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
        assert json.loads(run.stdout) == ["error", False, "cpu", 3]

    def test_messages_go_to_stderr_until_logging_is_configured(self) -> None:
        said = "import spotscape._core.logging as l; l.logger.info('hello')"
        configured = "import logging, sys; logging.basicConfig(level=20, stream=sys.stdout)\n"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SPOTSCAPE_")}
        for code, out, err in (
            (f"import spotscape\n{said}", "", "INFO hello\n"),
            (f"{configured}import spotscape\n{said}", "INFO:spotscape:hello\n", ""),
        ):
            run = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
            )
            assert (run.stdout, run.stderr) == (out, err)


def test_to_uns() -> None:
    given = {1: (1, 2.5), "path": PurePosixPath("a/b"), "type": np.dtype("f4"), "number": np.float32(2), "no": None}
    assert to_uns(given) == {"1": [1, 2.5], "path": "a/b", "type": "float32", "number": 2.0}
    assert to_uns(torch.device("cpu")) == "cpu"


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data")
def test_records_can_be_written(tmp_path: Path) -> None:
    adata = ad.AnnData(np.ones((3, 2), dtype=np.float32))
    write(adata, {"uns": {"method": record({"radius": (0, 5), "layer": None}, history={"loss": np.arange(3.0)})}})
    adata.write_h5ad(tmp_path / "a.h5ad")
    adata.write_zarr(tmp_path / "a.zarr")
    for back in (ad.read_h5ad(tmp_path / "a.h5ad"), ad.read_zarr(tmp_path / "a.zarr")):
        assert list(back.uns["method"]["params"]["radius"]) == [0, 5]
        np.testing.assert_array_equal(back.uns["method"]["history"]["loss"], [0, 1, 2])


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ({"obsm": {"X_a": np.ones((3, 1))}, "obs": {"b": np.ones(2)}}, r"obs\['b'\] has 2 rows for 3"),
        ({"obsm": {"X_a": np.ones((3, 1))}, "nowhere": {"b": 1}}, "'nowhere' is not a slot"),
    ],
)
def test_half_a_result_is_never_written(results: dict[str, dict[str, object]], message: str) -> None:
    adata = ad.AnnData(np.ones((3, 2), dtype=np.float32))
    with pytest.raises(AssertionError, match=message):
        write(adata, results)
    assert "X_a" not in adata.obsm


class _Interrupting(dict):  # type: ignore[type-arg]
    """A record on which the user presses Ctrl-C while it is copied."""

    def items(self) -> Any:
        raise KeyboardInterrupt


def test_an_interrupted_write_leaves_what_was_there() -> None:
    adata = ad.AnnData(np.ones((3, 2), dtype=np.float32), obsm={"X_a": np.zeros((3, 1))})
    adata.obs["old"] = [1, 2, 3]
    results = {"obsm": {"X_a": np.ones((3, 1)), "X_b": np.ones((3, 1))}, "uns": {"a": _Interrupting()}}
    with pytest.raises(KeyboardInterrupt):
        write(adata, results, outdated=[("obs", "old")])
    assert adata.obsm["X_a"].max() == 0
    assert set(adata.obsm) == {"X_a"}
    assert not adata.uns
    write(adata, {"obsm": results["obsm"]}, outdated=[("obs", "old"), ("obs", "never")])
    assert list(adata.obs) == []
    assert set(adata.obsm) == {"X_a", "X_b"}


class TestDevice:
    def test_choices(self) -> None:
        assert resolve_device("cpu") == torch.device("cpu")
        assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
        with sp.settings.override(device="cpu"):
            assert resolve_device(None) == torch.device("cpu")

    @pytest.mark.parametrize("device", ["mps", "meta", "xla:0", torch.device("mps"), "tpu", ""])
    def test_devices_that_cannot_run_the_encoders(self, device: str | torch.device) -> None:
        with pytest.raises(ValueError, match="is not a device; use 'auto', 'cpu', 'cuda' or 'cuda:<number>'"):
            resolve_device(device)

    def test_a_card_that_is_not_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        with pytest.raises(ValueError, match=r"device='cuda:2' does not exist; torch sees 2 GPU\(s\), numbered from 0"):
            resolve_device("cuda:2")


def test_streams_are_independent_and_repeatable() -> None:
    first, again = RandomSource(3), RandomSource(3)
    draws = [source.torch("views").initial_seed() for source in (first, again, RandomSource(4))]
    assert draws[0] == draws[1] != draws[2]
    assert first.integer("weights 0") != first.integer("weights 1")
    np.testing.assert_array_equal(first.numpy("a").random(3), again.numpy("a").random(3))


@pytest.mark.parametrize(
    ("slot", "value"),
    [
        ("obsm", np.array([[1.0], [np.nan]])),
        ("obs", np.array([1.0, np.inf])),
        ("obsp", np.array([[0, np.nan], [1, 0]])),
    ],
)
def test_results_that_are_not_finite_are_not_written(slot: str, value: np.ndarray) -> None:
    adata = ad.AnnData(np.ones((2, 1)))
    with pytest.raises(ValueError, match=r"the result for adata\..*'new'.* is not finite, so nothing was written"):
        write(adata, {"uns": {"new": {"a": 1}}, slot: {"new": value}})
    assert "new" not in adata.uns


def test_missing_values_that_have_a_meaning_are_written() -> None:
    adata = ad.AnnData(np.ones((2, 1)))
    write(adata, {"obs": {"time": np.array([0.0, np.nan])}})
    assert np.isnan(adata.obs["time"].iloc[1])


def test_the_matrix_is_put_back_when_the_writing_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    adata = ad.AnnData(np.zeros((2, 1), np.float32))

    matrix = ad.AnnData.X

    def stop(self: ad.AnnData, value: np.ndarray) -> None:
        matrix.fset(self, value)
        if value.any():
            raise KeyboardInterrupt

    monkeypatch.setattr(ad.AnnData, "X", property(matrix.fget, stop))
    with pytest.raises(KeyboardInterrupt):
        write(adata, {"var": {"new": [1.0]}, "X": {"": np.ones((2, 1), np.float32)}})
    assert "new" not in adata.var
    assert not adata.X.any()


@pytest.mark.parametrize(
    ("column", "is_symbol"),
    [
        ("feature_name", True),
        ("real_gene_name", True),
        ("external_gene_name", True),
        ("gene_short_name", True),
        ("SYMBOL", True),
        ("gene.name", True),
        ("gene_ids", False),
        ("filename", False),
        ("name_of_panel", False),
    ],
)
def test_the_column_of_symbols_is_known_by_its_name(column: str, is_symbol: bool) -> None:
    var = pd.DataFrame({column: ["PCP4", "MBP"]}, index=["ENSG00000183036", "ENSMUSG00000197971"])
    assert column_of_symbols(var) == (column if is_symbol else None)
