"""The contract every operator keeps, and what it hands out.

The laws, checked for every registered operator by `streamfluo.testing`:

    input untouched · read is pure · state is a copy and plain · resume equals unbroken, to the bit ·
    block cuts agree to the bit · [mergeable] parts equal serial within 1e-12 of the array's scale, with identity on
    both sides, associative · a gap inside a run equals a gap between merged parts · twins on other devices agree ·
    pixels that are NaN are unknown, and so are infinite ones and those beyond ±1e15 (`unseen.known_pixels`): a frame
    or a pixel of them leaves no NaN behind, but in images at that pixel
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass, field
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from .block import Block
from .card import open_card
from .decision import Decided, Decision, Takes
from .errors import ConfigError, FrameError, did_you_mean
from .findings import Findings, Matched, ReportedStep
from .loaded import Loaded, RecordedStep, SliceSteps
from .params import Params
from .plane import Plane
from .spec import Spec
from .state import State

if TYPE_CHECKING:
    from .refinement import Recording, Refined

GivesKind = Literal["frames", "per_frame", "by_id", "table", "snapshot"]


@dataclass(frozen=True)
class Gives:
    """One thing an operator gives: all that the viewer, the session and `streamfluo list` need to know of it.

    `kind`: frames (the block handed on), per_frame values (t, …), by_id values (t, K) beside `ids` (K,), a table
    (columns, one of them `frame`), or a snapshot. `dims` names the axes, of a table the columns, an axis of few places
    by what they are called (`accepted, candidates`); `unit` is the unit ('' for none). The viewer lays
    over images, in pixels of the frames the step saw: per-frame values that end in `yx`, tables with y_px and x_px,
    snapshots (id, point, yx). A snapshot of one axis named like another one of the same
    axis is drawn against it as points, with NAME_fit as a line through NAME; one whose axis is named like a number
    holds its interval (low, high). `ids_of` is the folder of the session whose ids these have, "" where they are new.
    """

    name: str
    kind: GivesKind
    dims: tuple[str, ...]
    unit: str
    meaning: str
    ids_of: str = ""


@dataclass(frozen=True)
class Places:
    """Single things at places, such as spots, and what is known of each, by the names that steps give.

    `table` has y_px, x_px and a column `spot`, whose numbers are the places of the other arrays: `value` (spot,)
    colours them; those of which one of `doubtful` (spot,) is not 0 are marked; `chances` (spot, n) are bars of the
    one that is chosen, the first for `first`; `trace` by id is drawn with `fitted` by id over it.
    """

    table: str
    value: str
    doubtful: tuple[str, ...] = ()
    chances: str = ""
    first: int = 0
    trace: str = ""
    fitted: str = ""


@dataclass(frozen=True)
class Presents:
    """How the viewer arranges a run whose point an operator is: one large place for `pictures`, one before the other,
    `details` beside it, the most important first; everything else is a menu away.

    Each is a name that the operator gives, or the nearest step before it that does; "frames" are those it gives, or
    saw. The first picture stands beside that of the name `compared`, a divider between them; so does each of a
    `choice`, (what it is called, pictures in order), one of which is shown at a time by a slider. `colours` are colour
    maps of pictures by name. Snapshots of one axis in `over_time` are drawn as frames go by, a curve for each place;
    values per frame in it are shown from the first frame on.
    `ticks` are, of values by id, other such values that stand beneath each curve as ticks as high as they are.
    `gauges` are numbers with what is worth a look and what is too much. `places` says which table's places have
    values, and what is known of each.
    """

    pictures: tuple[str, ...] = ("frames",)
    details: tuple[str, ...] = ()
    compared: str = ""
    choice: tuple[str, tuple[str, ...]] = ("", ())
    colours: Mapping[str, str] = field(default_factory=dict)
    over_time: tuple[str, ...] = ()
    ticks: Mapping[str, str] = field(default_factory=dict)
    gauges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    places: Places | None = None

    def drawn(self) -> dict[str, Any]:
        """Return what `hello` says of it besides pictures, details and `compared`."""
        choice = {self.choice[0]: list(self.choice[1])} if self.choice[1] else {}
        places = asdict(self.places) if self.places is not None else {}
        told = {
            "choice": choice, "colours": dict(self.colours), "over_time": list(self.over_time),
            "ticks": dict(self.ticks),
            "gauges": {name: list(limits) for name, limits in self.gauges.items()}, "places": places,
        }  # fmt: skip
        return {name: value for name, value in told.items() if value}


class Table(Mapping[str, np.ndarray]):
    """Named columns of equal length, one of them `frame` (the frame's index); rows may speak of earlier frames.

    Raises FrameError for columns of unequal length or without `frame`.
    """

    def __init__(self, columns: Mapping[str, Any]) -> None:
        self._columns = {name: np.asarray(column) for name, column in columns.items()}
        lengths = {name: column.shape[:1] for name, column in self._columns.items()}
        if "frame" not in self._columns:
            raise FrameError(f"a table needs a column 'frame', found {', '.join(self._columns) or 'none'}")
        if len(set(lengths.values())) != 1 or () in lengths.values():
            raise FrameError(f"a table's columns have one length, found {lengths}")

    def __getitem__(self, name: str) -> np.ndarray:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self._columns["frame"])


Values = Mapping[str, "np.ndarray | Table"]
NO_VALUES: Values = MappingProxyType({})


@dataclass(frozen=True)
class Output:
    """What one update gives: values for the frames from `index` on, and the block for the next step.

    `block` None: the next step sees the same block. `held` True: frames were held back, the next step sees nothing
    yet; a later `update` or `finish` hands them on.
    """

    index: int
    values: Values = field(default_factory=dict)
    block: Block | None = None
    held: bool = False


class Operator(ABC):
    """One operator: frames in, values and snapshots out. Subclass it, `@register("kind")` it, and the laws apply.

    `frame_axis` says how its frames out relate to its frames in: "same" (frame for frame) or "own" (it bins, skips
    or reorders them). `examples` are parameter sets that the laws run it with, besides the defaults. `from_file` has
    for each parameter that a config may name by a file what makes its value of the file's content. `results` has by
    name what reads its results from a session, as in `session.results("components")`; `joins` what puts those of the
    slices of a volume together. `may_need` are per-frame values of the steps
    that its frames came through, given where there are any: with `valid` it learns nothing from frames that are
    declared not valid (`seen_parts`). A name in `needs` may say of which step, `extract.traces`. With `reads_every` a
    need may be a snapshot of a step before: it comes with the frame that ends each so many frames of the index, else
    None. `of_planes` are those in `needs` that a config may take of several planes at once: as (planes, t, …), NaN
    where a plane has none of a frame or declares it not valid; values by id side by side, beside them `NAME.ids` and
    `NAME.planes`, the number of each one's plane, and `NAME.times_ns` (planes, t), -1 of frames that a plane has not;
    snapshots end to end with `NAME.planes`, with the block that begins behind a multiple of `reads_every`, else None.
    A step that is `once` stands once for the slices of a channel, in the first of those that it runs on, and takes of
    all of them what it needs. `live` are the parameters that may be changed while
    frames flow, each with another value that the laws try. `takes` are by verb the decisions about its results that
    people may take meanwhile. `counted` names values that add up over frames, or over the ids of the newest frame, by
    what they count: a run says so as it goes. `presents` arranges the viewer, of several steps as the last one says.
    `devices` are those it runs on; what it gives on a card is within `twin_tolerance`, of the largest value of each
    array, of what it gives on the processor.
    `compiles` are functions of parameters and spec that compile a part of its kernels each, for processes that do so at
    the same time; with none, one process builds it. `compiles_later` are those of which no frame needs what they
    compile before something was learned from some: it has `later` (later.py) call them, and waits for that there.
    """

    kind: ClassVar[str]
    version: ClassVar[int] = 1
    Params: ClassVar[type[Params]] = Params
    needs: tuple[str, ...] = ()
    may_need: tuple[str, ...] = ()
    of_planes: tuple[str, ...] = ()
    gives: tuple[Gives, ...] = ()
    presents: ClassVar[Presents | None] = None
    compiles: ClassVar[tuple[Callable[[Any, Spec], object], ...]] = ()
    compiles_later: ClassVar[tuple[Callable[[Any, Spec], object], ...]] = ()
    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    twin_tolerance: ClassVar[float] = 1e-12
    reads_every: int = 0
    once: ClassVar[bool] = False
    frame_axis: Literal["same", "own"] = "same"
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ()
    live: ClassVar[Mapping[str, Any]] = {}
    counted: ClassVar[Mapping[str, str]] = {}
    takes: ClassVar[Mapping[str, Takes]] = {}
    from_file: ClassVar[Mapping[str, Callable[[Loaded, Spec], Any]]] = {}
    results: ClassVar[Mapping[str, Callable[[RecordedStep], Any]]] = {}
    joins: ClassVar[Mapping[str, Callable[[SliceSteps], Any]]] = {}

    def __init__(self, params: Any, spec: Spec, device: str = "cpu") -> None:
        """Allocate everything here, on the card as well, and compile what the first frames need; the rest by `later`.

        `card` is the one that it runs on with device = "gpu", None on the processor.
        """
        if device not in self.devices:
            raise ConfigError(f"{self.kind}: no device {device!r}; it runs on {', '.join(self.devices)}")
        self.params = params
        self.spec = spec
        self.device = device
        try:
            self.card = open_card() if device == "gpu" else None
        except ConfigError as error:
            raise ConfigError(f"{self.kind}: {error}") from None

    def meet(self, given: Mapping[str, Gives]) -> None:  # noqa: B027 - most take what they know by name
        """Be told what each of `needs` and `may_need` is met by, before the first frame. Raises ConfigError."""

    def meet_planes(self, planes: Sequence[Plane]) -> None:  # noqa: B027 - of most it does not matter which they are
        """Be told the planes that `of_planes` are taken of, each with the pixel size there, before the first frame.

        Raises ConfigError for planes that cannot be taken together.
        """

    @property
    def out_spec(self) -> Spec:
        """What the next step sees."""
        return self.spec

    def prepare(self, params: Any) -> None:  # noqa: B027 - most changes cost nothing
        """Compute beforehand what a change to `params` needs and takes long; called on another thread while frames go
        on, so it must not touch anything but caches."""

    def change(self, params: Any) -> None:
        """Go on under `params`, which differ from the present ones in `live` ones alone, from the next frame on.

        Called between blocks; what was built with `params`, and given this one's state, goes on to the same bits.
        Raises ConfigError for what does not fit; then nothing has changed.
        """
        self.params = params

    def decide(self, decision: Decision) -> Decided:
        """Return what carries out a decision whose verb is in `takes`, from the next frame on; called between blocks.

        Until `make` is called nothing has changed. A decision with a number is made again, as in a rerun, and keeps it;
        one that was made already does nothing. Decisions are part of the state. Raises ConfigError for what cannot be
        done.
        """
        raise ConfigError(f"step {decision.step!r}: takes no decisions")

    @abstractmethod
    def update(self, block: Block, inputs: Values = NO_VALUES) -> Output:
        """Take one block; `inputs` are the values named in `needs` and `may_need`, for the same frames.

        Beside values by id, `NAME.ids` says whose they are; where the step gives `present` by id and a table `merged`,
        `NAME.present` (t, K) says whether each was there in a frame, `NAME.merged` into which other one it was merged.
        """

    def gap(self, first: int, count: int) -> None:  # noqa: B027 - most operators see gaps as jumps of the index
        """`count` frames from index `first` on never came."""

    def read(self, names: Sequence[str] | None = None, inputs: Values = NO_VALUES) -> Mapping[str, np.ndarray]:
        """Return snapshots by name (None: all that `gives` declares) without changing anything.

        At most 5 ms a name at 512×512. Raises ConfigError for a name not given.
        """
        self.snapshot_names(names)
        return {}

    def reader(
        self, names: Sequence[str] | None = None, inputs: Values = NO_VALUES
    ) -> Callable[[], Mapping[str, np.ndarray]]:
        """Return what reads these snapshots as of now, on another thread while frames go on.

        They are read here and now, unless an operator whose reading takes longer than 5 ms knows better.
        """
        found = self.read(names, inputs)
        return lambda: found

    def doubt(self) -> str:
        """What in the data speaks against its results, or limits them, as of now, in a sentence; "" where nothing does.

        Asked for after each block and at the end, so it must cost nothing; people read it on screen, in status and in
        the viewer.
        """
        return ""

    def notes(self) -> list[tuple[int, str]]:
        """What happened since it was asked last, a frame and a sentence each: events of the session."""
        return []

    def finish(self) -> Output | None:
        """End of the series: what was still held back."""
        return None

    @staticmethod
    def report(step: ReportedStep) -> Findings | None:
        """Return what a report shows of a recorded step; None: what `gives` declares, as it is declared."""
        return None

    @staticmethod
    def measures(step: ReportedStep) -> Mapping[str, float] | None:
        """Return what a catalogue lists of a recorded step, by names with their unit; None: the numbers it declares.

        NaN, or a name left out, where the run does not tell. Costs one pass over the values at most.
        """
        return None

    @staticmethod
    def matched(step: RecordedStep, other: RecordedStep, same_frames: bool) -> Matched | None:
        """Return which of a step's things are those of another one, by footprints; None: it finds none.

        same_frames: both saw the same recording, else the fields are registered first. Raises SessionError.
        """
        return None

    @staticmethod
    def as_recorded(step: RecordedStep, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the parameters with which the frames of a recorded step are made again, as they were then."""
        return params

    @staticmethod
    def refine(recording: Recording, passes: int) -> Refined:
        """Return a recorded step's results anew, with so many passes over all frames. Raises SessionError."""
        raise ConfigError(f"step {recording.step.id!r}: is not refined")

    @abstractmethod
    def state(self) -> State:
        """Return raw sufficient statistics: flat str → ndarray | int | float | str, host copies."""

    @abstractmethod
    def restore(self, state: State) -> None:
        """Take over what `state` returned. Raises StateError if it is another operator's."""

    def snapshot_names(self, names: Sequence[str] | None = None) -> tuple[str, ...]:
        """Return the snapshots asked for, all for None. Raises ConfigError for one this operator does not give."""
        known = tuple(g.name for g in self.gives if g.kind == "snapshot")
        for name in names or ():
            if name not in known:
                raise ConfigError(f"{self.kind}: no snapshot {name!r}{did_you_mean(name, known)}")
        return known if names is None else tuple(names)


class Mergeable(Operator):
    """An operator whose parts can be computed apart and put together."""

    @property
    def merges(self) -> bool:
        """Whether they can with its parameters."""
        return True

    @abstractmethod
    def merge(self, other: Self) -> None:
        """Absorb the part that FOLLOWS this one; `other` is left as it is."""


class SnapshotOperator(Operator):
    """An operator that lives on other steps' snapshots alone: `needs` names them, `read` gets them as `inputs`."""

    def update(self, block: Block, inputs: Values = NO_VALUES) -> Output:
        """Frames pass by."""
        return Output(block.index)

    def state(self) -> State:
        """It has none."""
        return {}

    def restore(self, state: State) -> None:
        """There is nothing to take over."""

    def reader(
        self, names: Sequence[str] | None = None, inputs: Values = NO_VALUES
    ) -> Callable[[], Mapping[str, np.ndarray]]:
        return partial(copy(self).read, names, inputs)  # with its parameters as of now

    @abstractmethod
    def read(self, names: Sequence[str] | None = None, inputs: Values = NO_VALUES) -> Mapping[str, np.ndarray]:
        """Compute the snapshots named from the snapshots in `inputs`; runs on a worker thread."""
