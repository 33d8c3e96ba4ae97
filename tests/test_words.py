"""The house speaks the field's words: private ones do not come back."""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [
    *sorted((ROOT / "streamfluo").rglob("*.py")), *sorted((ROOT / "configs").glob("*.toml")), ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]  # fmt: skip

# what was once said, as a pattern → what the field says
BANNED = {
    r"opinion": "cross-check",
    r"likeness": "spatial correlation",
    r"\w*outsh[io]ne": "exceeds the template's contrast",
    r"feigned": "noise bias",
    r"\blamp\b": "illumination",
    r"\bfoot\b": "offset, dark level",
    r"lockstep": "batched BFGS",
    r"own.gains": "per-pixel gains",
    r"widths of noise|noise widths": "noise σ",
    r"read between pixels": "interpolated",
    r"told_spec": "with_overrides",
    r"steadying": "Kalman filter",
    r"light-shy": "the measured bias",
    r"what is thought": "prior",
    r"rates_of_looks|RunningLooks": "detection passes",
    r"\blooked at again\b|said for good": "re-estimated, final",
}
# Names in the state and the truth of older sessions.
KEPT = {
    r"steadying": {"motion/shift_prior.py"},
    r"feigned": {"motion/template.py"},
    r"\blamp\b": {"sources/simulate/gain.py"},
}


@cache
def text_of(path):
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("pattern", BANNED, ids=str)
def test_a_private_word_does_not_come_back(pattern):
    found = []
    for path in FILES:
        name = path.relative_to(ROOT).as_posix().removeprefix("streamfluo/")
        if name in KEPT.get(pattern, ()) or not re.search(pattern, text_of(path), re.IGNORECASE | re.MULTILINE):
            continue
        for number, line in enumerate(text_of(path).splitlines(), 1):
            if re.search(pattern, line, re.IGNORECASE):
                found.append(f"{name}:{number}: {line.strip()}")
    assert not found, f"say {BANNED[pattern]}: " + "; ".join(found)


@pytest.mark.parametrize("pattern", KEPT, ids=str)
def test_an_exception_that_is_needed_no_more_goes(pattern):
    for name in KEPT[pattern]:
        assert re.search(pattern, (ROOT / "streamfluo" / name).read_text(encoding="utf-8"), re.IGNORECASE), name
