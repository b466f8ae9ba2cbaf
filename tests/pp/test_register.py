from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import spotscape as sp
from spotscape.registration._section import motion, move

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

ANGLES = {"a": 0.0, "b": 75.0, "c": -140.0}


def lattice(half: int) -> np.ndarray:
    row, column = np.mgrid[-half : half + 1, -half : half + 1].reshape(2, -1)
    return np.column_stack([column + 0.5 * (row % 2), row * np.sqrt(0.75)])


def comma(points: np.ndarray) -> np.ndarray:
    x, y = points.T
    head, tail = np.hypot(x + 3, y - 2) < 8, np.hypot(x - 3, y + 7) < 5.5
    return head | tail | (np.hypot(x - 7, y - 6) < 4.5)


def slices_of(shape: Callable[[np.ndarray], np.ndarray], **names: float) -> ad.AnnData:
    """Return slices of one shape, 100 µm apart spots, each turned by its angle and shuffled; the truth in ``obsm``."""
    rng = np.random.default_rng(0)
    truth, slide, label = [], [], []
    for i, (name, angle) in enumerate(names.items()):
        points = move(motion(7.0 * i, (0.3 * i, 0.2)), lattice(26))
        points = 100 * points[shape(points)]
        truth.append(points)
        slide.append(move(motion(angle, (400.0 * i, 0.0)), points))
        label += [name] * len(points)
    order = rng.permutation(len(label))
    adata = ad.AnnData(np.ones((len(label), 1), dtype=np.float32), obs=pd.DataFrame(index=[f"s{i}" for i in order]))
    adata.obs["slice"] = pd.Categorical(np.array(label)[order])
    adata.obsm["spatial"], adata.obsm["truth"] = np.vstack(slide)[order], np.vstack(truth)[order]
    x, y = adata.obsm["truth"].T / 100
    adata.obs["part"] = pd.Categorical(np.where(x > 3, "east", np.where(y > 4, "north", "rest")))
    adata.obsm["X_map"] = np.column_stack([x > 3, y > 4]).astype(float)
    return adata


@pytest.fixture(scope="module")
def template() -> ad.AnnData:
    return slices_of(comma, **ANGLES)


@pytest.fixture
def tissue(template: ad.AnnData) -> ad.AnnData:
    return template.copy()


@pytest.fixture(scope="module")
def registered(template: ad.AnnData) -> ad.AnnData:
    adata = template.copy()
    assert sp.pp.register_slices(adata, library_key="slice", reference="b") is None
    return adata


def worst_error(adata: ad.AnnData, reference: str, key: str = "spatial_aligned") -> float:
    """Return the largest RMS distance, in µm, to where the slices belong in the frame of the reference."""
    errors = []
    for name in adata.obs["slice"].cat.categories:
        rows = (adata.obs["slice"] == name).to_numpy()
        order = sorted(ANGLES).index(reference)
        expected = move(motion(ANGLES[reference], (400.0 * order, 0.0)), adata.obsm["truth"][rows])
        errors.append(np.sqrt(((adata.obsm[key][rows] - expected) ** 2).sum(axis=1).mean()))
    return float(max(errors))


@pytest.mark.parametrize("policy", ["sequential", "star"])
@pytest.mark.parametrize("reference", ["b", *(pytest.param(each, marks=pytest.mark.slow) for each in "ac")])
def test_slices_come_into_the_frame_of_the_reference(tissue: ad.AnnData, policy: Any, reference: str) -> None:
    sp.pp.register_slices(tissue, library_key="slice", policy=policy, reference=reference)
    assert worst_error(tissue, reference) < 70
    rows = (tissue.obs["slice"] == reference).to_numpy()
    np.testing.assert_array_equal(tissue.obsm["spatial_aligned"][rows], tissue.obsm["spatial"][rows])


def test_what_is_written(registered: ad.AnnData) -> None:
    aligned, entry = registered.obsm["spatial_aligned"], registered.uns["spatial_aligned"]
    assert aligned.dtype == np.float64
    assert aligned.shape == (registered.n_obs, 2)
    assert entry["transforms"].shape == (3, 3, 3)
    assert entry["library"].tolist() == ["a", "b", "c"]
    assert entry["partners"].tolist() == ["b", "b", "b"]
    assert (entry["reference"], entry["policy"]) == ("b", "sequential")
    assert entry["spacing"] == pytest.approx([100, 100, 100])
    for name, matrix in zip(entry["library"], entry["transforms"], strict=True):
        rows = (registered.obs["slice"] == name).to_numpy()
        np.testing.assert_allclose(move(matrix, registered.obsm["spatial"][rows]), aligned[rows])
    assert (entry["rmse"] < 60).all()
    assert (entry["rmse_before"][[0, 2]] > 100).all()
    assert (entry["overlap"] > 0.9).all()
    assert (entry["n_pairs"] > 100).all()
    assert not entry["ambiguous"].any()
    assert entry["params"]["library_key"] == "slice"
    assert "version" in entry


@pytest.mark.slow
def test_the_order_of_slices(tissue: ad.AnnData) -> None:
    sp.pp.register_slices(tissue, library_key="slice", library_order=["c", "a", "b"])
    entry = tissue.uns["spatial_aligned"]
    assert entry["library"].tolist() == ["c", "a", "b"]
    assert entry["partners"].tolist() == ["c", "c", "a"]
    assert worst_error(tissue, "c") < 100


def test_copy_leaves_the_original(tissue: ad.AnnData) -> None:
    before = tissue.copy()
    result = sp.pp.register_slices(tissue, library_key="slice", key_added="together", copy=True)
    assert {"together"} == set(result.obsm) - set(tissue.obsm) == set(result.uns) - set(tissue.uns)
    assert set(tissue.obsm) == set(before.obsm)
    np.testing.assert_array_equal(tissue.obsm["spatial"], before.obsm["spatial"])


def test_a_mirrored_slice_needs_leave(tissue: ad.AnnData) -> None:
    mirrored = tissue[tissue.obs["slice"] != "c"].copy()
    mirrored.obsm["spatial"][(mirrored.obs["slice"] == "b").to_numpy(), 0] *= -1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        sp.pp.register_slices(mirrored, library_key="slice", key_added="rigid")
    sp.pp.register_slices(mirrored, library_key="slice", allow_flip=True)
    assert worst_error(mirrored, "a") < 70
    determinants = [np.linalg.det(mirrored.uns[key]["transforms"][1][:2, :2]) for key in ("rigid", "spatial_aligned")]
    assert determinants == pytest.approx([1, -1])
    assert mirrored.uns["rigid"]["outline_agreement"][1] < mirrored.uns["spatial_aligned"]["outline_agreement"][1]


def test_unused_categories_are_no_slices(tissue: ad.AnnData) -> None:
    part = tissue[tissue.obs["slice"] != "b"].copy()
    part.obs["slice"] = part.obs["slice"].cat.set_categories(["a", "b", "c"])
    sp.pp.register_slices(part, library_key="slice")
    assert part.uns["spatial_aligned"]["library"].tolist() == ["a", "c"]


@pytest.mark.slow
def test_threads_and_global_state(
    tissue: ad.AnnData, global_state_untouched: Callable[[], AbstractContextManager[None]]
) -> None:
    with global_state_untouched():
        sp.pp.register_slices(tissue, library_key="slice")
        sp.pp.register_slices(tissue, library_key="slice", n_jobs=2, key_added="threads")
    np.testing.assert_array_equal(tissue.obsm["threads"], tissue.obsm["spatial_aligned"])


@pytest.fixture(scope="module")
def discs() -> ad.AnnData:
    return slices_of(lambda points: np.hypot(*points.T) < 12, a=ANGLES["a"], b=ANGLES["b"])


class TestGuidance:
    def test_a_round_outline_is_said_to_be_ambiguous(self, discs: ad.AnnData) -> None:
        adata = discs.copy()
        with pytest.warns(UserWarning, match=r"slice 'b' to 'a' is ambiguous.*use_rep=.*labels_key="):
            sp.pp.register_slices(adata, library_key="slice")
        assert adata.uns["spatial_aligned"]["ambiguous"].tolist() == [False, True]

    @pytest.mark.parametrize("guide", [{"use_rep": "X_map"}, {"labels_key": "part"}])
    def test_features_decide(self, discs: ad.AnnData, guide: dict[str, str]) -> None:
        adata = discs.copy()
        sp.pp.register_slices(adata, library_key="slice", **guide)
        assert worst_error(adata, "a") < 50
        assert adata.uns["spatial_aligned"]["feature_agreement"][1] > 0.8

    def test_a_mirrored_slice_is_told(self, discs: ad.AnnData) -> None:
        """A disc is its own mirror image, so only features show it; what they find without leave is no fit."""
        adata = discs.copy()
        adata.obsm["spatial"][(adata.obs["slice"] == "b").to_numpy(), 0] *= -1
        with pytest.warns(UserWarning, match=r"slice 'b' fits 'a' much better as its mirror image.*allow_flip=True"):
            sp.pp.register_slices(adata, library_key="slice", use_rep="X_map")
        assert adata.uns["spatial_aligned"]["mirrored"].tolist() == [False, True]
        sp.pp.register_slices(adata, library_key="slice", use_rep="X_map", allow_flip=True)
        assert not adata.uns["spatial_aligned"]["mirrored"].any()

    def test_features_that_have_nothing_in_common_are_told(self, tissue: ad.AnnData) -> None:
        """As of another tissue, or of spots in another order than their coordinates; the outlines fit all the same."""
        rows = np.flatnonzero(tissue.obs["slice"] == "b")
        tissue.obsm["X_map"][rows] = tissue.obsm["X_map"][np.random.default_rng(0).permutation(rows)]
        with pytest.warns(UserWarning, match=r"features of slices 'b' and 'a' agree by .* only.*in one order"):
            sp.pp.register_slices(tissue[tissue.obs["slice"] != "c"].copy(), library_key="slice", use_rep="X_map")

    def test_a_slice_that_fits_nowhere(self) -> None:
        ring = slices_of(lambda p: (np.hypot(*p.T) < 22) & (np.hypot(*p.T) > 14), a=0.0)
        cross = slices_of(lambda p: (np.abs(p) < 3).any(axis=1), a=0.0)
        adata = ad.concat({"ring": ring, "cross": cross}, label="sample", index_unique="-")
        adata.obs["sample"] = adata.obs["sample"].astype("category")
        with pytest.warns(UserWarning, match=r"is poor: of their outlines .*allow_flip=True"):
            sp.pp.register_slices(adata, library_key="sample")

    @pytest.mark.filterwarnings("ignore::UserWarning")
    @pytest.mark.parametrize("guide", [{"labels_key": "part"}, {"use_rep": "X_map"}])
    def test_slices_too_narrow_for_a_spot_inside(self, guide: dict[str, str]) -> None:
        """Nothing of a strip of two rows is away from its rim; the outline alone says where it lies."""
        strip = slices_of(lambda points: (np.abs(points[:, 1]) < 0.9) & (points[:, 0] > -12), a=0.0, b=40.0)
        sp.pp.register_slices(strip, library_key="slice", **guide)
        assert np.isfinite(strip.obsm["spatial_aligned"]).all()


class TestUnits:
    def test_another_unit_is_refused_with_the_factor(self, tissue: ad.AnnData) -> None:
        tissue.obsm["spatial"][(tissue.obs["slice"] == "c").to_numpy()] *= 2.5
        with pytest.raises(ValueError, match=r"slice 'c' seem to be in another unit.*2.5 times.*scale=True"):
            sp.pp.register_slices(tissue, library_key="slice")

    def test_scale_mends_it(self, tissue: ad.AnnData) -> None:
        tissue.obsm["spatial"][(tissue.obs["slice"] == "c").to_numpy()] *= 2.5
        sp.pp.register_slices(tissue, library_key="slice", scale=True)
        assert worst_error(tissue, "a") < 120


class TestApply:
    def test_points_go_along_and_back(self, registered: ad.AnnData) -> None:
        rows = (registered.obs["slice"] == "c").to_numpy()
        moved = sp.pp.apply_registration(registered, points=registered.obsm["spatial"][rows], library="c")
        np.testing.assert_allclose(moved, registered.obsm["spatial_aligned"][rows])
        back = sp.pp.apply_registration(registered, points=moved, library="c", inverse=True)
        np.testing.assert_allclose(back, registered.obsm["spatial"][rows])

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"library": "z"}, KeyError, "'z' is not a slice of the registration.*'a', 'b', 'c'"),
            ({"library": "a", "key": "other"}, KeyError, "Call sp.pp.register_slices"),
            ({"library": "a", "points": np.zeros(2)}, ValueError, r"shape \(n, 2\)"),
            ({"library": "a", "points": np.zeros((4, 3))}, ValueError, r"shape \(n, 2\)"),
            ({"library": "a", "points": np.full((1, 2), np.nan)}, ValueError, "points has 2 NaN or infinite"),
        ],
    )
    def test_refuses(
        self, registered: ad.AnnData, arguments: dict[str, Any], error: type[Exception], message: str
    ) -> None:
        with pytest.raises(error, match=message):
            sp.pp.apply_registration(registered, **{"points": np.zeros((1, 2)), **arguments})


def one_slice(adata: ad.AnnData) -> None:
    adata.obs["slice"] = pd.Categorical(["a"] * adata.n_obs)


def two_spots(adata: ad.AnnData) -> None:
    adata.obs["slice"] = pd.Categorical(["few"] * 2 + ["many"] * (adata.n_obs - 2))


def on_a_line(adata: ad.AnnData) -> None:
    adata.obsm["spatial"][(adata.obs["slice"] == "b").to_numpy(), 1] = 3.0


def not_finite(adata: ad.AnnData) -> None:
    adata.obsm["spatial"][5, 0] = np.nan


def nothing(adata: ad.AnnData) -> None:
    pass


def broken_features(adata: ad.AnnData) -> None:
    adata.obsm["X_map"][0, 0] = np.inf


def constant_labels(adata: ad.AnnData) -> None:
    adata.obs["part"] = "all"


@pytest.mark.parametrize(
    ("spoil", "arguments", "error", "message"),
    [
        (one_slice, {}, ValueError, "has one slice, 'a'; registration needs at least two"),
        (two_spots, {}, ValueError, r"slice 'few' has spots at 2 position\(s\).*Remove the slice"),
        (on_a_line, {}, ValueError, "slice 'b' lie on one line"),
        (not_finite, {}, ValueError, "NaN or infinite coordinates"),
        (nothing, {"library_key": "sample"}, KeyError, "'sample' not found in adata.obs"),
        (nothing, {"spatial_key": "pixels"}, KeyError, "'pixels' not found in adata.obsm"),
        (nothing, {"reference": "z"}, ValueError, r"reference='z' is not a slice; there are \['a', 'b', 'c'\]"),
        (nothing, {"library_order": ["a", "b"]}, ValueError, "must name every slice once"),
        (nothing, {"n_jobs": 0}, ValueError, "n_jobs=0"),
        (nothing, {"use_rep": "X_none"}, KeyError, "'X_none' not found in adata.obsm"),
        (nothing, {"labels_key": "none"}, KeyError, "'none' not found in adata.obs"),
        (nothing, {"use_rep": "X_map", "labels_key": "part"}, ValueError, "exclude each other"),
        (broken_features, {"use_rep": "X_map"}, ValueError, "NaN or infinite"),
        (constant_labels, {"labels_key": "part"}, ValueError, "same for all spots"),
    ],
)
def test_refuses_and_leaves_the_anndata(
    tissue: ad.AnnData,
    spoil: Callable[[ad.AnnData], None],
    arguments: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    spoil(tissue)
    before = tissue.copy()
    with pytest.raises(error, match=message):
        sp.pp.register_slices(tissue, **{"library_key": "slice", **arguments})
    assert (set(tissue.obsm), set(tissue.uns)) == (set(before.obsm), set(before.uns))
    np.testing.assert_array_equal(tissue.obsm["spatial"], before.obsm["spatial"])


class TestGuidanceAndBending:
    @pytest.fixture
    def embedded(self) -> ad.AnnData:
        adata = sp.datasets.simulate_tissue(
            n_slices=3, n_spots=500, n_genes=80, n_domains=4, difficulty=0.2, rotation=[0, 70, 200], random_state=1
        )
        with sp.settings.override(verbosity="error"):
            sp.pp.prepare(adata, n_top_genes=None, library_key="slice")
            sp.tl.smoothed_pca(adata, n_comps=8, library_key="slice")
        return adata

    def test_the_embedding_guides_unless_told_otherwise(self, embedded: ad.AnnData) -> None:
        sp.pp.register_slices(embedded, library_key="slice")
        entry = embedded.uns["spatial_aligned"]
        assert entry["params"]["use_rep"] == "X_smoothed_pca"
        assert (entry["feature_agreement"][1:] > 0.5).all()
        assert not entry["ambiguous"].any()
        del embedded.uns["smoothed_pca"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sp.pp.register_slices(embedded, library_key="slice")
        assert "use_rep" not in embedded.uns["spatial_aligned"]["params"]

    @pytest.mark.filterwarnings("ignore:Writing zarr v2 data")
    @pytest.mark.parametrize("policy", [pytest.param("sequential", marks=pytest.mark.slow), "star"])
    def test_other_points_follow_a_bent_slice_and_come_back(
        self, embedded: ad.AnnData, policy: Any, tmp_path: Path
    ) -> None:
        sp.pp.register_slices(embedded, library_key="slice", policy=policy, deform="smooth")
        embedded.write_h5ad(tmp_path / "a.h5ad")
        back = ad.read_h5ad(tmp_path / "a.h5ad")
        bent = back.uns["spatial_aligned"]["feature_agreement_deformed"]
        assert (bent[1:] > back.uns["spatial_aligned"]["feature_agreement"][1:]).all()
        for name in ("slice_1", "slice_2", "slice_3"):
            own = (back.obs["slice"] == name).to_numpy()
            points = back.obsm["spatial"][own]
            moved = sp.pp.apply_registration(back, points=points, library=name)
            np.testing.assert_allclose(moved, back.obsm["spatial_aligned"][own], atol=1e-6)
            again = sp.pp.apply_registration(back, points=moved, library=name, inverse=True)
            np.testing.assert_allclose(again, points, atol=1e-3)
        first = (back.obs["slice"] == "slice_1").to_numpy()
        np.testing.assert_array_equal(back.obsm["spatial_aligned"][first], back.obsm["spatial"][first])

    def test_bending_needs_features(self, tissue: ad.AnnData) -> None:
        with pytest.raises(ValueError, match=r"deform='smooth' needs features: .*sp\.tl\.smoothed_pca"):
            sp.pp.register_slices(tissue, library_key="slice", deform="smooth")
