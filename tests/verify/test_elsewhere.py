"""A recording behind a web server is verified where that is asked for, and no address by itself."""

import pytest
from tampered import found, run

from streamfluo.verify.verifying import Wanted, verify_session

pytest.importorskip("zarr")
pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")
from zarr_served import image, serving

MOMENTS = '[[step]]\nkind = "moments"\n'


def test_frames_elsewhere_are_asked_for_where_that_is_wanted(tmp_path):
    image(tmp_path / "rec.zarr")
    with serving(tmp_path) as address:
        uri = f"{address}/rec.zarr?frames=1:8"
        session = run(tmp_path / "s", MOMENTS, uri)
        assert found(session, Wanted()) == [
            f"cannot tell: recomputing: its frames are at {uri}; --elsewhere has that address asked for them"
        ]
        verdict = verify_session(session, Wanted(elsewhere=True))
        assert (verdict.word, verdict.checked[-1]) == ("verified", "frames 0 to 6 recomputed, with the snapshots")
        image(tmp_path / "rec.zarr", fill=9)
        (tmp_path / "rec.zarr" / "0" / "2.0.0").unlink()
        assert any(f"{uri} has changed since this session" in one for one in found(session, Wanted(elsewhere=True)))
    (said,) = found(session, Wanted(elsewhere=True))
    assert said.startswith(f"cannot tell: recomputing: {address}/rec.zarr: no Zarr that can be read there: Cannot")
