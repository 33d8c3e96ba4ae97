"""Every kernel of a card compiles for CUDA: what twins run here is the same source compiled for the processor."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from test_laws import CASES

import streamfluo
from streamfluo import Spec, create
from streamfluo.core.card import definitions, kernel_names, using_card
from streamfluo.core.registry import operators
from streamfluo.testing.strict_card import StrictCard

SPILLED = 64  # bytes a thread: a fit of six numbers has 44 beyond 255 registers, which its first cache keeps
NVCC = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin:/usr/local/bin")
WORDS = Path(streamfluo.__file__).parent / "pixels/card_gpu.py"


class Sources(StrictCard):
    """Keeps what is compiled for it."""

    def __init__(self):
        super().__init__()
        self.sources = {}

    def compiled(self, source, **given):
        self.sources[definitions(given) + source] = source
        return super().compiled(source, **given)


def sources():
    """What the operators that run on a card compile for frames of integers and of floats, once each."""
    card = Sources()
    with using_card(card):
        for kind, params, dtype in (case.values for case in CASES):
            if "gpu" in operators()[kind].devices and dtype in ("uint16", "float32"):
                create(kind, Spec((13, 17), dtype, interval_s=0.02), "gpu", **params)
    return card.sources


def words():
    """The words of the language for CUDA, of a file that cannot be imported without cupy."""
    text = WORDS.read_text(encoding="utf-8").split(chr(34) * 3)
    at = next(n for n, part in enumerate(text) if part.rstrip().endswith("WORDS ="))
    return text[at + 1].replace("\\\\", "\\")


@pytest.mark.skipif(NVCC is None, reason="nvcc is not there: apt install nvidia-cuda-toolkit, or CUDA's own")
@pytest.mark.slow
def test_every_source_compiles_for_cuda_and_hardly_spills_registers(tmp_path):
    all_sources = sources()
    assert len(all_sources) > 10
    names = []
    for n, (code, source) in enumerate(all_sources.items()):
        path = tmp_path / f"{n}.cu"
        # definitions before the words, as CudaCard has them
        head = code[: len(code) - len(source)]
        path.write_text(head + words() + source)
        names.append(path)
    for path in names:
        done = subprocess.run(
            [NVCC, "-arch=sm_90", "-std=c++17", "--fmad=false", "-Xptxas", "-v", "-cubin", "-o", tmp_path / "k", path],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[:2000]
        spilled = map(int, re.findall(r"(\d+) bytes spill stores", done.stderr))
        assert max(spilled) <= SPILLED, path.read_text()[:500]
        assert all(f"'{name}'" in done.stderr for name in kernel_names(path.read_text()))
