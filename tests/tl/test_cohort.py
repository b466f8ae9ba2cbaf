"""Forty sections of unlike size and quality, in one AnnData or in a file that is larger than the memory."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

import spotscape as sp
from spotscape._core.genes import absent_genes
from spotscape.models import SpotscapeConfig

if TYPE_CHECKING:
    from pathlib import Path

N_SECTIONS = 40
SMALL, FAILED, LACKING = "slice_2", "slice_3", [f"slice_{number}" for number in range(10, 20)]

PROGRAM = """
import resource, sys
import anndata as ad
import numpy as np
import torch
import spotscape as sp
from spotscape._core.genes import absent_genes
from spotscape._core import rows
from spotscape.models import SpotscapeConfig

torch.set_num_threads(1)
sp.settings.verbosity = "error"
rows.BLOCK_ROWS = 512

def analyse(adata, **options):
    several = {"library_key": "slice"}
    sp.pp.prepare(adata, n_top_genes=60, **several)
    sp.pp.spatial_neighbors_knn(adata, n_neighs=6, **several)
    config = SpotscapeConfig(max_epochs=1, n_encoders=1, n_comps=8)
    sp.tl.spotscape(adata, config=config, batch_size=1_000, **several)
    sp.tl.domains(adata, n_domains=2, method="kmeans")

# What is loaded at the first call counts for nothing.
analyse(sp.datasets.simulate_tissue(n_spots=100, n_genes=80, n_slices=2))
used = int(open("/proc/self/status").read().split("VmData:")[1].split()[0]) * 1024
limit = used + int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
adata = ad.read_h5ad(sys.argv[1], backed=sys.argv[3] if len(sys.argv) > 3 else None)
analyse(adata)
assert np.isfinite(adata.obsm["X_spotscape"]).all() and adata.obs["spotscape_domain"].notna().all()
"""


@pytest.fixture(scope="module")
def cohort() -> ad.AnnData:
    """Forty sections with their own batch effect: one is small, one failed, ten lack five genes."""
    sizes = [60 + 10 * (number % 4) for number in range(N_SECTIONS)]
    sizes[1] = 30
    adata = sp.datasets.simulate_tissue(
        n_slices=N_SECTIONS, n_spots=sizes, n_genes=100, n_domains=3, difficulty=0.2, batch_effect=0.3, random_state=0
    )
    counts = np.asarray(adata.X.todense() if sparse.issparse(adata.X) else adata.X).copy()
    failed, lacking = (adata.obs["slice"] == FAILED).to_numpy(), adata.obs["slice"].isin(LACKING).to_numpy()
    counts[failed] = np.random.default_rng(0).binomial(counts[failed].astype(int), 0.01)
    counts[np.ix_(lacking, range(5))] = 0
    adata.X = sparse.csr_matrix(counts)
    return adata


@pytest.mark.parametrize("depth", [0.01, 0])
def test_a_section_that_failed_takes_no_gene_from_the_others(depth: float) -> None:
    rng = np.random.default_rng(0)
    shares, sizes = rng.uniform(0.05, 0.9, 200), np.array([500, 300, 80, 80, 150])
    detected = np.array([rng.binomial(size, shares) for size in sizes])
    detected[3] = rng.binomial(80, shares * depth)
    detected[1, :20] = 0
    absent = absent_genes(detected, sizes)
    assert absent[1, :20].all()
    assert absent.sum() == 20


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The slices .* have too few spots or counts to rank genes")
def test_domains_mean_the_same_in_all_sections(cohort: ad.AnnData) -> None:
    adata = cohort.copy()
    with pytest.warns(UserWarning, match=f"Slice {FAILED!r} has .* leave it out if the experiment failed") as caught:
        sp.pp.prepare(adata, n_top_genes=90, library_key="slice")
    assert sum("leave it out" in str(one.message) for one in caught) == 1
    assert not adata.var["highly_variable"].iloc[:5].any()
    sp.pp.spatial_neighbors_knn(adata, library_key="slice")
    sp.tl.spotscape(adata, library_key="slice", config=SpotscapeConfig.several_slices(max_epochs=40, n_encoders=1))
    sp.tl.domains(adata, n_domains=3)
    assert np.isfinite(adata.obsm["X_spotscape"]).all()
    good = adata.obs[adata.obs["slice"] != FAILED]
    alone = [sp.metrics.ari(own["domain"], own["spotscape_domain"]) for _, own in good.groupby("slice", observed=True)]
    together = sp.metrics.ari(good["domain"], good["spotscape_domain"])
    # If a domain had another name in another section, the agreement over all of them would be far lower.
    assert together > max(0.6, np.mean(alone) - 0.1)
    small = (adata.obs["slice"] == SMALL).to_numpy()
    assert adata.obs["spotscape_domain"][small].notna().all()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux refuses memory above a limit on data")
@pytest.mark.parametrize("backed", [True, False])
def test_a_file_larger_than_the_memory(backed: bool, tmp_path: Path) -> None:
    """With 150 MB: enough for blocks of a file, too little for its counts and what is made of them."""
    n_spots, n_genes, per_spot = 10_000, 4_000, 480
    rng = np.random.default_rng(0)
    genes = np.sort(rng.random((n_spots, n_genes)).argpartition(per_spot, axis=1)[:, :per_spot], axis=1).ravel()
    values = rng.poisson(1.5, n_spots * per_spot).astype(np.float32) + 1
    matrix = sparse.csr_matrix((values, genes, np.arange(n_spots + 1) * per_spot), shape=(n_spots, n_genes))
    adata = ad.AnnData(matrix, obsm={"spatial": rng.random((n_spots, 2)) * 100})
    adata.obs["slice"] = [f"s{number}" for number in np.arange(n_spots) * 5 // n_spots]
    adata.write_h5ad(tmp_path / "cohort.h5ad")
    words = [str(tmp_path / "cohort.h5ad"), str(150 * 10**6), *(["r"] if backed else [])]
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, *words], capture_output=True, text=True, check=False
    )
    if backed:
        assert run.returncode == 0, run.stderr
    else:
        assert "Unable to allocate" in run.stderr or "MemoryError" in run.stderr
