"""The code of README and documentation runs as a reader would run it: every block, in order, in one session a page."""

from __future__ import annotations

import importlib.util
import inspect
import re
import shlex
import shutil
import sys
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import h5py
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import spatialdata as sd

import spotscape as sp
from spotscape.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[1]
Names = dict[str, Any]
_spec = importlib.util.spec_from_file_location("cli_folders", Path(__file__).parent / "cli" / "folders.py")
folders = importlib.util.module_from_spec(_spec)
sys.modules["cli_folders"] = folders
_spec.loader.exec_module(folders)


def fresh(make: Callable[..., ad.AnnData]) -> Callable[..., ad.AnnData]:
    """Make each tissue once, and return a copy of it: a page may do with it what it likes."""
    once = cache(make)
    return lambda *slices: once(*slices).copy()


@fresh
def tissue(*slices: str) -> ad.AnnData:
    """Return a small tissue with names of genes and slices that the pages use."""
    adata = sp.datasets.simulate_tissue(
        n_spots=130, n_genes=60, n_domains=4, n_slices=len(slices) or 1, difficulty=0.3, random_state=0
    )
    adata.var_names = ["PLP1", "PCP4", "MOBP", *adata.var_names[3:]]
    adata.var["gene_symbols"] = adata.var_names
    if slices:
        adata.obs["slice"] = adata.obs["slice"].cat.rename_categories(list(slices))
    return adata


@fresh
def prepared(*slices: str) -> ad.AnnData:
    adata = tissue(*slices)
    library = "slice" if slices else None
    sp.pp.prepare(adata, library_key=library)
    sp.pp.spatial_neighbors_knn(adata, library_key=library)
    return adata


@fresh
def analysed(*slices: str) -> ad.AnnData:
    adata = prepared(*slices)
    sp.tl.spotscape(adata, library_key="slice" if slices else None)
    sp.tl.domains(adata, n_domains=5)
    return adata


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str = "python") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text(page), flags=re.DOTALL)


def calls_between_backticks(page: str) -> list[str]:
    """Return the calls and assignments of the text outside blocks, but those that are cut short."""
    prose = re.sub(r"```.*?```", "", text(page), flags=re.DOTALL)
    code = re.findall(r"`((?:sp|sc|ad|adata|model)\.[^`\n]*[=(][^`\n]*)`", prose)
    return [line for line in code if "..." not in line]


# What a page takes for granted: the names that each block uses and the page has not made, and those of its sentences.


def readme() -> Iterator[Names]:
    yield {}
    folders.visium(Path("outs"), tissue(), layout="new")
    yield {}
    new_slice = tissue()
    sp.pp.prepare(new_slice)
    yield {"new_slice": new_slice, "adata": analysed()}
    yield {"adata": tissue("a", "b")}
    yield {}


def index() -> Iterator[Names]:
    yield {}


def api() -> Iterator[Names]:
    yield {}
    adata = analysed()
    yield {"adata": adata, "labels_true": adata.obs["domain"], "labels_pred": adata.obs["spotscape_domain"]}
    yield {}


def faq() -> Iterator[Names]:
    adata = analysed()
    for _ in range(3):
        yield {"adata": adata}
    sp.tl.smoothed_pca(adata)
    sp.tl.domains(adata, n_domains=3, use_rep="X_smoothed_pca")
    adata.obs["fov"] = np.repeat(["1", "2"], adata.n_obs // 2)
    adata.obs["cell_type"] = adata.obs["domain"]
    yield {"model": sp.tl.spotscape(adata, return_model=True)}


def guide_confidence() -> Iterator[Names]:
    yield {"adata": prepared()}
    yield {"adata": analysed()}


def guide_domains() -> Iterator[Names]:
    sp.pp.prepare(adata := tissue())
    yield {"adata": adata}
    yield {}


def guide_imputation() -> Iterator[Names]:
    sp.pp.spatial_neighbors_knn(adata := tissue())
    yield {"adata": adata}
    yield {"adata": prepared("slice_1", "slice_2")}
    both = analysed("one", "two")
    reference, query = (both[both.obs["slice"] == name] for name in ("one", "two"))
    yield {"reference": reference.copy(), "query": query[:, 1:].copy()}


def guide_markers() -> Iterator[Names]:
    yield {"adata": analysed()}
    adata = analysed("1", "2", "3", "4")
    adata.obs["diagnosis"] = adata.obs["slice"].map({"1": "healthy", "2": "healthy", "3": "ill", "4": "ill"})
    adata.obs["donor"] = "donor " + adata.obs["slice"].astype(str)
    yield {"adata": adata}
    yield {}
    sp.tl.markers(one := analysed())
    yield {"adata": one}


def guide_n_domains() -> Iterator[Names]:
    yield {"adata": analysed()}
    yield {}


def guide_new_slices() -> Iterator[Names]:
    yield {"adata": prepared("a", "b")}
    yield {"new": tissue()}
    yield {}


def guide_trajectory() -> Iterator[Names]:
    yield {"adata": prepared()}


def many_slices() -> Iterator[Names]:
    stack = tissue("1", "2", "3")
    first, second, third = (stack[stack.obs["slice"] == name].copy() for name in "123")
    yield {"first": first, "second": second, "third": third}
    for _ in range(5):
        yield {}
    block = tissue()
    block.obsm["spatial"] = np.column_stack([block.obsm["spatial"], np.arange(block.n_obs) % 5 * 60.0])
    sp.pp.prepare(block)
    yield {"adata": block}
    yield {"adata": analysed("a", "b")}
    tissue().write_h5ad("tissue.h5ad")
    yield {"path": "tissue.h5ad"}


def platforms() -> Iterator[Names]:
    yield {"adata": tissue()}
    proteins = tissue()
    proteins.X = np.arcsinh(proteins.X.toarray() / 5)
    yield {"adata": proteins}
    fields = tissue()
    fields.obs["fov"] = np.arange(fields.n_obs) // 65
    yield {"adata": fields, "np": np}


def plots() -> Iterator[Names]:
    adata = analysed()
    adata.obs["annotation"] = adata.obs["domain"]
    yield {"adata": adata}
    yield {}
    yield {}
    adata.obs["selected"] = adata.obs["domain"] == adata.obs["domain"].iloc[0]
    yield {}
    sp.pp.register_slices(stack := prepared("1", "2"), library_key="slice")
    sp.tl.smoothed_pca(stack, library_key="slice")
    sp.tl.domains(stack, n_domains=4)
    yield {"adata": stack}


def scaling() -> Iterator[Names]:
    sp.pp.spatial_neighbors_knn(adata := tissue())
    adata.write_h5ad("million_cells.h5ad")
    yield {}
    adata.write_zarr("million_cells.zarr")
    yield {"adata": adata}


def which_method() -> Iterator[Names]:
    yield {"adata": prepared()}


def loading_data() -> Iterator[Names]:
    adata = tissue()
    outs = Path("outs")
    folders.write_h5(outs / "filtered_feature_bc_matrix.h5", adata)
    with h5py.File(outs / "filtered_feature_bc_matrix.h5", "a") as file:
        file.attrs["library_ids"] = np.array([b"section"])
    (outs / "spatial").mkdir()
    folders.write_scalefactors(outs / "spatial")
    for name in ("hires", "lowres"):
        plt.imsave(outs / "spatial" / f"tissue_{name}_image.png", np.zeros((9, 9, 3)))
    folders.positions(adata).to_csv(outs / "spatial" / "tissue_positions.csv")
    yield {}
    for name in ("outs_young", "outs_old"):
        shutil.copytree(outs, name)
    yield {}
    yield {"a": adata, "b": adata}
    for _ in range(3):
        yield {}
    folders.merscope(Path("region_0"), adata)
    yield {}
    yield {}
    converted = prepared()
    converted.raw = adata
    converted.obs[["imagecol", "imagerow"]] = converted.obsm.pop("spatial")
    converted.write_h5ad("converted.h5ad")
    yield {}
    numbered = adata.copy()
    numbered.obs["array_row"], numbered.obs["array_col"] = np.divmod(np.arange(adata.n_obs), 10)
    yield {"adata": numbered}
    adata.to_df().T.to_csv("counts.csv.gz")
    pd.DataFrame(adata.obsm["spatial"], adata.obs_names, ["xcoord", "ycoord"]).to_csv("beads.csv")
    yield {}
    named = adata.copy()
    named.obs_names = [f"{spot}x1" for spot in range(adata.n_obs)]
    yield {"adata": named}
    spatialdata(adata).write("visium.zarr")
    yield {}
    yield {"adata": adata.copy()}
    yield {"adata": prepared(), "np": np}


def spatialdata(adata: ad.AnnData, table: str = "table") -> sd.SpatialData:
    """Return what a reader of spatialdata-io makes of spots: their circles, and the table that annotates them."""
    circles = sd.models.ShapesModel.parse(adata.obsm["spatial"], geometry=0, radius=40.0, index=adata.obs_names)
    adata = adata.copy()
    adata.obs["region"] = pd.Categorical(["circles"] * adata.n_obs)
    adata.obs["spot"] = adata.obs_names
    parsed = sd.models.TableModel.parse(adata, region="circles", region_key="region", instance_key="spot")
    return sd.SpatialData(shapes={"circles": circles}, tables={table: parsed})


def read_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let readers of images check their arguments only: folders with images are too large to be written here."""
    readers = pytest.importorskip("spatialdata_io", reason="spatialdata-io is not installed")
    for name in ("visium_hd", "xenium", "stereoseq"):
        signature = inspect.signature(getattr(readers, name))

        def reader(*args: Any, signature: inspect.Signature = signature, **kwargs: Any) -> sd.SpatialData:
            signature.bind(*args, **kwargs)
            return spatialdata(tissue(), "square_008um")

        monkeypatch.setattr(readers, name, reader)


# fmt: off
PAGES: dict[str, Callable[[], Iterator[Names]]] = {"README.md": readme} | {
    f"docs/{page.__name__}.md": page
    for page in [
        index, api, faq, loading_data, many_slices, platforms, plots, scaling, which_method, guide_confidence,
        guide_domains, guide_imputation, guide_markers, guide_n_domains, guide_new_slices, guide_trajectory,
    ]
}
# fmt: on


def test_every_page_with_code_is_here() -> None:
    pages = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
    with_code = {page for page in pages if blocks(page) or calls_between_backticks(page)}
    # The gallery is made by the script that draws it; the rule of the command line is for Snakemake.
    assert with_code - {"docs/gallery.md", "docs/command_line.md", "docs/errors.md"} == set(PAGES)


@pytest.fixture
def _a_few_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoder in ("spotscape", "spacross"):
        monkeypatch.setattr(sp.tl, encoder, partial(getattr(sp.tl, encoder), max_epochs=2))


# So small a tissue is warned of, and what zarr, anndata and spatialdata say among themselves is not ours to mend.
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.usefixtures("_a_few_epochs")
@pytest.mark.parametrize("page", PAGES)
def test_every_line_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sp.datasets, "dlpfc", lambda _: tissue())
    # Scanpy's default weights are compiled anew in each process.
    monkeypatch.setattr(sc.pp, "neighbors", partial(sc.pp.neighbors, method="gauss"))
    if page == "docs/loading_data.md":
        read_nothing(monkeypatch)
    space: Names = {"sp": sp, "ad": ad, "sc": sc, "plt": plt}
    sentences = "\n".join(calls_between_backticks(page))
    steps = [*blocks(page), *([sentences] if sentences else [])]
    for code, names in zip(steps, PAGES[page](), strict=True):
        space |= names
        exec(code, space)


def commands(page: str) -> list[list[str]]:
    """Return the lines for a shell that call ``spotscape`` in one process, without its name."""
    lines = "".join(blocks(page, "bash")).splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("spotscape ")]


@pytest.mark.usefixtures("_a_few_epochs")
@pytest.mark.parametrize("page", ["README.md", "docs/command_line.md"])
def test_every_command_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders.visium(Path("outs"), tissue(), layout="new")
    assert len(commands(page)) == 2
    for command in commands(page):
        assert main(command) == 0
    assert ad.read_h5ad("tissue.h5ad").obs["spotscape_domain"].notna().all()
    assert Path("report.html").is_file()


@pytest.mark.usefixtures("_a_few_epochs")
def test_the_settings_file_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (settings,) = blocks("docs/command_line.md", "toml")
    Path("settings.toml").write_text(settings, encoding="utf-8")
    adata = tissue("1", "2")
    adata.obs["section"] = adata.obs.pop("slice")
    adata.write_h5ad("tissue.h5ad")
    assert main(["run", "tissue.h5ad", "--config", "settings.toml"]) == 0
    assert Path("report.html").is_file()
    assert ad.read_h5ad("report_domains.h5ad").obs["spotscape_domain"].nunique() == 7


def test_info_prints_what_the_page_shows(
    real_data: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (shown,) = blocks("docs/command_line.md", "text")
    command, expected = shown.split("\n", 1)
    monkeypatch.chdir(real_data("dlpfc_donor3.h5ad").parent)
    assert main(shlex.split(command)[2:]) == 0
    # How long it would take depends on the machine.
    assert capsys.readouterr().out.splitlines()[:-1] == expected.splitlines()[:-1]
