"""State is flat and plain; the registry finds operators by kind and refuses two of one name; tables have a shape."""

import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from streamfluo import Block, ConfigError, FrameError, Gives, Operator, Output, Spec, StateError, Table, create
from streamfluo.core import registry
from streamfluo.core.card import using_card
from streamfluo.core.errors import StreamfluoError, did_you_mean
from streamfluo.core.registry import operators
from streamfluo.core.state import check_state, require_array
from streamfluo.testing.host_card import HostCard

SPEC = Spec((4, 4), "u2")

PLAIN = [np.arange(3), np.array(2.5), np.array(["a"]), np.array([True]), np.array([1j]), 3, 2.5, "text"]
NOT_PLAIN = [None, True, np.float64(2), [1], {"a": 1}, b"bytes", np.array([None]), np.array([b"x"]), object()]


@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_plain_values_are_a_state(value):
    assert check_state({"x": value}, "here")["x"] is value


@pytest.mark.parametrize("value", NOT_PLAIN, ids=lambda v: type(v).__name__)
def test_other_values_are_refused_by_name(value):
    with pytest.raises(StateError, match="here: state 'x' must be a plain array, int, float or str, found"):
        check_state({"x": value}, "here")


def test_a_state_is_a_mapping_with_text_keys():
    with pytest.raises(StateError, match="here: a state is a mapping, found list"):
        check_state([1], "here")
    with pytest.raises(StateError, match="state 3 must be"):
        check_state({3: 1}, "here")


def test_a_required_array_comes_as_a_copy():
    mine = np.zeros((2, 3))
    copy = require_array({"x": mine}, "x", np.zeros((2, 3)), "here")
    copy[...] = 1
    assert not mine.any()


@pytest.mark.parametrize("state", [{}, {"x": 3}, {"x": np.zeros(6)}, {"x": np.zeros((3, 2))}])
def test_a_missing_or_misshapen_array_is_refused(state):
    with pytest.raises(StateError, match=r"here: state 'x' must be an array \(2, 3\) float64, found"):
        require_array(state, "x", np.zeros((2, 3)), "here")


# The registry


@pytest.fixture
def clean_registry():
    operators()
    before = dict(registry._operators)
    yield
    registry._operators.clear()
    registry._operators.update(before)


class Nothing(Operator):
    gives = (Gives("a", "snapshot", (), "", "a"), Gives("b", "snapshot", (), "", "b"))

    def update(self, block, inputs={}):
        return Output(block.index)

    def state(self):
        return {}

    def restore(self, state):
        pass


@pytest.mark.usefixtures("clean_registry")
def test_a_registered_operator_is_created_by_its_kind():
    registry.register("toy-nothing")(Nothing)
    operator = create("toy-nothing", SPEC)
    assert type(operator) is Nothing
    assert operator.kind == "toy-nothing"
    assert "toy-nothing" in operators()
    assert operator.out_spec is SPEC
    assert operator.update(Block(3, [0], np.zeros((1, 4, 4), "u2"))).index == 3
    assert operator.finish() is None


@pytest.mark.usefixtures("clean_registry")
def test_an_entry_named_like_a_kind_is_imported_alone_and_others_only_for_kinds_that_are_not_known(monkeypatch):
    imported = []

    class Entry(NamedTuple):
        name: str
        kind: str

        def load(self):
            imported.append(self.name)
            registry._operators[self.kind] = Operator

    entries = [Entry("first", "one"), Entry("two", "two"), Entry("last", "three")]
    monkeypatch.setattr(registry, "_operators", {})
    monkeypatch.setattr(registry, "_entries", entries)
    assert registry.operator_of("two") is registry.operator_of("two") is Operator
    assert imported == ["two"]
    assert registry.operator_of("one") is Operator
    assert imported == ["two", "first"]
    assert registry.operator_of("four") is None
    assert imported == ["two", "first", "last"]


def test_every_kind_of_ours_has_an_entry_of_its_name():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ours = {kind for kind, operator in operators().items() if operator.__module__.startswith("streamfluo.")}
    assert ours == project["entry-points"][registry.ENTRY_POINTS].keys()


def test_two_operators_of_one_name_are_refused_the_same_one_anew_is_not():
    registry.register("toy-twice")(Nothing)
    registry.register("toy-twice")(Nothing)
    with pytest.raises(ConfigError, match=r"operator 'toy-twice' is registered twice: .* and "):
        registry.register("toy-twice")(type("Other", (Nothing,), {"__module__": "elsewhere"}))


def test_the_listing_is_read_only_and_sorted():
    assert list(operators()) == sorted(operators())
    with pytest.raises(TypeError):
        operators()["x"] = Nothing


REFUSED = [
    (dict(kind="moment"), "create: no operator 'moment'; did you mean 'moments'?"),
    (dict(kind="bin", bin_pxx=2), "operator 'bin': no parameter 'bin_pxx'; did you mean 'bin_px'?"),
    (dict(kind="bin", bin_px=0), "operator 'bin': bin_px: expected a whole number >= 1, found 0"),
    (dict(kind="trigger", device="gpu", when="a.b > 1"), "trigger: no device 'gpu'; it runs on cpu"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_create_refuses_with_the_nearest_name(arguments, message):
    with pytest.raises(ConfigError) as caught:
        create(spec=SPEC, **arguments)
    assert message in str(caught.value)


def test_an_operator_for_the_gpu_says_which_extra_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.delitem(sys.modules, "streamfluo.pixels.card_gpu", raising=False)
    monkeypatch.delenv("STREAMFLUO_CARD", raising=False)
    twin = type("Twin", (Nothing,), {"kind": "twin", "devices": ("cpu", "gpu")})
    with pytest.raises(
        ConfigError, match=r"twin: device = 'gpu': .*cupy.*; install streamfluo\[cuda12\] or \[cuda13\]"
    ):
        twin(None, SPEC, "gpu")
    with using_card(HostCard()):
        assert twin(None, SPEC, "gpu").card.name == "host"
    with pytest.raises(ConfigError, match="twin: no device 'tpu'; it runs on cpu, gpu"):
        twin(None, SPEC, "tpu")


def test_snapshot_names_are_all_or_those_asked_for():
    toy = type("Toy", (Nothing,), {"kind": "toy"})(None, SPEC)
    assert toy.snapshot_names() == ("a", "b")
    assert toy.snapshot_names(["b"]) == ("b",)
    assert toy.snapshot_names([]) == ()
    with pytest.raises(ConfigError, match="toy: no snapshot 'c'; there is 'a', 'b'"):
        toy.snapshot_names(["c"])


def test_the_operator_contract_cannot_be_half_kept():
    with pytest.raises(TypeError, match="abstract"):
        type("Half", (Operator,), {"kind": "half", "update": lambda self, block, inputs={}: None})(None, SPEC)


# Tables and error texts


def test_a_table_is_a_mapping_of_its_columns():
    table = Table({"frame": [3, 4], "x": [0.5, 1.5]})
    assert list(table) == ["frame", "x"]
    assert table.rows == 2
    assert table["x"].dtype == float


REFUSED_TABLES = [
    ({"x": [1]}, "needs a column 'frame', found x"),
    ({}, "needs a column 'frame', found none"),
    ({"frame": [1, 2], "x": [1]}, "columns have one length, found"),
    ({"frame": 3, "x": 4}, "columns have one length, found"),
]


@pytest.mark.parametrize(("columns", "message"), REFUSED_TABLES)
def test_impossible_tables_are_refused(columns, message):
    with pytest.raises(FrameError, match=message):
        Table(columns)


def test_did_you_mean_names_the_nearest_or_all_there_is():
    assert did_you_mean("ordr", ["order", "lag"]) == "; did you mean 'order'?"
    assert did_you_mean("zzz", ["order", "lag"]) == "; there is 'lag', 'order'"
    assert did_you_mean("zzz", []) == ""


@pytest.mark.parametrize("error", StreamfluoError.__subclasses__(), ids=lambda e: e.__name__)
def test_everything_raised_on_purpose_is_a_streamfluo_error(error):
    assert issubclass(error, StreamfluoError)
    assert error.__doc__
