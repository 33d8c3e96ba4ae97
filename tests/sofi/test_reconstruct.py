"""`reconstruct`, `interpolate` and `debleach` against the batch functions, and the worker they run on."""

import threading
import time

import numpy as np
import pytest

from streamfluo import Block, ConfigError, Spec, analysis, create, open_source
from streamfluo.core import wire
from streamfluo.engine.chain import Chain
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.network.client import ResultsSubscriber, ask
from streamfluo.simulate import blinking

SPEC = Spec((33, 40), "uint16")


@pytest.fixture(scope="module")
def snapshots():
    movie, _ = blinking(frames=1000, shape=SPEC.shape, seed=3, emitters=60, k_on_hz=0.5, k_off_hz=9)
    sofi = create("sofi", SPEC, order=4, cross=1)
    for start in range(0, 1000, 32):
        part = movie[start : start + 32]
        sofi.update(Block(start, np.zeros(len(part)), part))
    return sofi.read()


def gaussian(sigma_px):
    reach = int(np.ceil(4 * sigma_px))
    line = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma_px**2))
    return np.outer(line, line) / line.sum() ** 2


@pytest.mark.parametrize("method", ["shrinking-kernel", "richardson-lucy", "wiener", "none"])
@pytest.mark.parametrize("order", [2, 4])
def test_the_picture_is_made_by_the_batch_functions(snapshots, order, method):
    found = create("reconstruct", SPEC, order=order, method=method, psf=1.4, iterations=5).read(None, snapshots)
    image = np.maximum(analysis.fourier_interpolate(snapshots[f"k{order}"], 2), 0)
    psf = gaussian(1.4 * 2 / np.sqrt(order))
    expected = {
        "shrinking-kernel": lambda: analysis.shrinking_kernel_deconvolve(image, psf, 1.5, 5),
        "richardson-lucy": lambda: analysis.richardson_lucy(image, psf, 5),
        "wiener": lambda: analysis.wiener(image, psf, 100),
        "none": lambda: image,
    }[method]()
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found["deconvolved"], expected, rtol=0, atol=1e-9 * scale)
    np.testing.assert_allclose(
        found["linearised"], analysis.linearise(expected, order), atol=1e-6 * scale ** (1 / order)
    )
    widefield = analysis.fourier_interpolate(snapshots["mean"], 2)
    np.testing.assert_allclose(found["widefield"], widefield, rtol=1e-12)
    compressed = analysis.ldrc(expected, widefield)
    np.testing.assert_allclose(found["compressed"], compressed, rtol=0, atol=1e-6 * compressed.max())


def test_the_maps_of_blinking_are_balances(snapshots):
    found = create("reconstruct", SPEC, psf=1.4, iterations=0).read(["on_ratio", "density"], snapshots)
    expected = analysis.balance(*(snapshots[k] for k in ("k2", "k3", "k4")))
    np.testing.assert_array_equal(found["on_ratio"], expected.on_ratio)
    np.testing.assert_array_equal(found["density"], expected.density)


def test_the_psf_is_the_one_that_the_data_show(snapshots):
    estimated, given = (
        create("reconstruct", SPEC, order=2, grid=True, factor=1, psf=psf)
        for psf in ("estimate", float(snapshots["psf_sigma_px"]))
    )
    found, expected = (step.read(["deconvolved"], snapshots)["deconvolved"] for step in (estimated, given))
    np.testing.assert_array_equal(found, expected)
    assert found.shape == (65, 79)


@pytest.mark.parametrize("sigma_px", [40.0, 3e8, 1e300])
def test_a_psf_wider_than_the_frame_is_refused_before_memory_is_asked_for(snapshots, sigma_px):
    step = create("reconstruct", SPEC, order=2, factor=16)
    with pytest.raises(ConfigError, match=r"reconstruct: a PSF of σ = .* px is wider than the frame, 40 px; state psf"):
        step.read(["deconvolved"], {**snapshots, "psf_sigma_px": np.float64(sigma_px)})
    assert step.read(["widefield"], {**snapshots, "psf_sigma_px": np.float64(sigma_px)})


REFUSED = {
    "a psf that is not there": ("{ psf = 'nowhere.npy' }", "psf: nowhere.npy cannot be read"),
    "a psf of even sides": ("{ psf = [[1.0, 2.0]] }", "an image of odd sides"),
    "no psf to be had": ("{ psf = 'estimate' }", "nothing above gives 'psf_sigma_px'"),
    "an order that sofi has not": ("{ order = 5, psf = 1.3 }", "nothing above gives 'k5'"),
    "a method of another name": ("{ method = 'lucy' }", "method"),
}


@pytest.mark.parametrize(("params", "says"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_one_line(params, says):
    text = f"[[step]]\nkind = 'sofi'\n[[step]]\nkind = 'reconstruct'\nparams = {params}"
    with pytest.raises(ConfigError, match="step 'reconstruct'") as caught:
        Chain(parse_config(text), SPEC)
    assert says in str(caught.value)


def test_debleach_takes_the_loss_of_light_and_leaves_the_blinking():
    rng = np.random.default_rng(1)
    blinks = 100.0 * (rng.random((3000, 5, 6)) < 0.3)
    light = 1000 * np.exp(-np.arange(3000) / 1000)
    movie = (blinks + light[:, None, None] + 500).astype("uint16")
    step = create("debleach", Spec((5, 6), "uint16"), smooth_frames=100)
    blocks = [Block(k, np.zeros(30), movie[k : k + 30]) for k in range(0, 3000, 30)]
    found = np.concatenate([step.update(block).block.pixels for block in blocks])
    b, c, expected = np.zeros((5, 6)), np.zeros((5, 6)), np.empty_like(blinks)
    for t, frame in enumerate(movie.astype(float)):
        b += (frame - b) / min(t + 1, 100)
        c += (b - c) / min(t + 1, 100)
        expected[t] = frame - 2 * b + c + movie[0].mean()
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert movie.std(0).mean() > 5 * blinks.std(0).mean()
    np.testing.assert_allclose(found[300:].std(0), blinks.std(0), rtol=0.05)


LIVE = """
[publish]
uri = "tcp://127.0.0.1:*"
[[step]]
kind = "sofi"
params = { order = 4, cross = 1 }
[[step]]
kind = "reconstruct"
params = { grid = true, factor = 1 }
"""


def test_deconvolution_runs_beside_the_chain_and_only_while_it_is_watched():
    text = LIVE.replace("tcp://127.0.0.1:*", "tcp://127.0.0.1:0")
    with open_source("sim:blinking?shape=48x48&seed=3") as source:
        engine = Engine(source, parse_config(text), None)
        operator, threads = engine.chain.step("reconstruct").operator, []
        read = operator.read
        operator.read = lambda *args: threads.append(threading.current_thread().name) or read(*args)
        engine.start()
        time.sleep(0.3)
        assert not threads
        hello = ask(engine.publisher.endpoint, wire.Hello())
        with ResultsSubscriber(hello.endpoints["results"], ["snapshot/reconstruct/deconvolved/"]) as results:
            images = [results.receive(timeout_s=20)[2]["deconvolved"] for _ in range(4)]
        engine.stop()
        engine.wait()
    assert engine.error is None
    assert images[-1].shape == (95, 95)
    assert threads
    assert all(name.startswith("snapshots") for name in threads)
