from __future__ import annotations

from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection

import spotscape as sp

GRID = np.array([[x, y] for y in range(10) for x in range(30)], float)


@pytest.fixture
def adata() -> ad.AnnData:
    """Three stripes, named against their order, with a made-up record: two connections, of which one is weak."""
    adata = ad.AnnData(np.zeros((300, 1), np.float32), obsm={"spatial": GRID})
    adata.obs["spotscape_domain"] = pd.Categorical.from_codes(2 - (GRID[:, 0] // 10).astype(int), ["a", "b", "c"])
    adata.obs["spotscape_pseudotime"] = GRID[:, 0] / 29
    adata.obs["slice"] = pd.Categorical(np.where(GRID[:, 1] < 5, "s1", "s2"))
    between = np.array([[0, 0.8, 0.1], [0.8, 0, 0.01], [0.1, 0.01, 0]])
    adata.uns["spotscape_pseudotime"] = {
        "params": {"key": "spotscape_domain", "library_key": None},
        "groups": ["a", "b", "c"],
        "order": ["c", "b", "a"],
        "connectivities": between,
        "connectivities_tree": np.where(between > 0.5, between, 0),
    }
    return adata


def lines(ax: Any) -> Any:
    return [collection for collection in ax.collections if isinstance(collection, LineCollection)]


def test_domains_stand_where_they_lie_under_their_own_names(adata: ad.AnnData) -> None:
    time, route = sp.pl.trajectory(adata, return_fig=True).axes
    assert [ax.get_title() for ax in (time, route)] == ["pseudotime", "spotscape_domain"]
    places = {text.get_text(): text.xy for text in route.texts}
    assert set(places) == {"a", "b", "c"}
    for name, (x, _) in places.items():
        stripe = "cba".index(name)
        assert stripe * 10 <= x < stripe * 10 + 10
    assert [text.get_text() for text in route.get_legend().get_texts()] == ["c", "b", "a"]
    assert adata.uns["spotscape_domain_colors"][0] == route.get_legend().legend_handles[2].get_color()


def test_many_domains_are_named_once(adata: ad.AnnData) -> None:
    names = [f"{number:02}" for number in range(15)]
    adata.obs["spotscape_domain"] = pd.Categorical.from_codes((GRID[:, 0] // 2).astype(int), names)
    between = 0.8 * (np.eye(15, k=1) + np.eye(15, k=-1))
    adata.uns["spotscape_pseudotime"] |= {
        "groups": names, "order": names, "connectivities": between, "connectivities_tree": between,
    }  # fmt: skip
    route = sp.pl.trajectory(adata, return_fig=True).axes[1]
    assert sorted(text.get_text() for text in route.texts) == names


def test_domains_named_by_integers_and_an_empty_one(adata: ad.AnnData) -> None:
    named = {"a": 1, "b": 2, "c": 3}
    adata.obs["spotscape_domain"] = adata.obs["spotscape_domain"].cat.rename_categories(named).cat.add_categories([9])
    record = adata.uns["spotscape_pseudotime"]
    record |= {"groups": np.array([1, 2, 3]), "order": np.array([3, 2, 1])}
    route = sp.pl.trajectory(adata, return_fig=True).axes[1]
    assert {text.get_text() for text in route.texts} == {"1", "2", "3"}


@pytest.mark.parametrize(("least", "n_lines"), [(0.0, 3), (0.05, 2), (0.5, 1), (1.0, 0)])
def test_connections_above_the_limit_are_shown(adata: ad.AnnData, least: float, n_lines: int) -> None:
    route = sp.pl.trajectory(adata, min_connectivity=least, return_fig=True).axes[1]
    assert len(lines(route)[-1].get_segments()) == n_lines


def test_the_tree_is_dark_and_strong_connections_wide(adata: ad.AnnData) -> None:
    drawn = lines(sp.pl.trajectory(adata, return_fig=True).axes[1])[-1]
    weak, strong = drawn.get_linewidths()
    assert weak < strong
    light, dark = drawn.get_colors()[:, 0]
    assert dark < light


def test_a_row_for_pseudotime_and_one_for_the_graph_of_every_slice(adata: ad.AnnData) -> None:
    figure = sp.pl.trajectory(adata, library_key="slice", return_fig=True)
    assert [ax.get_title() for ax in figure.axes] == ["s1", "s2", "s1", "s2"]
    assert [len(ax.texts) for ax in figure.axes] == [1, 0, 4, 3]
    figure.canvas.draw()


def test_a_domain_that_is_not_reached_comes_last(adata: ad.AnnData) -> None:
    adata.uns["spotscape_pseudotime"]["order"] = ["c", "b"]
    adata.obs.loc[adata.obs["spotscape_domain"] == "a", "spotscape_pseudotime"] = np.nan
    route = sp.pl.trajectory(adata, return_fig=True).axes[1]
    assert [text.get_text() for text in route.get_legend().get_texts()] == ["c", "b", "a"]
    assert len(route.lines) == 3


def test_nodes_do_not_lie_on_each_other(adata: ad.AnnData) -> None:
    # Rings around one centre.
    ring = np.hypot(*(GRID - [14.5, 4.5]).T)
    adata.obs["spotscape_domain"] = pd.Categorical.from_codes(np.digitize(ring, [3, 7]), ["a", "b", "c"])
    places = np.array([text.xy for text in sp.pl.trajectory(adata, return_fig=True).axes[1].texts])
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)[np.triu_indices(3, 1)]
    assert (apart >= 0.09 * 29).all()


def test_names_do_not_lie_on_each_other(adata: ad.AnnData) -> None:
    names = dict(zip("abc", ("first layer", "second layer", "third layer"), strict=True))
    adata.obs["spotscape_domain"] = adata.obs["spotscape_domain"].cat.rename_categories(names)
    entry = adata.uns["spotscape_pseudotime"]
    entry |= {key: [names[name] for name in entry[key]] for key in ("groups", "order")}
    figure = sp.pl.trajectory(adata, figsize=(5, 3), return_fig=True)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[1].texts]
    assert len(boxes) == 3
    assert [box.count_overlaps(boxes) for box in boxes] == [1, 1, 1]


@pytest.mark.parametrize("legend_loc", ["right margin", None])
def test_very_long_names_leave_room_for_the_tissue(adata: ad.AnnData, legend_loc: str | None) -> None:
    names = {name: f"{name}, a region with a name that goes on and on" for name in "abc"}
    adata.obs["spotscape_domain"] = adata.obs["spotscape_domain"].cat.rename_categories(names)
    entry = adata.uns["spotscape_pseudotime"]
    entry |= {key: [names[name] for name in entry[key]] for key in ("groups", "order")}
    entry["params"] |= {"library_key": "slice"}
    figure = sp.pl.trajectory(adata, legend_loc=legend_loc, return_fig=True)
    figure.draw_without_rendering()
    assert all(ax.bbox.width > 1.5 * figure.dpi for ax in figure.axes[:4])
    written = {text.get_text() for text in figure.axes[3].texts}
    assert written == (set(names.values()) if legend_loc is None else {"1", "2", "3"})
    if legend_loc is not None:
        legend = [text.get_text() for text in figure.axes[3].get_legend().get_texts()]
        assert legend == [f"{number} {names[name]}" for number, name in enumerate("cba", start=1)]


def test_a_name_that_is_wider_than_its_node_stands_beside_it(adata: ad.AnnData) -> None:
    names = dict(zip("abc", ("WM", "10", "7"), strict=True))
    adata.obs["spotscape_domain"] = adata.obs["spotscape_domain"].cat.rename_categories(names)
    entry = adata.uns["spotscape_pseudotime"]
    entry |= {key: [names[name] for name in entry[key]] for key in ("groups", "order")}
    figure = sp.pl.trajectory(adata, return_fig=True)
    assert {text.get_text(): text.xyann == (0, 0) for text in figure.axes[1].texts} == {
        "WM": False,
        "10": True,
        "7": True,
    }


def test_a_domain_that_is_gone_from_a_subset_is_not_drawn(adata: ad.AnnData) -> None:
    part = adata[adata.obs["spotscape_domain"] != "b"].copy()
    figure = sp.pl.trajectory(part, return_fig=True)
    assert len(figure.axes[1].lines) == 2
    figure.canvas.draw()


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"key": "nothing"}, KeyError, r"'nothing' not found in adata.uns.*sp.tl.trajectory"),
        ({"key": "other"}, ValueError, "is not a record of that kind, but a dict without .params"),
        ({"spatial_key": "none"}, KeyError, "'none' not found in adata.obsm"),
        ({"library_key": "spotscape_pseudotime"}, TypeError, "expected the name of a slice"),
    ],
)
def test_errors(adata: ad.AnnData, arguments: dict[str, Any], error: type[Exception], match: str) -> None:
    adata.uns["other"] = {}
    adata.obs["other"] = 0.0
    with pytest.raises(error, match=match):
        sp.pl.trajectory(adata, **arguments, return_fig=True)


def test_other_domains_than_those_of_the_trajectory(adata: ad.AnnData) -> None:
    adata.obs["spotscape_domain"] = adata.obs["spotscape_domain"].cat.rename_categories({"a": "z"})
    with pytest.raises(ValueError, match="other domains than the trajectory"):
        sp.pl.trajectory(adata, return_fig=True)
