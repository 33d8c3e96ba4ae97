"""The sums of photon transfer on a card."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from ..core.card import Card
from ..core.mirror import Mirrors
from ..core.spec import Spec
from ..pixels.frame_totals import FrameTotals
from .kernels.photon_transfer import LEVEL_STEP, PROBE_EVERY_PX, PROBE_PX
from .kernels.photon_transfer_gpu import STEPS
from .sums import StepSums


class CardStepSums(StepSums):
    """StepSums on a card, of frames there; copied to the host to be read, merged or saved.

    Of each cell the totals of its frames come back, those of a sixteenth of their pixels, and the pixels of the
    patches: 260 kB.
    """

    def __init__(self, spec: Spec, card: Card) -> None:
        super().__init__(spec)
        self._card, self._shape, self._frame_totals = card, spec.shape, FrameTotals(spec, card)
        self._mirrored = Mirrors(card, self._maps)
        given = {"PIXEL": spec.dtype, "PIVOT": self._maps["pivot"].dtype.name, "SUM": self._sum_dtype.name}
        self._kernels = card.compiled(STEPS, EVERY=PROBE_EVERY_PX, PROBED=PROBE_PX, **given)
        self._placed: tuple[Any, Any] = (None, None)  # the places of the patches, and the same on the card

    @property
    def maps(self) -> dict[str, np.ndarray]:
        """The maps on the host, to be read."""
        return dict(self._mirrored.on_host())

    @maps.setter
    def maps(self, maps: dict[str, np.ndarray]) -> None:
        self._maps = maps

    def add(self, first: int, cell: Any) -> None:
        if not len(cell):
            return
        counts, n, pixels = self.counts, len(cell), self._shape[0] * self._shape[1]
        if not counts["frames"]:
            self._begin(first, self._card.get(cell[0]))
        there, xp = self._mirrored.on_card(), self._card.xp
        follows = counts["frames"] > 0 and first == counts["last_index"] + 1
        probed = xp.empty(n + 1)
        self._kernels["probe_totals"].blocks(n + 1, there["last"], cell, n, pixels, probed)
        linked = _linked(self._card.get(probed), follows)
        totals, linked_there = self._frame_totals(cell), self._card.put(linked.astype(np.uint8))
        places = self._places()
        of_patches = self._card.get(
            xp.concatenate([xp.take(there["last"], places)[None], xp.take(cell, places, axis=1)])
        )
        self.patches.add_placed(of_patches[1:], of_patches[0], linked)
        self._kernels["accumulate_steps"].items(pixels, cell, n, pixels, linked_there, *there.values())
        self._add_totals(totals, linked)
        counts["frames"] += n
        counts["pairs"] += int(linked.sum())
        counts["last_index"] = int(first) + n - 1

    def copy(self) -> Self:
        new = super().copy()
        new.__dict__["_mirrored"] = self._mirrored.copy()
        return new

    def merge(self, other: Self) -> None:
        self._mirrored.to_change()
        super().merge(other)

    def restore(self, state: Any) -> None:
        self._mirrored.to_change()
        super().restore(state)

    def _begin(self, first: int, frame: np.ndarray) -> None:
        maps = self._mirrored.to_change()
        maps["pivot"][...] = np.where(np.isfinite(frame), frame, 0)
        maps["high"][...] = maps["low"][...] = maps["last"][...] = frame
        self.counts["first_index"] = int(first)
        self.patches.place_in(frame)

    def _places(self) -> Any:
        if self._placed[0] is not self.patches.places:
            self._placed = self.patches.places, self._card.put(self.patches.places.reshape(-1))
        return self._placed[1]


def _linked(probed: np.ndarray, follows: bool) -> np.ndarray:
    """Whether each frame (n,) has the light level of the one before, from totals of a sixteenth of their pixels."""
    before, now = np.abs(probed[:-1]), np.abs(probed[1:])
    linked: np.ndarray = np.abs(np.diff(probed)) <= LEVEL_STEP * np.maximum(now, before)
    linked[0] &= follows
    return linked
