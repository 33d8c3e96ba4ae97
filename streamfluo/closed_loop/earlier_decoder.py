"""What a decoder learned in an earlier session: the sums that its weights are made of, and the cells they are of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..core.errors import ConfigError
from ..core.loaded import Loaded, RecordedStep
from ..core.operator import Gives

KEYS = ("ids", "products", "targets")


@dataclass(frozen=True)
class EarlierDecoder:
    """Sums of products of z = (1, activity of `ids`) with itself (K + 1, K + 1) and with the signal (K + 1, columns).

    `folder` is that of its session, `of` the name and unit of the activity there; "" where arrays were given.
    """

    ids: np.ndarray
    products: np.ndarray
    targets: np.ndarray
    where: str = "weights"
    folder: str = ""
    of: tuple[str, str] | None = None

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, Any], where: str) -> EarlierDecoder:
        """Return it made of its arrays. Raises ConfigError where they do not belong together."""
        missing = [name for name in KEYS if name not in arrays]
        if missing:
            raise ConfigError(f"{where}: no {missing[0]} of a decoder in it; was its run ended in time?")
        try:
            ids = np.asarray(arrays["ids"]).astype(np.int64)
            products, targets = (np.asarray(arrays[name]).astype(float) for name in KEYS[1:])
        except (TypeError, ValueError):
            raise ConfigError(f"{where}: ids, products and targets are arrays of numbers") from None
        size = ids.size + 1
        whole = products.shape == (size, size) and targets.ndim == 2 and len(targets) == size and targets.size
        if ids.ndim != 1 or not whole or len(np.unique(ids)) != ids.size:
            found = f"{ids.shape}, {products.shape} and {targets.shape}"
            raise ConfigError(f"{where}: ids, products and targets of one decoder do not have the shapes {found}")
        if not (np.isfinite(products).all() and np.isfinite(targets).all() and products[0, 0] >= 2):
            raise ConfigError(f"{where}: it had learned from less than two frames, or its sums are not finite")
        return cls(ids, products, targets, where)

    def matched(self, cells: Any) -> EarlierDecoder:
        """Return it with the ids that its cells have here: the same, or by pairs (earlier, here), of these alone.

        Raises ConfigError for a pair of a cell that it does not have.
        """
        if cells is None or cells == "same":
            return self
        earlier, here = zip(*cells, strict=True)
        unknown = sorted(set(earlier) - set(self.ids.tolist()))
        if unknown or len(set(earlier)) < len(cells) or len(set(here)) < len(cells):
            why = f"no cell {unknown[0]} in {self.where}" if unknown else "each cell is in one pair"
            raise ConfigError(f"cells: {why}")
        rows = np.array([0, *(1 + int(np.flatnonzero(self.ids == one)[0]) for one in earlier)])
        return replace(
            self, ids=np.array(here, np.int64), products=self.products[np.ix_(rows, rows)], targets=self.targets[rows]
        )

    def check_activity(self, taken: Gives, cells: Any) -> None:
        """Raises ConfigError for activity of another kind, and of cells that nothing says are the same ones."""
        if self.of is not None and self.of != (taken.name, taken.unit):
            (name, unit), here = self.of, taken.unit or "no unit"
            raise ConfigError(
                f"weights: those of {self.where} are of {name} [{unit or 'no unit'}], here traces are {taken.name} "
                f"[{here}]; set inputs.traces"
            )
        if cells is None and (not self.folder or taken.ids_of != self.folder):
            raise ConfigError(
                f"weights: whether the cells here are those of {self.where} is not known: begin extract from it (init "
                f'= "seeded", seeds = "{self.where}"), or say so by cells = "same" or pairs [earlier id, id here]'
            )


@dataclass(frozen=True)
class EarlierDecoders:
    """The decoders of a session by step; each is read when it is asked for."""

    where: str
    steps: tuple[RecordedStep, ...]

    def decoder(self, step_id: str | None) -> EarlierDecoder:
        """Return the one of a step, the only one where none is named. Raises ConfigError."""
        found = [step for step in self.steps if step_id in (None, step.id)]
        if len(found) != 1:
            names = ", ".join(step.id for step in self.steps) or "no decode"
            said = "name one by weights_step" if step_id is None and found else "no such step"
            raise ConfigError(f"weights: {self.where} has {names}; {said}")
        (step,) = found
        taken = step.inputs.get("traces", "")
        unit = step.unit_of(taken) if taken else None
        earlier = EarlierDecoder.of_arrays(step.snapshot, self.where)
        of = None if unit is None else (taken.rpartition(".")[2], unit)
        return replace(earlier, folder=str(step.folder.resolve()), of=of)


def decoders_of_file(loaded: Loaded, spec: Any) -> EarlierDecoders:
    """Return the decoders of a session. Raises ConfigError for a file that holds something else."""
    if loaded.steps is None:
        raise loaded.expected("a session")
    return EarlierDecoders(loaded.path, tuple(step for step in loaded.steps if step.kind == "decode"))


def earlier_decoder(value: Any, step_id: str | None, cells: Sequence[Any] | str | None) -> EarlierDecoder | None:
    """Return what a decoder begins with, None for nothing. Raises ConfigError."""
    if value is None:
        return None
    if isinstance(value, EarlierDecoders):
        return value.decoder(step_id).matched(cells)
    if isinstance(value, Mapping):
        return EarlierDecoder.of_arrays(value, "weights").matched(cells)
    raise ConfigError(f"weights: a session is expected, found {str(value)[:60]!r}, which is no folder")
