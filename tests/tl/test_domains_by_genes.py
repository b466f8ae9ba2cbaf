"""tl.domains(method="auto"): genes decide between k-means and mixtures; where they are read, and if there are none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import spotscape as sp

if TYPE_CHECKING:
    from pathlib import Path

N = 240


def tissue(decides: str) -> ad.AnnData:
    """Two groups that lie apart where the embedding varies little, or where it varies most; their genes differ."""
    rng = np.random.default_rng(0)
    domain, along = rng.integers(2, size=N), rng.normal(0, 1.5, N)
    short = domain + rng.normal(0, 0.15, N)
    if decides == "kmeans":
        along, short = 3 * domain + rng.normal(0, 0.7, N), rng.normal(0, 0.3, N)
    rates = np.array([[8, 8, 2, 2, 5], [2, 2, 8, 8, 5]])[domain]
    adata = ad.AnnData(sparse.csr_matrix(rng.poisson(rates).astype(np.float32)))
    adata.obsm["X_spotscape"] = np.c_[along, short].astype(np.float32)
    adata.obs["domain"] = pd.Categorical(domain.astype(str))
    return adata


def log_normalised(adata: ad.AnnData) -> ad.AnnData:
    adata = adata.copy()
    counts = adata.X.toarray()
    adata.X = sparse.csr_matrix(np.log1p(counts / counts.sum(axis=1, keepdims=True) * 100).astype(np.float32))
    return adata


@pytest.mark.parametrize("decides", ["mixture", "kmeans"])
def test_the_genes_decide(decides: str) -> None:
    adata = tissue(decides)
    sp.tl.domains(adata, n_domains=2)
    entry = adata.uns["spotscape_domain"]
    assert entry["params"]["method"] == "auto"
    assert entry["chosen"].startswith(decides)
    assert sp.metrics.ari(adata.obs["domain"], adata.obs["spotscape_domain"]) > 0.9
    assert [*entry["compared"]] == ["kmeans", "mixture_0.05", "mixture_0.5", "mixture_1"]
    assert entry["criterion"]["name"] == "composition_inertia"
    assert entry["criterion"]["value"] == entry["compared"][entry["chosen"]]
    assert entry["expression"] == "adata.X"


def test_kmeans_is_taken_as_it_is_and_stands_unless_a_mixture_is_clearly_better() -> None:
    adata = tissue("kmeans")
    sp.tl.domains(adata, n_domains=2)
    sp.tl.domains(adata, n_domains=2, method="kmeans", key_added="plain")
    np.testing.assert_array_equal(adata.obs["spotscape_domain"], adata.obs["plain"])
    # Genes that say nothing: some mixture is better by chance, by less than a hundredth.
    adata.X = sparse.csr_matrix(np.random.default_rng(1).poisson(2000, (N, 5)).astype(np.float32))
    adata.X[:, 0] = np.where(adata.obs["plain"] == "0", 100, 3000)[:, None]
    sp.tl.domains(adata, n_domains=2)
    compared = adata.uns["spotscape_domain"]["compared"]
    assert adata.uns["spotscape_domain"]["chosen"] == "kmeans"
    assert max(compared.values()) < 1.01 * compared["kmeans"]


@pytest.mark.parametrize("decides", ["mixture", "kmeans"])
def test_confidence_is_that_of_the_own_domain(decides: str) -> None:
    adata = tissue(decides)
    sp.tl.domains(adata, n_domains=2)
    confidence = adata.obs["spotscape_domain_confidence"]
    assert confidence.dtype == np.float32
    assert confidence.between(0.5, 1).all()
    if decides == "kmeans":
        near = np.abs(adata.obsm["X_spotscape"][:, 0] - 1.5) < 0.5
        assert confidence[near].mean() < confidence[~near].mean() - 0.05


class TestWhereGenesAreRead:
    def test_counts_go_before_x(self) -> None:
        adata = tissue("mixture")
        adata.layers["counts"] = adata.X
        adata.X = tissue("kmeans").X
        sp.tl.domains(adata, n_domains=2)
        assert adata.uns["spotscape_domain"]["expression"] == "adata.layers['counts']"
        assert adata.uns["spotscape_domain"]["chosen"].startswith("mixture")

    def test_a_logarithm_is_undone(self) -> None:
        """Shares of each spot times 100: the inertia is that of these numbers, not of their logarithms."""
        adata = log_normalised(tissue("mixture"))
        sp.tl.domains(adata, n_domains=2)
        linear = adata.copy()
        linear.X = sparse.csr_matrix(np.expm1(adata.X.toarray()) * 1000)
        sp.tl.domains(linear, n_domains=2)
        first, second = (one.uns["spotscape_domain"]["compared"] for one in (adata, linear))
        assert first == pytest.approx(second, rel=1e-4)

    @pytest.mark.parametrize("container", ["dense", "csc", "dask", "backed", "view"])
    def test_containers(self, container: str, tmp_path: Path) -> None:
        adata = log_normalised(tissue("mixture"))
        expected = sp.tl.domains(adata, n_domains=2, copy=True)
        given = contained(adata, container, tmp_path)
        # A view would become a copy of itself, which anndata warns of.
        given = sp.tl.domains(given, n_domains=2, copy=container == "view") or given
        np.testing.assert_array_equal(given.obs["spotscape_domain"], expected.obs["spotscape_domain"])
        compared = (one.uns["spotscape_domain"]["compared"] for one in (given, expected))
        assert next(compared) == pytest.approx(next(compared), rel=1e-5)

    def test_slices_of_the_embeddings_record(self) -> None:
        """Genes that tell slices apart, and nothing else, decide nothing."""
        adata = tissue("mixture")
        group = adata.obs["domain"].to_numpy()
        adata.obs["slice"] = pd.Categorical(group)
        sp.tl.domains(adata, n_domains=2)
        assert adata.uns["spotscape_domain"]["chosen"].startswith("mixture")
        adata.uns["spotscape"] = {"params": {"library_key": "slice"}}
        sp.tl.domains(adata, n_domains=2)
        assert max(adata.uns["spotscape_domain"]["compared"].values()) < 0.1
        adata.uns["spotscape"] = {"params": {"library_key": "gone"}}
        sp.tl.domains(adata, n_domains=2)
        assert adata.uns["spotscape_domain"]["chosen"].startswith("mixture")


NO_GENES: dict[str, tuple[Any, str]] = {
    "scaled": (np.random.default_rng(0).normal(size=(N, 5)).astype(np.float32), "negative or missing values"),
    "missing": (np.where(np.eye(N, 5) > 0, np.nan, 1).astype(np.float32), "negative or missing values"),
    "zeros": (np.zeros((N, 5), np.float32), "nothing but zeros"),
}


@pytest.mark.parametrize("kind", NO_GENES)
def test_without_expression_it_is_kmeans(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    adata = tissue("mixture")
    adata.X, reason = NO_GENES[kind]
    with caplog.at_level("INFO"):
        sp.tl.domains(adata, n_domains=2)
    assert (
        f"No expression in which to compare domains (adata.X holds {reason}): they are those of k-means." in caplog.text
    )
    entry = adata.uns["spotscape_domain"]
    assert (entry["chosen"], entry["criterion"]["name"]) == ("kmeans", "inertia")
    assert "compared" not in entry
    assert "spotscape_domain_confidence" in adata.obs


def test_without_x(caplog: pytest.LogCaptureFixture) -> None:
    whole = tissue("mixture")
    adata = ad.AnnData(obs=whole.obs[[]], var=whole.var, obsm=dict(whole.obsm))
    with caplog.at_level("INFO"):
        sp.tl.domains(adata, n_domains=2)
    assert "(adata.X is None)" in caplog.text


def contained(adata: ad.AnnData, container: str, folder: Path) -> ad.AnnData:
    """The same with expression in another container."""
    match container:
        case "dense":
            adata.X = adata.X.toarray()
        case "csc":
            adata.X = adata.X.tocsc()
        case "dask":
            from dask import array

            adata.X = array.from_array(adata.X.toarray(), chunks=(50, 5))
        case "view":
            wider = ad.concat([adata, adata[:20]], index_unique="-")
            return wider[: adata.n_obs]
        case _:
            adata.write_h5ad(folder / "tissue.h5ad")
            return ad.read_h5ad(folder / "tissue.h5ad", backed="r")
    return adata
