"""The trigger in a chain: when it fires, and when it does not."""

import numpy as np
import pytest
from msgspec.structs import replace

from streamfluo import Block, Chain, ConfigError, Spec
from streamfluo.engine.config import parse_config
from streamfluo.testing import check_laws

SPEC = Spec((12, 12), "uint16", interval_s=0.02)


def movie(levels):
    return np.repeat(np.asarray(levels, np.uint16), 144).reshape(-1, *SPEC.shape)


def chain(when, more="", steps='[[step]]\nkind = "moments"\n'):
    text = f"{steps}[[step]]\nkind = 'trigger'\nparams = {{ when = {when!r}{more} }}"
    return Chain(parse_config(text, "c.toml"), SPEC)


def fired(chain, levels, start=0):
    pixels = movie(levels)
    times = (start + np.arange(len(pixels))) * 20_000_000
    (output,) = (o for step, o in chain.push(Block(start, times, pixels)) if step == "trigger")
    return output.values["fired"].astype(int).tolist()


def test_it_fires_when_the_condition_begins_to_hold():
    assert fired(chain("total_signal > 500 ADU"), [1, 9, 9, 1, 9]) == [0, 1, 0, 0, 1]


def test_it_fires_at_each_frame_where_asked():
    assert fired(chain("moments.total_signal > 500 ADU", ', fires = "each"'), [1, 9, 9, 1, 9]) == [0, 1, 1, 0, 1]


def test_it_is_refractory():
    assert fired(chain("total_signal > 500", ', fires = "each", refractory_s = 0.04'), [9] * 6) == [1, 0, 1, 0, 1, 0]


def test_a_gap_begins_anew():
    one = chain("total_signal > 500 for 2 frames")
    assert fired(one, [9, 9, 9]) == [0, 1, 0]
    assert fired(one, [9, 9], start=7) == [0, 1]


def test_a_condition_that_is_never_known_is_said():
    one = chain("photons[99] > 3", steps='[[step]]\nkind = "spots"\nparams = { spots = [[2, 2]], crop_px = 5 }\n')
    assert fired(one, [9] * 120) == [0] * 120
    assert one.step("trigger").doubt == (
        "whether 'photons[99] > 3' holds has not been known for 120 frames: there is no photons[99]"
    )


@pytest.mark.parametrize(
    ("when", "says"),
    [
        ("moments.totl > 3", "c.toml: step 'trigger': nothing above gives 'moments.totl'; did you mean"),
        ("total_signal > 3 V", "step 'trigger': 'total_signal > 3 V': total_signal is in ADU, 3 V in V"),
        ("total_signal >", "step 'trigger': 'total_signal >', character 15: expected"),
        ("moments.mean > 3", "moments.mean: an image; a condition takes one number of a snapshot"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_first_frame(when, says):
    with pytest.raises(ConfigError) as error:
        chain(when)
    assert says in str(error.value)


def test_its_level_is_changed_while_frames_flow():
    one = chain("total_signal > level", ", level = 500.0")
    operator = one.step("trigger").operator
    assert fired(one, [1, 9, 1]) == [0, 1, 0]
    operator.change(replace(operator.params, level=2000.0))
    assert fired(one, [1, 9, 20], start=3) == [0, 0, 1]


def test_laws_hold_with_values_of_other_steps():
    rng = np.random.default_rng(1)
    walk = rng.normal(size=(200, 1)).cumsum(0)
    params = {"when": "rising(walk > level) or walk < -3 for 3 frames", "refractory_s": 0.1}
    check_laws("trigger", SPEC, lambda block: {"walk": walk[block.index : block.stop, 0]}, **params)


CONVERGES = """
[[step]]
kind = "sofi"
params = {{ order = 2 }}
[[step]]
kind = "trigger"
params = {{ when = "{when}", read_frames = 64 }}
"""


def blinking(frames):
    rng = np.random.default_rng(5)
    on = rng.random((frames, 12, 12)) < 0.3
    return rng.poisson(100 + 400 * on).astype(np.uint16)


def test_a_snapshot_is_taken_at_its_frames_however_blocks_are_cut():
    pixels, fired_at = blinking(1500), []
    for cut in (1, 7, 32):
        one = Chain(parse_config(CONVERGES.format(when="sofi.change[0] < .12"), "c.toml"), SPEC)
        holds = []
        for n in range(0, len(pixels), cut):
            block = Block(n, (n + np.arange(len(pixels[n : n + cut]))) * 20_000_000, pixels[n : n + cut])
            holds += [o.values["holds"] for step, o in one.push(block) if step == "trigger"]
        found = np.concatenate(holds)
        assert np.isnan(found[:63]).all()
        assert set(np.flatnonzero(np.diff(np.nan_to_num(found, nan=-1))) % 64) == {62}
        fired_at.append(np.flatnonzero(found == 1)[0])
    assert len(set(fired_at)) == 1
    whole = Chain(parse_config(CONVERGES.format(when="false"), "c.toml"), SPEC)
    for n in range(0, fired_at[0] + 1, 32):
        stop = min(n + 32, fired_at[0] + 1)
        whole.push(Block(n, np.arange(n, stop) * 20_000_000, pixels[n:stop]))
    assert whole.read("sofi")["change"][0] < 0.12


def test_what_was_read_before_a_stop_holds_behind_it():
    pixels = blinking(300)
    text = CONVERGES.format(when="sofi.frames > 100")
    unbroken, before = (Chain(parse_config(text, "c.toml"), SPEC) for _ in range(2))
    blocks = [Block(n, np.arange(n, n + 30) * 20_000_000, pixels[n : n + 30]) for n in range(0, 300, 30)]
    whole = [dict(unbroken.push(block))["trigger"].values["holds"] for block in blocks]
    for block in blocks[:5]:
        before.push(block)
    after = Chain(parse_config(text, "c.toml"), SPEC)
    after.restore(before.state())
    for block, expected in zip(blocks[5:], whole[5:], strict=True):
        np.testing.assert_array_equal(dict(after.push(block))["trigger"].values["holds"], expected)


def test_an_image_is_no_condition():
    with pytest.raises(ConfigError, match="an image; a condition takes one number of a snapshot"):
        Chain(parse_config(CONVERGES.format(when="sofi.k2 > 3"), "c.toml"), SPEC)
