"""Reading a session: the folder one run leaves behind (`writer.py` lists its files)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from zlib_ng import zlib_ng

from ..core.block import Block
from ..core.errors import SessionError, StreamfluoError, did_you_mean
from ..core.names import STEP_ID_RULE, file_in, is_step_id
from ..core.plane import ONE_PLANE, Plane, in_plane
from ..core.source import PAUSED, Gap
from ..core.spec import Camera, Spec
from .events import gaps_in, read_events, read_lines
from .inputs import RecordedInputs, read_inputs
from .journal import JournalReader
from .journal_frames import MAX_INDEX
from .lock import is_held
from .places import step_place
from .record_file import Damage, mapped
from .recorded_step import SessionStep
from .referenced import before, referenced
from .results import ScienceResults
from .schema import ActionFacts, HealthFacts, SessionFacts, StepFacts, read_arrays, read_facts, read_json
from .values import FRAMES_A_BYTE, StepRecords, ValuesRecord, each_record, read_values

MAX_FRAMES = 1 << 24  # without a journal, beside those that files of values may speak of: nine hours at 500 a second
FACTS_COPY, ACTIONS = "session.copy.json", "actions.jsonl"


class Session(ScienceResults):
    """A session on disk, also one whose run was killed: everything whole in it is readable.

    What is damaged is left out, and stands in `damaged`. Of several planes it holds the steps of each under its name,
    `green/0/extract`; `plane("green/0")` reads like a session of that one.
    """

    def __init__(self, path: Path, plane: str = ONE_PLANE) -> None:
        self.path, self._plane = path, plane
        if not path.is_dir():
            raise SessionError(f"{path}: no such session folder")
        if not (path / "session.json").exists():
            raise SessionError(f"{path}: no session.json in it; is this the folder given to --out?")
        self._found: dict[Damage, None] = {}
        self._all_facts, self._facts = self._read_facts()
        for step in self._facts.steps:
            if not is_step_id(step.rpartition("/")[2]):
                raise SessionError(f"{path}: step id {step[:80]!r} must be {STEP_ID_RULE}; do not trust it")
            self._place(step)
        self._interrupted = self._facts.state == "running" and not is_held(path)
        if self._interrupted:  # or it has ended since: the lock goes once that is written
            self._all_facts, self._facts = self._read_facts()
            self._interrupted = self._facts.state == "running"

    def _read_facts(self) -> tuple[dict[str, Any], SessionFacts]:
        try:
            return read_facts(self.path / "session.json")
        except SessionError as error:
            try:
                found = read_facts(self.path / FACTS_COPY)
            except SessionError:
                raise error from None
            self._note(self.path / "session.json", str(error))
            return found

    def note(self, damage: Damage) -> None:
        """Note what was found damaged by who reads for the session."""
        self._found[damage] = None

    def _note(self, path: Path, reason: str) -> None:
        self.note(Damage(path, 0, None, reason.removeprefix(f"{path}: ")))

    @property
    def planes(self) -> tuple[str, ...]:
        """The names of the planes, `green/0`; of a stream that lists none the one name ""."""
        return self.spec.plane_names

    @property
    def plane_name(self) -> str:
        """The one plane that this is, "" for the session of all."""
        return self._plane

    def plane(self, name: str) -> Session:
        """Return one plane, which reads like a session of it alone. Raises SessionError for one there is not."""
        if name not in self.planes:
            raise SessionError(f"{self.path}: no plane {name!r}{did_you_mean(name, self.planes)}")
        return Session(self.path, name) if name else self

    @cached_property
    def spec(self) -> Spec:
        """The stream's spec; of one plane that plane's."""
        return self._whole_spec.plane(self._plane) if self._plane else self._whole_spec

    @cached_property
    def _whole_spec(self) -> Spec:
        try:
            spec = Spec.from_header(self._facts.spec)
        except (StreamfluoError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise SessionError(f"{self.path}/session.json: its spec cannot be read: {error!r}") from None
        if not self._facts.camera_maps:
            return spec
        try:
            return spec.with_(camera=Camera.of(self._arrays(self.path / "camera.npz")))
        except StreamfluoError as error:
            self._note(self.path / "camera.npz", str(error))
            return spec

    @property
    def series(self) -> Mapping[str, Any]:
        """uid, source, t0_ns, frames and user of the series."""
        return msgspec.structs.asdict(self._facts.series)

    @property
    def state(self) -> str:
        """How the run stands: running, finished, aborted, failed: why, or interrupted, as by kill -9."""
        return "interrupted" if self._interrupted else self._facts.state

    @property
    def facts(self) -> Mapping[str, Any]:
        """All of session.json."""
        return self._all_facts

    @cached_property
    def steps(self) -> Mapping[str, StepFacts]:
        """The chain's steps by id."""
        if not self._plane:
            return self._facts.steps
        of_plane = in_plane(self._plane, "")
        return {
            step.removeprefix(of_plane): replace(facts, after=facts.after.removeprefix(of_plane))
            for step, facts in self._facts.steps.items()
            if step.startswith(of_plane)
        }

    @cached_property
    def damaged(self) -> tuple[Damage, ...]:
        """What of the session cannot be read: file, byte, frames, reason. Reads all of it once, each frame too."""
        return self.check()

    def check(self, progress: Callable[[int], None] = lambda frames: None) -> tuple[Damage, ...]:
        """Read all of the session, each frame too, and return what cannot be read; `progress` hears of frames read."""
        _ = self.spec, self.events, self.actions, self.recorded_inputs, self.health, self.truth
        config = self.path / "config.toml"
        crc = self._facts.config_crc32
        if crc is not None and (not config.exists() or zlib_ng.crc32(config.read_bytes()) != crc):
            self._note(config, "not the text of this run's config (crc32 differs)")
        for step in self.recorded_steps:
            _ = step.values, step.snapshot
            step.check_frames()
        if self.has_journal:
            for n, _ in enumerate(self.journal.read(0, 1 << 62), 1):
                progress(n)
        return self.damaged_so_far

    @property
    def damaged_so_far(self) -> tuple[Damage, ...]:
        """What was found damaged in what was read so far."""
        journal = self.journal.damaged if "journal" in self.__dict__ else ()
        return (*self._found, *journal)

    @cached_property
    def frames(self) -> int:
        """How many distinct frames were seen, those whose pixels turn out to be damaged included."""
        if self.has_journal:
            return len(self.journal.indices)
        if not self._plane and len(self.planes) > 1:
            return max(int(self.health.get("frames", 0)), sum(self.plane(plane).frames for plane in self.planes))
        seen = max((len(self.index(s)) for s, f in self.steps.items() if f.after == "source"), default=0)
        return max(seen, int(self._counted.get("frames", 0)))

    @cached_property
    def next_index(self) -> int:
        """One past the last index seen: what the run noted, else the frames seen and those that never came."""
        noted = int(self._counted.get("next_index", 0))
        last = max(
            (int(self.index(s).max(initial=-1)) for s, f in self.steps.items() if f.after == "source"), default=-1
        )
        return max(noted, last + 1, self.frames + sum(gap.count for gap in self.gaps))

    @cached_property
    def gaps(self) -> tuple[Gap, ...]:
        """The gaps, in order; one noted again after a crash counts once, as it was seen last."""
        return gaps_in(self.events, self._plane)

    @property
    def lost(self) -> int:
        """Frames that never came: camera drops and transport drops."""
        return sum(gap.count for gap in self.gaps if gap.reason != PAUSED)

    @cached_property
    def events(self) -> tuple[Mapping[str, Any], ...]:
        """Gaps, muted steps and the end, as they were noted."""
        events, damaged = read_events(self.path / "events.jsonl", self._facts.format)
        self._found |= dict.fromkeys(damaged)
        return events

    @cached_property
    def actions(self) -> tuple[Mapping[str, Any], ...]:
        """What became of each decision of a trigger: action, step, frame, when it arrived, was taken, decided, done."""
        actions, damaged = read_lines(self.path / ACTIONS, self._facts.format, ActionFacts)
        self._found |= dict.fromkeys(damaged)
        return actions

    @cached_property
    def recorded_inputs(self) -> RecordedInputs:
        """What else came while frames did, and the frames' times."""
        found = read_inputs(self.path, self._facts.series.uid)
        self._found |= dict.fromkeys(found.damaged)
        return found

    def aligned(self, name: str, by_arrival: bool = False) -> np.ndarray:
        """Return one value (n, columns) of an input for each frame that came, in order: `RecordedInputs.aligned`."""
        return self.recorded_inputs.aligned(name, self.spec.interval_s, by_arrival)

    @cached_property
    def health(self) -> Mapping[str, Any]:
        """The run's counters; empty if it was killed."""
        path = self.path / "health.json"
        try:
            return read_json(path, HealthFacts, self._facts.format)[0] if path.exists() else {}
        except SessionError as error:
            self._note(path, str(error))
            return {}

    @property
    def _counted(self) -> Mapping[str, Any]:
        """The run's counters of these planes."""
        found: Mapping[str, Any] = self.health.get("planes", {}).get(self._plane, {}) if self._plane else self.health
        return found

    @cached_property
    def truth(self) -> Mapping[str, np.ndarray]:
        """What the simulator knew, by name; empty for recordings. Of one plane without that of the others."""
        truth = self._arrays(self.path / "truth.npz")
        if not self._plane:
            return truth
        of_plane = in_plane(self._plane, "")
        own = {name.removeprefix(of_plane): array for name, array in truth.items() if name.startswith(of_plane)}
        return {name: array for name, array in truth.items() if "/" not in name} | own

    @property
    def has_journal(self) -> bool:
        """Whether raw frames were recorded here."""
        return (self.path / "journal").is_dir()

    def read_frames(self, start: int, stop: int, plane: str | None = None, step: str | None = None) -> np.ndarray:
        """Return the existing frames with start ≤ index < stop, (n, y, x), from the journal or the referenced source;
        those that a `step` handed on, where the run recorded them.

        Of a session of several planes `plane` says which, `green/0`. Raises SessionError if it does not, if the
        referenced file is gone or has changed, or if frames of that step were not recorded.
        """
        if plane is not None:
            return self.plane(plane).read_frames(start, stop, step=step)
        if step is not None:
            self._known(step)
            return SessionStep(self, step).read_frames(start, stop)
        frames = [pixels for *_, pixels in self.each_frame(start, stop)]
        return np.stack(frames) if frames else np.empty((0, *self.spec.shape), self.spec.dtype)

    def read_user(self, start: int, stop: int, plane: str | None = None) -> dict[int, Mapping[str, Any]]:
        """Return what the sender said of single frames with start ≤ index < stop, by index: settings that changed, …

        Costs as much as reading the frames. Empty where no raw frames were recorded. Raises SessionError.
        """
        if plane is not None:
            return self.plane(plane).read_user(start, stop)
        if len(self.planes) > 1:
            raise SessionError(f"{self.path}: several planes, name one: {', '.join(self.planes)}")
        frames = self.journal.read(start, stop) if self.has_journal else ()
        return {frame.number: frame.user for frame in frames if frame.user}

    def values(self, step: str) -> dict[str, Any]:
        """Return name → whole array (T, …) of a step's values; a table as a mapping of columns."""
        path = self._values_path(step)
        try:
            return read_values(self._records(path), self.steps[step].gives)
        except (KeyError, ValueError, IndexError, TypeError) as error:
            raise SessionError(f"{path}: its values do not belong together: {error!r}") from None

    def index(self, step: str) -> np.ndarray:
        """Return the frame index (t,) of each row of a step's per-frame values."""
        ranges = [np.arange(record.index, record.index + record.frames) for record in self.each_record(step)]
        return np.concatenate([np.empty(0, np.int64), *ranges])

    def each_record(self, step: str) -> Iterator[ValuesRecord]:
        """Yield a step's values record by record, of which one is in memory at a time; copy what is to be kept."""
        path = self._values_path(step)
        if not path.exists():
            return
        with mapped(path) as data:
            for found in each_record(path, self._facts.series.uid, data):
                if isinstance(found, Damage):
                    self._found[found] = None
                else:
                    yield found

    def snapshot(self, step: str) -> dict[str, np.ndarray]:
        """Return a step's last snapshots by name."""
        self._known(step)
        folder, name = self._place(in_plane(self._plane, step))
        return self._arrays(file_in(folder / "snapshots", f"{name}.npz", SessionError))

    @property
    def recorded_steps(self) -> tuple[SessionStep, ...]:
        """The chain's steps, each with what it left."""
        return tuple(SessionStep(self, name) for name in self.steps)

    @cached_property
    def journal(self) -> JournalReader:
        """The raw frames by index."""
        journal = JournalReader(self.path / "journal", self._facts.series.uid, self._whole_spec.plane_names)
        return journal.of(self._plane) if self._plane else journal

    def each_frame(self, start: int, stop: int) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield (index, t_ns, pixels (y, x)) of the existing frames with start ≤ index < stop, one by one.

        Raises SessionError of several planes, or if the referenced source is gone or has changed.
        """
        if len(self.planes) > 1:
            raise SessionError(f"{self.path}: several planes, name one: {', '.join(self.planes)}")
        if self.has_journal:
            yield from (frame[:3] for frame in self.journal.read(start, stop))
            return
        for block in self._referenced(start, stop):
            for n, pixels in enumerate(block.pixels):
                yield block.index + n, int(block.times_ns[n]), pixels

    def blocks(self) -> Iterator[Block]:
        """Yield the existing frames as blocks, of several planes those of the same frames one plane after the other."""
        yield from self.journal.blocks() if self.has_journal else self._referenced(0, 1 << 62)

    def indices(self) -> np.ndarray:
        """Return the indices of the existing frames that are whole, as far as they were read. Raises SessionError."""
        if self.has_journal:
            return self.journal.whole_indices
        stop, ranges, at = self.next_index, list[range](), 0
        for gap in (*self.gaps, Gap(stop, 0)):
            ranges.append(range(at, min(gap.first, stop)))
            at = max(at, gap.first + gap.count)
        values = (self._values_path(step) for step in self.steps)
        most = MAX_FRAMES + FRAMES_A_BYTE * sum(path.stat().st_size for path in values if path.exists())
        if stop > MAX_INDEX or (count := sum(map(len, ranges))) > most:
            said = f"frames up to {stop:,}" if stop > MAX_INDEX else f"{count:,} frames"
            raise SessionError(f"{self.path}: speaks of {said}, more than its files can hold; do not trust it")
        return np.concatenate([np.empty(0, np.int64), *(np.arange(each.start, each.stop) for each in ranges)])

    def _referenced(self, start: int, stop: int) -> Iterator[Block]:
        """Yield the frames of the source that the session refers to, as far as the run saw them."""
        stop = min(stop, self.next_index)
        if start < stop:
            facts = self._facts
            blocks = referenced(self.path, facts.reference, facts.series.uid, start, self._plane)
            yield from before(blocks, stop, len(self.planes))

    def _records(self, path: Path) -> StepRecords:
        records = StepRecords(path, self._facts.series.uid)
        self._found |= dict.fromkeys(records.damaged)
        return records

    def _arrays(self, path: Path) -> dict[str, np.ndarray]:
        arrays, wrong = read_arrays(path)
        for reason in wrong:
            self._note(path, reason)
        return arrays

    def _values_path(self, step: str) -> Path:
        self._known(step)
        folder, name = self._place(in_plane(self._plane, step))
        return file_in(folder / "values", f"{name}.sfv", SessionError)

    def folder_of(self, step: str) -> Path:
        """Return the folder with what a step left. Raises SessionError for one that is not there."""
        self._known(step)
        return self._place(in_plane(self._plane, step))[0]

    def _place(self, step: str) -> tuple[Path, str]:
        """Where a step's files are, and its name there; a step of no plane needs no spec to be found."""
        return step_place(self.path, self._whole_spec.plane_names if "/" in step else (), step)

    def _all_planes(self) -> tuple[Plane, ...]:
        return self._whole_spec.planes

    def _known(self, step: str) -> None:
        if step not in self.steps:
            raise SessionError(f"{self.path}: no step {step!r}{did_you_mean(step, self.steps)}")


def open_session(path: str | os.PathLike[str]) -> Session:
    """Open a session folder. Raises SessionError if it is none."""
    return Session(Path(path))
