"""Inputs that a fuzzer kept: each went somewhere no other did, and none may bring out more than our own errors."""

from pathlib import Path

import pytest
from fuzz_targets import TARGETS

CORPORA = Path(__file__).parent / "corpora"


@pytest.mark.parametrize("name", TARGETS)
def test_what_a_fuzzer_kept_is_read_or_refused_in_one_line(name, tmp_path):
    if name == "hdf5":
        pytest.importorskip("h5py", reason="needs the extra [formats]")
    kept = sorted((CORPORA / name).iterdir())
    assert kept
    for path in kept:
        TARGETS[name].run(path.read_bytes(), tmp_path)
