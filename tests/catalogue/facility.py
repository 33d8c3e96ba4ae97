"""A facility's sessions: a few runs, copied with other dates, rigs, names and words of the sender."""

import json
import shutil
from datetime import UTC, datetime, timedelta

import numpy as np

from streamfluo.session.schema import sealed

BEGAN = datetime(2026, 3, 2, 9, tzinfo=UTC)
EVIL = "<script>document.title='run'</script>\" onerror=\"document.title='run'\u202e"


def changed(folder, change):
    """Write a session's facts anew, as its own program would, after `change(facts)`."""
    path = folder / "session.json"
    facts = json.loads(path.read_text())
    facts.pop("crc32", None)
    change(facts)
    for name in ("session.json", "session.copy.json"):
        (folder / name).write_text(json.dumps(sealed(facts), indent=1))
    return folder


def copied(session, to, **words):
    """A copy of a session at `to`, whose sender said `words`; `began` and `source` are its own."""
    shutil.copytree(session, to)
    began = words.pop("began", None)
    source = words.pop("source", None)

    def change(facts):
        facts["series"]["user"] = {**facts["series"]["user"], **words}
        if began is not None:
            facts["started"] = began.strftime("%Y-%m-%dT%H:%M:%SZ")
            facts["series"]["t0_ns"] = int(began.timestamp() * 1e9)
        if source is not None:
            facts["series"]["source"] = source

    return changed(to, change)


def make(folder, sessions, count, seed=0):
    """`count` sessions of nine months below a folder, each like one of `sessions`; three are broken or cut."""
    random = np.random.default_rng(seed)
    rigs = ("two-photon left", "two-photon right", "TIRF", "light sheet")
    for n in range(count):
        model = sessions[int(random.integers(len(sessions)))]
        began = BEGAN + timedelta(days=float(270 * n / count), hours=float(random.uniform(0, 8)))
        rig = rigs[int(random.integers(2)) if model.name.startswith("c") else 2 + int(random.integers(2))]
        mouse = f"M{int(random.integers(1, 30)):02d}"
        name = f"{began:%Y-%m-%d}/{mouse}-{model.name}-{n:04d}"
        to = copied(model, folder / name, began=began, rig=rig, mouse=mouse, operator="a person")
        if n % 67 == 11:
            (to / "session.json").write_text("{")
            (to / "session.copy.json").write_text("{")
        elif n % 67 == 23:
            changed(to, lambda facts: facts.update(state="failed: the disk was full"))
        elif n % 67 == 37:
            changed(to, lambda facts: facts.update(state="running"))
    return folder
