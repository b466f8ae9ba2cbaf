"""``spotscape run``: what it writes is what its plan says, and what goes wrong is one line and a status."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import anndata as ad
import matplotlib.image
import numpy as np
import pytest

import spotscape as sp
from spotscape.cli import main
from spotscape.cli._options import read_options

if TYPE_CHECKING:
    from pathlib import Path

KMEANS = "method = 'kmeans'\n"
QUICK = ("--method=smoothed-pca", "--n-domains=3", "--quiet")


@pytest.fixture(scope="module")
def tissue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tissue") / "my <tissue>.h5ad"
    sp.datasets.simulate_tissue(n_spots=300, n_genes=60, n_domains=3, random_state=0).write_h5ad(path)
    return path


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slices") / "slices.h5ad"
    adata = sp.datasets.simulate_tissue(n_spots=250, n_genes=60, n_domains=3, n_slices=2, random_state=0)
    # As most files of the field have it.
    adata.obs["slice"] = adata.obs["slice"].astype(str)
    adata.write_h5ad(path)
    return path


def test_what_no_file_can_hold_is_said_before_the_analysis(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    adata = sp.datasets.simulate_tissue(n_spots=60, n_genes=20, n_domains=3, random_state=0)
    adata.uns["made"] = adata.obs["made"] = [object()] * 60
    monkeypatch.setattr(ad, "read_h5ad", lambda path: adata)
    (tmp_path / "a.h5ad").touch()
    assert main(["run", str(tmp_path / "a.h5ad"), str(tmp_path / "b.h5ad"), *QUICK]) == 1
    assert "adata.obs cannot be written to a file" in capsys.readouterr().err
    assert "X_smoothed_pca" not in adata.obsm
    del adata.obs["made"]
    assert main(["run", str(tmp_path / "a.h5ad"), str(tmp_path / "b.h5ad"), *QUICK]) == 1
    assert "adata.uns cannot be written to a file" in capsys.readouterr().err


def test_names_that_seuratdisk_leaves_in_tables_do_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adata = sp.datasets.simulate_tissue(n_spots=60, n_genes=20, n_domains=3, random_state=0)
    adata.var["_index"] = adata.var_names
    adata.raw = adata.copy()
    adata.obs["_index"] = adata.obs_names
    monkeypatch.setattr("anndata.read_h5ad", lambda path: adata)
    (tmp_path / "a.h5ad").touch()
    assert main(["run", str(tmp_path / "a.h5ad"), str(tmp_path / "b.h5ad"), *QUICK]) == 0


def test_slices_named_by_numbers_are_called_as_in_python(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adata = sp.datasets.simulate_tissue(n_spots=50, n_genes=20, n_domains=3, n_slices=2, random_state=0)
    adata.obs["slice"] = [2.0 if one == adata.obs["slice"].iloc[0] else 10.0 for one in adata.obs["slice"]]
    adata.write_h5ad(tmp_path / "a.h5ad")
    assert main(["info", "--json", str(tmp_path / "a.h5ad")]) == 0
    assert list(json.loads(capsys.readouterr().out)["slice_sizes"]) == ["2", "10"]
    assert main(["run", str(tmp_path / "a.h5ad"), str(tmp_path / "b.h5ad"), *QUICK]) == 0
    assert list(ad.read_h5ad(tmp_path / "b.h5ad").obs["slice"].cat.categories) == ["2", "10"]
    adata.obs["slice"] = np.random.default_rng(0).random(len(adata))
    adata.write_h5ad(tmp_path / "a.h5ad")
    assert main(["info", "--json", str(tmp_path / "a.h5ad"), "--slices=slice"]) == 1
    assert "different numbers; expected the name of a slice" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:the number chosen")
def test_the_plan_is_what_is_done(tissue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "out.h5ad"
    config = tmp_path / "config.toml"
    tables = f"[choose_n_domains]\nk_range = [2, 3]\nn_resamples = 3\n{KMEANS}[consensus_domains]\n{KMEANS}"
    config.write_text(tables, encoding="utf-8")
    words = [str(tissue), "--max-epochs=3", "--seed=4", "--restarts=2", f"--config={config}"]
    assert main(["info", "--json", *words]) == 0
    steps = json.loads(capsys.readouterr().out)["steps"]
    assert main(["run", words[0], str(out), *words[1:]]) == 0
    space: dict[str, Any] = {"sp": sp}
    exec("\n".join(steps), space)  # the lines of the plan are Python, for a notebook
    adata, found = space["adata"], ad.read_h5ad(out)
    np.testing.assert_array_equal(found.obs["consensus_domain"], adata.obs["consensus_domain"])
    np.testing.assert_array_equal(found.obsm["X_spotscape"], adata.obsm["X_spotscape"])
    assert found.uns["consensus_domain"]["params"]["use_reps"].tolist() == ["X_spotscape", "X_spotscape_1"]
    log = out.with_suffix(".log").read_text(encoding="utf-8")
    assert re.search(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d INFO Training Spotscape on 300 spots", log, flags=re.MULTILINE)
    assert list(out.parent.glob("*partial*")) == []


def test_several_slices_registered(slices: Path, tmp_path: Path) -> None:
    out, page = tmp_path / "out.h5ad", tmp_path / "page.html"
    assert main(["run", str(slices), str(out), "--register", *QUICK, f"--report={page}"]) == 0
    adata = ad.read_h5ad(out)
    assert adata.uns["spotscape_markers"]["params"]["method"] == "pseudobulk"
    assert adata.obsm["spatial_aligned"].shape == (500, 2)
    text = page.read_text(encoding="utf-8")
    assert "<h3>Registration</h3>" in text
    assert all(f'<td class="name">{name}</td>' in text for name in set(adata.obs["slice"]))


@pytest.mark.slow
def test_spatialdata_in_and_out(slices: Path, tmp_path: Path) -> None:
    import spatialdata as sd

    made, moved, table = tmp_path / "made.zarr", tmp_path / "moved.zarr", tmp_path / "table.h5ad"
    quick = [*QUICK, "--no-markers"]
    assert main(["run", str(slices), str(made), *quick]) == 0
    assert sd.read_zarr(made)["table"].obs["smoothed_pca_domain"].nunique() == 3
    # Raw counts are not in X any more, but where `prepare` keeps them.
    again = [str(made), "--layer=counts", "--register", *quick, "--slices=region", "--overwrite"]
    assert main(["run", again[0], str(moved), *again[1:]]) == 0
    assert main(["run", again[0], str(table), *again[1:]]) == 0
    sdata, adata = sd.read_zarr(moved), ad.read_h5ad(table)
    assert {"slice_1", "slice_2", "spatial_aligned"} == set(sdata.coordinate_systems)
    np.testing.assert_array_equal(sdata["table"].obsm["spatial_aligned"], adata.obsm["spatial_aligned"])
    np.testing.assert_array_equal(sdata["table"].obs["smoothed_pca_domain"], adata.obs["smoothed_pca_domain"])
    points = sd.get_centroids(sdata["slice_2_spots"], coordinate_system="spatial_aligned").compute()
    rows = (adata.obs["region"] == "slice_2_spots").to_numpy()
    np.testing.assert_allclose(points.loc[adata.obs["instance_id"][rows]], adata.obsm["spatial_aligned"][rows])


class Page(HTMLParser):
    """What a page refers to, the pictures in it, and its elements, each of which has to be closed."""

    def __init__(self) -> None:
        super().__init__()
        self.references: list[str] = []
        self.open: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]
        self.tags.add(tag)
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_report_holds_everything_that_it_shows(tissue: Path, tmp_path: Path) -> None:
    out, page = tmp_path / "out.h5ad", tmp_path / "page.html"
    words = [str(tissue), str(out), "--method=spotscape", "--max-epochs=3", "--quiet", f"--report={page}"]
    assert main(["run", *words]) == 0
    text = page.read_text(encoding="utf-8")
    parsed = Page()
    parsed.feed(text)
    assert parsed.open == []
    assert not {"script", "link", "iframe", "tissue"} & parsed.tags
    assert "my &lt;tissue&gt;.h5ad" in text
    assert "url(" not in text
    pictures = [reference.removeprefix("data:image/") for reference in parsed.references]
    assert [picture.partition(";")[0] for picture in pictures] == ["png", "png", "svg+xml", "svg+xml"]
    first = matplotlib.image.imread(io.BytesIO(base64.b64decode(pictures[0].partition(",")[2])))
    assert first.std() > 0.1
    adata = ad.read_h5ad(out)
    best = sp.get.markers_df(adata, n_genes=1)
    assert all(f'<span class="gene">{gene}</span>' in text for gene in best["gene"])
    sizes = adata.obs["spotscape_domain"].value_counts()
    assert all(f'<td class="num less">{size:,}</td>' in text for size in sizes)
    for said in ("seed", "--max-epochs=3", "sp.tl.spotscape(adata, max_epochs=3)", f"torch {sp_version('torch')}"):
        assert said in text


def test_the_report_names_genes_as_readers_do(tmp_path: Path) -> None:
    adata = sp.datasets.simulate_tissue(n_spots=300, n_genes=60, n_domains=3, difficulty=0.2, random_state=0)
    adata.var["feature_name"] = adata.var_names.str.upper()
    adata.var_names = [f"ENSMUSG{i:011}" for i in range(adata.n_vars)]
    adata.write_h5ad(tmp_path / "in.h5ad")
    page = tmp_path / "page.html"
    assert main(["run", str(tmp_path / "in.h5ad"), str(tmp_path / "out.h5ad"), *QUICK, f"--report={page}"]) == 0
    text = page.read_text(encoding="utf-8")
    assert '<span class="gene">GENE_' in text
    assert "ENSMUSG" not in text


def sp_version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


def test_a_report_alone_keeps_the_data_beside_it(
    tissue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, config = tmp_path / "new" / "page.html", tmp_path / "page.toml"
    config.write_text(f"report = {str(page)!r}\n", encoding="utf-8")
    words = [*QUICK[:2], "--no-markers"]
    assert main(["run", str(tissue), *words, f"--report={page}"]) == 0
    kept = page.with_name("page_domains.h5ad")
    assert ad.read_h5ad(kept).obs["smoothed_pca_domain"].nunique() == 3
    assert sorted(path.name for path in page.parent.iterdir()) == ["page.html", "page_domains.h5ad", "page_domains.log"]
    said = capsys.readouterr().err
    assert f"OUT is not given: the data are written to {kept}." in said
    # Once more, asked for by a file, it is not overwritten; and an OUT after options is still one.
    assert main(["run", str(tissue), *words, f"--config={config}"]) == 2
    assert "page_domains.h5ad exists; --overwrite replaces it" in capsys.readouterr().err
    assert read_options(["run", "in.h5ad", "--report", "r.html", "out.h5ad"]).output.name == "out.h5ad"
    assert main(["run", str(tissue), *words]) == 2
    assert "OUT is missing: name the .h5ad or .zarr to write, or ask for a page by --report" in capsys.readouterr().err


def test_markers_of_many_spots_are_not_ranked() -> None:
    from spotscape.cli._inspect import Description
    from spotscape.cli._plan import plan
    from spotscape.readers._read import Input

    options = read_options(["info", "a.h5ad"])
    known = dict.fromkeys(Description.__annotations__) | {"n_spots": 400_000}
    (markers,) = [step for step in plan(options, Input(None, "h5ad"), Description(**known)) if step.name == "markers"]
    assert str(markers) == "sp.tl.markers(adata, key='spotscape_domain', method='t-test', neighbors_key=None)"


def test_a_dry_run_writes_nothing(tissue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(tissue), str(tmp_path / "out.h5ad"), "--dry-run", "--n-domains=4"]) == 0
    said = capsys.readouterr().out
    assert "sp.tl.domains(adata, use_rep='X_spotscape', n_domains=4)" in said
    assert "300 spots × 60 genes" in said
    assert list(tmp_path.iterdir()) == []


CONFIGS = {
    "a.toml": 'method = "smoothed-pca"\nn-domains = 4\nno_markers = true\n[prepare]\nn_top_genes = 50\n',
    "a.yaml": "method: smoothed-pca\nn-domains: 4\nno_markers: true\nprepare:\n  n_top_genes: 50\n",
    "a.json": '{"method": "smoothed-pca", "n-domains": 4, "no_markers": true, "prepare": {"n_top_genes": 50}}',
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_configuration_file_says_the_same_and_the_command_line_has_the_last_word(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(CONFIGS[name], encoding="utf-8")
    options = read_options(["run", "in.h5ad", "out.h5ad", f"--config={path}", "--n-domains", "5"])
    assert (options.method, options.n_domains, options.no_markers) == ("smoothed-pca", 5, True)
    assert options.steps == {"prepare": {"n_top_genes": 50}}
    assert [path.name for path in (*options.inputs, options.output)] == ["in.h5ad", "out.h5ad"]


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["out.h5ad", "--method=k"], 2, "invalid choice: 'k'"),
        (["out.h5ad", "--n-domains=1"], 2, "neither 'auto' nor a whole number of at least 2"),
        (["out.csv"], 2, "it has to end in .h5ad (AnnData) or .zarr (SpatialData)"),
        (["there.h5ad"], 2, "there.h5ad exists; --overwrite replaces it"),
        (["in.h5ad"], 2, "OUT is the input"),
        (["out.h5ad", "--report=page.pdf"], 2, "has to end in .html"),
        (["out.h5ad", "--config=no.toml"], 1, "No such file"),
        (["out.h5ad", "--config=function.toml"], 2, "there is no function 'cluster'"),
        (["out.h5ad", "--config=argument.toml"], 2, "pp.prepare takes no argument 'genes'; it takes ["),
        (["out.h5ad", "--config=option.toml"], 2, "unrecognized arguments: --methods"),
        (["out.h5ad", "--slices=donor"], 1, "obs has no column 'donor' for --slices; it has slice, domain"),
        (["out.h5ad", "--layer=counts"], 1, "there is no layer 'counts' for --layer"),
        (["out.h5ad", "--register"], 2, "--register needs several slices; name their column by --slices"),
        (["out.h5ad", *QUICK, "--n-domains=400"], 1, "n_domains=400 is more than the 300 spots"),
    ],
)
def test_what_goes_wrong_is_one_line_and_a_status(  # noqa: PLR0917
    tissue: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    status: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    adata = ad.read_h5ad(tissue)
    for name in ("in.h5ad", "there.h5ad"):
        adata.write_h5ad(name)
    (tmp_path / "function.toml").write_text("[cluster]\na = 1\n", encoding="utf-8")
    (tmp_path / "argument.toml").write_text("[prepare]\ngenes = 1\n", encoding="utf-8")
    (tmp_path / "option.toml").write_text("methods = 'spacross'\n", encoding="utf-8")
    before = (tmp_path / "there.h5ad").read_bytes()
    assert main(["run", "in.h5ad", *words, "--quiet"]) == status
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("spotscape: ")
    assert said in lines[-1]
    assert not [line for line in lines if "Traceback" in line]
    assert not (tmp_path / "out.h5ad").exists()
    assert (tmp_path / "there.h5ad").read_bytes() == before


def test_an_interrupt_leaves_the_old_result(
    tissue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.h5ad"
    out.write_bytes(b"old")

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sp.tl, "domains", interrupt)
    assert main(["run", str(tissue), str(out), "--overwrite", *QUICK]) == 130
    assert out.read_bytes() == b"old"
    assert capsys.readouterr().err == "spotscape: interrupted; nothing was written.\n"


def test_domains_without_markers_are_a_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adata = sp.datasets.simulate_tissue(n_spots=20, n_genes=40, n_domains=2, random_state=0)
    adata.write_h5ad(tmp_path / "tiny.h5ad")
    out, page = tmp_path / "out.h5ad", tmp_path / "page.html"
    words = ["--method=smoothed-pca", "--n-domains=4", "--quiet", f"--report={page}"]
    assert main(["run", str(tmp_path / "tiny.h5ad"), str(out), *words]) == 0
    assert "WARNING No marker genes: no domain has 10 spots" in capsys.readouterr().err
    assert ad.read_h5ad(out).obs["smoothed_pca_domain"].nunique() == 4
    assert "No marker genes" in page.read_text(encoding="utf-8")


def test_a_dozen_spots_have_two_domains(tissue: Path, tmp_path: Path) -> None:
    few, out, report = (tmp_path / name for name in ("few.h5ad", "out.h5ad", "report.html"))
    ad.read_h5ad(tissue)[::25].copy().write_h5ad(few)
    assert main(["run", str(few), str(out), "--method=smoothed-pca", "--quiet", f"--report={report}"]) == 0
    assert ad.read_h5ad(out).obs["smoothed_pca_domain"].nunique() == 2
    assert "too few to choose a number by" in report.read_text(encoding="utf-8")


def test_debug_shows_where(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        main(["info", str(tmp_path / "no.h5ad"), "--debug"])


def test_the_log_is_as_before(tissue: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from spotscape._core.logging import logger

    before = (logger.level, logger.propagate, logger.handlers[:])
    assert main(["info", str(tissue)]) == 0
    capsys.readouterr()
    assert (logger.level, logger.propagate, logger.handlers[:]) == before


def test_it_is_a_module_and_quick_to_ask() -> None:
    run = subprocess.run([sys.executable, "-m", "spotscape", "--version"], capture_output=True, text=True, check=True)
    assert run.stdout == f"spotscape {sp.__version__}\n"
    code = (
        "import sys; from spotscape.cli import main; main(['run', 'a', 'b']); sys.stdout.write(','.join(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split(",")
    assert not {"torch", "scanpy", "squidpy", "anndata"} & set(loaded)
