"""`streamfluo latency`: each decision of a loop comes back, and what is simulated is simulated beforehand."""

import re

from commands import command

LOOP = '[[step]]\nkind = "moments"\n[[step]]\nkind = "trigger"\nparams = { when = "frame > 9999" }\n'


def test_every_decision_comes_back_and_the_slowest_part_is_named(tmp_path):
    (tmp_path / "loop.toml").write_text(LOOP)
    source = ("--source", "sim:spots?shape=32x32&frames=60&seed=1", "--fps", "200", "--skip", "10")
    done = command("latency", "loop.toml", *source, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"in all +[\d.]+ ms +[\d.]+ ms +[\d.]+ ms", done.stdout)
    counts = [int(count) for count in re.findall(r"^ *[≤>] [\d.]+ ms +(\d+) █", done.stdout, re.MULTILINE)]
    assert sum(counts) == 50, "decisions at 60 frames, ten of which do not count"
    assert "most of it is" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["loop.toml"]


def test_a_loop_of_nothing_is_one_line(tmp_path):
    (tmp_path / "empty.toml").write_text("")
    done = command("latency", "empty.toml", cwd=tmp_path)
    assert done.returncode == 1
    assert "no steps; there is nothing whose latency could be measured" in done.stderr
