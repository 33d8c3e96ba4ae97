"""Recorded steps in memory, and what tests read of the findings on them."""

from types import SimpleNamespace

import numpy as np

from streamfluo.core.loaded import SeenFrames

SHAPE = (40, 48)


class Step:
    """A recorded step in memory."""

    def __init__(self, snapshot=None, records=(), interval_s=0.1, pixel_um=0.5, **more):
        self.id, self.kind, self.folder = "it", "it", more.get("folder", "nowhere")
        self.snapshot, self._records, self.interval_s = snapshot or {}, records, interval_s
        self.sees: SeenFrames = SimpleNamespace(shape=SHAPE, pixel_um=pixel_um, origin_px=(0.0, 0.0))
        self.units, self.params, self._sources = more.get("units", {}), more.get("params", {}), more.get("sources", {})
        self.stop = max((r.index + r.frames for r in records), default=0)

    @property
    def index(self):
        ranges = [np.arange(r.index, r.index + r.frames) for r in self._records]
        return np.concatenate([np.empty(0, np.int64), *ranges])

    def times_s(self, index):
        return self.interval_s * np.asarray(index)

    def records(self):
        yield from self._records

    def per_frame(self, name):
        parts = [np.array(r.arrays[name], float) for r in self._records if name in r.arrays]
        return np.concatenate(parts) if parts else np.empty(0)

    def image(self, name):
        found = self.snapshot.get(name)
        return found if found is not None and found.shape == SHAPE else None

    def source_of(self, need):
        return self._sources.get(need)


def record(index, frames, **arrays):
    return SimpleNamespace(index=index, frames=frames, arrays={n.replace("__", "/"): a for n, a in arrays.items()})


def values(findings):
    return {number.name: number.value for number in findings.numbers}


def drawn_figures(findings):
    assert findings.figures
    for figure in findings.figures:
        assert figure.data[:3] in (b"\xff\xd8\xff", b"\x89PN"), figure.title
    return {figure.title: figure for figure in findings.figures}
