"""The config: what a user wrote becomes a tree of steps, or one line that says where, what, found, what to do."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfluo import ConfigError, Spec
from streamfluo.engine.config import load_config, parse_config, with_overrides


def steps(*tables):
    return "\n".join(f"[[step]]\n{table}" for table in tables)


def tree(text, changes=()):
    return [(s.id, s.after) for s in parse_config(text, changes=changes).steps]


TREES = [
    ("", []),
    (steps('kind = "bin"'), [("bin", "source")]),
    (steps('kind = "bin"', 'kind = "moments"'), [("bin", "source"), ("moments", "bin")]),
    (steps('kind = "bin"', 'kind = "moments"\nafter = "source"'), [("bin", "source"), ("moments", "source")]),
    (steps(*['kind = "bin"'] * 3), [("bin", "source"), ("bin-2", "bin"), ("bin-3", "bin-2")]),
    (steps('kind = "bin"\nid = "small"', 'kind = "bin"'), [("small", "source"), ("bin", "small")]),
    (
        steps('kind = "bin"', 'kind = "moments"', 'kind = "moments"\nafter = "bin"'),
        [("bin", "source"), ("moments", "bin"), ("moments-2", "bin")],
    ),
]


@pytest.mark.parametrize(("text", "expected"), TREES)
def test_steps_get_ids_and_their_place_in_the_tree(text, expected):
    assert tree(text) == expected


def test_everything_written_is_there():
    text = """
    [source]
    uri = "sim:calcium"
    interval_s = 0.03
    pixel_um = 0.1
    [[step]]
    kind = "spots"
    id = "a"
    device = "gpu"
    inputs = { photons = "b.photons" }
    params = { detect = "mean" }
    [record]
    raw = true
    """
    config = parse_config(text, "run.toml")
    (step,) = config.steps
    assert (config.source.uri, config.source.interval_s, config.record.raw) == ("sim:calcium", 0.03, True)
    assert config.source.pixel_um == 0.1
    assert with_overrides(config, Spec((8, 8), "uint8")).pixel_um == 0.1
    assert (step.kind, step.id, step.device) == ("spots", "a", "gpu")
    assert step.inputs == {"photons": "b.photons"}
    assert step.params == {"detect": "mean"}
    assert (config.where, config.text) == ("run.toml", text)


def test_what_is_not_written_is_left_open():
    config = parse_config("")
    assert (config.source.uri, config.source.interval_s, config.record.raw) == (None, None, None)


REFUSED = [
    ("a = = 1", "run.toml: not valid TOML: "),
    ("[soruce]", "run.toml: no table [soruce]; did you mean 'source'?"),
    ("[zzz]", "run.toml: no table [zzz]; there is 'action', 'chain', 'input', 'publish', 'record', 'source', 'step'"),
    ("[step]\nkind = 'bin'", "run.toml: steps are tables [[step]], with double brackets"),
    ("step = [1]", "run.toml: steps are tables [[step]], with double brackets"),
    ("source = 'file.tif'", "run.toml: source is a table [source], found 'file.tif'"),
    ("[source]\nurl = 'x'", "run.toml: [source]: no parameter 'url'; did you mean 'uri'?"),
    ("[source]\nuri = 3", "run.toml: [source]: uri: expected a text, not a whole number, found 3"),
    ("[record]\nraw = 'yes'", "run.toml: [record]: raw: expected true or false, not a text, found 'yes'"),
    (steps("id = 'a'"), "run.toml: step 'a': parameter 'kind' is missing"),
    (steps(""), "run.toml: step 'number 1': parameter 'kind' is missing"),
    (steps("kind = 3"), "run.toml: step 3: kind: expected a text, not a whole number, found 3"),
    (steps("kind = 'bin'\nparam = {}"), "run.toml: step 'bin': no parameter 'param'; did you mean 'params'?"),
    (steps("kind = 'bin'\nbin_px = 2"), "run.toml: step 'bin': no parameter 'bin_px'; "),
    (
        steps("kind = 'bin'\nparams = 3"),
        "run.toml: step 'bin': params: expected a table of names and values, not a whole number, found 3",
    ),
    (
        steps("kind = 'bin'\ninputs = { a = 1 }"),
        "run.toml: step 'bin': inputs[...]: expected a text, not a whole number",
    ),
    (steps("kind = 'bin'\nid = 'a/b'"), "run.toml: step id 'a/b' must be a letter, then letters, digits, - or _"),
    (steps("kind = 'bin'\nid = '../x'"), "run.toml: step id '../x' must be"),
    (steps("kind = 'bin'\nid = '2nd'"), "run.toml: step id '2nd' must be"),
    (steps("kind = 'bin'\nid = 'source'"), "run.toml: step id 'source' must be"),
    (steps(f"kind = 'bin'\nid = '{'a' * 65}'"), "must be a letter"),
    (steps("kind = 'my kind'"), "run.toml: step id 'my kind' must be"),
    (
        steps("kind = 'bin'\nid = 'a'", "kind = 'moments'\nid = 'a'"),
        "run.toml: two steps have the id 'a'; give one of them another id",
    ),
    (
        steps("kind = 'bin'", "kind = 'moments'\nafter = 'bim'"),
        "run.toml: step 'moments': after = 'bim' is no step above it; did you mean 'bin'?",
    ),
    (
        steps("kind = 'bin'\nafter = 'moments'", "kind = 'moments'"),
        "run.toml: step 'bin': after = 'moments' is no step above it; it stands below, put it above",
    ),
    (
        steps("kind = 'bin'\nafter = 'zzz'"),
        "run.toml: step 'bin': after = 'zzz' is no step above it; there is 'source'",
    ),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_a_mistake_is_one_line_with_its_place_and_a_way_out(text, message):
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "run.toml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_step_cannot_come_after_itself():
    with pytest.raises(ConfigError, match="step 'a': after = 'a' is no step above it"):
        parse_config(steps("kind = 'bin'\nid = 'a'\nafter = 'a'"))


# --set on the command line

TWO = steps("kind = 'bin'\nparams = { bin_px = 2, mode = 'sum' }", "kind = 'moments'")

CHANGES = [
    (["bin.bin_px=4"], {"bin_px": 4, "mode": "sum"}),
    (["bin.bin_px = 4"], {"bin_px": 4, "mode": "sum"}),
    (["bin.mode=mean"], {"bin_px": 2, "mode": "mean"}),
    (["bin.mode='mean'"], {"bin_px": 2, "mode": "mean"}),
    (["bin.x=1.5", "bin.x=true"], {"bin_px": 2, "mode": "sum", "x": True}),
    (["bin.x=[1, 2]"], {"bin_px": 2, "mode": "sum", "x": [1, 2]}),
    (["bin.x=.066"], {"bin_px": 2, "mode": "sum", "x": 0.066}),
    (["bin.x=-3."], {"bin_px": 2, "mode": "sum", "x": -3.0}),
    (["bin.x=..5"], {"bin_px": 2, "mode": "sum", "x": "..5"}),
    (["bin.x=a=b"], {"bin_px": 2, "mode": "sum", "x": "a=b"}),
    (["bin.x="], {"bin_px": 2, "mode": "sum", "x": ""}),
]


@pytest.mark.parametrize(("changes", "params"), CHANGES)
def test_a_change_sets_one_parameter_of_one_step(changes, params):
    config = parse_config(TWO, changes=changes)
    assert config.steps[0].params == params
    assert config.steps[1].params == {}


def test_what_was_set_stands_in_the_text_that_is_kept_and_is_set_again_when_that_runs():
    ran = parse_config(TWO, changes=["bin.mode=mean", "source.interval_s=.1", 'bin.x="a\\nb"'])
    again = parse_config(ran.text)
    assert again.text == ran.text
    assert again.steps[0].params == ran.steps[0].params == {"bin_px": 2, "mode": "mean", "x": "a\nb"}
    assert again.source.interval_s == 0.1
    assert again.stated == {"bin.mode", "source.interval_s", "bin.x"}
    assert again.changed == set()  # what was changed while it ran is changed again
    assert ran.text.endswith(TWO)
    other = parse_config(ran.text, changes=["bin.mode=sum"])
    assert other.steps[0].params["mode"] == "sum"
    assert other.changed == {"bin.mode"}
    assert parse_config(other.text).steps == other.steps
    assert other.text.count("set = ") == 1
    assert parse_config(TWO).text == TWO


@pytest.mark.parametrize(
    "text", ["set = 3\n", "set = [3]\n", 'set = [\n"bin.mode=mean"]\n', '# mine\nset = ["bin.mode=mean"]\n']
)
def test_such_a_line_is_the_first_and_as_a_run_writes_it(text):
    with pytest.raises(ConfigError, match=r'run.toml: set is the first line, set = \["step.key=value"\]'):
        parse_config(text + TWO, "run.toml")


def test_what_was_set_and_is_no_longer_there_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"--set bim\.x=3: no step 'bim'"):
        parse_config(f'set = ["bim.x=3"]\n{TWO}')


REFUSED_CHANGES = [
    ("bin.bin_px", "--set bin.bin_px: write step.key=value"),
    ("bin_px=3", "--set bin_px=3: write step.key=value"),
    (".x=3", "--set .x=3: no step '' in run.toml; there is 'bin', 'chain', 'moments'"),
    ("bin.=3", "write step.key=value"),
    ("bim.bin_px=3", "--set bim.bin_px=3: no step 'bim' in run.toml; did you mean 'bin'?"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED_CHANGES)
def test_a_change_that_means_nothing_is_refused(change, message):
    with pytest.raises(ConfigError) as caught:
        parse_config(TWO, "run.toml", [change])
    assert message in str(caught.value)


def test_a_value_cannot_smuggle_in_other_keys():
    config = parse_config(TWO, changes=["bin.x=1\n[other]\ny=2"])
    assert config.steps[0].params["x"] in (1, "1\n[other]\ny=2")


# Files


def test_a_config_file_is_read_as_utf_8(tmp_path):
    path = tmp_path / "run.toml"
    path.write_bytes("# µm\n[source]\nuri = 'größe.tif'".encode())
    assert load_config(path).source.uri == "größe.tif"
    assert load_config(path).where == "run.toml"


FILES = [
    (None, "run.toml: cannot read the config: No such file or directory"),
    (b"\xff\xfe", "run.toml: cannot read the config: not utf-8 text"),
]


@pytest.mark.parametrize(("content", "message"), FILES)
def test_a_file_that_cannot_be_read_is_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "run.toml").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "run.toml")
    assert message in str(caught.value)


def test_a_folder_in_place_of_a_config_is_named(tmp_path):
    with pytest.raises(ConfigError, match="cannot read the config"):
        load_config(tmp_path)


@pytest.mark.parametrize(
    ("change", "table", "value"),
    [
        ("source.pixel_um=0.5", "source", {"pixel_um": 0.5}),
        ("source.interval_s=.066", "source", {"interval_s": 0.066}),
        ("publish.uri=tcp://127.0.0.1:5560", "publish", {"uri": "tcp://127.0.0.1:5560"}),
        ("record.raw=true", "record", {"raw": True}),
    ],
)
def test_a_change_of_source_record_or_publish_goes_into_its_table(change, table, value):
    found = getattr(parse_config("[source]\nuri = 'a.tif'", changes=[change]), table)
    assert {name: getattr(found, name) for name in value} == value
    assert parse_config("[source]\nuri = 'a.tif'", changes=[change]).source.uri == "a.tif"


def test_a_change_goes_into_the_step_that_has_a_tables_name():
    config = parse_config(steps('kind = "moments"\nid = "record"'), changes=["record.raw=true"])
    assert config.record.raw is None
    assert config.steps[0].params == {"raw": True}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("source.pixels=1", r"\[source\]: no parameter 'pixels'"),
        ("sorce.uri=x", "no step 'sorce' in config; did you mean 'source'"),
        ("record.raw=7", "raw: expected"),
    ],
)
def test_a_change_that_fits_no_table_is_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        parse_config("", changes=[change])


toml_values = st.integers(-9, 9) | st.booleans() | st.text("ab-_ .'/", max_size=5) | st.just([]) | st.just({})


def spelled(value):
    if isinstance(value, str):
        return '"' + value + '"'
    return {"[]": "[]", "{}": "{}"}.get(str(value), str(value).lower())


@given(
    tables=st.lists(
        st.dictionaries(st.sampled_from(["kind", "id", "after", "inputs", "params", "device", "x"]), toml_values),
        max_size=4,
    )
)
def test_whatever_stands_in_the_steps_is_a_tree_or_a_config_error(tables):
    text = steps(*("\n".join(f"{k} = {spelled(v)}" for k, v in table.items()) for table in tables))
    assert tomllib.loads(text) is not None
    try:
        config = parse_config(text)
    except ConfigError:
        return
    ids = ["source"]
    for step in config.steps:
        assert step.after in ids
        assert step.id not in ids
        ids.append(step.id)
