"""What there is to show of a run, and pictures of it as JPEG: one for each size that pages have, made once."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ..core.plane import ONE_PLANE
from ..viewer.health import age_s
from ..viewer.model import Model
from ..viewer.painting import at_binning, brightness
from ..viewer.panels import Overlay, Panel, open_at_first
from ..viewer.picture import Picture, scale_bar
from ..viewer.planes import Members
from ..viewer.words import named
from .columns import MAX_COLUMNS, frames_each
from .declared import KINDS
from .messages import as_float32, packed
from .told import Fares

SIDES_PX = (240, 360, 480, 640, 800, 960, 1280)  # longest side of a picture: pages of about one size share it
SHOWN_SIDE_PX = 1024  # larger frames are asked for binned, as the viewer asks for them, so that both share them
QUALITY = 75
PREVIEWS = 8  # of the 16 that a program sends to all of its viewers
DETAILS = 4
DRAWN = ("trace", "interval", "curve", "scatter", "numbers", *KINDS)  # kinds of details that a page draws
MAX_OFFERS = 200
SIGMA_PX = 2.0  # of a spot whose table does not say it
FINEST = 32_000  # contours travel as 16-bit integers: steps of 0.02 px of 512
MAX_OUTLINES = 5000


class Shot(NamedTuple):
    """A picture as it is sent: which look at which frame, what the page is told of it, its bytes."""

    revision: int
    frame: int
    facts: dict[str, Any]
    jpeg: bytes


class RunView:
    """What pages show of one data endpoint. `revision` counts what there is to choose from; `offers` says it."""

    def __init__(self, uri: str) -> None:
        self.model = Model(uri.partition("?")[0])  # how it is reached is nothing for pages
        self.fares = Fares(self.model)
        self.revision = 0
        self.offers: dict[str, Any] = {}
        self.pictures: list[Panel] = []  # docks, the first of them the one for the large place
        self.details: list[Panel] = []
        self._arranged: object = None
        self._shades: dict[str, tuple[int, np.ndarray]] = {}  # panel id → revision, image (y, x) as uint8
        self._shots: dict[tuple[str, int], Shot] = {}
        self._outlines: dict[str, tuple[np.ndarray, list[int], bytes]] = {}

    def look(self, now_s: float) -> None:
        """Take note of what changed since the last look: other steps, another series, frames lost."""
        self.fares.look(now_s)
        model = self.model
        uid = (model.hello.series or {}).get("series_uid") if model.hello is not None else None
        arranged = (*model.arranged, model.layout(), tuple(model.planes.planes), uid)
        if arranged == self._arranged:
            return
        self._arranged = arranged
        self.revision += 1
        self._shades.clear()
        self._shots.clear()
        self._outlines.clear()
        self._choose()
        self._keep_a_window()

    def _choose(self) -> None:
        model, panels = self.model, self.model.panels
        layout = model.layout()
        images = [panel for panel in panels.values() if panel.kind == "image"]
        if layout is not None:
            first = [panels[name] for name in layout.pictures if name in panels and panels[name].kind == "image"]
            details = [panels[name] for name in layout.details if name in panels]
        else:
            first = [panel for panel in reversed(images) if panel.frames][:1]
            opens = open_at_first(list(panels.values()))
            details = [panel for panel in panels.values() if panel.id in opens]
        self.pictures = [*first, *(panel for panel in images if panel not in first)][:MAX_OFFERS]
        self.details = [panel for panel in details if panel.kind in DRAWN][:DETAILS]
        hello = model.hello
        self.offers = {
            "program": hello.program if hello else "",
            "uri": model.uri,
            "pictures": [self._told(panel, main=panel in first) for panel in self.pictures],
            "details": [self._told(panel) for panel in self.details],
            "choice": self._choice(),
            "planes": [{"id": name, "title": model.planes.title(name)} for name in model.planes.planes],
        }

    def _choice(self) -> dict[str, Any] | None:
        """Pictures of which a slider chooses one, as cumulants by order: what it is called, their ids and names."""
        layout, panels = self.model.layout(), self.model.panels
        called, ids = layout.choice if layout is not None else ("", ())
        if len(ids) < 2 or not all(name in panels for name in ids):
            return None
        return {"called": named(called), "pictures": list(ids), "names": [named(panels[name].name) for name in ids]}

    def _keep_a_window(self) -> None:
        """Hold half a minute of values, which is what pages show, and of those that none shows next to nothing."""
        details = [member for panel in self.details for member in self.model.members(panel).values()]
        ticks = [self.model.drawn.ticks.get((member.step, member.name)) for member in details]
        shown = {member.id for member in details} | {f"by_id/{by[0]}/{by[1]}" for by in ticks if by is not None}
        for of in self.model.drawn.places.values():
            shown |= {f"by_id/{at[0]}/{at[1]}" for at in (of.trace, of.fitted) if at is not None}
        for panel in self.model.panels.values():
            for member in self.model.members(panel).values():
                trace = self.model.traces.get(member.id)
                if trace is not None and not trace.sampled:
                    facts = self.model.facts(self.model.seen_by(member))
                    each = frames_each(facts[3] if facts is not None else None)
                    trace.capacity = (MAX_COLUMNS + 1) * each if member.id in shown else 1

    def _told(self, panel: Panel, main: bool = False) -> dict[str, Any]:
        """What a page is told of a dock; `title` has the step before the `name`, for where two are called the same."""
        told = {"id": panel.id, "kind": panel.kind, "title": panel.title, "name": _name(panel), "main": main}
        here = next(iter(self.model.members(panel).values()), panel)
        told["colours"] = self.model.drawn.colours.get((here.step, here.name), "")
        more = {"unit": panel.unit, "meaning": panel.meaning, "dims": list(panel.dims), "step": panel.step}
        return {**told, **more, "by_id": panel.id.startswith("by_id/")}

    def member(self, panel: Panel, plane: str) -> Panel | None:
        """Return what a dock is in a plane; where it is not in that one, in the first that it is in."""
        members: Members = self.model.members(panel) if panel.id in self.model.panels else {}
        return members.get(plane) or members.get(ONE_PLANE) or next(iter(members.values()), None)

    # What it lives on

    def needs(self, pictures: Iterable[Panel], details: Iterable[Panel]) -> tuple[set[str], set[tuple[str, int]]]:
        """Return the topics and previews that these pictures and details of one plane each live on.

        Values are wanted always, so that who comes sees the last half minute at once; what is computed for viewers
        alone, frames and snapshots, only while somebody looks.
        """
        pictures = list(pictures)
        overlays = {overlay.id: overlay for panel in pictures for overlay in self.model.overlays_over(panel)}
        topics = self.model.topics([*pictures, *details], overlays.values())
        for detail in self.details:
            for member in self.model.members(detail).values() if detail.id in self.model.panels else ():
                topics |= {topic for topic in member.topics if topic.startswith("values/")}
        previews = list(dict.fromkeys((panel.step, self._bin_px(panel)) for panel in pictures if panel.frames))
        self._keep({panel.id for panel in pictures})
        return topics, set(previews[:PREVIEWS])

    def _keep(self, shown: set[str]) -> None:
        """Forget pictures that nobody looks at any more."""
        self._shades = {name: shade for name, shade in self._shades.items() if name in shown}
        self._shots = {key: shot for key, shot in self._shots.items() if key[0] in shown}
        self._outlines = {name: outlines for name, outlines in self._outlines.items() if name in shown}

    def _bin_px(self, panel: Panel) -> int:
        facts = self.model.facts(self.model.seen_by(panel))
        return min(64, -(-max(facts[0]) // SHOWN_SIDE_PX)) if facts is not None else 1

    # Pictures

    def shot(self, panel: Panel, side_px: int) -> Shot | None:
        """Return the newest picture of a panel of one plane, its longest side about `side_px`; None before the first.

        It is never larger than what came: the page enlarges it.
        """
        picture = self.model.pictures.get(panel.id)
        if picture is None or picture.pixels is None:
            return None
        side = next((side for side in SIDES_PX if side >= side_px), SIDES_PX[-1])
        known = self._shots.get((panel.id, side))
        if known is None or known.revision != picture.revision:
            known = self._shots[panel.id, side] = self._encode(panel, picture, side)
        return known

    def _encode(self, panel: Panel, picture: Picture, side: int) -> Shot:
        image = Image.fromarray(self._shade(panel, picture))
        if max(image.size) > side:
            size = tuple(max(1, length * side // max(image.size)) for length in image.size)
            image = image.resize((size[0], size[1]), Image.Resampling.BOX)
        file = io.BytesIO()
        image.save(file, "JPEG", quality=QUALITY)
        assert picture.pixels is not None
        shape = [length * picture.bin_px for length in picture.pixels.shape[-2:]]
        facts = {
            "picture": panel.id,
            "index": picture.index,
            "shape": shape,
            "bin_px": picture.bin_px,
            "edge_px": picture.grid.edge_px,
            "levels": list(picture.levels),
            "unit": picture.unit,
            "scale": list(scale_bar(shape[1], picture.pixel_um)),
            "age_s": age_s(picture.arrived_ns),
        }
        return Shot(picture.revision, picture.index, facts, file.getvalue())

    def _shade(self, panel: Panel, picture: Picture) -> np.ndarray:
        known = self._shades.get(panel.id)
        if known is None or known[0] != picture.revision:
            image = picture.shown()
            assert image is not None
            largest = 2 * SIDES_PX[-1]
            image = at_binning(image, 1, max(1, -(-max(image.shape) // largest)))
            shade = brightness(image, picture.adjust_levels(image)) * np.float32(255) + np.float32(0.5)
            known = self._shades[panel.id] = picture.revision, shade.astype(np.uint8)
        return known[1]

    # What lies over them

    def spots(self, panel: Panel, index: int) -> np.ndarray | None:
        """Return the spots of a frame, (n, 3) as y, x and radius [px]; None where no step finds any."""
        known = {of.table for of in self.model.places_over(panel).values() if len(self.model.places(of).yx)}
        tables = [
            overlay
            for overlay in self.model.overlays_over(panel)
            if overlay.kind == "spots" and (overlay.step, overlay.name) not in known
        ]
        if not tables:
            return None
        found = []
        for overlay in tables:
            rows = self.model.rows_near(overlay, index)
            if all(_numeric(rows.get(name)) for name in ("y_px", "x_px")):
                y, x = (rows[name] for name in ("y_px", "x_px"))
                sigma = np.asarray(rows["sigma_px"] if _numeric(rows.get("sigma_px")) else np.full(len(y), SIGMA_PX))
                found.append(as_float32(np.stack([y, x, 2.0 * sigma], 1)))
        spots = np.concatenate(found) if found else np.empty((0, 3), np.float32)
        return spots[np.isfinite(spots).all(1)][:MAX_OUTLINES]

    def rectangle(self, panel: Panel) -> list[float] | None:
        """Return the rectangle over a panel's pictures, as top, bottom, left, right [px]; None where there is none."""
        for overlay in self.model.overlays_over(panel):
            edges = self.model.contours.get(overlay.id)
            if overlay.kind == "rectangle" and edges is not None and edges.shape == (4,) and _numeric(edges):
                return [float(edge) for edge in edges]
        return None

    def outlines(self, panel: Panel) -> bytes | None:
        """Return the message with the outlines of components over a panel's pictures; None where there are none.

        It is the same object until they change.
        """
        drawn = [o for o in self.model.overlays_over(panel) if o.kind == "contours"]
        overlay = next(
            (o for o in drawn if o.z is not None), drawn[0] if drawn else None
        )  # cells before their sections
        if overlay is None or not _numeric(self.model.contours.get(overlay.id)):
            return None
        contours, found, _ = self.model.outlines(overlay)
        ids = numbered(found)
        known = self._outlines.get(panel.id)
        if known is None or known[1] != ids or not _same(known[0], contours):
            known = self._outlines[panel.id] = contours, ids, self._pack_outlines(panel, overlay, contours, ids)
        return known[2]

    def _pack_outlines(self, panel: Panel, overlay: Overlay, contours: np.ndarray, ids: list[int]) -> bytes:
        contours = np.asarray(contours, float)
        if contours.ndim != 3 or contours.shape[-1] != 2:
            contours = np.empty((0, 0, 2))
        contours, ids = contours[:MAX_OUTLINES], ids[:MAX_OUTLINES]
        facts = self.model.facts(self.model.seen_by(panel))
        per_px = FINEST / max(*facts[0], 1) if facts is not None else 8.0
        finite = np.isfinite(contours).all(2)
        points = np.clip(np.round(contours[finite] * per_px), -FINEST - 700, FINEST + 700).astype("<i2")
        fields = {"picture": panel.id, "step": overlay.step, "per_px": per_px}
        arrays = {"ids": np.asarray(ids, "<f8"), "counts": finite.sum(1).astype("<i4"), "points": points}
        return packed("outlines", fields, arrays)


def _name(panel: Panel) -> str:
    """What a dock is called where its step stands beside it."""
    return panel.title if panel.kind in ("histogram", "gauge", "chosen") else named(panel.name)


def numbered(ids: Sequence[Any]) -> list[int]:
    """Return ids as whole numbers; what is none is called by its place."""
    return [name if isinstance(name, int) and abs(name) < 2**53 else n for n, name in enumerate(ids)]


def _numeric(array: np.ndarray | None) -> bool:
    """Whether an array from the wire is there and holds numbers."""
    return array is not None and array.dtype.kind in "biuf"


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one is other or (one.shape == other.shape and bool(np.array_equal(one, other, equal_nan=True)))
