"""A report of each job, from a run of its shipped config: what a science draws is what its operator leaves."""

import re

import pytest

from streamfluo import open_session, open_source
from streamfluo.engine.config import load_config
from streamfluo.engine.engine import Engine
from streamfluo.report.page import page_of

JOBS = {
    "calcium_2p": ("sim:calcium?shape=96x96&frames=400&seed=43101", ("cells accepted", "Traces", "All cells", "Shift")),
    "spots": ("sim:spots?motion=random&shape=64x64&frames=60&seed=43102", ("Rendered localisations", "precision")),
    "counting": ("sim:bleaching-steps?frames=400&max_y=3&p_bleach=0&seed=43103", ("Counts", "Where they are")),
    "sofi": ("sim:blinking?shape=32x32&frames=400&seed=43104", ("SOFI of order 4", "How far the images have settled")),
    "calibrate": ("sim:gain?shape=64x64&frames=200&seed=43105", ("Photon transfer curve", "One ADU is")),
    "moments": ("sim:calcium?shape=32x32&frames=64&seed=43106", ("variance", "total signal")),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("job", JOBS)
def test_a_run_of_each_job_has_a_page(job, tmp_path):
    uri, expected = JOBS[job]
    with open_source(uri) as source:
        engine = Engine(source, load_config(job), tmp_path / "S")
        engine.start()
        assert engine.wait(400)
    page = page_of(open_session(tmp_path / "S"))
    text = re.sub(r"<[^>]*>", " ", page)
    assert "could not be made" not in text
    assert "cannot be shown" not in text
    for said in expected:
        assert said in text, said
    assert len(page) < 5_000_000
