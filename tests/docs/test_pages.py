"""What README and documentation show works as it stands there, and names only what the code has."""

import os
import re
import subprocess
import sys

import pytest
from pages import (
    PAGES,
    ROOT,
    commands,
    docs_pages,
    faults,
    inline_faults,
    path_faults,
    shell_faults,
    simulation_faults,
    toml_faults,
)  # fmt: skip

from streamfluo.core import wire
from streamfluo.core.registry import operators
from streamfluo.sources.simulate.source import SIMULATORS


def name(page):
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_names_only_what_the_code_has(page):
    assert not faults(page)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (lambda text: shell_faults(text, {}), "streamfluo run chain.toml --sauce x"),
        (lambda text: shell_faults(text, {}), "streamfluo walk chain.toml"),
        (lambda text: shell_faults(text, {}), "streamfluo demo && streamfluo replay --fbs 3 x"),
        (lambda text: shell_faults(text, {}), "streamfluo run c.toml --set motion.max_shift=3"),
        (lambda text: shell_faults(text, {"binned": "bin"}), "streamfluo run c.toml --set binned.bin_frame=3"),
        (lambda text: shell_faults(text, {}), "streamfluo run c.toml --set walk.x=3"),
        (toml_faults, '[[step]]\nkind = "motion"\nparams = { max_shift = 3 }'),
        (toml_faults, '[[step]]\nkind = "motions"'),
        (toml_faults, '[record]\nraws = true'),
        (toml_faults, '[recording]\nraw = true'),
        (simulation_faults, "sim:calcium?sead=3&frames=20"),
        (simulation_faults, "sim:magnesium?seed=3"),
        (inline_faults, "set `max_shift = 3`"),
        (inline_faults, "see `--histories-mb`"),
        (inline_faults, "see `record --resume`"),
        (inline_faults, "raise `max_shift_pixels`"),
        (path_faults, "see `tools/bench_walk.py`"),
    ],
)  # fmt: skip
def test_a_name_that_is_not_there_is_found(check, text):
    assert check(text)


def test_names_that_are_there_pass():
    assert not shell_faults('streamfluo run c.toml --source "sim:x?a=b" --set binned.bin_px=2 &', {"binned": "bin"})
    assert not inline_faults('`max_shift_px` and `border = "crop"`, `record --when-full skip`, `bin`, `x.tif`')


def test_readme_is_short_and_has_its_two_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert 'pip install ".[viewer,camera]" && streamfluo demo ' in text
    assert 'pip install -e ".[dev]" && pytest ' in text


def test_every_operator_option_and_public_name_is_on_its_page():
    shown = {page: made() for page, made in docs_pages.PAGES.items()}
    for kind, operator in operators().items():
        assert f"### {kind}\n" in shown["operators"]
        assert all(f"| `{field}` |" in shown["operators"] for field in operator.Params.__struct_fields__)
        assert all(f"| `{given.name}` |" in shown["operators"] for given in operator.gives)
    assert all(f"## sim:{simulator}\n" in shown["simulations"] for simulator in SIMULATORS)
    for words, options in commands().items():
        section = shown["command-line"].partition(f"## streamfluo {' '.join(words)}\n")[2].partition("\n## ")[0]
        assert section
        assert all(option in section for option in options)
    assert "heading: streamfluo.open_session\n" in shown["python"]
    assert "richardson_lucy" in docs_pages.public_names("streamfluo.analysis")
    assert wire.__doc__.splitlines()[0] in shown["protocol"]
    assert "journal/*.sfj" in shown["session"]
    used = {found for page in PAGES for found in docs_pages.MARKER.findall(page.read_text(encoding="utf-8"))}
    assert used == docs_pages.PAGES.keys()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_site_builds_and_no_link_is_broken(tmp_path):
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    settings = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=settings)
    assert done.returncode == 0, done.stderr
    assert "neuron_sigma_px" in (tmp_path / "site/reference/operators/index.html").read_text(encoding="utf-8")
