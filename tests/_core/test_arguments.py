"""Every public function passes through one check of its arguments, and each parameter is declared once, by its name."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from anndata import AnnData
from scipy import sparse

import spotscape as sp
from spotscape._core import kinds
from spotscape._core.arguments import annotations_of, check_fields, checks_of, public
from spotscape._core.parameters import PARAMETERS, PASSAGES, RAISES, RENAMED, RULES, documentation_of
from spotscape.models import SpaCrossConfig, SpotscapeConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# nn is mathematics for those who build on it: its functions check what they need themselves.
NAMESPACES = ("pp", "tl", "pl", "get", "metrics", "datasets", "models")


def _public() -> Iterator[tuple[str, Callable[..., Any]]]:
    for space in NAMESPACES:
        module = import_module(f"spotscape.{space}")
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isfunction(value):
                yield f"{space}.{name}", value
            elif inspect.isclass(value) and hasattr(value, "fit"):
                for method, function in inspect.getmembers(value, inspect.isfunction):
                    own = function.__qualname__.partition(".")[0] in {value.__name__, "GraphEncoder"}
                    if own and (not method.startswith("_") or method == "__init__"):
                        yield f"{space}.{name}.{method}", function


PUBLIC = dict(_public()) | {"read": sp.read}


def test_the_walk_finds_the_functions() -> None:
    assert {"tl.spotscape", "pp.prepare", "models.Spotscape.fit", "models.SpaCross.__init__", "models.load"} <= set(
        PUBLIC
    )
    assert len(PUBLIC) > 60


def test_every_public_function_checks_its_arguments() -> None:
    takes_something = {name for name, value in PUBLIC.items() if set(inspect.signature(value).parameters) - {"self"}}
    assert [name for name in sorted(takes_something) if not hasattr(PUBLIC[name], "__wrapped__")] == []


def test_every_parameter_is_declared_and_every_declaration_is_used() -> None:
    used = {name for function in PUBLIC.values() for name in annotations_of(function)}
    used |= {name for config in (SpotscapeConfig, SpaCrossConfig) for name in inspect.signature(config).parameters}
    used |= set(inspect.signature(SpotscapeConfig.of_preset).parameters)
    assert used == set(RULES)


def test_an_undeclared_parameter_is_refused_at_once() -> None:
    with pytest.raises(LookupError, match="'colour' is not declared"):

        @public
        def draw(adata: AnnData, *, colour: str) -> None: ...


def test_choices_must_be_known() -> None:
    with pytest.raises(LookupError, match="the choices of 'method' are unknown"):

        @public
        def cluster(*, method: str) -> None: ...


@public
def echo(
    *,
    n_neighs: int | None = 1,
    ridge: float = 1.0,
    copy: bool = False,
    library_order: list[str] | None = None,
    root: str = "a",
    radius: float | tuple[float, float] = 1.0,
    random_state: int | None = 0,
    figsize: tuple[float, float] | None = None,
    query: str | list[str] | None = None,
) -> dict[str, Any]:
    """Return what a function gets to see."""
    return locals()


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ({"n_neighs": np.int16(3)}, 3),
        ({"n_neighs": None}, None),
        ({"ridge": np.float32(0.5)}, 0.5),
        ({"ridge": 2}, 2.0),
        ({"copy": np.True_}, True),
        ({"root": 3}, "3"),
        ({"root": np.int64(3)}, "3"),
        ({"library_order": np.array([2, 1, 10])}, ["2", "1", "10"]),
        ({"radius": [1, 2]}, (1.0, 2.0)),
        ({"figsize": (3, 4)}, (3.0, 4.0)),
        ({"query": "a"}, "a"),
        ({"query": ("a", 2)}, ["a", "2"]),
        ({"random_state": np.uint8(7)}, 7),
        ({"random_state": None}, None),
    ],
)
def test_values_arrive_as_plain_objects(given: dict[str, Any], seen: Any) -> None:
    (name,) = given
    found = echo(**given)[name]
    assert found == seen
    assert type(found) is type(seen)


def test_generators_give_seeds() -> None:
    drawn = [echo(random_state=np.random.default_rng(0))["random_state"] for _ in range(2)]
    assert drawn[0] == drawn[1] == np.random.default_rng(0).integers(2**32)
    old = np.random.RandomState(0)
    first, second = (echo(random_state=old)["random_state"] for _ in range(2))
    assert first != second
    assert min(first, second) >= 0


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"n_neighs": "six"}, TypeError, r"n_neighs must be an integer, not 'six' \(str\)"),
        ({"n_neighs": True}, TypeError, r"not True \(bool\)"),
        ({"n_neighs": 2.0}, TypeError, r"not 2.0 \(float\)"),
        ({"n_neighs": 0}, ValueError, "n_neighs=0 must be at least 1"),
        ({"n_neighs": 2**70}, ValueError, "the largest integer that a file can hold"),
        ({"ridge": float("inf")}, ValueError, r"ridge=inf lies outside \(0, inf\)"),
        ({"ridge": 1e300}, ValueError, "lies outside"),
        ({"ridge": float("nan")}, ValueError, "lies outside"),
        ({"ridge": 1j}, TypeError, r"must be a number, not 1j \(complex\)"),
        ({"ridge": np.complex64(1)}, TypeError, "must be a number"),
        ({"ridge": np.ma.masked}, TypeError, "must be a number"),
        ({"copy": "False"}, TypeError, r"copy must be True or False, not 'False' \(str\)"),
        ({"copy": float("nan")}, TypeError, "copy must be True or False"),
        ({"root": 1.5}, TypeError, "root must be a text, not 1.5"),
        ({"root": None}, TypeError, "root must be a text, not None"),
        ({"root": ["a"]}, TypeError, "root must be a text"),
        ({"root": str}, TypeError, "the class str"),
        ({"library_order": "ab"}, TypeError, "library_order must be a list of names"),
        ({"radius": "3"}, TypeError, r"must be a number or \(smallest, largest\)"),
        *(
            ({"radius": one}, ValueError, "must be a positive number")
            for one in (0, -1.0, np.nan, 1e300, (), (1, 2, 3), (-1, 2), (np.nan, 2), (2, np.nan))
        ),
        ({"figsize": 3}, TypeError, "figsize must be 2 numbers"),
        ({"figsize": (3, 1e300)}, ValueError, r"figsize\[1\]=1e\+300 lies outside"),
        ({"random_state": 1.5}, TypeError, "random_state must be an integer, None or a generator"),
        ({"random_state": "7"}, TypeError, "random_state must be an integer"),
        ({"random_state": True}, TypeError, "random_state must be an integer"),
        ({"random_state": [1]}, TypeError, "random_state must be an integer"),
        ({"random_state": float("nan")}, TypeError, "random_state must be an integer"),
        ({"random_state": -1}, ValueError, "is negative"),
        ({"random_state": 2**64}, ValueError, "more than 63 bits"),
        ({"nothing": 1}, TypeError, r"unexpected keyword argument 'nothing'; it takes \[.*'radius'"),
    ],
)
def test_refuses(given: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        echo(**given)


# Functions that take a parameter leave its bounds to the rule of its name, and so do their tests.
@pytest.mark.parametrize(
    ("wrong", "names", "message"),
    [
        (-1, "min_cells min_counts n_hops n_heldout_genes tears", "must be at least 0"),
        (
            0,
            "n_neighs n_neighs_between n_comps n_axes n_matches n_passes n_top_genes n_genes n_lines ncols",
            "at least 1",
        ),
        (1, "n_domains n_dcs n_resamples min_spots max_spots batch_size", "must be at least 2"),
        (2.5, "n_neighs n_hops n_domains n_top_genes min_cells max_spots", "must be an integer, not 2.5"),
        (0, "resolution size linewidth slice_gap target_sum clip lr library_size", r"lies outside \(0, inf\)"),
        (-1, "telescope_weight batch_effect drift", r"lies outside \[0, inf\)"),
        (1.5, "min_share whitening max_missing min_connectivity max_pvalue_adj difficulty", r"lies outside \[0, 1\]"),
        (1, "dropout edge_drop mask_rate", r"lies outside [\[\(]0, 1\)"),
        (0, "alpha img_alpha", r"lies outside \(0, 1\]"),
        (0.5, "perplexity min_fold_change", r"lies outside \[1, inf\)"),
        (float("nan"), "rotation vcenter target_sum difficulty perplexity", "lies outside"),
        ("30", "perplexity alpha max_pvalue_adj slice_gap", "must be a number, not '30'"),
        (-2, "n_jobs", "neither a positive number of threads nor -1"),
    ],
)
def test_bounds_are_those_of_the_name(wrong: Any, names: str, message: str) -> None:
    for name in names.split():
        with pytest.raises((TypeError, ValueError), match=f"^{name}.*{message}"):
            RULES[name](wrong, name, kinds.ONE)


def test_only_the_choices_of_the_signature_are_taken() -> None:
    found = [check for function in PUBLIC.values() for check in checks_of(inspect.unwrap(function)).items()]
    choices = [(name, check) for name, check in found if RULES[name] is kinds.choice]
    assert len(choices) > 15
    for name, check in choices:
        with pytest.raises(ValueError, match=f"^{name}='none such' is not one of"):
            check("none such")


@pytest.fixture
def adata() -> AnnData:
    grid = np.array([[x, y] for x in range(6) for y in range(5)], dtype=float)
    return AnnData(np.ones((30, 4), np.float32), obsm={"spatial": grid, "X_a": grid.astype(np.float32)})


@pytest.mark.parametrize("key", ["", " ", "/", "a/b", "_index", ".", "spatial", "X_spatial", "counts", "prepare"])
def test_keys_that_no_file_can_hold_or_that_are_taken(adata: AnnData, key: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be a key of an h5ad|would write over data"):
        sp.tl.domains(adata, n_domains=2, use_rep="X_a", key_added=key)


@pytest.mark.parametrize("key", [5, b"a", ["a"]])
def test_keys_are_texts(adata: AnnData, key: Any) -> None:
    with pytest.raises(TypeError, match="key_added must be a text"):
        sp.tl.domains(adata, n_domains=2, use_rep="X_a", key_added=key)


def test_the_name_of_the_index_is_taken(adata: AnnData) -> None:
    adata.obs_names.name = "cell"
    with pytest.raises(ValueError, match=r"'cell' is the name of the index of adata\.obs"):
        sp.tl.domains(adata, n_domains=2, use_rep="X_a", key_added="cell")


def test_columns_that_are_read_stay(adata: AnnData) -> None:
    adata.obs["part"] = np.repeat(["a", "b"], 15)
    with pytest.raises(ValueError, match="would write over key='part', which is read"):
        sp.tl.trajectory(adata, key="part", root="a", use_rep="X_a", key_added="part")


def test_graphs_take_the_name_as_a_prefix(adata: AnnData) -> None:
    sp.pp.spatial_neighbors_knn(adata, key_added="spatial")
    assert "spatial_neighbors" in adata.uns


@pytest.mark.parametrize("wrong", [None, {}, AnnData, "adata", np.ones((3, 3)), sparse.eye_array(3)])
@pytest.mark.parametrize("name", [name for name in PUBLIC if name.partition(".")[0] in {"pp", "tl", "pl", "get"}])
def test_adata_is_an_anndata(name: str, wrong: Any) -> None:
    if name == "pl.history" and isinstance(wrong, dict):
        pytest.skip("a history itself can be drawn")
    required = {
        key: "x" if key != "model" else sp.models.Spotscape()
        for key, parameter in inspect.signature(PUBLIC[name]).parameters.items()
        if parameter.default is inspect.Parameter.empty and key != "adata"
    }
    with pytest.raises(TypeError, match=r"^adata must be an? (AnnData|AnnData or a Mapping), not"):
        PUBLIC[name](wrong, **required)


def test_a_view_of_a_file_is_refused_before_any_work(adata: AnnData, tmp_path: Path) -> None:
    import anndata

    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    with pytest.raises(ValueError, match=r"is a view of the file .* load it first"):
        sp.tl.spotscape(backed[:20])
    with pytest.raises(ValueError, match=r"cannot be copied .* load it first"):
        sp.tl.spotscape(backed, copy=True)


def test_a_checkpoint_that_cannot_be_written_is_refused_first(adata: AnnData, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lies in a folder that does not exist"):
        sp.tl.spotscape(adata, checkpoint=tmp_path / "missing" / "a.pt")
    with pytest.raises(ValueError, match="is a folder"):
        sp.tl.spotscape(adata, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="checkpoint=' ' is no path"):
        sp.tl.spotscape(adata, checkpoint=" ")


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"max_epochs": None}, TypeError),
        ({"hidden_size": None}, TypeError),
        ({"linear_scale": "False"}, TypeError),
        ({"integrate": float("nan")}, TypeError),
        ({"lr": 1e300}, ValueError),
        ({"dispersion": float("inf")}, ValueError),
        ({"schedule": ["constant"]}, TypeError),
    ],
)
@pytest.mark.parametrize("kind", [SpotscapeConfig, SpaCrossConfig])
def test_configurations_refuse(kind: type, given: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(given))):
        kind(**given)


def test_configurations_hold_plain_objects() -> None:
    config = SpotscapeConfig(max_epochs=np.int64(3), lr=np.float32(0.5), integrate=np.False_)
    assert (type(config.max_epochs), type(config.lr), config.integrate) == (int, float, False)
    check_fields(config)


def test_a_function_that_is_checked_looks_like_itself() -> None:
    own = inspect.signature(sp.tl.spotscape.__wrapped__).parameters
    assert [*own, "table_key"] == [*inspect.signature(sp.tl.spotscape).parameters]
    assert sp.tl.spotscape.__module__ == "spotscape.tl._encoders"


@pytest.mark.parametrize("name", RENAMED)
def test_former_names_are_taken_with_a_warning(name: str) -> None:
    module, function = name.rsplit(".", 1)
    ((old, new),) = RENAMED[name].items()
    call = getattr(import_module(module), function)
    assert new in inspect.signature(call).parameters
    with (
        pytest.warns(FutureWarning, match=rf"{function}\({old}=\.\.\.\) is now {function}\({new}="),
        pytest.raises(TypeError, match=rf"{new} must be"),
    ):
        call(AnnData(np.ones((3, 2), np.float32)), **{old: 1.5 + 2j})
    with pytest.raises(TypeError, match=f"got '{new}' twice: '{old}' is its former name"):
        call(None, **{old: "domain", new: "domain"})


def test_a_docstring_gets_what_its_namespace_says() -> None:
    def function(adata: AnnData, key_added: str = "X_a", *, copy: bool = False, **output: Any) -> AnnData | None: ...

    function.__module__ = "spotscape.pp._graph"
    function.__doc__ = (
        "Do.\n\n    Parameters\n    ----------\n    adata\n        Spots.\n\n    Returns\n    -------\n    It."
    )
    said = f"Prefix of the keys that are written.\ncopy\n    {PARAMETERS['pp']['copy']}"
    raised = "\n".join(f"{name}\n    {text}" for name, text in RAISES["pp"].items())
    returned = "Returns\n-------\n``None``, or with ``copy=True`` a new :class:`~anndata.AnnData`. Written are:\n\nIt."
    found = (
        f"Parameters\n----------\nadata\n    Spots.\nkey_added\n    {said}\n\n{returned}\n\nRaises\n------\n{raised}"
    )
    assert re.sub(r"\n +measurements", " measurements", documentation_of(function)) == f"Do.\n\n{found}"
    own = "Raises\n------\nKeyError\n    None.\nTypeError\n    None.\n\nExamples\n--------\n1"
    function.__doc__ = f"Do.\n\nReturns\n-------\n``copy=True`` gives it.\n{{graph}}\n\n{own}"
    documented = documentation_of(function)
    assert documented.startswith(
        f"Do.\n\nParameters\n----------\nkey_added\n    {said}\n\nReturns\n-------\n``copy=True``"
    )
    assert '``adata.obsp["X_a_distances"]``' in documented
    assert documented.endswith(f"``params``.\n\n{own}")


def test_a_plot_says_whether_it_keeps_colours() -> None:
    assert "Nothing is written." in sp.pl.crosstab.__doc__
    assert "New colours of categories are written" in sp.pl.composition.__doc__


def test_what_is_said_once_is_said_of_several_functions() -> None:
    for space, texts in PARAMETERS.items():
        said = [value.__doc__ or "" for name, value in PUBLIC.items() if name.startswith(f"{space}.")]
        for name, text in texts.items():
            entry = rf"^\**{name}\n {{4}}" + re.escape(" ".join(text.split())).replace(r"\ ", r"\s+") + "$"
            assert sum(re.search(entry, doc, re.MULTILINE) is not None for doc in said) > 1, (space, name)
    docs = [value.__doc__ or "" for value in PUBLIC.values()]
    for name, text in PASSAGES.items():
        last = text.splitlines()[-1].strip()
        assert sum(last in doc for doc in docs) > 1, name
    assert [doc for doc in docs if re.search(r"^ *\{\w+\}$", doc, re.MULTILINE)] == []


def test_several_modalities_are_told_what_to_give() -> None:
    """MuData looks like an AnnData, but holds several of them."""
    several = SimpleNamespace(obsm={}, mod={"rna": object(), "protein": object()}, shape=(3, 2))
    with pytest.raises(TypeError, match=r"must be an AnnData, not .*Give the modality .* mdata\['rna'\]"):
        sp.pp.prepare(several)
