"""Parameters: one declaration validates Python calls and TOML, and says where, what, found, what to do."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import msgspec
import numpy as np
import pytest

from streamfluo import ConfigError, Params
from streamfluo.core.params import build_params, describe
from streamfluo.core.registry import operators


class Inner(Params, frozen=True):
    width_px: Annotated[float, msgspec.Meta(gt=0)] = 1.5


class Toy(Params, frozen=True):
    order: Annotated[int, msgspec.Meta(ge=2, le=4, description="cumulant order")] = 2
    detect: Literal["mean", "max"] = "mean"
    path: str | None = None
    shape: tuple[int, int] = (4, 4)
    weights: np.ndarray | None = None
    inner: Inner = Inner()


class Renamed(Params, frozen=True):
    former_names: ClassVar[Mapping[str, str]] = {"max_y": "max_emitters"}

    max_emitters: Annotated[int, msgspec.Meta(ge=1)]


class Pair(Params, frozen=True):
    low: float
    high: float = 1.0

    def __post_init__(self):
        if self.low > self.high:
            raise ValueError("low is above high; swap them")


REFUSED = [
    (Toy, {"ordr": 3}, "step 'x': no parameter 'ordr'; did you mean 'order'?"),
    (Toy, {"zzz": 3}, "step 'x': no parameter 'zzz'; there is 'detect', 'inner', 'order', 'path', 'shape', 'weights'"),
    (Toy, {"order": 5}, "step 'x': order: expected a whole number <= 4, found 5"),
    (Toy, {"order": 2.5}, "step 'x': order: expected a whole number, not a number, found 2.5"),
    (Toy, {"order": "two"}, "step 'x': order: expected a whole number, not a text, found 'two'"),
    (Toy, {"detect": "men"}, "step 'x': detect: Invalid enum value 'men', found 'men'; it is one of 'max', 'mean'"),
    (Toy, {"shape": [4, "y"]}, "step 'x': shape[1]: expected a whole number, not a text, found 'y'"),
    (Toy, {"inner": {"width_px": -1}}, "step 'x': inner.width_px: expected a number > 0.0, found -1"),
    (Renamed, {"max_y": 0}, "step 'x': max_emitters: expected a whole number >= 1, found 0"),
    (Renamed, {"maxy": 2}, "step 'x': no parameter 'maxy'; there is 'max_emitters'"),
    (
        Renamed,
        {"max_emitters": 2, "max_y": 2},
        "step 'x': 'max_y' is the former name of 'max_emitters'; give one of them",
    ),
    (Pair, {}, "step 'x': parameter 'low' is missing"),
    (Pair, {"low": 3}, "low is above high; swap them"),
]


@pytest.mark.parametrize(("struct", "values", "message"), REFUSED)
def test_a_wrong_parameter_is_named_with_its_place_and_what_was_found(struct, values, message):
    with pytest.raises(ConfigError) as caught:
        build_params(struct, values, "step 'x'")
    assert message in str(caught.value)
    assert str(caught.value).startswith("step 'x': ")
    assert "\n" not in str(caught.value)


def test_a_config_error_is_a_value_error_too():
    with pytest.raises(ValueError, match="order"):
        build_params(Toy, {"order": 9}, "here")


def test_defaults_hold_where_nothing_is_said():
    assert build_params(Toy, {}, "here").order == 2


def test_a_parameter_may_be_given_under_its_former_name():
    assert build_params(Renamed, {"max_y": 3}, "here") == build_params(Renamed, {"max_emitters": 3}, "here")


def test_former_names_are_no_parameters():
    assert [row[0] for row in describe(Renamed)] == ["max_emitters"]
    assert Toy.former_names == {}


@pytest.mark.parametrize("kind", operators())
def test_former_names_of_every_operator_lead_to_parameters_and_hide_none(kind):
    struct = operators()[kind].Params
    names = set(struct.__struct_fields__)
    assert set(struct.former_names.values()) <= names
    assert not struct.former_names.keys() & names


def test_numpy_scalars_and_paths_are_as_good_as_plain_values():
    toy = build_params(Toy, {"order": np.int64(3), "path": Path("a/b"), "shape": (np.int32(2), 3)}, "here")
    assert (toy.order, toy.path, toy.shape) == (3, "a/b", (2, 3))
    assert type(toy.order) is int


@pytest.mark.parametrize("weights", [np.array([0.5, 1]), [0.5, 1]])
def test_an_array_parameter_takes_arrays_and_lists(weights):
    assert np.array_equal(build_params(Toy, {"weights": weights}, "here").weights, [0.5, 1])


@pytest.mark.parametrize("weights", [["a", "b"], np.array([None])])
def test_an_array_parameter_takes_numbers_only(weights):
    with pytest.raises(ConfigError, match=r"^here: .*expected ndarray"):
        build_params(Toy, {"weights": weights}, "here")


def test_parameters_are_frozen():
    with pytest.raises(AttributeError, match="immutable"):
        build_params(Toy, {}, "here").order = 3


def test_a_description_has_name_type_default_and_meaning_of_each():
    rows = {name: (kind, default, meaning) for name, kind, default, meaning in describe(Toy)}
    assert rows["order"] == ("int", "2", "cumulant order")
    assert rows["detect"] == ("'mean' | 'max'", "'mean'", "")
    assert describe(Pair)[0][2] == "required"
